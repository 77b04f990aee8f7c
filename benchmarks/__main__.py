"""`python -m benchmarks`: server CPU time per request beside uvicorn, as ratios.

Two servers at a time, started anew for each pair and pinned to one CPU, get the same requests in
turns of a fraction of a second from a client on another CPU. What is compared is the CPU time
(user and system) that each server process took per request, turn against neighbouring turn: a
noisy machine slows both alike. uvicorn against itself, measured in the same way in the same run,
is the noise; a ratio closer to 1 than that says nothing.
"""

import argparse
import importlib.metadata
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .workloads import WORKLOADS, Workload, read_head

CONNECTIONS = 8


@dataclass
class Served:
    """A server process and the connections to it."""

    workload: Workload
    process: subprocess.Popen[bytes]
    port: int
    sockets: list[socket.socket]

    def cpu(self) -> float:
        """CPU time so far, user and system, in seconds (proc(5), schedstat)."""
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def ask(self) -> float:
        """Sends a turn's requests, on each connection in turn; gives CPU microseconds per request."""
        workload, before = self.workload, self.cpu()
        for _ in range(workload.rounds):
            if workload.reconnects:
                self.close()
                self.sockets = [connect(self.port, workload.opening) for _ in range(CONNECTIONS)]
            for sock in self.sockets:
                sock.sendall(workload.request)
            for sock in self.sockets:
                workload.read(sock)
        return (self.cpu() - before) * 1e6 / (workload.rounds * CONNECTIONS)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@contextmanager
def served(server: str, workload: Workload, options: tuple[str, ...]) -> Iterator[Served]:
    """A server on a free port, pinned to CPU 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", server, f"benchmarks.apps:{workload.app}", "--port", str(port)]
    command += options if workload.logs else (*options, "--no-access-log", "--log-level", "warning")
    command += ["--ws-ping-interval", "3600"]  # nothing comes between a message and its echo
    quiet = subprocess.DEVNULL if workload.logs else None
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        os.sched_setaffinity(process.pid, {0})
        sockets = [connect(port, workload.opening) for _ in range(CONNECTIONS)]
        one = Served(workload, process, port, sockets)
        yield one
        one.close()
    finally:
        process.terminate()
        process.wait()


def connect(port: int, opening: bytes) -> socket.socket:
    """A connection, as soon as the server accepts any; a WebSocket if `opening` asks for one."""
    deadline = time.monotonic() + 20
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if opening:
                sock.sendall(opening)
                head, _ = read_head(sock)
                assert head.startswith(b"HTTP/1.1 101 "), head
            return sock


def compare(server: str, workload: str, options: tuple[str, ...], turns: int) -> list[float]:
    """CPU per request of `server` over uvicorn's, turn by turn; prints the line of the table."""
    asked = WORKLOADS[workload]
    ours, theirs = [], []
    with served(server, asked, options) as one, served("uvicorn", asked, options) as other:
        for served_one in (one, other):
            served_one.ask()  # warm-up
        for _ in range(turns):
            ours.append(one.ask())
            theirs.append(other.ask())
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    label = f"{'ws ' * ('--ws' in options)}{options[1]} + {options[3]}"
    print(
        f"{workload:<14} {label:<20} {server:<9} {statistics.median(ours):6.1f} "
        f"{statistics.median(theirs):8.1f}   {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--turns", type=int, default=30, help="of up to 800 requests each (30)")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (all)")
    asked = parser.parse_args()
    if unknown := set(asked.workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(unknown)}")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("miniasgi", "uvicorn", "fastapi", "pydantic", "httptools", "uvloop", "h11", "wsproto", "websockets")
    print(f"Python {platform.python_version()},", ", ".join(map(version, names)))
    print(f"{'workload':<14} {'parser + loop':<20} {'server':<9} us/req  uvicorn   ratio (range)")
    for workload in asked.workloads or WORKLOADS:
        for options in WORKLOADS[workload].variants:
            for server in ("miniasgi", "uvicorn"):
                compare(server, workload, options, asked.turns)


def version(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"


main()

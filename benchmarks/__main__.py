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
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CONNECTIONS = 8
FAST = ("--http", "httptools", "--loop", "uvloop")
PURE = ("--http", "h11", "--loop", "asyncio")

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = b'{"name": "a", "price": 1.5, "tags": ["x", "y"]}'
POST = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(JSON),
    JSON,
)
WORKLOADS = {"plaintext": ("plaintext", GET), "FastAPI POST": ("fastapi", POST)}


@dataclass
class Served:
    """A server process and the connections to it."""

    process: subprocess.Popen[bytes]
    sockets: list[socket.socket]

    def cpu(self) -> float:
        """CPU time so far, user and system, in seconds (proc(5), schedstat)."""
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def ask(self, request: bytes, rounds: int) -> float:
        """Sends `rounds` requests on each connection; gives CPU microseconds per request."""
        before = self.cpu()
        for _ in range(rounds):
            for sock in self.sockets:
                sock.sendall(request)
            for sock in self.sockets:
                receive(sock)
        return (self.cpu() - before) * 1e6 / (rounds * len(self.sockets))


def receive(sock: socket.socket) -> None:
    """Reads one response with a content-length."""
    data = sock.recv(65536)
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, content = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert length, head
    missing = int(length[1]) - len(content)
    while missing:
        missing -= len(sock.recv(missing))


@contextmanager
def served(server: str, app: str, options: tuple[str, ...]) -> Iterator[Served]:
    """A server on a free port, without access log, pinned to CPU 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", server, f"benchmarks.apps:{app}", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", *options]
    process = subprocess.Popen(command)
    try:
        os.sched_setaffinity(process.pid, {0})
        sockets = [connect(port) for _ in range(CONNECTIONS)]
        yield Served(process, sockets)
        for sock in sockets:
            sock.close()
    finally:
        process.terminate()
        process.wait()


def connect(port: int) -> socket.socket:
    """A connection, as soon as the server accepts any."""
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
            return sock


def compare(server: str, workload: str, options: tuple[str, ...], turns: int) -> list[float]:
    """CPU per request of `server` over uvicorn's, turn by turn; prints the line of the table."""
    app, request = WORKLOADS[workload]
    ours, theirs = [], []
    with served(server, app, options) as one, served("uvicorn", app, options) as other:
        for served_one in (one, other):
            served_one.ask(request, 100)  # warm-up
        for _ in range(turns):
            ours.append(one.ask(request, 100))
            theirs.append(other.ask(request, 100))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    parser = f"{options[1]} + {options[3]}"
    print(
        f"{workload:<13} {parser:<20} {server:<9} {statistics.median(ours):6.1f} "
        f"{statistics.median(theirs):8.1f}   {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--turns", type=int, default=30, help="of 800 requests each (30)")
    turns = parser.parse_args().turns
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("miniasgi", "uvicorn", "fastapi", "pydantic", "httptools", "uvloop", "h11")
    print(f"Python {platform.python_version()},", ", ".join(map(version, names)))
    print(f"{'workload':<13} {'parser + loop':<20} {'server':<9} us/req  uvicorn   ratio (range)")
    for workload in WORKLOADS:
        for options in (FAST, PURE):
            for server in ("miniasgi", "uvicorn"):
                compare(server, workload, options, turns)


def version(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"


main()

"""Requests for a server, for a while: by `wrk` where it is installed, else by a few blocking sockets.

Owns how load is made and how answers are timed. Knows no process.
"""

import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass

from .workloads import PATIENCE, Workload, read_head

_LONGEST = 65536  # bytes of a request that wrk is told in a script
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Load:
    """What came of it; latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float


def allow_files() -> None:
    """As many as may be open, for us and for what we start: a connection takes one at either end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connect(port: int, opening: bytes = b"") -> socket.socket:
    """A connection, as soon as the server accepts any; a WebSocket if `opening` asks for one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(None)  # Python's own is a poll(2) before each call, in which `receive` would sleep
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
            if opening:
                sock.sendall(opening)
                head, _ = read_head(sock)
                assert head.startswith(b"HTTP/1.1 101 "), head
            return sock


def check(workload: Workload, port: int) -> None:
    """Asks once, and reads the answer as a person would: AssertionError if it is not as it should be."""
    with connect(port, workload.opening) as sock:
        sock.sendall(workload.request)
        workload.read(sock)


def make(workload: Workload, port: int, seconds: int) -> Load:
    """Load for so many seconds."""
    if shutil.which("wrk") and not (workload.opening or workload.reconnects or len(workload.request) > _LONGEST):
        return _by_wrk(workload, port, seconds)
    return _by_sockets(workload, port, seconds)


def _by_wrk(workload: Workload, port: int, seconds: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        literal = "".join(f"\\{byte:03d}" for byte in workload.request)
        file.write(f'local bytes = "{literal}"\nrequest = function() return bytes end\n')
        file.flush()
        command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--latency", "-s", file.name]
        command.append(f"http://127.0.0.1:{port}/")
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE).stdout
    errors = re.findall(r"Non-2xx.*|Socket errors: (?!connect 0, read 0, write 0).*", text)  # late is no error
    assert not errors, errors
    found = re.search(r"([1-9]\d*) requests in ([\d.]+)(\w+),", text)
    assert found, text
    return Load(int(found[1]), float(found[2]) * _MS[found[3]] / 1e3, _latency(text, 50), _latency(text, 99))


def _latency(text: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(\w+)", text)
    assert found, text
    return float(found[1]) * _MS[found[2]]


def _by_sockets(workload: Workload, port: int, seconds: int) -> Load:
    sockets = [connect(port, workload.opening) for _ in range(workload.connections)]
    took: list[float] = []
    began = now = time.perf_counter()
    while now < began + seconds:
        for sock in sockets:
            sock.sendall(workload.request)
        for sock in sockets:
            workload.read(sock)
        if workload.reconnects:
            for sock in sockets:
                sock.close()
            sockets = [connect(port) for _ in sockets]
        now, before = time.perf_counter(), now
        took.append((now - before) * 1e3)
    for sock in sockets:
        sock.close()
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else took * 99
    return Load(len(took) * len(sockets), now - began, cuts[49], cuts[98])

"""What a server costs when nothing is asked: its start, its sleep, and connections that are only open."""

import resource
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from .load import connect
from .servers import Server
from .tree import Tree

CONNECTIONS = 5000
_ASLEEP = 5.0  # seconds
_TIMES = 5


@dataclass
class Idle:
    """Medians; CPU time in milliseconds, memory in MiB."""

    server: str
    imports_ms: float  # to import the server's package, above what Python itself takes
    start_ms: float  # wall time from the command to the first accepted connection
    wakeups: float  # per second, of all threads
    memory: float
    memory_connected: float  # with so many idle connections more


def measure(server: Server) -> Idle:
    """One server, with the plaintext app."""
    package = server.command[0]
    imports = statistics.median(_cpu_of(f"import {package}") - _cpu_of("pass") for _ in range(_TIMES))
    starts = [_start(server) for _ in range(_TIMES)]
    with Tree(server.line("benchmarks.apps:plaintext", port := _free_port())) as tree:
        connect(port).close()
        time.sleep(1)
        before = tree.wakeups()
        time.sleep(_ASLEEP)
        wakeups = (tree.wakeups() - before) / _ASLEEP
        alone = tree.memory()
        sockets = [connect(port) for _ in range(CONNECTIONS)]
        connected = tree.memory()
        for sock in sockets:
            sock.close()
    return Idle(server.name, imports, statistics.median(starts), wakeups, alone, connected)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _start(server: Server) -> float:
    began, port = time.perf_counter(), _free_port()
    with Tree(server.line("benchmarks.apps:plaintext", port), cpu=None):
        connect(port).close()
        return (time.perf_counter() - began) * 1e3


def _cpu_of(code: str) -> float:
    """CPU milliseconds of a Python that does this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def table(found: list[Idle]) -> str:
    """As Markdown."""
    lines = [f"| server | import, CPU ms | start, ms | wake-ups/s | MiB | MiB, {CONNECTIONS} idle connections |"]
    lines.append("|---|---|---|---|---|---|")
    for idle in found:
        values = asdict(idle)
        name = values.pop("server")
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values.values()) + " |")
    return "\n".join(lines)

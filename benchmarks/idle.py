"""What a server costs when nothing is asked: its start, its sleep, and connections that are only open."""

import contextlib
import statistics
import time
from dataclasses import dataclass

from .load import check, connect
from .servers import Server, free_ports
from .tree import Tree
from .workloads import WORKLOADS

CONNECTIONS, _WORKLOAD = 5000, WORKLOADS["plaintext"]
_ASLEEP = 5.0  # seconds
_TIMES = 5


@dataclass
class Idle:
    """Medians; CPU time in milliseconds, memory in MiB."""

    server: str
    start_cpu_ms: float  # from the command to the first answer: Python, imports and all
    start_ms: float  # the same as wall time
    wakeups: float  # per second, of all threads
    memory: float
    memory_connected: float | None  # with so many idle connections more, if it accepts them


TITLES = {
    "start_cpu_ms": "start, CPU ms",
    "start_ms": "start, ms",
    "wakeups": "wake-ups/s",
    "memory": "MiB, alone",
    "memory_connected": f"MiB, {CONNECTIONS:,} idle connections",
}


def measure(server: Server) -> Idle:
    """One server, with the plaintext app."""
    starts = [_start(server) for _ in range(_TIMES)]
    [port] = free_ports()
    with Tree(server.line(f"benchmarks.{_WORKLOAD.app}", port)) as tree:
        check(_WORKLOAD, port)
        time.sleep(1)
        before = tree.wakeups()
        time.sleep(_ASLEEP)
        wakeups = (tree.wakeups() - before) / _ASLEEP
        alone = tree.memory()
        connected = _memory_connected(tree, port)
    cpu, wall = (statistics.median(times) for times in zip(*starts, strict=True))
    return Idle(server.name, cpu, wall, wakeups, alone, connected)


def _start(server: Server) -> tuple[float, float]:
    """CPU and wall time."""
    [port], began = free_ports(), time.perf_counter()
    with Tree(server.line(f"benchmarks.{_WORKLOAD.app}", port)) as tree:
        check(_WORKLOAD, port)
        return tree.cpu() * 1e3, (time.perf_counter() - began) * 1e3


def _memory_connected(tree: Tree, port: int) -> float | None:
    with contextlib.ExitStack() as stack, contextlib.suppress(TimeoutError):  # granian keeps all above 1,024 waiting
        for _ in range(CONNECTIONS):
            last = stack.enter_context(connect(port))
        last.sendall(_WORKLOAD.request)  # until this is answered, others may only wait to be accepted
        _WORKLOAD.read(last)
        return tree.memory()
    return None


def table(found: list[Idle]) -> str:
    """As Markdown."""
    lines = [f"| server | {' | '.join(TITLES.values())} |", "|---|---|---|---|---|---|"]
    for idle in found:
        values = [getattr(idle, name) for name in TITLES]
        cells = ["-" if value is None else f"{value:.1f}" for value in values]
        lines.append(f"| {idle.server} | {' | '.join(cells)} |")
    return "\n".join(lines)

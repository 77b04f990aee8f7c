"""Servers side by side: in turns, started anew each round, as ratios of CPU time per request.

Owns the order of a run, and what its figures mean. Each round starts all servers, and gives each its
slices of load in turn. A ratio is that of a slice to the neighbouring one of the reference: a noisy
machine slows both alike. The reference is started twice: it against itself, measured in the same way,
is the noise; a ratio within it says nothing.
"""

import contextlib
import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from . import load
from .servers import NAMED, Server, free_ports
from .tree import Tree
from .workloads import WORKLOADS, Workload

AGAIN = " again"  # the second one of a reference


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies, with 95 % (order statistics: nothing is assumed of how noise is distributed).

    Least and most, if there are too few values to say.
    """
    ordered, count = sorted(values), len(values)
    outside = 0  # so many on each side
    while 2 * sum(math.comb(count, tail) for tail in range(outside + 2)) / 2**count <= 0.05:
        outside += 1
    return ordered[outside], ordered[-1 - outside]


@dataclass
class Row:
    """What was measured of one server; one figure for each slice, but for the memory after the run."""

    server: str
    reference: str
    cpu: list[float] = field(default_factory=list)  # microseconds per request, user and system
    rate: list[float] = field(default_factory=list)  # requests per second
    p50: list[float] = field(default_factory=list)  # milliseconds
    p99: list[float] = field(default_factory=list)
    memory: float = 0.0  # MiB
    ratios: list[float] = field(default_factory=list)  # of CPU time, to the reference
    noise: tuple[float, float] = (1.0, 1.0)  # the interval of the reference against itself
    trouble: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_noise(self) -> bool:
        """True if the reference itself is as far from 1 as this, or if this may be 1 as well."""
        low, high = interval(self.ratios)
        return self.noise[0] <= self.ratio <= self.noise[1] or low <= 1 <= high


@dataclass
class _Running:
    server: Server
    row: Row
    tree: Tree
    port: int


def measure(name: str, servers: Iterable[Server], rounds: int, slices: int, seconds: int) -> list[Row]:
    """One workload, for all of these and what they are compared with."""
    workload = WORKLOADS[name]
    chosen = [server for server in servers if server.is_installed and server.can(workload)]
    references = dict.fromkeys(NAMED[server.reference] for server in chosen)
    once = [(server.name, server) for server in dict.fromkeys([*references, *chosen])]
    rows = {
        label: Row(label, server.reference)
        for label, server in [*once, *((f"{ref.name}{AGAIN}", ref) for ref in references)]
    }
    for _ in range(rounds):
        with _started(rows, workload) as running:
            for one in [*running] * slices:
                if not one.row.trouble:
                    with _trouble(one.row):
                        _slice(one, workload, seconds)
            for one in running:
                if not one.row.trouble:
                    with _trouble(one.row):
                        one.row.memory = one.tree.memory()
    _compare(rows)
    return list(rows.values())


@contextlib.contextmanager
def _started(rows: dict[str, Row], workload: Workload) -> Iterator[list[_Running]]:
    with contextlib.ExitStack() as stack:
        running = []
        for (label, row), port in zip(rows.items(), free_ports(len(rows)), strict=True):
            if row.trouble:
                continue
            server = NAMED[label.removesuffix(AGAIN)]
            line = server.line(f"benchmarks.{workload.app}", port, workload.logs)
            running.append(_Running(server, row, stack.enter_context(Tree(line)), port))
        for one in running:
            with _trouble(one.row):
                load.check(workload, one.port)
                load.make(workload, one.port, 1)  # caches
        yield running


@contextlib.contextmanager
def _trouble(row: Row) -> Iterator[None]:
    """Whatever goes wrong with one server is told of it, and does not stop the others."""
    try:
        yield
    except Exception as error:
        row.trouble = f"{type(error).__name__}: {error}"[:120]


def _slice(one: _Running, workload: Workload, seconds: int) -> None:
    before = one.tree.cpu()
    made = load.make(workload, one.port, seconds)
    one.row.cpu.append((one.tree.cpu() - before) * 1e6 / made.requests)
    one.row.rate.append(made.requests / made.seconds)
    one.row.p50.append(made.p50)
    one.row.p99.append(made.p99)


def _compare(rows: dict[str, Row]) -> None:
    for row in rows.values():
        reference, again = rows[row.reference], rows[f"{row.reference}{AGAIN}"]
        row.ratios = [ours / theirs for ours, theirs in zip(row.cpu, reference.cpu, strict=False)]
        itself = [ours / theirs for ours, theirs in zip(again.cpu, reference.cpu, strict=False)]
        if itself:  # as likely to be off in one direction as in the other
            low, high = interval(itself)
            row.noise = min(low, 1 / high), max(high, 1 / low)
        if not row.ratios:
            row.trouble = row.trouble or "nothing was measured"

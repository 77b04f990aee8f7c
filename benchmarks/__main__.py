"""`python -m benchmarks`: servers side by side, as ratios of CPU time per request; see `measure`."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

from . import idle, instructions, load, report
from .measure import measure
from .results import IDLE, INSTRUCTIONS, Results, circumstances
from .servers import NAMED, SERVERS, Server
from .workloads import WORKLOADS

_QUICK = ("miniasgi", "uvicorn", "miniasgi h11+asyncio", "uvicorn h11+asyncio")


def main() -> None:
    asked = options()
    servers = SERVERS if asked.all else [NAMED[name] for name in asked.servers]
    servers = [server for server in servers if server.is_installed]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the servers have another one
    load.allow_files()
    where, results = circumstances(), Results()
    for part, found in measured(asked, servers):
        results = found.after(results)
        results.where[part] = where
        if asked.write:  # after each: what then goes wrong does not take it away
            report.write(results)
    if len(results.workloads) > 1:
        print(report.summary(results))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of: {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--servers", nargs="+", default=_QUICK, metavar="SERVER", help=f"of: {', '.join(NAMED)}")
    parser.add_argument("--all", action="store_true", help="every server that is installed")
    parser.add_argument("--idle", action="store_true", help="also start, sleep, and 5,000 open connections")
    parser.add_argument("--instructions", action="store_true", help="also instructions per request (needs valgrind)")
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/ (JSON, Markdown, SVG) and README")
    parser.add_argument("--rounds", type=int, default=3, help="in which all servers are started anew (3)")
    parser.add_argument("--slices", type=int, default=5, help="of load for each server in a round (5)")
    parser.add_argument("--seconds", type=int, default=1, help="that a slice lasts (1)")
    asked = parser.parse_args()
    if unknown := {*asked.workloads} - {*WORKLOADS} | {*asked.servers} - {*NAMED}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if asked.instructions and not instructions.is_possible():
        parser.error("--instructions needs valgrind")
    return asked


def measured(asked: argparse.Namespace, servers: list[Server]) -> Iterator[tuple[str, Results]]:
    """Part by part, as soon as each is there; prints its table."""
    for name in asked.workloads or WORKLOADS:
        rows = measure(name, servers, asked.rounds, asked.slices, asked.seconds)
        print(report.section(name, rows), flush=True)
        yield name, Results({name: rows})
    if asked.idle:
        found = Results()
        for server in servers:
            if not server.is_floor:
                with spared(server):
                    found.idles.append(idle.measure(server))
        print(idle.table(found.idles), flush=True)
        yield IDLE, found
    if asked.instructions:
        found = Results()
        for name in instructions.COUNTED:
            for server in servers:
                if server.is_one_process:
                    with spared(server):
                        found.counts.append(instructions.measure(name, server))
        print(instructions.table(found.counts), flush=True)
        yield INSTRUCTIONS, found


@contextlib.contextmanager
def spared(server: Server) -> Iterator[None]:
    """What goes wrong with one server does not stop the others."""
    try:
        yield
    except Exception as error:
        print(f"{server.name}: {type(error).__name__}: {error}", file=sys.stderr)


main()

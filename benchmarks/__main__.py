"""`python -m benchmarks`: servers side by side, as ratios of CPU time per request; see `measure`."""

import argparse
import os

from . import idle, report
from .measure import measure
from .servers import NAMED, SERVERS
from .workloads import WORKLOADS

_QUICK = ("miniasgi", "uvicorn", "miniasgi h11+asyncio", "uvicorn h11+asyncio")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of: {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--servers", nargs="+", default=_QUICK, metavar="SERVER", help=f"of: {', '.join(NAMED)}")
    parser.add_argument("--all", action="store_true", help="every server that is installed")
    parser.add_argument("--idle", action="store_true", help="also start, sleep, and 5,000 open connections")
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/: JSON, Markdown, SVG")
    parser.add_argument("--rounds", type=int, default=3, help="in which all servers are started anew (3)")
    parser.add_argument("--slices", type=int, default=5, help="of load for each server in a round (5)")
    parser.add_argument("--seconds", type=int, default=1, help="that a slice lasts (1)")
    asked = parser.parse_args()
    if unknown := {*asked.workloads} - {*WORKLOADS} | {*asked.servers} - {*NAMED}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    servers = SERVERS if asked.all else [NAMED[name] for name in asked.servers]
    where, found, idles = report.circumstances(), {}, []
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the servers have another one
    for name in asked.workloads or WORKLOADS:
        found[name] = measure(name, servers, asked.rounds, asked.slices, asked.seconds)
        print(report.markdown(where, {name: found[name]}, []).partition("\n\n## ")[2], flush=True)
    if asked.idle:
        idles = [idle.measure(server) for server in servers if server.is_installed]
        print(idle.table(idles))
    if asked.write:
        report.write(where, found, idles)


main()

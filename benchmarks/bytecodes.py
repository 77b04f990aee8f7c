"""`python -m benchmarks.bytecodes [WORKLOAD]`: where a request's time goes, by module or function.

Counts the bytecodes that run for one request in memory (sys.monitoring, Python 3.12+): a profile that no
other process on the machine can blur. What C code and the kernel do is not in it, nor is their time.
"""

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import uvloop

from miniasgi import Config
from miniasgi.connection import Connection

from .tree import ROOT
from .workloads import WORKLOADS, Workload

_WARM = 100  # requests before it: code is specialised by then
_TOOL = 3  # any that is free


class Nowhere(asyncio.Transport):
    """Takes what is written, and has names like a socket."""

    written = 0

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)})

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is read here."""

    resume_reading = pause_reading


async def counted(workload: Workload) -> Counter[str]:
    """The bytecodes of one request, by function, of httptools on uvloop; those that run before it waits."""
    monitoring, counts = cast(Any, sys).monitoring, Counter[str]()
    config = Config(f"benchmarks.{workload.app}", http="httptools")
    connection = Connection(config.service(config.load_app(), {}, None))
    transport = Nowhere()
    connection.connection_made(transport)

    async def ask() -> None:
        before = transport.written
        connection.data_received(workload.request)
        while transport.written == before or connection._cycle is not None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)

    for _ in range(_WARM):
        await ask()
    monitoring.use_tool_id(_TOOL, "bytecodes")
    monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, lambda code, at: counts.update([_name(code)]))
    monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
    await ask()
    monitoring.set_events(_TOOL, 0)
    monitoring.free_tool_id(_TOOL)
    connection.connection_lost(None)
    ours = "benchmarks.bytecodes "
    return Counter({name: count for name, count in counts.items() if not name.startswith(ours)})


def _name(code: Any) -> str:
    """`miniasgi.cycle Cycle.send`; of others' code, the package stands for all its modules."""
    path = Path(code.co_filename)
    if "site-packages" in path.parts:
        module = path.parts[path.parts.index("site-packages") + 1]
    elif ROOT in path.parents:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    else:
        module = "Python"
    return f"{module} {code.co_qualname}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bytecodes")
    parser.add_argument("workload", nargs="?", default="plaintext")
    parser.add_argument("--functions", action="store_true", help="each function, not each module")
    asked = parser.parse_args()
    if sys.version_info < (3, 12):
        parser.error("sys.monitoring is new in Python 3.12")
    counts = uvloop.run(counted(WORKLOADS[asked.workload]))
    if not asked.functions:
        modules = Counter[str]()
        for name, count in counts.items():
            modules[name.partition(" ")[0]] += count
        counts = modules
    for name, count in counts.most_common():
        print(f"{count:6} {count / counts.total():4.0%} {name}")
    print(f"{counts.total():6} 100% {asked.workload}")


if __name__ == "__main__":
    main()

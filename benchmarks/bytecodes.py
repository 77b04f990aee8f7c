"""`python -m benchmarks.bytecodes [WORKLOAD]`: where a request's time goes, function by function.

Counts the bytecodes that run for one request in memory (sys.monitoring, Python 3.12+): a profile that no
other process on the machine can blur. What C code and the kernel do is not in it, nor is their time.
"""

import asyncio
import sys
from collections import Counter
from typing import Any, cast

import uvloop

from miniasgi import Config
from miniasgi.connection import Connection

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
    return Counter({name: count for name, count in counts.items() if not name.startswith("bytecodes.")})  # our own


def _name(code: Any) -> str:
    module = code.co_filename.rpartition("/")[2].removesuffix(".py")
    return f"{module}.{code.co_qualname}"


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "plaintext"
    counts = uvloop.run(counted(WORKLOADS[name]))
    for function, count in counts.most_common():
        print(f"{count:6} {function}")
    print(f"{counts.total():6} in all: {name}")


if __name__ == "__main__":
    main()

"""Chapter 13: to be told, and to end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Stop:
    def __init__(self) -> None:
        self.caught: list[int] = []

    @property
    def asked(self) -> bool:
        return bool(self.caught)

    @property
    def forced(self) -> bool:
        return len(self.caught) > 1

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    stop = Stop()
    former = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    for number in reversed(stop.caught):
        signal.raise_signal(number)


async def drain(tasks: set[asyncio.Task[Any]], budget: float, farewell: float, leave: Callable[[], object]) -> int:
    left = tasks
    if left:
        _, left = await asyncio.wait(left, timeout=budget - farewell)
    if left:
        leave()
        _, left = await asyncio.wait(left, timeout=farewell)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    return len(left)

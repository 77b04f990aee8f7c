"""Chapter 9: one timer for a thousand pieces, and one answer at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from miniasgi.deadline import Deadline


class Idle(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = Deadline(loop, lambda: self.transport.close())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.deadline.set(self.seconds)

    def data_received(self, data: bytes) -> None:
        self.deadline.set(self.seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.close()


class InTurn(asyncio.Protocol):
    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], mark: int) -> None:
        self.answer = answer
        self.mark = mark
        self.backlog = b""
        self.reading = True
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.backlog += data
        self.advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self.backlog = b""
        if self.task is not None:
            self.task.cancel()

    def advance(self) -> None:
        """The next line, unless one is being answered."""
        if self.task is None and b"\n" in self.backlog:
            line, _, self.backlog = self.backlog.partition(b"\n")
            self.task = asyncio.create_task(self.serve(line))
        # With no task, all that waits is the beginning of a line: its end must be read, however long it is.
        reading = self.task is None or len(self.backlog) <= self.mark
        if reading is not self.reading:
            self.reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    async def serve(self, line: bytes) -> None:
        self.transport.write(await self.answer(line))
        self.task = None
        self.advance()

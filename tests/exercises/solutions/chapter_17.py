"""Chapter 17: a tap that nobody notices, and batches that form by themselves."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

Message = dict[str, Any]
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def watched(app: App, note: Callable[[str, str], object]) -> App:
    def tell(direction: str, message: Message) -> None:
        with suppress(Exception):  # also of a message that has no type: the server will say so
            note(direction, message["type"])

    async def watched_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def watched_receive() -> Message:
            message: Message = await receive()
            tell("receive", message)
            return message

        async def watched_send(message: Message) -> None:
            tell("send", message)
            await send(message)

        await app(scope, watched_receive, watched_send)

    return watched_app


class Batcher:
    def __init__(self, work: Callable[[list[Any]], list[Any]], largest: int) -> None:
        self.work, self.largest = work, largest
        self.waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.waiting.append((item, future))
        if self.worker is None or self.worker.done():
            self.worker = loop.create_task(self.run())
        return await future

    async def run(self) -> None:
        while batch := self.next():
            try:
                results = await asyncio.to_thread(self.work, [item for item, _ in batch])
            except Exception as error:
                self.settle(batch, asyncio.Future.set_exception, [error] * len(batch))
            else:
                self.settle(batch, asyncio.Future.set_result, results)

    def settle(self, batch: list[tuple[Any, asyncio.Future[Any]]], how: Any, values: list[Any]) -> None:
        for (_, future), value in zip(batch, values, strict=True):
            if not future.done():  # its caller may have left meanwhile
                how(future, value)

    def next(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        batch: list[tuple[Any, asyncio.Future[Any]]] = []
        while self.waiting and len(batch) < self.largest:
            item, future = self.waiting.popleft()
            if not future.cancelled():
                batch.append((item, future))
        return batch

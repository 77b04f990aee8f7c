"""Chapter 11: both sides of a lifespan."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def with_lifespan(app: App, resource: Callable[[], AbstractAsyncContextManager[Any]]) -> App:
    async def live(scope: Scope, receive: Receive, send: Send) -> None:
        phase = "startup"
        await receive()
        try:
            async with resource() as scope["state"]["resource"]:
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        await (live if scope["type"] == "lifespan" else app)(scope, receive, send)

    return wrapped


async def ask(app: App) -> str:
    events, answers = asyncio.Queue[Message](), asyncio.Queue[str]()

    async def send(message: Message) -> None:
        answers.put_nowait(message["type"])

    async def run() -> None:
        ending = "returned"
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, events.get, send)
        except Exception:
            ending = "raised"
        answers.put_nowait(ending)

    events.put_nowait({"type": "lifespan.startup"})
    task = asyncio.create_task(run())
    answer = await answers.get()
    task.cancel()
    await asyncio.wait([task])
    return answer

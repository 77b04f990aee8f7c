"""Chapter 16: who the client is, and a function that blocks as an ASGI app."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Any, Send], Awaitable[None]]


def client_of(peer: str, values: list[str], trusted: Callable[[str], bool]) -> str:
    members = [member.strip() for value in values for member in value.split(",") if member.strip()]
    chain = [*members, peer]  # each has seen the one before it
    while len(chain) > 1 and trusted(chain[-1]):
        chain.pop()
    return chain[-1]


def threaded(function: Callable[[], Generator[bytes, None, None]]) -> App:
    async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
        loop = asyncio.get_running_loop()

        async def deliver(message: Message) -> None:
            await send(message)

        def tell(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(deliver(message), loop).result()

        def run() -> None:
            tell({"type": "http.response.start", "status": 200, "headers": []})
            with closing(function()) as pieces:
                for piece in pieces:
                    tell({"type": "http.response.body", "body": piece, "more_body": True})
            tell({"type": "http.response.body", "body": b"", "more_body": False})

        await asyncio.to_thread(run)

    return app

"""The apps that are served while we measure. They import next to nothing: it would count as a server's memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # or each peer would have all of miniasgi in its memory
    from miniasgi.types import Receive, Scope, Send


async def plaintext(scope: Scope, receive: Receive, send: Send) -> None:
    """The least an app can do."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each WebSocket message back."""
    if scope["type"] == "http":
        return await plaintext(scope, receive, send)
    assert scope["type"] == "websocket"  # or gunicorn would wait for an end of the lifespan's startup
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    return None


LARGE, CHUNK = bytes(65536), b"data: %b\n\n" % (b"x" * 92)
TOKEN = b'data: {"choices": [{"delta": {"content": " word"}}]}\n\n'


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """64 KiB in one piece."""
    await start(scope, send, (b"content-length", b"65536"))
    await send({"type": "http.response.body", "body": LARGE})


async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    """100 pieces of 100 bytes, as fast as they are taken."""
    await start(scope, send)
    for _ in range(100):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def tokens(scope: Scope, receive: Receive, send: Send) -> None:
    """64 server-sent events, each in a turn of the event loop of its own."""
    await start(scope, send)
    for _ in range(64):
        await step()
        await send({"type": "http.response.body", "body": TOKEN, "more_body": True})
    await send({"type": "http.response.body"})


_waiting: list[asyncio.Future[None]] = []


async def step() -> None:
    """Waits as for a model that works on all its streams at once, and takes a millisecond for a token of each.

    One timer for all of them, and a future each: less than a timer, a queue or an event would cost per token. Without
    any wait (`sleep(0)`), tokens would come faster than those of a model, and a server might join them.
    """
    loop = asyncio.get_running_loop()
    if not _waiting:
        loop.call_later(0.001, _made)
    _waiting.append(token := loop.create_future())
    await token


def _made() -> None:
    for token in _waiting:
        if not token.done():  # as it is if the client has gone
            token.set_result(None)
    _waiting.clear()


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes a body as it comes."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await start(scope, send, (b"content-length", b"7"))
    await send({"type": "http.response.body", "body": b"%d" % size})


async def start(scope: Scope, send: Send, *headers: tuple[bytes, bytes]) -> None:
    assert scope["type"] == "http"
    headers = ((b"content-type", b"text/plain"), *headers)
    await send({"type": "http.response.start", "status": 200, "headers": headers})

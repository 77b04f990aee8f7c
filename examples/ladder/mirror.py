"""The app of the ladder: it tells its clients what it was asked, and misbehaves where the path says so.

Serve it with any rung, or with miniasgi. `probes.py` asks it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FLOOD = 512  # pieces, of 64 KiB each: more than all buffers on the way to a client


class Note:
    """What became of a request, for another one to ask."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = asyncio.Event()


notes: dict[bytes, Note] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await live(scope, receive, send)
    else:
        await PATHS.get(scope["path"], mirror)(scope, receive, send)


async def live(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        scope["state"]["started"] = True
        await send({"type": "lifespan.startup.complete"})
    print("mirror: the server told us of its end", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it was asked."""
    content = b""
    while (message := await receive())["type"] == "http.request":
        content += message["body"]
        if not message["more_body"]:
            break
    seen = {
        "method": scope["method"],
        "http_version": scope["http_version"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query_string": scope["query_string"].decode("latin-1"),
        "headers": [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in scope["headers"]],
        "body": content.decode("latin-1"),
        "state": scope.get("state", {}),
    }
    text = json.dumps(seen, indent=1, ensure_ascii=False).encode() + b"\n"
    await send(start((b"content-type", b"application/json")))
    await send(body(text))


async def numbers(scope: Scope, receive: Receive, send: Send) -> None:
    """Content of a length that is not known when it begins."""
    await send(start((b"content-type", b"text/plain")))
    for number in (b"one\n", b"two\n", b"three\n"):
        await send(body(number, more=True))
    await send(body())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each piece of content back before it asks for the next."""
    await send(start())
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send(body(message["body"], more))


async def unread(scope: Scope, receive: Receive, send: Send) -> None:
    """Has no use for content."""
    await send(start((b"content-length", b"2")))
    await send(body(b"no"))


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start(status=204))
    await send(body())


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("on purpose")


async def half(scope: Scope, receive: Receive, send: Send) -> None:
    """Fails in the middle of a response."""
    await send(start())
    await send(body(b"half", more=True))
    raise RuntimeError("on purpose")


async def inject(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends what somebody may have given it as a name, or as the address to go to."""
    await send(start((b"location", b"/\r\ninjected: yes")))
    await send(body(b"text"))


async def too_much(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"5")))
    await send(body(b"0123456789"))


async def too_little(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"10")))
    await send(body(b"01234"))


async def listen(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for its client to leave."""
    note = notes[scope["query_string"]] = Note()
    await send(start())
    await send(body(b"waiting", more=True))
    while (await receive())["type"] != "http.disconnect":
        pass
    note.ended.set()


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends as fast as it may."""
    note = notes[scope["query_string"]] = Note()
    try:
        await send(start())
        for _ in range(FLOOD):
            note.count += 1
            await send(body(b"x" * 65536, more=True))
        await send(body())
    finally:
        note.ended.set()


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Does not ask for its content until it is told to end."""
    note = notes[scope["query_string"]] = Note()
    await send(start())
    await send(body(b"deaf", more=True))
    await note.ended.wait()
    await send(body(b"over"))


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """How far a flood has come, or if somebody has heard: of the request with the same query."""
    note = notes[scope["query_string"]]
    await send(start())
    await send(body(b"%d %d" % (note.count, note.ended.is_set())))


async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when that request has ended."""
    await notes[scope["query_string"]].ended.wait()
    await unread(scope, receive, send)


async def end(scope: Scope, receive: Receive, send: Send) -> None:
    """Ends it."""
    notes[scope["query_string"]].ended.set()
    await unread(scope, receive, send)


PATHS = {
    f"/{path.__name__.replace('_', '-')}": path
    for path in (numbers, echo, unread, empty, broken, half, inject, too_much, too_little)
} | {f"/{path.__name__}": path for path in (listen, flood, deaf, count, wait, end)}

"""What rungs 2 and 3 have settled, word for word: later ones import it, so that they show only what is new."""

import argparse
import asyncio
import http
import pkgutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
State = dict[str, Any]
Listen = Callable[[App, State, int], Awaitable[asyncio.Server]]
Headers = list[tuple[bytes, bytes]]

PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}


@dataclass
class Request:
    """A request head (RFC 9112 2.1)."""

    method: str
    target: bytes  # as received: b"/a?b"
    http_version: str  # "1.0" or "1.1"
    headers: Headers  # lower-case names, values without outer white space


def parse_head(head: bytes) -> Request:
    """The request line and the fields (RFC 9112 3 and 5); ValueError if they are none."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, version = line.split(b" ")
    fields = [field.partition(b":") for field in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in fields]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or not all(colon for _, colon, _ in fields):
        raise ValueError("not HTTP/1")
    if version == b"HTTP/1.1" and [name for name, _ in headers].count(b"host") != 1:
        raise ValueError("Host must be there once (RFC 9112 3.2)")
    return Request(method.decode("ascii"), target, version[5:].decode("ascii"), headers)


def http_scope(request: Request, client: Any, server: Any, state: State) -> Scope:
    """What the app is told of a request (ASGI HTTP, "HTTP connection scope")."""
    raw_path, _, query_string = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": "http",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": "",
        "headers": request.headers,
        "client": client,
        "server": server,
        "state": state.copy(),
    }


def render_head(status: int, headers: Headers) -> bytes:
    """A status line, fields, and the empty line (RFC 9112 4 and 5)."""
    lines = [b"%b: %b\r\n" % field for field in headers]
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, PHRASES.get(status, b""), b"".join(lines))


def refusal(status: int) -> bytes:
    """A whole response of our own."""
    return render_head(status, [(b"content-length", b"0"), (b"connection", b"close")])


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[State]:
    """Tells the app of the start and of the end (ASGI lifespan); gives the state that it made."""
    events, answers = asyncio.Queue[Message](), asyncio.Queue[Message]()
    state: State = {}

    async def run() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}, events.get, answers.put)
        except Exception as error:  # an app that knows no lifespan is served all the same
            print(f"No lifespan: {error!r}")
        await answers.put({"type": "it returned"})

    task = asyncio.create_task(run())
    await events.put({"type": "lifespan.startup"})
    if (await answers.get())["type"] == "lifespan.startup.failed":
        sys.exit("The app cannot start.")
    yield state
    if not task.done():
        await events.put({"type": "lifespan.shutdown"})
        await answers.get()


async def serve(app: App, port: int, listen: Listen) -> None:
    """Serves until Ctrl+C or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with lifespan(app) as state:
        server = await listen(app, state, port)
        print(f"Listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stop.wait()
        server.close()


def main(listen: Listen) -> None:
    """The command: an app, and a port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app", help="module:attribute")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    sys.path.insert(0, "")  # modules are looked for in the current directory, too
    asyncio.run(serve(pkgutil.resolve_name(options.app), options.port, listen))

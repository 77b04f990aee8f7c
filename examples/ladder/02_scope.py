"""Rung 2: how does a request reach the app? Its head is read, and told as a dict: the scope of ASGI.

    python examples/ladder/02_scope.py examples.ladder.mirror:app --port 8002

It can run any app that answers from the head alone. It cannot yet take content, send a response
before all of it is there, or attend to a second client while the first one is slow.
"""

import argparse
import asyncio
import http
import pkgutil
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]

PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}


@dataclass
class Request:
    """A request head (RFC 9112 2.1)."""

    method: str
    target: bytes  # as received: b"/a?b"
    http_version: str  # "1.0" or "1.1"
    headers: Headers  # lower-case names, values without outer white space


def read_head(client: socket.socket) -> bytes:
    """All up to the empty line, and that. TCP carries bytes, not messages: they come in any pieces."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("the client left")
        data += piece
    return data[: data.index(b"\r\n\r\n") + 4]


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


def http_scope(request: Request, client: Any, server: Any) -> Scope:
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
    }


def render_head(status: int, headers: Headers) -> bytes:
    """A status line, fields, and the empty line (RFC 9112 4 and 5)."""
    lines = [b"%b: %b\r\n" % field for field in headers]
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, PHRASES.get(status, b""), b"".join(lines))


def refusal(status: int) -> bytes:
    """A whole response of our own."""
    return render_head(status, [(b"content-length", b"0"), (b"connection", b"close")])


def call(app: App, scope: Scope) -> bytes:
    """The app's response. Its messages are collected: so, if it fails, nothing was sent yet."""
    messages: list[Message] = []
    events: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not events:
            await asyncio.Event().wait()  # we would never hear of it if the client left
        return events.pop()

    async def send(message: Message) -> None:
        messages.append(message)

    try:
        asyncio.run(app(scope, receive, send))
        start, *bodies = messages
        headers = [*start.get("headers", []), (b"connection", b"close")]
        return render_head(start["status"], headers) + b"".join(message.get("body", b"") for message in bodies)
    except Exception:
        traceback.print_exc()
        return refusal(500)


def answer(client: socket.socket, app: App) -> None:
    """Answers one client, once."""
    try:
        request = parse_head(read_head(client))
        scope = http_scope(request, client.getpeername(), client.getsockname())
    except ValueError:
        client.sendall(refusal(400))
    else:
        client.sendall(call(app, scope))


def serve(app: App, port: int) -> None:
    """Takes one client after the other, for ever."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()
            with client:
                try:
                    answer(client, app)
                except OSError as error:
                    print(error)


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that tells its app of each request.")
    parser.add_argument("app", help="module:attribute")
    parser.add_argument("--port", type=int, default=8002)
    options = parser.parse_args()
    sys.path.insert(0, "")  # modules are looked for in the current directory, too
    serve(pkgutil.resolve_name(options.app), options.port)


if __name__ == "__main__":
    main()

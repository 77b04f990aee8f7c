"""Rung 6: who hears that a client leaves while nobody asks? The event loop does, and calls us.

    python examples/ladder/06_protocol.py examples.hello.main:app --port 8006

It can do what a small server has to. The streams of asyncio are gone: with a Protocol we are told of bytes,
of their end and of a full buffer when it happens, and say ourselves when to read on. What it leaves to the
real server: more forms of a target, deadlines and limits, WebSockets, TLS, workers, logs.
"""

import argparse
import asyncio
import pkgutil
import signal
import sys
import traceback
from typing import Any, cast

import h11

from examples.ladder.settled import PHRASES, App, Message, Request, Scope, http_scope, lifespan, refusal

HIGH_WATER = 65536  # bytes that wait for the app, before we stop reading
WAITING = (h11.NEED_DATA, h11.PAUSED, h11.ConnectionClosed())  # no event to act on


def judge(event: h11.Request) -> Request:
    """The head as before; RemoteProtocolError for what h11 is too kind to refuse."""
    headers = list(event.headers)
    if {b"content-length", b"transfer-encoding"} <= dict(headers).keys():  # two ways to find one end (RFC 9112 6.3)
        raise h11.RemoteProtocolError("Content-Length with Transfer-Encoding", error_status_hint=400)
    return Request(event.method.decode("ascii"), event.target, event.http_version.decode("ascii"), headers)


class Connection(asyncio.Protocol):
    """A client's connection: the event loop calls us when something happens."""

    def __init__(self, app: App, state: dict[str, Any]) -> None:
        self.app = app
        self.state = state
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HIGH_WATER)
        self.cycle: Cycle | None = None  # the request being answered
        self.writable = asyncio.Event()
        self.writable.set()

    # The event loop's side:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.h11.receive_data(data)
        self.advance()

    def eof_received(self) -> bool:
        """The client sends no more: it has left, as far as anybody can tell."""
        self.h11.receive_data(b"")
        self.advance()
        if self.cycle:
            self.cycle.leave()
        return self.cycle is not None  # True keeps our side open: it may be there for its answer

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        if self.cycle:
            self.cycle.leave()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    # Events:

    def advance(self) -> None:
        """Takes events up to the end of one request: what follows waits for its turn (RFC 9112 9.3.2)."""
        try:
            while (event := self.h11.next_event()) not in WAITING:
                self.on_event(event)
        except h11.RemoteProtocolError as error:
            self.refuse(error.error_status_hint)
        self.regulate()

    def on_event(self, event: Any) -> None:
        match event:
            case h11.Request():
                request, info = judge(event), self.transport.get_extra_info
                self.cycle = Cycle(request, self)
                scope = http_scope(request, info("peername"), info("sockname"), self.state)
                self.task = asyncio.create_task(self.cycle.run(self.app, scope))
            case h11.Data() if self.cycle:  # else nobody wants it: the response is complete
                self.cycle.feed(bytes(event.data))
            case h11.EndOfMessage():
                if self.cycle:
                    self.cycle.end()
                else:
                    self.h11.start_next_cycle()

    def regulate(self) -> None:
        """Reads on only while little of what came is waiting; the kernel makes the client wait."""
        unread = len(self.cycle.body) if self.cycle else 0
        if unread + len(self.h11.trailing_data[0]) > HIGH_WATER:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def refuse(self, status: int) -> None:
        """Answers for the app, if nobody has begun to, and closes."""
        if self.cycle:
            self.cycle.leave()
        if not self.cycle or self.cycle.held:
            self.write(refusal(status))
        self.transport.close()

    # The cycle's side:

    def send(self, *events: h11.Event) -> None:
        """Says something; LocalProtocolError, and nothing on the wire, if that is no HTTP."""
        self.write(b"".join([self.h11.send(event) or b"" for event in events]))

    def write(self, data: bytes) -> None:
        """Sends bytes, or drops them if the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def finished(self) -> None:
        """The response is complete: on to the next request, or the end."""
        self.cycle = None
        match self.h11.our_state, self.h11.their_state:
            case h11.DONE, h11.DONE:
                self.h11.start_next_cycle()
                self.advance()
            case h11.DONE, h11.SEND_BODY:
                self.advance()  # through what the app left unread
            case _:
                self.transport.close()


class Cycle:
    """One request and its response, as messages to and from the app (ASGI HTTP)."""

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.connection = connection
        self.body = b""  # what the app has not taken
        self.body_ended = False
        self.body_taken = False  # the app has all of it
        self.held = True  # the head, until there is content
        self.complete = False  # the response
        self.client_left = False
        self.changed = asyncio.Event()

    # The connection's side:

    def feed(self, data: bytes) -> None:
        """Some content came."""
        self.body += data
        self.changed.set()

    def end(self) -> None:
        """The request is complete."""
        self.body_ended = True
        self.changed.set()

    def leave(self) -> None:
        """The client is gone, or has to be treated so."""
        self.client_left = True
        self.changed.set()

    async def run(self, app: App, scope: Scope) -> None:
        """Awaits the app: the one place."""
        try:
            await app(scope, self.receive, self.send)
            if not (self.complete or self.client_left):
                raise RuntimeError("the app returned before its response was complete")
        except Exception:
            traceback.print_exc()
        if not self.complete:
            self.connection.refuse(500)

    # The app's side:

    async def receive(self) -> Message:
        """Some content, as soon as it comes; then, when it is time, that the client has left."""
        while not (self.client_left or self.complete):
            if self.body or (self.body_ended and not self.body_taken):
                body, self.body, self.body_taken = self.body, b"", self.body_ended
                self.connection.regulate()
                return {"type": "http.request", "body": body, "more_body": not self.body_ended}
            if self.connection.h11.they_are_waiting_for_100_continue:  # RFC 9110 10.1.1
                self.connection.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.changed.clear()
            await self.changed.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Sends at once, but for the head; returns when the client has taken enough of it."""
        match message["type"]:
            case "http.response.start":
                self.status, self.headers = message["status"], list(message.get("headers", []))
            case "http.response.body":
                self.send_body(message.get("body", b""), message.get("more_body", False))
        await self.connection.writable.wait()

    def send_body(self, body: bytes, more: bool) -> None:
        events: list[h11.Event] = [self.head(len(body), more)] if self.held else []
        if body and self.request.method != "HEAD":
            events.append(h11.Data(data=body))
        if not more:
            events.append(h11.EndOfMessage())
        self.connection.send(*events)
        self.held = False
        if not more:
            self.complete = True
            self.changed.set()
            self.connection.finished()

    def head(self, size: int, more: bool) -> h11.Response:
        """The head, with the length if it is known; else h11 chooses chunks, or to close (RFC 9112 6.3)."""
        headers = [field for field in self.headers if field[0].lower() != b"transfer-encoding"]
        has_length = b"content-length" in [name.lower() for name, _ in headers]
        if not has_length and not more and self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % size))
        return h11.Response(status_code=self.status, headers=headers, reason=PHRASES.get(self.status, b""))


async def serve(app: App, port: int) -> None:
    """Serves until Ctrl+C or SIGTERM."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with lifespan(app) as state:
        server = await loop.create_server(lambda: Connection(app, state), "127.0.0.1", port)
        print(f"Listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stop.wait()
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that is told what happens.")
    parser.add_argument("app", help="module:attribute")
    parser.add_argument("--port", type=int, default=8006)
    options = parser.parse_args()
    sys.path.insert(0, "")  # modules are looked for in the current directory, too
    asyncio.run(serve(pkgutil.resolve_name(options.app), options.port))


if __name__ == "__main__":
    main()

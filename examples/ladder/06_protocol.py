"""Rung 6: who hears that a client leaves while nobody asks? The event loop does, and calls us.

    python examples/ladder/06_protocol.py examples.hello.main:app --port 8006

It can do what a small server has to. The streams of asyncio are gone: with a Protocol we are told of bytes,
of their end and of a full buffer when it happens, and say ourselves when to read on. What it leaves to the
real server: more forms of a target, deadlines and limits, WebSockets, TLS, workers, logs.
"""

import asyncio
import traceback
from typing import Any, cast

import h11

from examples.ladder.settled import PHRASES, App, Message, Request, Scope, State, http_scope, main, refusal

HIGH_WATER = 65536  # bytes that wait for the app, before we stop reading
CLOSED = h11.ConnectionClosed()


def judge(event: h11.Request) -> Request:
    """The head as before; RemoteProtocolError for what h11 is too kind to refuse."""
    headers = list(event.headers)
    if {b"content-length", b"transfer-encoding"} <= dict(headers).keys():  # two ways to find one end (RFC 9112 6.3)
        raise h11.RemoteProtocolError("Content-Length with Transfer-Encoding", error_status_hint=400)
    return Request(event.method.decode("ascii"), event.target, event.http_version.decode("ascii"), headers)


class Connection(asyncio.Protocol):
    """A client's connection: the event loop calls us when something happens."""

    def __init__(self, app: App, state: State) -> None:
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
        return True  # our side stays open: it may be there for its answer

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
            while (event := self.h11.next_event()) not in (h11.NEED_DATA, h11.PAUSED, CLOSED):
                self.on_event(event)
            if event == CLOSED and not self.cycle:
                self.transport.close()
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
            case h11.EndOfMessage() if self.cycle:
                self.cycle.end()
            case h11.EndOfMessage():
                self.h11.start_next_cycle()

    def regulate(self) -> None:
        """Reads on only while little of what came is waiting; the kernel makes the client wait."""
        if len(self.h11.trailing_data[0]) + (len(self.cycle.body) if self.cycle else 0) > HIGH_WATER:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def refuse(self, status: int) -> None:
        """Answers for the app, if nobody has begun to, and closes."""
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
        if self.h11.our_state is not h11.DONE:
            self.transport.close()
            return
        if self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
        self.advance()  # what waited for its turn; or first, what the app left unread


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
        except Exception:
            traceback.print_exc()
        if not self.complete:  # it raised, or returned too early
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
                self.connection.send(h11.InformationalResponse(status_code=100, headers=[], reason=PHRASES[100]))
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
        await asyncio.sleep(0)  # an app that sends for ever to nobody must let others run
        await self.connection.writable.wait()

    def send_body(self, body: bytes, more: bool) -> None:
        events: list[h11.Event] = [self.head(len(body), more)] if self.held else []
        events += [h11.Data(data=body)] if body and self.request.method != "HEAD" else []
        events += [] if more else [h11.EndOfMessage()]
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


async def listen(app: App, state: State, port: int) -> asyncio.Server:
    """From now on, each client is ours."""
    return await asyncio.get_running_loop().create_server(lambda: Connection(app, state), "127.0.0.1", port)


if __name__ == "__main__":
    main(listen)

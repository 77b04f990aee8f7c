"""Rung 5: who reads HTTP so that nobody can smuggle? A parser that others have attacked for years: h11.

    python examples/ladder/05_h11.py examples.hello.main:app --port 8005

It can refuse what is no HTTP, in requests and in what the app sends, and asks for content only when the
app wants it. It cannot yet notice that a client leaves: it listens only while somebody calls `receive`.
"""

import asyncio
import functools
import traceback
from typing import Any

import h11

from examples.ladder.settled import PHRASES, App, Message, Request, Scope, State, http_scope, main, refusal


def judge(event: h11.Request) -> Request:
    """The head as before; RemoteProtocolError for what h11 is too kind to refuse."""
    headers = list(event.headers)
    if {b"content-length", b"transfer-encoding"} <= dict(headers).keys():  # two ways to find one end (RFC 9112 6.3)
        raise h11.RemoteProtocolError("Content-Length with Transfer-Encoding", error_status_hint=400)
    return Request(event.method.decode("ascii"), event.target, event.http_version.decode("ascii"), headers)


class Connection:
    """A client's connection: h11 knows what the bytes mean, and we carry them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)

    async def next_event(self) -> Any:
        """What the client says next; RemoteProtocolError if that is no HTTP."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.reader.read(65536))  # b"" tells it of the end
        return event

    async def send(self, *events: h11.Event) -> None:
        """Says something; LocalProtocolError, and nothing on the wire, if that is no HTTP."""
        self.writer.write(b"".join([self.h11.send(event) or b"" for event in events]))
        await self.writer.drain()


class Cycle:
    """One request and its response, as messages to and from the app (ASGI HTTP)."""

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.connection = connection
        self.body_ended = False  # the app has all of it
        self.held = True  # the head, until there is content
        self.complete = asyncio.Event()  # the response
        self.failed = False

    async def run(self, app: App, scope: Scope) -> None:
        """Awaits the app: the one place."""
        try:
            await app(scope, self.receive, self.send)
            if not (self.complete.is_set() or self.failed):
                raise RuntimeError("the app returned before its response was complete")
        except Exception:
            traceback.print_exc()
            self.fail(500)

    def fail(self, status: int) -> None:
        """Gives up: with a status if nothing was sent, else without an end."""
        if self.held and not self.failed:
            self.connection.writer.write(refusal(status))
        self.failed = True

    async def receive(self) -> Message:
        """Some content, as soon as it comes; after the last of it, the end of all, when it is there."""
        if not self.body_ended:
            if self.connection.h11.they_are_waiting_for_100_continue:  # RFC 9110 10.1.1
                await self.connection.send(h11.InformationalResponse(status_code=100, headers=[], reason=PHRASES[100]))
            try:
                event = await self.connection.next_event()
            except h11.RemoteProtocolError as error:  # it left, or sends no HTTP any more
                self.fail(error.error_status_hint)
                return {"type": "http.disconnect"}
            self.body_ended = not isinstance(event, h11.Data)
            body = b"" if self.body_ended else bytes(event.data)
            return {"type": "http.request", "body": body, "more_body": not self.body_ended}
        await self.complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Sends at once, but for the head; returns when the client has taken enough of it."""
        if self.failed:
            return  # nobody listens
        match message["type"]:
            case "http.response.start":
                self.status, self.headers = message["status"], list(message.get("headers", []))
            case "http.response.body":
                body, more = message.get("body", b""), message.get("more_body", False)
                events: list[h11.Event] = [self.head(len(body), more)] if self.held else []
                events += [h11.Data(data=body)] if body and self.request.method != "HEAD" else []
                events += [] if more else [h11.EndOfMessage()]
                await self.connection.send(*events)
                self.held = False
                if not more:
                    self.complete.set()

    def head(self, size: int, more: bool) -> h11.Response:
        """The head, with the length if it is known; else h11 chooses chunks, or to close (RFC 9112 6.3)."""
        headers = [field for field in self.headers if field[0].lower() != b"transfer-encoding"]
        has_length = b"content-length" in [name.lower() for name, _ in headers]
        if not has_length and not more and self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % size))
        return h11.Response(status_code=self.status, headers=headers, reason=PHRASES.get(self.status, b""))


async def answer(app: App, state: State, connection: Connection) -> bool:
    """Answers one request; False if it was the last."""
    event = await connection.next_event()
    if not isinstance(event, h11.Request):
        return False  # the client left
    request, info = judge(event), connection.writer.get_extra_info
    await Cycle(request, connection).run(app, http_scope(request, info("peername"), info("sockname"), state))
    states = connection.h11
    while states.our_state is h11.DONE and states.their_state is h11.SEND_BODY:
        await connection.next_event()  # what the app left unread
    if states.our_state is h11.DONE and states.their_state is h11.DONE:
        states.start_next_cycle()
        return True
    return False


async def converse(app: App, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request after the other, until one of both sides has enough."""
    try:
        connection = Connection(reader, writer)
        while await answer(app, state, connection):
            pass
    except h11.RemoteProtocolError as error:
        writer.write(refusal(error.error_status_hint))
    except ConnectionError:
        pass  # the client left
    finally:
        writer.close()


async def listen(app: App, state: State, port: int) -> asyncio.Server:
    """From now on, each client is ours."""
    return await asyncio.start_server(functools.partial(converse, app, state), "127.0.0.1", port)


if __name__ == "__main__":
    main(listen)

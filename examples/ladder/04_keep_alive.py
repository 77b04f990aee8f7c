"""Rung 4: where does a message end? Who knows it can send the next one on the same connection.

    python examples/ladder/04_keep_alive.py examples.hello.main:app --port 8004

It can keep a connection for many requests, and frame content in both directions: by its length, in
chunks, or by the end of the connection. It cannot yet: tell a request from an attack, or notice that
a client leaves, since what it would read to find out may be the next request.
"""

import asyncio
import enum
import functools
import traceback

from examples.ladder.settled import (
    App,
    Message,
    Request,
    Scope,
    State,
    http_scope,
    main,
    parse_head,
    refusal,
    render_head,
)


class Content:
    """The content of a request, freed from its framing (RFC 9112 6.3)."""

    def __init__(self, request: Request, reader: asyncio.StreamReader) -> None:
        headers = dict(request.headers)
        self.reader = reader
        self.chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        self.left = 0 if self.chunked else int(headers.get(b"content-length", 0))  # bytes, of the chunk or of all
        self.ended = not self.chunked and not self.left

    async def read(self) -> bytes:
        """Some of it, as soon as it comes; b"" at the end."""
        if self.chunked and not self.left and not self.ended:
            await self.begin_chunk()
        data = await self.reader.read(min(self.left, 65536)) if self.left else b""
        if self.left and not data:
            raise ConnectionError("the client left")
        self.left -= len(data)
        if self.chunked and not self.left and data:
            await self.reader.readexactly(2)  # the line end behind a chunk
        self.ended = self.ended or not (self.chunked or self.left)
        return data

    async def begin_chunk(self) -> None:
        """Reads the size of a chunk; 0 is the end (RFC 9112 7.1)."""
        line = await self.reader.readuntil(b"\r\n")
        self.left = int(line.partition(b";")[0], 16)
        if not self.left:
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailer fields: nobody may take them for header fields (RFC 9110 6.5.1)
            self.ended = True


class Framing(enum.Enum):
    """How the client will know where the content ends (RFC 9112 6.3)."""

    HELD = "not settled: the head is held until there is content"
    NONE = "no content: HEAD, 204, 304"
    LENGTH = "content-length"
    CHUNKED = "transfer-encoding: chunked"
    CLOSE = "the end of the connection"


class Cycle:
    """One request and its response, as messages to and from the app (ASGI HTTP)."""

    def __init__(self, request: Request, content: Content, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.content = content
        self.writer = writer
        self.body_ended = False  # the app has all of it
        self.framing = Framing.HELD
        self.complete = asyncio.Event()  # the response
        options = dict(request.headers).get(b"connection", b"").lower()
        self.keep_alive = request.http_version == "1.1" and b"close" not in options  # RFC 9112 9.3

    async def run(self, app: App, scope: Scope) -> None:
        """Awaits the app: the one place."""
        try:
            await app(scope, self.receive, self.send)
            if not self.complete.is_set():
                raise RuntimeError("the app returned before its response was complete")
        except Exception:
            traceback.print_exc()
            self.keep_alive = False
            if self.framing is Framing.HELD:
                self.writer.write(refusal(500))

    async def receive(self) -> Message:
        """Some content, as soon as it comes; after the last of it, the end of all, when it is there."""
        if not self.body_ended:
            try:
                body = await self.content.read()
            except (asyncio.IncompleteReadError, ConnectionError):
                self.keep_alive = False
                return {"type": "http.disconnect"}
            self.body_ended = self.content.ended
            return {"type": "http.request", "body": body, "more_body": not self.body_ended}
        await self.complete.wait()  # to read on would eat the next request
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Sends at once, but for the head; returns when the client has taken enough of it."""
        match message["type"]:
            case "http.response.start":
                self.status, self.headers = message["status"], list(message.get("headers", []))
            case "http.response.body":
                body, more = message.get("body", b""), message.get("more_body", False)
                self.writer.write(self.render(body, more))
                if not more:
                    self.complete.set()
        await self.writer.drain()

    def render(self, body: bytes, more: bool) -> bytes:
        """A piece of content as it has to be framed; before the first, the head."""
        head = self.head(len(body), more) if self.framing is Framing.HELD else b""
        match self.framing:
            case Framing.NONE:
                return head
            case Framing.CHUNKED:
                chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""  # an empty one would be the last
                return head + chunk + (b"" if more else b"0\r\n\r\n")
            case _:
                return head + body

    def head(self, size: int, more: bool) -> bytes:
        """Settles the framing; the size of the first content is that of all, if it is the last, too."""
        framing_fields = (b"transfer-encoding", b"connection")  # ours to choose
        headers = [field for field in self.headers if field[0].lower() not in framing_fields]
        has_length = b"content-length" in [name.lower() for name, _ in headers]
        if not has_length and not more and self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % size))
            has_length = True
        if self.request.method == "HEAD" or self.status in (204, 304):
            self.framing = Framing.NONE
        elif has_length:
            self.framing = Framing.LENGTH
        elif self.request.http_version == "1.1":
            self.framing = Framing.CHUNKED
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            self.framing = Framing.CLOSE
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        return render_head(self.status, headers)


async def answer(app: App, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answers one request; False if it was the last."""
    request = parse_head(await reader.readuntil(b"\r\n\r\n"))
    content = Content(request, reader)
    cycle = Cycle(request, content, writer)
    client, server = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    await cycle.run(app, http_scope(request, client, server, state))
    while cycle.keep_alive and await content.read():
        pass  # what the app left unread would pass for the next request
    return cycle.keep_alive


async def converse(app: App, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request after the other, until one of both sides has enough."""
    try:
        while await answer(app, state, reader, writer):
            pass
    except asyncio.LimitOverrunError:  # a StreamReader keeps 64 KiB
        writer.write(refusal(431))
    except ValueError:
        writer.write(refusal(400))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client left
    finally:
        writer.close()


async def listen(app: App, state: State, port: int) -> asyncio.Server:
    """From now on, each client is ours."""
    return await asyncio.start_server(functools.partial(converse, app, state), "127.0.0.1", port)


if __name__ == "__main__":
    main(listen)

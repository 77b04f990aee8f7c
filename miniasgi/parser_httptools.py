"""Bytes to events with httptools: Node's llhttp, in C, fast.

Owns an `httptools.HttpRequestParser` and the count of bytes that llhttp swallows without a word. Knows no event
loop, no socket, no ASGI. Where llhttp differs from h11: it knows a fixed list of methods (`PURGE2` is a 400 here,
and reaches the app through h11).

llhttp calls while it reads; here, what is called writes on a list, and `feed` hands the list out. A piece is read to
its end, whoever wants to know: a request behind the first one is an event then, but nobody has asked for it yet. All
known differences stand in tests/test_parsers_agree.py; in each of them, one of the two refuses, or says no sooner,
or with another status.
"""

from collections.abc import Iterator

import httptools

from .events import END, BadRequest, Body, Event, Request
from .rules import Limits

# llhttp gives a sentence, not a code, for a version that we answer with 505 (RFC 9110 15.6.6).
_NOT_OUR_VERSION = ("Invalid HTTP version", "Pause on PRI/Upgrade")
_FRAMING = (b"content-length", b"transfer-encoding")


class HttptoolsParser:
    """The parser of one connection (RFC 9112). `feed` it bytes, iterate over the events.

    Its `on_...` methods are llhttp's to call, from inside of `feed`.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.events: list[Event] = []  # that llhttp has told of and nobody has taken
        self.headers: list[tuple[bytes, bytes]] = []  # of the head in the making, or its trailers
        self.target = b""  # as far as it has come
        self.unread = b""  # see `Parser`
        self.silent = 0  # bytes fed since the last event: a head, or chunk framing, in the making
        self.parser = httptools.HttpRequestParser(self)

    def __repr__(self) -> str:
        return f"<HttptoolsParser {self.silent} bytes into the unknown>"

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yields the events that `data` completes; raises `BadRequest` after those before it.

        llhttp bounds nothing, so it never gets more bytes than a head may have left: an endless
        field, chunk extension or trailer section stops at `limits.head`. (One that begins in the
        middle of a piece, behind another event, may get twice as many.)
        """
        while data:
            room = self.limits.head - self.silent
            piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            failure, rest = self._parse(piece)
            events, self.events = self.events, []
            self.silent = 0 if events else self.silent + len(piece)
            self.unread = rest + data
            yield from events
            if failure is not None:
                raise failure
            if self.silent >= self.limits.head:
                raise self.limits.overrun(len(self.target))
            data = rest + data if rest else data

    def _parse(self, piece: bytes) -> tuple[BadRequest | None, bytes]:
        """Feeds llhttp; gives its complaint, and the bytes it left because it saw an upgrade.

        The complaint is returned, not raised: the events before it are in `events`, and have to be told first.
        """
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as stop:
            return self._ignore_upgrade(), piece[stop.args[0] :]
        except httptools.HttpParserError as error:
            status = 505 if str(error) in _NOT_OUR_VERSION else 400
            return BadRequest(status, str(error)), b""
        return None, b""

    def _ignore_upgrade(self) -> BadRequest | None:
        """The head asks for a protocol we do not speak: stays with HTTP (RFC 9110 7.8).

        llhttp leaves the content to that protocol. A new parser is given the fields that frame
        the content, and goes on from there: else the content would be read as the next request.
        """
        *before, request, _ = self.events  # an END that came too early
        assert isinstance(request, Request)
        lines = [b"%s: %s\r\n" % field for field in request.headers if field[0] in _FRAMING]
        self.events = list(before)
        self.parser = httptools.HttpRequestParser(self)
        # b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n": llhttp takes it without a Host, which `judge` has seen to.
        failure, _ = self._parse(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(lines))
        self.events[len(before)] = request  # instead of the one we made up
        return failure

    # What llhttp calls while it reads:

    def on_url(self, url: bytes) -> None:
        """Some of the target; it comes in pieces, where those of the network cut it."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, whole: of a head, or of a trailer section."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))  # OWS, RFC 9112 5.1

    def on_headers_complete(self) -> None:
        """A head is there. Its list of headers goes with it, and is not touched again."""
        method = self.parser.get_method().decode("ascii")
        version = self.parser.get_http_version()
        self.events.append(Request(method, self.target, version, self.headers))
        self.target, self.headers = b"", []

    def on_body(self, data: bytes) -> None:
        """Some content, without chunk framing."""
        self.events.append(Body(data))

    def on_message_complete(self) -> None:
        """The request is complete, with its trailers."""
        self.headers = []  # trailer fields never become header fields, RFC 9110 6.5.1
        self.events.append(END)

"""Bytes to events with h11: pure Python, readable down to the last line.

Owns an `h11.Connection` per message and the bytes of a head in the making. Knows no event loop, no socket, no ASGI.
h11 reads and never writes here; where it is kinder than RFC 9112, we say no before it says yes.

A connection per message, as h11 wants to see both directions before it begins the next one, and our responses do not
go through it. What it is kind to: bare line feeds and folded lines, which old clients sent, and repeated lengths, of
which it shows one. A proxy before us may be kind in another way, and between two kinds of kindness a request is
smuggled.
"""

import re
from collections.abc import Generator, Iterator

import h11

from .events import END, BadRequest, Body, Event, Request
from .rules import Limits

_HEAD_END = b"\r\n\r\n"  # the empty line behind the last field
# A bare LF or CR, a folded line, a control character: RFC 9112 2.2 and 5.2, RFC 9110 5.5.
_LAX = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# What h11 would merge into one: two framing fields, or a list of lengths (RFC 9112 6.3).
_FRAMING = rb"\n(?:content-length|transfer-encoding):"
_MERGED = re.compile(rb"\ncontent-length:[^\r]*,|%b.*%b" % (_FRAMING, _FRAMING), re.IGNORECASE | re.DOTALL)


class H11Parser:
    """The parser of one connection (RFC 9112). `feed` it bytes, iterate over the events.

    `limits.head` bounds what is kept, in bytes: of a head, of chunk framing, of a trailer section.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.head = b""  # as far as it has come
        self.skipped = 0  # bytes of empty lines before it: without a bound, they could go on for ever
        self.message: h11.Connection | None = None  # None: in a head, or before one
        self.unread = b""  # see `Parser`
        self.chunked = False
        self.tail = b""  # the latest bytes of a chunked message, to judge its trailer section by

    def __repr__(self) -> str:
        return f"<H11Parser {'in a body' if self.message else f'{len(self.head)} bytes of head'}>"

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yields the events that `data` completes; raises `BadRequest` after those before it.

        A generator: it parses as far as it is asked. Behind the last event taken, all is bytes still, so that of a
        thousand pipelined requests one is made at a time.
        """
        try:
            while data:
                if self.message is None:
                    data = self._gather_head(data)
                    if self.message is None:
                        return
                    self.unread = data
                    yield self._request(self.message)
                data = yield from self._content(self.message, data)
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, str(error)) from None

    def _gather_head(self, data: bytes) -> bytes:
        """Collects bytes until the head ends; gives the bytes after it. Or raises `BadRequest`, as soon as it can.

        h11 gets a head only when it is whole and clean. Each search goes on where the last one ended (`seen`): a
        client that sends byte by byte would cost the square of its head otherwise.
        """
        seen = len(self.head)
        # Empty lines before a request line are to be ignored (RFC 9112 2.2).
        self.head = (self.head + data).lstrip(b"\r\n")
        self.skipped += seen + len(data) - len(self.head)
        end = self.head.find(_HEAD_END, max(0, seen - len(_HEAD_END)))  # b"\r\n\r" may have been there
        head = self.head if end < 0 else self.head[: end + len(_HEAD_END)]
        if len(head) + self.skipped > self.limits.head:
            raise self.limits.overrun(len(head.partition(b"\r\n")[0]))
        # Judged before it is complete: a head of bare line feeds would never come to its end.
        if lax := _LAX.search(head, max(0, seen - 1)):
            raise BadRequest(400, f"{lax[0]!r} in the request head (RFC 9112 2.2)")
        if end < 0:
            return b""
        if _MERGED.search(head):
            raise BadRequest(400, "repeated Content-Length or Transfer-Encoding (RFC 9112 6.3)")
        rest, self.head, self.skipped = self.head[len(head) :], b"", 0
        self.message = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head)
        self.message.receive_data(head)
        return rest

    def _request(self, message: h11.Connection) -> Request:
        """The head that h11 has read, in our words: bytes and str, where h11 has subclasses of its own."""
        head = message.next_event()
        assert isinstance(head, h11.Request)  # the whole head is there: nothing else can come
        version, target = head.http_version.decode("ascii"), bytes(head.target)
        headers = [(bytes(name), bytes(value)) for name, value in head.headers]
        self.chunked, self.tail = b"transfer-encoding" in dict(headers), b""
        return Request(head.method.decode("ascii"), target, version, headers)

    def _content(self, message: h11.Connection, data: bytes) -> Generator[Event, None, bytes]:
        """Yields the content in `data`; returns the bytes that belong to the next message.

        h11 tells how many trailer fields it has read, and is as kind to them as to a head. So the last bytes of the
        message, kept in `tail`, must be that many clean lines: b"0\\r\\nA: b\\r\\n\\r\\n" for one. Raises
        `BadRequest` in place of END if they are not.
        """
        if data:  # to h11, no bytes are the end of the stream
            message.receive_data(data)
            if self.chunked:
                self.tail = (self.tail + data)[-self.limits.head - len(data) :]
        while isinstance(event := message.next_event(), h11.Data):
            yield Body(bytes(event.data))
        if not isinstance(event, h11.EndOfMessage):
            return b""
        rest: bytes = message.trailing_data[0]
        # A bare line feed or a folded line that h11 reads and others do not: two readers that disagree
        # on where a message ends are how requests get smuggled (RFC 9112 2.2, 11.2).
        clean = rb"\n(?:\S[^\r\n]*\r\n){%d}\r\n\Z" % len(event.headers)
        if self.chunked and not re.search(clean, self.tail[: len(self.tail) - len(rest)]):
            raise BadRequest(400, "invalid trailer section (RFC 9112 7.1.2)")
        self.message = None
        yield END
        return rest

"""A response as HTTP/1.1 bytes: status line, header fields, framing (RFC 9112).

Owns the wire format of what we send and the checks on what an app may put there. Knows no ASGI
message, no socket and no event loop: it is given values and gives bytes back. The head is *held*
until the first content, so that a simple response is one write with a content-length, and so that
an app that fails in between can still be answered with a clean 500.
"""

import enum
import http
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate

from .rules import Terms
from .types import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # field-name, RFC 9110 5.6.2
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # all but HTAB, RFC 9110 5.5
_STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s, s.phrase.encode()) for s in http.HTTPStatus}
FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection"))
_DEFAULTS = frozenset((b"date", b"server"))  # that an app's own replace
_MOST_LINES, _LONGEST_LINE = 1024, 128


class HeaderLines(dict[tuple[bytes, bytes], bytes]):
    """Fields seen before as the lines to send, checked and with lower-case names: a field is judged once.

    Bounded, so that an app that invents fields cannot fill the memory.
    """

    def __missing__(self, field: tuple[bytes, bytes]) -> bytes:
        name, value = field
        if name == b"content-length":
            return b""  # seldom twice the same; `Response.start` reads it itself
        if not (isinstance(name, bytes) and isinstance(value, bytes)):
            raise TypeError(f"header {name!r}: {value!r} must be bytes and bytes")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"invalid header name {name!r} (RFC 9110 5.1)")
        if value.translate(None, _CONTROLS) != value:  # or responses would split, RFC 9110 5.5
            raise ValueError(f"control character in header {name!r}: {value!r}")
        line = b"%s: %s\r\n" % (name.lower(), value)
        if len(self) < _MOST_LINES and len(line) <= _LONGEST_LINE:
            self[field] = line
        return line


class DefaultHeaders:
    """The header lines that every response carries: `--header`, Server and Date.

    Rendered once a second, while there is traffic. `extra` overrules our own Server.
    """

    def __init__(self, server: bool = True, date: bool = True, extra: Headers | None = None):
        self._fixed = [(name.lower(), value) for name, value in extra or []]
        if server and all(name != b"server" for name, _ in self._fixed):
            self._fixed.append((b"server", b"miniasgi"))
        self._date = date and all(name != b"date" for name, _ in self._fixed)
        self._second = 0
        self._lines = b""

    def lines(self) -> bytes:
        """Header lines, each with its CR LF; valid until the second is over."""
        now = int(time.time())
        if now != self._second:
            self._second, self._lines = now, self.lines_without(())
        return self._lines

    def lines_without(self, names: Iterable[bytes]) -> bytes:
        """The same for an app that sends some of these fields itself."""
        fields = list(self._fixed)
        if self._date:
            fields.append((b"date", formatdate(time.time(), usegmt=True).encode()))
        return b"".join(b"%s: %s\r\n" % field for field in fields if field[0] not in names)


class Framing(enum.Enum):
    """How the client will know where the content ends (RFC 9112 6.3)."""

    HELD = "not settled: the head is held"
    NONE = "no content: HEAD, 204, 304"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "the end of the connection"


@dataclass(slots=True, eq=False)
class Response:
    """One response, fed with what the app says, giving the bytes to send.

    `keep_alive` tells whether another request may follow on the connection. Every method checks
    before it changes anything; what it raises is the app's mistake (TypeError, ValueError,
    RuntimeError), and nothing of that call is on the wire.
    """

    method: str
    http_version: str
    terms: Terms
    defaults: DefaultHeaders
    known: HeaderLines
    status: int = 0
    framing: Framing = Framing.HELD
    keep_alive: bool = field(init=False)
    trailers_wanted: bool = field(init=False)
    _lines: list[bytes] = field(init=False)
    _own: list[bytes] = field(init=False)  # names of fields that replace a default
    _length: int | None = None  # bytes of content still to come, where it is known

    def __post_init__(self) -> None:
        # Who waits for a 100 and gets an answer instead may or may not send the content
        # (RFC 9110 10.1.1): only closing is safe, until we have asked for it.
        self.keep_alive = self.terms.keep_alive and not self.terms.expects_continue
        self.trailers_wanted = self.terms.accepts_trailers

    def __repr__(self) -> str:
        return f"<Response {self.status or '-'} {self.framing.name}>"

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]], trailers: bool) -> None:
        """Checks and keeps the head; sends nothing yet."""
        if not isinstance(status, int):
            raise TypeError(f"status {status!r} must be an int")
        if not 200 <= status <= 999:
            raise ValueError(f"status {status} is not a final status code (RFC 9110 15)")
        lines, own, length, keep_alive, known = [], [], None, self.keep_alive, self.known
        for name, value in headers:
            line = known[name, value]
            lower = name.lower()
            if lower == b"content-length":
                length = _parse_length(value, length)
            elif lower == b"connection":
                keep_alive = keep_alive and b"close" not in value.lower()
            elif lower != b"transfer-encoding":  # which is ours to choose, ASGI HTTP 2.5 (H18)
                lines.append(line)
                if lower in _DEFAULTS:
                    own.append(lower)
        self.status, self.keep_alive = status, keep_alive
        self.trailers_wanted = self.trailers_wanted and bool(trailers)
        self._lines, self._own, self._length = lines, own, length

    def early_hint(self, links: Iterable[bytes]) -> bytes:
        """An interim response that names what the client may fetch already (RFC 8297)."""
        lines = b"".join([self.known[b"link", link] for link in links])
        if self.http_version != "1.1" or self.framing is not Framing.HELD:
            return b""  # HTTP/1.0 knows no interim responses (RFC 9110 15.2); or it is too late
        return _STATUS_LINES[103] + lines + b"\r\n"

    def content(self, data: bytes, more: bool) -> bytes:
        """The bytes for a piece of content, after the held head if it is the first one."""
        framing, length = self.framing, self._length
        held = framing is Framing.HELD
        if held:
            framing, length = self._choose(len(data), more)
        left = length
        if framing is Framing.LENGTH:
            assert length is not None
            left = _count_down(length, len(data), more)
        head = self._head(framing, length) if held else b""
        self.framing, self._length = framing, left
        if framing is Framing.CHUNKED:
            return head + _chunk(data, more, self.trailers_wanted)
        return head if framing is Framing.NONE else head + data

    def file(self, size: int) -> tuple[bytes, int]:
        """The head for a file of `size` bytes, and how many of them are to follow it."""
        if self.framing is not Framing.HELD:
            raise RuntimeError("a file is the whole content: none may come before it")
        count = size if self._length is None else self._length
        if count > size:
            raise RuntimeError(f"the file is {count - size} bytes short of the content-length")
        self.trailers_wanted = False  # raw bytes leave no room for chunks
        framing, length = self._choose(count, more=False)
        head = self._head(framing, length)
        self.framing = framing
        return head, 0 if framing is Framing.NONE else count

    def trailers(self, headers: Iterable[tuple[bytes, bytes]], more: bool) -> bytes:
        """Trailer fields after the last chunk (RFC 9112 7.1.2); none that frame or route (RFC 9110 6.5.1)."""
        lines = b"".join([self.known[name, value] for name, value in headers if name.lower() not in FRAMING])
        return lines if more else lines + b"\r\n"

    def failure(self) -> bytes:
        """The app failed: a clean 500 if nothing was sent yet, else nothing (A8)."""
        self.keep_alive = False
        if self.framing is not Framing.HELD:
            return b""
        self.status, self.framing = 500, Framing.LENGTH
        return refusal(500, self.defaults, self.method != "HEAD")

    def _choose(self, size: int, more: bool) -> tuple[Framing, int | None]:
        """The framing and the content-length to announce; `size` is that of the first content."""
        length = self._length
        if self.status == 204:  # nor a content-length, RFC 9110 8.6
            return Framing.NONE, None
        if self.status == 304:
            return Framing.NONE, length
        if length is None and not more and not self.trailers_wanted:
            length = size
        if self.method == "HEAD":  # what the same GET would announce, RFC 9110 9.3.2
            return Framing.NONE, length
        if length is not None and not self.trailers_wanted:
            return Framing.LENGTH, length
        return Framing.CHUNKED if self.http_version == "1.1" else Framing.CLOSE, None

    def _head(self, framing: Framing, length: int | None) -> bytes:
        """Status line and header lines, up to the empty line that ends them."""
        self.keep_alive = self.keep_alive and framing is not Framing.CLOSE
        # A response without content has no end for trailers to follow (RFC 9112 6.3, 7.1.2).
        self.trailers_wanted = self.trailers_wanted and framing is Framing.CHUNKED
        own, defaults = self._own, self.defaults
        parts = [
            _STATUS_LINES.get(self.status) or b"HTTP/1.1 %d \r\n" % self.status,
            defaults.lines_without(own) if own else defaults.lines(),
            *self._lines,
        ]
        if length is not None:
            parts.append(b"content-length: %d\r\n" % length)
        elif framing is Framing.CHUNKED:
            parts.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        elif self.http_version == "1.0":
            parts.append(b"connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


def refusal(status: int, defaults: DefaultHeaders, content: bool = True) -> bytes:
    """A whole response of our own, after which the connection closes (400, 408, 500, 503 ...).

    The text tells the client no more than the status does: details are for our log.
    """
    text = b"%d %s\n" % (status, http.HTTPStatus(status).phrase.encode())
    head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
    return _STATUS_LINES[status] + defaults.lines() + head + (text if content else b"")


def _chunk(data: bytes, more: bool, trailers: bool) -> bytes:
    """One chunk, and the last one after it if no more come (RFC 9112 7.1).

    An empty chunk would end the content, so no data is no chunk.
    """
    last = b"" if more else b"0\r\n" if trailers else b"0\r\n\r\n"
    return b"%x\r\n%b\r\n%b" % (len(data), data, last) if data else last


def _count_down(length: int, size: int, more: bool) -> int:
    """What is left of a content-length after `size` bytes (RFC 9112 6.3 and 8)."""
    if size > length:
        raise RuntimeError(f"content is {size - length} bytes over its content-length")
    if size < length and not more:
        raise RuntimeError(f"content is {length - size} bytes short of its content-length")
    return length - size


def _parse_length(value: bytes, earlier: int | None) -> int:
    if not isinstance(value, bytes):
        raise TypeError(f"content-length {value!r} must be bytes")
    if not value.isdigit() or earlier not in (None, int(value)):
        raise ValueError(f"invalid content-length {value!r} (RFC 9110 8.6)")
    return int(value)

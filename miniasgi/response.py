"""A response as HTTP/1.1 bytes: status line, header fields, framing (RFC 9112).

Owns the wire format of what we send and the checks on what an app may put there. Knows no ASGI message, no socket
and no event loop: it is given values and gives bytes back. The head is *held* until the first content, so that a
simple response is one write with a content-length, and so that an app that fails in between can still be answered
with a clean 500.

What is wrong raises before any byte of it exists. uvicorn marks a response as started before it looks at the
headers; an app with one bad header then drops the connection, and the client never learns why.
"""

import enum
import http
import re
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate

from .events import Request
from .rules import Terms
from .types import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # field-name, RFC 9110 5.6.2
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # all but HTAB, RFC 9110 5.5
# By status: b"HTTP/1.1 404 Not Found\r\n". The version is ours, not the client's: to HTTP/1.0, too (RFC 9110 6.2).
_STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s, s.phrase.encode()) for s in http.HTTPStatus}
_NO_CONTENT = (204, 304)  # RFC 9110 15.3.5, 15.4.5
# Ours to write, whatever the app has: a second one would let client and proxy disagree on the end (RFC 9112 6.3).
FRAMING = (b"content-length", b"transfer-encoding", b"connection")
_DEFAULTS = (b"date", b"server")  # that an app's own replace
_MOST_LINES, _LONGEST_LINE = 1024, 128  # bytes: the table stays under 128 KiB of lines


class HeaderLines(dict[tuple[bytes, bytes], bytes]):
    """Header fields as the lines to send: those of apps, each judged once, and the default ones.

    `known[b"X-One", b"1"]` is b"x-one: 1\\r\\n". Maps a field to its line, with a lower-case name; a field of
    `FRAMING` to nothing, because the framing is ours. Raises TypeError for what is not bytes and ValueError for what
    is no field. An app sends the same few fields again and again: each is checked and rendered once.

    Bounded, so that an app that invents fields cannot fill the memory. The defaults are `extra`, which overrules our
    own Server and Date, Server, and Date. One table serves a whole server.
    """

    __slots__ = ("_are_final", "_date", "_fixed", "_joined", "_lines", "_second")

    def __init__(self, server: bool = True, date: bool = True, extra: Headers | None = None) -> None:
        super().__init__()
        self._fixed = [(name.lower(), value) for name, value in extra or []]
        names = [name for name, _ in self._fixed]
        if server and b"server" not in names:
            self._fixed.append((b"server", b"miniasgi"))
        self._date = date and b"date" not in names
        self._second = 0  # that `_lines` were rendered in, since the epoch
        self._lines: list[bytes] = []  # the defaults, rendered
        self._joined = b""  # the same as one: b"server: miniasgi\r\ndate: ...\r\n"
        self._are_final = True  # no app has sent one of its own so far

    def __missing__(self, field: tuple[bytes, bytes]) -> bytes:
        """Judges and renders a field that is not in the table, and keeps it if there is room (RFC 9110 5.1, 5.5)."""
        name, value = field
        if not (isinstance(name, bytes) and isinstance(value, bytes)):
            raise TypeError(f"header {name!r}: {value!r} must be bytes and bytes")
        if name.lower() in FRAMING:
            return b""  # and seldom twice the same
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"invalid header name {name!r} (RFC 9110 5.1)")
        # b"1\r\nset-cookie: a=b" would be two fields, and b"1\r\n\r\n..." a second response, by whoever put
        # them into a redirect's URL (RFC 9110 5.5, RFC 9112 11.1).
        if value.translate(None, _CONTROLS) != value:
            raise ValueError(f"control character in header {name!r}: {value!r}")
        line = b"%s: %s\r\n" % (name.lower(), value)
        self._are_final = self._are_final and name.lower() not in _DEFAULTS
        if len(self) < _MOST_LINES and len(line) <= _LONGEST_LINE:
            self[field] = line
        return line

    def defaults(self, lines: Sequence[bytes] = ()) -> bytes:
        """The lines of every response, but those that `lines` replace; rendered once a second, if there is traffic.

        `lines` are rendered ones, of the app. Date is what a server with a clock has to send (RFC 9110 6.6.1).
        """
        now = int(time.time())
        if now != self._second:
            self._second = now
            date = [(b"date", formatdate(now, usegmt=True).encode())] if self._date else []
            self._lines = [b"%s: %s\r\n" % field for field in self._fixed + date]
            self._joined = b"".join(self._lines)
        # Nearly always: no app in sight sends a Date or a Server of its own, so nothing need be looked for.
        if self._are_final or not lines:
            return self._joined
        replaced = {line.partition(b":")[0] for line in lines}.intersection(_DEFAULTS)
        return b"".join([line for line in self._lines if line.partition(b":")[0] not in replaced])


class Framing(enum.Enum):
    """How the client will know where the content ends (RFC 9112 6.3).

    Settled once, with the first content, by `Response._head`: until then HELD, from then on never changed.
    """

    HELD = "not settled: the head is held"
    NONE = "no content: HEAD, 204, 304"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "the end of the connection"


HELD, NONE, LENGTH, CHUNKED, CLOSE = Framing


class Response:
    """One response, fed with what the app says, giving the bytes to send.

    The order of calls: `start`, then `content` until `more` is False, or `file` once; then `trailer_section` while
    `trailers`. `early_hint` any time, `failure` at the end. Whoever calls keeps that order; here it is not checked.

    `terms.keep_alive` tells whether another request may follow on the connection. Every method checks before it
    changes anything; what it raises is the app's mistake (TypeError, ValueError, RuntimeError), and nothing of that
    call is on the wire.
    """

    def __init__(self, request: Request, terms: Terms, known: HeaderLines) -> None:
        self.request = request
        self.terms = terms
        self.known = known
        self.status = 0  # none yet; what the access log shows
        self.framing = HELD
        self.is_empty = False  # there can be no content, whatever the app says (RFC 9112 6.3)
        self.trailers = False  # are to come
        self._lines: list[bytes] = []  # of the app's head, in its order, content-length among them (H19)
        self._length: int | None = None  # bytes of content still to come, where the app said so

    def __repr__(self) -> str:
        return f"<Response {self.status or '-'} {self.framing.name}>"

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]], trailers: bool) -> None:
        """Checks and keeps the head; sends nothing yet (H17).

        `headers` are pairs of bytes, lists or tuples, from any iterable. Content-Length may be repeated if it is the
        same; Transfer-Encoding is dropped (H18), and of Connection only `close` is heeded. `trailers` counts only
        for a client that takes them (E7).
        """
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"status {status!r} is not a final status code (RFC 9110 15)")
        lines: list[bytes] = []
        length, keep_alive, known = None, self.terms.keep_alive, self.known
        for name, value in headers:
            # The length is seldom twice the same, and in nearly every head: not even looked up.
            if line := name != b"content-length" and known[name, value]:
                lines.append(line)
            elif name.lower() == b"content-length":
                size = _size(value)
                if length is None:  # at its place: the order of an app's fields is not ours to change (H19)
                    lines.append(b"content-length: %d\r\n" % size)
                elif length != size:
                    raise ValueError(f"another content-length, {value!r} (RFC 9110 8.6)")
                length = size
            elif name.lower() == b"connection":  # Transfer-Encoding is ours to choose, ASGI HTTP 2.5 (H18)
                keep_alive = keep_alive and b"close" not in value.lower()
        # All is checked: only now does anything change. An app that catches the error may start again.
        self.status, self.terms.keep_alive = status, keep_alive
        self.is_empty = status in _NO_CONTENT or self.request.method == "HEAD"
        self.trailers = bool(trailers) and self.terms.accepts_trailers
        self._lines, self._length = lines, length

    def early_hint(self, links: Iterable[bytes]) -> bytes:
        """An interim response that names what the client may fetch already (RFC 8297).

        `links` are values of Link fields, bytes. Gives b"" where it cannot be said any more, or to HTTP/1.0; checked
        all the same.
        """
        lines = b"".join([self.known[b"link", link] for link in links])
        if self.request.http_version != "1.1" or self.framing is not HELD:
            return b""  # HTTP/1.0 knows no interim responses (RFC 9110 15.2); or it is too late
        return _STATUS_LINES[103] + lines + b"\r\n"  # b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

    def content(self, data: bytes, more: bool) -> bytes:
        """The bytes for a piece of content, after the held head if it is the first one.

        `more` is False for the last piece; a first piece that is the last gives the content its length. Raises
        RuntimeError rather than break a Content-Length: a byte too many would be the beginning of the next response,
        and one too few would make the client wait for it.
        """
        size, left = len(data), self._length
        if left is not None and (size > left or (size < left and not more)) and not self.is_empty:
            raise RuntimeError(f"{size} bytes of content, where content-length leaves {left} (RFC 9112 6.3)")
        head = self._head(size, more) if self.framing is HELD else b""
        if left is not None:
            self._length = left - size
        framing = self.framing
        if framing is LENGTH or framing is CLOSE:
            return head + data
        if framing is NONE:
            return head
        # A piece is b"5\r\nhello\r\n", and the end b"0\r\n\r\n"; trailer fields would stand between its two lines.
        # No data is no chunk: an empty one would end the content (RFC 9112 7.1).
        last = b"" if more else b"0\r\n" if self.trailers else b"0\r\n\r\n"
        return b"%b%x\r\n%b\r\n%b" % (head, size, data, last) if data else head + last

    def file(self, size: int) -> tuple[bytes, int]:
        """The head for a file of `size` bytes, and how many of them are to follow it; 0 for HEAD, 204 and 304 (E4).

        A Content-Length of the app may be less than the file: then only its beginning is sent. Raises RuntimeError
        if it is more, or if other content came before.
        """
        if self.framing is not HELD:
            raise RuntimeError("a file is the whole content: none may come before it")
        count = size if self._length is None else self._length
        if count > size:
            raise RuntimeError(f"the file is {count - size} bytes short of the content-length")
        self.trailers = False  # raw bytes leave no room for chunks
        head = self._head(count, more=False)
        return head, 0 if self.is_empty else count

    def trailer_section(self, headers: Iterable[tuple[bytes, bytes]], more: bool) -> bytes:
        """Trailer fields behind the last chunk, b"sum: 1\\r\\n", and the end of all, b"\\r\\n" (RFC 9112 7.1.2).

        None that frame: `HeaderLines` drops those (RFC 9110 6.5.1). `more` says that another section follows.
        """
        lines = b"".join([self.known[name, value] for name, value in headers])
        return lines if more else lines + b"\r\n"

    def failure(self) -> bytes:
        """The app failed: a clean 500 if nothing was sent yet, else nothing (A8).

        In the middle of content the framing stays unfinished, on purpose: without b"0\\r\\n\\r\\n", or with bytes
        missing, the client sees that it is cut, and nobody caches half a page. The connection closes either way.
        """
        self.terms.keep_alive = False
        if self.framing is not HELD:
            return b""
        self.status, self.framing = 500, LENGTH
        return refusal(500, self.known, self.request.method != "HEAD")

    def _head(self, size: int, more: bool) -> bytes:
        """Settles the framing, and gives the head up to the empty line; `size` is that of the first content.

        A length is best: the client can show progress, and keep the connection. Chunks are for who does not know it,
        and only HTTP/1.1 has them (RFC 9112 6.1); to HTTP/1.0 the end of the connection is all that is left. The
        order of the lines: status, defaults, the app's, ours.
        """
        terms, lines, status, is_1_1 = self.terms, self._lines, self.status, self.request.http_version == "1.1"
        has_length = self._length is not None
        if not (has_length or more or self.trailers or status in _NO_CONTENT):
            has_length = True  # for HEAD, too: what the same GET would announce, RFC 9110 9.3.2
            lines.append(b"content-length: %d\r\n" % size)
        if self.is_empty:
            self.framing = NONE
        elif has_length and not self.trailers:
            self.framing = LENGTH
        else:
            self.framing = CHUNKED if is_1_1 else CLOSE
        if self.framing is CHUNKED or status == 204:  # which have no content-length (RFC 9110 8.6, RFC 9112 6.2)
            lines[:] = [line for line in lines if not line.startswith(b"content-length:")]
        if self.framing is CHUNKED:
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            self.trailers = False  # there is no room for them
        # Who waits for a 100 and gets an answer instead may or may not send the content (RFC 9110 10.1.1): what comes
        # next on the connection could be that, or a request, and we could not tell.
        if self.framing is CLOSE or terms.expects_continue:
            terms.keep_alive = False
        if not terms.keep_alive:
            lines.append(b"connection: close\r\n")
        elif not is_1_1:
            lines.append(b"connection: keep-alive\r\n")
        opening = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"%b%b%b\r\n" % (opening, self.known.defaults(lines), b"".join(lines))


def _size(value: object) -> int:
    """The value of a content-length (RFC 9110 8.6): ASCII digits only; int() alone would take b"+5" and b"1_0"."""
    if isinstance(value, bytes) and value.isdigit():
        return int(value)
    raise (ValueError if isinstance(value, bytes) else TypeError)(f"invalid content-length {value!r} (RFC 9110 8.6)")


def refusal(status: int, known: HeaderLines, content: bool = True, extra: bytes = b"") -> bytes:
    """A whole response of our own, after which the connection closes (400, 408, 500, 503 ...).

    The text tells the client no more than the status does: details are for our log. `content` is False for HEAD;
    `extra` are rendered lines, for what a status must say (the versions of a 426).
    """
    text = b"%d %s\n" % (status, http.HTTPStatus(status).phrase.encode())  # b"400 Bad Request\n"
    head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
    return _STATUS_LINES[status] + known.defaults() + extra + head + (text if content else b"")

"""What we refuse in a request head, whoever parsed it, and the limits.

Owns the judgement that makes both parsers accept and refuse the same, and the reading of the fields that steer a
connection. Knows no socket, no ASGI, and no parser: it sees a `Request`.

A proxy before us reads the same bytes. If it finds another end of a request than we do, what it takes for content we
take for the next request, which passed none of its checks: smuggling (RFC 9112 11.2). So where two readers may
disagree, nothing is mended and nothing is guessed; it is a 400, and the connection closes.
"""

import math
import re
from dataclasses import dataclass

from .events import BadRequest, Request
from .types import Headers

# Fields that make a request uncommon: they ask for more than an answer, and another request on the connection.
_UNCOMMON = frozenset((b"transfer-encoding", b"expect", b"te", b"upgrade"))
# Said aloud by many clients, and no news in HTTP/1.1.
_KEEP_ALIVE = b"keep-alive"
# What a uri-host [ ":" port ] can never hold is enough to refuse one (RFC 9110 7.2).
_NOT_IN_HOST = b' \t\r\n\v\f/?#@\\<>^`{|}"'
# What stands in a request line besides method and target; the limit counts the whole line.
_LINE_EXTRA = len(b"  HTTP/1.1\r\n")
# What fits 64 bits: an overflow is a smuggling trick, too. 18446744073709551621 is 5 to who counts in them; and Python
# raises ValueError for more than 4300 digits.
_LENGTH = re.compile(rb"\d{1,18}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask of us, in bytes (fields: a count); the options `--limit-request-*`.

    A parser counts `head`, as it sees the bytes; `line` and `fields` are judged here; `body` is a declared length
    here, and what really comes is counted by the connection.
    """

    head: int = 65536  # with its line, its fields and the empty line; chunk framing and trailers, too
    fields: int = 100  # header lines; of a repeated field, each counts
    line: int = 8192  # b"GET / HTTP/1.1\r\n" has 16
    body: float = math.inf  # content, without its framing

    def overrun(self, line_length: int) -> BadRequest:
        """The refusal for a head that grows without end: 414 for its line, else 431.

        `line_length` is what came of the line so far, in bytes.
        """
        if line_length > self.line:
            return BadRequest(414, f"request line over {self.line} bytes (RFC 9110 15.5.15)")
        return BadRequest(431, f"request head over {self.head} bytes (RFC 6585 5)")


@dataclass(slots=True)
class Terms:
    """What a judged head says about the exchange.

    `raw_path` and `query_string` are the target's bytes as received (ASGI `raw_path`, H8, H9). The server may still
    change its mind on `keep_alive`: when it stops, when the app closes, when a response has no other end.
    """

    raw_path: bytes
    query_string: bytes
    keep_alive: bool  # another request may follow on this connection (RFC 9112 9.3)
    expects_continue: bool  # the client waits for a 100 before it sends content (RFC 9110 10.1.1)
    accepts_trailers: bool  # TE: trailers (RFC 9110 10.1.4, E7)
    wants_websocket: bool = False  # a handshake, if its version and key are fine: see websocket.py


def judge(request: Request, limits: Limits) -> Terms:
    """Reads the terms of a request, or raises `BadRequest`: 400, 413, 414, 431, 501, 505 (RFC 9112 2.2 to 7).

    For a target in absolute form, `request.headers` get the target's authority as their Host (RFC 9112 3.2.2).

    Once per request, so its order is that of cost: what every head must answer for in one pass over one dict, then
    the common request ends here; any field of `_UNCOMMON`, any field that is repeated, and HTTP/1.0 take the long
    way.
    """
    method, target, headers = request.method, request.target, request.headers
    line = len(method) + len(target) + _LINE_EXTRA
    if line > limits.line:
        raise limits.overrun(line)
    if len(headers) > limits.fields:
        raise BadRequest(431, f"{len(headers)} header fields (RFC 6585 5)")
    is_http_1_1 = request.http_version == "1.1" or _is_http_1_1(request.http_version)
    if not method.isupper():
        # ASGI gives methods in upper case, and "get" is not GET (RFC 9110 9.1).
        raise BadRequest(400, f"method {method} is not in upper case")
    # Of a repeated field this has the last value alone, so that no decision may rest on it if `is_repeated`.
    fields = dict(headers)
    host, is_repeated = fields.get(b"host", b""), len(fields) < len(headers)
    if not _is_host(host) or (is_http_1_1 and b"host" not in fields) or (is_repeated and _count(headers, b"host") > 1):
        raise BadRequest(400, f"{_count(headers, b'host')} Host fields, or an invalid one (RFC 9112 3.2)")
    if target.find(b"#") >= 0:  # `in` takes 250 ns more, 2 % of a small request
        raise BadRequest(400, "a fragment in the request target (RFC 9110 4.2.5)")
    # Origin form, b"/a?b", is nearly every target; CONNECT has another one (RFC 9112 3.2.3), whatever it looks like.
    if not target.startswith(b"/") or method == "CONNECT":
        target = _origin_form(request)
    raw_path, _, query_string = target.partition(b"?")  # b"/a?b?c" is b"/a" and b"b?c"
    if not is_repeated and is_http_1_1 and fields.keys().isdisjoint(_UNCOMMON):
        if (length := fields.get(b"content-length")) is not None:
            _judge_length(length, limits)
        if fields.get(b"connection", _KEEP_ALIVE) == _KEEP_ALIVE:  # which is so anyway (RFC 9112 9.3)
            return Terms(raw_path, query_string, True, False, False)
    return _judge_uncommon(request, Terms(raw_path, query_string, is_http_1_1, False, False), limits)


def _judge_uncommon(request: Request, terms: Terms, limits: Limits) -> Terms:
    """Reads the fields that say how the message goes on, and what the client would like.

    `terms.keep_alive` comes in as "this is HTTP/1.1", whose default it is. HTTP/1.0 knows no 100, no trailers and no
    upgrade (RFC 9110 10.1.1, 7.8): fields that ask for them are left alone there.
    """
    headers, is_http_1_1 = request.headers, terms.keep_alive
    _judge_framing(headers, is_http_1_1, limits)
    options = _tokens(headers, b"connection")
    terms.keep_alive = b"close" not in options and (is_http_1_1 or _KEEP_ALIVE in options)
    if is_http_1_1:
        terms.expects_continue = b"100-continue" in _tokens(headers, b"expect")
        terms.accepts_trailers = b"trailers" in _tokens(headers, b"te")
        terms.wants_websocket = b"upgrade" in options and _is_handshake(request)
    return terms


def _is_http_1_1(version: str) -> bool:
    """False for HTTP/1.0; for all that is neither, a refusal."""
    if version not in ("1.0", "1.1"):
        # Version 0.9 has no head at all, so it is no HTTP that we could call "not supported".
        raise BadRequest(400 if version == "0.9" else 505, f"HTTP version {version} (RFC 9110 15.6.6)")
    return version == "1.1"


def _origin_form(request: Request) -> bytes:
    """Any other form of a target as path and query (RFC 9112 3.2); raises `BadRequest`.

    b"http://a:80/b?c" is b"/b?c", and its Host a:80. A target that is none of these, or has userinfo in it
    (b"http://good@evil/"), is meant to be read in two ways.
    """
    target = request.target
    if request.method == "CONNECT":
        raise BadRequest(501, "CONNECT is for proxies (RFC 9110 9.3.6)")
    if target == b"*" and request.method == "OPTIONS":
        return target
    scheme, _, rest = target.partition(b"://")  # b"http", b"a:80/b?c"
    before, mark, query = rest.partition(b"?")  # the query may have slashes, too
    authority, _, path = before.partition(b"/")  # b"a:80", b"b"
    if scheme.lower() not in (b"http", b"https") or not authority or not _is_host(authority):  # RFC 9110 4.2.4
        raise BadRequest(400, "invalid request target (RFC 9112 3.2)")
    # The target's authority wins over the Host field (RFC 9112 3.2.2 MUST).
    request.headers[:] = [(b"host", authority), *(field for field in request.headers if field[0] != b"host")]
    return b"/" + path + mark + query


def _is_host(text: bytes) -> bool:
    """True unless it has what no host can have; the empty one is allowed (RFC 9110 7.2, RFC 9112 3.2)."""
    return text.translate(None, _NOT_IN_HOST) == text


def _judge_framing(headers: Headers, is_http_1_1: bool, limits: Limits) -> None:
    """The rules that keep requests from being smuggled (RFC 9112 6.1 to 6.3).

    A Content-Length beside a Transfer-Encoding may be there to be believed by the one and not by the other; a server
    may go by the chunks if it closes afterwards (6.1); we refuse. An HTTP/1.0 hop knows no chunks at all, so that it
    would hand them on as content. Two lengths are refused even if they are equal, as RFC 9110 8.6 allows.
    """
    lengths, codings = field_values(headers, b"content-length"), field_values(headers, b"transfer-encoding")
    if codings and (lengths or not is_http_1_1):
        raise BadRequest(400, "Transfer-Encoding with Content-Length, or in HTTP/1.0 (RFC 9112 6.1, 6.3)")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise BadRequest(501, "a transfer coding other than chunked (RFC 9112 6.1)")
    if len(lengths) > 1:
        raise BadRequest(400, "repeated Content-Length (RFC 9112 6.3)")
    for length in lengths:
        _judge_length(length, limits)


def _judge_length(length: bytes, limits: Limits) -> None:
    """Digits alone: b"+5", b"5, 5" and b"0x5" are 5 to somebody (RFC 9110 8.6). Raises `BadRequest`, 400 or 413."""
    if not _LENGTH.fullmatch(length):
        raise BadRequest(400, "invalid Content-Length (RFC 9112 6.3)")
    if int(length) > limits.body:
        raise over_body(limits.body)


def _is_handshake(request: Request) -> bool:
    """False for another method, or content: then an upgrade is ignored (RFC 9110 7.8, RFC 6455 4.1).

    The request is answered as plain HTTP then, and its content is content: to skip it would be to skip a request.
    """
    headers = request.headers
    has_content = _count(headers, b"transfer-encoding") or field_values(headers, b"content-length") not in ([], [b"0"])
    return request.method == "GET" and not has_content and b"websocket" in _tokens(headers, b"upgrade")


def over_body(limit: float) -> BadRequest:
    """The refusal for content over `limit` bytes, declared or actual (RFC 9110 15.5.14)."""
    return BadRequest(413, f"content over {limit:.0f} bytes (RFC 9110 15.5.14)")


def _tokens(headers: Headers, name: bytes) -> set[bytes]:
    """The members of a list field, lower-cased, without parameters: b"gzip;q=0.5, Trailers" has b"trailers"."""
    return {member.partition(b";")[0].strip().lower() for member in list_members(headers, name)}


def _count(headers: Headers, name: bytes) -> int:
    """How many lines of that name."""
    return len(field_values(headers, name))


def field_values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of all lines of a field, in order; `name` in lower case."""
    return [value for key, value in headers if key == name]


def list_members(headers: Headers, name: bytes) -> list[bytes]:
    """The members of a list field, over all its lines in order (RFC 9110 5.2, 5.6.1).

    Stripped, and without the empty ones. Commas in quotes are not heeded: nothing that is looked for in one has any.
    """
    members = b",".join(field_values(headers, name)).split(b",")
    return [member.strip() for member in members if member.strip()]

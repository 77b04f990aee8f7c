"""What we refuse in a request head, whoever parsed it, and the limits.

Owns the judgement that makes both parsers accept and refuse the same, and the reading of the
fields that steer a connection. Knows no socket, no ASGI, and no parser: it sees a `Request`.
"""

import math
import re
from dataclasses import dataclass

from .events import BadRequest, Request
from .types import Headers

_STEERING = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"te", b"upgrade"))
# What a uri-host [ ":" port ] can never hold is enough to refuse one (RFC 9110 7.2).
_NOT_IN_HOST = b' \t\r\n\v\f/?#@\\<>^`{|}"'
_LINE_EXTRA = len(b"  HTTP/1.1\r\n")
_LENGTH = re.compile(rb"\d{1,18}")  # what fits 64 bits: an overflow is a smuggling trick, too


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask of us, in bytes (fields: a count)."""

    head: int = 65536
    fields: int = 100
    line: int = 8192
    body: float = math.inf

    def overrun(self, line_length: int) -> BadRequest:
        """The refusal for a head that grows without end: 414 for its line, else 431."""
        if line_length > self.line:
            return BadRequest(414, f"request line over {self.line} bytes (RFC 9110 15.5.15)")
        return BadRequest(431, f"request head over {self.head} bytes (RFC 6585 5)")


@dataclass(slots=True)
class Terms:
    """What a judged head says about the exchange.

    `raw_path` and `query_string` are the target's bytes as received (ASGI `raw_path`).
    """

    raw_path: bytes
    query_string: bytes
    keep_alive: bool
    expects_continue: bool
    accepts_trailers: bool
    wants_websocket: bool = False


def judge(request: Request, limits: Limits) -> Terms:
    """Reads the terms of a request, or raises `BadRequest` (RFC 9112 2.2 to 7).

    For a target in absolute form, `request.headers` get the target's authority as their Host
    (RFC 9112 3.2.2).
    """
    fields = _steering_fields(request, limits)
    if request.http_version not in ("1.0", "1.1"):
        # Version 0.9 has no head at all, so it is no HTTP that we could call "not supported".
        status = 400 if request.http_version == "0.9" else 505
        raise BadRequest(status, f"HTTP version {request.http_version} (RFC 9110 15.6.6)")
    if not request.method.isupper():
        # ASGI gives methods in upper case, and "get" is not GET (RFC 9110 9.1).
        raise BadRequest(400, f"method {request.method} is not in upper case")
    is_http_1_1 = request.http_version == "1.1"
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or (is_http_1_1 and not hosts) or not all(map(_is_host, hosts)):
        raise BadRequest(400, f"{len(hosts)} Host fields, or an invalid one (RFC 9112 3.2)")
    raw_path, _, query_string = _origin_form(request).partition(b"?")
    if len(fields) == len(hosts):  # the common request: a Host, no more
        return Terms(raw_path, query_string, is_http_1_1, False, False)
    _judge_framing(fields.get(b"content-length", []), fields.get(b"transfer-encoding", []), is_http_1_1, limits)
    options = _tokens(fields, b"connection")
    return Terms(
        raw_path,
        query_string,
        b"close" not in options and (is_http_1_1 or b"keep-alive" in options),
        is_http_1_1 and b"100-continue" in _tokens(fields, b"expect"),
        is_http_1_1 and b"trailers" in _tokens(fields, b"te"),
        is_http_1_1 and b"upgrade" in options and _is_handshake(request, fields),
    )


def _steering_fields(request: Request, limits: Limits) -> dict[bytes, list[bytes]]:
    """Gathers the few fields that steer us, from a head within the limits (its size is the parser's to count)."""
    line = len(request.method) + len(request.target) + _LINE_EXTRA
    if line > limits.line:
        raise limits.overrun(line)
    if len(request.headers) > limits.fields:
        raise BadRequest(431, f"{len(request.headers)} header fields (RFC 6585 5)")
    fields: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name in _STEERING:
            fields.setdefault(name, []).append(value)
    return fields


def _origin_form(request: Request) -> bytes:
    """The target as path and query, whichever of its forms the client chose (RFC 9112 3.2)."""
    target = request.target
    if b"#" in target:
        raise BadRequest(400, "a fragment in the request target (RFC 9110 4.2.5)")
    if request.method == "CONNECT":
        raise BadRequest(501, "CONNECT is for proxies (RFC 9110 9.3.6)")
    if target.startswith(b"/") or (target == b"*" and request.method == "OPTIONS"):
        return target
    scheme, _, rest = target.partition(b"://")
    before, mark, query = rest.partition(b"?")  # the query may have slashes, too
    authority, _, path = before.partition(b"/")
    if scheme.lower() not in (b"http", b"https") or not authority or not _is_host(authority):  # RFC 9110 4.2.4, too
        raise BadRequest(400, "invalid request target (RFC 9112 3.2)")
    # The target's authority wins over the Host field (RFC 9112 3.2.2 MUST).
    request.headers[:] = [(b"host", authority), *(field for field in request.headers if field[0] != b"host")]
    return b"/" + path + mark + query


def _is_host(text: bytes) -> bool:
    return text.translate(None, _NOT_IN_HOST) == text


def _judge_framing(lengths: list[bytes], codings: list[bytes], is_http_1_1: bool, limits: Limits) -> None:
    """The rules that keep requests from being smuggled (RFC 9112 6.1 to 6.3)."""
    if codings and (lengths or not is_http_1_1):
        raise BadRequest(400, "Transfer-Encoding with Content-Length, or in HTTP/1.0 (RFC 9112 6.1, 6.3)")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise BadRequest(501, "a transfer coding other than chunked (RFC 9112 6.1)")
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise BadRequest(400, "invalid Content-Length (RFC 9112 6.3)")
    if lengths and int(lengths[0]) > limits.body:
        raise over_body(limits.body)


def _is_handshake(request: Request, fields: dict[bytes, list[bytes]]) -> bool:
    """False for another method, or content: then an upgrade is ignored (RFC 9110 7.8, RFC 6455 4.1)."""
    has_content = b"transfer-encoding" in fields or fields.get(b"content-length", [b"0"]) != [b"0"]
    return request.method == "GET" and not has_content and b"websocket" in _tokens(fields, b"upgrade")


def over_body(limit: float) -> BadRequest:
    """The refusal for content over `limit` bytes, declared or actual (RFC 9110 15.5.14)."""
    return BadRequest(413, f"content over {limit:.0f} bytes (RFC 9110 15.5.14)")


def _tokens(fields: dict[bytes, list[bytes]], name: bytes) -> set[bytes]:
    """The members of a comma-separated list, lower-cased, without parameters (RFC 9110 5.6.1)."""
    members = b",".join(fields.get(name, ())).split(b",")
    return {member.partition(b";")[0].strip().lower() for member in members}


def field_values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of all lines of a field, in order."""
    return [value for key, value in headers if key == name]


def list_members(headers: Headers, name: bytes) -> list[bytes]:
    """The members of a list field, over all its lines in order (RFC 9110 5.2, 5.6.1)."""
    members = b",".join(field_values(headers, name)).split(b",")
    return [member.strip() for member in members if member.strip()]

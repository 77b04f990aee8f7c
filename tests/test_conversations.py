"""The same raw conversations with every parser and event loop: not a byte of difference.

Each is what a client sends at once; the answer is all it gets until the server closes. The expected
statuses stand beside it, so that four servers cannot agree on nonsense.
"""

import json
from typing import Any

import pytest

from miniasgi.types import App, Receive, Scope, Send

from .vocabulary import KINDS, START, body, chunked, get, parse_head, post, read_body, request, serving


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked: all that reaches an app is in the comparison."""
    data = await read_body(receive)
    seen = {key: repr(scope[key]) for key in ("http_version", "method", "path", "raw_path", "query_string", "headers")}
    text = json.dumps(seen | {"body": repr(data)}).encode()
    match scope["path"]:
        case "/stream":
            await send(START)
            for piece in (text[:10], text[10:], b""):
                await send(body(piece, more=bool(piece)))
        case "/empty":
            await send({**START, "status": 204})
            await send(body())
        case "/wrong":
            await send({**START, "headers": [(b"content-length", b"1")]})
            await send(body(text))
        case "/early":
            await send({"type": "http.response.early_hint", "links": [b"</style.css>"]})
            await send({**START, "trailers": True})
            await send(body(text))
            await send({"type": "http.response.trailers", "headers": [(b"sum", b"1")]})
        case _:
            await send({**START, "headers": [(b"content-type", b"application/json")]})
            await send(body(text))


LONG = "x" * 9000
CONVERSATIONS: dict[str, tuple[bytes, list[int]]] = {
    "get": (get("/a/b?c=d"), [200]),
    "two": (get("/1") + get("/2"), [200, 200]),
    "twenty": (b"".join(get(f"/{n}") for n in range(20)), [200] * 20),
    "percent and UTF-8 in the path": (get("/%C3%A9%2F%zz?%C3%A9"), [200]),
    "headers in any case, with white space": (get("/", "X-A:b", "x-a:  c \t", "X-EMPTY:"), [200]),
    "cookies": (get("/", "Cookie: a=b; c=d", "Cookie: e=f"), [200]),
    "bytes over 127 in a value": (get("/", "X: \xe9\xff"), [200]),
    "empty lines before the request": (b"\r\n\r\n" + get(), [200]),
    "HEAD": (get(method="HEAD") + get(), [200, 200]),
    "OPTIONS *": (get("*", method="OPTIONS"), [200]),
    "DELETE with a body": (post(b"x").replace(b"POST", b"DELETE"), [200]),
    "post": (post(b'{"a": 1}'), [200]),
    "post nothing": (post(b""), [200]),
    "post 100 KB": (post(b"x" * 100_000), [200]),
    "chunked": (chunked(b"a", b"bc"), [200]),
    "chunked nothing": (chunked(), [200]),
    "chunked with trailers": (chunked(b"a", end=b"0\r\nA: b\r\nC: d\r\n\r\n") + get(), [200, 200]),
    "chunked with extensions": (request("POST", "/", "Transfer-Encoding: chunked") + b"1;a=b\r\nx\r\n0\r\n\r\n", [200]),
    "posts, one after the other": (post(b"a") + chunked(b"b") + post(b"c"), [200] * 3),
    "expect with the content": (post(b"a", "Expect: 100-continue"), [200]),
    "expect without it": (request("POST", "/", "Expect: 100-continue", "Content-Length: 1"), [100]),
    "close": (get("/", "Connection: close") + get(), [200]),
    "keep-alive, Close": (get("/", "Connection: keep-alive, Close") + get(), [200]),
    "1.0": (b"GET / HTTP/1.0\r\n\r\n" + get(), [200]),
    "1.0 keep-alive": (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, [200, 200]),
    "1.0 stream": (get("/stream", version="1.0"), [200]),
    "stream": (get("/stream") + get(), [200, 200]),
    "stream for HEAD": (get("/stream", method="HEAD") + get(), [200, 200]),
    "204": (get("/empty") + get(), [204, 200]),
    "an app's mistake": (get("/wrong") + get(), [500]),
    "hint, no trailers asked for": (get("/early"), [103, 200]),
    "hint and trailers": (get("/early", "TE: deflate, trailers;q=1"), [103, 200]),
    "absolute form": (get("http://other:81/x?y") + get("HTTP://other"), [200, 200]),
    "unknown upgrade": (get("/", "Connection: upgrade", "Upgrade: x") + get(), [200, 200]),
    "unknown upgrade with a body": (post(b"a", "Connection: upgrade", "Upgrade: x") + get(), [200, 200]),
    "CL and TE": (request("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", [400]),
    "TE and CL": (request("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n", [400]),
    "two CL": (request("POST", "/", "Content-Length: 1", "Content-Length: 1") + b"x", [400]),
    "CL +1": (request("POST", "/", "Content-Length: +1") + b"x", [400]),
    "CL 1, 1": (request("POST", "/", "Content-Length: 1, 1") + b"x", [400]),
    "bad chunk size": (request("POST", "/", "Transfer-Encoding: chunked") + b"xyz\r\n", [400]),
    "chunk longer than its size": (request("POST", "/", "Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n", [400]),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", [400]),
    "folded line": (get("/", "X: a\r\n b"), [400]),
    "space before the colon": (get("/", "X : a"), [400]),
    "no colon": (get("/", "X"), [400]),
    "NUL in a value": (get("/", "X: a\0b"), [400]),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two Hosts": (get("/", "Host: b"), [400]),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", [400]),
    "HTTP/9.9": (get(version="9.9"), [505]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "TE on 1.0": (request("POST", "/", "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n", [400]),
    "TE gzip": (request("POST", "/", "Transfer-Encoding: gzip"), [501]),
    "CONNECT": (get("a:80", method="CONNECT"), [501]),
    "no such target": (get("nonsense"), [400]),
    "fragment": (get("/a#b"), [400]),
    "UTF-8 in the target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "lower-case method": (get(method="get"), [400]),
    "line too long": (get("/" + LONG), [414]),
    "head too long": (get("/", *(f"X: {LONG}" for _ in range(8))), [431]),
    "too many fields": (get("/", *("X: y" for _ in range(101))), [431]),
    "body too long": (request("POST", "/", "Content-Length: 200000"), [413]),
    "chunks too long": (chunked(b"x" * 90_000, b"x" * 90_000), [413]),
    "fine, then garbage": (get() + b"\x00\x01\x02\r\n\r\n", [200, 400]),
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", [400]),
    "half a head": (b"GET / HTTP/1.1\r\nHo", [408]),
    "nothing": (b"", []),
}


def hold(app: App, http: str, loop: str, **extra: Any) -> dict[str, bytes]:
    """What one server answers to each conversation; all of them run at once."""
    found: dict[str, bytes] = {}
    options = {"date_header": False, "limit_request_body": 100_000, "timeout_keep_alive": 0.3}
    with serving(app, http=http, loop=loop, timeout_request_head=0.5, **options, **extra) as server:
        clients = {name: server.connect().send(data) for name, (data, _) in CONVERSATIONS.items()}
        for name, client in clients.items():
            if name == "expect without it":
                client.read_until(b"\r\n\r\n")
                client.close()
                found[name] = b"HTTP/1.1 100 Continue\r\n\r\n"
            else:
                found[name] = client.read_all()
    return found


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, bytes]]:
    """What each server answers to each conversation."""
    held = {f"{http}-{loop}": hold(mirror, http, loop) for http, loop in KINDS}
    return {name: {kind: found[name] for kind, found in held.items()} for name in CONVERSATIONS}


def statuses(answer: bytes) -> list[int]:
    """The status of each response in an answer."""
    heads = [b"HTTP/1.1 " + part.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for part in answer.split(b"HTTP/1.1 ")[1:]]
    return [parse_head(head)[0] for head in heads]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_server_answers_the_same(name: str, answers: dict[str, dict[str, bytes]]) -> None:
    expected = answers[name]["h11-asyncio"]
    assert statuses(expected) == CONVERSATIONS[name][1], expected
    assert answers[name] == dict.fromkeys(answers[name], expected)

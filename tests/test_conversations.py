"""The same raw conversations with every parser and event loop: not a byte of difference.

Each is what a client sends at once; the answer is all it gets until the server closes. The expected
statuses stand beside it, so that four servers cannot agree on nonsense.
"""

import json
from typing import Any

import pytest

from miniasgi.compare.protocol import PROTOCOL
from miniasgi.types import App, Receive, Scope, Send

from .vocabulary import KINDS, START, body, chunked, get, parse_head, read_body, request, serving


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


CONVERSATIONS = PROTOCOL | {  # and what depends on our app, or our options
    "1.0 stream": (get("/stream", version="1.0"), [200]),
    "stream": (get("/stream") + get(), [200, 200]),
    "stream for HEAD": (get("/stream", method="HEAD") + get(), [200, 200]),
    "204": (get("/empty") + get(), [204, 200]),
    "an app's mistake": (get("/wrong") + get(), [500]),
    "hint, no trailers asked for": (get("/early"), [103, 200]),
    "hint and trailers": (get("/early", "TE: deflate, trailers;q=1"), [103, 200]),
    "body too long": (request("POST", "/", "Content-Length: 200000"), [413]),
    "chunks too long": (chunked(b"x" * 90_000, b"x" * 90_000), [413]),
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

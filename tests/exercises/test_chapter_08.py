"""Exercises of chapter 8: how a response ends, and a request without a server."""

from pathlib import Path
from types import ModuleType

import pytest

from miniasgi.events import Request
from miniasgi.response import HeaderLines, Response
from miniasgi.rules import Limits, judge
from miniasgi.types import Message, Receive, Scope, Send

START: Message = {"type": "http.response.start", "status": 200}


def request(method: str = "GET", version: str = "1.1") -> Request:
    return Request(method, b"/", version, [(b"host", b"a")])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("status", [200, 204, 205, 304, 404])
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("more", [True, False])
def test_the_framing_is_that_of_a_response(
    chapter: ModuleType, method: str, version: str, status: int, has_length: bool, more: bool
) -> None:
    asked = request(method, version)
    response = Response(asked, judge(asked, Limits()), HeaderLines())
    response.start(status, [(b"content-length", b"5")] if has_length else [], trailers=False)
    response.content(b"hello", more)
    assert chapter.framing(method, version, status, has_length, more) == response.framing.name


def content_of(data: bytes) -> bytes:
    """What follows the head."""
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    return data.partition(b"\r\n\r\n")[2]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message["body"], message["more_body"]
    await send(START)
    await send({"type": "http.response.body", "body": content})


@pytest.mark.parametrize("content", [[], [b"a"], [b"some ", b"", b"content"]])
def test_an_app_is_given_content_and_answers(chapter: ModuleType, content: list[bytes]) -> None:
    assert content_of(chapter.answer(echo, request("POST"), content)) == b"".join(content)


@pytest.mark.parametrize("version, expected", [("1.1", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"), ("1.0", b"abc")])
def test_a_stream_comes_whole_and_in_order(chapter: ModuleType, version: str, expected: bytes) -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for piece in (b"a", b"b", b"c"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    assert content_of(chapter.answer(streams, request(version=version), [])) == expected


def test_a_file_is_sent(chapter: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some bytes")

    async def sends(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    assert content_of(chapter.answer(sends, request(), [])) == b"some bytes"


def test_who_fails_is_answered_for(chapter: ModuleType) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise RuntimeError("on purpose")

    assert chapter.answer(fails, request(), []).startswith(b"HTTP/1.1 500 ")

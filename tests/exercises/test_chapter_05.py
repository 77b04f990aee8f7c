"""Exercises of chapter 5."""

from types import ModuleType

import pytest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"GET / HTTP/1.1\r\n", ["NEED_DATA"]),
        (HEAD + b"\r\n", ["Request", "EndOfMessage", "NEED_DATA"]),
        (HEAD + b"\r\nGET", ["Request", "EndOfMessage", "PAUSED"]),
        (HEAD + b"Content-Length: 3\r\n\r\nab", ["Request", "Data", "NEED_DATA"]),
        (
            HEAD + CHUNKED + b"\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            ["Request", "Data", "Data", "EndOfMessage", "NEED_DATA"],
        ),
        (b"good morning\r\n\r\n", ["400"]),
        (HEAD + CHUNKED + b"\r\n1\r\na\r\nx\r\n", ["Request", "Data", "400"]),
    ],
)
def test_h11_tells_what_it_sees(chapter: ModuleType, data: bytes, expected: list[str]) -> None:
    assert chapter.events(data) == expected


@pytest.mark.parametrize(
    "fields, expected",
    [
        (b"", None),
        (b"Content-Length: 5\r\n", None),
        (CHUNKED, None),
        (b"X-Content-Length: 5\r\nContent-Length: 5\r\n", None),
        (b"X: content-length: 5, 5\r\n", None),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5\r\ncontent-LENGTH: 5\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: 5\r\n" + CHUNKED, 400),
        (CHUNKED + b"Content-Length: 5\r\n", 400),
        (b"Transfer-Encoding: gzip\r\n", 501),
    ],
)
def test_two_ends_are_refused(chapter: ModuleType, fields: bytes, expected: int | None) -> None:
    assert chapter.judge(HEAD + fields + b"\r\n") == expected


def test_content_is_not_judged(chapter: ModuleType) -> None:
    assert (
        chapter.judge(HEAD + b"Content-Length: 46\r\n\r\na\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n\r\n")
        is None
    )

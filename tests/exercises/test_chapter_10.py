"""Exercises of chapter 10."""

import re
from types import ModuleType
from typing import Any

import pytest

from miniasgi.parser_h11 import H11Parser
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.rules import Limits

from ..vocabulary import chunked, get, post

PARSERS = pytest.mark.parametrize("parser_class", [H11Parser, HttptoolsParser])
GET = (b"/", b"")
TWO_HOSTS = get("/", "Host: b")


@PARSERS
@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", []),
        (get(), [GET]),
        (get()[:-1], []),
        (post(b"some content"), [(b"/", b"some content")]),
        (post(b"some content")[:-1], []),
        (post(b"", target="/empty") + get("/a?b"), [(b"/empty", b""), (b"/a?b", b"")]),
        (chunked(b"some ", b"content") + get(), [(b"/", b"some content"), GET]),
        (get() + b"good morning\r\n\r\n" + get(), [GET, 400]),
        (get() + TWO_HOSTS + get(), [GET, 400]),
        (chunked(b"ab", end=b"x\r\n") + get(), [400]),
        (post(b"ab", "Content-Length: 3"), [400]),
        (get() + b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", [GET, 501]),
    ],
)
def test_requests_are_read_from_events(
    chapter: ModuleType, parser_class: Any, data: bytes, expected: list[Any]
) -> None:
    assert chapter.requests(parser_class(Limits()), [data]) == expected
    assert chapter.requests(parser_class(Limits()), [bytes([byte]) for byte in data]) == expected


def targets(data: bytes, by_length: bool) -> list[bytes]:
    """The targets of all requests, as one sees them who takes the end of each for certain."""
    found = []
    while data:
        head, mark, data = data.partition(b"\r\n\r\n")
        assert mark, f"a head without an end: {head!r}"
        line, *fields = head.lower().split(b"\r\n")
        values = {name.strip(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        found.append(line.split(b" ")[1])
        if values.get(b"transfer-encoding") == b"chunked" and not by_length:
            while size := int(re.match(rb"[0-9a-f]+", data, re.IGNORECASE)[0], 16):  # type: ignore[index]
                data = data.partition(b"\r\n")[2][size + 2 :]
            data = data.partition(b"\r\n\r\n")[2]
        else:
            length = int(values.get(b"content-length", 0))
            assert len(data) >= length, "there is less content than its length says"
            data = data[length:]
    return found


ADMIN = get("/admin")


@pytest.mark.parametrize("request_", [ADMIN, post(b"delete=all", target="/admin"), ADMIN + get("/admin")])
def test_one_request_is_two_for_somebody_else(chapter: ModuleType, request_: bytes) -> None:
    data = chapter.smuggled(request_)
    assert targets(data, by_length=True) == [b"/"]
    assert targets(data, by_length=False) == [b"/"] + [b"/admin"] * request_.count(b"/admin")
    assert data.startswith(b"POST ")
    assert data.endswith(request_)


@PARSERS
def test_nothing_is_smuggled_here(chapter: ModuleType, parser_class: Any) -> None:
    assert chapter.requests(parser_class(Limits()), [chapter.smuggled(ADMIN)]) == [400]

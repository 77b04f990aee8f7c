"""Exercises of chapter 7: whatever the pieces are, the answer is the same."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from miniasgi.events import BadRequest, Body, Request
from miniasgi.parser_h11 import H11Parser
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.rules import Limits

HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"
LENGTH = HEAD + b"Content-Length: 3\r\n\r\nabc"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def splits(data: bytes) -> Iterator[list[bytes]]:
    """In two pieces, wherever they are cut; then each byte on its own."""
    yield from ([data[:cut], data[cut:]] for cut in range(len(data) + 1))
    yield [data[at : at + 1] for at in range(len(data))]


def lines(chapter: ModuleType, pieces: list[bytes]) -> list[Any]:
    """What it says of some pieces; last the status, if there is one."""
    said, parser = [], chapter.Lines()
    try:
        for piece in pieces:
            for line in parser.feed(piece):
                said.append(line)
    except BadRequest as error:
        said.append(error.status)
    return said


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", []),
        (b"one", []),
        (b"one\r", []),
        (b"one\r\n", [b"one"]),
        (b"one\r\n\r\ntwo\r\nthr", [b"one", b"", b"two"]),
        (b"o\rne\r\n", [b"o\rne"]),
        (b"one\r\r\n", [b"one\r"]),
        (b"one\r\ntwo\nthree\r\n", [b"one", 400]),
        (b"\n", [400]),
    ],
)
def test_lines_are_the_same_in_any_pieces(chapter: ModuleType, data: bytes, expected: list[Any]) -> None:
    for pieces in splits(data):
        assert lines(chapter, pieces) == expected, pieces


def test_a_line_is_said_as_soon_as_it_is_complete(chapter: ModuleType) -> None:
    parser = chapter.Lines()
    assert list(parser.feed(b"one\r\ntw")) == [b"one"]
    assert list(parser.feed(b"o\r\n")) == [b"two"]


def events(parser: Any, pieces: list[bytes]) -> list[Any]:
    """For each request its target and its content, as far as that came; last the status, if there is one."""
    said: list[Any] = []
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, Request):
                    said.append([event.target, b""])
                elif isinstance(event, Body):
                    said[-1][1] += event.data
                else:
                    said[-1] = (*said[-1], "complete")
    except BadRequest as error:
        said.append(error.status)
    return said


@pytest.mark.parametrize("parser_class", [H11Parser, HttptoolsParser])
@pytest.mark.parametrize("data", [LENGTH, CHUNKS])
def test_content_within_the_bound_passes(chapter: ModuleType, parser_class: Any, data: bytes) -> None:
    data += GET + data + b"no HTTP\r\n\r\n"
    a = (b"/a", b"abc", "complete")
    for pieces in splits(data):
        assert events(chapter.Bounded(parser_class(Limits()), 3), pieces) == [a, (b"/", b"", "complete"), a, 400]


@pytest.mark.parametrize("parser_class", [H11Parser, HttptoolsParser])
@pytest.mark.parametrize("data", [LENGTH, CHUNKS])
def test_content_over_the_bound_does_not(chapter: ModuleType, parser_class: Any, data: bytes) -> None:
    for pieces in splits(GET + data + GET):
        first, (target, content), status = events(chapter.Bounded(parser_class(Limits()), 2), pieces)
        assert (first, target, status) == ((b"/", b"", "complete"), b"/a", 413)
        assert len(content) <= 2


def test_each_event_passes_as_soon_as_it_is_there(chapter: ModuleType) -> None:
    class Endless:
        def feed(self, data: bytes) -> Iterator[Body]:
            while True:
                yield Body(data)

    bounded = chapter.Bounded(Endless(), 2).feed(b"a")
    assert [next(bounded), next(bounded)] == [Body(b"a"), Body(b"a")]
    with pytest.raises(BadRequest, match="413"):
        next(bounded)

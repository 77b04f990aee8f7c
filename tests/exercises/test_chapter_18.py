"""Exercises of chapter 18."""

from types import ModuleType

import pytest

HELLO = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nHello"


@pytest.mark.parametrize(
    "other, found",
    [
        (HELLO, set()),
        (HELLO.replace(b"OK", b"Fine"), set()),
        (HELLO.replace(b"content-type", b"Content-Type"), set()),
        (HELLO.replace(b": ", b":"), set()),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nHello", set()),
        (HELLO.replace(b"content-type", b"date: now\r\nserver: other\r\ncontent-type"), set()),
        (HELLO.replace(b"200 OK", b"404 Not Found"), {"status"}),
        (HELLO.replace(b"Hello", b"HELLO"), {"content"}),
        (HELLO.replace(b"5\r\n\r\nHello", b"0\r\n\r\n"), {"content"}),
        (HELLO.replace(b"text/plain", b"text/html"), {"content-type"}),
        (HELLO.replace(b"content-type", b"X-A: 1\r\nx-b: 2\r\ncontent-type"), {"x-a", "x-b"}),
        (HELLO.replace(b"200", b"500").replace(b"plain", b"html"), {"status", "content-type"}),
    ],
    ids=[
        "the same",
        "another reason",
        "another case",
        "no white space",
        "another order",
        "what varies",
        "status",
        "content",
        "less content",
        "a value",
        "fields that one lacks",
        "both",
    ],
)
def test_what_differs_is_named(chapter: ModuleType, other: bytes, found: set[str]) -> None:
    assert chapter.differences(HELLO, other) == found
    assert chapter.differences(other, HELLO) == found


@pytest.mark.parametrize("chunks", [b"5\r\nHello\r\n0\r\n\r\n", b"1\r\nH\r\n4;a=b\r\nello\r\n0\r\n\r\n"])
def test_framing_is_no_difference(chapter: ModuleType, chunks: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    assert chapter.differences(HELLO, head + chunks) == set()
    assert chapter.differences(HELLO, head + chunks.replace(b"H", b"J")) == {"content"}


def test_lines_of_one_name_have_an_order(chapter: ModuleType) -> None:
    one = HELLO.replace(b"content-type", b"set-cookie: a\r\nset-cookie: b\r\ncontent-type")
    other = HELLO.replace(b"content-type", b"set-cookie: b\r\nset-cookie: a\r\ncontent-type")
    assert chapter.differences(one, one) == set()
    assert chapter.differences(one, other) == {"set-cookie"}


STEADY, NOISY = [100.0, 102.0, 98.0], [100.0, 110.0, 90.0]


@pytest.mark.parametrize(
    "ours, again, said",
    [
        ([80.0, 82.0, 78.0], STEADY, "less"),
        ([120.0, 122.0, 118.0], STEADY, "more"),
        ([99.0, 100.0, 98.0], NOISY, "noise"),
        ([95.0, 97.0, 93.0], [100.0, 102.0, 90.0], "noise"),
        ([105.0, 107.0, 103.0], [100.0, 102.0, 90.0], "noise"),
        ([80.0, 82.0, 300.0], STEADY, "less"),
        ([100.0, 102.0, 98.0], STEADY, "noise"),
    ],
    ids=[
        "less",
        "more",
        "within the noise",
        "within, below",
        "within, in the other direction",
        "one bad slice",
        "the same",
    ],
)
def test_what_is_within_the_noise_says_nothing(
    chapter: ModuleType, ours: list[float], again: list[float], said: str
) -> None:
    assert chapter.verdict(ours, [100.0, 102.0, 98.0], again) == said


def test_ratios_are_taken_slice_by_slice(chapter: ModuleType) -> None:
    """The machine was twice as slow in the end; that is nobody's merit."""
    theirs = [100.0, 100.0, 200.0, 200.0, 200.0]
    assert chapter.verdict([90.0, 90.0, 180.0, 180.0, 180.0], theirs, theirs) == "less"

"""Exercises of chapter 4."""

from types import ModuleType

import pytest

BIG = bytes(range(256)) * 2


@pytest.mark.parametrize(
    "pieces, expected",
    [
        ([b"one\n", b"three\n"], b"4\r\none\n\r\n6\r\nthree\n\r\n0\r\n\r\n"),
        ([], b"0\r\n\r\n"),
        ([b"a", b"", b"b"], b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        ([BIG], b"200\r\n" + BIG + b"\r\n0\r\n\r\n"),
    ],
)
def test_pieces_become_chunks(chapter: ModuleType, pieces: list[bytes], expected: bytes) -> None:
    assert chapter.chunk(iter(pieces)) == expected


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", (b"abc", b"")),
        (b"0\r\n\r\nGET / HTTP/1.1\r\n", (b"", b"GET / HTTP/1.1\r\n")),
        (b"2\r\n\r\n\r\n0\r\n\r\n", (b"\r\n", b"")),
        (b"1;a=b\r\na\r\n0\r\n\r\n", (b"a", b"")),
        (b"1\r\na\r\n0\r\nX-Trailer: b\r\n\r\nmore", (b"a", b"more")),
        (b"200\r\n" + BIG + b"\r\n0\r\n\r\n", (BIG, b"")),
    ],
)
def test_chunks_become_content(chapter: ModuleType, data: bytes, expected: tuple[bytes, bytes]) -> None:
    assert chapter.unchunk(data) == expected


def test_content_that_ends_too_early_is_none(chapter: ModuleType) -> None:
    whole = b"1\r\na\r\nb\r\n0123456789a\r\n0\r\nX: y\r\n\r\n"
    assert chapter.unchunk(whole) == (b"a0123456789a", b"")
    for end in range(len(whole)):
        assert chapter.unchunk(whole[:end]) is None


@pytest.mark.parametrize(
    "data", [b"x\r\n", b"\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b"1_0\r\n", b" 1\r\na\r\n", b"-1\r\n", b"1\r\nab\r\n"]
)
def test_what_is_no_chunk_is_refused(chapter: ModuleType, data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its words are the reader's
        chapter.unchunk(data + b"0\r\n\r\n")

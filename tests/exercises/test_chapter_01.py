"""Exercises of chapter 1."""

import contextlib
import socket
import threading
from types import ModuleType

import pytest

from ..vocabulary import PATIENCE, parse_head


@pytest.mark.parametrize("text", ["Hello, world!\n", "", "Grüße", "a\r\n\r\nb"])
def test_a_response_has_the_length_of_its_content(chapter: ModuleType, text: str) -> None:
    head, mark, content = chapter.response(text).partition(b"\r\n\r\n")
    status, headers = parse_head(head + mark)
    assert (status, content) == (200, text.encode())
    assert dict(headers)[b"content-length"] == b"%d" % len(content)


def test_all_that_comes_is_read(chapter: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    data = bytes(range(256)) * 4096  # more than a buffer holds
    reply: list[bytes] = []

    def read() -> None:
        with theirs:  # closed when it has read enough, so that nobody waits for it
            reply.append(chapter.read_all(theirs))

    with ours, contextlib.suppress(OSError):
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for start in range(0, len(data), 100_000):
            ours.sendall(data[start : start + 100_000])
        ours.shutdown(socket.SHUT_WR)
    reader.join(PATIENCE)
    assert not reader.is_alive(), "read_all does not end when the other side has: recv gives b'' then"
    assert list(map(len, reply)) == [len(data)]
    assert reply == [data]


def test_nothing_is_read_from_who_says_nothing(chapter: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert chapter.read_all(theirs) == b""

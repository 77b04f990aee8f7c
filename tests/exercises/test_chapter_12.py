"""Exercises of chapter 12."""

from types import ModuleType

import pytest
from wsproto.events import CloseConnection, Ping, Pong

from miniasgi.frames import Frames

KEY = b"\x37\xfa\x21\x3d"


def heard(data: bytes) -> str:
    """What a server makes of the frames of texts: a long one comes in parts."""
    return "".join(event if isinstance(event, str) else event.data for event in Frames([]).read(data))  # type: ignore


def test_the_example_of_the_rfc(chapter: ModuleType) -> None:
    assert chapter.frame("Hello", KEY) == bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 70001])
@pytest.mark.parametrize("key", [KEY, bytes(4)], ids=["random", "zeros"])
def test_a_server_reads_what_a_client_says(chapter: ModuleType, size: int, key: bytes) -> None:
    assert heard(chapter.frame("x" * size, key)) == "x" * size


def test_a_length_is_counted_in_bytes(chapter: ModuleType) -> None:
    assert heard(chapter.frame("grüß" * 30, KEY) + chapter.frame("more", KEY)) == "grüß" * 30 + "more"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_client_reads_what_a_server_says(chapter: ModuleType, size: int) -> None:
    frames = Frames([])
    data = frames.text("x" * size) + frames.binary(b"\0\xff") + frames.text("grüß")
    assert chapter.messages(data) == ["x" * size, b"\0\xff", "grüß"]


def test_nothing_is_no_message(chapter: ModuleType) -> None:
    assert chapter.messages(b"") == []


def test_a_message_may_be_in_fragments_with_pings_between_them(chapter: ModuleType) -> None:
    frames = Frames([])
    ping, pong = frames.control(Ping(b"p")), frames.control(Pong(b"q"))
    data = b"\x01\x04gr\xc3\xbc" + ping + b"\x00\x01\xc3" + pong + b"\x80\x01\x9f" + frames.text("next")
    assert chapter.messages(data) == ["grüß", "next"]
    assert chapter.messages(b"\x02\x01a\x80\x00") == [b"a"]


def test_nothing_counts_behind_a_close(chapter: ModuleType) -> None:
    frames = Frames([])
    data = frames.text("last words") + frames.control(CloseConnection(1000, "bye")) + b"\x81\x04more"
    assert chapter.messages(data) == ["last words"]


def test_a_server_that_masks_is_refused(chapter: ModuleType) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its words are the reader's
        chapter.messages(bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58"))

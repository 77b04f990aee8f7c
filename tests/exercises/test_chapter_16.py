"""Exercises of chapter 16."""

import asyncio
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest


def is_ours(address: str) -> bool:
    return address.startswith("10.")


@pytest.mark.parametrize(
    "peer, values, client",
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.9.9.9, 203.0.113.9,  10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["", " , "], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
    ids=["one proxy", "two", "on two lines", "a member made up", "all are ours", "nobody is named", "no field"],
)
def test_the_client_is_the_last_that_is_not_ours(
    chapter: ModuleType, peer: str, values: list[str], client: str
) -> None:
    assert chapter.client_of(peer, values, is_ours) == client


def test_a_stranger_is_not_believed(chapter: ModuleType) -> None:
    assert chapter.client_of("198.51.100.7", ["127.0.0.1", "10.0.0.2"], is_ours) == "198.51.100.7"


class Client:
    """Takes a piece only when it is let; keeps what it has taken, and in which threads it was made."""

    def __init__(self, fails_at: bytes = b"never") -> None:
        self.messages: list[dict[str, Any]] = []
        self.fails_at = fails_at

    async def send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        if message.get("body") == self.fails_at:
            raise OSError("the client left")
        self.messages.append(message)

    @property
    def content(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message.get("body")]


async def test_pieces_arrive_in_order_and_the_last_message_says_so(chapter: ModuleType) -> None:
    client = Client()

    def count() -> Iterator[bytes]:
        yield from (b"1", b"2", b"3")

    async with asyncio.timeout(5):
        await chapter.threaded(count)({"type": "http"}, None, client.send)
    assert client.messages[0] == {"type": "http.response.start", "status": 200, "headers": []}
    assert client.content == [b"1", b"2", b"3"]
    assert [message.get("more_body", False) for message in client.messages[1:]][-1] is False
    assert all(message.get("more_body") for message in client.messages[1:-1])


async def test_the_loop_turns_while_the_function_blocks(chapter: ModuleType) -> None:
    client, released = Client(), threading.Event()

    def block() -> Iterator[bytes]:
        assert released.wait(5), "the loop was held"
        yield b"done"

    answering = asyncio.ensure_future(chapter.threaded(block)({"type": "http"}, None, client.send))
    asyncio.get_running_loop().call_soon(released.set)
    async with asyncio.timeout(6):
        await answering
    assert client.content == [b"done"]


async def test_a_piece_is_made_when_the_last_one_was_taken(chapter: ModuleType) -> None:
    client, taken = Client(), list[int]()

    def count() -> Iterator[bytes]:
        for number in range(5):
            taken.append(len(client.content))
            yield b"%d" % number

    async with asyncio.timeout(5):
        await chapter.threaded(count)({"type": "http"}, None, client.send)
    assert taken == [0, 1, 2, 3, 4]


async def test_a_client_that_leaves_ends_it(chapter: ModuleType) -> None:
    client, closed = Client(fails_at=b"2"), list[str]()

    def count() -> Iterator[bytes]:
        try:
            yield from (b"1", b"2", b"3")
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(OSError, match="the client left"):
        async with asyncio.timeout(5):
            await chapter.threaded(count)({"type": "http"}, None, client.send)
    assert client.content == [b"1"]
    assert closed

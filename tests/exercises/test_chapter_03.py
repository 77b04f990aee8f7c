"""Exercises of chapter 3."""

from types import ModuleType
from typing import Any

import pytest


class Server:
    """The server's side of a conversation: gives pieces of content, and keeps all that happens, in order."""

    def __init__(self, *pieces: bytes) -> None:
        self.messages = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, 1)
        ]
        self.events: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        self.events.append("receive")
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.events.append(message.get("status") or (message.get("body", b""), message.get("more_body", False)))

    @property
    def sent(self) -> list[Any]:
        return [event for event in self.events if event != "receive"]


async def test_each_piece_is_sent_before_the_next_is_asked_for(chapter: ModuleType) -> None:
    server = Server(b"some ", b"content")
    await chapter.shout({"type": "http"}, server.receive, server.send)
    assert server.sent == [200, (b"SOME ", True), (b"CONTENT", False)]
    assert server.events.index((b"SOME ", True)) < [n for n, event in enumerate(server.events) if event == "receive"][1]


async def test_an_app_may_be_asked_without_content(chapter: ModuleType) -> None:
    server = Server(b"")
    await chapter.shout({"type": "http"}, server.receive, server.send)
    assert server.sent == [200, (b"", False)]


async def collect(scope: dict[str, Any], receive: Any, send: Any) -> None:
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": content})


@pytest.mark.parametrize("pieces", [(b"12345",), (b"12", b"345"), (b"",)])
async def test_content_up_to_the_limit_is_none_of_its_business(chapter: ModuleType, pieces: tuple[bytes, ...]) -> None:
    server = Server(*pieces)
    await chapter.limited(collect, 5)({"type": "http"}, server.receive, server.send)
    assert server.sent == [200, (b"".join(pieces), False)]


@pytest.mark.parametrize("pieces", [(b"123456",), (b"12", b"345", b"6"), (b"12345", b"6", b"never asked for")])
async def test_content_over_the_limit_is_a_413(chapter: ModuleType, pieces: tuple[bytes, ...]) -> None:
    server = Server(*pieces)
    await chapter.limited(collect, 5)({"type": "http"}, server.receive, server.send)
    assert server.sent[0] == 413
    assert server.sent[-1][1] is False
    assert not server.messages or server.messages[0]["body"] == b"never asked for"


async def test_a_response_that_has_begun_does_not_begin_again(chapter: ModuleType) -> None:
    server = Server(b"12345", b"6")
    with pytest.raises(Exception):  # noqa: B017, PT011  # of which kind is the reader's choice
        await chapter.limited(chapter.shout, 5)({"type": "http"}, server.receive, server.send)
    assert server.sent == [200, (b"12345", True)]

"""Exercises of chapter 17."""

import asyncio
import threading
from types import ModuleType
from typing import Any

import pytest

SCOPE = {"type": "http"}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": message["body"]})


class Server:
    """The other side: keeps what happened, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        self.events.append("asked")
        return {"type": "http.request", "body": b"hi"}

    async def send(self, message: dict[str, Any]) -> None:
        self.events.append(message)

    def note(self, *words: str) -> None:
        self.events.append(words)


async def test_each_message_is_noted_in_its_turn_and_passes(chapter: ModuleType) -> None:
    server = Server()
    await chapter.watched(app, server.note)(SCOPE, server.receive, server.send)
    assert server.events == [
        "asked",
        ("receive", "http.request"),
        ("send", "http.response.start"),
        {"type": "http.response.start", "status": 200},
        ("send", "http.response.body"),
        {"type": "http.response.body", "body": b"hi"},
    ]


async def test_a_broken_tap_breaks_nothing(chapter: ModuleType) -> None:
    server = Server()

    def broken(*words: str) -> None:
        raise RuntimeError("nobody should hear of this")

    await chapter.watched(app, broken)(SCOPE, server.receive, server.send)
    assert [event["type"] for event in server.events[1:]] == ["http.response.start", "http.response.body"]


async def test_what_the_app_or_the_server_raises_comes_out(chapter: ModuleType) -> None:
    server = Server()

    async def failing(*args: Any) -> None:
        raise OSError("the client left")

    for inner, send in (failing, server.send), (app, failing):
        with pytest.raises(OSError, match="the client left"):
            await chapter.watched(inner, server.note)(SCOPE, server.receive, send)


class Work:
    """A model that says when it is at work, and waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.at_work, self.free = asyncio.Event(), threading.Event()
        self.loop, self.home = asyncio.get_running_loop(), threading.current_thread()

    def __call__(self, items: list[Any]) -> list[Any]:
        assert threading.current_thread() is not self.home, "the loop is held"
        self.batches.append(items)
        self.loop.call_soon_threadsafe(self.at_work.set)
        assert self.free.wait(5)
        if "bad" in items:
            raise ValueError("bad")
        return [item * 2 for item in items]


async def asked(batcher: Any, work: Work, first: Any, *others: Any) -> list[asyncio.Task[Any]]:
    """One item in the model, the others waiting."""
    tasks = [asyncio.ensure_future(batcher(first))]
    async with asyncio.timeout(5):
        await work.at_work.wait()
    tasks += [asyncio.ensure_future(batcher(item)) for item in others]
    await asyncio.sleep(0)
    return tasks


async def results(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_comes_meanwhile_is_the_next_batch(chapter: ModuleType) -> None:
    work = Work()
    tasks = await asked(chapter.Batcher(work, 3), work, 1, 2, 3, 4, 5)
    work.free.set()
    assert await results(tasks) == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 3, 4], [5]]


async def test_whoever_has_left_is_left_out(chapter: ModuleType) -> None:
    work = Work()
    tasks = await asked(chapter.Batcher(work, 3), work, 1, 2, 3, 4)
    tasks[0].cancel()  # it is at work already
    tasks[2].cancel()  # and this one waits
    await asyncio.sleep(0)
    work.free.set()
    assert await results([tasks[1], tasks[3]]) == [4, 8]
    assert work.batches == [[1], [2, 4]]


async def test_a_batch_that_fails_is_not_the_end(chapter: ModuleType) -> None:
    work = Work()
    tasks = await asked(chapter.Batcher(work, 2), work, 1, "bad", 2, 3)
    work.free.set()
    first, bad, with_it, after = await results(tasks)
    assert (first, after) == (2, 6)
    assert [str(error) for error in (bad, with_it)] == ["bad", "bad"]


async def test_it_works_again_later(chapter: ModuleType) -> None:
    work = Work()
    work.free.set()
    batcher = chapter.Batcher(work, 2)
    assert await results([asyncio.ensure_future(batcher(1))]) == [2]
    assert await results([asyncio.ensure_future(batcher(2))]) == [4]

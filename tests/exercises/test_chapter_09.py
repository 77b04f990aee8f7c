"""Exercises of chapter 9. No clock and no network: transport and time are what the test says they are."""

import asyncio
from types import ModuleType
from typing import Any

import pytest

from .fakes import Loop, Transport


class Strict(Transport):
    """Takes nothing that was not to be expected."""

    def write(self, data: bytes) -> None:
        assert not self.closed
        super().write(data)

    def pause_reading(self) -> None:
        assert self.reading
        super().pause_reading()

    def resume_reading(self) -> None:
        assert not self.reading
        super().resume_reading()


def idle(chapter: ModuleType) -> tuple[Any, Transport, Loop]:
    loop, transport = Loop(), Strict()
    protocol = chapter.Idle(loop, 5.0)
    protocol.connection_made(transport)
    return protocol, transport, loop


def test_who_says_nothing_is_let_go(chapter: ModuleType) -> None:
    _, transport, loop = idle(chapter)
    loop.pass_until(4.9)
    assert not transport.closed
    loop.pass_until(5.1)
    assert transport.closed


def test_a_thousand_pieces_make_no_second_timer(chapter: ModuleType) -> None:
    protocol, transport, loop = idle(chapter)
    for _ in range(1000):
        loop.pass_until(loop.now + 0.004)
        protocol.data_received(b"a")
    assert len(loop.timers) == 1
    loop.pass_until(8.9)
    assert not transport.closed
    loop.pass_until(9.1)
    assert transport.closed
    assert len(loop.timers) == 2


def test_no_timer_is_left_behind(chapter: ModuleType) -> None:
    protocol, transport, loop = idle(chapter)
    protocol.data_received(b"a")
    protocol.connection_lost(None)
    loop.pass_until(99.0)
    assert not transport.closed


class Answers:
    """Answers a line when the test says so."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.waiting: list[asyncio.Future[bytes]] = []
        self.cancelled = 0

    async def __call__(self, line: bytes) -> bytes:
        assert not self.waiting, "two lines are answered at a time"
        self.asked.append(line)
        self.waiting.append(asyncio.get_running_loop().create_future())
        try:
            return await self.waiting[0]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting.clear()

    async def say(self, data: bytes) -> None:
        await turns()
        self.waiting[0].set_result(data)
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_turn(chapter: ModuleType, mark: int = 100) -> tuple[Any, Transport, Answers]:
    answers, transport = Answers(), Strict()
    protocol = chapter.InTurn(answers, mark)
    assert isinstance(protocol, asyncio.Protocol)
    protocol.connection_made(transport)
    return protocol, transport, answers


@pytest.mark.parametrize("pieces", [[b"one\ntwo\nthr"], [b"o", b"ne\nt", b"wo\n", b"thr"]])
async def test_lines_are_answered_one_after_the_other(chapter: ModuleType, pieces: list[bytes]) -> None:
    protocol, transport, answers = in_turn(chapter)
    for piece in pieces:
        protocol.data_received(piece)
    await answers.say(b"1")
    assert (answers.asked, transport.sent) == ([b"one", b"two"], b"1")
    await answers.say(b"2")
    assert (answers.asked, transport.sent) == ([b"one", b"two"], b"12")
    protocol.data_received(b"ee\n")
    await answers.say(b"3")
    assert (answers.asked, transport.sent) == ([b"one", b"two", b"three"], b"123")


async def test_nothing_is_read_while_much_is_waiting(chapter: ModuleType) -> None:
    protocol, transport, answers = in_turn(chapter, mark=8)
    protocol.data_received(b"one\n")
    await turns()
    protocol.data_received(b"two\nthr\n")
    assert transport.reading
    protocol.data_received(b"f")
    protocol.data_received(b"or\n")
    assert not transport.reading
    await answers.say(b"")
    assert transport.reading
    for _ in range(3):
        await answers.say(b"")
    assert answers.asked == [b"one", b"two", b"thr", b"for"]


async def test_a_line_longer_than_the_mark_is_read_to_its_end(chapter: ModuleType) -> None:
    protocol, transport, answers = in_turn(chapter, mark=8)
    protocol.data_received(b"a line longer")
    assert transport.reading
    protocol.data_received(b" than the mark\n")
    await answers.say(b"1")
    assert (answers.asked, transport.sent) == ([b"a line longer than the mark"], b"1")


async def test_nothing_is_done_for_who_has_left(chapter: ModuleType) -> None:
    protocol, transport, answers = in_turn(chapter)
    protocol.data_received(b"one\ntwo\n")
    await turns()
    protocol.connection_lost(None)
    await turns()
    assert (answers.asked, answers.cancelled, transport.sent) == ([b"one"], 1, b"")

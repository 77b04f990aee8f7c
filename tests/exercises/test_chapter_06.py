"""Exercises of chapter 6. No clock: the loop's time is what the test says it is."""

import asyncio
from types import ModuleType
from typing import Any


class Transport:
    """Keeps what a protocol does to it."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True


class Timer:
    def __init__(self, when: float, call: Any, arguments: Any) -> None:
        self.when, self.call, self.arguments = when, call, arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop that has nothing but time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Any, *arguments: Any) -> Timer:
        return self.call_at(self.now + delay, call, *arguments)

    def call_at(self, when: float, call: Any, *arguments: Any) -> Timer:
        self.timers.append(timer := Timer(when, call, arguments))
        return timer

    @property
    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def pass_until(self, now: float) -> None:
        while due := [timer for timer in self.pending if timer.when <= now]:
            first = min(due, key=lambda timer: timer.when)
            self.now = first.when
            self.timers.remove(first)
            first.call(*first.arguments)
        self.now = now


def test_an_echo_comes_back(chapter: ModuleType) -> None:
    echo, transport = chapter.Echo(), Transport()
    assert isinstance(echo, asyncio.Protocol)
    echo.connection_made(transport)
    echo.data_received(b"some ")
    echo.data_received(b"text")
    assert transport.sent == b"some text"


def test_an_echo_listens_to_nobody_who_does_not_listen(chapter: ModuleType) -> None:
    echo, transport = chapter.Echo(), Transport()
    echo.connection_made(transport)
    echo.pause_writing()
    assert not transport.reading
    echo.resume_writing()
    assert transport.reading


async def test_an_echo_over_a_real_connection(chapter: ModuleType) -> None:
    server = await asyncio.get_running_loop().create_server(chapter.Echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    data = bytes(range(256)) * 8192
    writer.write(data)  # not waited for: there is no room for all of it on the way
    assert await reader.readexactly(len(data)) == data
    writer.close()
    await writer.wait_closed()
    server.close()


def begin(chapter: ModuleType) -> tuple[Any, Transport, Loop]:
    loop, transport = Loop(), Transport()
    idle = chapter.Idle(loop, 5.0)
    idle.connection_made(transport)
    return idle, transport, loop


def test_who_says_nothing_is_let_go(chapter: ModuleType) -> None:
    _, transport, loop = begin(chapter)
    loop.pass_until(4.9)
    assert not transport.closed
    loop.pass_until(5.1)
    assert transport.closed


def test_who_says_something_has_all_the_time_again(chapter: ModuleType) -> None:
    idle, transport, loop = begin(chapter)
    for now in (4.0, 8.0, 12.0):
        loop.pass_until(now)
        idle.data_received(b"a")
    loop.pass_until(16.9)
    assert not transport.closed
    loop.pass_until(17.1)
    assert transport.closed


def test_no_timer_is_left_behind(chapter: ModuleType) -> None:
    idle, transport, loop = begin(chapter)
    idle.data_received(b"a")
    idle.connection_lost(None)
    assert not loop.pending
    loop.pass_until(99.0)
    assert not transport.closed

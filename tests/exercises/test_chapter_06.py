"""Exercises of chapter 6. No clock: the loop's time is what the test says it is."""

import asyncio
from types import ModuleType
from typing import Any

from .fakes import Loop, Transport


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

"""A conversation, and its answer taken apart."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.compare.protocol import get, post
from miniasgi.compare.wire import Answer, converse, replies

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n1\r\n!\r\n0\r\n"


def parts(data: bytes, request: bytes = get() * 2, closed: bool = False) -> list[Any]:
    return [(reply.status, reply.framing, reply.body, reply.whole) for reply in replies(data, request, closed)]


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", []),
        (LENGTH, [(200, "content-length", b"hi", True)]),
        (LENGTH[:-1], [(200, "content-length", b"h", False)]),
        (LENGTH * 2, [(200, "content-length", b"hi", True)] * 2),
        (CHUNKED + b"\r\n", [(200, "chunked", b"hi!", True)]),
        (CHUNKED, [(200, "chunked", b"hi!", False)]),
        (CHUNKED[:-4], [(200, "chunked", b"hi", False)]),
        (CHUNKED + b"a: b\r\n\r\n" + LENGTH, [(200, "chunked", b"hi!", True), (200, "content-length", b"hi", True)]),
        (OK + b"\r\nhi", [(200, "close", b"hi", False)]),
        (b"HTTP/1.1 204 No Content\r\n\r\n" + LENGTH, [(204, "none", b"", True), (200, "content-length", b"hi", True)]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, [(100, "none", b"", True), (200, "content-length", b"hi", True)]),
        (b"HTTP/1.1 200\r\nConnection: close\r\n\r\n", [(200, "close", b"", False)]),
        (b"nonsense\r\n\r\nmore", [(None, "none", b"\r\n\r\nmore", False)]),
        (b"HTTP/1.1 200 OK\r\ncontent-le", [(200, "none", b"content-le", False)]),
        (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", [(200, "chunked", b"", False), (None, "none", b"", False)]),
    ],
)
def test_an_answer_is_taken_apart(data: bytes, expected: list[Any]) -> None:
    assert parts(data) == expected


def test_a_reply_without_length_is_whole_when_the_server_has_closed() -> None:
    assert parts(OK + b"\r\nhi", closed=True) == [(200, "close", b"hi", True)]


def test_a_reply_to_head_has_no_content_and_its_method_may_stand_behind_content() -> None:
    head = OK + b"content-length: 2\r\n\r\n"
    request = post(b"a") + get(method="HEAD") + get()
    found = replies(LENGTH + head + LENGTH, request, False)
    assert [reply.body for reply in found] == [b"hi", b"", b"hi"]


def test_headers_are_as_they_came() -> None:
    (reply,) = replies(OK + b"X-A:  b \r\nx-a:c\r\nContent-Length: 0\r\n\r\n", get(), False)
    assert reply.headers == [(b"X-A", b"b"), (b"x-a", b"c"), (b"Content-Length", b"0")]


CHUNKS = st.lists(st.binary(min_size=1, max_size=9), max_size=4)


@given(st.lists(CHUNKS, max_size=4), st.data())
def test_what_is_written_is_read_back(bodies: list[list[bytes]], choice: st.DataObject) -> None:
    data = b""
    for chunks in bodies:
        content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        data += OK + b"Transfer-Encoding: chunked\r\n\r\n" + content
    found = replies(data, get() * len(bodies), False)
    assert [(reply.chunks, reply.body) for reply in found] == [
        ([*map(len, chunks)], b"".join(chunks)) for chunks in bodies
    ]
    assert all(reply.whole for reply in found)
    replies(data[: choice.draw(st.integers(0, len(data)))], get(), False)  # whatever is missing


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    replies(data, data, False)
    replies(OK + data, get(), True)
    replies(OK + b"transfer-encoding: chunked\r\n\r\n" + data, get(), True)


# The conversation:

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked(script: Script, request: bytes = get(), silence: float = 0.05, most: float = 5.0) -> Answer:
    """What a server with this script answers."""

    tasks = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        try:
            await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    answer = await converse(server.sockets[0].getsockname()[1], request, silence, most)
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # transports close
    return answer


async def test_a_server_that_closes() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\nhi")
        writer.close()

    answer = await asked(script)
    assert (answer.raw, answer.closed, answer.segments) == (OK + b"\r\nhi", True, 1)
    assert answer.replies[0].whole
    assert answer.port > 0


async def test_a_server_that_is_silent_when_it_has_said_enough_is_not_waited_for() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (LENGTH[:5], LENGTH[5:-1], LENGTH[-1:]):
            writer.write(piece)
            await asyncio.sleep(0.1)  # longer than the silence that ends it: but it was not enough
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await asked(script, most=60)
    assert (answer.raw, answer.closed, answer.segments) == (LENGTH, False, 3)
    assert loop.time() - began < 30


async def test_a_server_that_says_nothing_does_not_hang_us() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert (await asked(script, most=0.1)).raw == b""


async def test_a_stream_without_end_is_cut() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    answer = await asked(script, most=0.3)
    assert not answer.closed
    assert set(answer.replies[0].body) == {ord("x")}


async def test_a_reset_is_a_way_to_close() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LENGTH)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    answer = await asked(script, silence=5)
    assert (answer.raw, answer.closed) == (LENGTH, True)


@pytest.fixture
def nobody() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def test_nobody_listens(nobody: int) -> None:
    answer = await converse(nobody, get(), 0.1, 1)
    assert (answer.raw, answer.closed) == (b"", True)

"""connection.py: pieces of a response that come in a burst go out together, with a clock that the test winds."""

import asyncio
from typing import Any

import pytest

from miniasgi.connection import Connection
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.service import Service
from miniasgi.types import App, Receive, Scope, Send

from .vocabulary import START, body, get, sends, serving

LATER = 0.001


class Pipe(asyncio.Transport):
    """A transport that keeps what is written; asks the writer to wait once it has more than `mark` bytes."""

    connection: Connection
    mark = 10**9

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    @property
    def content(self) -> list[bytes]:
        """What was written, without the head."""
        return [write.rpartition(b"chunked\r\n\r\n")[2] for write in self.writes]

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(data)
        if sum(map(len, self.writes)) > self.mark and self.connection.writable:
            self.connection.pause_writing()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("::1", 1) if name in ("peername", "sockname") else None

    def get_write_buffer_size(self) -> int:
        return 0


class Clock:
    now = 1.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("miniasgi.connection.perf_counter", clock)
    return clock


async def asked(app: App, pipe: Pipe) -> None:
    """Sends a GET to the app, and gives it some turns of the event loop."""
    pipe.connection = Connection(Service(app, asyncio.get_running_loop(), HttptoolsParser))
    pipe.connection.connection_made(pipe)
    pipe.connection.data_received(get())
    await turns()


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text), text)


END = b"0\r\n\r\n"


async def test_the_first_piece_goes_at_once_and_those_right_behind_it_at_the_end_of_the_turn(clock: Clock) -> None:
    pipe, gate, seen = Pipe(), asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for text in (b"a", b"b", b"c"):
            await send(body(text, more=True))
            seen.append(len(pipe.writes))
        await gate.wait()

    await asked(app, pipe)
    assert seen == [1, 1, 1]
    assert pipe.content == [chunk(b"a"), chunk(b"b") + chunk(b"c")]
    gate.set()
    await turns()
    assert pipe.closed  # it returned before its response was complete


async def test_the_end_of_a_response_goes_with_what_waits(clock: Clock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for text in (b"a", b"b", b"c"):
            await send(body(text, more=True))
        await send(body(b"d"))

    await asked(app, pipe := Pipe())
    assert pipe.content == [chunk(b"a"), chunk(b"b") + chunk(b"c") + chunk(b"d") + END]
    pipe.connection.data_received(get())  # the next one on this connection is in a burst with it
    await turns()
    assert pipe.content[2:] == [chunk(b"a") + chunk(b"b") + chunk(b"c") + chunk(b"d") + END]


async def test_a_piece_that_comes_later_goes_at_once_with_what_waits(clock: Clock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for text in (b"a", b"b", b"c"):
            await send(body(text, more=True))
            clock.now += LATER if text != b"a" else 0  # the app works, and lets nobody else
        await send(body(b"d" * 20000, more=True))  # a large one, too
        await send(body())

    await asked(app, pipe := Pipe())
    assert pipe.content == [chunk(b"a"), chunk(b"b") + chunk(b"c"), chunk(b"d" * 20000), END]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_what_waits_is_sent_when_the_app_fails(clock: Clock, error: type[BaseException]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for text in (b"a", b"b", b"c"):
            await send(body(text, more=True))
        raise error

    await asked(app, pipe := Pipe())
    assert b"".join(pipe.content) == chunk(b"a") + chunk(b"b") + chunk(b"c")
    assert pipe.closed


async def test_nothing_is_written_to_a_client_that_left(clock: Clock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for text in (b"a", b"b"):
            await send(body(text, more=True))
        pipe.abort()
        pipe.connection.connection_lost(None)
        await send(body(b"c", more=True))

    await asked(app, pipe := Pipe())
    assert pipe.content == [chunk(b"a")]


async def test_H21_a_full_transport_makes_a_burst_wait(clock: Clock) -> None:
    pipe, sent = Pipe(), []
    pipe.mark = 200

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for number in range(4):
            await send(body(b"x" * 60, more=True))
            sent.append(number)
            await asyncio.sleep(0)
        await send(body())

    await asked(app, pipe)
    for _ in range(4):
        await turns()
    assert len(sent) < 4
    pipe.mark = 10**9
    pipe.connection.resume_writing()
    await turns()
    await turns()
    assert b"".join(pipe.content) == chunk(b"x" * 60) * 4 + END


@pytest.mark.parametrize(
    "lines", [("HTTP/1.0",), ("HTTP/1.1", "Host: a", "Connection: close")], ids=lambda lines: lines[0]
)
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_what_waits_is_sent_before_a_close(http: str, lines: tuple[str, ...]) -> None:
    """The last message has no content, and no bytes: nothing else would take along what waits."""
    start = {**START, "headers": [(b"content-length", b"12")]}
    app = sends(start, *(body(text, more=True) for text in (b"one\n", b"two\n", b"six\n")), body())
    head, *fields = lines
    with serving(app, http=http) as server:
        answer = server.connect().send("\r\n".join([f"GET / {head}", *fields, "", ""]).encode()).read_all()
    assert answer.endswith(b"\r\n\r\none\ntwo\nsix\n")

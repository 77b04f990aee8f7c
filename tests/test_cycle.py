"""cycle.py without a socket: what an app may say and hear, and what reaches the wire."""

import asyncio
import logging
from typing import Any, BinaryIO

import pytest

from miniasgi.cycle import Cycle, Phase
from miniasgi.events import Request
from miniasgi.response import HeaderLines, Response
from miniasgi.rules import Limits, judge
from miniasgi.types import App, Message, Receive, Scope, Send

from .vocabulary import START, body, sends


class FakeWire:
    """A wire that keeps what it is given."""

    def __init__(self) -> None:
        self.writable = True
        self.data = b""
        self.writes = 0
        self.wanted = 0
        self.taken = 0
        self.files: list[bytes] = []
        self.ended: list[Cycle] = []

    def write(self, data: bytes) -> None:
        self.data += data
        self.writes += 1

    stream = write

    async def drain(self) -> None:
        self.writable = True

    async def send_file(self, file: BinaryIO, count: int) -> None:
        self.files.append(file.read(count))

    def want_body(self) -> None:
        self.wanted += 1

    def took_body(self) -> None:
        self.taken += 1

    def finished(self, cycle: Cycle) -> None:
        self.ended.append(cycle)


def make(method: str = "GET", version: str = "1.1", *headers: tuple[bytes, bytes]) -> tuple[Cycle, FakeWire]:
    request = Request(method, b"/", version, [(b"host", b"test"), *headers])
    terms = judge(request, Limits())
    wire = FakeWire()
    response = Response(request, terms, HeaderLines(server=False, date=False))
    return Cycle({"type": "http"}, response, wire), wire


async def run(app: App, *arguments: Any) -> tuple[Cycle, FakeWire]:
    cycle, wire = make(*arguments)
    cycle.end()
    await cycle.run(app)
    return cycle, wire


async def refused(*messages: Message) -> BaseException:
    """What the last of these messages raises; those before it must be fine."""
    cycle, _ = make()
    for message in messages[:-1]:
        await cycle.send(message)
    phase, status = cycle.phase, cycle.response.status
    with pytest.raises((RuntimeError, TypeError, ValueError, KeyError)) as caught:
        await cycle.send(messages[-1])
    assert (cycle.phase, cycle.response.status) == (phase, status), "a refused message changed the state"
    return caught.value


def asking(script: Any) -> App:
    """An app made of a function that gets `receive` and `send`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await script(receive, send)

    return app


# send


async def test_a_simple_response_is_one_write() -> None:
    cycle, wire = await run(sends(START, body(b"hi")))
    assert wire.data == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    assert (wire.writes, wire.ended, cycle.phase, cycle.sent) == (1, [cycle], Phase.DONE, 2)


async def test_H17_the_head_is_held_until_the_first_body() -> None:
    cycle, wire = make()
    await cycle.send(START)
    assert wire.data == b""
    await cycle.send(body(b"", more=True))
    assert wire.data == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([{}], id="no type"),
        pytest.param([{"type": "http.response.nonsense"}], id="unknown type"),
        pytest.param([body(b"x")], id="body before start"),
        pytest.param([START, START], id="start twice"),
        pytest.param([START, body(b"x", more=True), START], id="start after body"),
        pytest.param([START, body(b"x"), START], id="start after the end"),
        pytest.param([START, body(), {"type": "http.response.nonsense"}], id="unknown after the end"),
        pytest.param([{"type": "http.response.start", "headers": []}], id="no status"),
        pytest.param([{"type": "http.response.start", "status": "200"}], id="status is no int"),
        pytest.param([{"type": "http.response.start", "status": 103}], id="status is not final"),
        pytest.param([{**START, "headers": [("a", "b")]}], id="headers are str"),
        pytest.param([{**START, "headers": [(b"a", "b")]}], id="value is str"),
        pytest.param([{**START, "headers": [(b"a",)]}], id="header is no pair"),
        pytest.param([{**START, "headers": [(b"a", b"b\r\nc: d")]}], id="response splitting"),
        pytest.param([{**START, "headers": [(b":status", b"200")]}], id="H19 pseudo header"),
        pytest.param([START, {"type": "http.response.body", "body": "text"}], id="body is str"),
        pytest.param([START, {"type": "http.response.early_hint"}], id="hint without links"),
        pytest.param([START, {"type": "http.response.pathsend"}], id="pathsend without path"),
        pytest.param([{"type": "http.response.pathsend", "path": "/"}], id="pathsend before start"),
        pytest.param([{"type": "http.response.trailers"}], id="trailers before start"),
        pytest.param([{"type": "websocket.accept"}], id="another protocol's"),
    ],
)
async def test_A6_a_wrong_message_raises_and_changes_nothing(messages: list[Message]) -> None:
    await refused(*messages)


async def test_A6_the_error_says_what_was_expected() -> None:
    assert str(await refused(body(b"x"))) == ("unexpected message 'http.response.body': http.response.start is next")
    assert str(await refused({"type": "http.response.start"})) == "'status'"


async def test_A7_extra_keys_are_ignored() -> None:
    _, wire = await run(sends({**START, "x": 1}, {**body(b"hi"), "y": 2}))
    assert wire.data.endswith(b"\r\n\r\nhi")


async def test_H22_bodies_after_the_final_one_are_ignored() -> None:
    cycle, wire = await run(sends(START, body(b"hi"), body(b"more"), body(b"", more=True)))
    assert wire.data.endswith(b"\r\n\r\nhi")
    assert wire.ended == [cycle]


async def test_H21_send_waits_while_the_wire_is_full() -> None:
    cycle, wire = make()
    await cycle.send(START)
    wire.writable = False
    await cycle.send(body(b"x", more=True))
    assert wire.writable, "send returned without draining"


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_no_content_where_there_must_be_none(method: str, status: int) -> None:
    cycle, wire = await run(sends({**START, "status": status}, body(b"hidden")), method)
    assert wire.data.endswith(b"\r\n\r\n")
    assert (cycle.phase, cycle.sent) == (Phase.DONE, 0)


async def test_content_over_its_length_raises_and_nothing_of_it_is_sent() -> None:
    start = {**START, "headers": [(b"content-length", b"3")]}
    cycle, wire = await run(sends(start, body(b"ab", more=True), body(b"cd")))
    assert wire.data.endswith(b"\r\n\r\nab")
    assert (cycle.phase, cycle.response.terms.keep_alive) == (Phase.FAILED, False)


# receive


async def test_H16_content_comes_as_http_request() -> None:
    cycle, wire = make("POST")
    cycle.feed(b"ab")
    cycle.feed(b"cd")
    assert cycle.unread == 4
    assert await cycle.receive() == {"type": "http.request", "body": b"abcd", "more_body": True}
    cycle.end()
    assert (cycle.unread, wire.taken) == (0, 1)
    assert await cycle.receive() == {"type": "http.request", "body": b"", "more_body": False}


async def test_H25_receive_blocks_until_there_is_something_to_say() -> None:
    cycle, _ = make()
    cycle.end()
    await cycle.receive()
    waiting = asyncio.ensure_future(cycle.receive())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    cycle.leave()
    assert await waiting == {"type": "http.disconnect"}


async def test_H25_receive_tells_of_the_end_of_the_response() -> None:
    cycle, _ = make()
    cycle.end()
    await cycle.receive()
    waiting = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    await cycle.send(START)
    await cycle.send(body(b"hi"))
    assert await waiting == {"type": "http.disconnect"}


async def test_H25_a_client_that_left_is_told_of_without_suspending_content_unread_or_not() -> None:
    cycle, _ = make("POST")
    cycle.feed(b"unread")
    cycle.leave()
    step = cycle.receive()
    with pytest.raises(StopIteration) as stopped:
        step.send(None)
    assert stopped.value.value == {"type": "http.disconnect"}


async def test_two_waiting_receivers_and_a_cancelled_one_do_not_disturb_each_other() -> None:
    cycle, _ = make()
    first, second = (asyncio.ensure_future(cycle.receive()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    cycle.feed(b"x")
    assert (await second)["body"] == b"x"
    assert not cycle.hungry


async def test_the_wire_is_asked_for_content_only_when_some_is_missing() -> None:
    cycle, wire = make("POST")
    waiting = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    assert (wire.wanted, cycle.hungry) == (1, True)
    cycle.end()
    await waiting
    again = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    assert (wire.wanted, cycle.hungry) == (1, False)
    again.cancel()


# failures


async def test_A8_an_app_that_raises_is_answered_for_with_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(receive: Receive, send: Send) -> None:
        raise KeyError("secret")

    cycle, wire = await run(asking(app))
    assert wire.data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"secret" not in wire.data
    assert (wire.ended, cycle.response.status) == ([cycle], 500)
    (record,) = caplog.records
    assert record.getMessage() == "GET /: the app failed: KeyError('secret')"
    assert "miniasgi/cycle.py" not in logging.Formatter().format(record), "a frame of ours in the traceback"


async def test_A8_who_still_waits_for_a_message_hears_that_the_app_failed() -> None:
    waiting: list[asyncio.Task[Message]] = []

    async def app(receive: Receive, send: Send) -> None:
        await receive()
        waiting.append(asyncio.ensure_future(receive()))
        await asyncio.sleep(0)
        raise RuntimeError

    await run(asking(app))
    assert await waiting[0] == {"type": "http.disconnect"}


async def test_A8_500_is_possible_until_the_first_byte() -> None:
    async def app(receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"x", b"y")]})
        raise RuntimeError

    _, wire = await run(asking(app))
    assert wire.data.startswith(b"HTTP/1.1 500 ")
    assert b"x: y" not in wire.data


async def test_A8_after_the_first_byte_the_response_just_ends() -> None:
    async def app(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"half", more=True))
        raise RuntimeError

    cycle, wire = await run(asking(app))
    assert wire.data.endswith(b"4\r\nhalf\r\n"), "no last chunk: the client must see that it is cut"
    assert (cycle.phase, wire.ended) == (Phase.FAILED, [cycle])


@pytest.mark.parametrize("messages", [[], [START], [START, body(b"x", more=True)]], ids=len)
async def test_an_app_that_returns_too_early_is_logged(
    messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    cycle, _ = await run(sends(*messages))
    assert cycle.phase is Phase.FAILED
    (record,) = caplog.records
    reason = "the app returned before its response was complete"
    assert record.getMessage() == f"GET /: the app failed: RuntimeError('{reason}')"
    assert record.levelno == logging.ERROR


async def test_an_app_that_raises_after_its_response_is_logged_only(caplog: pytest.LogCaptureFixture) -> None:
    async def app(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"hi"))
        raise RuntimeError("in a background task")

    cycle, wire = await run(asking(app))
    assert wire.data.endswith(b"\r\n\r\nhi")
    assert (cycle.phase, wire.ended) == (Phase.DONE, [cycle])
    assert """the app failed: RuntimeError('in a background task')""" in caplog.text


async def test_a_cancelled_app_does_not_leave_its_client_waiting() -> None:
    async def app(receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    _, wire = await run(asking(app))
    assert wire.data.startswith(b"HTTP/1.1 500 ")


async def test_H24_nothing_is_logged_as_an_error_when_the_client_had_left(caplog: pytest.LogCaptureFixture) -> None:
    cycle, wire = make()
    cycle.leave()
    await cycle.run(sends())
    assert (wire.data, wire.ended, cycle.response.status) == (b"", [cycle], 0)
    assert not caplog.records


async def test_a_cycle_that_somebody_else_answered_ignores_its_app() -> None:
    async def broken(receive: Receive, send: Send) -> None:
        raise RuntimeError

    for app in (sends(START, body(b"late"), {"type": "http.response.nonsense"}), asking(broken)):
        cycle, wire = make()
        cycle.phase = Phase.FAILED
        assert await cycle.receive() == {"type": "http.disconnect"}
        await cycle.run(app)
        assert (wire.data, wire.ended) == (b"", [])


async def test_exceptions_that_stop_the_program_pass_through() -> None:
    async def app(receive: Receive, send: Send) -> None:
        raise KeyboardInterrupt

    cycle, _ = make()
    with pytest.raises(KeyboardInterrupt):
        await cycle.run(asking(app))


# extensions

HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]}
HINTED = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"


@pytest.mark.parametrize("messages", [[HINT, START], [START, HINT]], ids=["before", "after the start"])
async def test_E6_an_early_hint_is_sent_at_once(messages: list[Message]) -> None:
    cycle, wire = make()
    for message in messages:
        await cycle.send(message)
    assert wire.data == HINTED


async def test_E6_any_number_of_hints_before_the_response() -> None:
    _, wire = await run(sends(HINT, HINT, START, body(b"x")))
    assert wire.data.startswith(HINTED * 2 + b"HTTP/1.1 200 OK\r\n")


async def test_E6_a_hint_is_dropped_when_it_can_no_longer_be_said() -> None:
    _, wire = await run(sends(START, body(b"a", more=True), HINT, body(b"b")))
    assert b"103" not in wire.data
    _, wire = await run(sends(HINT, START, body(b"x")), "GET", "1.0")
    assert b"103" not in wire.data


TRAILERS = {"type": "http.response.trailers", "headers": [(b"Sum", b"1")]}


async def test_H20_trailers_are_waited_for() -> None:
    cycle, wire = make("GET", "1.1", (b"te", b"trailers"))
    await cycle.send({**START, "trailers": True})
    await cycle.send(body(b"hi"))
    assert wire.data.endswith(b"2\r\nhi\r\n0\r\n")
    assert (cycle.phase, wire.ended) == (Phase.TRAILERS, [])
    await cycle.send({**TRAILERS, "more_trailers": True})
    await cycle.send({**TRAILERS, "headers": [(b"b", b"2")]})
    assert wire.data.endswith(b"0\r\nsum: 1\r\nb: 2\r\n\r\n")
    assert (cycle.phase, wire.ended) == (Phase.DONE, [cycle])


async def test_E7_trailers_that_the_client_did_not_ask_for_are_not_sent() -> None:
    cycle, wire = await run(sends({**START, "trailers": True}, body(b"hi"), TRAILERS))
    assert wire.data == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    assert cycle.phase is Phase.DONE


async def test_E4_a_file_is_the_content(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"of a file")
    message = {"type": "http.response.pathsend", "path": str(path)}
    cycle, wire = await run(sends(START, message))
    assert wire.data == b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
    assert (wire.files, cycle.sent, cycle.phase) == ([b"of a file"], 9, Phase.DONE)
    cycle, wire = await run(sends(START, message), "HEAD")
    assert wire.data == b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
    assert (wire.files, cycle.sent) == ([], 0)


async def test_E4_a_file_that_is_not_there_is_a_500() -> None:
    message = {"type": "http.response.pathsend", "path": "/nonexistent"}
    _, wire = await run(sends(START, message))
    assert wire.data.startswith(b"HTTP/1.1 500 ")


def test_a_repr_tells_what_is_going_on() -> None:
    assert repr(make()[0]) == "<Cycle GET b'/' START>"

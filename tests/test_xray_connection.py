"""What is seen of a connection, request by request, on a real socket."""

import pytest

from miniasgi.types import Message, Receive, Scope, Send
from miniasgi.xray.model import Trace

from .test_xray_server import over, watching
from .vocabulary import (
    KINDS,
    PARSERS,
    START,
    Gate,
    answer,
    body,
    chunked,
    echo,
    eventually,
    get,
    post,
    read_body,
    request,
)


def named(trace: Trace, start: str) -> list[str]:
    return [hop.name for hop in trace.hops if hop.name.startswith(start)]


@pytest.mark.parametrize("http", PARSERS)
def test_each_event_of_the_parser_with_its_content(http: str) -> None:
    with watching(echo, http=http) as (server, recorder):
        server.ask(chunked(b"a", b"bc"))
        [trace] = over(recorder)
    events = [hop.name for hop in trace.hops if hop.layer == "parser"]
    assert events == ["event Request(POST, b'/')", "event Body(1 bytes)", "event Body(2 bytes)", "event End()"]
    assert [hop.raw for hop in trace.hops if hop.name.startswith("event Body")] == [b"a", b"bc"]
    assert trace.hops[1].raw == chunked(b"a", b"bc")


@pytest.mark.parametrize("http, loop", KINDS)
def test_only_the_first_request_of_a_connection_was_accepted(http: str, loop: str) -> None:
    with watching(answer(), http=http, loop=loop) as (server, recorder):
        client = server.connect()
        for number in range(3):
            client.ask(get(f"/{number}"))
        traces = over(recorder, 3)
    assert [len(named(trace, "accepted")) for trace in traces] == [1, 0, 0]
    assert [len(named(trace, "read")) for trace in traces] == [1, 1, 1]
    assert [trace.hops[-1].name for trace in traces] == ["finished"] * 3
    assert len({trace.connection for trace in traces}) == 1
    assert "tcp.rtt_us" in traces[0].hops[0].data


def test_pipelined_requests_share_the_read_that_brought_them() -> None:
    with watching(answer()) as (server, recorder):
        client = server.connect().send(get("/1") + get("/2"))
        client.read_reply(), client.read_reply()
        first, second = over(recorder, 2)
    [one], [two] = ([hop for hop in trace.hops if hop.name == "read"] for trace in (first, second))
    assert one is two
    assert one.raw == get("/1") + get("/2")


@pytest.mark.parametrize(
    "data, status, title",
    [
        (b"nonsense\r\n\r\n", 400, "(no request)"),
        (get("/", "X: a\0b"), 400, "(no request)"),
        (get("/a#b"), 400, "GET /a#b"),
        (request("POST", "/", "Content-Length: 200"), 413, "POST /"),
        (post(b"x", "Expect: something"), 417, "POST /"),
    ],
)
def test_what_is_refused_has_a_trace_that_says_why(data: bytes, status: int, title: str) -> None:
    with watching(echo, limit_request_body=100) as (server, recorder):
        reply = server.ask(data)
        if reply.status == 200:  # our rules have nothing against it
            status = 200
        [trace] = over(recorder)
    assert (trace.status, trace.title) == (status, title)
    assert trace.failed is (status >= 400)
    assert len(named(trace, "refused: ")) == (status >= 400)


def test_one_too_many_is_refused_before_its_app_is_called() -> None:
    gate = Gate()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await gate.wait()
            await answer()(scope, receive, send)

    with watching(slow, limit_concurrency=1) as (server, recorder):
        first = server.connect().send(get("/first"))
        gate.reached()
        assert server.ask(get("/second")).status == 503
        [second] = eventually(lambda: [trace for trace in recorder.traces if trace.done])
        gate.open()
        first.read_reply()
    assert second.title == "GET /second"
    assert not named(second, "await app")


def test_a_client_that_leaves_is_seen() -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await read_body(receive)
            gate.open()
            assert (await receive())["type"] == "http.disconnect"

    with watching(app) as (server, recorder):
        client = server.connect().send(get())
        gate._opened.wait(5)
        client.abort()
        [trace] = over(recorder)
    assert named(trace, "client left")
    assert "receive http.disconnect" in named(trace, "receive")
    assert trace.status is None


def test_each_write_has_all_that_leaves_with_it() -> None:
    """A burst's pieces are held back, and are no argument of the `write` that takes them along."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for number in range(5):
            await send(body(b"piece %d " % number, more=True))
        await send(body())

    with watching(app) as (server, recorder):
        sent = server.connect().send(get("/", "Connection: close")).read_all()
        [trace] = over(recorder)
    assert b"".join(hop.raw or b"" for hop in trace.hops if hop.name == "write") == sent
    assert b"piece 4" in sent


def test_a_slow_reader_is_seen_in_the_drain() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(START)
            for _ in range(64):
                await send(body(b"x" * 1_000_000, more=True))
            await send(body())

    with watching(app) as (server, recorder):
        client = server.connect().send(get())
        eventually(lambda: recorder.traces and named(recorder.traces[0], "drain"))
        client.read_reply()
        [trace] = over(recorder)
    assert all(hop.waits and hop.end_ns is not None for hop in trace.hops if hop.name.startswith("drain"))
    assert max(hop.size for hop in trace.hops if hop.name == "write") >= 1_000_000
    assert all(len(hop.raw or b"") <= 4096 for hop in trace.hops)


def test_an_upload_that_the_app_does_not_take_stops_the_reading() -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await gate.wait()
            await echo(scope, receive, send)

    with watching(app) as (server, recorder):
        client = server.connect().send(post(b"x" * 200_000))
        eventually(lambda: recorder.traces and named(recorder.traces[0], "pause reading"))
        gate.open()
        assert client.read_reply().status == 200
        [trace] = over(recorder)
    assert named(trace, "resume reading")


def test_early_hints_and_files_are_seen(tmp_path: object) -> None:
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        file.write(b"content")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hint: Message = {"type": "http.response.early_hint", "links": [b"</a.css>"]}
            for message in (hint, START, {"type": "http.response.pathsend", "path": path}):
                await send(message)

    with watching(app) as (server, recorder):
        client = server.connect().send(get())
        assert b" 103 " in client.read_until(b"\r\n\r\n")
        assert client.read_reply().body == b"content"
        [trace] = over(recorder)
    assert named(trace, "sendfile: 7 bytes")
    assert [hop.data["path"] for hop in trace.hops if "path" in hop.data and hop.name.startswith("send ")] == [path]

"""connection.py over real sockets, raw bytes on both sides, with each parser and event loop."""

import asyncio
import contextvars
import gc
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import miniasgi
from miniasgi.cycle import Cycle
from miniasgi.types import App, Message, Receive, Scope, Send

from .vocabulary import (
    START,
    Recorder,
    Running,
    answer,
    body,
    chunked,
    echo,
    eventually,
    get,
    handshake,
    post,
    read_body,
    request,
    sends,
)

Serve = Callable[..., Running]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def serve(serve: Serve) -> Serve:
    """These apps know nothing but http."""
    return partial(serve, lifespan="off")


# Responses


def test_one_write_per_simple_response_with_a_length(serve: Serve) -> None:
    server = serve(answer(b"hello", headers=[(b"X-One", b"1")]), date_header=False)
    client = server.connect().send(get())
    assert client.sock.recv(65536) == (
        b"HTTP/1.1 200 OK\r\nserver: miniasgi\r\nx-one: 1\r\ncontent-length: 5\r\n\r\nhello"
    )


def test_H15_a_response_without_a_length_is_chunked(serve: Serve) -> None:
    reply = serve(sends(START, body(b"a", more=True), body(b"bc", more=True), body())).ask(get())
    assert (reply.header(b"transfer-encoding"), reply.body) == (b"chunked", b"abc")


def test_H18_H19_the_apps_framing_is_dropped_and_its_order_kept(serve: Serve) -> None:
    headers = [(b"B", b"1"), (b"Transfer-Encoding", b"gzip"), (b"A", b"2"), (b"b", b"3")]
    server = serve(answer(b"x", headers=headers), server_header=False, date_header=False)
    assert server.ask(get()).headers == [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"content-length", b"1")]


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_content_means_the_next_response_follows_the_head(serve: Serve, method: str, status: int) -> None:
    client = serve(answer(b"hidden", status)).connect()
    for _ in range(2):
        assert client.ask(get(method=method)).status == status
    assert client.buffer == b""


def test_http_1_0_gets_no_chunks_but_the_end_of_the_connection(serve: Serve) -> None:
    client = serve(sends(START, body(b"a", more=True), body(b"b"))).connect()
    reply = client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (reply.body, reply.header(b"transfer-encoding"), reply.header(b"connection")) == (b"ab", None, b"close")


def test_http_1_0_is_kept_alive_when_it_asks_for_it(serve: Serve) -> None:
    client = serve(answer()).connect()
    for _ in range(2):
        assert client.ask(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").header(b"connection") == b"keep-alive"
    assert client.ask(b"GET / HTTP/1.0\r\n\r\n").header(b"connection") == b"close"
    client.assert_closed()


@pytest.mark.parametrize("who", ["client", "app"])
def test_connection_close_is_honoured(serve: Serve, who: str) -> None:
    app = answer(headers=[(b"connection", b"close")] if who == "app" else [])
    client = serve(app).connect()
    reply = client.ask(get("/", "Connection: close") if who == "client" else get())
    assert reply.header(b"connection") == b"close"
    client.assert_closed()


def test_what_follows_a_request_that_closes_is_not_answered(serve: Serve) -> None:
    client = serve(answer()).connect().send(get("/", "Connection: close") + get("/second"))
    assert client.read_all().count(b"HTTP/1.1 200") == 1


def test_content_beyond_its_length_never_reaches_the_wire(serve: Serve) -> None:
    start = {**START, "headers": [(b"content-length", b"3")]}
    client = serve(sends(start, body(b"ab", more=True), body(b"cd"))).connect().send(get())
    assert client.read_all().endswith(b"\r\n\r\nab")


def test_A8_a_cut_response_without_framing_ends_with_a_reset(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"half", more=True))
        await receive()
        raise RuntimeError

    client = serve(app).connect().send(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        while client._more():
            pass


def test_A8_after_a_500_the_connection_is_closed(serve: Serve) -> None:
    client = serve(sends()).connect()
    assert client.ask(get()).status == 500
    client.assert_closed()


# Requests


def test_H15_content_is_freed_from_its_chunks(serve: Serve) -> None:
    client = serve(echo).connect()
    for chunks in ([b"a", b"bc"], [b"x" * 100_000, b"y"], []):
        assert client.ask(chunked(*chunks)).body == b"".join(chunks)
    assert client.ask(chunked(b"a", end=b"0\r\nX-Trailer: 1\r\n\r\n")).body == b"a"


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        data = await read_body(receive)
        if scope["path"].endswith("0"):
            await asyncio.sleep(0.01)
        await answer(scope["path"].encode() + data)(scope, receive, send)

    client = serve(app).connect()
    client.send(b"".join(post(b"!", target=f"/{n}") for n in range(40)))
    assert [client.read_reply().body for _ in range(40)] == [b"/%d!" % n for n in range(40)]


def test_a_request_behind_a_running_one_waits(serve: Serve) -> None:
    release, started = threading.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        while scope["path"] == "/1" and not release.is_set():
            await asyncio.sleep(0.001)
        await answer()(scope, receive, send)

    client = serve(app).connect().send(get("/1"))
    eventually(lambda: started)
    client.send(get("/2")).send(get("/3")[:10])
    release.set()
    assert client.read_reply().status == client.read_reply().status == 200
    client.send(get("/3")[10:])
    assert client.read_reply().status == 200
    assert started == ["/1", "/2", "/3"]


def test_every_byte_may_come_alone(serve: Serve) -> None:
    client = serve(echo).connect()
    for byte in post(b"abc") + chunked(b"de", b"f"):
        client.send(bytes([byte]))
    assert [client.read_reply().body, client.read_reply().body] == [b"abc", b"def"]


def test_an_unsupported_upgrade_is_ignored_and_its_body_is_a_body(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(post(b"abc", "Connection: upgrade", "Upgrade: nonsense") + post(b"next"))
    assert [client.read_reply().body, client.read_reply().body] == [b"abc", b"next"]


@pytest.mark.parametrize("reads", [True, False])
def test_100_continue_is_sent_only_when_the_app_reads(serve: Serve, reads: bool) -> None:
    client = serve(echo if reads else answer(b"no", 403)).connect()
    client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 3"))
    if reads:
        assert client.read_exactly(len(CONTINUE)) == CONTINUE
        assert client.ask(b"abc").body == b"abc"
        assert client.ask(get()).status == 200
    else:
        reply = client.read_reply()
        assert (reply.status, reply.header(b"connection")) == (403, b"close")
        client.assert_closed()


def test_no_100_continue_for_content_that_came_already(serve: Serve) -> None:
    server = serve(echo)
    client = server.connect().send(post(b"ab", "Expect: 100-continue")[:-1])
    eventually(lambda: server.call(lambda: any(c._content for c in server.service.connections)))
    assert client.send(b"b").read_reply().body == b"ab"


@pytest.mark.parametrize("app", [echo, answer(b"no", 403)], ids=["reads", "refuses"])
def test_who_did_not_wait_for_a_100_keeps_the_connection(serve: Serve, app: App) -> None:
    """Where its content ends is beyond doubt, and so is where the next request begins."""
    client = serve(app).connect().send(post(b"ab", "Expect: 100-continue") + post(b"cd"))
    assert [reply.header(b"connection") for reply in (client.read_reply(), client.read_reply())] == [None, None]


def test_no_100_continue_for_http_1_0(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert client.ask(b"x").status == 200


def test_a_short_body_that_nobody_read_keeps_the_connection(serve: Serve) -> None:
    client = serve(answer()).connect()
    message = post(b"x" * 1000)
    client.send(message[:-500])
    assert client.read_reply().status == 200
    client.send(message[-500:])
    assert client.ask(get()).status == 200


def test_a_long_body_that_nobody_read_costs_the_connection(serve: Serve) -> None:
    client = serve(answer()).connect()
    client.send(request("POST", "/", "Content-Length: 10000000"))
    assert client.read_reply().status == 200
    try:
        for _ in range(100):
            client.send(b"x" * 100_000)
    except OSError:
        pass
    assert client.read_all() == b""


# Refusals: the wire table of ASGI-CHECKLIST, each answered and closed

TOO_LONG = "/" + "x" * 9000
REFUSED = {
    "CL and TE": (request("POST", "/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
    "two CL": (request("POST", "/", "Content-Length: 1", "Content-Length: 1"), 400),
    "CL +5": (request("POST", "/", "Content-Length: +5"), 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "obs-fold": (get("/", "X: a\r\n b"), 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (get("/", "Host: b"), 400),
    "HTTP/9.9": (get(version="9.9"), 505),
    "TE on 1.0": (request("POST", "/", "Transfer-Encoding: chunked", version="1.0"), 400),
    "TE gzip": (request("POST", "/", "Transfer-Encoding: gzip"), 501),
    "head over the limit": (get("/", *(f"X: {'x' * 7000}" for _ in range(10))), 431),
    "fields over the limit": (get("/", *("X: y" for _ in range(100))), 431),
    "line over the limit": (get(TOO_LONG), 414),
    "declared body over the limit": (request("POST", "/", "Content-Length: 2000000"), 413),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
}


@pytest.mark.parametrize("data, status", REFUSED.values(), ids=REFUSED)
def test_refused_and_closed(serve: Serve, data: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    app = Recorder()
    client = serve(app, limit_request_body=1_000_000).connect().send(data)
    reply = client.read_reply()
    assert (reply.status, reply.header(b"connection")) == (status, b"close")
    client.assert_closed()
    assert not app.scopes
    assert [record.levelname for record in caplog.records if "127.0.0.1" in record.getMessage()] == ["WARNING"]


def test_a_refusal_comes_after_the_answers_to_what_was_fine(serve: Serve) -> None:
    client = serve(answer()).connect().send(get() + get() + b"nonsense\r\n\r\n")
    assert [client.read_reply().status for _ in range(3)] == [200, 200, 400]
    client.assert_closed()


@pytest.mark.parametrize("committed", [False, True])
def test_content_that_breaks_its_framing_is_a_400_or_the_end(serve: Serve, committed: bool) -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if committed:
            await send(START)
            await send(body(b"early", more=True))
        while not heard or heard[-1]["type"] == "http.request":
            heard.append(await receive())
        await answer(b"too late")(scope, receive, send)

    client = serve(app).connect().send(chunked(b"a", end=b""))
    eventually(lambda: heard)
    client.send(b"zz\r\n\r\n")
    data = client.read_all()
    assert data.startswith(b"HTTP/1.1 200 " if committed else b"HTTP/1.1 400 ")
    assert b"too late" not in data
    eventually(lambda: heard[-1] == {"type": "http.disconnect"})


def test_content_over_the_limit_is_a_413_also_when_it_was_not_declared(serve: Serve) -> None:
    client = serve(echo, limit_request_body=1000).connect()
    assert client.ask(chunked(b"x" * 1000)).status == 200
    reply = client.ask(chunked(b"x" * 600, b"x" * 600))
    assert (reply.status, reply.header(b"connection")) == (413, b"close")


def test_a_refusal_of_a_HEAD_has_no_content(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

    head = request("HEAD", "/", "Transfer-Encoding: chunked")
    data = serve(app).connect().send(head + b"zz\r\n").read_all()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.endswith(b"\r\n\r\n")


def test_the_last_words_reach_a_client_in_the_middle_of_sending(serve: Serve) -> None:
    client = serve(answer(), limit_request_body=1000).connect()
    client.send(request("POST", "/", "Content-Length: 5000000"))
    for _ in range(50):
        client.send(b"x" * 100_000)
    assert client.read_reply().status == 413


def test_over_the_concurrency_limit_is_a_503(serve: Serve) -> None:
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["path"] == "/slow" and not release.is_set():
            await asyncio.sleep(0.001)
        await answer()(scope, receive, send)

    server = serve(app, limit_concurrency=1)
    slow = server.connect().send(get("/slow"))
    eventually(lambda: server.service.tasks)
    assert server.ask(get()).status == 503
    release.set()
    assert slow.read_reply().status == 200
    eventually(lambda: not server.service.tasks)
    assert server.ask(get()).status == 200


# Deadlines


@pytest.mark.parametrize("sent, answer_is", [(b"", b""), (b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408 ")], ids=len)
def test_a_head_that_does_not_come(serve: Serve, sent: bytes, answer_is: bytes) -> None:
    client = serve(answer(), timeout_request_head=0.1).connect().send(sent)
    data = client.read_all()
    assert data.startswith(answer_is)
    assert bool(data) == bool(answer_is)


def test_a_head_that_does_not_come_after_a_first_request(serve: Serve) -> None:
    client = serve(answer(), timeout_request_head=0.1).connect()
    client.ask(get())
    assert client.send(b"GET / ").read_reply().status == 408


def test_trickling_does_not_move_the_deadline_of_a_head(serve: Serve) -> None:
    client = serve(answer(), timeout_request_head=0.2).connect().send(b"GET / HTTP/1.1\r\n")
    client.sock.settimeout(0.02)
    for _ in range(1000):
        try:
            assert client._more() or client.buffer
            break
        except TimeoutError:
            client.send(b"X: y\r\n")
    assert client.buffer.startswith(b"HTTP/1.1 408 ")


def test_content_that_stalls_while_the_app_waits_is_a_408(serve: Serve) -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not heard or heard[-1]["type"] == "http.request":
            heard.append(await receive())

    client = serve(app, timeout_request_body=0.1).connect().send(post(b"abc")[:-1])
    assert client.read_reply().status == 408
    eventually(lambda: heard[-1] == {"type": "http.disconnect"})


def test_content_that_nobody_waits_for_has_no_deadline(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.wait_for(receive(), 0.02)
        except TimeoutError:
            await asyncio.sleep(0.2)  # busy, while the deadline of the receive above goes by
        await echo(scope, receive, send)

    client = serve(app, timeout_request_body=0.1).connect().send(post(b"")[:-4].replace(b": 0", b": 2") + b"\r\n\r\n")
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client._more()
    client.sock.settimeout(5)
    assert client.read_all().startswith(b"HTTP/1.1 408 "), "but the app waits again, and then it has one"


def test_an_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    client = serve(answer(), timeout_keep_alive=0.1).connect()
    for _ in range(3):
        assert client.ask(get()).status == 200
    client.assert_closed()


def test_a_busy_connection_outlives_its_deadlines(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.25)
        await answer()(scope, receive, send)

    client = serve(app, timeout_keep_alive=0.1, timeout_request_head=0.1, timeout_request_body=0.1).connect()
    assert client.ask(get()).status == 200


def test_zero_turns_a_deadline_off(serve: Serve) -> None:
    client = serve(echo, timeout_request_head=0, timeout_request_body=0).connect().send(post(b"ab")[:-1])
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client._more()
    assert client.send(b"b").read_reply().body == b"ab"


def test_a_body_left_behind_may_not_hold_the_connection(serve: Serve) -> None:
    client = serve(answer(), timeout_keep_alive=0.1).connect().send(post(b"abc")[:-1])
    assert client.read_reply().status == 200
    client.assert_closed()


def test_a_client_that_takes_nothing_more_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniasgi.connection._LINGER", 0.1)
    server = serve(answer(b"x" * 20_000_000, headers=[(b"connection", b"close")]))
    client = server.connect().send(get())
    assert len(client.read_exactly(1_000_000)) == 1_000_000
    eventually(lambda: not server.service.connections)
    assert len(client.read_all()) < 19_000_000


def test_a_slow_client_that_takes_something_is_not(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniasgi.connection._LINGER", 0.5)
    client = serve(answer(b"x" * 30_000_000, headers=[(b"connection", b"close")])).connect().send(get())
    client.read_until(b"\r\n\r\n")
    pieces = []
    for _ in range(30):  # slower than the deadline all in all, never for the length of it
        pieces.append(client.read_exactly(1_000_000))
        threading.Event().wait(0.03)
    assert len(b"".join(pieces)) == 30_000_000


# Disconnects


@pytest.mark.parametrize("how", ["close", "abort"])
def test_H25_the_app_hears_that_its_client_left(serve: Serve, how: str) -> None:
    heard: list[Message] = []
    started = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        started.set()
        heard.append(await receive())

    server = serve(app)
    client = server.connect().send(get())
    started.wait()
    getattr(client, how)()
    eventually(lambda: heard == [{"type": "http.disconnect"}])
    eventually(lambda: not server.service.connections and not server.service.tasks)


def test_H25_a_stream_to_a_client_that_left_ends_quietly(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while (await receive())["type"] == "http.request":
            await send(body(b"x", more=True))

    server = serve(app)
    client = server.connect().send(get(version="1.0"))
    client.read_until(b"\r\n\r\nx")
    client.abort()
    eventually(lambda: server.server._requests == 1)
    assert not caplog.records


@pytest.mark.parametrize("more", [post(b"abc"), post(b"abc")[:-1], get() + get()], ids=["unread", "cut", "pipelined"])
def test_H25_it_hears_it_with_content_unread_and_requests_waiting(serve: Serve, more: bytes) -> None:
    """A client that is gone is; one that has closed may have shut down its writing side only."""
    heard: list[Message] = []
    started, left = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        while not left.is_set():
            await asyncio.sleep(0.001)
        heard.append(await receive())

    server = serve(app)
    client = server.connect().send(more)
    started.wait()
    client.abort()
    eventually(lambda: server.call(lambda: all(c._cycle.client_left for c in server.service.connections)))
    left.set()
    eventually(lambda: heard)
    assert heard[0] == {"type": "http.disconnect"}


def test_H24_send_after_the_client_left_does_nothing_and_lets_others_run(serve: Serve) -> None:
    sent = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/gone":
            await answer()(scope, receive, send)
            return
        await send(START)
        while len(sent) < 1000:
            await send(body(b"x" * 1000, more=True))
            sent.append(1)

    server = serve(app)
    client = server.connect().send(get("/gone"))
    client.read_until(b"\r\n\r\n")
    client.abort()
    eventually(lambda: len(sent) >= 1000)
    assert server.ask(get()).status == 200


def test_a_client_that_only_shut_down_its_writing_side_gets_its_answer(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await answer(b"still here")(scope, receive, send)

    client = serve(app).connect().send(get())
    client.sock.shutdown(1)
    assert client.read_reply().body == b"still here"
    client.assert_closed()


@pytest.mark.parametrize("cancel", [False, True])
def test_it_has_its_content_heard_first(serve: Serve, cancel: bool) -> None:
    """If all of it has come; unless the user says that such a client has left."""
    heard: list[Message] = []
    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while not ended.is_set():
                await asyncio.sleep(0.001)
            heard.extend([await receive(), await receive()])
            await answer(b"still here")(scope, receive, send)
        except asyncio.CancelledError:
            heard.append({"type": "cancelled"})
            raise

    server = serve(app, cancel_on_disconnect=cancel)
    client = server.connect().send(post(b"abc"))
    client.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: server.call(lambda: any(c._ended for c in server.service.connections)) or heard)
    ended.set()
    if cancel:
        client.assert_closed()
        assert heard == [{"type": "cancelled"}]
    else:
        assert client.read_reply().body == b"still here"
        content = {"type": "http.request", "body": b"abc", "more_body": False}
        assert heard == [content, {"type": "http.disconnect"}]


def test_what_it_has_pipelined_before_is_answered_too(serve: Serve) -> None:
    paths: list[str] = []
    contents: list[bytes] = []
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        contents.append((await receive())["body"])
        ends.append((await receive())["type"])  # the first one waits here until the client has ended
        await answer(scope["path"].encode())(scope, receive, send)

    client = serve(app).connect()
    big = post(b"x" * 30_000, target="/3")
    client.send(get("/1") + get("/2") + big + post(b"last", target="/4") + get("/begun")[:-2])
    client.sock.shutdown(socket.SHUT_WR)
    assert [client.read_reply().body for _ in range(4)] == [b"/1", b"/2", b"/3", b"/4"]
    client.assert_closed()
    assert paths == ["/1", "/2", "/3", "/4"]
    assert contents == [b"", b"", b"x" * 30_000, b"last"]
    assert ends == ["http.disconnect"] * 4


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_a_task_factory_of_the_app_starts_none_of_our_tasks(serve: Serve) -> None:
    """An app that runs inside of `Service.start` would be over before its connection knows of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        factory = asyncio.eager_task_factory if scope["path"] == "/1" else None
        if scope["path"] != "/2":
            asyncio.get_running_loop().set_task_factory(factory)
        await answer(scope["path"].encode())(scope, receive, send)

    client = serve(app).connect().send(get("/1") + get("/2") + get("/3"))
    assert [client.read_reply().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("come", [0, 1])
def test_content_that_will_never_come_is_not_waited_for(serve: Serve, come: int) -> None:
    """Neither by the app, nor by us: a deadline of a minute would be silence for a minute."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass
        await answer(scope["path"].encode())(scope, receive, send)

    client = serve(app).connect().send(get("/1") + post(b"abc", target="/2")[: come - 3])
    client.sock.shutdown(socket.SHUT_WR)
    assert [client.read_reply().body for _ in range(2)] == [b"/1", b"/2"]
    client.assert_closed()


def test_a_client_that_resets_what_it_had_half_closed_leaves_nothing(serve: Serve) -> None:
    """Nobody reads any more, so that the loop does not hear of the reset: we meet it when we close."""
    left, reset = threading.Event(), threading.Event()
    failures: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()
        while not reset.is_set():
            await asyncio.sleep(0.001)

    server = serve(app)
    server.call(lambda: server.service.loop.set_exception_handler(lambda loop, context: failures.append(context)))
    client = server.connect().send(post(b"abc", "Connection: close")[:-1])
    client.sock.shutdown(socket.SHUT_WR)
    left.wait()
    client.abort()
    reset.set()
    eventually(lambda: not server.service.connections and not server.service.tasks)
    server.call(gc.collect)  # a task that failed tells when it goes
    assert failures == []


def test_a_websocket_behind_the_last_word_ends(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            await answer()(scope, receive, send)
        else:
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass

    server = serve(app)
    client = server.connect().send(get() + handshake())
    client.sock.shutdown(socket.SHUT_WR)
    assert client.read_reply().status == 200
    client.read_all()
    eventually(lambda: not server.service.connections and not server.service.tasks)


def test_cancel_on_disconnect_cancels_the_app(serve: Serve) -> None:
    ended: list[str] = []
    started = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    server = serve(app, cancel_on_disconnect=True)
    client = server.connect().send(get())
    started.wait()
    client.close()
    eventually(lambda: ended and not server.service.tasks)


def test_pipelined_requests_of_a_client_that_left_are_not_started(serve: Serve) -> None:
    started = []
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        while not release.is_set():
            await asyncio.sleep(0.001)
        await answer()(scope, receive, send)

    server = serve(app)
    client = server.connect().send(get("/1") + get("/2"))
    eventually(lambda: started)
    client.abort()
    eventually(lambda: not server.service.connections)
    release.set()
    eventually(lambda: not server.service.tasks)
    assert started == ["/1"]


# Flow control


def test_no_piece_waits_for_the_acknowledgement_of_another(serve: Serve) -> None:
    """Nagle's algorithm would hold it back for as long as the client holds back its ACK: 40 ms (RFC 9293 3.7.4)."""
    server = serve(answer())
    server.ask(get())

    def options() -> list[int]:
        sockets = [c.transport.get_extra_info("socket") for c in server.service.connections]
        return [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets]

    assert server.call(options) == [1]


def test_H21_an_app_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    sent = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for _ in range(200):
            await send(body(b"x" * 100_000, more=True))
            sent.append(1)
        await send(body())

    server = serve(app)
    client = server.connect().send(get())
    eventually(lambda: server.call(lambda: any(not c.writable for c in server.service.connections)))
    assert len(sent) < 200
    assert len(client.read_reply().body) == 20_000_000


def test_a_client_waits_for_an_app_that_does_not_read(serve: Serve) -> None:
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not release.is_set():
            await asyncio.sleep(0.001)
        await answer(b"%d" % len(await read_body(receive)))(scope, receive, send)

    server = serve(app)
    client = server.connect()
    sender = threading.Thread(target=client.send, args=[post(b"x" * 20_000_000)])
    sender.start()
    eventually(lambda: server.call(lambda: any(not c._reading for c in server.service.connections)))
    assert sender.is_alive()
    release.set()
    sender.join()
    assert client.read_reply().body == b"20000000"


# Extensions on the wire


def test_E4_pathsend_streams_a_file_and_the_connection_goes_on(serve: Serve, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "big").write_bytes(content)
    app = sends(START, {"type": "http.response.pathsend", "path": str(tmp_path / "big")})
    client = serve(app).connect()
    for _ in range(2):
        assert client.ask(get()).body == content
    assert client.ask(get(method="HEAD")).header(b"content-length") == b"1024000"


def test_E4_a_client_that_leaves_during_a_file_ends_it(serve: Serve, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200_000_000)
    server = serve(sends(START, {"type": "http.response.pathsend", "path": str(tmp_path / "big")}))
    client = server.connect().send(get())
    client.read_exactly(100_000)
    client.abort()
    eventually(lambda: not server.service.connections and not server.service.tasks)


def test_E4_a_file_that_ends_too_early_cuts_the_connection(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 400)
    errors = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (connection,) = server.service.connections
        with (tmp_path / "file").open("rb") as file:
            try:
                await connection.send_file(file, 1000)
            except OSError as error:
                errors.append(str(error))

    server = serve(app)
    assert server.connect().send(get()).read_all() == b"x" * 400
    assert errors == ["only 400 of 1000 bytes of a file could be sent"]


def test_E6_E7_hints_and_trailers_reach_the_client(serve: Serve) -> None:
    app = sends(
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {**START, "trailers": True},
        body(b"hi"),
        {"type": "http.response.trailers", "headers": [(b"sum", b"1")]},
    )
    client = serve(app).connect().send(get("/", "TE: trailers") + get())
    assert client.read_reply().head == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert client.read_until(b"\r\n\r\n").endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert client.read_until(b"\r\n\r\n") == b"2\r\nhi\r\n0\r\nsum: 1\r\n\r\n"
    assert client.read_reply().status == 103
    assert client.read_reply().body == b"hi"


# The server's side


def test_a_head_that_has_begun_is_waited_for_when_the_server_stops(serve: Serve) -> None:
    server = serve(answer())
    client = server.connect().send(get()[:-2])
    idle = server.connect()
    assert idle.ask(get()).status == 200
    eventually(lambda: server.call(lambda: any(c._heard for c in server.service.connections)))
    server.server.should_exit = True
    idle.assert_closed()
    assert client.send(b"\r\n").read_reply().header(b"connection") == b"close"
    client.assert_closed()
    server.join()


def test_every_answered_request_is_told_of_when_it_ends(serve: Serve) -> None:
    logged = []

    def finished(cycle: Cycle) -> None:
        logged.append((cycle.scope["client"], cycle.request.method, cycle.response.status, cycle.sent))

    server = serve(answer(b"hello"))
    server.service.log = finished
    client = server.connect()
    client.ask(get())
    client.ask(get(method="HEAD"))
    name = client.sock.getsockname()
    eventually(lambda: len(logged) == 2)
    assert logged == [(name, "GET", 200, 5), (name, "HEAD", 200, 0)]


def test_the_access_log_names_the_client_that_a_trusted_proxy_reports(serve: Serve) -> None:
    told: list[Cycle] = []
    server = serve(answer())
    server.service.log = told.append
    server.ask(get("/", "X-Forwarded-For: 203.0.113.7"))
    eventually(lambda: [cycle.scope["client"] for cycle in told] == [("203.0.113.7", 0)])


# Small things


def test_a_repr_tells_what_is_going_on(serve: Serve) -> None:
    server = serve(answer())
    client = server.connect()
    client.ask(get())
    shown = server.call(lambda: [repr(connection) for connection in server.service.connections])
    host, port = client.sock.getsockname()
    assert shown == [f"<Connection {host}:{port} HEAD>"]


@pytest.mark.parametrize(("reset", "expected"), [(False, "of the program"), (True, "nothing")])
async def test_the_app_may_be_called_in_an_empty_context(http: str, reset: bool, expected: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(variable.get())
        await answer()(scope, receive, send)

    variable.set("of the program")
    options: dict[str, Any] = {"http": http, "lifespan": "off", "log_config": None, "reset_contextvars": reset}
    server = miniasgi.Server(miniasgi.Config(app, port=0, **options))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    writer.write(get("/", "Connection: close"))
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    server.should_exit = True
    await serving
    assert seen == [expected]

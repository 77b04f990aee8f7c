"""The client of `miniasgi xray`: it reads what a client must, and keeps what it saw, but no secrets."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from miniasgi.types import Receive, Scope, Send
from miniasgi.xray.client import MOST_BODY, Exchange, ask, exchange

from .vocabulary import (
    PATIENCE,
    START,
    Client,
    accepting,
    answer,
    body,
    echo,
    echo_socket,
    get,
    handshake,
    post,
    request,
    sends,
    serving,
)


def asked(port: int, data: bytes, messages: list[str] | None = None, timeout: float = PATIENCE) -> Exchange:
    return ask("127.0.0.1", port, data, messages, timeout)


def names(seen: Exchange) -> list[str]:
    return [hop.name for hop in seen.hops]


def received(seen: Exchange) -> bytes:
    return b"".join(hop.raw or b"" for hop in seen.hops if hop.name == "recv")


@contextmanager
def speaking(script: Callable[[Client], Any]) -> Iterator[int]:
    """A server that does with its only client what the script says; gives its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            script(client := Client(listener.accept()[0]))
            client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE)


# What a client sees:


def test_one_request_from_connect_to_the_end_of_the_response() -> None:
    with serving(answer(b"hello", headers=[(b"x-a", b"1")])) as server:
        seen = asked(server.port, get("/path"))
    assert (seen.status, seen.body, seen.error, seen.header("x-a")) == (200, b"hello", None, "1")
    assert names(seen)[:4] == ["the whole exchange", "connect()", "send", "recv"]
    _, connect, sent, *_ = seen.hops
    assert connect.data["local"].startswith("127.0.0.1:")
    assert (sent.raw, sent.size) == (get("/path"), len(get("/path")))
    assert received(seen).startswith(b"HTTP/1.1 200 OK\r\n")


def test_all_but_the_whole_only_wait_and_are_inside_of_it_in_order() -> None:
    with serving(answer()) as server:
        whole, *hops = asked(server.port, get()).hops
    assert [hop.layer for hop in (whole, *hops)] == ["client"] * (1 + len(hops))
    assert not whole.waits
    assert {hop.thread for hop in (whole, *hops)} == {""}
    assert all(hop.waits for hop in hops)
    times = [whole.start_ns, *(time for hop in hops for time in (hop.start_ns, hop.end_ns)), whole.end_ns]
    assert times == sorted(times)


@pytest.mark.parametrize("method, expected", [("POST", b"some words"), ("HEAD", b""), ("PUT", b"some words")])
def test_a_response_of_known_length(method: str, expected: bytes) -> None:
    reply = sends({**START, "headers": [(b"content-length", b"10")]}, body(b"some words"))
    with serving(reply) as server:
        assert asked(server.port, request(method, "/")).body == expected


def test_a_chunked_response() -> None:
    with serving(sends(START, body(b"some ", True), body(b"words"))) as server:
        seen = asked(server.port, get())
    assert (seen.body, seen.header("transfer-encoding")) == (b"some words", "chunked")


def test_a_response_that_ends_with_the_connection() -> None:
    with serving(sends(START, body(b"some ", True), body(b"words"))) as server:
        seen = asked(server.port, get(version="1.0"))
    assert (seen.status, seen.body, seen.error) == (200, b"some words", None)
    assert seen.hops[-1].data == {"end": "the server closed"}


def test_informational_responses_come_before_the_response() -> None:
    def hint(client: Client) -> None:
        client.read_until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with speaking(hint) as port:
        seen = asked(port, get())
    assert (seen.status, seen.body) == (200, b"hi")


def test_of_a_long_response_the_beginning_is_kept() -> None:
    with serving(answer(b"x" * 3 * MOST_BODY)) as server:
        seen = asked(server.port, get())
    assert seen.body == b"x" * MOST_BODY
    assert sum(hop.size for hop in seen.hops if hop.name == "recv") > 3 * MOST_BODY


def test_a_response_that_comes_before_all_was_sent() -> None:
    def refuse(client: Client) -> None:
        client.read_exactly(10)
        client.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with speaking(refuse) as port:
        seen = asked(port, get())
    assert (seen.status, seen.error) == (413, None)


# WebSockets:


def test_a_websocket_gets_a_reply_for_each_message_and_closes() -> None:
    with serving(echo_socket) as server:
        seen = asked(server.port, handshake(), ["hi", "ho"])
    assert (seen.status, seen.error) == (101, None)
    talk = [name for name in names(seen) if "sent" in name or "received" in name]
    assert talk == [
        "message sent 'hi'",
        "message received 'hi'",
        "message sent 'ho'",
        "message received 'ho'",
        "close 1000 sent",
        "close 1000 received",
    ]


def test_a_websocket_without_messages_is_opened_and_closed() -> None:
    with serving(echo_socket) as server:
        assert names(asked(server.port, handshake(), []))[-1] == "close 1000 received"


def test_a_websocket_that_is_denied_has_a_response() -> None:
    async def deny(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    with serving(deny) as server:
        seen = asked(server.port, handshake(), ["hi"])
    assert (seen.status, seen.error) == (403, None)
    assert "message sent 'hi'" not in names(seen)


def test_a_websocket_that_the_server_closes() -> None:
    @accepting
    async def leave(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    with serving(leave) as server:
        seen = asked(server.port, handshake(), ["hi", "ho"])
    assert seen.error is None
    assert names(seen)[-1] == "close 4000 received 'enough'"
    assert "message sent 'ho'" not in names(seen)


def test_bytes_and_pings_and_pongs_and_messages_in_parts() -> None:
    def talk(client: Client) -> None:
        client.read_until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        client.read_exactly(8)
        client.send(b"\x8a\0" + b"\x89\2hi" + b"\1\3one" + b"\x80\4-two")
        client.read_exactly(8)
        client.read_exactly(8)  # the next message, of two bytes
        client.send(b"\x82\2\0\1" + b"\x88\0")
        client.read_exactly(6)

    with speaking(talk) as port:
        seen = asked(port, handshake(), ["hi", "ho"])
    assert seen.error is None
    notes = [name for name in names(seen) if " " in name][1:]
    assert notes == [
        "message sent 'hi'",
        "pong sent b'hi'",
        "message received 'one-two'",
        "message sent 'ho'",
        "message received b'\\x00\\x01'",
        "close 1005 sent",
        "close 1005 received",
    ]


def test_a_websocket_that_breaks_off() -> None:
    def break_off(client: Client) -> None:
        client.read_until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 101 -\r\nUpgrade: websocket\r\n\r\n\x81\2hi")
        client.read_exactly(16)  # its message and its close: what is not read would make a reset of the end

    with speaking(break_off) as port:
        seen = asked(port, handshake(), ["hi"])
    assert names(seen)[-1] == "close 1006 received"


# What goes wrong is a sentence:


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    seen = asked(port, get())
    assert (seen.status, seen.error) == (None, f"nobody listens at 127.0.0.1:{port}")
    assert [hop.failed for hop in seen.hops] == [False, True]
    assert all(hop.end_ns for hop in seen.hops)


def test_the_server_resets() -> None:
    def reset(client: Client) -> None:
        client.read_until(b"\r\n\r\n")
        client.abort()

    with speaking(reset) as port:
        seen = asked(port, get())
    assert seen.error == "the connection broke: Connection reset by peer"
    assert seen.hops[-1].failed


def test_the_server_closes_without_an_answer() -> None:
    with speaking(lambda client: client.read_until(b"\r\n\r\n")) as port:
        assert str(asked(port, get()).error).startswith("that is no response: ")


def test_the_server_answers_with_something_else() -> None:
    with speaking(lambda client: client.send(b"SSH-2.0-x\r\n\r\n")) as port:
        assert str(asked(port, get()).error).startswith("that is no response: ")


@pytest.mark.parametrize("data, messages", [(get(), None), (handshake(), ["hi"])])
def test_a_timeout_keeps_what_came_before(data: bytes, messages: list[str] | None) -> None:
    def tease(client: Client) -> None:
        client.read_until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 %s\r\n\r\n" % (b"101 -" if messages else b"200 OK"))
        client.read_all()

    with speaking(tease) as port:
        seen = asked(port, data, messages, timeout=0.2)
    assert (seen.status, seen.error) == (101 if messages else 200, "the exchange was not over within 0.2 s")
    assert seen.hops[-1].failed


def test_no_time_at_all() -> None:
    with serving(answer()) as server:
        assert "not over within" in str(asked(server.port, get(), timeout=1e-9).error)


def test_a_websocket_that_breaks_the_protocol() -> None:
    with speaking(lambda client: client.send(b"HTTP/1.1 101 -\r\n\r\n\xff\xff").read_all()) as port:
        seen = asked(port, handshake(), ["hi"])
    assert names(seen)[-1].startswith("close 1002 received")


# Secrets:

SECRET = "sesame-open-sesame"


def shown(seen: Exchange) -> str:
    return "".join(str(hop.json()) + repr(hop.raw) for hop in seen.hops)


def test_secrets_are_masked_wherever_they_turn_up() -> None:
    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"set-cookie", b"session=abcdefgh"), (b"x-echo", SECRET.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(f'{{"you": "{SECRET}", "api_key": "xyzxyz"}}'.encode()))

    with serving(tell) as server:
        seen = asked(server.port, get("/", f"Authorization: Bearer {SECRET}"))
    assert SECRET.encode() in seen.body
    for secret in (SECRET, "abcdefgh", "xyzxyz"):
        assert secret not in shown(seen)
    assert b"Authorization: *****" in (seen.hops[2].raw or b"")


def test_secrets_are_masked_in_websocket_messages() -> None:
    with serving(echo_socket) as server:
        seen = asked(server.port, handshake("/", f"X-Api-Key: {SECRET}"), [f"I am {SECRET}", '{"token": "xyzxyz"}'])
    assert "xyzxyz" not in shown(seen)
    assert SECRET not in shown(seen)
    assert "message received 'I am ******************'" in names(seen)


def test_the_bytes_of_frames_that_were_sent_are_not_shown() -> None:
    """They can be read: the key is in them."""
    with serving(echo_socket) as server:
        seen = asked(server.port, handshake(), ['{"password": "x"}'])
    frames = [hop.raw for hop in seen.hops if hop.name == "send"][1:]
    assert frames == [b"(a frame of 23 bytes)", b"(a frame of 8 bytes)"]


# In a process of its own:


async def test_another_process_asks() -> None:
    with serving(echo) as server:
        seen = await exchange("127.0.0.1", server.port, post(b"hi"), None, PATIENCE)
        here = asked(server.port, post(b"hi"))
    assert (seen.status, seen.body, seen.error) == (200, b"hi", None)
    assert [hop for hop in names(seen) if hop != "recv"] == [hop for hop in names(here) if hop != "recv"]
    assert seen.hops[2].raw == post(b"hi")
    assert seen.hops[0].end_ns <= here.hops[0].start_ns  # one clock for both
    assert all(hop.waits for hop in seen.hops[1:])


async def test_a_process_that_fails() -> None:
    seen = await exchange("127.0.0.1", 80, get(), None, "soon")  # type: ignore[arg-type]
    assert seen == Exchange(error="the client ended with a status of 1")


async def test_a_process_that_nobody_waits_for_any_more() -> None:
    with speaking(lambda client: client.read_all()) as port, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await exchange("127.0.0.1", port, get())

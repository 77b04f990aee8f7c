"""What is seen of a WebSocket: its frames, what they say, and its end."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniasgi.websocket import WebSocket
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.websocket import Payloads, WatchedWebSocket, frame_text

from .test_xray_server import over, watching
from .vocabulary import CLOSE, PING, TEXT, VERSION, accepting, close_frame, echo_socket, frame, get, handshake


@pytest.mark.parametrize(
    "data, text",
    [
        (frame(TEXT, b"hello"), "text, final, masked, 5 bytes"),
        (frame(2, b"x" * 300, fin=False), "binary, more to come, masked, 300 bytes"),
        (frame(2, b"x" * 70000), "binary, final, masked, 70000 bytes"),
        (frame(PING), "ping, final, masked, 0 bytes"),
        (frame(TEXT, b"x", rsv=4), "text, final, compressed, masked, 1 bytes"),
        (b"\x88\x02\x03\xe8", "close, final, 2 bytes"),
        (b"\x8b\x00", "opcode 11, final, 0 bytes"),
        (b"\x81", "incomplete"),
    ],
)
def test_a_frame_in_words(data: bytes, text: str) -> None:
    """RFC 6455 5.2."""
    assert frame_text(data) == text


def test_a_talk_from_handshake_to_close() -> None:
    with watching(echo_socket) as (server, recorder):
        client = server.connect()
        client.upgrade("/chat?room=1")
        assert client.send(frame(TEXT, b"hello")).read_frame() == (TEXT, b"hello")
        assert client.send(close_frame(1000)).read_frame()[0] == CLOSE
        [trace] = over(recorder)
    assert (trace.title, trace.status, trace.failed) == ("WebSocket /chat?room=1", 1000, False)
    names = [hop.name for hop in trace.hops]
    for name in ("receive websocket.connect", "send websocket.accept", "event str", "event CloseConnection"):
        assert name in names
    frames = [hop.data["frame"] for hop in trace.hops if "frame" in hop.data]
    assert frames == [
        "text, final, masked, 5 bytes",
        "text, final, 5 bytes",
        "close, final, masked, 2 bytes",
        "close, final, 2 bytes",
    ]
    [closed] = [hop for hop in trace.hops if hop.name == "client left"]
    assert closed.data == {"code": "1000"}


SAID = {"short": b"hi", "secret": b'{"token": "s3cr3t-t0ken"}', "long": b"x" * 70_000, "nothing": b""}


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(SAID)), max_size=8), st.lists(st.integers(1, 80_000), max_size=8))
def test_frames_are_shown_but_for_what_is_secret_in_them(messages: list[str], cuts: list[int]) -> None:
    """A frame holds the key that its payload is masked with: whoever sees both can read it."""
    data = b"".join(frame(TEXT, SAID[message]) for message in messages)
    trace = Recorder().begin("-", "GET /")
    payloads = Payloads(trace)
    for whole in (True, False):
        marks = sorted({0, len(data), *([] if whole else [cut for cut in cuts if cut < len(data)])})
        shown = b"".join(payloads.shown(data[start:end]) for start, end in itertools.pairwise(marks))
        assert len(shown) == len(data)
        assert b'"token"' not in unveiled(shown)
        if whole:
            assert shown.count(frame(TEXT, b"hi")) == messages.count("short")


@pytest.mark.parametrize("cut", range(1, 12))
def test_frames_are_told_apart_wherever_they_were_cut(cut: int) -> None:
    payloads, data = Payloads(Recorder().begin("-", "GET /")), frame(TEXT, SAID["secret"])
    shown = payloads.shown(data[:cut])
    assert payloads.is_inside
    assert b"t0ken" not in unveiled(shown + payloads.shown(data[cut:]))
    assert not payloads.is_inside
    assert payloads.shown(frame(TEXT, b"hi")) == frame(TEXT, b"hi")


def unveiled(data: bytes) -> bytes:
    """All that anybody could read who knows how frames are made."""
    key = b"\x01\x02\x03\x04"  # that of the vocabulary
    shifted = [key[turn:] + key[:turn] for turn in range(4)]
    return b"".join(bytes(a ^ b for a, b in zip(data, itertools.cycle(turn), strict=False)) for turn in shifted)


def test_what_is_compressed_is_hidden() -> None:
    payloads = Payloads(Recorder().begin("-", "GET /"))
    assert payloads.shown(frame(TEXT, b"abc", rsv=4)) == b"\xc1\x83\x01\x02\x03\x04***"
    assert payloads.shown(b"\x81\x03abc\xc1\x03abc") == b"\x81\x03abc\xc1\x03***"


def test_an_app_that_closes_is_said_so() -> None:
    async def script(receive: object, send: object) -> None:
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})  # type: ignore[operator]

    with watching(accepting(script)) as (server, recorder):
        client = server.connect()
        client.upgrade()
        assert client.read_close() == (4000, "enough")
        client.send(close_frame(4000))
        [trace] = over(recorder)
    assert "closed" in [hop.name for hop in trace.hops]


def test_a_refused_handshake_is_over() -> None:
    with watching(echo_socket) as (server, recorder):
        lines = ("Connection: Upgrade", "Upgrade: websocket", VERSION)
        assert server.ask(get("/", *lines, "Sec-WebSocket-Key: short")).status == 400
        [trace] = over(recorder)
    assert trace.status == 400
    assert not any(hop.layer == "asgi" for hop in trace.hops)


def test_a_class_of_the_users_own_is_watched_too() -> None:
    class Own(WebSocket):
        pass

    with watching(echo_socket, ws=Own) as (server, recorder):
        assert issubclass(server.service.websocket_class, (WatchedWebSocket, Own))
        client = server.connect()
        client.send(handshake() + frame(TEXT, b"hi"))
        client.read_until(b"\r\n\r\n")
        assert client.read_frame() == (TEXT, b"hi")
        client.send(close_frame(1000)).read_all()
        [trace] = over(recorder)
    assert "read, with the handshake" in [hop.name for hop in trace.hops]

"""frames.py: bytes to messages and back; the short way says the same as wsproto alone."""

import itertools
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from miniasgi.frames import Deflate, Frames

TEXT, BYTES, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b"\x01\x20\xff\x7e"


def frame(opcode, payload=b"", fin=True, key=KEY, rsv=0, length=None):
    """A frame of a client; `length` is the number of bytes that its length takes: 1, 2 or 8."""
    size = len(payload)
    length = length or (1 if size < 126 else 2 if size < 65536 else 8)
    first, mask = fin << 7 | rsv << 4 | opcode, 0x80 if key else 0
    head = {
        1: lambda: struct.pack("!BB", first, mask | size),
        2: lambda: struct.pack("!BBH", first, mask | 126, size),
        8: lambda: struct.pack("!BBQ", first, mask | 127, size),
    }[length]()
    if not key:
        return head + payload
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def joined(events):
    """What was said, with the parts of messages put together; the same for both ways of reading."""
    said, part = [], None
    for event in events:
        if isinstance(event, str | bytes):
            said.append(event)
        elif isinstance(event, TextMessage | BytesMessage):
            data = event.data if isinstance(event, TextMessage) else bytes(event.data)
            part = data if part is None else part + data
            if event.message_finished:
                said.append(part)
                part = None
        elif isinstance(event, CloseConnection):
            said.append(("close", int(event.code)))
            break
        else:
            said.append((type(event).__name__, bytes(event.payload)))
    return said if part is None else [*said, ("part", part)]


def read(pieces, extensions=()):
    frames = Frames(list(extensions))
    return joined(event for piece in pieces for event in frames.read(piece))


def read_by_wsproto(data):
    connection = Connection(ConnectionType.SERVER)
    connection.receive_data(data)
    return joined(connection.events())


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 100_000])
def test_a_message_of_any_size_is_read(size):
    payload = bytes(i % 251 for i in range(size))
    assert read([frame(BYTES, payload)]) == [payload]
    assert read([frame(TEXT, b"a" * size)]) == ["a" * size]


def test_messages_in_one_piece_come_as_they_are():
    frames = Frames([])
    data = frame(TEXT, "grüß".encode()) + frame(BYTES, b"\0\xff") + frame(TEXT)
    assert list(frames.read(data)) == ["grüß", b"\0\xff", ""]
    assert frames.state is ConnectionState.OPEN


def test_fragments_and_what_comes_between_them_are_events():
    frames = Frames([])
    data = frame(TEXT, b"a\xc3", fin=False) + frame(PING, b"p") + frame(0, b"\xa4") + frame(TEXT, b"next")
    first, ping, last, following = frames.read(data)
    assert (first.data, first.message_finished) == ("a", False)
    assert ping == Ping(payload=b"p")
    assert (last.data, last.message_finished) == ("ä", True)
    assert following == "next", "the fragments are over"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(TEXT, b"a", key=b""), 1002),
        (frame(TEXT, b"a", rsv=4), 1002),
        (frame(TEXT, b"a", rsv=1), 1002),
        (frame(3), 1002),
        (frame(11), 1002),
        (frame(0, b"a"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, fin=False), 1002),
        (frame(PING, b"a" * 126), 1002),
        (frame(TEXT, b"a" * 125, length=2), 1002),
        (frame(BYTES, b"a" * 65535, length=8), 1002),
        (struct.pack("!BBQ", 0x82, 0xFF, 1 << 63) + KEY, 1002),
        (frame(CLOSE, b"\3"), 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3"), 1007),
        (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    ],
)
def test_W14_what_is_wrong_has_a_close_code_after_what_came_before(wrong, code):
    frames = Frames([])
    *before, failure = frames.read(frame(TEXT, b"before") + wrong)
    assert before[0] == "before"
    assert failure.code == code
    assert frames.state is ConnectionState.OPEN, "the client has not closed: it is wrong"


def test_a_close_frame_is_an_event_with_its_code_and_reason():
    frames = Frames([])
    assert list(frames.read(frame(CLOSE, struct.pack("!H", 4001) + b"bye"))) == [CloseConnection(4001, "bye")]
    assert frames.state is ConnectionState.REMOTE_CLOSING
    assert frames.control(CloseConnection(4001, "bye")) == b"\x88\x05\x0f\xa1bye"


PAYLOADS = st.binary(max_size=8) | st.binary(min_size=120, max_size=130)
GOOD = st.one_of(
    st.builds(frame, st.sampled_from([BYTES, PING, PONG]), st.binary(max_size=125)),
    st.builds(lambda text: frame(TEXT, text.encode()), st.text(max_size=40)),
    st.builds(lambda parts: b"".join([frame(BYTES, b"x", fin=False), *parts, frame(0, b"y")]), st.lists(
        st.builds(frame, st.just(0), PAYLOADS, st.just(False)) | st.builds(frame, st.just(PING), st.binary(max_size=9)),
        max_size=3,
    )),
)  # fmt: skip
ANY = st.builds(
    frame,
    st.integers(0, 15),
    PAYLOADS,
    st.booleans(),
    st.sampled_from([KEY, KEY, KEY, b""]),
    st.sampled_from([0, 0, 0, 1, 4]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(GOOD | ANY, max_size=6), st.lists(st.integers(0, 400), max_size=5))
def test_any_frames_split_anywhere_are_read_as_wsproto_reads_them(stream, cuts):
    data = b"".join(stream)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert read(pieces) == read_by_wsproto(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(GOOD, max_size=4))
def test_byte_by_byte_is_the_same(stream):
    data = b"".join(stream)
    assert read([data[i : i + 1] for i in range(len(data))]) == read_by_wsproto(data)


def deflated():
    extension = Deflate()
    extension.accept("permessage-deflate")
    return extension


def compressed(data):
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_a_compressed_message_is_read_and_a_plain_one_beside_it():
    assert read([frame(TEXT, compressed(b"hello" * 9), rsv=4) + frame(TEXT, b"plain")], [deflated()]) == [
        "hello" * 9,
        "plain",
    ]


def test_a_bomb_expands_bit_by_bit():
    bomb = frame(BYTES, compressed(bytes(200_000_000)), rsv=4)
    assert len(bomb) < 250_000
    tracemalloc.start()
    try:
        event = next(Frames([deflated()]).read(bomb))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(event, BytesMessage)
    assert peak < 100_000_000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("extensions", [0, 1])
def test_what_is_written_is_what_a_client_reads(size, extensions):
    client = Connection(ConnectionType.CLIENT, [deflated()] * extensions)
    frames = Frames([deflated()] * extensions)
    client.receive_data(frames.text("ä" * size) + frames.binary(bytes(size)) + frames.binary(bytearray(b"x")))
    assert joined(client.events()) == ["ä" * size, bytes(size), b"x"]


@pytest.mark.parametrize("extensions", [0, 1])
@pytest.mark.parametrize("message", [None, 1, ["a"], "text", b"bytes"], ids=repr)
def test_W8_text_is_text_and_bytes_are_bytes(message, extensions):
    frames = Frames([deflated()] * extensions)
    if not isinstance(message, str):
        with pytest.raises(TypeError):
            frames.text(message)
    if not isinstance(message, bytes):
        with pytest.raises(TypeError):
            frames.binary(message)


def test_pings_and_pongs_are_written():
    assert Frames([]).control(Ping(payload=b"a")) == b"\x89\x01a"
    assert Frames([]).control(Pong(payload=b"a")) == b"\x8a\x01a"

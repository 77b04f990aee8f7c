"""WebSocket frames, to and from bytes: simple ones here, all others by wsproto (RFC 6455 section 5).

Owns a `wsproto.Connection`, and a short way around it for frames that are whole messages of
uncompressed text or bytes: nearly all of them. Knows no event loop, no socket, no ASGI.

Each frame is read either here or by wsproto, never by both, so that wsproto sees a stream of whole
frames and judges everything that is fragmented, compressed, a control frame, or wrong. An echo of 20
bytes costs two thirds of what it costs through wsproto alone: 14.6 against 22.6 us, in memory.
"""

import struct
from collections.abc import Iterator
from typing import Any

from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

# A frame: FIN, three reserved bits and the opcode in one byte; MASK and a length of seven bits in the next; the rest
# of the length; the mask, from clients only; the payload (RFC 6455 5.2). "hi" to a client is b"\x81\x02hi".
_TEXT, _BYTES = 0x81, 0x82  # FIN and opcode
_MASKED = 0x80
_SHORT = 126  # lengths from here on stand in two bytes more (126), or in eight (127)
_LONG = 65536
PIECE = 16384  # bytes to read at a time: compressed ones may become a thousand times as many


class Frames:
    """The frames of one WebSocket, seen from the server. `read` bytes, iterate over the events.

    `extensions` are those agreed on in the handshake: at most one `Deflate`. With it, all that we send goes through
    wsproto.
    """

    def __init__(self, extensions: list[Extension]) -> None:
        self._wsproto = Connection(ConnectionType.SERVER, extensions)
        self._compresses = bool(extensions)
        self._held = b""  # a header that is not complete: at most 9 bytes
        self._foreign = 0  # bytes of the current frame that are still to come, if wsproto reads it
        self._fragmented = False  # inside a message of several frames

    @property
    def state(self) -> ConnectionState:
        """Who has sent a close frame so far: OPEN, LOCAL_CLOSING, REMOTE_CLOSING, CLOSED (RFC 6455 7.1)."""
        return self._wsproto.state

    def read(self, data: bytes) -> Iterator[Event | str | bytes]:
        """Yields messages that came in one frame as they are, and wsproto's events for all else.

        So str and bytes are whole messages; a `TextMessage` or `BytesMessage` is a part of one, joined by whoever
        listens. Bytes may be cut anywhere. Take all events before the next call, or none any more.

        A `CloseConnection` while `state` is OPEN is wsproto's: the client broke the protocol, and nothing more can
        be read. Its code is the one to close with: 1002, or 1007 for text that is none (RFC 6455 7.4.1).
        """
        data, at, self._held = self._held + data, 0, b""
        while at < len(data):
            if not self._foreign:
                start, end = bounds(data, at)
                if end == 0:  # b"\x81\xfe\x01": a header, cut in its length
                    self._held = data[at:]
                    return
                message = None if self._fragmented or end > len(data) else _simple_message(data, at, start, end)
                if message is not None:
                    at = end
                    yield message
                    continue
                self._foreign = end - at
                if data[at] & 0x0F < 8:  # no control frame: those may stand between fragments (RFC 6455 5.4)
                    self._fragmented = data[at] < 0x80  # without FIN
            # Never beyond this frame: the next one is ours to look at first. And never much, since what is compressed
            # comes out at once: 250 KB of it were 200 MB.
            piece = data[at : at + min(self._foreign, PIECE)]
            at += len(piece)
            self._foreign -= len(piece)
            self._wsproto.receive_data(piece)
            yield from self._wsproto.events()

    def text(self, message: str) -> bytes:
        """The frame for a text message; TypeError for anything but str, ValueError for a lone surrogate."""
        payload = str.encode(message)  # TypeError for anything but text
        return self._wsproto.send(TextMessage(message)) if self._compresses else _frame(_TEXT, payload)

    def binary(self, message: bytes | bytearray | memoryview) -> bytes:
        """The frame for a message of bytes; TypeError for text."""
        payload = message if isinstance(message, bytes) else memoryview(message).tobytes()
        return self._wsproto.send(BytesMessage(payload)) if self._compresses else _frame(_BYTES, payload)

    def control(self, event: Ping | Pong | CloseConnection) -> bytes:
        """The frame for a ping, a pong, or a close, which changes `state`; a reason is cut to 123 bytes."""
        return self._wsproto.send(event)


class Deflate(PerMessageDeflate):
    """wsproto's, which takes a control frame between two fragments for the end of a compressed message.

    A ping there made it forget that the message is compressed, and what followed came out as it was. RFC 6455 5.4
    allows that ping.
    """

    def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
        """A frame is complete; gives what was left to decompress, if it ended a message."""
        before = self._inbound_compressed
        data = super().frame_inbound_complete(proto, fin)
        # It was a control frame that ended, and around it is a compressed message: still so.
        if before and not self._inbound_is_compressible:
            self._inbound_compressed = True
        return data


def _frame(opcode: int, payload: bytes) -> bytes:
    """A whole message in one frame, not masked (RFC 6455 5.1), its length in the fewest bytes (5.2)."""
    size = len(payload)
    if size < _SHORT:
        return b"%c%c%b" % (opcode, size, payload)  # b"\x81\x05hello"
    if size < _LONG:
        return struct.pack("!BBH", opcode, 126, size) + payload  # b"\x82\x7e\x01\x00" + 256 bytes
    return struct.pack("!BBQ", opcode, 127, size) + payload  # b"\x82\x7f" + 8 bytes of size


def bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends; zeros if too little is there to tell.

    The end may lie behind that of `data`: the frame is not complete then. Also for the x-ray, which shows frames.
    """
    if len(data) < at + 2:
        return 0, 0
    length = data[at + 1] & 0x7F
    start = at + 2
    if length >= _SHORT:
        start += 2 if length == _SHORT else 8
        if len(data) < start:
            return 0, 0
        length = int.from_bytes(data[at + 2 : start])
    if data[at + 1] & _MASKED:
        start += 4
    return start, start + length


def unmasked(data: bytes, start: int, end: int) -> bytes:
    """The payload from `start` to `end`; the key that it is masked with stands before it (RFC 6455 5.3).

    Masking hides nothing: it keeps a page from choosing the bytes on the wire, lest a proxy take them for a request
    (10.3).
    """
    size = end - start
    # An exclusive or with the key, over and over: as two large numbers, in one go.
    key = (data[start - 4 : start] * (size // 4 + 1))[:size]
    return (int.from_bytes(data[start:end]) ^ int.from_bytes(key)).to_bytes(size)


def _simple_message(data: bytes, at: int, start: int, end: int) -> str | bytes | None:
    """The message in a frame, or None if that is for wsproto to judge.

    Simple is: FIN, no reserved bit, text or bytes, masked, its length in no more bytes than it needs, and UTF-8 if
    it is text. None is no verdict: wsproto reads that frame from its first byte, and says what is wrong with it, if
    anything.
    """
    first, second, size = data[at], data[at + 1], end - start
    in_fewest_bytes = second & 0x7F < _SHORT or (_SHORT <= size < _LONG and start == at + 8)
    if first not in (_TEXT, _BYTES) or not second & _MASKED or not in_fewest_bytes:
        return None
    payload = unmasked(data, start, end)
    if first == _BYTES:
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None

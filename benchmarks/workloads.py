"""What is asked while we measure, of which app of `apps.py` and with which options; how answers are read.

A request of the WebSocket workload is a text message of 20 bytes, which comes back. uvicorn's
`--ws auto` is the sans-I/O part of `websockets`; ours is wsproto, whatever it is called.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

FAST = ("--http", "httptools", "--loop", "uvloop")
PURE = ("--http", "h11", "--loop", "asyncio")
SOCKETS = (("--ws", "auto", "--loop", "uvloop"), ("--ws", "wsproto", "--loop", "uvloop"), ("--ws", "auto", *PURE[2:]))


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Reads the head of a response, and what has come with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, content = data.partition(b"\r\n\r\n")
    return head, content


def read_response(sock: socket.socket) -> None:
    """Reads one response with a content-length."""
    head, content = read_head(sock)
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert length, head
    missing = int(length[1]) - len(content)
    while missing:
        missing -= len(sock.recv(missing))


def read_echo(sock: socket.socket) -> None:
    """Reads one frame: a final text frame of `MESSAGE`, which a server does not mask (RFC 6455 5.2)."""
    frame = sock.recv(2 + len(MESSAGE), socket.MSG_WAITALL)
    assert frame == b"\x81\x14" + MESSAGE, frame


@dataclass(frozen=True)
class Workload:
    """What is asked of which app, over and over; `opening` is what each connection begins with."""

    app: str
    request: bytes
    read: Callable[[socket.socket], None] = read_response
    variants: tuple[tuple[str, ...], ...] = (FAST, PURE)
    opening: bytes = b""
    connections: int = 8
    access_log: bool = False


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = b'{"name": "a", "price": 1.5, "tags": ["x", "y"]}'
POST = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(JSON),
    JSON,
)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MESSAGE = b"twenty bytes of text"
KEY = b"\x37\xfa\x21\x3d"
FRAME = b"\x81\x94" + KEY + bytes(byte ^ key for byte, key in zip(MESSAGE, KEY * 5, strict=True))
WORKLOADS = {
    "plaintext": Workload("plaintext", GET),
    "FastAPI POST": Workload("fastapi", POST),
    "WebSocket echo": Workload("echo", FRAME, read_echo, SOCKETS, UPGRADE),
}

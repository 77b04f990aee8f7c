"""What is asked while we measure, of which app; how answers are read.

A request of the WebSocket workload is a text message of 20 bytes, which comes back. uvicorn's
`--ws auto` is the sans-I/O part of `websockets`; ours is wsproto, whatever it is called.
"""

import contextlib
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 30.0  # seconds for a server to accept, and to answer


def receive(sock: socket.socket, size: int = 65536) -> bytes:
    """What is there next. Does not sleep until then: to wake a sleeper on this machine costs the *server* time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            piece = sock.recv(size, socket.MSG_DONTWAIT)
            assert piece, "closed"
            return piece
    raise TimeoutError("no answer")


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Reads the head of a response, and what has come with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(sock)
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
        missing -= len(receive(sock, missing))


def read_chunks(sock: socket.socket) -> None:
    """Reads one response in chunks, of which the content has no such end."""
    head, content = read_head(sock)
    assert b"transfer-encoding: chunked" in head.lower(), head
    while not content.endswith(b"0\r\n\r\n"):
        content = content[-5:] + receive(sock)


def read_echo(sock: socket.socket) -> None:
    """Reads one frame: a final text frame of `MESSAGE`, which a server does not mask (RFC 6455 5.2)."""
    frame = receive(sock, 2 + len(MESSAGE))
    assert frame == b"\x81\x14" + MESSAGE, frame


@dataclass(frozen=True)
class Workload:
    """What is asked of which app, over and over; `opening` is what each connection begins with.

    With `reconnects`, each request has a connection of its own. With `logs`, access lines are written,
    to /dev/null. Connections are opened anew for each slice of load, which is in its figures: with 1,000
    of them that is a few percent.
    """

    app: str
    request: bytes
    read: Callable[[socket.socket], None] = read_response
    opening: bytes = b""
    reconnects: bool = False
    logs: bool = False
    connections: int = 8


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = b'{"name": "a", "price": 1.5, "tags": ["x", "y"]}'
BROWSER = b"""\
GET /some/path?with=query HTTP/1.1
Host: localhost
Connection: keep-alive
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9,de;q=0.8
Cache-Control: max-age=0
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes
DNT: 1
Pragma: no-cache
Priority: u=0, i
Referer: http://localhost/some/page
Sec-CH-UA: "Chromium";v="130", "Not?A_Brand";v="99"
Sec-CH-UA-Mobile: ?0
Sec-CH-UA-Platform: "Linux"
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: same-origin
Sec-Fetch-User: ?1
Upgrade-Insecure-Requests: 1

""".replace(b"\n", b"\r\n")
READ = b"GET /items/5?q=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % 2**20 + bytes(2**20)
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
    "plaintext": Workload("apps:plaintext", GET),
    "20 headers": Workload("apps:plaintext", BROWSER),
    "FastAPI GET": Workload("fastapi_app:app", READ),
    "FastAPI POST": Workload("fastapi_app:app", POST),
    "64 KiB": Workload("apps:large", GET),
    "100 chunks": Workload("apps:chunks", GET, read_chunks),
    "SSE tokens": Workload("apps:tokens", GET, read_chunks, connections=32),
    "1 MiB upload": Workload("apps:upload", UPLOAD),
    "new connection": Workload("apps:plaintext", GET, reconnects=True),
    "1000 connections": Workload("apps:plaintext", GET, connections=1000),
    "access log": Workload("apps:plaintext", GET, logs=True),
    "WebSocket echo": Workload("apps:echo", FRAME, read_echo, UPGRADE),
}

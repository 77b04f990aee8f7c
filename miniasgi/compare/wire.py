"""One conversation with a server, over a real socket, and its answer taken apart.

Owns what a client sees: all bytes until the server closes or falls silent, and the replies in them (RFC
9112). Takes apart what no strict reader would, as the order and the case of headers are what we look for.
Knows neither what ought to be answered nor who answers.
"""

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass, field

_REQUEST_LINE = re.compile(rb"([A-Za-z]{1,20}) [^ \r\n]+ HTTP/\d")  # bounded, as content may be long
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d\d\d)(?: .*)?")

Fields = list[tuple[bytes, bytes]]


@dataclass
class Reply:
    """One response as it stood on the wire; without a status, what is none."""

    line: bytes
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    framing: str = "none"  # how its end is found: content-length, chunked, close
    chunks: list[int] = field(default_factory=list)
    trailers: bytes = b""
    whole: bool = False

    @property
    def status(self) -> int | None:
        found = _STATUS_LINE.fullmatch(self.line)
        return int(found[1]) if found else None

    @property
    def final(self) -> bool:
        """Not a 100 or 103, after which the response is still to come (RFC 9110 15.2)."""
        return self.status is None or self.status >= 200 or self.status == 101


@dataclass
class Answer:
    """What came of one conversation."""

    raw: bytes = b""
    replies: list[Reply] = field(default_factory=list)
    closed: bool = False
    segments: int = 0  # pieces that it was received in
    port: int = 0  # the client's, by which the app's side of it is found


async def converse(port: int, request: bytes, silence: float, most: float) -> Answer:
    """Sends it all, and reads until the server closes, or is silent when it has said enough; `most` seconds."""
    answer = Answer()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(most):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                answer.port = sock.getsockname()[1]
                await _exchange(sock, request, silence, answer)
        except TimeoutError:  # so the connection is open
            pass
        except OSError:  # a reset is a way to close
            answer.closed = True
            answer.replies = replies(answer.raw, request, closed=True)
    return answer


async def _exchange(sock: socket.socket, request: bytes, silence: float, answer: Answer) -> None:
    """Fills the answer while the request is on its way: not all servers hear it to the end."""
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(_send(sock, request))
    try:
        while not answer.closed:
            async with asyncio.timeout(silence if _is_enough(answer, request) else None):
                data = await loop.sock_recv(sock, 65536)
            answer.raw, answer.segments, answer.closed = answer.raw + data, answer.segments + bool(data), not data
            answer.replies = replies(answer.raw, request, answer.closed)
    finally:
        sending.cancel()
        await asyncio.wait([sending])  # or it would meet the next socket of this number


async def _send(sock: socket.socket, request: bytes) -> None:
    with contextlib.suppress(OSError):  # who has heard enough may close
        await asyncio.get_running_loop().sock_sendall(sock, request)


def _is_enough(answer: Answer, request: bytes) -> bool:
    """Whether each request has its reply."""
    found = answer.replies
    return all(reply.whole for reply in found) and sum(reply.final for reply in found) >= len(_methods(request))


def _methods(request: bytes) -> list[bytes]:
    return _REQUEST_LINE.findall(request)


def replies(data: bytes, request: bytes, closed: bool) -> list[Reply]:
    """The replies in what a server has sent."""
    found: list[Reply] = []
    methods = _methods(request)
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        reply = Reply(line)
        found.append(reply)
        if not end or reply.status is None:
            reply.body = b"\r\n".join(lines) + end + data
            break
        reply.headers = [(name, value.strip(b" \t")) for name, _, value in (text.partition(b":") for text in lines)]
        finals = sum(other.final for other in found)
        # A method may stand right behind the content before it.
        is_head = finals <= len(methods) and methods[finals - 1].endswith(b"HEAD") if reply.final else False
        data = _read_body(reply, data, is_head, closed)
    return found


def _read_body(reply: Reply, data: bytes, is_head: bool, closed: bool) -> bytes:
    """Takes the content from the data, as RFC 9112 6.3 says where it ends, and gives the rest."""
    named = {name.lower(): value for name, value in reply.headers}
    if is_head or not reply.final or reply.status in (204, 304):
        reply.whole = True
        return data
    if b"chunked" in named.get(b"transfer-encoding", b"").lower():
        reply.framing = "chunked"
        return _read_chunks(reply, data)
    length = named.get(b"content-length", b"")
    if length.isdigit():
        reply.framing, size = "content-length", int(length)
        reply.body, reply.whole = data[:size], len(data) >= size
        return data[size:]
    reply.framing, reply.body, reply.whole = "close", data, closed
    return b""


def _read_chunks(reply: Reply, data: bytes) -> bytes:
    """RFC 9112 7.1."""
    while True:
        line, end, rest = data.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = -1
        if not end or size < 0 or (size and len(rest) < size + 2):
            return data if size < 0 and end else b""
        if size == 0:
            break
        reply.body += rest[:size]
        reply.chunks.append(size)
        data = rest[size + 2 :]
    if rest.startswith(b"\r\n"):
        reply.whole = True
        return rest[2:]
    reply.trailers, end, rest = rest.partition(b"\r\n\r\n")
    reply.whole = bool(end)
    return rest

"""The client of `miniasgi xray`: asks once, over a real socket, and keeps what a client sees.

Owns one exchange, from `connect()` to the end of the response, or to the close of a WebSocket. It runs in
a process of its own (`python -m miniasgi.xray.client`, a JSON object in and one out), as the server
shares its interpreter lock with nobody in real life. Knows the server by host and port alone.
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import h11
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import ProtocolError

from .model import Hop, Trace
from .secrets import Stream

MOST_BODY = 65536  # bytes of a response that are kept
_MOST_HEAD = 1 << 20
_NAME = 60  # characters of a message in the name of its hop
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


@dataclass
class Exchange:
    """What came of asking; with an `error`, as much as came before it."""

    hops: list[Hop] = field(default_factory=list)
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: str | None = None

    def json(self) -> dict[str, Any]:
        """For the way to another process."""
        text = {"status": self.status, "headers": self.headers, "error": self.error}
        return text | {"hops": [hop.json() for hop in self.hops], "body": base64.b64encode(self.body).decode()}

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> "Exchange":
        """The other end of that way."""
        hops, body = [Hop.from_json(hop) for hop in answer["hops"]], base64.b64decode(answer["body"])
        headers = [(name, value) for name, value in answer["headers"]]
        return cls(hops, answer["status"], headers, body, answer["error"])

    def header(self, name: str) -> str | None:
        """The first value of a header of the response, which has its name in lower case."""
        return next((value for key, value in self.headers if key == name), None)


async def exchange(
    host: str, port: int, request: bytes, messages: list[str] | None = None, within: float = 60.0
) -> Exchange:
    """Asks from another process; a WebSocket if there are `messages`, be they none."""
    question = {"host": host, "port": port, "request": base64.b64encode(request).decode()}
    text = json.dumps(question | {"messages": messages, "timeout": within})
    pipe = asyncio.subprocess.PIPE
    # There, no module of the app's directory can take the place of one that the client needs.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__), stdin=pipe, stdout=pipe, cwd=_PACKAGES, start_new_session=True
    )  # in a session of its own: Ctrl+C is for us, and we end it
    try:
        output, _ = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return Exchange(error=f"the client ended with a status of {process.returncode}")
    return Exchange.from_json(json.loads(output))


def ask(host: str, port: int, request: bytes, messages: list[str] | None, timeout: float) -> Exchange:
    """Asks from this process, and blocks; what goes wrong is a sentence in `error`."""
    trace, result = Trace("", 0, ""), Exchange()
    trace.secrets.learn(_headers(request))
    whole = trace.begin("client", "the whole exchange")
    try:
        with contextlib.closing(_Wire(trace, host, port, timeout)) as wire:
            wire.send(request)
            rest = _read_response(wire, request.partition(b" ")[0], messages is not None, result)
            if result.status == 101:
                _Talk(wire, rest).over(messages or [])
    except ConnectionRefusedError:
        result.error = f"nobody listens at {host}:{port}"
    except TimeoutError:
        result.error = f"the exchange was not over within {timeout:g} s"
    except OSError as error:
        result.error = f"the connection broke: {error.strerror or error}"
    except (h11.ProtocolError, ProtocolError) as error:
        result.error = f"that is no response: {error}"
    trace.end(whole)
    for hop in trace.hops:
        hop.thread = ""  # of the server's process, this is none
    result.hops = trace.hops
    return result


class _Wire:
    """A blocking socket; whatever is done with it is a hop."""

    def __init__(self, trace: Trace, host: str, port: int, timeout: float) -> None:
        self.trace = trace
        self.deadline = monotonic() + timeout
        self.stream = Stream()
        with self._step("connect()") as hop:
            self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local, local_port, *_ = self.sock.getsockname()
        trace.describe(hop, local=f"{local}:{local_port}")

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[Hop]:
        """A hop; describe it afterwards, as copying takes time."""
        hop = self.trace.begin("client", name, waits=True)
        try:
            yield hop
        except OSError as error:
            self.trace.end(hop, error)
            raise
        self.trace.end(hop)

    def send(self, data: bytes, shown: bytes | None = None) -> None:
        """Sends all; a server that hears no more may have answered already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), self._step("send") as hop:
            self.sock.settimeout(self._left())
            self.sock.sendall(data)
        self.trace.describe(hop, Stream().mask(data if shown is None else shown))

    def recv(self) -> bytes:
        """What is there next; nothing, if the server has closed."""
        with self._step("recv") as hop:
            self.sock.settimeout(self._left())
            data = self.sock.recv(65536)
        if data:
            self.trace.describe(hop, self.stream.mask(data))
        else:
            self.trace.describe(hop, end="the server closed")
        return data

    def _left(self) -> float:
        if (left := self.deadline - monotonic()) <= 0:
            raise TimeoutError("timed out")
        return left

    def close(self) -> None:
        self.sock.close()


def _read_response(wire: _Wire, method: bytes, upgrades: bool, result: Exchange) -> bytes:
    """Reads to the end of the response, which h11 knows (RFC 9112 6.3); gives what came after it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD)
    # What has been sent was written by hand; all that h11 need know of it is:
    headers = [("host", "-"), *([("connection", "upgrade"), ("upgrade", "websocket")] if upgrades else [])]
    connection.send(h11.Request(method=method, target="/", headers=headers))
    connection.send(h11.EndOfMessage())
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(wire.recv())
            case h11.InformationalResponse(status_code=101) | h11.Response() as event:
                result.status = event.status_code
                result.headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in event.headers]
                if event.status_code == 101:
                    return connection.trailing_data[0]
            case h11.Data(data=data):
                result.body += bytes(data)[: MOST_BODY - len(result.body)]
            case h11.EndOfMessage():
                return connection.trailing_data[0]


class _Talk:
    """An open WebSocket, from the client's end: a reply for each message, and a close."""

    def __init__(self, wire: _Wire, early: bytes) -> None:
        self.wire = wire
        self.connection = Connection(ConnectionType.CLIENT)
        if early:
            self.connection.receive_data(early)
        self.parts: Any = []  # of the message that is coming in
        self.replies = 0
        self.closed = False

    def over(self, messages: list[str]) -> None:
        """Says all this, and goodbye, unless the server does that first."""
        for message in messages:
            if not self.closed:
                self._send(TextMessage(message), "message", message)
                self._hear(until=self.replies + 1)
        if not self.closed:
            self._send(CloseConnection(1000), "close 1000")
            self._hear(until=None)

    def _send(self, event: Event, what: str, content: Any = None) -> None:
        self._note(f"{what} sent", content)
        # A frame holds the key that its payload is masked with: whoever sees it can read all secrets.
        frame = self.connection.send(event)
        self.wire.send(frame, shown=b"(a frame of %d bytes)" % len(frame))

    def _hear(self, until: int | None) -> None:
        """Reads until that many replies have come, or the close."""
        while True:
            for event in self.connection.events():
                self._on_event(event)
            if self.closed or (until is not None and self.replies >= until):
                return
            self.connection.receive_data(self.wire.recv() or None)

    def _on_event(self, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage():
                self.parts.append(event.data)
                if event.message_finished:
                    message = ("" if isinstance(event, TextMessage) else b"").join(self.parts)
                    self.parts, self.replies = [], self.replies + 1
                    self._note("message received", message)
            case Ping():
                self._send(event.response(), "pong", bytes(event.payload))
            case CloseConnection():
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    self._send(event.response(), f"close {int(event.code)}")
                self._note(f"close {int(event.code)} received", event.reason or None)
                self.closed = True

    def _note(self, what: str, content: str | bytes | None = None) -> None:
        """An instant, with what was sent or received in its name."""
        text = "" if content is None else self.wire.trace.secrets.mask(f" {content!r}")
        raw = content.encode() if isinstance(content, str) else content
        name = what + (text if len(text) <= _NAME else text[:_NAME] + "...")
        self.wire.trace.instant("client", name, None, raw).waits = True


def _headers(request: bytes) -> list[tuple[bytes, bytes]]:
    _, *lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


if __name__ == "__main__":
    question = json.load(sys.stdin)
    question["request"] = base64.b64decode(question["request"])
    print(json.dumps(ask(**question).json()))

"""The words that the tests are written in: a server on a real socket, a client that speaks bytes.

Raw on purpose: what a test sends and sees is what is on the wire.
"""

import asyncio
import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import miniasgi
from miniasgi.compare.protocol import chunked, get, post, request  # noqa: F401  # words of the tests, too
from miniasgi.types import App, Message, Receive, Scope, Send

PARSERS = ("h11", "httptools")
LOOPS = ("asyncio", "uvloop")
KINDS = [(http, loop) for http in PARSERS for loop in LOOPS]
PATIENCE = 10.0  # seconds: the most that a test waits for what must come; never a pause


@dataclass
class Reply:
    """One response as it stood on the wire."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    head: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name!r} more than once: {values}"
        return values[0] if values else None


class Client:
    """A blocking raw socket that can read one response, and no more than that."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.buffer = b""

    def send(self, data: bytes) -> "Client":
        self.sock.sendall(data)
        return self

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read_until(self, mark: bytes) -> bytes:
        """What comes up to `mark`, and the mark."""
        while mark not in self.buffer:
            assert self._more(), f"closed before {mark!r}: {self.buffer!r}"
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def read_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert self._more(), f"closed after {len(self.buffer)} of {count} bytes"
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def read_all(self) -> bytes:
        """Everything until the server closes; a reset counts as that."""
        with contextlib.suppress(ConnectionResetError):
            while self._more():
                pass
        found, self.buffer = self.buffer, b""
        return found

    def assert_closed(self) -> None:
        assert self.read_all() == b""

    def read_reply(self, method: str = "GET") -> Reply:
        """One final response, framed as RFC 9112 6.3 says."""
        head = self.read_until(b"\r\n\r\n")
        status, headers = parse_head(head)
        named = dict(headers)
        if status < 200 or status in (204, 304) or method == "HEAD":
            body = b""
        elif b"transfer-encoding" in named:
            body = b""
            while size := int(self.read_until(b"\r\n"), 16):
                body += self.read_exactly(size + 2)[:-2]
            assert self.read_until(b"\r\n") == b"\r\n"
        elif b"content-length" in named:
            body = self.read_exactly(int(named[b"content-length"]))
        else:
            body = self.read_all()
        return Reply(status, headers, body, head)

    def upgrade(self, target: str = "/", *lines: str) -> Reply:
        """Makes the handshake of a WebSocket, and reads its answer."""
        reply = self.ask(handshake(target, *lines))
        assert reply.status == 101, reply
        return reply

    def read_frame(self) -> tuple[int, bytes]:
        """The opcode (with the bits of extensions) and the payload of one final frame (RFC 6455 5.2)."""
        first, size = self.read_exactly(2)
        assert first & 0x80, "a fragment"
        assert size < 128, "a masked frame"
        if size > 125:
            size = int.from_bytes(self.read_exactly(2 if size == 126 else 8))
        return first & 0x7F, self.read_exactly(size)

    def read_close(self) -> tuple[int, str]:
        """Code and reason of a close frame, which must be next."""
        opcode, payload = self.read_frame()
        assert opcode == CLOSE, (opcode, payload)
        return int.from_bytes(payload[:2]), payload[2:].decode()

    def ask(self, data: bytes) -> Reply:
        """Sends one request and reads its response."""
        return self.send(data).read_reply(data.partition(b" ")[0].decode())

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Leaves with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


def parse_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    line, *lines = head[:-4].split(b"\r\n")
    matched = re.fullmatch(rb"HTTP/1\.1 (\d\d\d) .*", line)
    assert matched, line
    fields = [line.partition(b": ")[::2] for line in lines]
    assert all(name == name.lower() and re.fullmatch(rb"[\w-]+", name) for name, _ in fields)
    return int(matched[1]), [(name, value) for name, value in fields]


# WebSockets:

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # and its answer, from RFC 6455 1.3
ACCEPT_TOKEN = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
VERSION = "Sec-WebSocket-Version: 13"


def handshake(target: str = "/", *lines: str) -> bytes:
    """An upgrade request that is as it should be."""
    return get(target, *UPGRADE, VERSION, f"Sec-WebSocket-Key: {KEY}", *lines)


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A frame of a client (RFC 6455 5.2)."""
    size = len(payload)
    short, more = (size, b"") if size < 126 else (126, size.to_bytes(2)) if size < 65536 else (127, size.to_bytes(8))
    pad = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
    return bytes([fin << 7 | rsv << 4 | opcode, 128 | short]) + more + key + masked


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason.encode())


ACCEPT: Message = {"type": "websocket.accept"}


def accepting(script: Callable[[Receive, Send], Any]) -> App:
    """An app that accepts, and then does what the script says."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        assert await receive() == {"type": "websocket.connect"}
        await send(ACCEPT)
        await script(receive, send)

    return app


@accepting
async def echo_socket(receive: Receive, send: Send) -> None:
    """Sends each message back until the client leaves."""
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


class Listener:
    """An app that accepts, waits at a gate if there is one, and keeps what it hears until the client leaves."""

    def __init__(self, gate: "Gate | None" = None) -> None:
        self.heard: list[Message] = []
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accepting(self.listen)(scope, receive, send)

    async def listen(self, receive: Receive, send: Send) -> None:
        if self.gate is not None:
            await self.gate.wait()
        while not self.heard or self.heard[-1]["type"] != "websocket.disconnect":
            self.heard.append(await receive())

    @property
    def end(self) -> tuple[int, str]:
        """Code and reason of the disconnect, once it has come."""
        message = eventually(lambda: self.heard and self.heard[-1]["type"] == "websocket.disconnect" and self.heard[-1])
        return message["code"], message["reason"]


@dataclass
class Running:
    """A miniasgi server in a thread of this process."""

    server: miniasgi.Server
    thread: threading.Thread
    error: list[BaseException]
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    @property
    def service(self) -> Any:
        return self.server.service

    def connect(self, **options: Any) -> Client:
        client = Client(socket.create_connection(("127.0.0.1", self.port), **options))
        self.clients.append(client)
        return client

    def ask(self, data: bytes) -> Reply:
        """One request on a connection of its own."""
        return self.connect().ask(data)

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs something in the server's event loop and gives its result."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.service.loop).result(PATIENCE)

    def stop(self) -> None:
        """Stops gracefully and waits for the end; raises what the server raised."""
        self.server.should_exit = True
        self.join()

    def join(self) -> None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the server does not stop"
        for client in self.clients:
            client.close()
        if self.error:
            raise self.error[0]


def begin(server: miniasgi.Server, sockets: list[socket.socket] | None = None) -> Running:
    """`server.run()` in a thread; does not wait until the app is ready."""
    error: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets)
        except BaseException as raised:
            error.append(raised)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Running(server, thread, error)


def start(
    app: App | str, make: Callable[[miniasgi.Config], miniasgi.Server] = miniasgi.Server, **options: Any
) -> Running:
    """A server on a free port, accepting; without access log unless asked."""
    options = {"port": 0, "access_log": False, "log_config": None} | options
    server = make(miniasgi.Config(app, **options))
    running = begin(server)
    eventually(lambda: server.started or not running.thread.is_alive())
    if not server.started:
        running.join()
    return running


@contextlib.contextmanager
def serving(app: App | str, **options: Any) -> Iterator[Running]:
    """`start`, and `stop` at the end."""
    running = start(app, **options)
    try:
        yield running
    finally:
        if running.thread.is_alive():
            running.server.force_exit = True
            running.stop()


COMMAND = (sys.executable, "-m", "miniasgi", "app:app", "--port", "0")


class Spawned:
    """`python -m miniasgi app:app` in a process of its own: for signals, exit status, memory."""

    def __init__(
        self, directory: Path, source: str, *flags: str, command: tuple[str, ...] = COMMAND, **extra: Any
    ) -> None:
        (directory / "app.py").write_text(source)
        self.directory = directory
        self.clients: list[Client] = []
        extra = {"env": os.environ | {"PYTHONUNBUFFERED": ""}} | extra  # as most users have it
        with self._file("stdout").open("w") as stdout, self._file("stderr").open("w") as stderr:
            self.process = subprocess.Popen([*command, *flags], cwd=directory, stdout=stdout, stderr=stderr, **extra)

    def _file(self, stream: str) -> Path:
        return self.directory / f"{stream}.txt"

    @property
    def log(self) -> str:
        return self._file("stderr").read_text()

    @property
    def output(self) -> str:
        """What the app has printed, and the access log."""
        return self._file("stdout").read_text()

    def wait_for(self, pattern: str, stream: str = "stderr") -> re.Match[str]:
        """Waits for a line, and gives the match."""

        def look() -> re.Match[str] | None:
            text = self._file(stream).read_text()
            found = re.search(pattern, text)
            assert found or self.process.poll() is None, text
            return found

        return eventually(look)

    def connect(self) -> Client:
        port = int(self.wait_for(r"(?:running on|Listening at:) http://127\.0\.0\.1:(\d+)")[1])
        self.clients.append(Client(socket.create_connection(("127.0.0.1", port))))
        return self.clients[-1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def join(self) -> int:
        """Waits for the end, and gives the exit status; of a signal, its negative number."""
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def spawned(directory: Path, source: str, *flags: str, **extra: Any) -> Iterator[Spawned]:
    """A `Spawned` that ends with the test."""
    server = Spawned(directory, source, *flags, **extra)
    try:
        yield server
    finally:
        for client in server.clients:
            client.close()
        server.process.kill()
        server.process.wait()


class Gate:
    """Where an app waits until the test lets it pass."""

    def __init__(self) -> None:
        self._reached, self._opened = threading.Event(), threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def wait(self) -> None:
        """The app's side."""
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        self._reached.set()
        if not self._opened.is_set():
            await event.wait()

    def reached(self) -> None:
        """The test's side: returns when the app is there."""
        assert self._reached.wait(PATIENCE), "the app never came here"

    def open(self) -> None:
        """The test's side: lets the app pass, now and later."""
        self._opened.set()
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """What the server tells its user meanwhile, line by line, however `logging` is set up."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("miniasgi.error")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Waits for a condition that something outside this thread will make true."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)
    return value


# Apps:


def answer(body: bytes = b"ok", status: int = 200, headers: Any = ()) -> App:
    """An app that gives one answer, and reads nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def sends(*messages: Message) -> App:
    """An app that sends these messages, and reads nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)

    return app


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def read_body(receive: Receive) -> bytes:
    """All of the request's content."""
    data = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        data += message["body"]
        if not message["more_body"]:
            return data


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the content of the request."""
    assert scope["type"] == "http"
    data = await read_body(receive)
    await send(START)
    await send(body(data))


class Recorder:
    """An app that keeps the scopes it gets, and answers with the request's content."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self.scopes.append(scope)
        await echo(scope, receive, send)

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

"""Memory stays bounded whatever clients and apps do or leave undone: the peak RSS of a server process."""

import asyncio
import contextlib
import gc
import os
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miniasgi.connection import Connection
from miniasgi.types import Receive, Scope, Send

from .vocabulary import (
    KINDS,
    PARSERS,
    PATIENCE,
    START,
    Client,
    Running,
    Spawned,
    body,
    chunked,
    echo,
    eventually,
    get,
    post,
    request,
    spawned,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")

MB = 1024 * 1024
BOUND = 6  # MB; each test sends more
STUCK = 0.3  # seconds without progress

APP = f"""
import asyncio

MB = {MB}
go = asyncio.Event()
sent = 0

async def app(scope, receive, send):
    global sent
    assert scope["type"] == "http"
    path = scope["path"]
    answer = path.encode()
    if path == "/go":
        go.set()
    elif path == "/sent":
        answer = b"%d" % sent
    elif path in ("/slow", "/upload"):
        await go.wait()
    await send({{"type": "http.response.start", "status": 200}})
    if path == "/download":
        for _ in range(100):
            await send({{"type": "http.response.body", "body": bytes(MB), "more_body": True}})
            sent += MB
    if scope["method"] == "POST":
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        answer = b"%d" % size
    await send({{"type": "http.response.body", "body": answer}})
"""


def peak(server: Spawned) -> float:
    """The most memory that the process had resident since the last `clear_refs`, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@contextlib.contextmanager
def bounded(server: Spawned, megabytes: float = BOUND) -> Iterator[None]:
    """The server's memory grows by less than this in between."""
    server.connect().ask(chunked(bytes(MB)))  # warm
    server.connect().ask(get())
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = peak(server)
    yield
    growth = peak(server) - before
    print(f"peak: {before:.1f} MB and {growth:.1f} MB more")
    assert growth < megabytes


@pytest.fixture(scope="module", params=PARSERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spawned]:
    """A server process for tests that leave nothing behind in it."""
    flags = ("--http", request.param, "--no-access-log", "--timeout-request-head", "1")
    with spawned(tmp_path_factory.mktemp("shared"), APP, *flags) as server:
        yield server


@pytest.fixture(params=KINDS, ids="-".join)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spawned]:
    """A server process of a test's own, of each kind."""
    http, loop = request.param
    with spawned(tmp_path, APP, "--http", http, "--loop", loop, "--no-access-log") as server:
        yield server


def flood(client: Client, piece: bytes, most: int = 32 * MB) -> int:
    """Sends the same again and again, until the server does not take any more."""
    sent = 0
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while sent < most:
            client.send(piece)
            sent += len(piece)
    return sent


def push(client: Client, data: memoryview) -> int:
    """Sends until the server has taken nothing for a while; gives the number of bytes."""
    sent = 0
    client.sock.setblocking(False)
    while sent < len(data) and select.select([], [client.sock], [], STUCK)[1]:
        sent += client.sock.send(data[sent : sent + MB])
    client.sock.settimeout(PATIENCE)
    return sent


def exchange(client: Client, data: memoryview) -> bytes:
    """Sends and reads at the same time, until the server closes."""
    received = bytearray()
    client.sock.setblocking(False)
    while True:
        readable, writable, _ = select.select([client.sock], [client.sock] if data else [], [], PATIENCE)
        assert readable or writable, f"stuck with {len(data)} bytes to send and {len(received)} received"
        if writable:
            data = data[client.sock.send(data[:MB]) :]
        if readable:
            more = client.sock.recv(MB)
            if not more:
                return bytes(received)
            received += more


# What never ends


HEAD = b"GET / HTTP/1.1\r\nHost: test\r\n"
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
ENDLESS = {
    "request line": (b"GET /", b"a" * 65536, 414),
    "method": (b"", b"A" * 65536, None),
    "header value": (HEAD + b"a: ", b"a" * 65536, 431),
    "header name": (HEAD, b"a" * 65536, 431),
    "headers": (HEAD, b"a: b\r\n" * 10000, 431),  # 2,800 KB of these are 460,000
    "empty lines": (b"", b"\r\n" * 32768, 431),
    "chunk size": (CHUNKED, b"0" * 65536, None),
    "chunk extension": (CHUNKED + b"1;", b"a" * 65536, None),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 10000, None),
    "trailer": (CHUNKED + b"0\r\na: ", b"a" * 65536, None),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_does_not_fill_the_memory(what: str, shared: Spawned) -> None:
    begin, piece, status = ENDLESS[what]
    with bounded(shared):
        client = shared.connect().send(begin)
        flood(client, piece)
        reply = client.read_all()
    if status is None:  # whatever it was that came to its end first
        assert reply[:12] in (b"", *(b"HTTP/1.1 %d" % status for status in (400, 408, 414, 431)))
    else:
        assert reply.startswith(b"HTTP/1.1 %d " % status)


def test_200_000_headers_are_too_many(shared: Spawned) -> None:
    with bounded(shared):
        client = shared.connect()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send(HEAD + b"".join(b"x-%d: %d\r\n" % (n, n) for n in range(200_000)) + b"\r\n")
        assert client.read_all().startswith(b"HTTP/1.1 431 ")


# Who waits for whom


def answers_in_order(server: Spawned, count: int, padding: int) -> None:
    """Sends that many requests behind one that waits, as far as the server lets us; then lets it go on."""
    lines = [f"X-Padding: {'x' * padding}"] if padding else []
    requests = b"".join(get(f"/{n}", *lines) for n in range(count)) + get("/last", "Connection: close")
    data = memoryview(get("/slow") + requests)
    client = server.connect()
    with bounded(server):
        sent = push(client, data)
        assert not select.select([client.sock], [], [], 0)[0]  # nothing overtakes the slow one
        server.connect().ask(get("/go"))
        replies = exchange(client, data[sent:])
    answered = re.findall(rb"\r\n\r\n/(\w+?)(?=HTTP/1.1 200|\Z)", replies)
    assert answered == [b"slow", *(b"%d" % n for n in range(count)), b"last"]


def test_10_MB_of_pipelined_requests_wait_outside_and_are_answered_in_order(server: Spawned) -> None:
    answers_in_order(server, 2_500, 4_000)


def test_100_000_pipelined_requests_wait_outside_and_are_answered_in_order(tmp_path: Path) -> None:
    with spawned(tmp_path, APP, "--no-access-log") as server:
        answers_in_order(server, 100_000, 0)


def test_an_upload_that_nobody_reads_waits_at_the_client(server: Spawned) -> None:
    client = server.connect().send(request("POST", "/upload", f"Content-Length: {100 * MB}"))
    data = memoryview(bytes(100 * MB))
    with bounded(server):
        sent = push(client, data)
        assert sent < 50 * MB
        server.connect().ask(get("/go"))
        client.send(data[sent:])  # type: ignore[arg-type]
        assert client.read_reply().body == b"%d" % len(data)


def test_one_byte_chunks_that_nobody_reads_wait_at_the_client(server: Spawned) -> None:
    """Each costs Python an object."""
    client = server.connect().send(request("POST", "/upload", "Transfer-Encoding: chunked"))
    data = memoryview(b"1\r\nx\r\n" * (8 * MB))
    with bounded(server, 2 * BOUND):
        assert push(client, data) < len(data)


def test_H21_a_response_that_nobody_reads_waits_in_the_app(server: Spawned) -> None:
    client, other = server.connect(), server.connect()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with bounded(server):
        client.send(get("/download"))
        seen = [-1, 0]
        while seen[-1] != seen[-2]:  # until it makes no progress
            select.select([], [], [], STUCK)
            seen.append(int(other.ask(get("/sent")).body))
        assert seen[-1] < 50 * MB
        size = 0
        client.read_until(b"\r\n\r\n")
        while length := int(client.read_until(b"\r\n"), 16):
            size += length
            client.read_exactly(length + 2)
        assert size == 100 * MB + len("/download")


# Who leaves


def test_a_thousand_clients_that_leave_leave_nothing_behind(serve: Callable[..., Running]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if scope["method"] == "POST":
            await echo(scope, receive, send)
            return
        await send(START)
        for _ in range(100):
            await send(body(bytes(65536), more=True))
        await send(body())

    running = serve(app)
    halves = [b"", get()[:-5], post(b"content")[:-3], chunked(b"content")[:-9], get()]
    running.connect().ask(post(b"warm"))
    running.clients.pop().close()
    eventually(lambda: not running.service.connections)
    tasks, files = len(running.call(asyncio.all_tasks)), len(os.listdir("/proc/self/fd"))
    for n in range(1000):
        client = running.connect().send(halves[n % len(halves)])
        if n % 50 == 49:  # some have been read by then, some have not
            if n % 100 == 99:
                client.sock.recv(1)
            for client in running.clients:
                client.abort()
            running.clients.clear()
    eventually(lambda: not running.service.connections)
    eventually(lambda: not running.service.tasks)
    eventually(lambda: len(running.call(asyncio.all_tasks)) == tasks)
    eventually(lambda: len(os.listdir("/proc/self/fd")) == files)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if issubclass(type(thing), Connection)]
    assert running.ask(post(b"and on")).body == b"and on"

"""server.py: bind, start, stop. Real processes only where a signal or a status is the point."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import miniasgi
import miniasgi.server
from miniasgi import Config, ConfigError, Server
from miniasgi.connection import Connection
from miniasgi.sockets import bind
from miniasgi.types import App, Receive, Scope, Send

from .servers import BOTH, QUIET, Diary, fetch, listener, open_files
from .vocabulary import (
    LOOPS,
    PATIENCE,
    START,
    Client,
    Gate,
    Running,
    answer,
    begin,
    body,
    echo,
    eventually,
    get,
    serving,
    spawned,
    start,
)

HALF = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\no"  # a "k" is missing


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams until it hears that the client has left, and says so."""
    assert scope["type"] == "http"
    await send(START)
    await send(body(b"first", more=True))
    assert (await receive())["type"] == "http.request"
    assert (await receive())["type"] == "http.disconnect"
    await send(body(b"told"))


class Deaf:
    """An app that begins a response, and then does nothing any more."""

    def __init__(self) -> None:
        self.ended_with: list[type[BaseException]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(START)
        await send(body(b"first", more=True))
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended_with.append(type(error))
            raise


async def until(condition: Callable[[], Any]) -> None:
    """`eventually`, inside of an event loop."""
    await asyncio.to_thread(eventually, condition)


async def ask(port: int, data: bytes = get("/", "Connection: close")) -> bytes:
    """One request inside of an event loop, and all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    reply = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await writer.wait_closed()
    return reply


# Starting


def test_L4_a_busy_port_is_said_before_the_app_is_asked_anything() -> None:
    app = Diary()
    with listener() as busy:
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            start(app, port=port)
    assert app.lines == []


def test_L4_nobody_can_connect_before_the_app_is_ready(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[socket.socket] = []

    def keep(config: Config) -> list[socket.socket]:
        bound.extend(bind(config))
        return bound[:]

    monkeypatch.setattr(miniasgi.server, "bind", keep)
    app = Diary(opening=Gate())
    assert app.opening is not None
    running = begin(Server(Config(app, loop=loop, **QUIET)))  # type: ignore[arg-type]
    app.opening.reached()
    name = bound[0].getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(name)
    assert not running.server.started
    app.opening.open()
    eventually(lambda: running.server.started)
    assert fetch(name) == b"ok"
    running.stop()


def test_who_listens_first_wins_and_the_other_shuts_its_app_down(loop: str) -> None:
    """Two servers may be bound to one port while neither listens (SO_REUSEADDR)."""
    app = Diary(opening=Gate())
    assert app.opening is not None
    with listener(reuse=True) as first, listener() as ours:
        second = socket.socket()
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(first.getsockname())
        port = ours.getsockname()[1]
        server = Server(Config(app, loop=loop, **QUIET))  # type: ignore[arg-type]
        running = begin(server, [ours, second])
        app.opening.reached()
        first.listen()
        app.opening.open()
        with pytest.raises(ConfigError, match=r"cannot listen on http://127.0.0.1:\d+: address already in use"):
            running.join()
        assert app.lines == BOTH
        assert not server.started
        with pytest.raises(ConnectionRefusedError):  # although it was listening already
            socket.create_connection(("127.0.0.1", port))
        second.close()


def test_a_parser_that_is_not_installed_is_said_before_the_app_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(config: Config) -> None:
        raise ConfigError("--http httptools: httptools is not installed")

    monkeypatch.setattr(Config, "parser_class", missing)
    app = Diary()
    with pytest.raises(ConfigError, match="not installed"):
        start(app)
    assert app.lines == []


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def without(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


@pytest.mark.parametrize(("app", "mode"), [(failing, "auto"), (without, "on")], ids=["L5", "on"])
def test_L5_an_app_that_cannot_start_is_not_served(app: App, mode: str, log: list[str]) -> None:
    before = open_files()
    running = start(app, lifespan=mode)
    assert not running.server.started
    assert running.server.servers == []
    assert log[-1] == "Application startup failed. Exiting."
    assert ("no database" in log) == (app is failing)
    assert open_files() == before


def test_L3_an_app_without_lifespan_is_served() -> None:
    with serving(answer()) as server:
        assert server.ask(get()).body == b"ok"


def test_should_exit_before_the_start_starts_nothing() -> None:
    app = Diary()
    server = Server(Config(app, **QUIET))
    server.should_exit = True
    begin(server).join()
    assert (server.started, app.lines) == (False, [])


def test_a_stop_while_the_app_starts_cancels_it(loop: str) -> None:
    app = Diary(opening=Gate())
    assert app.opening is not None
    running = begin(Server(Config(app, loop=loop, **QUIET)))  # type: ignore[arg-type]
    app.opening.reached()
    running.stop()
    assert (running.server.started, app.lines) == (False, BOTH[:1])


# Embedding


def test_run_blocks_until_should_exit_is_set_in_another_thread(loop: str) -> None:
    app = Diary()
    with serving(app, loop=loop) as server:
        assert server.ask(get()).body == b"ok"
        assert app.lines == BOTH[:1]
        assert not server.server.should_exit
    assert server.server.should_exit
    assert app.lines == BOTH


async def test_serve_fits_into_a_running_loop() -> None:
    """As Ray Serve and vLLM use it: with a socket of their own."""
    app, sock = Diary(), listener()
    server = Server(Config(app, **QUIET))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    await until(lambda: server.started)
    assert [each.sockets[0].getsockname() for each in server.servers] == [sock.getsockname()]
    assert (await ask(sock.getsockname()[1])).endswith(b"\r\n\r\nok")
    server.should_exit = True
    await asyncio.wait_for(task, PATIENCE)
    assert app.lines == BOTH


def test_serve_runs_in_a_thread_with_a_loop_of_its_own() -> None:
    server = Server(Config(answer(), **QUIET))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    assert fetch(("127.0.0.1", port)) == b"ok"
    server.handle_exit(signal.SIGTERM, None)
    thread.join(PATIENCE)
    assert not thread.is_alive()


async def test_startup_and_shutdown_are_there_for_who_wants_no_serve() -> None:
    app = Diary()
    server = Server(Config(app, **QUIET))
    await server.startup()
    assert server.started
    assert (await ask(server.servers[0].sockets[0].getsockname()[1])).endswith(b"ok")
    await server.shutdown()
    assert app.lines == BOTH


async def test_L9_a_cancelled_serve_ends_everything_at_once() -> None:
    app = Diary(Deaf())
    server = Server(Config(app, **QUIET))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    request = asyncio.create_task(ask(port))
    assert server.service is not None
    await until(lambda: server.service and server.service.tasks)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert app.lines == BOTH
    with contextlib.suppress(ConnectionResetError):
        await request
    with pytest.raises(ConnectionRefusedError):
        await ask(port)


async def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    app = Diary(opening=Gate())
    assert app.opening is not None
    before = asyncio.all_tasks(), open_files()
    task = asyncio.create_task(Server(Config(app, **QUIET)).serve())
    await until(lambda: app.lines)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert (asyncio.all_tasks(), open_files()) == before


def test_connections_are_of_the_class_that_the_server_says() -> None:
    seen: list[Connection] = []

    class Watched(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(self)
            super().connection_made(transport)

    class WatchedServer(Server):
        connection_class = Watched

    server = WatchedServer(Config(answer(), **QUIET))
    running = begin(server)
    eventually(lambda: server.started)
    running.ask(get())
    running.stop()
    assert len(seen) == 1


def test_the_number_of_requests_may_be_limited(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    thrown: list[tuple[int, int]] = []
    monkeypatch.setattr(random, "randint", lambda *bounds: thrown.append(bounds) or 1)
    app = Diary()
    running = start(app, limit_max_requests=2, limit_max_requests_jitter=3)
    for _ in range(3):
        assert running.ask(get()).body == b"ok"
    running.join()
    assert thrown == [(0, 3)]
    assert "3 requests served: enough (--limit-max-requests)" in log
    assert app.lines == BOTH


def test_a_request_that_ends_after_the_limit_is_answered_and_changes_nothing(log: list[str]) -> None:
    running = start(echo, limit_max_requests=1)
    slow = running.connect().send(HALF)
    eventually(lambda: running.service.tasks)
    running.ask(get())
    eventually(lambda: running.service.closing)
    assert slow.send(b"k").read_reply().body == b"ok"
    running.join()
    assert len([line for line in log if "enough" in line]) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_server_does_not_wake_up(loop: str, tmp_path: Path) -> None:
    with spawned(tmp_path, PLAIN, "--loop", loop, "--no-access-log", "--timeout-keep-alive", "60") as server:
        client = server.connect()
        client.ask(get())  # and stays connected

        def naps() -> int:
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

        assert client.ask(get()).body == b"ok"
        before = naps()
        time.sleep(0.5)  # it is the time itself that is measured
        assert naps() - before <= 2
        client.ask(get())
        eventually(lambda: naps() > before)  # so it can be seen
        client.close()


# Stopping


def test_idle_connections_end_at_once_and_new_ones_are_refused(serve: Callable[..., Running]) -> None:
    running = serve(echo, timeout_keep_alive=60, timeout_request_head=60)
    used, fresh, busy = running.connect(), running.connect(), running.connect()
    used.ask(get())
    busy.send(HALF)
    port = running.port
    eventually(lambda: running.service.tasks and len(running.service.connections) == 3)
    running.server.should_exit = True
    used.assert_closed()
    fresh.assert_closed()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    reply = busy.send(b"k").read_reply()
    assert (reply.body, reply.header(b"connection")) == (b"ok", b"close")
    busy.assert_closed()
    running.join()


@pytest.mark.parametrize("requests", [0, 1], ids=["a new connection", "a kept one"])
async def test_a_request_on_its_way_is_answered_while_the_server_stops(requests: int) -> None:
    server = Server(Config(answer(), **QUIET))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    for _ in range(requests):
        writer.write(get())
        await reader.readuntil(b"ok")
    await until(lambda: server.service.connections)
    server.should_exit = True
    while not server.service.closing:
        await asyncio.sleep(0)
    writer.write(get())
    reply = await asyncio.wait_for(reader.read(), PATIENCE)
    assert b"200 OK" in reply
    assert b"connection: close" in reply
    writer.close()
    await task


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_who_is_accepted_while_the_server_stops_is_not_forgotten(turns: int, loop: str) -> None:
    async def run() -> None:
        server = Server(Config(answer(), **QUIET))
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        with socket.create_connection(server.servers[0].sockets[0].getsockname()) as sock:
            for _ in range(turns):
                await asyncio.sleep(0)
            server.should_exit = True
            await task
            assert server.service is not None
            assert not server.service.connections
            await asyncio.to_thread(Client(sock).assert_closed)

    with asyncio.Runner(loop_factory=Config(answer(), loop=loop).loop_factory()) as runner:  # type: ignore[arg-type]
        runner.run(run())


def test_a_request_that_comes_while_stopping_is_the_last_on_its_connection(
    serve: Callable[..., Running], log: list[str]
) -> None:
    running = serve(echo)
    client = running.connect().send(HALF[:20])  # some of a head
    eventually(lambda: any(connection._heard for connection in running.service.connections))
    running.server.should_exit = True
    eventually(lambda: "Waiting for 1 connections and 0 tasks to end, up to 30 s (CTRL+C to force)" in log)
    reply = client.send(HALF[20:] + b"k").read_reply()
    assert (reply.body, reply.header(b"connection")) == (b"ok", b"close")
    running.join()


@pytest.mark.parametrize(("last_call", "at_least"), [(5.0, 0.45), (0.3, 0.65)], ids=["half the budget", "later"])
def test_streams_hear_of_the_end_before_the_budget_is_over(
    last_call: float, at_least: float, loop: str, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(miniasgi.server, "_FAREWELL", last_call)
    running = start(stream, timeout_graceful_shutdown=1.0, loop=loop)
    client = running.connect().send(get())
    client.read_until(b"first\r\n")
    began = time.monotonic()
    running.server.should_exit = True
    assert b"told" in client.read_all()
    assert time.monotonic() - began > at_least
    running.join()
    assert "Waiting for 1 connections and 1 tasks to end, up to 1 s (CTRL+C to force)" in log
    assert not any("Cancelling" in line for line in log)


def test_an_app_that_ignores_everything_is_cancelled_when_the_budget_is_over(loop: str, log: list[str]) -> None:
    app = Deaf()
    diary = Diary(app)
    running = start(diary, timeout_graceful_shutdown=0.3, loop=loop)
    client = running.connect().send(get())
    client.read_until(b"first\r\n")
    running.server.should_exit = True
    assert client.read_all() == b""  # cut, so that nobody takes it for complete
    running.join()
    assert app.ended_with == [asyncio.CancelledError]
    assert [line for line in log if "Cancel" in line] == ["Cancelling 1 tasks that did not end in time"]
    assert diary.lines == BOTH


def test_an_app_that_ignores_its_cancellation_does_not_hold_the_shutdown(loop: str) -> None:
    gate, calls = Gate(), []

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            calls.append("cancelled")
            await gate.wait()

    diary = Diary(stubborn)
    diary.on_shutdown = gate.open  # it comes here, or this test never ends
    running = start(diary, timeout_graceful_shutdown=0, loop=loop)
    running.connect().send(get())
    gate.reached()
    running.stop()
    assert (diary.lines, calls) == (BOTH, ["cancelled"])


@pytest.mark.parametrize("force", ["force_exit", "handle_exit"])
def test_force_exit_waits_for_nobody(force: str, loop: str) -> None:
    app = Deaf()
    diary = Diary(app)
    running = start(diary, timeout_graceful_shutdown=60, loop=loop)
    running.connect().send(get()).read_until(b"first\r\n")
    running.server.handle_exit(signal.SIGINT, None)
    eventually(lambda: running.service.closing)
    assert not running.server.force_exit
    if force == "force_exit":
        running.server.force_exit = True
    else:
        running.server.handle_exit(signal.SIGTERM, None)
    running.join()
    assert app.ended_with == [asyncio.CancelledError]
    assert diary.lines == BOTH


@pytest.mark.parametrize("busy", [2, 0], ids=["with requests", "without requests"])
def test_L8_all_connections_are_closed_when_the_app_is_asked_to_shut_down(
    busy: int, serve: Callable[..., Running]
) -> None:
    left: list[int] = []
    app = Diary(Deaf())
    running = serve(app, timeout_graceful_shutdown=0.1)
    app.on_shutdown = lambda: left.append(len(running.service.connections) + len(running.service.tasks))
    halves = [b"", HALF[:9], b"nonsense\r\n\r\n", *[get(), HALF][:busy]]
    for data in halves:
        running.connect().send(data)
    running.clients[2].read_reply()  # a 400; the client may linger
    eventually(lambda: len(running.service.tasks) == busy and len(running.service.connections) == len(halves))
    running.stop()
    assert left == [0]


def test_L8_a_request_that_is_cancelled_cleans_up_before_the_app_does(loop: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            diary.lines.append("request cleaned up")

    diary = Diary(app)
    running = start(diary, timeout_graceful_shutdown=0, loop=loop)
    running.connect().send(get())
    eventually(lambda: running.service.tasks)
    running.stop()
    assert diary.lines == [BOTH[0], "request cleaned up", BOTH[1]]


def test_L9_a_shutdown_of_the_app_that_hangs_can_be_forced_too(loop: str, log: list[str]) -> None:
    app = Diary(closing=Gate())
    assert app.closing is not None
    running = start(app, loop=loop)
    running.server.force_exit = True  # of the requests: the app's shutdown is waited for
    running.server.should_exit = True
    app.closing.reached()
    assert running.thread.is_alive()
    running.server.force_exit = True
    running.join()
    assert "Application shutdown was not waited for." in log


def test_L10_a_shutdown_that_fails_is_logged(log: list[str]) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    app = Diary()
    app.on_shutdown = fail
    start(app).stop()
    assert any("Application shutdown failed" in line for line in log)
    assert log[-1].startswith("Finished server process")


def test_access_lines_that_wait_are_written_at_the_end(tmp_path: Path) -> None:
    with spawned(tmp_path, PLAIN) as server:
        server.connect().ask(get("/x", "Connection: close"))
        server.signal(signal.SIGTERM)
        server.join()
        assert '"GET /x HTTP/1.1" 200 OK' in server.output


# Signals


@contextlib.contextmanager
def handlers(reached: list[int]) -> Iterator[None]:
    """Handlers of the program around the server."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, lambda number, _: reached.append(number))
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("caught", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]], ids=str)
async def test_signals_stop_the_server_and_then_reach_whoever_started_it(caught: list[int]) -> None:
    reached: list[int] = []
    with handlers(reached):
        app = Diary(Deaf())
        server = Server(Config(app, **QUIET))
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        for number in caught:
            signal.raise_signal(number)
        assert (server.should_exit, server.force_exit) == (True, len(caught) == 2)
        await asyncio.wait_for(task, PATIENCE)
        assert app.lines == BOTH
        assert reached == caught[::-1]


async def test_signals_are_the_programs_own_again_when_the_server_cannot_start() -> None:
    with handlers([]), listener() as busy:
        busy.listen()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(ConfigError):
            await Server(Config(answer(), **QUIET | {"port": busy.getsockname()[1]})).serve()
        assert signal.getsignal(signal.SIGTERM) is before


async def test_a_second_signal_ends_a_start_that_never_awaits() -> None:
    reached: list[int] = []

    def factory() -> App:
        signal.raise_signal(signal.SIGINT)
        assert server.should_exit
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still loading the model")

    with handlers(reached):
        server = Server(Config(factory, factory=True, **QUIET))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            await server.serve()
        assert (server.started, server.servers) == (False, [])


PLAIN = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
"""

APP = """
import asyncio

async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("the app has shut down")
    await send({"type": "lifespan.shutdown.complete"})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["method"] == "POST":
        while (await receive())["more_body"]:
            pass
    await send({"type": "http.response.start", "status": 200})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"told", "more_body": True})
    if scope["path"] == "/deaf":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while True:
            try:
                await asyncio.sleep(3600)
            finally:
                print("cancelled")
    await send({"type": "http.response.body", "body": b"ok"})
"""


def assert_ended(server: Any, number: int) -> None:
    """As a process ends that was asked to: no traceback, and a status that tells of the signal."""
    status = server.join()
    assert status == (0 if number == signal.SIGINT else -number), server.log
    assert "Traceback" not in server.log
    assert "the app has shut down" in server.output
    assert "Finished server process" in server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_process_when_all_is_done(number: int, loop: str, tmp_path: Path) -> None:
    flags = ("--loop", loop, "--no-access-log", "--timeout-graceful-shutdown", "1", "--timeout-keep-alive", "60")
    with spawned(tmp_path, APP, *flags) as server:
        idle, stream, busy = server.connect(), server.connect(), server.connect()
        idle.ask(get())
        stream.send(get("/stream")).read_until(b"first\r\n")
        busy.send(HALF)
        busy_too = server.connect()  # accepted after the others: so the others were
        busy_too.ask(get())
        server.signal(number)
        idle.assert_closed()
        reply = busy.send(b"k").read_reply()
        assert (reply.body, reply.header(b"connection")) == (b"ok", b"close")
        assert b"told" in stream.read_all()
        assert_ended(server, number)
        assert "Cancelling" not in server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_app_that_ignores_everything_does_not_keep_the_process(number: int, tmp_path: Path) -> None:
    with spawned(tmp_path, APP, "--timeout-graceful-shutdown", "0.2") as server:
        server.connect().send(get("/deaf")).read_until(b"first\r\n")
        server.signal(number)
        assert_ended(server, number)
        assert server.log.count("Cancel") == 1
        assert "cancelled" in server.output


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_of_any_kind_forces(second: int, loop: str, tmp_path: Path) -> None:
    with spawned(tmp_path, APP, "--timeout-graceful-shutdown", "60", "--loop", loop) as server:
        server.connect().send(get("/deaf")).read_until(b"first\r\n")
        server.signal(signal.SIGINT)
        server.wait_for("Waiting for 1 connections")
        server.signal(second)
        status = server.join()
        assert status in (0, -signal.SIGTERM)
        assert "Traceback" not in server.log
        assert "the app has shut down" in server.output


def test_no_signal_comes_too_early_to_wake_the_loop(loop: str, tmp_path: Path) -> None:
    """One between the loop's last look and its sleep: only a wake-up descriptor is heard then."""
    source = """
import signal

async def app(scope, receive, send):
    assert scope["type"] == "http"
    signal.set_wakeup_fd(fd := signal.set_wakeup_fd(-1))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(fd).encode()})
"""
    with spawned(tmp_path, source, "--loop", loop) as server:
        assert int(server.connect().ask(get()).body) != -1
        server.signal(signal.SIGINT)
        assert server.join() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_start_that_hangs(number: int, loop: str, tmp_path: Path) -> None:
    hanging = """
import asyncio

async def app(scope, receive, send):
    print("starting", flush=True)
    await asyncio.sleep(3600)
"""
    with spawned(tmp_path, hanging, "--loop", loop) as server:
        server.wait_for("starting", "stdout")
        server.signal(number)
        assert server.join() in (3, -signal.SIGTERM)
        assert "Traceback" not in server.log
        assert "running on" not in server.log


def test_a_second_signal_ends_a_blocking_start_without_a_traceback(tmp_path: Path) -> None:
    blocking = """
import time

print("loading", flush=True)
time.sleep(3600)
"""
    with spawned(tmp_path, blocking) as server:
        server.wait_for("loading", "stdout")
        server.signal(signal.SIGINT)
        server.signal(signal.SIGTERM)  # of any kind; two of one kind may be one to the kernel
        assert server.join() == 3
        assert "Traceback" not in server.log


def test_L5_an_app_that_cannot_start_ends_the_process_with_3(tmp_path: Path) -> None:
    failing = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    with spawned(tmp_path, failing) as server:
        assert server.join() == 3
        assert "no database" in server.log
        assert "Traceback" not in server.log


def test_fd_is_inherited_from_whoever_starts_the_process(tmp_path: Path) -> None:
    with listener() as sock:
        sock.set_inheritable(True)
        fd = os.dup(sock.fileno())
        os.set_inheritable(fd, True)
        try:
            with spawned(tmp_path, PLAIN, "--fd", str(fd), close_fds=False) as server:
                server.wait_for("running on")
                assert fetch(sock.getsockname()) == b"ok"
        finally:
            os.close(fd)

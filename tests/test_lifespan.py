"""The startup and shutdown conversation, by the items of the checklist: L1 to L11."""

import asyncio
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import miniasgi
from miniasgi.lifespan import Lifespan, LifespanFailure
from miniasgi.types import App, Message, Receive, Scope, Send

from .vocabulary import PATIENCE, START, Gate, Running, body, eventually, get, serving, spawned, start

STARTED: Message = {"type": "lifespan.startup.complete"}
NOT_STARTED: Message = {"type": "lifespan.startup.failed"}
ENDED: Message = {"type": "lifespan.shutdown.complete"}
NOT_ENDED: Message = {"type": "lifespan.shutdown.failed"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What has been logged so far, a line for each message, with tracebacks."""
    caplog.set_level(logging.INFO, "miniasgi.error")
    return lambda: caplog.text


class Talker:
    """An app that receives before each of its answers, and keeps what it hears."""

    def __init__(self, *answers: Message) -> None:
        self.answers = answers
        self.heard: list[str] = []
        self.scopes: list[Scope] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.scopes.append(scope)
        if scope["type"] == "lifespan":
            for answer in self.answers:
                self.heard.append((await receive())["type"])
                await send(answer)
        else:
            await send(START)
            await send(body(b"ok"))


def raising(error: Exception, *answers: Message, receives: bool = True) -> App:
    """An app that gives these answers, and then raises in its lifespan."""
    talker = Talker(*answers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await talker(scope, receive, send)
        if scope["type"] == "lifespan":
            if receives:
                await receive()
            raise error

    return app


# Each item of the checklist:


def test_L1_one_lifespan_in_the_event_loop_of_the_requests() -> None:
    app = Talker(STARTED, ENDED)
    with serving(app) as server:
        server.ask(get())
        server.ask(get())
    assert [scope["type"] for scope in app.scopes] == ["lifespan", "http", "http"]
    assert len(app.loops) == 1


async def test_L2_the_scope_has_the_type_the_versions_and_a_state() -> None:
    app = Talker(STARTED)
    await Lifespan().startup(app)
    assert app.scopes == [{"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}]


@pytest.mark.parametrize("receives", [False, True], ids=["at once", "after lifespan.startup"])
def test_L3_without_lifespan_the_server_goes_on_and_sends_no_event(receives: bool, log: Callable[[], str]) -> None:
    app = raising(ValueError("what is that?"), receives=receives)
    with serving(app) as server:
        assert server.ask(get()).body == b"ok"
        server.stop()
    assert "The app does not support lifespan (ValueError('what is that?')); going on without." in log()
    assert "Waiting for application shutdown" not in log()
    assert "ERROR" not in log()


def test_L3_an_app_that_returns_without_a_word_has_no_lifespan(log: Callable[[], str]) -> None:
    app = Talker()
    with serving(app) as server:
        assert server.ask(get()).body == b"ok"
        server.stop()
    assert "does not support lifespan (it returned without an answer); going on" in log()
    assert app.heard == []


async def test_L3_insisting_on_a_lifespan_makes_it_a_failure(log: Callable[[], str]) -> None:
    lifespan = Lifespan("on")
    with pytest.raises(LifespanFailure, match=r"does not support lifespan: ValueError\('what is that\?'\)"):
        await lifespan.startup(raising(ValueError("what is that?")))
    assert "Traceback" in log(), "whoever insists wants to know where it went wrong"
    assert "raise error" in log()
    assert "/miniasgi/" not in log(), "the frames of the app, not ours"


async def test_L3_insisting_on_a_lifespan_refuses_an_app_that_returns_without_a_word() -> None:
    with pytest.raises(LifespanFailure, match="it returned without an answer"):
        await Lifespan("on").startup(Talker())


def test_lifespan_off_means_that_the_app_never_hears_of_it() -> None:
    app = Talker(STARTED, ENDED)
    with serving(app, lifespan="off") as server:
        server.ask(get())
    assert [scope["type"] for scope in app.scopes] == ["http"]
    assert app.scopes[0]["state"] == {}


def test_L4_nobody_can_connect_before_the_app_has_started() -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await gate.wait()
            await send(STARTED)
            await receive()
            await send(ENDED)
        else:
            await Talker()(scope, receive, send)

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = miniasgi.Server(miniasgi.Config(app, log_config=None, access_log=False))
        running = Running(server, threading.Thread(target=server.run, args=([sock],), daemon=True), [])
        running.thread.start()
        gate.reached()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname(), timeout=PATIENCE)
        assert not server.started
        gate.open()
        eventually(lambda: server.started)
        assert running.ask(get()).body == b"ok"
        running.stop()


LIFESPAN = """
import json, os, sys
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.{startup}", "message": "no model"}})
        await receive()
        await send({{"type": "lifespan.shutdown.{shutdown}", "message": "no disk"}})
"""


def test_L5_a_failed_startup_is_logged_and_ends_with_status_3(tmp_path: Path) -> None:
    with spawned(tmp_path, LIFESPAN.format(startup="failed", shutdown="complete")) as server:
        assert server.join() == 3
    assert re.search(r"ERROR: +no model\nERROR: +Application startup failed\. Exiting\.", server.log)
    assert "running on" not in server.log, "nothing was accepted"
    assert "Traceback" not in server.log


def test_L5_a_lifespan_that_is_insisted_on_ends_with_status_3(tmp_path: Path) -> None:
    source = "async def app(scope, receive, send): assert scope['type'] == 'http', 'only http'"
    with spawned(tmp_path, source, "--lifespan", "on") as server:
        assert server.join() == 3
    assert "AssertionError: only http" in server.log
    assert "running on" not in server.log


class Stateful(Talker):
    """An app that leaves a state for its requests, and keeps what it finds at its end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(model="a", cache=[])
            await send(STARTED)
            await receive()
            self.at_the_end = dict(scope["state"])
            await send(ENDED)
        else:
            state = scope["state"]
            seen = repr(state)
            state["model"] = "b"
            state["cache"].append(1)
            state["more"] = 2
            await send(START)
            await send(body(seen.encode()))


def test_L6_each_request_gets_a_shallow_copy_of_the_state() -> None:
    with serving(Stateful()) as server:
        client = server.connect()
        assert client.ask(get()).body == b"{'model': 'a', 'cache': []}"
        # Another request sees what was done inside of a value, and no other change:
        assert client.ask(get()).body == b"{'model': 'a', 'cache': [1]}"
        assert server.ask(get()).body == b"{'model': 'a', 'cache': [1, 1]}"


def test_L7_the_app_finds_its_state_at_shutdown_as_it_left_it() -> None:
    app = Stateful()
    with serving(app) as server:
        server.ask(get())
        server.stop()
    assert app.at_the_end == {"model": "a", "cache": [1]}


def test_L8_shutdown_comes_when_all_connections_are_closed() -> None:
    order: list[str] = []
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send(STARTED)
            await receive()
            order.append(f"shutdown with {len(server.service.connections)} connections")
            await send(ENDED)
        else:
            await send(START)
            await send(body(b"some", more=True))
            await gate.wait()
            await send(body(b" more"))
            order.append("answered")

    with serving(app) as server:
        client = server.connect().send(get())
        idle = server.connect()
        gate.reached()
        server.server.should_exit = True
        idle.assert_closed()
        assert order == []
        gate.open()
        assert client.read_reply().body == b"some more"
        server.join()
    assert order == ["answered", "shutdown with 0 connections"]


def test_L9_the_server_waits_for_the_app_to_shut_down(log: Callable[[], str]) -> None:
    gate = Gate()
    cleaned_up = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()
        await gate.wait()
        cleaned_up.append(True)
        await send(ENDED)

    with serving(app) as server:
        server.server.should_exit = True
        gate.reached()
        assert "Application shutdown complete." not in log()
        gate.open()
        server.join()
    assert cleaned_up
    assert "Application shutdown complete." in log()


def test_L10_a_failed_shutdown_is_logged_and_the_server_ends(tmp_path: Path) -> None:
    with spawned(tmp_path, LIFESPAN.format(startup="complete", shutdown="failed")) as server:
        server.wait_for("running on")
        server.signal(signal.SIGTERM)
        assert server.join() == -signal.SIGTERM
    assert re.search(r"ERROR: +Application shutdown failed: no disk\n", server.log)
    assert "Traceback" not in server.log


async def test_L11_a_failed_startup_needs_no_message() -> None:
    with pytest.raises(LifespanFailure, match=r"^the app reported that its startup failed$"):
        await Lifespan().startup(Talker(NOT_STARTED))


async def test_L11_a_failed_shutdown_needs_no_message(log: Callable[[], str]) -> None:
    lifespan = Lifespan()
    await lifespan.startup(Talker(STARTED, NOT_ENDED))
    await lifespan.shutdown()
    assert "Application shutdown failed: no reason given" in log()


# What else an app may do:


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([ENDED], id="shutdown before startup"),
        pytest.param([STARTED, STARTED], id="started twice"),
        pytest.param([STARTED, ENDED, ENDED], id="ended twice"),
        pytest.param([STARTED, NOT_STARTED], id="failed after it had started"),
        pytest.param([NOT_STARTED, STARTED], id="started after it had failed"),
        pytest.param([{"type": "lifespan.startup.complet"}], id="a type that does not exist"),
        pytest.param([START], id="a message of HTTP"),
        pytest.param([{}], id="no type at all"),
    ],
)
async def test_A6_a_message_that_nobody_asked_for_raises_in_the_app(answers: list[Message]) -> None:
    raised: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            for answer in answers:
                await send(answer)
        except RuntimeError as error:
            raised.append(error)

    lifespan = Lifespan()
    try:
        await lifespan.startup(app)
        await lifespan.shutdown()
    except LifespanFailure:
        await lifespan.shutdown()
    assert str(raised[0]).startswith(f"unexpected lifespan message {answers[-1].get('type')!r}: ")


async def test_A6_nothing_may_be_sent_before_the_app_is_asked() -> None:
    lifespan = Lifespan()
    with pytest.raises(RuntimeError, match=r"'lifespan\.startup\.complete': nothing is next"):
        await lifespan.send(STARTED)


async def test_an_app_may_answer_before_it_listens() -> None:
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(STARTED)
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        await send(ENDED)

    lifespan = Lifespan()
    await lifespan.startup(app)
    await lifespan.shutdown()
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_app_that_has_started_need_not_wait_for_the_shutdown(log: Callable[[], str]) -> None:
    lifespan = Lifespan("on")
    await lifespan.startup(Talker(STARTED))
    assert "Application startup complete." in log()
    await lifespan.shutdown()
    assert "shutdown" not in log()


async def test_an_app_that_returns_instead_of_an_answer_has_shut_down(log: Callable[[], str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()

    lifespan = Lifespan()
    await lifespan.startup(app)
    await lifespan.shutdown()
    assert "Application shutdown complete." in log()


def test_an_app_whose_lifespan_dies_goes_on_serving_and_hears_no_more(log: Callable[[], str]) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Talker(STARTED)(scope, receive, send)
        if scope["type"] == "lifespan":
            await gate.wait()
            raise ValueError("out of luck")

    with serving(app) as server:
        gate.reached()
        gate.open()
        eventually(lambda: "lifespan failed" in log())
        assert server.ask(get()).body == b"ok"
        server.stop()
    assert "ValueError: out of luck" in log()
    assert "/miniasgi/" not in log(), "the frames of the app, not ours"
    assert "Waiting for application shutdown" not in log()


@pytest.mark.parametrize("answers", [[STARTED], [STARTED, ENDED]], ids=["instead of an answer", "after its answer"])
async def test_an_app_that_raises_at_shutdown_is_logged_and_the_server_ends(
    answers: list[Message], log: Callable[[], str]
) -> None:
    lifespan = Lifespan()
    await lifespan.startup(raising(ValueError("too late"), *answers, receives=len(answers) == 1))
    await lifespan.shutdown()
    assert "raise error" in log()
    assert ("Application shutdown failed: ValueError('too late')" in log()) == (len(answers) == 1)


async def test_what_an_app_raises_after_it_reported_a_failure_is_not_logged_twice(log: Callable[[], str]) -> None:
    # Starlette sends its traceback as the message, and then raises.
    lifespan = Lifespan("on")
    with pytest.raises(LifespanFailure, match="broken"):
        await lifespan.startup(raising(ValueError(), NOT_STARTED | {"message": "broken"}, receives=False))
    await lifespan.shutdown()
    assert "ERROR" not in log()


def test_a_stop_while_the_app_starts_ends_its_startup() -> None:
    gate, ended = Gate(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
            await gate.wait()
        finally:
            ended.append(True)

    server = miniasgi.Server(miniasgi.Config(app, port=0, log_config=None))
    running = Running(server, threading.Thread(target=server.run, daemon=True), [])
    running.thread.start()
    gate.reached()
    running.stop()
    assert ended
    assert not server.started


def test_a_failed_startup_leaves_a_server_that_has_not_started() -> None:
    running = start(Talker(NOT_STARTED))
    assert not running.server.started
    assert running.error == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
@pytest.mark.parametrize("app", [Talker(), Talker(STARTED, ENDED)], ids=["returns", "answers"])
async def test_an_app_may_run_before_the_server_waits_for_it(app: Talker) -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))
    lifespan = Lifespan()
    await lifespan.startup(app)
    await lifespan.shutdown()
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"][: len(app.answers)]


async def test_an_app_that_will_not_end_after_its_shutdown_is_cancelled(log: Callable[[], str]) -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Talker(STARTED, ENDED)(scope, receive, send)
        try:
            await receive()  # nothing will come
        finally:
            await asyncio.sleep(0)  # even if it takes a while
            ended.append(True)

    lifespan = Lifespan()
    await lifespan.startup(app)
    assert "Waiting for application startup." in log()
    await lifespan.shutdown()
    assert "Waiting for application shutdown." in log()
    assert ended


async def test_an_app_that_is_cancelled_has_ended(log: Callable[[], str]) -> None:
    """By what it awaits itself: nobody has asked it to."""
    lifespan = Lifespan()
    await asyncio.wait_for(lifespan.startup(raising(asyncio.CancelledError(), receives=False)), PATIENCE)  # type: ignore[arg-type]
    assert "does not support lifespan" in log()


async def test_an_answer_that_was_not_waited_for_is_not_taken_for_that_to_the_shutdown() -> None:
    """The server is told to stop in the moment in which the app says that it is ready."""
    app = Talker(STARTED, ENDED)
    lifespan = Lifespan()
    startup = asyncio.create_task(lifespan.startup(app))
    while not app.heard:
        await asyncio.sleep(0)
    startup.cancel()
    await lifespan.shutdown()
    assert startup.cancelled()
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"]


async def test_ending_what_never_began_is_nothing() -> None:
    await Lifespan().shutdown()


@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
def test_a_framework_hands_its_state_to_its_requests(kind: str) -> None:
    pytest.importorskip(kind)
    with serving(_framework(kind)) as server:
        assert server.ask(get()).body == b'"loaded"'


def _framework(kind: str) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        yield {"model": "loaded"}

    if kind == "fastapi":
        from fastapi import FastAPI, Request

        app = FastAPI(lifespan=lifespan)

        @app.get("/")
        async def root(request: Request) -> str:
            return request.state.model

        return app
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def home(request: Any) -> JSONResponse:
        return JSONResponse(request.state.model)

    return Starlette(routes=[Route("/", home)], lifespan=lifespan)

"""The app's door, in memory and in another server."""

import asyncio
import contextlib
import threading
from typing import Any

import httpx
import pytest
import uvicorn

from miniasgi.types import Message, Receive, Scope, Send
from miniasgi.xray.door import Door, place_of_error
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder, current

from .vocabulary import START, body, echo, eventually


def scope(**extra: Any) -> Scope:
    return {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": None} | extra


async def nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def drop(message: Message) -> None: ...


async def visited(app: Any, **extra: Any) -> Trace:
    """The trace of one call."""
    door = Door(app, Recorder())
    with contextlib.suppress(ValueError, asyncio.CancelledError):
        await door(scope(**extra), nothing, drop)
    [trace] = door.recorder.traces
    return trace


async def test_every_message_is_a_hop_inside_of_the_call() -> None:
    trace = await visited(echo)
    messages = ["receive http.request", "send http.response.start", "send http.response.body"]
    assert [hop.name for hop in trace.hops] == ["await app(scope, receive, send)", *messages]
    call, *inner = trace.hops
    assert all(call.start_ns <= hop.start_ns <= hop.end_ns <= call.end_ns for hop in inner)  # type: ignore[operator]
    assert (trace.status, trace.done, trace.failed) == (200, True, False)
    assert call.where is not None
    assert call.where.line == echo.__code__.co_firstlineno


async def test_what_the_app_raises_has_its_line() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no")

    trace = await visited(app)
    raised = trace.hops[-1]
    assert (raised.name, raised.failed, trace.done) == ("raised ValueError", True, True)
    assert raised.where is not None
    assert raised.where.line == app.__code__.co_firstlineno + 1


async def test_a_send_that_raises_is_the_hop_that_failed() -> None:
    async def send(message: Message) -> None:
        raise ValueError("wrong message")

    door = Door(echo, Recorder())
    with pytest.raises(ValueError, match="wrong message"):
        await door(scope(), nothing, send)
    failed = [hop.name for hop in door.recorder.traces[0].hops if hop.failed]
    assert failed == ["await app(scope, receive, send)", "send http.response.start", "raised ValueError"]


async def test_a_cancelled_call_has_not_failed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    trace = await visited(app)
    assert (trace.failed, trace.hops[0].data["cancelled"]) == (False, "CancelledError")


async def test_the_lifespan_is_no_request() -> None:
    door = Door(lambda scope, receive, send: drop(scope), Recorder())
    await door({"type": "lifespan"}, nothing, drop)
    assert not door.recorder.traces


async def test_tasks_and_threads_of_the_app_know_their_trace() -> None:
    found: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def task() -> None:
            found.append(current.get())

        await asyncio.create_task(task())
        await asyncio.to_thread(lambda: found.append(current.get()))

    async def call() -> Trace:
        return await visited(app)

    trace = await asyncio.create_task(call())
    assert found == [trace, trace]
    assert current.get() is None


def test_the_line_of_an_error_is_the_apps() -> None:
    import json

    try:
        json.loads("{")
    except ValueError as error:
        place = place_of_error(error)
    assert place is not None
    assert place.file == __file__
    assert place_of_error(ValueError()) is None


def test_it_stands_in_any_server() -> None:
    """uvicorn knows nothing of us, so a trace has what the specification tells."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"2")]})
        await send(body(b"ok"))

    door = Door(app, Recorder())
    server = uvicorn.Server(uvicorn.Config(door, port=0, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://127.0.0.1:{port}/a?b=c").text == "ok"
    [trace] = eventually(lambda: [trace for trace in door.recorder.traces if trace.done])
    server.should_exit = True
    thread.join(10)
    assert (trace.title, trace.status) == ("GET /a?b=c", 200)
    assert [hop.layer for hop in trace.hops] == ["asgi"] * 3

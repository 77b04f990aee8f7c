"""What is seen of FastAPI, Pydantic, Starlette and an app's own spans, each in a process of its own."""

import importlib.metadata
import re
import sys
from typing import Any

import pytest

from .vocabulary import TEXT, close_frame, frame, get, handshake, post
from .xray_probe import probe

pytestmark = pytest.mark.xdist_group("full")  # one worker: the app of them all runs once
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"
PREDICT = post(b'{"text":"hey"}', JSON, CLOSE, target="/predict?top_k=3").decode()
MONITORED = sys.version_info >= (3, 12)


def seen(trace: dict[str, Any]) -> list[str]:
    """The hops, in their order, as layer and name; without the calls that only Python 3.12 sees."""
    hops = sorted(trace["hops"], key=lambda hop: hop["start_ns"])
    return [f"{hop['layer']} {hop['name']}" for hop in hops if hop["layer"] != "app" or "()" not in hop["name"]]


def hop(trace: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [hop for hop in trace["hops"] if hop["name"] == name]
    return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    wrong = post(b'{"text":"h"}', JSON, CLOSE, target="/predict?top_k=x").decode()
    gets = [get(path, CLOSE).decode() for path in ("/sync?n=3", "/stream", "/refuse", "/crash")]
    talk = (handshake("/ws") + frame(TEXT, b"hi") + close_frame(1000)).decode("latin-1")
    return probe("tests.xray_probe:full_app", PREDICT, wrong, *gets, talk)


def test_the_path_of_a_post(full: dict[str, Any]) -> None:
    trace = full["traces"][0]
    assert trace["status"] == 200
    assert seen(trace) == [
        "socket accepted",
        "socket read",
        "parser event Request(POST, b'/predict?top_k=3')",
        "server judge the head, build the scope",
        "parser event Body(14 bytes)",
        "parser event End()",
        "server event loop: the task waits its turn",
        "asgi await app(scope, receive, send)",
        "middleware Stamp",
        "middleware BaseHTTPMiddleware(dispatch)",
        "middleware GZipMiddleware",
        "fastapi route matched: /predict",
        "asgi receive http.request",
        "fastapi fastapi.dependencies",
        "pydantic validate top_k: int",
        "pydantic validate prompt: Prompt",
        "fastapi fastapi.endpoint",
        "app model.queued",
        "gpu gpu.forward",
        "pydantic construct Verdict",
        "fastapi fastapi.serialization",
        "pydantic validate Verdict",
        "asgi send http.response.start",
        "asgi send http.response.body",
        "socket write",
        "asgi send http.response.body",
        "server finished",
        "socket closed",
        "fastapi fastapi.background_task",
    ]
    assert hop(trace, "validate prompt: Prompt")["data"] == {"input": "{'text': 'hey'}", "output": "Prompt(text='hey')"}
    assert "'top_k': 3" in hop(trace, "fastapi.dependencies")["data"]["values"]
    assert hop(trace, "gpu.forward")["data"] == {"batch.size": "1"}
    assert re.fullmatch(r"tests/xray_probe\.py:\d+", hop(trace, "fastapi.endpoint")["where"])


def test_a_422_shows_each_error_at_its_field(full: dict[str, Any]) -> None:
    trace = full["traces"][1]
    assert trace["status"] == 422
    number, prompt = hop(trace, "validate top_k: int"), hop(trace, "validate prompt: Prompt")
    assert number["failed"]
    assert number["data"]["error 1"].startswith("Input should be a valid integer")
    assert prompt["data"]["error 1"].startswith("text: String should have at least 2 characters [string_too_short]")
    assert not any(hop["name"] == "fastapi.endpoint" for hop in trace["hops"])


def test_a_thread_is_named(full: dict[str, Any]) -> None:
    assert hop(full["traces"][2], "fastapi.endpoint")["thread"] == "AnyIO worker thread"


def test_each_chunk_of_a_stream_is_there(full: dict[str, Any]) -> None:
    assert seen(full["traces"][3]).count("asgi send http.response.body") >= 5


def test_what_failed_and_where(full: dict[str, Any]) -> None:
    refused, crashed = full["traces"][4:6]
    assert (refused["status"], crashed["status"]) == (403, 500)
    raised = hop(crashed, "raised ZeroDivisionError")
    file, line = raised["place"]
    with open(file, encoding="utf-8") as source:
        assert "raise ZeroDivisionError" in source.read().splitlines()[line - 1]
    assert hop(crashed, "fastapi.endpoint")["failed"]


def test_a_websocket_has_frames_events_and_messages(full: dict[str, Any]) -> None:
    trace = full["traces"][6]
    names = seen(trace)
    for name in ("parser event str", "asgi receive websocket.receive", "asgi send websocket.accept"):
        assert name in names, names
    assert trace["title"] == "WebSocket /ws"
    frames = [hop["data"].get("frame") for hop in trace["hops"] if hop["layer"] == "socket"]
    assert "text, final, masked, 2 bytes" in frames
    assert hop(trace, "event str")["data"] == {"event": "hi"}


@pytest.mark.skipif(not MONITORED, reason="sys.monitoring is 3.12+")
def test_calls_of_dependencies_and_endpoints(full: dict[str, Any]) -> None:
    trace = full["traces"][0]
    assert hop(trace, "quota()")["thread"] == "AnyIO worker thread"
    assert hop(trace, "quota()")["data"] == {"returned": "10"}
    assert {"session()", "lock()", "predict()"} <= {hop["name"] for hop in trace["hops"]}
    assert hop(full["traces"][5], "crash()")["failed"]


def test_the_path_of_a_chat() -> None:
    """The golden order for the inference app, for the FastAPI that is installed."""
    body = b'{"model": "fake", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    [trace] = probe("tests.xray_probe:chat_app", post(body, JSON, CLOSE, target="/v1/chat/completions").decode())[
        "traces"
    ]
    names = [name for name in seen(trace) if not name.startswith(("server event loop", "socket closed"))]
    end = names.index("asgi send http.response.start")
    assert names[:end] == [
        "socket accepted",
        "socket read",
        "parser event Request(POST, b'/v1/chat/completions')",
        "server judge the head, build the scope",
        "parser event Body(82 bytes)",
        "parser event End()",
        "asgi await app(scope, receive, send)",
        "fastapi route matched: /v1/chat/completions",
        "asgi receive http.request",
        "fastapi fastapi.dependencies",
        "pydantic validate body: ChatRequest",
        "fastapi fastapi.endpoint",
        "asgi receive http.disconnect",
    ], importlib.metadata.version("fastapi")
    assert names.count("asgi send http.response.body") == 8


def test_starlette_alone_loses_only_what_is_not_there() -> None:
    found = probe("tests.xray_probe:plain_app", get("/", CLOSE).decode())
    [trace] = found["traces"]
    assert "middleware GZipMiddleware" in seen(trace)
    assert not any(name.startswith(("fastapi", "pydantic")) for name in seen(trace))
    assert trace["status"] == 200


def test_an_apps_own_sdk_stays_and_we_read_along() -> None:
    pytest.importorskip("opentelemetry.sdk")
    found = probe("tests.xray_probe:sdk_app", PREDICT)
    [trace] = found["traces"]
    assert found["taps"]["opentelemetry"] == ""
    assert {"fastapi.endpoint", "gpu.forward", "route matched: /predict"} <= {hop["name"] for hop in trace["hops"]}


def test_a_broken_tap_leaves_the_answers_intact() -> None:
    requests = (PREDICT, get("/sync", CLOSE).decode(), get("/crash", CLOSE).decode())
    found = probe("tests.xray_probe:full_app", *requests, faults=True)
    assert all(found["broken"].values()), found["broken"]
    for tap in (
        "Watcher.on_enter",
        "XraySpan.end",
        "XrayTracer._start",
        "enter",
        "_watched.<locals>.make.<locals>.left",
    ):
        assert tap in found["broken"], list(found["broken"])

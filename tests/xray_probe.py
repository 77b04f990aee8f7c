"""A process of its own for tests of the x-ray: Pydantic asks for its plugins once, at its first validator.

    python -m tests.xray_probe '{"app": "tests.xray_probe:app", "requests": [...], "faults": false}'

Starts the app under the x-ray, asks it, and prints what was answered and what was seen, as JSON. (Its
own app is made on demand, so that nothing of FastAPI is imported before the x-ray is.)
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any


def probe(app: str, *requests: str, **options: Any) -> dict[str, Any]:
    """The test's side: runs all that in a process, and gives what it printed."""
    order = json.dumps({"app": app, "requests": requests, **options})
    done = subprocess.run([sys.executable, "-m", __name__, order], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def full_app() -> Any:  # noqa: C901
    """One of each thing that FastAPI has."""
    from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
    from fastapi.middleware.gzip import GZipMiddleware
    from fastapi.responses import StreamingResponse
    from opentelemetry import trace
    from pydantic import BaseModel, Field
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.types import ASGIApp, Receive, Scope, Send

    class Prompt(BaseModel):
        text: str = Field(min_length=2)

    class Verdict(BaseModel):
        label: str
        score: float

    class Stamp:
        """A middleware."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    def quota() -> int:
        return 10

    async def session() -> AsyncIterator[str]:
        yield "opened"

    def lock() -> Iterator[str]:
        yield "locked"

    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=10_000)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(Stamp)

    @app.post("/predict")
    async def predict(
        prompt: Prompt,
        background: BackgroundTasks,
        limit: Annotated[int, Depends(quota)],
        opened: Annotated[str, Depends(session)],
        locked: Annotated[str, Depends(lock)],
        top_k: int = 1,
    ) -> Verdict:
        background.add_task(len, "later")
        tracer = trace.get_tracer("model")
        rider = trace.get_current_span().get_span_context()
        trace.get_current_span().add_event("model.queued", {"waiting": 0})
        with tracer.start_as_current_span("gpu.forward", links=[trace.Link(rider)], attributes={"batch.size": 1}):
            pass
        return Verdict(label=prompt.text, score=top_k / limit)

    @app.get("/sync")
    def sync(n: int = 1) -> dict[str, int]:
        return {"n": n}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for number in range(5):
                yield f"{number}\n"

        return StreamingResponse(pieces())

    @app.get("/refuse")
    async def refuse() -> None:
        raise HTTPException(403)

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("division by zero")  # the line that tests look for

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(f"you said {await socket.receive_text()}")
        await socket.close()

    return app


def chat_app() -> Any:
    """The inference app, with an engine that says the same to everybody."""
    from types import SimpleNamespace

    from examples.inference.main import create_app
    from examples.inference.settings import Settings

    from .fake_engine import FakeEngine

    return create_app(Settings(), FakeEngine(), SimpleNamespace(name="none", load=lambda: None))


def plain_app() -> Any:
    """Starlette alone."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("home")

    return Starlette(routes=[Route("/", home)], middleware=[Middleware(GZipMiddleware)])


def sdk_app() -> Any:
    """One that has brought an SDK of OpenTelemetry, and its own span."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    return full_app()


def main(order: dict[str, Any]) -> None:
    from miniasgi.xray import quiet

    from .test_xray_server import unseen
    from .vocabulary import eventually, logged, serving

    real, called = quiet.call, dict[str, None]()

    def note(function: Any, *args: Any, **kwargs: Any) -> Any:
        called[function.__qualname__] = None
        if function.__qualname__ == order.get("broken"):
            raise RuntimeError("a broken tap")
        return real(function, *args, **kwargs)

    def talk() -> tuple[list[str], Any]:
        with serving(order["app"], make=unseen, factory=True, date_header=False, timeout_keep_alive=0.3) as server:
            answers = [server.connect().send(data.encode("latin-1")).read_all() for data in order["requests"]]
            if "broken" not in order:
                recorder = server.server.recorder  # type: ignore[attr-defined]
                eventually(lambda: sum(t.done for t in recorder.traces) >= len(order["requests"]))
            return [answer.decode("latin-1") for answer in answers], server.server

    quiet.call = note
    with logged() as lines:
        answers, server = talk()
    broken = {}
    for tap in called if order.get("faults") else ():
        quiet._failed.clear()
        order["broken"] = tap
        found, _ = talk()
        broken[tap] = found == answers
    traces = [trace.json() for trace in server.recorder.traces]
    print(json.dumps({"answers": answers, "taps": server.taps, "traces": traces, "broken": broken, "log": lines}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""Apps of FastAPI, Starlette and Django, and httpx and curl as clients: what people will run it with."""

import asyncio
import contextlib
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import django
import httpx
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.responses import StreamingResponse as FastAPIStreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from miniasgi.types import App

from .test_xray_server import over, watching
from .vocabulary import (
    PATIENCE,
    START,
    Client,
    Gate,
    Recorder,
    Running,
    answer,
    body,
    echo,
    eventually,
    get,
    logged,
    post,
    sends,
    serving,
)

Serve = Callable[..., Running]
SOON = 0.5  # seconds that work may go on for a client that has left


def httpx_client(server: Running) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=PATIENCE)


def routes(*endpoints: Callable[..., Any], methods: tuple[str, ...] = ("GET",)) -> list[Route]:
    """Each at the path of its name."""
    return [Route(f"/{endpoint.__name__}", endpoint, methods=list(methods)) for endpoint in endpoints]


# FastAPI


class Item(BaseModel):
    name: str
    price: float


def shop() -> FastAPI:
    app = FastAPI()

    def in_a_thread() -> str:
        return threading.current_thread().name

    async def in_the_loop() -> AsyncIterator[str]:
        yield threading.current_thread().name

    @app.get("/items/{number}")
    async def read(number: int, q: str = "nothing") -> dict[str, Any]:
        return {"number": number, "q": q}

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.get("/threads")
    def threads(
        request: FastAPIRequest, one: Annotated[str, Depends(in_a_thread)], two: Annotated[str, Depends(in_the_loop)]
    ) -> list[str]:
        return [one, two]

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("boom")

    return app


def test_fastapi_reads_and_validates(serve: Serve) -> None:
    with httpx_client(serve(shop())) as client:
        assert client.get("/items/7", params={"q": "é ü"}).json() == {"number": 7, "q": "é ü"}
        created = client.post("/items", json={"name": "tea", "price": 2.5})
        assert (created.status_code, created.json()) == (201, {"name": "tea", "price": 2.5})
        for refused in (client.get("/items/seven"), client.post("/items", json={"name": "tea"})):
            assert refused.status_code == 422
            assert refused.json()["detail"]
        assert client.get("/nowhere").status_code == 404


def test_fastapi_dependencies_run_in_threads_and_in_the_loop(serve: Serve) -> None:
    server = serve(shop())
    with httpx_client(server) as client:
        worker, loop = client.get("/threads").json()
    assert loop == server.thread.name
    assert worker != loop


def test_A8_what_fastapi_lets_through_is_logged_once_and_is_a_500(serve: Serve) -> None:
    with logged() as log, httpx_client(serve(shop())) as client:
        assert client.get("/broken").status_code == 500
        assert client.get("/items/1").status_code == 200
    assert [line for line in log if "failed" in line] == ["GET /broken: the app failed: RuntimeError('boom')"]


def test_background_tasks_run_after_the_response_and_hold_nobody(serve: Serve) -> None:
    app, gate, done = shop(), Gate(), threading.Event()

    async def work() -> None:
        await gate.wait()
        done.set()

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(work)
        return "accepted"

    client = serve(app).connect()
    assert client.ask(get("/background")).body == b'"accepted"'
    gate.reached()
    assert client.ask(get("/items/1")).status == 200  # on the same connection
    assert not done.is_set()
    gate.open()
    assert done.wait(PATIENCE)


# Clients that leave


class Ticks:
    """A stream that is silent for an hour after its first piece, and tells when it is ended."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield b"tick"
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def in_starlette(ticks: Ticks, **options: Any) -> App:
    async def stream(request: Request) -> Response:
        return StreamingResponse(aiter(ticks))

    return Starlette(routes=routes(stream), **options)


def in_fastapi(ticks: Ticks) -> App:
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> FastAPIStreamingResponse:
        return FastAPIStreamingResponse(aiter(ticks))

    return app


def behind_middleware(ticks: Ticks) -> App:
    return in_starlette(ticks, middleware=[Middleware(Stamp)])


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Callable[..., Any]) -> Response:
        response: Response = await call_next(request)
        response.headers["x-stamp"] = request.url.path
        return response


LEAVE = pytest.mark.parametrize("leave", [Client.close, Client.abort], ids=["FIN", "RST"])


@LEAVE
@pytest.mark.parametrize("framework", [in_starlette, in_fastapi, behind_middleware])
def test_H25_a_stream_is_cancelled_when_its_client_leaves(
    framework: Callable[[Ticks], App], leave: Callable[[Client], None], serve: Serve
) -> None:
    ticks = Ticks()
    client = serve(framework(ticks)).connect().send(get("/stream"))
    client.read_until(b"tick\r\n")
    leave(client)
    assert ticks.cancelled.wait(SOON)


@LEAVE
def test_H25_is_disconnected_can_be_asked_at_any_time(leave: Callable[[Client], None], serve: Serve) -> None:
    asked, heard = threading.Event(), threading.Event()

    async def poll(request: Request) -> Response:
        assert await request.body() == b"content"
        while not await request.is_disconnected():
            asked.set()
            await asyncio.sleep(0.005)
        heard.set()
        return Response()

    client = serve(Starlette(routes=routes(poll, methods=("POST",)))).connect()
    client.send(post(b"content", target="/poll"))
    assert asked.wait(PATIENCE)
    leave(client)
    assert heard.wait(SOON)


@LEAVE
@pytest.mark.parametrize("cancel", [True, False], ids=["cancel_on_disconnect", "default"])
def test_a_handler_is_cancelled_only_if_that_is_wished(
    cancel: bool, leave: Callable[[Client], None], serve: Serve
) -> None:
    app, waiting, ended = FastAPI(), threading.Event(), threading.Event()
    how: list[str] = []

    @app.post("/think")
    async def think(request: FastAPIRequest, item: Item) -> str:
        try:
            while cancel or not await request.is_disconnected():
                waiting.set()
                await asyncio.sleep(0.005)
            how.append("finished")
        except asyncio.CancelledError:
            how.append("cancelled")
            raise
        finally:
            ended.set()
        return "an answer for nobody"

    client = serve(app, cancel_on_disconnect=cancel).connect()
    client.send(post(b'{"name": "a", "price": 1}', "Content-Type: application/json", target="/think"))
    assert waiting.wait(PATIENCE)
    leave(client)
    assert ended.wait(SOON)
    assert how == ["cancelled" if cancel else "finished"]


# Starlette


def test_L6_what_the_lifespan_yields_is_the_state_of_requests(serve: Serve) -> None:
    ended = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"model": "loaded"}
        ended.set()

    async def model(request: Request) -> Response:
        return PlainTextResponse(request.state.model)

    server = serve(Starlette(routes=routes(model), lifespan=lifespan))
    assert server.ask(get("/model")).body == b"loaded"
    assert not ended.is_set()
    server.stop()
    assert ended.is_set()


def test_base_http_middleware_lets_content_through_both_ways(serve: Serve) -> None:
    async def upper(request: Request) -> Response:
        pieces = [piece.upper() async for piece in request.stream()]
        return StreamingResponse(iter(pieces))

    app = Starlette(routes=routes(upper, methods=("POST",)), middleware=[Middleware(Stamp)])
    with httpx_client(serve(app)) as client:
        for content in (b"abc", iter([b"a", b"b" * 300_000]), b""):
            reply = client.post("/upper", content=content)
            assert reply.headers["x-stamp"] == "/upper"
        assert client.post("/upper", content=iter([b"a", b"bc"])).content == b"ABC"


def test_E4_file_response(serve: Serve, tmp_path: Path) -> None:
    file, content = tmp_path / "file.bin", bytes(range(256)) * 8192
    file.write_bytes(content)

    async def download(request: Request) -> Response:
        return FileResponse(file)

    client = serve(Starlette(routes=routes(download, methods=("GET", "HEAD")))).connect()
    assert client.ask(get("/download")).body == content
    reply = client.ask(get("/download", method="HEAD"))
    assert reply.header(b"content-length") == b"%d" % len(content)
    part = client.ask(get("/download", "Range: bytes=100-299999"))
    assert (part.status, part.body) == (206, content[100:300_000])


# Django


async def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {request.GET.get('name')}")


def echo_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, headers={"x-thread": threading.current_thread().name})


async def count(request: HttpRequest) -> StreamingHttpResponse:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    return StreamingHttpResponse(numbers())


urlpatterns = [path("hello", hello), path("echo", echo_view), path("count", count)]


@pytest.fixture(scope="module")
def django_app() -> App:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", LOGGING_CONFIG=None)
        django.setup()
    app: App = get_asgi_application()
    return app


def test_L3_django_works_without_a_lifespan(django_app: App, serve: Serve) -> None:
    server = serve(django_app)
    with httpx_client(server) as client:
        assert client.get("/hello", params={"name": "wörld"}).text == "hello wörld"
        posted = client.post("/echo", content=b"x" * 100_000)
        assert posted.content == b"x" * 100_000
        assert posted.headers["x-thread"] != server.thread.name  # a sync view blocks nobody
        assert client.post("/echo", content=iter([b"ab", b"c"])).content == b"abc"
        assert client.get("/count").content == b"012"
        assert client.head("/hello").content == b""
        assert client.get("/nowhere").status_code == 404
    eventually(lambda: not server.service.tasks)  # Django still has to tidy up after its responses


def test_the_xray_of_django_lacks_only_what_is_not_there(django_app: App) -> None:
    with watching(django_app) as (server, recorder):
        assert server.ask(get("/hello")).status == 200
        [trace] = over(recorder)
    assert {hop.layer for hop in trace.hops} == {"socket", "parser", "server", "asgi"}
    assert trace.hops[-1].name == "finished"
    call = next(hop for hop in trace.hops if hop.name.startswith("await app"))
    assert str(call.where).startswith("django/core/handlers/asgi.py:")


# Real clients


def test_httpx_keeps_its_connection_and_streams_an_upload(serve: Serve) -> None:
    app = Recorder()
    server = serve(app)

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    with httpx_client(server) as client:
        assert client.post("/", content=pieces()).content == b"x" * 500_000
        assert (b"transfer-encoding", b"chunked") in app.scope["headers"]
        assert client.post("/", content=b"small").content == b"small"
        assert client.get("/a%20b?c=%20").content == b""
        assert app.scope["path"] == "/a b"
    assert len({tuple(scope["client"]) for scope in app.scopes}) == 1


def test_httpx_reads_a_stream_piece_by_piece() -> None:
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send(START)
        await send(body(b"first", more=True))
        await gate.wait()
        await send(body(b"last"))

    with serving(app) as server, httpx_client(server) as client, client.stream("GET", "/") as reply:
        pieces = reply.iter_raw()
        assert next(pieces) == b"first"
        gate.open()
        assert list(pieces) == [b"last"]


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def curl(server: Running, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "-sS", "-q", "--noproxy", "*", "--max-time", f"{PATIENCE:g}", *arguments]
    url = f"http://127.0.0.1:{server.port}/"
    done = subprocess.run([*command, url], input=data, capture_output=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done


@needs_curl
def test_curl_waits_for_100_continue(serve: Serve) -> None:
    waits = ("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "60")
    done = curl(serve(echo), *waits, "--data-binary", "@-", data=b"x" * 3_000_000)
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert done.stdout == b"x" * 3_000_000


@needs_curl
def test_curl_asks_for_a_HEAD(serve: Serve) -> None:
    done = curl(serve(answer(b"content")), "--head")
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 7\r\n" in done.stdout


@needs_curl
def test_curl_speaks_http_1_0(serve: Serve) -> None:
    server = serve(sends(START, body(b"a", more=True), body(b"b" * 100_000, more=True), body()))
    done = curl(server, "--http1.0", "--include")
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    assert content == b"a" + b"b" * 100_000
    assert b"chunked" not in head


@needs_curl
def test_curl_uploads_what_it_does_not_know_the_length_of(serve: Serve) -> None:
    assert curl(serve(echo), "-T", "-", data=b"x" * 300_000).stdout == b"x" * 300_000


@needs_curl
def test_curl_speaks_to_a_unix_socket(tmp_path: Path) -> None:
    with serving(answer(b"over a path"), uds=str(tmp_path / "s")):
        command = ["curl", "-sS", "-q", "--max-time", f"{PATIENCE:g}", "--unix-socket", str(tmp_path / "s")]
        assert subprocess.check_output([*command, "http://localhost/"]) == b"over a path"

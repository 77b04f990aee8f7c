"""Middlewares by Starlette's public list."""

import functools
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from miniasgi.proxy import ProxyHeaders
from miniasgi.types import App, Receive, Scope, Send
from miniasgi.xray import middleware
from miniasgi.xray.recorder import Recorder

from .test_xray_server import over, watching
from .vocabulary import answer, get


class Plain:
    def __init__(self, app: App, word: str, *, often: int) -> None:
        self.app, self.word, self.often = app, word, often

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["word"] = self.word * self.often
        await self.app(scope, receive, send)


async def stamped(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def home(request: Request) -> PlainTextResponse:
    if request.url.path == "/crash":
        raise ValueError("no")
    return PlainTextResponse(request.scope["word"])


def app() -> Starlette:
    layers = [Middleware(Plain, "so", often=2), Middleware(BaseHTTPMiddleware, dispatch=stamped)]
    return Starlette(routes=[Route("/{path:path}", home)], middleware=layers)


def test_each_is_a_hop_inside_of_the_one_before() -> None:
    with watching(app()) as (server, recorder):
        assert server.ask(get()).body == b"soso"
        [trace] = over(recorder)
    outer, inner = [hop for hop in trace.hops if hop.layer == "middleware"]
    assert (outer.name, inner.name) == ("Plain", "BaseHTTPMiddleware(stamped)")
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns  # type: ignore[operator]
    assert outer.where is not None
    assert outer.where.line == Plain.__call__.__code__.co_firstlineno
    assert inner.where is not None
    assert inner.where.line == stamped.__code__.co_firstlineno


def test_what_passes_through_fails_them() -> None:
    with watching(app()) as (server, recorder):
        assert server.ask(get("/crash")).status == 500
        [trace] = over(recorder)
    assert all(hop.failed for hop in trace.hops if hop.layer == "middleware")


@pytest.mark.parametrize("wrap", [lambda app: app, lambda app: ProxyHeaders(app, "*")])
def test_the_list_is_found_behind_what_is_around_it(wrap: Any) -> None:
    assert middleware.watch(wrap(app()), Recorder()) == 2
    assert middleware.watch(wrap(answer()), Recorder()) == 0


class Limiter:
    """A dispatch function that is an object, and has no name."""

    async def __call__(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def test_a_middleware_without_a_name_works_on() -> None:
    layers = [Middleware(functools.partial(Plain, word="x", often=3))]
    layers.append(Middleware(BaseHTTPMiddleware, dispatch=Limiter()))
    with watching(Starlette(routes=[Route("/", home)], middleware=layers)) as (server, recorder):
        assert server.ask(get()).body == b"xxx"
        [trace] = over(recorder)
    assert [hop.name for hop in trace.hops if hop.layer == "middleware"] == ["partial", "BaseHTTPMiddleware(Limiter)"]

"""Exercises of chapter 11."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from miniasgi.lifespan import Lifespan, LifespanFailure

PATIENCE = 10.0  # seconds, for who would wait for ever


class Resource:
    """Something to be opened and closed; fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.log: list[str] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self._do("open")
        try:
            yield "a pool"
        finally:
            self._do("close")

    def _do(self, what: str) -> None:
        if what == self.fails:
            raise OSError(f"cannot {what}")
        self.log.append(what)


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An app that knows no lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})


async def test_a_resource_lives_as_long_as_the_server(chapter: ModuleType) -> None:
    resource, lifespan = Resource(), Lifespan("on")
    app = chapter.with_lifespan(plain, resource)
    await asyncio.wait_for(lifespan.startup(app), PATIENCE)
    assert (lifespan.state, resource.log) == ({"resource": "a pool"}, ["open"])
    await asyncio.wait_for(lifespan.shutdown(), PATIENCE)
    assert resource.log == ["open", "close"]


async def test_requests_are_passed_on(chapter: ModuleType) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await chapter.with_lifespan(plain, Resource())({"type": "http"}, None, send)
    assert sent == [{"type": "http.response.start", "status": 200}]


async def test_a_resource_that_cannot_be_opened_is_a_failed_startup(chapter: ModuleType) -> None:
    lifespan = Lifespan("auto")
    with pytest.raises(LifespanFailure, match="cannot open"):
        await asyncio.wait_for(lifespan.startup(chapter.with_lifespan(plain, Resource("open"))), PATIENCE)


async def test_a_resource_that_cannot_be_closed_is_a_failed_shutdown(
    chapter: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    lifespan = Lifespan("auto")
    await asyncio.wait_for(lifespan.startup(chapter.with_lifespan(plain, Resource("close"))), PATIENCE)
    await asyncio.wait_for(lifespan.shutdown(), PATIENCE)
    assert "shutdown failed: cannot close" in caplog.text


def saying(*kinds: str, raises: bool = False, waits: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        assert await receive() == {"type": "lifespan.startup"}
        for kind in kinds:
            await send({"type": kind})
        if raises:
            raise RuntimeError("on purpose")
        if waits:
            await receive()

    return app


@pytest.mark.parametrize(
    "app, expected",
    [
        (saying("lifespan.startup.complete", waits=True), "lifespan.startup.complete"),
        (saying("lifespan.startup.complete"), "lifespan.startup.complete"),
        (saying("lifespan.startup.failed"), "lifespan.startup.failed"),
        (saying("lifespan.startup.failed", raises=True), "lifespan.startup.failed"),
        (saying(raises=True), "raised"),
        (saying(), "returned"),
        (plain, "raised"),
    ],
    ids=["waits", "complete", "failed", "failed and raised", "raised", "returned", "no lifespan"],
)
async def test_an_app_is_asked(chapter: ModuleType, app: Any, expected: str) -> None:
    assert await asyncio.wait_for(chapter.ask(app), PATIENCE) == expected
    assert asyncio.all_tasks() == {asyncio.current_task()}

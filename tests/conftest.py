"""Fixtures: every parser with every event loop, servers that end with their test, a browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .browser import MISSING, Browser, chromium
from .vocabulary import KINDS, LOOPS, PARSERS, Running, logged, serving


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A parser and an event loop."""
    return request.param


@pytest.fixture(params=PARSERS)
def http(request: pytest.FixtureRequest) -> str:
    """A parser, where the event loop makes no difference."""
    return request.param


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """An event loop, where the parser makes no difference."""
    return request.param


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines of the error log."""
    with logged() as lines:
        yield lines


@pytest.fixture
def serve(kind: tuple[str, str]) -> Iterator[Callable[..., Running]]:
    """`serve(app, **options)` starts a server of this kind; it ends with the test."""
    with ExitStack() as stack:

        def start(app: Any, **options: Any) -> Running:
            options = {"http": kind[0], "loop": kind[1]} | options
            return stack.enter_context(serving(app, **options))

        yield start


@pytest.fixture(scope="session")
def one_browser() -> Iterator[Browser]:
    """To start one takes longer than most tests."""
    if MISSING:
        pytest.skip(MISSING)
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """A person's browser, which has complained about nothing that the test has not read."""
    try:
        yield one_browser
        assert one_browser.complaints() == []
    finally:
        one_browser.forget()

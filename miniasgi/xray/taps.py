"""The taps that go with any server: around an app, and in the libraries that it is made with.

Owns their order: Pydantic's plugin comes before the app is imported, all else after it. A tap that cannot
be had is said, and the others see on. Knows no server.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from ..types import App
from . import calls, middleware, validation
from .door import Door
from .recorder import Recorder


def tapped(load: Callable[[], App], recorder: Recorder) -> tuple[Door, dict[str, str]]:
    """The app that `load` gives, behind a door; and why those taps that are off are off."""
    taps: dict[str, str] = {}

    def put_in(name: str, put: Callable[[], Any]) -> None:
        try:
            put()
            taps[name] = ""
        except Exception as error:
            taps[name] = str(error)

    put_in("pydantic", lambda: validation.announce(recorder))
    app = load()
    door = Door(app, recorder)
    put_in("middleware", lambda: middleware.watch(app, recorder))
    put_in("calls", lambda: calls.watch(app, recorder))
    put_in("opentelemetry", lambda: _listen_to_spans(door))
    return door, taps


def _listen_to_spans(door: Door) -> None:
    if importlib.util.find_spec("opentelemetry") is None:
        raise RuntimeError("opentelemetry-api is not installed")
    spans = importlib.import_module(".spans", __package__)  # not before: the app may configure what it imports
    spans.install(door.recorder)
    door.on_enter.append(functools.partial(spans.enter, door.recorder))

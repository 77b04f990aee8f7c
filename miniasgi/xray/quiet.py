"""A tap must never reach the request: what it raises ends here, with one line in the log."""

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger("miniasgi.error")

P = ParamSpec("P")
R = TypeVar("R")

_failed: set[str] = set()  # said once each: a broken tap breaks at every request


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a tap. The tests put faults in here."""
    return function(*args, **kwargs)


def quiet(function: Callable[P, R]) -> Callable[P, R | None]:
    """Makes a tap of a function: one hop less, and None, instead of an exception."""

    @functools.wraps(function)
    def tap(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return call(function, *args, **kwargs)  # type: ignore[no-any-return]
        except Exception as error:
            if function.__qualname__ not in _failed:
                _failed.add(function.__qualname__)
                logger.warning("x-ray: %s failed, its hops are missing: %r", function.__qualname__, error)
            return None

    return tap

"""Every call of the app's endpoints and dependencies: started, suspended, resumed, over, in which thread.

Owns a tool of `sys.monitoring` (PEP 669, Python 3.12 and later) that listens to the code of these
functions alone, so that nothing else gets slower. Knows the routes of Starlette and FastAPI, and no
message.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from types import CodeType
from typing import Any

from .model import Hop, Trace, place_of
from .quiet import quiet
from .recorder import Recorder

_TOOLS = (3, 4)  # the other four of six are for debuggers, coverage, profilers and optimizers


def watch(app: Any, recorder: Recorder) -> int:
    """Watches the functions of an app's routes; gives how many there are.

    RuntimeError if this Python cannot, or others have taken all tools.
    """
    if sys.version_info < (3, 12):
        raise RuntimeError("it needs Python 3.12")
    codes = {code: function for function in _functions(app) if (code := getattr(function, "__code__", None))}
    monitoring = sys.monitoring
    tool = next((tool for tool in _TOOLS if monitoring.get_tool(tool) in (None, "miniasgi")), None)
    if tool is None:
        raise RuntimeError("others have taken all tools of sys.monitoring")
    if monitoring.get_tool(tool) is None:
        monitoring.use_tool_id(tool, "miniasgi")
    watcher, events = Watcher(codes, recorder), monitoring.events
    for event, callback in (
        (events.PY_START, watcher.started),
        (events.PY_YIELD, watcher.suspended),
        (events.PY_RESUME, watcher.resumed),
        (events.PY_RETURN, watcher.returned),
        (events.PY_UNWIND, watcher.raised),
    ):
        monitoring.register_callback(tool, event, callback)
    for code in codes:
        monitoring.set_local_events(tool, code, events.PY_START | events.PY_YIELD | events.PY_RESUME | events.PY_RETURN)
    monitoring.set_events(tool, events.PY_UNWIND)  # there is no local one
    return len(codes)


@dataclass(slots=True)
class _Call:
    trace: Trace
    hop: Hop
    waits: int = 0
    waited_ns: int = 0
    since_ns: int = 0


class Watcher:
    """What `sys.monitoring` calls, from within the function that it tells of."""

    def __init__(self, codes: dict[CodeType, Any], recorder: Recorder) -> None:
        self._codes = codes
        self._recorder = recorder
        self._calls: dict[int, _Call] = {}  # by the identity of the frame, which lives as long as the call

    def started(self, code: CodeType, offset: int) -> None:
        self._started(id(sys._getframe(1)), code)

    def suspended(self, code: CodeType, offset: int, value: Any) -> None:
        self._suspended(id(sys._getframe(1)), code, value)

    def resumed(self, code: CodeType, offset: int) -> None:
        self._resumed(id(sys._getframe(1)))

    def returned(self, code: CodeType, offset: int, value: Any) -> None:
        self._ended(id(sys._getframe(1)), None, value)

    def raised(self, code: CodeType, offset: int, error: BaseException) -> None:
        if code in self._codes:
            self._ended(id(sys._getframe(1)), error, None)

    @quiet
    def _started(self, frame: int, code: CodeType) -> None:
        if (trace := self._recorder.active()) is not None:
            hop = trace.begin("app", f"{code.co_name}()", place_of(self._codes[code]))
            self._calls[frame] = _Call(trace, hop)

    @quiet
    def _suspended(self, frame: int, code: CodeType, value: Any) -> None:
        call = self._calls.get(frame)
        if call is None:
            return
        is_await = not code.co_flags & inspect.CO_GENERATOR
        if code.co_flags & inspect.CO_ASYNC_GENERATOR:  # either, and only C knows what it wraps
            is_await = type(value).__name__ != "async_generator_wrapped_value"
        if is_await:
            call.since_ns = perf_counter_ns()
            call.waits += 1
        elif call.hop.end_ns is None:  # what comes after the first `yield` is for the end of the request
            self._end(call, None, None)

    @quiet
    def _resumed(self, frame: int) -> None:
        call = self._calls.get(frame)
        if call is not None and call.since_ns:
            call.waited_ns += perf_counter_ns() - call.since_ns
            call.since_ns = 0

    @quiet
    def _ended(self, frame: int, error: BaseException | None, value: Any) -> None:
        call = self._calls.pop(frame, None)
        if call is not None and call.hop.end_ns is None:
            self._end(call, error, value)

    def _end(self, call: _Call, error: BaseException | None, value: Any) -> None:
        waited = f"{call.waits} times, {call.waited_ns // 1000} us" if call.waits else None
        call.trace.end(call.hop, error, suspended=waited, returned=value)


def _functions(app: Any) -> Iterator[Callable[..., Any]]:
    """All endpoints and dependencies of an app, in whatever it is wrapped."""
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "app", None)
    for route in getattr(app, "routes", ()):
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(inner, "routes"):
            yield from _functions(inner)
        yield from _dependencies(getattr(route, "dependant", None))
        if (endpoint := getattr(route, "endpoint", None)) is not None:
            yield _plain(endpoint)


def _dependencies(dependant: Any) -> Iterator[Callable[..., Any]]:
    for member in getattr(dependant, "dependencies", ()):
        if member.call is not None:
            yield _plain(member.call)
        yield from _dependencies(member)


def _plain(function: Any) -> Any:
    """The function behind a partial, a decorator or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__code__") else getattr(type(function), "__call__", function)  # noqa: B004

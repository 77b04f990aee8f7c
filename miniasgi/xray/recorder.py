"""The traces of a process: begins and ends them, keeps the last ones, and tells who wants to know.

Owns which trace a scope, a task or a span belongs to. A request is tied to its trace by its scope; a
context variable is set only at the app's door, as contexts leak between connections
(github.com/python/cpython/issues/140947). Knows no tap and no output.
"""

import contextlib
import itertools
import re
import secrets
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from weakref import WeakValueDictionary

from ..types import Scope
from .model import MOST_HOPS, Hop, Trace

MOST_HOPS_KEPT = 20 * MOST_HOPS  # of all traces: each hop of a stream may be some KiB

# W3C Trace Context, section 3.2: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

current: ContextVar[Trace | None] = ContextVar("miniasgi.xray", default=None)
"""The trace that the app works for; set at its door, and inherited by its tasks and threads."""


class Recorder:
    """Keeps the last requests, newest last. `listeners` are called with each trace that changes."""

    def __init__(self, kept: int = 200) -> None:
        self.kept = kept
        self.traces: deque[Trace] = deque()
        self.listeners: set[Callable[[Trace], None]] = set()
        self.spans: WeakValueDictionary[int, Trace] = WeakValueDictionary()  # by the ids of OpenTelemetry
        self._numbers = itertools.count(1)
        self._scopes: dict[int, tuple[Scope, Trace]] = {}  # with the scope, as its id is its own only while it lives
        self._open: dict[Trace, set[str]] = {}  # what has to end before the trace does

    def begin(
        self, connection: str, title: str, headers: Iterable[tuple[bytes, bytes]] = (), hops: Iterable[Hop] = ()
    ) -> Trace:
        """A new trace; `hops` were seen before anybody knew what they belong to."""
        found = next((_TRACEPARENT.fullmatch(value) for name, value in headers if name == b"traceparent"), None)
        ident = found[1].decode() if found else secrets.token_hex(16)
        trace = Trace(ident, next(self._numbers), connection, changed=self._changed)
        query = title.partition("?")[2].encode("latin-1", "replace")
        trace.secrets.learn([*headers, *urllib.parse.parse_qsl(query)])  # bytes, as those are
        trace.title = trace.secrets.mask(title)
        for hop in hops:
            size = hop.size  # of all bytes; only some were kept
            trace.describe(hop, hop.raw, **hop.data)  # with what is known to be secret now
            hop.size, hop.name = size, trace.secrets.mask(hop.name)
            trace.hops.append(hop)
        self.traces.append(trace)
        while len(self.traces) > self.kept or (len(self.traces) > 1 and self._hops() > MOST_HOPS_KEPT):
            # The oldest, but rather one that is over.
            self._forget(next((old for old in self.traces if old.done), self.traces[0]))
        self._changed(trace)
        return trace

    def _hops(self) -> int:
        return sum(len(trace.hops) for trace in self.traces)

    def bind(self, scope: Scope, trace: Trace) -> None:
        """The app will be called with this scope: the trace ends when both its call and its response have."""
        self._scopes[id(scope)] = scope, trace
        self._open[trace] = {"call", "response"}

    def trace_of(self, scope: Scope) -> Trace | None:
        """That of a scope which the server has bound."""
        return self._scopes.get(id(scope), (None, None))[1]

    def active(self) -> Trace | None:
        """That of the request which the present task or thread works for; None if it is answered."""
        trace = current.get()
        return trace if trace is not None and not trace.done else None

    def settle(self, trace: Trace, *parts: str) -> None:
        """The "call" of the app, or the "response", is over; the trace, when both are."""
        waiting = self._open.get(trace, set())
        waiting.difference_update(parts)
        if not waiting and not trace.done:
            trace.done = True
            self._unbind(trace)
            self._changed(trace)

    def _unbind(self, trace: Trace) -> None:
        self._open.pop(trace, None)
        for ident, (_, bound) in list(self._scopes.items()):
            if bound is trace:
                del self._scopes[ident]

    def _forget(self, trace: Trace) -> None:
        """Also if it will never be over, as a tap was broken, say."""
        self.traces.remove(trace)
        self._unbind(trace)

    def find(self, ident: str) -> Trace | None:
        """The newest trace with this id."""
        return next((trace for trace in reversed(self.traces) if trace.id == ident), None)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Trace], None]) -> Iterator[None]:
        """Calls `listener` meanwhile, in whatever thread a trace changes."""
        self.listeners.add(listener)
        try:
            yield
        finally:
            self.listeners.discard(listener)

    def _changed(self, trace: Trace) -> None:
        for listener in tuple(self.listeners):
            listener(trace)


def title_of(scope: Scope) -> str:
    """`POST /predict?top_k=3`, or `WebSocket /chat`."""
    method = scope.get("method", "WebSocket")
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    return f"{method} {(scope.get('raw_path') or scope['path'].encode()).decode('latin-1')}{query.decode('latin-1')}"

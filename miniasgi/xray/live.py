"""The live page: what the recorder keeps, in a browser, while it happens.

Owns a port of its own on this machine, and who may ask there for what: whoever knows the address, which
has a random token in it. Requests hold secrets, so other web sites must not read them, nor reach this
server under a name of theirs. Knows no tap. It is served by miniasgi itself, unwatched.
"""

import asyncio
import contextlib
import functools
import json
import secrets
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from weakref import WeakSet

from ..config import Config
from ..connection import Connection
from ..service import Service
from ..types import Receive, Scope, Send
from .model import Place, Trace
from .page import HTML, policy, source_json, trace_json
from .recorder import Recorder, current
from .stack import await_chain, heirs

_PAUSE = 0.1  # seconds between two events of a stream
_RETRY = 1000  # ms until a browser that lost the stream asks for it again

_JSON, _EVENTS, _PAGE, _TEXT = "application/json", "text/event-stream", "text/html; charset=utf-8", "text/plain"
_HEADERS = [
    (b"content-security-policy", policy("connect-src 'self'", "frame-ancestors 'none'").encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class LivePage:
    """`await start()` gives the address, `await stop()` ends everything at once."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.address = ""
        self._token = secrets.token_urlsafe()
        self._hosts: tuple[str, ...] = ()
        self._server: asyncio.Server
        self._service: Service

    async def start(self) -> str:
        """Listens on a free port of this machine alone."""
        config = Config(self, lifespan="off", ws="none", cancel_on_disconnect=True)
        self._service = config.service(self, {})
        # Not with `sockets.bind`: that would take what systemd passes, which is for the app.
        loop, factory = asyncio.get_running_loop(), functools.partial(Connection, self._service)
        self._server = await loop.create_server(factory, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.address = f"http://127.0.0.1:{port}/{self._token}/"
        return self.address

    async def stop(self) -> None:
        """Closes the port, and every stream."""
        self._server.close()
        for connection in list(self._service.connections):
            connection.leave()  # cancels the task
            connection.abort()
        if self._service.tasks:
            await asyncio.wait(list(self._service.tasks))
        await asyncio.sleep(0)  # for connection_lost

    def url_of(self, trace: Trace) -> str:
        """The address of the page that shows this trace."""
        return f"{self.address}#{trace.id}"

    # The app:

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, kind, content = self._answer(scope)
        headers = [(b"content-type", kind.encode()), *_HEADERS]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if kind == _EVENTS and scope["method"] == "GET":
            async with contextlib.aclosing(self._events()) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": content.encode()})

    def _answer(self, scope: Scope) -> tuple[int, str, str]:
        """Status, type and content of the response; that of a stream is still to come."""
        if dict(scope["headers"]).get(b"host", b"").decode("latin-1") not in self._hosts:
            return _refusal(HTTPStatus.FORBIDDEN)  # somebody else's name for 127.0.0.1: DNS rebinding
        token, slash, path = scope["path"][1:].partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return _refusal(HTTPStatus.NOT_FOUND)
        if scope["method"] not in ("GET", "HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        if slash and not path:
            return HTTPStatus.OK, _PAGE, HTML
        if path == "events":
            return HTTPStatus.OK, _EVENTS, ""
        found = self._find(path, dict(parse_qsl(scope["query_string"].decode("latin-1"))))
        return _refusal(HTTPStatus.NOT_FOUND) if found is None else (HTTPStatus.OK, _JSON, json.dumps(found))

    def _find(self, path: str, query: dict[str, str]) -> Any:
        """What there is to know of a trace, or of a line of source; None if there is none."""
        what, _, name = path.partition("/")
        if path == "source":
            return self._source(query.get("file", ""), query.get("line", ""))
        trace = self._trace(name)
        if trace is not None and what == "trace":
            return trace_json(trace)
        if trace is not None and what == "stack":
            return _chains(trace)
        return None

    def _trace(self, name: str) -> Trace | None:
        """The trace with this number, or the newest one with this id: two clients may send the same."""
        numbered = (trace for trace in self.recorder.traces if str(trace.number) == name)
        return next(numbered, None) or self.recorder.find(name)

    def _source(self, file: str, line: str) -> dict[str, Any] | None:
        """Only of places that somebody sees anyway: this is no file server."""
        hops = (hop for trace in list(self.recorder.traces) for hop in list(trace.hops))
        places = (hop.where for hop in hops if hop.where is not None)
        named = next((place for place in places if place.file == file and str(place.line) == line), None)
        return source_json(Place(*named)) if named is not None else None

    async def _events(self) -> AsyncGenerator[bytes, None]:
        """All traces in short, then again and again those that have changed; none while nothing does."""
        changes = Changes()
        with self.recorder.listening(changes.note):
            requests = [trace.summary() for trace in list(self.recorder.traces)]
            everything = {"kept": self.recorder.kept, "requests": requests}
            yield b"retry: %d\nevent: all\n%b" % (_RETRY, _data(everything))
            while True:
                changed = await changes.take()
                yield b"event: changed\n" + _data([trace.summary() for trace in changed])
                await asyncio.sleep(_PAUSE)


class Changes:
    """What has changed since one reader asked last; it may ask as seldom as it likes.

    Holds traces no longer than the recorder does: a reader that does not read costs no memory.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._traces: WeakSet[Trace] = WeakSet()
        self._told = False  # a loop need not be woken up twice
        self._event = asyncio.Event()

    def note(self, trace: Trace) -> None:
        """This one has changed. Called in any thread: each step here is one of the interpreter's."""
        self._traces.add(trace)
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._event.set)

    async def take(self) -> list[Trace]:
        """Those that have changed, oldest first; waits for one."""
        taken: set[Trace] = set()
        while not taken:
            await self._event.wait()
            self._event.clear()
            self._told = False  # before the traces are taken, lest a change in between be forgotten
            while self._traces:
                with contextlib.suppress(KeyError):  # it was the last, and is gone
                    taken.add(self._traces.pop())
        return sorted(taken, key=lambda trace: trace.number)


def _chains(trace: Trace) -> list[list[dict[str, str | bool]]]:
    """Where each task is that works for this request; those that are in the app's own code come first.

    An app that streams has started a second one, while the first listens for the end.
    """
    chains = [await_chain(task) for task in dict.fromkeys([*trace.tasks, *heirs(current, trace)])]
    chains.sort(key=lambda chain: not any(step.is_apps for step in chain))
    return [[step.json() for step in chain] for chain in chains if chain]


def _data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _refusal(status: HTTPStatus) -> tuple[int, str, str]:
    return status, _TEXT, status.phrase

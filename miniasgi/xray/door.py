"""The app's door: every ASGI message that passes it, and the call of the app itself.

Owns the one tap that needs nothing but the specification, so it works with any app and any server.
Knows no socket and no parser: a server that we watch has bound its scopes to traces; for any other
one, a trace begins here.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from ..scope import client_name
from ..types import App, Message, Receive, Scope, Send
from ..watchdog import is_apps
from .model import Hop, Place, Trace, place_of
from .quiet import quiet
from .recorder import Recorder, current, title_of
from .secrets import Stream, is_secret

TURN = "event loop: the task waits its turn"

_SHOWN = ("status", "headers", "more_body", "code", "reason", "subprotocol", "trailers", "links", "path", "text")


class Door:
    """An app, seen from outside."""

    def __init__(self, app: App, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder
        self.on_enter: list[Callable[[Trace, Scope], object]] = []  # called in the app's task
        self.on_start: list[Callable[[Trace, Message], Message | None]] = []  # may change http.response.start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = None if scope["type"] == "lifespan" else self._visit(scope, receive, send)
        if visit is None:
            await self.app(scope, receive, send)
            return
        # Not reset: this is the task's own context, and what it started goes on working for the request.
        current.set(visit.trace)
        for enter in self.on_enter:
            enter(visit.trace, scope)
        try:
            await self.app(scope, visit.receive, visit.send)
        except BaseException as error:
            visit.left(error)
            raise
        visit.left(None)

    @quiet
    def _visit(self, scope: Scope, receive: Receive, send: Send) -> "Visit":
        trace = self.recorder.trace_of(scope)
        watched = trace is not None
        if trace is None:
            trace = self.recorder.begin(client_name(scope), title_of(scope), scope["headers"])
            self.recorder.bind(scope, trace)
        return Visit(self, trace, scope, receive, send, watched)


class Visit:
    """One call of the app."""

    def __init__(self, door: Door, trace: Trace, scope: Scope, receive: Receive, send: Send, watched: bool) -> None:
        self.door, self.trace, self.scope, self.watched = door, trace, scope, watched
        self._receive, self._send = receive, send
        self._bytes_in, self._bytes_out = Stream(), Stream()
        for hop in trace.hops:
            if hop.name == TURN and hop.end_ns is None:
                trace.end(hop)
        if task := asyncio.current_task():
            trace.tasks.add(task)
        self.call = trace.begin(
            "asgi", "await app(scope, receive, send)", place_of(_apps_own(door.app)), **described(scope)
        )

    @quiet
    def left(self, error: BaseException | None) -> None:
        """The app has returned, or raised."""
        trace = self.trace
        if isinstance(error, Exception):
            where = place_of_error(error)
            trace.instant("app", f"raised {type(error).__name__}", where, error=error).failed = True
        trace.end(self.call, error)
        self.door.recorder.settle(trace, *(("call",) if self.watched else ("call", "response")))

    async def receive(self) -> Message:
        """The server's `receive`, and how long it took."""
        hop = self._receiving()
        try:
            message = await self._receive()
        except BaseException as error:
            self._ended(hop, error)
            raise
        self._received(hop, message)
        return message

    async def send(self, message: Message) -> None:
        """The server's `send`, and how long it took."""
        if isinstance(message.get("headers"), Iterator):  # the server needs them, too
            message = {**message, "headers": list(message["headers"])}
        if message.get("type") == "http.response.start":
            for change in self.door.on_start:
                message = change(self.trace, message) or message
        hop = self._sending(message)
        try:
            await self._send(message)
        except BaseException as error:
            self._ended(hop, error)
            raise
        self._ended(hop, None)

    @quiet
    def _receiving(self) -> Hop:
        return self.trace.begin("asgi", "receive", place_of(self._receive), waits=True)

    @quiet
    def _received(self, hop: Hop | None, message: Message) -> None:
        if hop is not None:
            hop.name = f"receive {message['type']}"
            self.trace.describe(hop, _content(message, self._bytes_in), **_details(message))
            self.trace.end(hop)

    @quiet
    def _sending(self, message: Message) -> Hop:
        trace, kind = self.trace, message.get("type")
        if kind in ("http.response.start", "websocket.accept"):
            if any(is_secret(name.decode("latin-1")) for name, _ in message.get("headers", ())):  # a new cookie, say
                trace.learn(message["headers"])
            trace.status = message.get("status", 101)
        return trace.begin(
            "asgi", f"send {kind}", place_of(self._send), _content(message, self._bytes_out), **_details(message)
        )

    @quiet
    def _ended(self, hop: Hop | None, error: BaseException | None) -> None:
        if hop is not None:
            self.trace.end(hop, error)


def _apps_own(app: Any) -> Any:
    """The app without what this server has put around it."""
    while type(app).__module__.startswith("miniasgi.") and hasattr(app, "app"):
        app = app.app
    return app


def described(scope: Scope) -> dict[str, Any]:
    """What of a scope is worth showing."""
    keys = ("type", "http_version", "method", "path", "query_string", "headers", "client", "server", "subprotocols")
    return {key: scope[key] for key in keys if key in scope}


def _details(message: Message) -> dict[str, Any]:
    return {key: message[key] for key in _SHOWN if key in message}


def _content(message: Message, stream: Stream) -> bytes | None:
    """The content of a message; that of HTTP is a piece of what comes in this direction."""
    body = message.get("body") or message.get("bytes")
    if not isinstance(body, bytes) or not body:
        return None
    return stream.mask(body) if "body" in message else body


def place_of_error(error: BaseException) -> Place | None:
    """The line of the app's own files that raised it, or let it through; else the innermost line."""
    places, tb = [], error.__traceback__
    while tb is not None:
        places.append(Place(tb.tb_frame.f_code.co_filename, tb.tb_lineno))
        tb = tb.tb_next
    return next((place for place in reversed(places) if is_apps(place.file)), places[-1] if places else None)

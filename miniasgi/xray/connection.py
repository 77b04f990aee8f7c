"""A connection, seen from outside: accepted, what was read, parsed, judged and written, and its end.

Owns the subclass of `Connection` that the server gets under the x-ray, and the look at its parser.
Knows no ASGI message: `door` sees those. Tells which bytes belong to which request: what comes
before a request's head is parsed is kept aside until the head says whose it is.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

from ..connection import Connection, Input
from ..cycle import Cycle
from ..events import BadRequest, Body, Event, Request
from ..rules import judge
from ..scope import client_name
from ..service import Parser, Service
from .door import TURN, described
from .model import MOST_BYTES, Hop, place_of
from .quiet import quiet
from .recorder import Recorder
from .secrets import Stream
from .websocket import WatchedWebSocket

_RTT_AT, _TCP_INFO_SIZE = 68, 104  # bytes, of Linux' struct tcp_info


class WatchedParser:
    """A parser, with a look at the clock around each of its events."""

    def __init__(self, parser: Parser, connection: "WatchedConnection") -> None:
        self._parser = parser
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The parser's events, each as soon as it is there."""
        events = iter(self._parser.feed(data))
        while True:
            start = perf_counter_ns()
            try:
                event = next(events)
            except StopIteration:
                return
            except BadRequest as error:
                self._connection.on_parsed(start, error)
                raise
            self._connection.on_parsed(start, event)
            yield event


class WatchedConnection(Connection):
    """A connection whose hops are kept."""

    websocket_class = WatchedWebSocket
    recorder: Recorder

    @classmethod
    def for_recorder(cls, recorder: Recorder) -> "type[WatchedConnection]":
        """The class for a server of its own: the server makes connections, and knows no recorder."""
        return type(cls.__name__, (cls,), {"recorder": recorder})

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._feed_place = place_of(type(self.parser).feed)
        self.parser = WatchedParser(self.parser, self)
        self.trace: Any = None  # of the request that is being read or answered
        self._early: list[Hop] = []  # seen before anybody knew of which request
        self._latest: Hop | None = None  # read: it may hold more than one request
        self._bytes, self._content_seen, self._bytes_out = Stream(), Stream(), Stream()

    # The transport's side:

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._on_accepted()

    @quiet
    def _on_accepted(self) -> None:
        now = perf_counter_ns()
        data = {"client": client_name(self._scope), "tcp.rtt_us": _rtt(self.transport), "scheme": self._scope["scheme"]}
        data = {name: str(value) for name, value in data.items() if value is not None}
        self._early.append(Hop("socket", "accepted", now, now, data, where=place_of(Connection.connection_made)))

    def data_received(self, data: bytes) -> None:
        hop = None if self._input is Input.OVER else self._on_reading(data)
        try:
            super().data_received(data)
        finally:
            self._on_ended(hop)

    @quiet
    def _on_reading(self, data: bytes) -> Hop:
        raw = self._bytes.mask(data)
        hop = Hop("socket", "read", perf_counter_ns(), where=place_of(Connection.data_received))
        hop.raw, hop.size, self._latest = raw[:MOST_BYTES], len(raw), hop
        if self.trace is not None and self._input is Input.BODY:
            self.trace.describe(hop, raw)
            self.trace.add(hop)
        else:
            self._early.append(hop)
        return hop

    @quiet
    def _on_ended(self, hop: Hop | None) -> None:
        if hop is not None:
            hop.end_ns = perf_counter_ns()

    def eof_received(self) -> bool:
        name = "client left: it sends no more" if self._cycle is not None else "the client closes"
        self._note("socket", name, Connection.eof_received)
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self._cycle
        name = "closed" if cycle is None else "client left: the connection is closed"
        self._note("socket", name, Connection.connection_lost, error=exc)
        super().connection_lost(exc)
        if cycle is not None and self._cycle is None:  # nobody will answer it
            self._on_over("call", "response")

    @quiet
    def _note(self, layer: Any, name: str, where: Any, **data: Any) -> None:
        """An instant, unless the request is over."""
        if self.trace is not None and not self.trace.done:
            self.trace.instant(layer, name, place_of(where), **data)

    def _regulate(self) -> None:
        before = self._reading
        super()._regulate()
        if before is not self._reading:
            self._note("socket", "resume reading" if self._reading else "pause reading", Connection._regulate)

    # Events:

    @quiet
    def on_parsed(self, start: int, event: Event | BadRequest) -> None:
        """The parser took from `start` until now for this."""
        raw = self._content_seen.mask(event.data) if isinstance(event, Body) else None
        hop = Hop("parser", f"event {_event(event)}", start, perf_counter_ns(), where=self._feed_place)
        hop.failed = isinstance(event, BadRequest)
        if self.trace is None or isinstance(event, Request) or (hop.failed and self._input is not Input.BODY):
            self._early.append(hop)
        else:
            self.trace.describe(hop, raw)
            self.trace.add(hop)

    def _on_request(self, request: Request) -> bool:
        hop = self._on_judging(request)
        try:
            wants_more = super()._on_request(request)
        except BadRequest as error:
            self._on_judged(hop, error)
            raise
        self._on_judged(hop, None)
        return wants_more

    @quiet
    def _on_judging(self, event: Request) -> Hop:
        early, self._early = self._early, []
        if all(hop.name != "read" for hop in early) and self._latest is not None:
            early = [self._latest, *early]  # pipelined: it came with the request before it
        self._content_seen = Stream()
        title = f"{event.method} {event.target.decode('latin-1')}"
        self.trace = self.recorder.begin(client_name(self._scope), title, event.headers, early)
        hop: Hop = self.trace.begin("server", "judge the head, build the scope", place_of(judge))
        return hop

    @quiet
    def _on_judged(self, hop: Hop | None, error: BadRequest | None) -> None:
        if hop is not None:
            scope = self._cycle.scope if self._cycle is not None else {}
            self.trace.end(hop, error, **described(scope))
            if self._cycle is not None:
                self.recorder.bind(scope, self.trace)

    def _start(self, cycle: Cycle) -> None:
        self._on_task()
        super()._start(cycle)

    @quiet
    def _on_task(self) -> None:
        self.trace.begin("server", TURN, place_of(Service.start), waits=True)

    # The cycle's side:

    def write(self, data: bytes) -> None:
        hop = self._on_writing(data)
        super().write(data)
        self._on_ended(hop)

    @quiet
    def _on_writing(self, data: bytes) -> Hop | None:
        if self.trace is None:
            return None
        raw = self._bytes_out.mask(b"".join([*self._held, data]))
        hop: Hop = self.trace.begin("socket", "write", place_of(Connection.write), raw)
        return hop

    async def drain(self) -> None:
        hop = self._on_waiting("drain: waits for the client to read", Connection.drain)
        await super().drain()
        self._on_ended(hop)

    async def send_file(self, file: Any, count: int) -> None:
        hop = self._on_waiting(f"sendfile: {count} bytes from the disk to the socket", Connection.send_file)
        await super().send_file(file, count)
        self._on_ended(hop)

    @quiet
    def _on_waiting(self, name: str, where: Any) -> Hop:
        hop: Hop = self.trace.begin("server", name, place_of(where), waits=True)
        return hop

    def want_body(self) -> None:
        self._note("server", "want_body: the app waits for content", Connection.want_body)
        super().want_body()

    # Endings:

    def finished(self, cycle: Cycle) -> None:
        self._on_finished(cycle)
        super().finished(cycle)

    @quiet
    def _on_finished(self, cycle: Cycle) -> None:
        self.trace.status = cycle.status or None
        keep_alive = cycle.response.terms.keep_alive
        self._note("server", "finished", Connection.finished, content=f"{cycle.sent} bytes", keep_alive=keep_alive)
        self._on_over("response")

    def _refuse(self, error: BadRequest) -> None:
        self._on_refusing(error)
        cycle = self._cycle
        super()._refuse(error)
        # An app that has been called will hear of it, and return.
        self._on_over(*(("response",) if cycle is not None and cycle.task is not None else ("call", "response")))

    @quiet
    def _on_refusing(self, error: BadRequest) -> None:
        if self._early or self.trace is None:  # of a request that nobody will ever see whole
            early, self._early = self._early, []
            self.trace = self.recorder.begin(client_name(self._scope), "(no request)", (), early)
        self.trace.status = error.status
        self.trace.instant("server", f"refused: {error}", place_of(Connection._refuse)).failed = True

    @quiet
    def _on_over(self, *parts: str) -> None:
        if self.trace is not None:
            self.recorder.settle(self.trace, *parts)


def _event(event: Event | BadRequest) -> str:
    match event:
        case Request(method, target):
            return f"Request({method}, {target!r})"
        case Body(data):
            return f"Body({len(data)} bytes)"
    return f"{type(event).__name__}({event if isinstance(event, BadRequest) else ''})"


def _rtt(transport: Any) -> int | None:
    """The round trip to the client in microseconds, as the kernel has measured it; None where it does not tell."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        return int(struct.unpack_from("=I", info, _RTT_AT)[0])
    return None

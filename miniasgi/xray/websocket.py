"""A WebSocket, seen from outside: its frames, what they say, and its end.

Owns the subclass of `WebSocket` that takes over from a watched connection, whose trace goes on. Knows
no ASGI message: `door` sees those.
"""

import asyncio
from time import perf_counter_ns
from typing import Any

from wsproto.events import Event

from ..frames import bounds, unmasked
from ..response import Response
from ..service import Service
from ..types import Scope
from ..websocket import Phase, WebSocket
from .model import Hop, Trace, place_of
from .quiet import quiet

_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}  # RFC 6455 5.2


class Payloads:
    """The frames of one direction as they may be shown: without the payloads that say something secret.

    Asterisks would not do for what is masked, as the key stands beside it, nor for what is compressed.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._rest = 0  # bytes of a payload that are still to come: of what, nobody can tell
        self._held = b""  # a header that is not complete

    def shown(self, data: bytes) -> bytes:
        """As many bytes as there are in `data`, which goes on where the last call ended."""
        before, data, self._held = len(self._held), self._held + data, b""
        return self._shown(data)[before:]

    @property
    def is_inside(self) -> bool:
        """True in the middle of a frame."""
        return bool(self._rest or self._held)

    def _shown(self, data: bytes) -> bytes:
        shown, at = b"*" * min(self._rest, len(data)), self._rest
        self._rest = max(0, self._rest - len(data))
        while at < len(data):
            start, end = bounds(data, at)
            if not end:  # not even a whole header
                self._held = data[at:]
                return shown + b"*" * (len(data) - at)
            end, self._rest = min(end, len(data)), max(0, end - len(data))
            shown += data[at:start]
            shown += b"*" * (end - start) if self._is_secret(data, at, start, end) else data[start:end]
            at = end
        return shown

    def _is_secret(self, data: bytes, at: int, start: int, end: int) -> bool:
        if self._rest or data[at] & 0x40:  # not whole, or compressed (RFC 7692 6)
            return True
        payload = unmasked(data, start, end) if data[at + 1] & 0x80 else data[start:end]
        return self._trace.secrets.mask_bytes(payload) != payload


class WatchedTransport:
    """A transport, with a look at what is written to it."""

    def __init__(self, transport: asyncio.Transport, trace: Trace) -> None:
        self._transport = transport
        self._trace = trace
        self._payloads = Payloads(trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        hop = self._on_writing(data)
        self._transport.write(data)
        _on_ended(hop)

    @quiet
    def _on_writing(self, data: bytes) -> Hop:
        if data.startswith(b"HTTP/"):
            return self._trace.begin("socket", "write", None, data)
        return self._trace.begin("socket", "write", None, self._payloads.shown(data), frame=frame_text(data))

    def pause_reading(self) -> None:
        self._on_flow("pause reading")
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._on_flow("resume reading")
        self._transport.resume_reading()

    @quiet
    def _on_flow(self, name: str) -> None:
        self._trace.instant("socket", name, place_of(WebSocket._advance))


class WatchedWebSocket(WebSocket):
    """A WebSocket whose hops are kept, in the trace of its handshake."""

    trace: Trace

    def __init__(self, service: Service, transport: asyncio.Transport, scope: Scope, response: Response) -> None:
        connection: Any = transport.get_protocol()  # the one that makes us
        self.trace, self.recorder = connection.trace, connection.recorder
        self._payloads = Payloads(self.trace)
        super().__init__(service, WatchedTransport(transport, self.trace), scope, response)  # type: ignore[arg-type]
        self._on_made()

    @quiet
    def _on_made(self) -> None:
        self.trace.title = f"WebSocket {self.trace.title.partition(' ')[2]}"
        self.recorder.bind(self.scope, self.trace)

    def begin(self, early: bytes) -> None:
        if early:
            _on_ended(self._on_reading(early, "read, with the handshake"))
        super().begin(early)
        if self.task is None:  # refused: the app will never hear of it
            self._on_over("call", "response")

    def data_received(self, data: bytes) -> None:
        hop = None if self.phase is Phase.CLOSED else self._on_reading(data)
        super().data_received(data)
        _on_ended(hop)

    @quiet
    def _on_reading(self, data: bytes, name: str = "read") -> Hop:
        text = "the rest of one" if self._payloads.is_inside else frame_text(data)
        return self.trace.begin(
            "socket", name, place_of(WebSocket.data_received), self._payloads.shown(data), frame=text
        )

    def on_event(self, event: Event | str | bytes) -> None:
        hop = self._on_event(event)
        super().on_event(event)
        _on_ended(hop)

    @quiet
    def _on_event(self, event: Event | str | bytes) -> Hop:
        name = type(event).__name__
        raw = event if isinstance(event, bytes) else None
        details = event if isinstance(event, str) else None if raw is not None else event
        return self.trace.begin("parser", f"event {name}", place_of(WebSocket.on_event), raw, event=details)

    def _end(self, code: int, reason: str = "", linger: bool = False) -> None:
        is_open = self.phase is not Phase.CLOSED
        super()._end(code, reason, linger)
        if is_open:
            self._on_closed(code, reason)

    @quiet
    def _on_closed(self, code: int, reason: str) -> None:
        self.trace.status = self.status
        name = "client left" if self.client_left else "closed"
        self.trace.instant("server", name, place_of(WebSocket._end), code=code, reason=reason or None)
        self._on_over("response")

    @quiet
    def _on_over(self, *parts: str) -> None:
        self.recorder.settle(self.trace, *parts)


@quiet
def _on_ended(hop: Hop | None) -> None:
    if hop is not None:
        hop.end_ns = perf_counter_ns()


def frame_text(data: bytes) -> str:
    """The first frame of some bytes that begin with one: `text, final, masked, 5 bytes` (RFC 6455 5.2)."""
    if len(data) < 2:
        return "incomplete"
    first, second = data[0], data[1]
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(data[2 : 4 if size == 126 else 10])
    words = [_OPCODES.get(first & 0x0F, f"opcode {first & 0x0F}"), "final" if first & 0x80 else "more to come"]
    words += ["compressed"] * bool(first & 0x40) + ["masked"] * bool(second & 0x80)
    return ", ".join([*words, f"{size} bytes"])

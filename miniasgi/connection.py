"""One TCP connection: bytes in, one request after the other, bytes out.

Owns the seams between transport, parser and cycle, the flow control in both directions and every
deadline of a client. Knows no ASGI message and no byte of HTTP beyond what it hands on.

Requests are answered strictly in turn (RFC 9112 9.3.2): events are pulled from the parser only up
to the end of one request, and what a client pipelines behind it waits as unparsed bytes.
"""

import asyncio
import enum
import logging
import socket
import struct
from collections.abc import Iterator
from time import perf_counter
from typing import BinaryIO, cast

from .cycle import Cycle, Phase
from .deadline import Deadline
from .events import BadRequest, Body, Event, Request
from .response import CLOSE, HELD, Response, refusal
from .rules import judge, over_body
from .scope import client_name, http_scope, scope_of, websocket_scope
from .service import Service
from .types import Scope
from .websocket import WebSocket

logger = logging.getLogger("miniasgi.error")

_HIGH_WATER = 65536  # bytes of unread input, or unparsed pipelined requests, before we stop reading
_DISCARD = 262144  # bytes of an unread body that are worth a kept connection
_LINGER = 5.0  # seconds that a client gets to take our last bytes (RFC 9112 9.6)
_LAST_CALL = 0.1  # seconds that an idle client gets at the end: its next request may be on the way
_PIECE = 65536  # bytes of a file at a time, where the kernel cannot send it
# A stream's pieces that follow so soon (seconds) wait for the end of the turn of the event loop, up to so many bytes
# in all, and go out together. 100 chunks in a burst take 0.3 of the CPU time: they were 100 system calls.
_BURST, _MOST_HELD = 0.0005, 16384

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Input(enum.Enum):
    """Which event of the parser comes next."""

    HEAD = "a Request"
    BODY = "Body or END"
    COMPLETE = "none, until the request is answered"
    OVER = "none: no request will follow, input is thrown away"


_HEAD, _BODY, _COMPLETE, _OVER = Input  # as constants: an attribute of an enum takes 20 ns, 4 % of a request in all


class Connection(asyncio.Protocol):
    """A client's connection (RFC 9112 section 9). Is the `Wire` of its cycles."""

    cycle_class = Cycle
    response_class = Response
    websocket_class = WebSocket

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parser = service.parser_class(service.limits)
        self.writable = True
        self._drained: asyncio.Event | None = None  # made only when the transport has enough
        self._held: list[bytes] = []  # pieces of content, written by the end of this turn
        self._held_size = 0  # bytes in them
        self._streamed = 0.0  # when the latest piece was written
        # Input, from bytes that nobody has parsed to content that nobody has taken:
        self._input = _HEAD
        self._backlog = b""
        self._events: Iterator[Event] = iter(())
        self._content = 0  # bytes of this request's, so far
        self._reading = True
        self._cycle: Cycle | None = None  # the request being answered
        # What the client owes us in time: a head that it has begun, content, taking our last bytes:
        self._deadline = Deadline(service.loop, self._on_deadline)
        self._heard = False
        self._unsent = 0

    def __repr__(self) -> str:
        return f"<Connection {client_name(self._scope)} {self._cycle or self._input.name}>"

    # The transport's side:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._scope = scope_of(self.transport, self.service.root_path, self.service.tls)
        self.service.connections.add(self)
        timeouts = self.service.timeouts
        self._deadline.set(min(timeouts.head, timeouts.keep_alive))  # or the first response would need another timer
        self._deadline.set(timeouts.head)

    def data_received(self, data: bytes) -> None:
        if self._input is _OVER:
            return
        heard, self._heard = self._heard, self._input is _HEAD
        self._backlog += data
        self._advance()
        if self._heard and not heard:  # some of a head, not all of it
            self._deadline.set(self.service.timeouts.head)

    def eof_received(self) -> bool:
        """The client sends no more: it has left, as far as anybody can tell (H25).

        One that only shut down its writing side still gets its answer: True keeps ours open.
        """
        self._stop_input()
        self.leave()
        return self._cycle is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable = False
        self._stop_input()
        self.service.connections.discard(self)
        self._deadline.close()
        if self._drained is not None:
            self._drained.set()
        self.leave()
        if self._cycle is not None and self._cycle.task is None:  # nobody has begun to answer
            self._cycle = None

    def pause_writing(self) -> None:
        self.writable = False
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        self.writable = True
        if self._drained is not None:
            self._drained.set()

    # Events:

    def _advance(self) -> None:
        """Takes the events of at most one request, and lets the app answer it.

        The app starts when all that came has been parsed, so that a small request is complete.
        A second request in the same bytes waits for its turn in the event loop: a client that
        pipelines a thousand must not keep the others waiting.
        """
        self._pull()
        if self._cycle is not None and self._cycle.task is None:
            self._start(self._cycle)
            if self._cycle is None:
                self._pull()
                if self._cycle is not None:
                    self.service.loop.call_soon(self._advance)
        if self._cycle is not None or self._backlog or not self._reading:
            self._regulate()

    def _pull(self) -> None:
        """Takes events from the parser until a request is complete, or there are no more."""
        if self._input is _COMPLETE or self._input is _OVER:
            return
        try:
            while True:
                for event in self._events:
                    if not self.on_event(event):
                        return
                if not self._backlog:
                    return
                self._events, self._backlog = self.parser.feed(self._backlog), b""
        except BadRequest as error:
            self._refuse(error)

    def on_event(self, event: Event) -> bool:
        """Takes an event of the parser, and tells if we want the next one; raises `BadRequest` if it breaks a rule."""
        if isinstance(event, Request):
            return self._on_request(event)
        cycle = self._cycle
        if isinstance(event, Body):
            self._content += len(event.data)
            if self._content > self.service.limits.body:
                raise over_body(self.service.limits.body)
            if cycle is not None:
                cycle.feed(event.data)
            elif self._content > _DISCARD:
                self._close(linger=True)
                return False
        elif cycle is None:  # answered before it was complete
            self._input = _HEAD
        else:
            self._input = _COMPLETE
            cycle.end()
            return False
        return True

    def _on_request(self, request: Request) -> bool:
        service = self.service
        terms = judge(request, service.limits)
        if service.closing:
            terms.keep_alive = False
        response = self.response_class(request, terms, service.header_lines)
        scope = http_scope(self._scope, request, terms, service.state)
        if terms.wants_websocket and service.websocket.enabled:
            self._upgrade(scope, response)
            return False
        self._cycle = self.cycle_class(scope, response, self)
        self._input, self._heard, self._content = _BODY, False, 0
        return True

    def _upgrade(self, scope: Scope, response: Response) -> None:
        """From now on the client speaks WebSocket, and with somebody else (RFC 9110 7.8)."""
        socket_class = self.service.websocket_class or self.websocket_class
        socket = socket_class(self.service, self.transport, websocket_scope(scope), response)
        early = self.parser.unread + self._backlog
        self._stop_input()
        self._regulate()
        self.service.connections.discard(self)
        self._deadline.close()
        self.transport.set_protocol(socket)
        if not self.writable:  # the transport tells nobody twice, and us no more
            socket.pause_writing()
            self.resume_writing()
        socket.begin(early)

    def _start(self, cycle: Cycle) -> None:
        """Calls the app, unless it has enough to do."""
        service = self.service
        if service.is_full:
            self._refuse(BadRequest(503, f"{service.concurrency} requests are being answered"))
            return
        cycle.task = service.start(cycle.run(service.app))

    def _regulate(self) -> None:
        """Reads from the client only while little of what it sent is waiting."""
        unread = self._cycle.unread if self._cycle is not None else 0
        reading = unread + len(self._backlog) <= _HIGH_WATER
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _stop_input(self) -> None:
        self._input, self._events, self._backlog = _OVER, iter(()), b""

    # The cycle's side (Wire):

    def stream(self, data: bytes) -> None:
        now = perf_counter()
        if now - self._streamed > _BURST or self._held_size + len(data) > _MOST_HELD:
            self._streamed = now
            self.write(data)
        else:
            if not self._held:
                self._streamed = now
                self.service.loop.call_soon(self._write_held)
            self._held.append(data)
            self._held_size += len(data)

    def _write_held(self) -> None:
        if self._held:
            self.write(b"")

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held, self._held_size = b"".join([*self._held, data]), [], 0
        if self.transport.is_closing():
            self.writable = False  # an error closes a transport before it tells us
        else:
            self.transport.write(data)

    async def drain(self) -> None:
        if self.transport.is_closing():
            await asyncio.sleep(0)  # an app that streams for ever to nobody must not stop the loop
        elif not self.writable and self._drained is not None:
            await self._drained.wait()

    def want_body(self) -> None:
        """Asks a client that waits for it to go on (RFC 9110 10.1.1), and sets its deadline."""
        cycle = self._cycle
        assert cycle is not None  # any other has been told that its client left
        terms = cycle.response.terms
        if terms.expects_continue and cycle.phase is Phase.START:
            terms.expects_continue = False
            if not self._content:
                self.write(CONTINUE)
        self._deadline.set(self.service.timeouts.body)

    def took_body(self) -> None:
        self._regulate()

    async def send_file(self, file: BinaryIO, count: int) -> None:
        loop, sent = self.service.loop, 0
        try:
            sent = await loop.sendfile(self.transport, file, 0, count)
        except NotImplementedError:  # uvloop
            while sent < count and not self.transport.is_closing():
                data = await loop.run_in_executor(None, file.read, min(_PIECE, count - sent))
                if not data:
                    break
                self.write(data)
                await self.drain()
                sent += len(data)
        except (ConnectionError, RuntimeError):  # gone, or found to be closing
            pass
        if sent < count and not self.transport.is_closing():
            self.abort()
            raise OSError(f"only {sent} of {count} bytes of a file could be sent")

    def finished(self, cycle: Cycle) -> None:
        """The response is out: on to the next request, or the end of the connection."""
        service, self._cycle = self.service, None
        service.log(cycle)
        service.on_finished()
        response = cycle.response
        if response.framing is CLOSE and cycle.phase is Phase.FAILED:
            self.abort()  # a graceful end would be the end of the content, RFC 9112 6.3
        elif not response.terms.keep_alive or self._input is _OVER:
            self._close(linger=self._input is _BODY)
        else:
            if self._input is _COMPLETE:
                self._input = _HEAD
            self._deadline.set(service.timeouts.keep_alive)
            if cycle.task is not None:  # else we are inside of `_advance`
                self._advance()

    # The server's side:

    def shutdown(self) -> None:
        """The server stops: ends soon if idle, else after the next response (RFC 9112 9.6)."""
        if self._cycle is not None:
            self._cycle.response.terms.keep_alive = False
        elif not self._heard and self._input is not _OVER:
            self._deadline.set(_LAST_CALL)

    def leave(self) -> None:
        """Tells the app that the client has left, or that it must be treated so."""
        if self._cycle is not None:
            self._cycle.leave()
            if self.service.cancel_on_disconnect and self._cycle.task is not None:
                self._cycle.task.cancel()

    def abort(self) -> None:
        """Ends the connection now, with a reset, whatever is unsent."""
        if not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # Endings and deadlines:

    def _refuse(self, error: BadRequest) -> None:
        """Answers for the app, with a status and no detail, and closes."""
        logger.warning("%s - %s", client_name(self._scope), error)
        cycle, self._cycle = self._cycle, None
        content = True
        if cycle is not None:
            content = cycle.request.method != "HEAD"
            cycle.phase = Phase.FAILED
            cycle.leave()
            if cycle.response.framing is not HELD:
                self.abort()
                return
        self.write(refusal(error.status, self.service.header_lines, content))
        self._close(linger=True)

    def _close(self, linger: bool = False) -> None:
        """Ends the connection once all is sent.

        A client in the middle of sending would answer a close with a reset, and lose our last
        words: then close our side only, and throw away its bytes for a while (RFC 9112 9.6).
        """
        self._stop_input()
        self._write_held()  # a closing transport takes no more
        if self.transport.is_closing():
            return
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline.set(_LINGER)
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._regulate()
        else:
            self.transport.close()

    def _on_deadline(self) -> None:
        """The client was too slow: with content, its last bytes, a head, or just idle."""
        if self._cycle is not None:
            if self._cycle.hungry:  # else the app gave up waiting, or works
                self._refuse(BadRequest(408, "waited too long for content"))
        elif self._input is _OVER:
            unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
            if 0 < self._unsent < unsent:
                self._deadline.set(_LINGER)  # slow, but getting there
            else:
                self.abort()
        elif self._heard:
            self._refuse(BadRequest(408, "waited too long for a request head"))
        else:
            self._close(linger=self._input is _BODY)

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

from .cycle import Cycle, Phase, start_task
from .deadline import Deadline
from .events import BadRequest, Body, Event, Request
from .response import Framing, Response, refusal
from .rules import Terms, judge, over_body
from .scope import client_name, http_scope, scope_of
from .service import Service
from .types import Address, Scope

logger = logging.getLogger("miniasgi.error")

_HIGH_WATER = 65536  # bytes of unread input, or unparsed pipelined requests, before we stop reading
_DISCARD = 262144  # bytes of an unread body that are worth a kept connection
_LINGER = 5.0  # seconds that a client gets to take our last bytes (RFC 9112 9.6)
_PIECE = 65536  # bytes of a file at a time, where the kernel cannot send it

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Input(enum.Enum):
    """Which event of the parser comes next."""

    HEAD = "a Request"
    BODY = "Body or END"
    COMPLETE = "none, until the request is answered"
    OVER = "none: no request will follow, input is thrown away"


_OPEN = (Input.HEAD, Input.BODY)


class Waiting(enum.Enum):
    """What the deadline of a connection is for."""

    NOTHING = "the app's turn"
    HEAD = "a request head"
    BODY = "content"
    IDLE = "another request"
    CLOSE = "the client to take our last bytes"


class Connection(asyncio.Protocol):
    """A client's connection (RFC 9112 section 9). Is the `Wire` of its cycles."""

    cycle_class = Cycle
    response_class = Response

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parser = service.parser_class(service.limits)
        self.writable = True
        self._drained = asyncio.Event()
        # Input, from bytes that nobody has parsed to content that nobody has taken:
        self._input = Input.HEAD
        self._backlog = bytearray()
        self._events: Iterator[Event] | None = None
        self._content = self._unread = 0  # bytes of this request: all so far, not yet taken
        self._reading = True
        # The request being answered; its task is None until it has been started:
        self._cycle: Cycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0
        # What the client owes us, by when, and whether it has begun:
        self._waiting = Waiting.NOTHING
        self._deadline = Deadline(service.loop, self._on_deadline)
        self._heard = False
        self._unsent = 0

    def __repr__(self) -> str:
        return f"<Connection {self.client} {self._cycle or self._waiting.value}>"

    # The transport's side:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._scope = scope_of(self.transport, self.service.root_path)
        self.client: Address | None = self._scope["client"]
        self.service.connections.add(self)
        self._wait(Waiting.HEAD, self.service.timeouts.head)

    def data_received(self, data: bytes) -> None:
        if self._input is Input.OVER:
            return
        self._heard = self._input is Input.HEAD
        if self._events is None:
            self._events = self.parser.feed(data)
        else:
            self._backlog += data
        self._advance()
        if self._reading and self._unread + len(self._backlog) > _HIGH_WATER:
            self._reading = False
            self.transport.pause_reading()
        if self._heard and self._waiting is Waiting.IDLE:  # some of a head, not all of it
            self._wait(Waiting.HEAD, self.service.timeouts.head)

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
        self._drained.set()
        self.leave()
        if self._task is None:  # nobody has begun to answer
            self._cycle = None

    def pause_writing(self) -> None:
        self.writable = False
        self._drained.clear()

    def resume_writing(self) -> None:
        self.writable = True
        self._drained.set()

    # Events:

    def _advance(self) -> None:
        """Takes the events of at most one request, and lets the app answer it.

        The app starts when all that came has been parsed, so that a small request is complete.
        A second request in the same bytes waits for its turn in the event loop: a client that
        pipelines a thousand must not keep the others waiting.
        """
        self._pull()
        if self._cycle is not None and self._task is None:
            self._start(self._cycle)
            if self._cycle is None:
                self._pull()
                if self._cycle is not None:
                    self.service.loop.call_soon(self._advance)

    def _pull(self) -> None:
        """Takes events from the parser until a request is complete, or there are no more."""
        try:
            while self._events is not None and self._input in _OPEN:
                for event in self._events:
                    self.on_event(event)
                    if self._input not in _OPEN:
                        return
                self._events = self.parser.feed(bytes(self._backlog)) if self._backlog else None
                self._backlog.clear()
        except BadRequest as error:
            self._refuse(error)
        self._read_on()

    def on_event(self, event: Event) -> None:
        """Takes one event of the parser; raises `BadRequest` for one that breaks the rules."""
        if isinstance(event, Request):
            self._on_request(event)
        elif isinstance(event, Body):
            self._on_body(event.data)
        elif self._cycle is None:  # answered before it was complete
            self._input = Input.HEAD
        else:
            self._input = Input.COMPLETE
            self._cycle.end()
            if not self._cycle.terms.keep_alive:
                self._stop_input()

    def _on_request(self, request: Request) -> None:
        service = self.service
        terms = judge(request, service.limits)
        response = self.response_class(request.method, request.http_version, terms, service.defaults, service.known)
        if service.closing:
            response.keep_alive = False
        self._cycle = self.cycle_class(request, terms, self.build_scope(request, terms), response, self)
        self._began = perf_counter()
        self._input = Input.BODY
        self._content = self._unread = 0
        self._waiting = Waiting.NOTHING
        self._heard = False

    def build_scope(self, request: Request, terms: Terms) -> Scope:
        """What the app is told of a request; see `scope.http_scope`."""
        return http_scope(self._scope, request, terms, self.service.state)

    def _on_body(self, data: bytes) -> None:
        limit = self.service.limits.body
        self._content += len(data)
        if limit is not None and self._content > limit:
            raise over_body(limit)
        if self._cycle is not None:
            self._unread += len(data)
            self._waiting = Waiting.NOTHING
            self._cycle.feed(data)
        elif self._content > _DISCARD:
            self._close(linger=True)

    def _start(self, cycle: Cycle) -> None:
        """Calls the app. On Python 3.12+ it runs right here until it first has to wait."""
        service = self.service
        if service.concurrency is not None and len(service.tasks) >= service.concurrency:
            self._refuse(BadRequest(503, f"{service.concurrency} requests are being answered"))
            return
        task = start_task(cycle.run(service.app), service.loop)
        if not task.done():
            service.tasks.add(task)
            task.add_done_callback(service.tasks.discard)
            self._task = task if self._cycle is cycle else None

    def _read_on(self) -> None:
        """Reads again, if we had stopped and what we have is about to be used up."""
        if not self._reading and self._events is None and self._unread <= _HIGH_WATER:
            self._reading = True
            self.transport.resume_reading()

    def _stop_input(self) -> None:
        self._input, self._events = Input.OVER, None
        self._backlog.clear()

    # The cycle's side (Wire):

    def write(self, data: bytes) -> None:
        if self.transport.is_closing():
            self.writable = False  # an error closes a transport before it tells us
        else:
            self.transport.write(data)

    async def drain(self) -> None:
        if self.transport.is_closing():
            await asyncio.sleep(0)  # an app that streams for ever to nobody must not stop the loop
        elif not self.writable:
            await self._drained.wait()

    def want_body(self) -> None:
        """Asks a client that waits for it to go on (RFC 9110 10.1.1), and sets its deadline."""
        cycle = self._cycle
        assert cycle is not None  # any other has been told that its client left
        if cycle.terms.expects_continue and cycle.phase is Phase.START:
            cycle.terms.expects_continue = False
            cycle.response.keep_alive = cycle.terms.keep_alive and not self.service.closing
            if not self._content:
                self.write(CONTINUE)
        self._wait(Waiting.BODY, self.service.timeouts.body)

    def took_body(self, size: int) -> None:
        self._unread -= size
        self._read_on()

    async def send_file(self, file: BinaryIO, count: int) -> None:
        loop = self.service.loop
        try:
            sent = await loop.sendfile(self.transport, file, 0, count)
        except NotImplementedError:  # uvloop
            sent = await self._copy_file(file, count)
        except (ConnectionError, RuntimeError):  # gone, or found to be closing
            sent = 0
        if sent < count and not self.transport.is_closing():
            self.abort()
            raise OSError(f"only {sent} of {count} bytes of a file could be sent")

    async def _copy_file(self, file: BinaryIO, count: int) -> int:
        sent = 0
        while data := await self.service.loop.run_in_executor(None, file.read, min(_PIECE, count - sent)):
            self.write(data)
            await self.drain()
            if self.transport.is_closing():
                break
            sent += len(data)
        return sent

    def finished(self, cycle: Cycle) -> None:
        """The response is out: on to the next request, or the end of the connection."""
        service, task = self.service, self._task
        self._cycle = self._task = None
        if service.access_log is not None:
            service.access_log.record(cycle.scope["client"], cycle, perf_counter() - self._began)
        service.finished += 1
        if service.on_finished is not None:
            service.on_finished(service.finished)
        if cycle.phase is Phase.FAILED and cycle.response.framing is Framing.CLOSE:
            self._reset()
        elif not cycle.response.keep_alive or self._input is Input.OVER or service.closing:
            self._close(linger=self._input is Input.BODY)
        else:
            if self._input is Input.COMPLETE:
                self._input = Input.HEAD
            self._unread = 0
            self._wait(Waiting.IDLE, service.timeouts.keep_alive)
            if task is not None:  # else we are inside of `_advance`
                self._advance()

    # The server's side:

    def shutdown(self) -> None:
        """The server stops: ends now if idle, else after the current response."""
        if self._cycle is not None:
            self._cycle.response.keep_alive = False
        elif not self._heard:
            self._close()

    def leave(self) -> None:
        """Tells the app that the client has left, or that it must be treated so."""
        if self._cycle is not None:
            self._cycle.leave()
            if self.service.cancel_on_disconnect and self._task is not None:
                self._task.cancel()

    def abort(self) -> None:
        """Ends the connection now, whatever is unsent."""
        self.transport.abort()

    # Endings and deadlines:

    def _refuse(self, error: BadRequest) -> None:
        """Answers for the app, with a status and no detail, and closes."""
        logger.warning("%s - %s", client_name(self.client), error)
        cycle, self._cycle, self._task = self._cycle, None, None
        if cycle is not None:
            cycle.give_up()
            if cycle.response.framing is not Framing.HELD:
                self.abort()
                return
        content = cycle is None or cycle.request.method != "HEAD"
        self.write(refusal(error.status, self.service.defaults, content))
        self._close(linger=True)

    def _reset(self) -> None:
        """Ends the connection with an error: a graceful end would be the end of the content (RFC 9112 6.3)."""
        if not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.abort()

    def _close(self, linger: bool = False) -> None:
        """Ends the connection once all is sent.

        A client in the middle of sending would answer a close with a reset, and lose our last
        words: then close our side only, and throw away its bytes for a while (RFC 9112 9.6).
        """
        self._stop_input()
        if self.transport.is_closing():
            return
        self._unsent = self.transport.get_write_buffer_size()
        self._wait(Waiting.CLOSE, _LINGER)
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._read_on()
        else:
            self.transport.close()

    def _wait(self, waiting: Waiting, seconds: float) -> None:
        """Sets what the client owes us, and by when; 0 is for ever, where an option can say so."""
        self._waiting = waiting
        if seconds > 0 or waiting not in (Waiting.HEAD, Waiting.BODY):
            self._deadline.set(seconds)
        else:
            self._deadline.clear()

    def _on_deadline(self) -> None:
        """The client was too slow."""
        match self._waiting:
            case Waiting.NOTHING:
                pass
            case Waiting.CLOSE:
                unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
                if 0 < self._unsent < unsent:
                    self._wait(Waiting.CLOSE, _LINGER)  # slow, but getting there
                else:
                    self.abort()
            case Waiting.BODY if self._cycle and not self._cycle.hungry:
                self._waiting = Waiting.NOTHING  # the app gave up waiting before the client did
            case Waiting.HEAD if not self._heard:
                self._close()
            case Waiting.IDLE:
                self._close(linger=self._input is Input.BODY)
            case slow:
                self._refuse(BadRequest(408, f"waited too long for {slow.value}"))

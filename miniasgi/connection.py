"""One TCP connection: bytes in, one request after the other, bytes out.

Owns the seams between transport, parser and cycle, the flow control in both directions and every deadline of a
client. Knows no ASGI message and no byte of HTTP beyond what it hands on.

Requests are answered strictly in turn (RFC 9112 9.3.2): events are pulled from the parser only up to the end of one
request. What a client pipelines behind it waits as unparsed bytes, or, where httptools has read it with the same
piece, as events that nobody has looked at.

All runs in the one thread of the event loop. Each method that the transport calls runs to its end before the next
begins; only `drain` and `send_file` wait, and they belong to the app's task.
"""

import asyncio
import contextlib
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

# Content that the app has not taken and requests that nobody has parsed, in bytes, both together: above that we stop
# reading, the kernel's buffer fills, and TCP makes the client wait. 40 MB sent to an app that sleeps take 64 KiB here
# and what one read may bring; without it, they would take 40 MB.
_HIGH_WATER = 65536
# An app may answer before it has read all: an upload that is refused with a 401. The rest must go by before the next
# request can be found behind it. Up to so many bytes of content, taken or not, that is cheaper than a new connection;
# beyond, the client would fill the line for nobody.
_DISCARD = 262144
_LINGER = 5.0  # seconds without progress that a client gets to take our last bytes (RFC 9112 9.6)
# Seconds that an idle client gets when the server stops: its next request may be on the way already, and would meet
# a closed socket. Without them, one request in a thousand of busy clients failed at each SIGHUP.
_LAST_CALL = 0.1
_PIECE = 65536  # bytes of a file at a time, where the kernel cannot send it
# A stream's pieces that follow so soon (seconds) wait for the end of the turn of the event loop, up to so many bytes
# in all, and go out together. 100 chunks in a burst take 0.3 of the CPU time: they were 100 system calls.
_BURST, _MOST_HELD = 0.0005, 16384

# An interim response is a head without content: this one has no field either (RFC 9110 15.2.1).
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Input(enum.Enum):
    """Which event of the parser comes next: HEAD -> BODY -> COMPLETE -> HEAD ..., and from each of them OVER.

    BODY goes straight to HEAD where the response was complete before the request. From OVER nothing leads back.
    """

    HEAD = "a Request"
    BODY = "Body or END"
    COMPLETE = "none, until the request is answered"
    OVER = "none: no request will follow, input is thrown away"


_HEAD, _BODY, _COMPLETE, _OVER = Input  # as constants: an attribute of an enum takes 20 ns, 4 % of a request in all


class Connection(asyncio.Protocol):
    """A client's connection (RFC 9112 section 9). Is the `Wire` of its cycles.

    Made by the event loop for each client that is accepted; needs a `Service`, and nothing else. Stands in
    `service.connections` as long as it lives, for a server that stops; after an upgrade, the `WebSocket` does.

    Invariants: there is at most one `_cycle`, and nothing behind its request has been looked at.
    """

    cycle_class = Cycle
    response_class = Response
    websocket_class = WebSocket

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parser = service.parser_class(service.limits)
        # Output: False between the transport's `pause_writing` and `resume_writing`.
        self.writable = True
        self._drained: asyncio.Event | None = None  # made only when the transport has enough
        self._held: list[bytes] = []  # pieces of content, written by the end of this turn
        self._held_size = 0  # bytes in them, never over `_MOST_HELD`
        self._streamed = 0.0  # when a piece was last written, or first held back; `perf_counter`, in seconds
        # Input, from bytes that nobody has parsed to content that nobody has taken:
        self._input = _HEAD
        self._ended = False  # the client has sent all that it will send
        self._backlog = b""  # bytes behind those that the parser has been fed with
        self._events: Iterator[Event] = iter(())  # what it has not said of those; exhausted before it is fed again
        self._content = 0  # bytes of this request's, so far, whoever took them
        self._reading = True  # False between our `pause_reading` and `resume_reading` of the transport
        self._cycle: Cycle | None = None  # the request being answered
        # What the client owes us in time: a head that it has begun, content, taking our last bytes:
        self._deadline = Deadline(service.loop, self._on_deadline)
        self._heard = False  # some of a head has come, not all of it: silence is a 408 then
        self._unsent = 0  # bytes in the transport when `_LINGER` last began

    def __repr__(self) -> str:
        return f"<Connection {client_name(self._scope)} {self._cycle or self._input.name}>"

    # The transport's side:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is accepted: the time for its first head runs (`Timeouts.head`).

        Over TLS this comes when the handshake is done, so that the scope can tell of certificates.
        """
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._scope = scope_of(self.transport, self.service.root_path, self.service.tls)
        self.service.connections.add(self)
        timeouts = self.service.timeouts
        self._deadline.set(min(timeouts.head, timeouts.keep_alive))  # or the first response would need another timer
        self._deadline.set(timeouts.head)

    def data_received(self, data: bytes) -> None:
        """Some bytes came: of a head, of content, of requests that must wait, in any mixture.

        A head has its deadline from its first byte on. More bytes of the same head do not move it: Slowloris sends
        one line every few seconds, and would hold the connection for ever if they did.
        """
        if self._input is _OVER:
            return
        # Assumed of any bytes where a head is due; `_on_request` takes it back if they complete one.
        heard, self._heard = self._heard, self._input is _HEAD
        self._backlog += data
        self._advance()
        if self._heard and not heard:  # some of a head, not all of it
            self._deadline.set(self.service.timeouts.head)

    def eof_received(self) -> bool:
        """The client sends no more: it has left, as far as anybody can tell (H25).

        One that only shut down its writing side still gets its answers, also to what it has pipelined: True keeps
        ours open. False lets the transport close. Both send a FIN, so that the app is told `http.disconnect`, and
        may answer all the same; first it may take its content, if all of that is there.
        """
        self._ended, cycle = True, self._cycle
        if cycle is None or not cycle.unread or self._input is not _COMPLETE or self.service.cancel_on_disconnect:
            self.leave()
        return cycle is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes and nothing goes any more: reset, closed by us, or by the client.

        Whoever waits is woken: an app in `drain`, which would wait for ever for room in a transport that is gone,
        and one in `receive`. A request that was parsed and not begun is dropped, so that nobody works for a client
        that has left.
        """
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
        """The transport has enough unsent bytes (64 KiB, or 512 over TLS): apps wait in `drain` (H21)."""
        self.writable = False
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        """It has room again: asyncio says so at a quarter of that mark, uvloop when nearly all is sent."""
        self.writable = True
        if self._drained is not None:
            self._drained.set()

    # Events:

    def _advance(self) -> None:
        """Takes the events of at most one request, and lets the app answer it.

        The app starts when all that came has been parsed, so that a small request is complete: its first `receive`
        has all the content, and need not wait.

        A second request in the same bytes starts when the first is `finished`, and its app runs at the next turn of
        the event loop: a client that pipelines a thousand does not keep the others waiting.
        """
        self._pull()
        if self._cycle is not None and self._cycle.task is None:
            if self._ended and self._input is _BODY:  # the rest of its content will never come
                self._cycle.leave()
            self._start(self._cycle)
        if self._backlog or not self._reading or (self._cycle is not None and self._cycle.unread):
            self._regulate()
        if self._ended and self._cycle is None:  # all that came is answered
            self._close()

    def _pull(self) -> None:
        """Takes events from the parser until a request is complete, or there are no more.

        A parser is fed anew only when all its events were taken, as `Parser.feed` asks for, and what comes meanwhile
        stays in `_backlog`, where `_regulate` counts it. A `BadRequest` ends it for good: who cannot tell where this
        message ends cannot tell where the next begins (RFC 9112 2.2).
        """
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
        """Takes an event of the parser, and tells if we want the next one; raises `BadRequest` if it breaks a rule.

        False at the end of a request, and when the connection is not ours any more, or ends.
        """
        if isinstance(event, Request):
            return self._on_request(event)
        cycle = self._cycle
        if isinstance(event, Body):
            self._content += len(event.data)
            if self._content > self.service.limits.body:
                raise over_body(self.service.limits.body)
            if cycle is not None:
                cycle.response.terms.expects_continue = False  # it does not wait to be asked
                cycle.feed(event.data)
            elif self._content > _DISCARD:  # nobody waits for it: the response was complete before it came
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
        """A head: judges it, and makes its cycle, or hands the connection to a WebSocket; raises `BadRequest`.

        The app is not called yet: content may have come with the head, and `_advance` takes that first.
        """
        service = self.service
        terms = judge(request, service.limits)
        if service.closing:
            terms.keep_alive = False  # which the head of the answer will tell (RFC 9112 9.6)
        response = self.response_class(request, terms, service.header_lines)
        scope = http_scope(self._scope, request, terms, service.state)
        if terms.wants_websocket and service.websocket.enabled:
            self._upgrade(scope, response)
            return False
        self._cycle = self.cycle_class(scope, response, self)
        self._input, self._heard, self._content = _BODY, False, 0
        return True

    def _upgrade(self, scope: Scope, response: Response) -> None:
        """From now on the client speaks WebSocket, and with somebody else (RFC 9110 7.8).

        In this order: take what came behind the head, as it is no HTTP; let go of it, and of the deadline, so that
        nothing here fires again; make the socket the transport's protocol; only then let it begin, which may call
        the app, and that may answer at once. `early` must not be lost: a client may send frames right behind its
        handshake, without waiting for the 101.
        """
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
        """Calls the app, unless it has enough to do: then the client gets a 503 (`--limit-concurrency`)."""
        service = self.service
        if service.is_full:
            self._refuse(BadRequest(503, f"{service.concurrency} requests are being answered"))
            return
        cycle.task = service.start(cycle.run(service.app))

    def _regulate(self) -> None:
        """Reads from the client only while little of what it sent is waiting: at most `_HIGH_WATER` bytes.

        Called whenever that sum may have changed: bytes came, content was taken, input is thrown away.
        """
        unread = self._cycle.unread if self._cycle is not None else 0
        reading = unread + len(self._backlog) <= _HIGH_WATER
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _stop_input(self) -> None:
        """No request will follow; what was not parsed is gone, and so are the bytes that still come."""
        self._input, self._events, self._backlog = _OVER, iter(()), b""

    # The cycle's side (Wire):

    def stream(self, data: bytes) -> None:
        """Sends a piece of content that others follow: now, or by the end of this turn of the event loop.

        The first piece goes at once: the time to the first byte, or to the next token of a language model, is not
        ours to spend. What follows within `_BURST` seconds is held, and leaves in one system call. The order of
        bytes is kept, since `write` always takes along what is held.
        """
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
        """The turn is over: sends what is held, unless some `write` has taken it along."""
        if self._held:
            self.write(b"")

    def write(self, data: bytes) -> None:
        """Sends bytes behind all that is held; drops them if the connection is closing (H24).

        Never waits, and never raises: what the kernel does not take is kept by the transport, and `writable` tells.
        """
        if self._held:
            data, self._held, self._held_size = b"".join([*self._held, data]), [], 0
        if self.transport.is_closing():
            self.writable = False  # an error closes a transport before it tells us
        else:
            self.transport.write(data)

    async def drain(self) -> None:
        """Returns when the transport has room, or at once if the connection is gone."""
        if self.transport.is_closing():
            # An app that streams for ever to nobody never waits for anything else: it would stop the loop, and with
            # it `connection_lost`, which could tell it.
            await asyncio.sleep(0)
        elif not self.writable and self._drained is not None:
            await self._drained.wait()

    def want_body(self) -> None:
        """Asks a client that waits for it to go on (RFC 9110 10.1.1), and sets its deadline.

        Only here: a client that sends `Expect: 100-continue` is to hear from the app first, which may refuse 10 GB
        by their head alone. No 100 behind a response that has begun, nor for content that has begun to come without
        it. The deadline is `Timeouts.body` without any content, while the app waits: a busy app costs the client
        nothing.
        """
        cycle = self._cycle
        assert cycle is not None  # any other has been told that its client left
        terms = cycle.response.terms
        if terms.expects_continue and cycle.phase is Phase.START:
            terms.expects_continue = False
            self.write(CONTINUE)
        self._deadline.set(self.service.timeouts.body)

    def took_body(self) -> None:
        """The app has taken its content: there may be room for more."""
        self._regulate()
        if self._ended and self._cycle is not None:  # which was kept from the app until now
            self._cycle.leave()

    async def send_file(self, file: BinaryIO, count: int) -> None:
        """Sends `count` bytes of a file, from its beginning; the caller has written the head.

        From the kernel's cache to the socket where the loop can (`sendfile(2)`, asyncio without TLS), else in pieces
        that a thread reads, so that a slow disk holds nobody up. Returns early if the client leaves. Raises
        `OSError` if the file is shorter than that, and cuts the connection: its length has been promised, and cannot
        be taken back.
        """
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
        """The response is out: on to the next request, or the end of the connection.

        Called by the cycle exactly once, unless `_refuse` has answered for it. The cycle is let go of first:
        whatever is called from here sees a connection between two requests.
        """
        service, self._cycle = self.service, None
        service.log(cycle)
        service.on_finished()
        response = cycle.response
        if response.framing is CLOSE and cycle.phase is Phase.FAILED:
            self.abort()  # a graceful end would be the end of the content, RFC 9112 6.3
        elif not response.terms.keep_alive or self._input is _OVER:
            self._close(linger=self._input is _BODY)
        else:
            # In BODY the rest of the content is still to come: `on_event` throws it away, then a head is next.
            if self._input is _COMPLETE:
                self._input = _HEAD
            self._deadline.set(service.timeouts.keep_alive)
            self._advance()

    # The server's side:

    def shutdown(self) -> None:
        """The server stops: ends soon if idle, else after the next response (RFC 9112 9.6).

        A head that has begun is waited for until its deadline, and answered: `_on_request` closes behind it.
        """
        if self._cycle is not None:
            self._cycle.response.terms.keep_alive = False
        elif not self._heard and self._input is not _OVER:
            self._deadline.set(_LAST_CALL)

    def leave(self) -> None:
        """Tells the app that the client has left, or that it must be treated so.

        Called when it has, and by a server that stops, some seconds before its budget ends, so that a stream can end
        by itself. `--cancel-on-disconnect` cancels the task, for handlers that never call `receive`. May be called
        twice.
        """
        if self._cycle is not None:
            self._cycle.leave()
            if self.service.cancel_on_disconnect and self._cycle.task is not None:
                self._cycle.task.cancel()

    def abort(self) -> None:
        """Ends the connection now, with a reset, whatever is unsent.

        `SO_LINGER` of zero seconds makes the kernel send RST instead of FIN: a client without any framing to go by
        must not take what it has for all there is.
        """
        if not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # struct linger
        self.transport.abort()

    # Endings and deadlines:

    def _refuse(self, error: BadRequest) -> None:
        """Answers for the app, with a status and no detail, and closes.

        The reason is for our log alone; it has a line at level warning with the client's name, and none in the
        access log. Once some of a response is on the wire there is no place for another one: then the connection is
        cut, which no framing takes for an end. The app, if it runs, hears `http.disconnect`, and what it sends goes
        nowhere.
        """
        logger.warning("%s - %s", client_name(self._scope), error)
        # Its `finished` will not be called: a cycle that FAILED stays silent.
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

        A client in the middle of sending would answer a close with a reset, and lose our last words: then close our
        side only, and throw away its bytes for a while (RFC 9112 9.6). The kernel resets when bytes come for a
        socket that is closed, and a client that gets a reset drops what it has not read yet: our 413. TLS has no
        such half, and is closed at once.
        """
        self._stop_input()
        self._write_held()  # a closing transport takes no more
        if self.transport.is_closing():
            return
        # From here on the deadline is about our last bytes: see `_on_deadline`.
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline.set(_LINGER)
        if linger and not self._ended and self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # a reset that the loop has not told us of yet
                self.transport.write_eof()
            self._regulate()
        else:
            self.transport.close()

    def _on_deadline(self) -> None:
        """The client was too slow: with content, its last bytes, a head, or just idle.

        Which one is not kept anywhere: it follows from the cycle and the input. A 408 where somebody may wait for an
        answer (RFC 9110 15.5.9), not a word where it is only silence (RFC 9112 9.5): a 408 would cross the next
        request on its way, and be taken for the answer to that.
        """
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

"""One request and its response as ASGI messages (ASGI HTTP 2.5).

Owns the order of messages between an app and the outside, and the one place where the app is awaited. Knows no
parser, no socket and no framing of HTTP/1.1: content goes in and out as bytes, through a `Response` that renders
them and a `Wire` that carries them. HTTP/2 can bring its own.

The order of events: the connection makes a `Cycle`, calls `feed` for content and `end` behind it, and starts `run`
as a task, maybe before all content is there. `Wire.finished` comes once, when the response is complete or given up;
the app may go on after that, for background tasks, but the connection has let go of the cycle.
"""

import asyncio
import enum
import os
from time import perf_counter
from typing import BinaryIO, Protocol

from .response import Response
from .service import log_failure
from .types import App, Message, Scope


class Wire(Protocol):
    """What a cycle needs of the outside: eight members, so that tests need a list of bytes and no socket.

    `Connection` is one. None of its methods raises because a client has left (H24).
    """

    writable: bool
    """False while `drain` would wait: too much is unsent, or nobody is there any more."""

    def write(self, data: bytes) -> None:
        """Sends bytes, or drops them if the connection is gone; never waits."""

    def stream(self, data: bytes) -> None:
        """Sends a piece of content that others follow: at once, or, in a burst, with those."""

    async def drain(self) -> None:
        """Returns when more may be written."""

    async def send_file(self, file: BinaryIO, count: int) -> None:
        """Sends `count` bytes of a file; OSError if the file ends too early."""

    def want_body(self) -> None:
        """The app waits for content: a client that waits for a 100 gets it now (RFC 9110 10.1.1)."""

    def took_body(self) -> None:
        """The app took what content there was: `Cycle.unread` is 0, and more may be read."""

    def finished(self, cycle: "Cycle") -> None:
        """The response is complete, or will never be; `cycle.phase` tells which. The cycle is done with the wire."""


class Phase(enum.Enum):
    """How far the response has come; `Cycle.send` goes by these, and shows an app's mistake with them.

    START -> BODY -> DONE, or BODY -> TRAILERS -> DONE (H20); from any but DONE to FAILED. `_OVER` are the last two.
    """

    START = "http.response.start is next"
    BODY = "content is next"
    TRAILERS = "http.response.trailers are next"
    DONE = "complete"
    FAILED = "given up"


# As constants, as in connection.py: an attribute of an enum takes 20 ns.
_START, _BODY, _TRAILERS, _DONE, _FAILED = Phase
_OVER = (_DONE, _FAILED)


class Cycle:
    """One request, answered by one call of the app (A1).

    The connection calls `feed`, `end` and `leave`; the app calls `receive` and `send`. `sent` counts bytes of
    content handed to the wire, `began` is `perf_counter` in seconds, when the head was there: both are for the
    access log.
    """

    def __init__(self, scope: Scope, response: Response, wire: Wire) -> None:
        self.scope = scope
        self.request = response.request
        self.response = response
        self.wire = wire
        self.phase = _START
        self.sent = 0
        self.client_left = False  # never to be taken back: from then on `receive` says `http.disconnect`
        self.began = perf_counter()
        self.task: asyncio.Task[None] | None = None  # of the app, None until it has been started
        self.unread = 0  # bytes of content that the app has not taken
        self.hungry = False  # the app waits for content, so that a deadline may run for the client
        self._body: list[bytes] = []  # content that came and was not taken; `unread` is its length
        self._body_ended = False  # all of it has come
        self._body_taken = False  # the app has seen `more_body: False`
        self._changed: asyncio.Event | None = None  # made only when `receive` has to wait

    @property
    def status(self) -> int:
        """Of the response; 0 if there is none yet."""
        return self.response.status

    def __repr__(self) -> str:
        return f"<Cycle {self.request.method} {self.request.target!r} {self.phase.name}>"

    # The connection's side:

    def feed(self, data: bytes) -> None:
        """Some content of the request came; never after `end`. It is not copied before the app takes it."""
        self._body.append(data)
        self.unread += len(data)
        self.hungry = False
        self._wake()

    def end(self) -> None:
        """The request is complete; for one without content, right behind its head."""
        self._body_ended = True
        self._wake()

    def leave(self) -> None:
        """The client is gone, or has to be treated so; the app hears it on `receive`.

        May come at any time, and more than once.
        """
        self.client_left = True
        self._wake()

    def _wake(self) -> None:
        """Lets `receive` look again, if somebody waits there."""
        if self._changed is not None:
            self._changed.set()

    async def run(self, app: App) -> None:
        """Awaits the app: the one place. What it raises is logged once, and ends here (A8).

        However the app ends, the client is not left waiting: it gets the response, a 500 while its head is held, or
        an end that its framing shows to be too early. Only what stops the program passes through: KeyboardInterrupt,
        SystemExit.
        """
        try:
            await app(self.scope, self.receive, self.send)
            if self.phase not in _OVER and not self.client_left:
                raise RuntimeError("the app returned before its response was complete")
        except (Exception, asyncio.CancelledError) as error:
            line = f"{self.request.method} {self.request.target.decode('ascii')}"
            log_failure(f"{line}: the app", error, self.client_left)
            # An app that raised owes an answer even to a client that has left: it may only have shut down its
            # writing side. One that was cancelled because of that owes nothing.
            if self.phase not in _OVER and (isinstance(error, Exception) or not self.client_left):
                self.wire.write(self.response.failure())
        if self.phase not in _OVER:
            self.phase = Phase.FAILED
            self._wake()
            self.wire.finished(self)

    # The app's side:

    async def receive(self) -> Message:
        """`http.request` until the content is taken, then `http.disconnect` when it is time.

        The content comes in as few messages as it can: all that is there, joined. Without any it is one message with
        b"" (H16). After `more_body: False` this waits, for the client to leave or the response to end (H25).

        Answers `http.disconnect` without suspending once the client is gone, content unread or not: Starlette asks
        inside a cancelled scope, and work for nobody should end (H25).
        """
        while not (self.client_left or self.phase in _OVER):
            if self._body or (self._body_ended and not self._body_taken):
                return self._take_body()
            if not self._body_ended:
                self.wire.want_body()
            # One event for all who wait, and a loop around it: two tasks may wait here (Starlette listens for the
            # end while the handler reads), and whoever wakes first may take what the other was woken for.
            self._changed = self._changed or asyncio.Event()
            self._changed.clear()
            self.hungry = not self._body_ended
            try:
                await self._changed.wait()
            finally:
                self.hungry = False
        return {"type": "http.disconnect"}

    def _take_body(self) -> Message:
        """All content that is there, as one message; may let the connection read on."""
        body = b"".join(self._body)  # the very object, where there is only one
        self._body.clear()
        self._body_taken, self.unread = self._body_ended, 0
        self.wire.took_body()
        return {"type": "http.request", "body": body, "more_body": not self._body_ended}

    async def send(self, message: Message) -> None:
        """Takes one message of the app, checked whole before anything changes (A6).

        Returns when the bytes are with the transport and more may follow (H21). When the client is gone it still
        checks, and sends nothing: a silent no-op, see `spec_version`.

        Raises RuntimeError for a message that is out of order or breaks a promised length, KeyError for a missing
        key, TypeError and ValueError for what a field cannot be, OSError for a file that cannot be sent. The app may
        catch it and send something else: no byte of the refused message is on the wire, but for such a file. Keys that
        we do not know are no mistake (A7).
        """
        phase, kind = self.phase, message.get("type")
        if phase is _BODY and kind == "http.response.body":
            self._send_body(message)
        elif phase is _START and kind == "http.response.start":
            self.response.start(message["status"], message.get("headers", ()), message.get("trailers", False))
            self.phase = _BODY
        else:  # `match` tries one pair after the other: too slow for those two
            await self._send_other(message)
        if not self.wire.writable:
            await self.wire.drain()

    async def _send_other(self, message: Message) -> None:
        """The messages of extensions, and all mistakes; the order of the cases is that of a response."""
        match self.phase, message.get("type"):
            case Phase.START | Phase.BODY, "http.response.early_hint":
                # Legal after the start, too: while the head is held, 103 still comes first (E6).
                self.wire.write(self.response.early_hint(message["links"]))
            case Phase.BODY, "http.response.pathsend":
                await self._send_path(message)
            case Phase.TRAILERS, "http.response.trailers":
                self._send_trailers(message)
            case Phase.DONE | Phase.TRAILERS, "http.response.body" | "http.response.trailers":
                pass  # ignored after the final one (H22)
            case Phase.FAILED, _:
                pass  # somebody else has answered already, or nobody listens
            case _:
                raise RuntimeError(f"unexpected message {message.get('type')!r}: {self.phase.value}")

    def _send_body(self, message: Message) -> None:
        """A piece of content: rendered first, which may raise, then counted, then written.

        The last piece is written, not streamed: what a burst holds back leaves with it.
        """
        body, more = message.get("body", b""), message.get("more_body", False)
        if not isinstance(body, bytes):
            raise TypeError(f"body must be bytes, not {type(body).__name__}")
        data = self.response.content(body, more)
        if not self.response.is_empty:
            self.sent += len(body)
        if data and more:
            self.wire.stream(data)
        elif data:
            self.wire.write(data)
        if not more:
            self._complete()

    async def _send_path(self, message: Message) -> None:
        """A file as the whole content, from the kernel's cache to the socket if it can (E4)."""
        with open(message["path"], "rb") as file:
            head, count = self.response.file(os.fstat(file.fileno()).st_size)
            self.wire.write(head)
            if count:
                await self.wire.send_file(file, count)
                self.sent += count
        self._complete()

    def _send_trailers(self, message: Message) -> None:
        """Trailer fields behind the last chunk, in one message or in several (E7)."""
        more = bool(message.get("more_trailers", False))
        self.wire.write(self.response.trailer_section(message.get("headers", ()), more))
        self.response.trailers = more
        if not more:
            self._complete()

    def _complete(self) -> None:
        """The response is out, unless trailers are to come (H20)."""
        if self.response.trailers:
            self.phase = _TRAILERS
        else:
            self.phase = _DONE
            self._wake()
            self.wire.finished(self)

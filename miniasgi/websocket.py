"""One WebSocket: the handshake, then messages both ways, as ASGI messages (ASGI WebSocket 2.5).

Owns the session of an app with its client, from the upgrade request to the close. `Frames` reads and writes (RFC
6455); the request comes parsed and judged, from the `Connection` whose transport this takes over. Knows no parser of
HTTP and no option.

The way in: bytes wait in `_backlog`, become events of `Frames`, become messages in `_messages`, which `receive`
takes. Each step has a bound, and only the last one is the app's to speed up; what is over the first stays in the
kernel, and then at the client. The way out has one step: `send` writes a frame, and waits while the transport has
enough.

The end comes once, in `_end`, whoever began it: the client with a close frame, or by leaving (1006); the app, or its
failure (1011); a broken rule (1002, 1007, 1009); a missing pong (1011); the server that stops (1012).
"""

import asyncio
import base64
import binascii
import contextlib
import enum
import io
import logging
from collections import deque
from time import perf_counter
from typing import Any

from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import Extension
from wsproto.utilities import generate_accept_token

from .deadline import Deadline
from .events import BadRequest, Request
from .frames import PIECE, Deflate, Frames
from .response import FRAMING, Framing, Response, refusal
from .rules import field_values, list_members
from .scope import client_name
from .service import Service, log_failure
from .types import Message, Scope

logger = logging.getLogger("miniasgi.error")

# Bytes of messages that the app has not taken, and once more of unparsed input, before we stop reading. They are apart
# since a small compressed frame can become a large message: 256 KB of unparsed input were 256 MB of messages.
_HIGH_WATER = 65536
_CLOSING = 5.0  # seconds that a client gets to answer our close frame
# What a handshake settles without the app (RFC 6455 4.2.2): in a `websocket.accept` they are a mistake (W6).
_OURS = (*FRAMING, b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")
# What a 426 must say (RFC 6455 4.4, RFC 9110 7.8).
_VERSION = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"


class ClientDisconnected(OSError):
    """The WebSocket is closed: nobody will read what an app sends to it (ASGI WebSocket 2.4, W10).

    It may escape from the app, and is not logged as a failure then (A10).
    """


class Phase(enum.Enum):
    """How far the session has come; `WebSocket.send` is a `match` over these.

    CONNECTING -> OPEN -> CLOSING -> CLOSED with an accept, CONNECTING -> DENYING -> CLOSED with a response of the
    app's own, and from any of them straight to CLOSED, from which nothing leads back.
    """

    CONNECTING = "websocket.accept, websocket.close or websocket.http.response.start is next"
    DENYING = "websocket.http.response.body is next"
    OPEN = "websocket.send or websocket.close is next"
    CLOSING = "our close frame is out"
    CLOSED = "nobody is there any more"


_UNANSWERED = (Phase.CONNECTING, Phase.DENYING)


class WebSocket(asyncio.Protocol):
    """A client's WebSocket and the one call of the app that serves it.

    `sent` counts bytes of frames and of a denial's content handed to the transport; `status` is what the access log
    shows: the status of the handshake, then the code of the close.

    Made by a `Connection`, which then calls `begin`; from there on the transport calls. In `service.connections`
    until the connection is lost: the server calls `shutdown`, then `leave`, then `abort`.
    """

    frames: Frames

    def __init__(self, service: Service, transport: asyncio.Transport, scope: Scope, response: Response) -> None:
        self.service = service
        self.options = service.websocket
        self.transport = transport
        self.scope = scope
        self.request = response.request
        self.response = response  # if the app denies the handshake
        self.phase = Phase.CONNECTING  # changed only after a message was checked whole
        self.status = 0
        self.sent = 0
        self.client_left = False  # an end that is not the app's doing: what it raises then is no error
        self.began = perf_counter()
        self.task: asyncio.Task[None] | None = None
        # Input, from bytes that nobody has parsed to messages that the app has not taken:
        self._backlog = b""
        self._parts: Any = None  # of the message that is coming in: an io.StringIO or BytesIO
        self._size = 0  # bytes of it, as UTF-8
        self._failure: tuple[int, str] | None = None  # code and reason, as soon as the app has taken what came before
        self._messages: deque[Message] = deque([{"type": "websocket.connect"}])
        self._unread = 0  # bytes in them, or characters of text
        self._arrived = asyncio.Event()  # there is something in `_messages`, or `_failure`
        self._reading = True
        self._drained = asyncio.Event()  # the transport has room, or it is over
        self._drained.set()
        self._deadline = Deadline(service.loop, self._on_deadline)  # for a ping, a pong, or the answer to a close
        self._pinged = False  # a ping of ours is out, and no pong has come

    def __repr__(self) -> str:
        return f"<WebSocket {client_name(self.scope)} {self.phase.name}>"

    # The transport's side:

    def begin(self, early: bytes) -> None:
        """Judges the handshake, and starts the app (W5); `early` is what the client has sent already.

        A handshake that is refused here, with 400, 426 or 503, never reaches the app. For all others the 101 waits
        for `websocket.accept`; so do the frames in `early`, which no app has agreed to hear yet.
        """
        self.service.connections.add(self)
        try:
            self.accept_token = _judge(self.request)
            if self.service.closing or self.service.is_full:
                raise BadRequest(503, "the server stops, or has enough to do")
        except BadRequest as error:
            logger.warning("%s - %s", client_name(self.scope), error)
            self._refuse(error.status)
            return
        self.response.terms.keep_alive = False
        self._backlog = early
        self.task = self.service.start(self._run())
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Some bytes came, of frames; nobody cares once the session is over, or the protocol broken."""
        if self.phase is not Phase.CLOSED and self._failure is None:
            self._backlog += data
            self._advance()

    def eof_received(self) -> None:
        """A client that sends no more can not close as it must: returning None ends the connection.

        Other than with HTTP, half a connection is of no use here: there is no answer that it could be waiting for.
        """
        self.leave(1006)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. That is a 1006, unless the session had its end before (W9)."""
        self.service.connections.discard(self)
        self.leave(1006)
        self._deadline.close()  # last: `_end` may have set it

    def pause_writing(self) -> None:
        """The transport has enough unsent bytes: `send` waits, and pings get no answer."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """It has room again."""
        self._drained.set()

    def _advance(self) -> None:
        """Parses what came until much is waiting for the app: a slow one must hear pings and pongs, too.

        uvicorn stops reading with each message, so that a pong waits behind it, and a healthy client of a slow app
        is cut for want of one. Here reading stops above a mark; and while a pong may be in what was not read, no
        deadline ends it.
        """
        while self._backlog and self._has_room():
            piece, self._backlog = self._backlog[:PIECE], self._backlog[PIECE:]
            self._read(piece)
        reading = len(self._backlog) <= _HIGH_WATER
        if reading is not self._reading and not self.transport.is_closing():
            self._reading = reading
            if reading:
                self.transport.resume_reading()
                if self._pinged:  # the pong may be among what we have not read
                    self._deadline.set(self.options.ping_timeout)
            else:
                self.transport.pause_reading()

    def _has_room(self) -> bool:
        """True if more may be parsed: never before the accept, nor once the session is over."""
        if self.phase is Phase.OPEN:
            return self._unread <= _HIGH_WATER and len(self._messages) <= self.options.max_queue
        return self.phase is Phase.CLOSING  # only the client's answer to our close frame counts

    # Frames:

    def _read(self, data: bytes) -> None:
        """Takes all events of some bytes, up to one that ends the session."""
        for event in self.frames.read(data):
            self.on_event(event)
            if self.phase is Phase.CLOSED or self._failure is not None:
                return

    def on_event(self, event: Event | str | bytes) -> None:
        """Takes one event of the frames; messages only until somebody closes.

        `is_open` is about close frames, not about our phase: who has sent one says no more, and who has got one need
        not be listened to, but for the answer (RFC 6455 5.5.1). Public for the x-ray, which watches it.
        """
        is_open = self.frames.state is ConnectionState.OPEN
        match event:
            case str() if is_open:
                self._on_message(event, len(event.encode()))
            case bytes() if is_open:
                self._on_message(event, len(event))
            case TextMessage() | BytesMessage() if is_open:
                self._on_part(event)
            case Ping() if is_open and self._drained.is_set():  # else it is a flood
                self.transport.write(self.frames.control(event.response()))
            case Pong() if is_open:
                self._pinged = False
                self._deadline.set(self.options.ping_interval)
            case CloseConnection() if is_open:  # of wsproto: the client broke the protocol
                self._refuse_more(int(event.code), event.reason or "")
            case CloseConnection():
                if self.frames.state is ConnectionState.REMOTE_CLOSING:
                    self.transport.write(self.frames.control(event.response()))
                self.leave(int(event.code), event.reason or "")

    def _on_part(self, event: TextMessage | BytesMessage) -> None:
        """A part of a message, maybe the last one (W2). The limit counts while it grows."""
        if self._parts is None:
            # A buffer, not a list of parts: a fragment of one byte would be an object of 34.
            self._parts, self._size = io.StringIO() if isinstance(event, TextMessage) else io.BytesIO(), 0
        self._parts.write(event.data)
        self._size += len(event.data.encode() if isinstance(event, TextMessage) else event.data)
        if event.message_finished or self._size > self.options.max_size:
            data, self._parts = self._parts.getvalue(), None
            self._on_message(data, self._size)

    def _on_message(self, data: str | bytes, size: int) -> None:
        """A whole message of `size` bytes: for the app, or a 1009 if that is over the limit (W14)."""
        if size > self.options.max_size:
            self._refuse_more(1009, f"over {self.options.max_size} bytes")
        else:
            self._unread += len(data)
            self._tell({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    def _tell(self, message: Message) -> None:
        """Puts a message where `receive` finds it, behind those that wait."""
        self._messages.append(message)
        self._arrived.set()

    # The app's side:

    async def _run(self) -> None:
        """Awaits the app: the one place. What it raises is logged once, and ends here (A8, A10).

        An app that ends while the WebSocket is open is an end of that, too (W3): with 1011, whether it raised or
        returned. One that ends before it answered is a 500, or a cut if half a denial is out, whose framing shows
        that.
        """
        try:
            await self.service.app(self.scope, self.receive, self.send)
            if self.phase in _UNANSWERED:
                raise RuntimeError("the app returned before it answered the handshake")
        except (Exception, asyncio.CancelledError) as error:
            client_left = self.client_left or isinstance(error, ClientDisconnected)
            log_failure(f"WebSocket {self.request.target.decode('ascii')}: the app", error, client_left)
        if self.phase is Phase.OPEN:  # W13
            self._close(1011)
        elif self.phase in _UNANSWERED:
            if self.response.framing is Framing.HELD:
                self._refuse(500)
            else:
                self.transport.abort()

    async def receive(self) -> Message:
        """`websocket.connect`, each message, and from the end on `websocket.disconnect` (W7, W9).

        A message has either `text` or `bytes`. The disconnect has the code of the close, 1005 if its frame had none,
        1006 if there was no frame, and the reason; it comes as often as it is asked for, without suspending. What
        the client said before it broke the protocol comes first (W14).
        """
        while not self._messages:
            if self._failure is not None:
                self._fail(*self._failure)
            else:
                self._arrived.clear()
                await self._arrived.wait()
        # The disconnect stays: whoever asks later hears it, too.
        message = self._messages[0]
        if message["type"] != "websocket.disconnect":
            self._messages.popleft()
            self._unread -= len(message.get("text") or message.get("bytes") or b"")
            self._advance()
        return message

    async def send(self, message: Message) -> None:
        """Takes one message of the app, checked whole before anything changes (A6).

        Returns when the bytes are with the transport and more may follow. Raises `ClientDisconnected` once the
        WebSocket is closed (W10); RuntimeError for a message that is out of order, and KeyError, TypeError or
        ValueError for one that is wrong in itself: the app may send another one instead.
        """
        if self.transport.is_closing():  # an error closes a transport before it tells us
            self.leave(1006)
        match self.phase, message.get("type"):
            case Phase.OPEN, "websocket.send":
                self._send(message)
            case Phase.CONNECTING, "websocket.accept":
                self._accept(message)
            case Phase.CONNECTING, "websocket.close":
                self._refuse(403)  # W11
            case Phase.OPEN, "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "")
            case Phase.CONNECTING, "websocket.http.response.start":
                self.response.start(message["status"], message.get("headers", ()), False)
                self.phase = Phase.DENYING
            case Phase.DENYING, "websocket.http.response.body":
                self._deny(message)
            case ((Phase.CLOSING | Phase.CLOSED), _):
                raise ClientDisconnected("the WebSocket is closed")
            case _:
                raise RuntimeError(f"unexpected message {message.get('type')!r}: {self.phase.value}")
        if not self._drained.is_set():
            await self._drained.wait()

    def _accept(self, message: Message) -> None:
        """101, with the app's headers in their order (W6); from here on, frames (RFC 6455 4.2.2).

        The client's key comes back hashed: a server that does not speak this protocol would not know how.
        """
        # All that can raise comes before the write: an app that catches it may accept again.
        known = self.service.header_lines
        fields = [(bytes(name), value) for name, value in message.get("headers", ())]
        if any(name.lower() in _OURS for name, _ in fields):
            raise ValueError(f"websocket.accept must not have the headers {b', '.join(_OURS).decode()}")
        lines = [known[field] for field in fields]
        if subprotocol := message.get("subprotocol"):
            lines.append(known[b"sec-websocket-protocol", str.encode(subprotocol)])
        extensions, accepted = _negotiate(self.request) if self.options.per_message_deflate else ([], "")
        if accepted:
            lines.append(known[b"sec-websocket-extensions", accepted.encode()])
        head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        token = b"sec-websocket-accept: %b\r\n" % self.accept_token  # 28 characters of base64: a SHA-1
        self.transport.write(b"".join([head, token, known.defaults(), *lines, b"\r\n"]))
        self.frames = Frames(extensions)
        self.phase, self.status = Phase.OPEN, 101
        self.service.log(self)
        self._deadline.set(self.options.ping_interval)
        # Frames may have come before the answer.
        self._advance()

    def _send(self, message: Message) -> None:
        """One frame for one message: of `bytes` and `text`, exactly one is not None (W8)."""
        data: Any = message.get("bytes")
        text: Any = message.get("text")
        if (data is None) is (text is None):
            raise ValueError("websocket.send must have either bytes or text (W8)")
        frame = self.frames.text(text) if data is None else self.frames.binary(data)
        self.transport.write(frame)
        self.sent += len(frame)

    def _deny(self, message: Message) -> None:
        """A response of the app in place of the handshake (E1): plain HTTP, and then the end."""
        body, more = message.get("body", b""), bool(message.get("more_body", False))
        if not isinstance(body, bytes):
            raise TypeError(f"body must be bytes, not {type(body).__name__}")
        self.transport.write(self.response.content(body, more))
        self.status = self.response.status
        self.sent += len(body)
        if not more:
            self._end(1006)

    # Endings:

    def shutdown(self) -> None:
        """The server stops: tells client and app, or refuses a handshake that is not answered (W13).

        1012 is "service restart": clients come back, and find the next process. The app hears it at once, and need
        not wait for the client's answer; a denial that has begun is completed.
        """
        self.client_left = self.client_left or self.phase in (Phase.OPEN, Phase.CONNECTING)
        if self.phase is Phase.OPEN:
            # Before the close, so that the app hears 1012 whatever the client answers to that.
            self._tell({"type": "websocket.disconnect", "code": 1012, "reason": ""})
            self._close(1012)
        elif self.phase is Phase.CONNECTING:
            self._refuse(503)

    def leave(self, code: int = 1012, reason: str = "", linger: bool = False) -> None:
        """The client has left, or the app has to treat it so; not if the end was the app's own.

        Also called by a server whose budget ends (1012). An app that closed by itself is not cancelled, and its bugs
        are logged.
        """
        if self.phase not in (Phase.CLOSING, Phase.CLOSED):
            self.client_left = True
            if self.service.cancel_on_disconnect and self.task is not None:
                self.task.cancel()
        self._end(code, reason, linger)

    def abort(self) -> None:
        """Ends the connection now, whatever is unsent. The app hears 1006, from `connection_lost`."""
        self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Answers the handshake for the app, with a status and no detail.

        403 for the app's `websocket.close` (W11); 400 and 426 for a wrong handshake; 500 for an app that failed; 503
        for no room.
        """
        lines = _VERSION if status == 426 else b""
        self.transport.write(refusal(status, self.service.header_lines, extra=lines))
        self.status = status
        self._end(1006)

    def _close(self, code: int, reason: str = "") -> None:
        """Sends a close frame, and gives the client `_CLOSING` seconds to answer it (W12).

        Input that waited is parsed on, as the answer may be in there; messages in it are nobody's any more.
        """
        if not (isinstance(code, int) and 1000 <= code <= 4999 and isinstance(reason, str)):
            raise ValueError(f"{code!r} and {reason!r} are no close code and reason (RFC 6455 7.4, 7.1.6)")
        self.transport.write(self.frames.control(CloseConnection(code, reason)))
        self.phase, self.status = Phase.CLOSING, code
        self._advance()
        self._deadline.set(_CLOSING)

    def _refuse_more(self, code: int, reason: str) -> None:
        """The client broke the protocol, or a limit: what it said before that still counts (W14).

        So the close frame waits until the app has taken that, up to `_CLOSING` seconds. What comes behind is thrown
        away.
        """
        self._failure, self._backlog = (code, reason), b""
        self._deadline.set(_CLOSING)
        if not self._messages:
            self._fail(code, reason)

    def _fail(self, code: int, reason: str) -> None:
        """Closes, because of what the client did, or did not: with a frame that says why, and a line in the log."""
        logger.warning("%s - %d: %s", client_name(self.scope), code, reason)
        self.transport.write(self.frames.control(CloseConnection(code, reason)))
        self.leave(code, reason, linger=True)

    def _end(self, code: int, reason: str = "", linger: bool = False) -> None:
        """Closes the connection, once all is sent, and tells the app and the log: once, however often it is called.

        A client in the middle of sending would answer that with a reset, and lose our close frame: then only our
        side is closed, and its bytes are thrown away for a while (RFC 9112 9.6).
        """
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.OPEN:
            self.status = code  # CLOSING has had our own since `_close`
        self.phase, self._backlog = Phase.CLOSED, b""
        self._tell({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._drained.set()  # a sender that waits hears of the end
        self.service.log(self)
        self.service.on_finished()
        self._deadline.set(_CLOSING)
        if linger and self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # as in connection.py
                self.transport.write_eof()
            self._advance()
        else:
            self.transport.close()

    def _on_deadline(self) -> None:
        """It is time for a ping, or the client was too slow with a pong or a close frame (W1).

        A ping tells two things: to a proxy, that this silent connection is in use; to us, that somebody is still
        there.
        """
        if self.phase is not Phase.OPEN:
            self.transport.abort()
        elif self._failure is not None:  # the app has not taken in time what came before
            self._fail(*self._failure)
        elif self._pinged and not self._backlog:  # else the pong may be in there
            self._fail(1011, "no pong came in time")
        else:
            self._pinged = True
            self.transport.write(self.frames.control(Ping()))
            self._deadline.set(self.options.ping_timeout)


def _judge(request: Request) -> bytes:
    """The accept token of a handshake, or `BadRequest` (RFC 6455 4.2.1).

    426 names the version that we speak (4.4); the key must be 16 bytes in base64, once. `judge` has seen to the
    rest: GET, HTTP/1.1, no content, both upgrade fields.
    """
    if field_values(request.headers, b"sec-websocket-version") != [b"13"]:
        raise BadRequest(426, "WebSocket version other than 13 (RFC 6455 4.4)")
    keys = field_values(request.headers, b"sec-websocket-key")
    with contextlib.suppress(binascii.Error):
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16:
            return generate_accept_token(keys[0])
    raise BadRequest(400, "invalid Sec-WebSocket-Key (RFC 6455 4.2.1)")


def _negotiate(request: Request) -> tuple[list[Extension], str]:
    """The first offer of compression that we can take, and the answer to it (RFC 7692 5).

    An offer that we cannot take, such as a window of 8 bits, is passed over, as the client may have put a second one
    behind it. Without any it is a WebSocket without compression, never an error. ([], "") then.
    """
    for member in list_members(request.headers, b"sec-websocket-extensions"):
        extension, offer = Deflate(), member.decode("latin-1")
        with contextlib.suppress(ValueError):
            if offer.partition(";")[0].strip() == extension.name:
                answer = extension.accept(offer)
                if isinstance(answer, str):
                    return [extension], "; ".join(filter(None, [extension.name, answer]))
    return [], ""

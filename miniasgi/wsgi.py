"""A WSGI app as an ASGI app (PEP 3333; ASGI HTTP 2.5, "WSGI Compatibility").

Owns the environ, `start_response`, and the bridge from a thread of the app to the event loop. Knows
no server, no connection and no framing: it is an ASGI app like any other.

No content is collected, in either direction. A thread that reads waits for the client, one that
writes waits until more may be sent: what blocks a WSGI app is just what would suspend an ASGI app.
"""

import asyncio
import contextlib
import contextvars
import io
import sys
from collections.abc import Callable, Coroutine, Iterable, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from .types import Headers, Message, Receive, Scope, Send

_READ_AHEAD = 262144  # bytes of content that may wait here because we looked whether the client left


class WSGI:
    """Calls `app` in one of at most `threads` threads; when all are busy, requests wait for one (S1).

    A bound, as each thread that serves holds memory and, often, a connection to a database. A request
    that waits costs a task; it can be cancelled, and then the app is never called. One that has begun
    cannot be: nothing ends a thread of Python from outside.
    """

    def __init__(self, app: WSGIApplication, threads: int = 10) -> None:
        self.app = app
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before an accept that is a refusal (W11)
        elif scope["type"] != "http":
            raise RuntimeError(f"WSGI apps know no {scope['type']}")  # so it is "not supported" (L3)
        else:
            bridge = Bridge(receive, send)
            # A call has an object of its own: the app is shared by threads, and its response must not be.
            call = Call(self.app, environ_of(scope, bridge, self.threads), bridge)
            # A context for each request, as an ASGI app has it: what the app leaves in a context
            # variable must not be there for the next request of the same thread.
            context = contextvars.copy_context()
            await bridge.loop.run_in_executor(self._pool, context.run, call.run)


class Bridge(io.RawIOBase):
    """The exchange as a thread sees it: content to read, messages to send, and both block.

    A raw file, of which `io.BufferedReader` makes all that PEP 3333 wants of `wsgi.input`.
    Whatever ends the request early tells `receive` that the client left, and so ends the waiting.

    For one thread at a time: it waits until the event loop has done what it was asked for. So what the
    two sides share needs no lock. Made in the event loop, of which it takes note.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._unread = bytearray()  # the front of what has come
        self._ended = False  # and no more will

    # The thread's side:

    def readable(self) -> bool:
        """True: `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills some of `buffer` and gives the number of bytes; 0 is the end. OSError if the client left.

        The end of the content, never more: an app that reads without a length, or beyond it, must not wait for
        the next request's bytes ("Input and Error Streams"). Waits for the client only if nothing is there.
        """
        while not (self._unread or self._ended):
            self._wait_for(self._fetch)
        count = min(len(buffer), len(self._unread))
        buffer[:count] = self._unread[:count]
        del self._unread[:count]
        return count

    def send(self, *messages: Message) -> None:
        """Returns when more may follow. OSError if the client left, unless this was all.

        Several messages in one go wake up the loop, and wait for it, once: a head goes with its content.
        Raises what the server says of a mistake: TypeError for a str, RuntimeError for too many bytes.
        """
        self._wait_for(self._deliver, *messages)

    def _wait_for(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Message) -> None:
        """Has the event loop run it, and waits; raises what it raised. Never called by the loop's own thread."""
        if self.loop.is_closed():  # the server was forced to stop, and could not stop this thread
            raise ConnectionResetError("nobody serves this request any more")
        asyncio.run_coroutine_threadsafe(function(*args), self.loop).result()

    # The event loop's side:

    async def _fetch(self) -> None:
        """Takes one message of content, as much as there is: more is not asked for before it is wanted."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left")
        self._unread += message.get("body", b"")
        self._ended = not message.get("more_body", False)

    async def _deliver(self, *messages: Message) -> None:
        """Sends, and looks if the client has left, as an app that only yields would write to nobody for ever.

        With `timeout(0)`, what is there is taken, and nothing is waited for. Not when all is sent: then there
        is nothing to be ended, and an exception would come for a response that is complete.
        """
        for message in messages:
            await self._send(message)
        # That the client left is told to those who receive, so we do, without waiting. What comes
        # instead is kept, up to a bound: an app that leaves more than that unread hears of nothing.
        if messages[-1]["more_body"] and (self._ended or len(self._unread) < _READ_AHEAD):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await self._fetch()


class Call:
    """One call of the app: what it tells `start_response`, writes and yields, as ASGI messages.

    The head waits here for the first content, as PEP 3333 says: an app that fails before that has its
    whole response replaced by a 500.
    """

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment, bridge: Bridge) -> None:
        self._app = app
        self._environ = environ
        self._bridge = bridge
        self._start: Message | None = None  # what start_response was told
        self._started = False  # and it has been sent

    def run(self) -> None:
        """Calls the app, in this thread, until its response is complete; raises what the app does.

        `close()` is where frameworks end a session, or give a connection back to its pool: it is called if the
        client left, if the app raised, and if there was nothing to iterate over.
        """
        try:
            result = self._app(self._environ, self.start_response)
            try:
                self._send_all(result)
            finally:
                if hasattr(result, "close"):
                    result.close()  # always, and after the client has the last of it
        except StopIteration as error:  # which no future can carry: the request would hang
            raise RuntimeError("the app raised StopIteration") from error

    def _send_all(self, result: Iterable[bytes]) -> None:
        """Sends each piece as it comes: servers must not delay any (PEP 3333, "Buffering and Streaming").

        An app that yields nothing has a response, too: the last write, which is empty, sends its head.
        """
        if isinstance(result, Sized) and len(result) == 1:
            # Then its length is that of the content (PEP 3333, "Handling the Content-Length Header").
            (piece,) = result
            self.write(piece, more=False)
        else:
            for piece in result:
                self.write(piece)
            self.write(b"", more=False)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Takes the head, which waits for the first content that is not empty; gives `write`.

        `status` is like "200 OK", and `headers` are pairs of str in Latin-1. Once more is only for errors,
        with `exc_info`: raises that if the head is with the client, or else replaces it. RuntimeError for a
        second call without it; ValueError for a status without a number, or a header of other characters.

        What a header may contain is the server's to say, when the head is sent: the ASGI side checks it for
        all apps, and a CR LF in a value is a 500 and no second header.
        """
        try:
            if exc_info and self._started:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._start and not exc_info:
                raise RuntimeError("start_response was called twice, and without exc_info (PEP 3333)")
        finally:
            exc_info = None  # a traceback that holds its own frame is a cycle, says PEP 3333
        code = int(status.partition(" ")[0])  # the reason is not for ASGI (S3)
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": code, "headers": fields}
        return self.write

    def write(self, data: bytes, more: bool = True) -> None:
        """Sends some content, after the head if it is the first; returns when more may follow.

        Empty content sends nothing, so that the head can still be replaced, unless it is the last.
        RuntimeError if there is no head; OSError if the client left.
        """
        if self._start is None:
            raise RuntimeError("the app gave content before it called start_response (PEP 3333)")
        if data or not more:
            head = [] if self._started else [self._start]
            self._bridge.send(*head, {"type": "http.response.body", "body": data, "more_body": more})
            self._started = True


def environ_of(scope: Scope, content: io.RawIOBase, threads: int) -> WSGIEnvironment:
    """The environ of a request (S2, S5): a dict whose text is bytes decoded as Latin-1.

    So "é" in a path, two bytes of UTF-8, is two characters here; frameworks turn them back. It is a true dict
    and of nobody else, as apps change it. `content` is a raw file, read when the app reads.
    """
    mount = scope.get("root_path", "").rstrip("/")
    host, port = scope.get("server") or ("localhost", None)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _text(mount.encode()),
        "PATH_INFO": _text(scope["path"].removeprefix(mount).encode()),
        "QUERY_STRING": _text(scope["query_string"]),
        "SERVER_NAME": "localhost" if port is None else host,  # the path of a unix socket is no name
        "SERVER_PORT": str(port or {"http": 80, "https": 443}[scope["scheme"]]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BufferedReader(content),
        # Not in PEP 3333, whose apps may count on CONTENT_LENGTH alone: a chunked request has none.
        "wsgi.input_terminated": True,  # tells Werkzeug that it may read content of unknown length
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": True,  # for all that we know
        "wsgi.run_once": False,
    }
    if client := scope.get("client"):
        environ |= {"REMOTE_ADDR": client[0], "REMOTE_PORT": str(client[1] or "")}
    return environ | _fields(scope["headers"])


def _fields(headers: Headers) -> dict[str, str]:
    """The header fields by their names in an environ (RFC 3875 4.1.18), the lines of each joined.

    In time that grows with the head and no faster; how many fields there are has been limited.
    """
    fields: dict[str, list[bytes]] = {}
    for name, value in headers:
        # X_Y would overwrite what a proxy says in X-Y; HTTP_PROXY would steer our own requests
        # (httpoxy, CVE-2016-5385).
        if b"_" not in name and name != b"proxy":
            key = _text(name.upper()).replace("-", "_")
            prefix = "" if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_"
            fields.setdefault(prefix + key, []).append(value)
    # Lines of a list may be joined (RFC 9110 5.3); the pairs of a cookie have another comma (RFC 9113 8.2.3).
    return {key: _text((b"; " if key == "HTTP_COOKIE" else b",").join(values)) for key, values in fields.items()}


def _text(data: bytes) -> str:
    """Bytes as PEP 3333 has them in a str, one character each ("Unicode Issues"): nothing can fail, or get lost."""
    return data.decode("latin-1")

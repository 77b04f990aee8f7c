"""What all connections of one server share, and the shapes of what they are given.

Owns the start of an app's calls, and the line in the log when one fails. Knows neither a connection
nor an option: whoever reads the options fills a `Service`, and each connection takes from it what it
needs.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .events import Event, Request
from .response import HeaderLines
from .rules import Limits
from .tls import Tls
from .types import App, Scope

logger = logging.getLogger("miniasgi.error")


class Parser(Protocol):
    """Bytes to events; raises `BadRequest` after the events before it.

    `Parser(limits)` is for one connection. `feed(data)` gives an iterator over the events that `data` completes,
    which works as it is asked: take all of it, or be done with the parser, before you feed it again. However the
    bytes are cut, the events are the same, but for the cuts in content.
    """

    def __init__(self, limits: Limits) -> None: ...

    unread: bytes
    """What came behind the latest `Request`, if that asks for an upgrade."""

    def feed(self, data: bytes) -> Iterator[Event]: ...


class Exchange(Protocol):
    """What the access log tells of: an answered request, or a WebSocket that was accepted, refused or closed.

    `began` is `perf_counter`, in seconds; `sent` counts bytes of content or of frames; `status` is that of the
    response, or the code of a WebSocket's close, and 0 if the client left before there was any.
    """

    scope: Scope
    request: Request
    began: float
    sent: int

    @property
    def status(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines for a client, in seconds; `math.inf` for none (0, to the options of the first two).

    None is for the app: how long its work may take is not for a server to know.
    """

    head: float = 10.0  # from the first byte (or the connection) to the end of the head
    body: float = 60.0  # without any content, while the app waits for it
    keep_alive: float = 5.0  # idle between two requests


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Limits of a WebSocket, in bytes, messages and seconds (`math.inf` for none): `--ws-*`."""

    max_size: int = 16777216  # of a message
    max_queue: int = 32  # messages that the app has not taken
    ping_interval: float = 20.0  # since the last pong
    ping_timeout: float = 20.0  # from a ping to its pong
    per_message_deflate: bool = True  # if the client offers it (RFC 7692)
    enabled: bool = True  # else upgrades are ignored


@dataclass(slots=True)
class Service:
    """What all connections of one server share, and what they tell it.

    One per server, in one thread. The server fills it before it accepts, and looks at `connections` and `tasks` when
    it stops: it waits until both are empty. Connections read the rest, and change nothing but those two.
    """

    app: App
    loop: asyncio.AbstractEventLoop
    parser_class: type[Parser]
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    websocket: WebSocketOptions = WebSocketOptions()
    websocket_class: Any = None  # in place of the connection's
    header_lines: HeaderLines = field(default_factory=HeaderLines)
    tls: Tls | None = None
    root_path: str = ""
    state: dict[str, Any] = field(default_factory=dict)  # of the lifespan; each scope gets a copy (L6)
    concurrency: int | None = None  # tasks of the app at one time
    reset_contextvars: bool = False
    cancel_on_disconnect: bool = False
    connections: "set[Any]" = field(default_factory=set)  # each has `shutdown`, `leave` and `abort`
    tasks: set[asyncio.Task[None]] = field(default_factory=set)  # calls of the app that have not ended
    log: Callable[[Exchange], None] = lambda exchange: None  # one line of the access log
    on_finished: Callable[[], None] = lambda: None  # one more request or WebSocket
    closing: bool = False  # the server stops: each response is the last one of its connection

    @property
    def is_full(self) -> bool:
        """True if the app has enough to do. Counts calls, not connections: an idle one is no work."""
        return self.concurrency is not None and len(self.tasks) >= self.concurrency

    def start(self, answer: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a call of the app, which runs at the next turn of the event loop.

        Never right here, which Python 3.12 could (`eager_start`), and a task factory of the app's might: nobody who
        calls this has to think of being called back from inside. It would also save 4 % of the smallest request, but
        cost 3 to 8 % of FastAPI's with busy clients: apps that run in a row find their code in the CPU's caches.

        `tasks` keeps it alive: the loop itself keeps tasks only weakly. An empty context (`--reset-contextvars`)
        keeps from the app what the program has set.
        """
        context = contextvars.Context() if self.reset_contextvars else None
        task = asyncio.Task(answer, loop=self.loop, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


def log_failure(call: str, error: BaseException, client_left: bool = False) -> None:
    """Logs what a call of the app raised; no error if that is because its client has left (H24, W10).

    `call` begins the line: "GET /: the app". The traceback begins in the app.
    """
    if client_left:
        logger.debug("%s ended with %r: its client had left", call, error)
    else:
        frames = error.__traceback__ and error.__traceback__.tb_next  # the app's: we are the outermost
        logger.error("%s failed: %r", call, error, exc_info=error.with_traceback(frames))

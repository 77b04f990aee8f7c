"""What the x-ray keeps: a `Trace` for each request, and in it the `Hop`s of its way.

Owns the shape of what was seen, and its copy at the moment it is seen: cut, and freed from secrets,
as messages change later and pages last longer. Knows nobody who sees, and nobody who shows.

All times are nanoseconds of `time.perf_counter_ns`, which is the same for all processes of a machine.
"""

import asyncio
import base64
import functools
import inspect
import os
import reprlib
import sysconfig
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter_ns, time
from types import CodeType
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

from .secrets import Secrets

Layer = Literal[
    "client", "socket", "parser", "server", "asgi", "middleware", "fastapi", "pydantic", "app", "gpu"
]  # fmt: skip

MOST_BYTES = 4096  # of each field that is kept
MOST_HOPS = 2000  # of a trace: a WebSocket may live for days

_HOME = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ROOTS = (_HOME, *(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib", "stdlib")))

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = MOST_BYTES
_repr.maxdict = _repr.maxlist = _repr.maxtuple = _repr.maxset = 64


class Place(NamedTuple):
    """A line of source: an absolute path, and a line counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        """`cycle.py:61` in the server, `fastapi/routing.py:439` in a package, `main.py:7` in the current directory."""
        roots = (*_ROOTS, os.getcwd() + os.sep)
        root = max((root for root in roots if self.file.startswith(root)), key=len, default="")
        return f"{self.file.removeprefix(root)}:{self.line}"


def place_of(function: Any) -> Place | None:
    """Where a function, a method, a class, or the class of a callable object is written; None for C."""
    function = getattr(function, "func", function)  # of a partial
    if isinstance(function, type):
        return _place_of_class(function)
    for candidate in (function, getattr(function, "__call__", None)):  # noqa: B004
        code = getattr(candidate, "__code__", None)
        if isinstance(code, CodeType):
            return _place_of_code(code)
    return None


@functools.cache
def _place_of_class(cls: type) -> Place | None:
    try:
        return Place(inspect.getfile(cls), inspect.getsourcelines(cls)[1])
    except (OSError, TypeError):  # made at run time, or in C
        return None


@functools.cache
def _place_of_code(code: CodeType) -> Place:
    return Place(os.path.abspath(code.co_filename), code.co_firstlineno)


@dataclass(slots=True)
class Hop:
    """One step of a request: `end_ns` equals `start_ns` for an instant, and is None while it lasts."""

    layer: Layer
    name: str
    start_ns: int
    end_ns: int | None = None
    data: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # up to MOST_BYTES
    size: int = 0  # bytes that `raw` had before it was cut
    where: Place | None = None
    thread: str = ""  # empty for the event loop's
    failed: bool = False
    waits: bool = False  # only waits: what happens meanwhile is no part of it

    def json(self) -> dict[str, Any]:
        """For the page and the files; times are absolute, `raw` is base64."""
        return {
            "layer": self.layer,
            "name": self.name,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "data": self.data,
            "raw": None if self.raw is None else base64.b64encode(self.raw).decode(),
            "size": self.size,
            "where": self.where and str(self.where),
            "place": self.where and list(self.where),
            "thread": self.thread,
            "failed": self.failed,
            "waits": self.waits,
        }

    @classmethod
    def from_json(cls, seen: dict[str, Any]) -> "Hop":
        """A hop that another process has seen; both must be of one machine, for the times."""
        raw, place = seen["raw"], seen["place"]
        fields = {name: seen[name] for name in cls.__dataclass_fields__ if name not in ("raw", "where")}
        return cls(**fields, raw=raw and base64.b64decode(raw), where=place and Place(*place))


@dataclass(slots=True, weakref_slot=True, eq=False)
class Trace:
    """All that was seen of one request, or of one WebSocket; `id` is the W3C trace id, 32 hex digits."""

    id: str
    number: int
    connection: str  # the client's `host:port`
    title: str = ""  # request line without the version
    status: int | None = None
    began: float = field(default_factory=time)  # seconds since the epoch, for people
    hops: list[Hop] = field(default_factory=list)
    done: bool = False
    told: bool = False  # in the log
    dropped: int = 0  # hops over MOST_HOPS
    secrets: Secrets = field(default_factory=Secrets)
    changed: Callable[["Trace"], None] = lambda trace: None
    tasks: "WeakSet[asyncio.Task[Any]]" = field(default_factory=WeakSet)  # that the app was called in

    @property
    def start_ns(self) -> int:
        return min((hop.start_ns for hop in self.hops), default=0)

    @property
    def end_ns(self) -> int:
        """Of the last hop; the present moment while one lasts."""
        ends = (hop.start_ns if hop.end_ns is None else hop.end_ns for hop in self.hops)
        return perf_counter_ns() if not self.done else max(ends, default=0)

    @property
    def failed(self) -> bool:
        """A hop of it has failed, or the answer says so; over 1000 are the close codes of WebSockets."""
        return 500 <= (self.status or 0) < 600 or any(hop.failed for hop in self.hops)

    def add(self, hop: Hop) -> None:
        """Keeps a hop, unless there are too many."""
        if len(self.hops) < MOST_HOPS:
            self.hops.append(hop)
        else:
            self.dropped += 1
        self.changed(self)

    def learn(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Hides what these headers tell to be secret, also where it was seen before: a new token, say."""
        self.secrets.learn(headers)
        for hop in list(self.hops):
            hop.name = self.secrets.mask(hop.name)
            hop.data = {name: self.secrets.mask(text) for name, text in hop.data.items()}
            hop.raw = hop.raw and self.secrets.mask_bytes(hop.raw)

    def begin(
        self, layer: Layer, name: str, where: Place | None = None, raw: Any = None, /, waits: bool = False, **data: Any
    ) -> Hop:
        """Keeps a hop that begins now; see `end`. The data is copied, cut and masked here."""
        hop = Hop(layer, self.secrets.mask(name), perf_counter_ns(), where=where, thread=thread_name(), waits=waits)
        self.describe(hop, raw, **data)
        self.add(hop)
        hop.start_ns = perf_counter_ns()  # what we do is no part of it
        return hop

    def instant(self, layer: Layer, name: str, where: Place | None = None, raw: Any = None, /, **data: Any) -> Hop:
        """Keeps a hop that takes no time."""
        hop = self.begin(layer, name, where, raw, **data)
        hop.end_ns = hop.start_ns
        return hop

    def end(self, hop: Hop, error: BaseException | None = None, /, **data: Any) -> None:
        """The hop is over, now; `error` if it failed, or was cancelled, which is no failure."""
        hop.end_ns = perf_counter_ns()
        if isinstance(error, Exception):
            hop.failed = True
            data["error"] = error
        elif error is not None:
            data["cancelled"] = type(error).__name__
        self.describe(hop, **data)
        self.changed(self)

    def describe(self, hop: Hop, raw: Any = None, /, **data: Any) -> None:
        """Adds what was seen to a hop. `raw` is bytes; values are shown as text, and None is not."""
        hop.data |= {
            name: self.secrets.mask_field(name, shown(value)) for name, value in data.items() if value is not None
        }
        if raw is not None:
            hop.raw, hop.size = self.secrets.mask_bytes(bytes(raw[: 2 * MOST_BYTES]))[:MOST_BYTES], len(raw)

    def json(self) -> dict[str, Any]:
        """The whole trace; see `summary` for what stands in a list."""
        return self.summary() | {"hops": [hop.json() for hop in self.hops]}

    def summary(self) -> dict[str, Any]:
        """What a list of requests shows."""
        return {
            "id": self.id,
            "number": self.number,
            "connection": self.connection,
            "title": self.title,
            "status": self.status,
            "began": self.began,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "done": self.done,
            "failed": self.failed,
            "dropped": self.dropped,
        }


def shown(value: Any) -> str:
    """A value as text: a string as it is, all else as its repr, of at most MOST_BYTES characters."""
    text = value if isinstance(value, str) else _repr.repr(value)
    return text if len(text) <= MOST_BYTES else text[: MOST_BYTES - 3] + "..."


def thread_name() -> str:
    """The present thread's, empty if the event loop runs in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return threading.current_thread().name
    return ""

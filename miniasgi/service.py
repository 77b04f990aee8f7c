"""What all connections of one server share, and the shapes of what they are given.

Owns no behaviour. Knows neither a connection nor an option: whoever reads the options fills a
`Service`, and each connection takes from it what it needs.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .cycle import Cycle
from .events import Event
from .response import HeaderLines
from .rules import Limits
from .types import App


class Parser(Protocol):
    """Bytes to events; raises `BadRequest` after the events before it."""

    def __init__(self, limits: Limits) -> None: ...

    def feed(self, data: bytes) -> Iterator[Event]: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines for a client, in seconds; `math.inf` for none."""

    head: float = 10.0  # from the first byte (or the connection) to the end of the head
    body: float = 60.0  # without any content, while the app waits for it
    keep_alive: float = 5.0  # idle between two requests


@dataclass(slots=True)
class Service:
    """What all connections of one server share, and what they tell it."""

    app: App
    loop: asyncio.AbstractEventLoop
    parser_class: type[Parser]
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    header_lines: HeaderLines = field(default_factory=HeaderLines)
    root_path: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    concurrency: int | None = None  # tasks of the app at one time
    cancel_on_disconnect: bool = False
    connections: "set[Any]" = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    on_finished: Callable[[Cycle], None] = lambda cycle: None  # a request was answered, or never will be
    closing: bool = False

"""More words, for tests of servers that do not simply start, and of their sockets."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miniasgi.types import App, Receive, Scope, Send

from .vocabulary import Client, Gate, answer, get

QUIET: dict[str, Any] = {"port": 0, "access_log": False, "log_config": None}


class Diary:
    """An app with a lifespan that writes down what it is asked; requests are for `app`."""

    def __init__(self, app: App | None = None, opening: Gate | None = None, closing: Gate | None = None) -> None:
        self.app = app or answer()
        self.opening, self.closing = opening, closing
        self.lines: list[str] = []
        self.on_shutdown: Callable[[], object] = list

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        for gate in (self.opening, self.closing):
            message = await receive()
            self.lines.append(message["type"])
            if message["type"] == "lifespan.shutdown":
                self.on_shutdown()
            if gate is not None:
                await gate.wait()
            await send({"type": f"{message['type']}.complete"})


BOTH = ["lifespan.startup", "lifespan.shutdown"]


def listener(reuse: bool = False) -> socket.socket:
    """A TCP socket on a free port, bound and not listening."""
    sock = socket.socket()
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def fetch(where: Any) -> bytes:
    """The content of one response, over TCP or from a unix socket."""
    unix = isinstance(where, Path)
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family) as sock:
        sock.connect(str(where) if unix else where)
        return Client(sock).ask(get("/", "Connection: close")).body


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))

"""Who is measured: how each server is started, and what it is called.

Access logs are off, unless the workload is about them; everything else is as the server's users have it.
"""

import contextlib
import importlib.util
import socket
import sys
from dataclasses import dataclass

from .workloads import Workload

UVICORN = "uvicorn"  # what all others are compared with
UVICORN_H11 = "uvicorn h11+asyncio"


@dataclass(frozen=True)
class Server:
    """A command with `{app}` and `{port}` in it; `quiet` is how it is told to log no request."""

    name: str
    command: tuple[str, ...]
    quiet: tuple[str, ...] = ()
    package: str = ""  # that it is in, if it may be missing
    reference: str = UVICORN
    is_floor: bool = False

    def can(self, workload: Workload) -> bool:
        """False if the workload would mean something else here: the floor has one answer, and others log elsewhere."""
        if workload.logs:
            return self.command[0] in ("miniasgi", "uvicorn")
        return workload.app == "apps:plaintext" and not workload.opening if self.is_floor else True

    @property
    def is_one_process(self) -> bool:
        return self.command[0] in ("miniasgi", "uvicorn")

    @property
    def is_installed(self) -> bool:
        return not self.package or importlib.util.find_spec(self.package) is not None

    def line(self, app: str, port: int, access_log: bool = False) -> list[str]:
        """The whole command."""
        words = [word.format(app=app, port=port) for word in self.command]
        return [sys.executable, "-m", *words, *(() if access_log else self.quiet)]


def _ours(http: str, loop: str, reference: str = UVICORN) -> Server:
    return _like_uvicorn("miniasgi", http, loop, reference)


def _like_uvicorn(server: str, http: str, loop: str, reference: str = UVICORN, package: str = "") -> Server:
    command = (server, "{app}", "--port", "{port}", "--log-level", "info", "--http", http, "--loop", loop)
    fast = (http, loop) == ("httptools", "uvloop")
    quiet = ("--no-access-log", "--log-level", "warning")
    return Server(server if fast else f"{server} {http}+{loop}", command, quiet, package, reference)


SERVERS = (
    _ours("httptools", "uvloop"),
    _like_uvicorn("uvicorn", "httptools", "uvloop"),
    _ours("h11", "asyncio", UVICORN_H11),
    _like_uvicorn("uvicorn", "h11", "asyncio", UVICORN_H11),
    _ours("httptools", "asyncio"),
    _ours("h11", "uvloop"),
    _like_uvicorn("uvicorn", "zttp", "uvloop", package="zttp"),
    Server(
        "hypercorn",
        ("hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--worker-class", "uvloop", "--log-level", "warning"),
        package="hypercorn",
    ),
    Server(
        "granian",
        ("granian", "{app}", "--interface", "asgi", "--port", "{port}", "--loop", "uvloop", "--log-level", "warning"),
        ("--no-access-log",),
        package="granian",
    ),
    Server("daphne", ("daphne", "{app}", "--port", "{port}", "--verbosity", "0"), package="daphne"),
    Server(
        "gunicorn",
        ("gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--worker-class", "asgi", "--log-level", "warning"),
        package="gunicorn.workers.gasgi",
    ),
    Server("floor: canned", ("benchmarks.floor", "{app}", "{port}"), is_floor=True),
    Server("floor: httptools", ("benchmarks.floor", "{app}", "{port}", "--parse"), is_floor=True),
)
NAMED = {server.name: server for server in SERVERS}


def free_ports(count: int = 1) -> list[int]:
    """All at once, or the same one might be given twice."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]

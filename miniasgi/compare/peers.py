"""Servers as processes: the command line of each, its start, and its end.

Owns how a user would start it, with its noise off, and what to say if that fails. A server is a word:
`uvicorn`, or `uvicorn:h11` for one with another parser. Knows nothing of what it is asked.
"""

import asyncio
import contextlib
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

_PACKAGES = str(Path(__file__).parents[2])
_PORTS = range(20000, 32000)  # below those that a system gives to clients, so none is taken meanwhile
_STOP = 2.0  # seconds to end in; there is nothing to lose
_SENTENCE = "miniasgi.importer.ConfigError: "
_SHOWN = 12  # last lines of what a server has said


class Mistake(click.ClickException):
    """The user's, in one sentence."""

    exit_code = 2


class _Peer(NamedTuple):
    words: str
    variant: str = ""  # the option that chooses its parser, or what else can be chosen


_PEERS = {
    "miniasgi": _Peer("--port {port} --no-access-log --log-level warning {app}", "--http"),
    "uvicorn": _Peer("--port {port} --no-access-log --log-level warning {app}", "--http"),
    "hypercorn": _Peer("--bind 127.0.0.1:{port} --log-level warning {app}", "--worker-class"),
    "granian": _Peer("--interface asgi --port {port} --no-access-log --log-level warning {app}", "--loop"),
    "daphne": _Peer("--port {port} --verbosity 0 {app}"),
    "gunicorn": _Peer("--bind 127.0.0.1:{port} --log-level warning {app}", "--worker-class"),
}
_DEFAULTS = {"gunicorn": "asgi"}  # its own default serves WSGI


def command(peer: str, app: str, port: int) -> list[str]:
    """What to run; Mistake for a server that we do not know, or that is not there."""
    name, _, variant = peer.partition(":")
    known = _PEERS.get(name)
    if known is None:
        raise Mistake(f"{name!r} is no server that I know: they are {', '.join(_PEERS)}")
    if variant and not known.variant:
        raise Mistake(f"{name} has no variants: leave out {variant!r}")
    if importlib.util.find_spec(name) is None:
        raise Mistake(f"{name} is not installed: try `pip install {name}`")
    variant = variant or _DEFAULTS.get(name, "")
    words = [word.format(app=app, port=port) for word in known.words.split()]
    return [sys.executable, "-m", name, *([known.variant, variant] if variant else []), *words]


def free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise Mistake("there is no free port")


class Peer:
    """A running server."""

    def __init__(self, name: str, app: str, directory: Path, log: Path, environment: dict[str, str]) -> None:
        self.name, self.port, self._log = name, free_port(), log
        words = command(name, app, self.port)
        path = os.pathsep.join(filter(None, [str(directory), _PACKAGES, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path} | environment
        with log.open("wb") as output:
            # A group of its own, as some have workers.
            self._process = subprocess.Popen(
                words, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )

    async def wait(self, patience: float) -> None:
        """Until it listens; Mistake if it ends before, or takes too long."""
        deadline = time.monotonic() + patience
        while not self._listens():
            if self._process.poll() is not None:
                why = f"ended with a status of {self._process.returncode} instead of serving"
                raise Mistake(f"{self.name} {why}{self._said()}")
            if time.monotonic() > deadline:
                raise Mistake(f"{self.name} did not listen within {patience:g} s{self._said()}")
            await asyncio.sleep(0.02)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _said(self) -> str:
        """Its last words: if the app cannot be had, the sentence that says so, without the way to it."""
        words = self._log.read_text(errors="replace").strip().rpartition(_SENTENCE)[2].removeprefix("Error: ")
        lines = words.splitlines()[-_SHOWN:]
        return "; its last words:\n  " + "\n  ".join(lines) if lines else ""

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


@contextlib.contextmanager
def running(name: str, app: str, directory: Path, log: Path, **environment: str) -> Iterator[Peer]:
    """A `Peer` that ends with the block."""
    peer = Peer(name, app, directory, log, environment)
    try:
        yield peer
    finally:
        peer.stop()

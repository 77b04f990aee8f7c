"""A worker class for gunicorn: `gunicorn main:app -k miniasgi.workers.MiniasgiWorker`.

Owns the way between the two: gunicorn's settings become a `Config`, its signals reach a `Server`, and
its arbiter hears a heartbeat. Knows no socket and no byte. Nobody but gunicorn imports it, and nothing
else here knows of gunicorn.

gunicorn's arbiter is what `supervisor.py` is here: it binds, forks, counts and kills. Its words are
signals, and the time of a file that each worker touches.
"""

import asyncio
import os
import signal
from typing import Any

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from . import logs
from .config import Config
from .importer import ConfigError
from .server import Server

_BEAT = 0.5  # seconds; the shortest timeout of gunicorn is 1


class _Server(Server):
    """One whose arbiter says, to systemd too, where it listens and when it stops."""

    worker: "MiniasgiWorker"

    def on_accepting(self, sockets: list[Any]) -> None:
        """The arbiter has said where; that the app has started is for `run` to know."""
        self.worker.booted = True  # from now on a failure is worth another try

    def on_stopping(self) -> None:
        """Says nothing: others go on."""


class MiniasgiWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A process of gunicorn's that serves. A subclass may set more options of `Config`.

    Its CONFIG_KWARGS win over what gunicorn's settings have become. Logs, TLS, the address, `--timeout`,
    `--graceful-timeout`, `--keep-alive`, `--max-requests` and `--forwarded-allow-ips` are gunicorn's.
    """

    CONFIG_KWARGS: dict[str, Any] = {}  # noqa: RUF012  # as it is named in uvicorn's

    def run(self) -> None:
        """Serves until told to stop. Exits so that gunicorn gives up, too, if that cannot begin.

        With WORKER_BOOT_ERROR the arbiter halts; with any other status it would fork the next, which fails
        as well, without end. Not if we were told to stop while starting: that is no failure.
        """
        # gunicorn has set it just before, as its own workers cannot fail any more when they run.
        self.booted = False
        try:
            server = _Server(self._config())
            server.worker = self
            for number in (signal.SIGQUIT, signal.SIGINT):  # this one after the server, which takes it first
                signal.signal(number, lambda *_: self._quit(server))
            with asyncio.Runner(loop_factory=server.config.loop_factory()) as runner:
                runner.run(self._serve(server))
        except ConfigError as error:
            self.log.error("%s", error)
        if self.alive and not self.booted:
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR)

    async def _serve(self, server: Server) -> None:
        """Serves, and tells the arbiter meanwhile that the event loop turns.

        From within the loop: if the app blocks it for longer than `--timeout`, there is no heartbeat, and
        the arbiter kills the worker, as gunicorn's users expect. While the app starts, the loop turns, so
        that a start may take its time. A worker whose arbiter was killed has another parent: it stops.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        serving = asyncio.create_task(server.serve([listener.sock for listener in self.sockets]))
        while not serving.done():
            self.notify()
            if not self.alive or self.ppid != os.getppid():  # told before the server was there, or left alone
                server.should_exit = True
            await asyncio.wait([serving], timeout=_BEAT)
        await serving

    def _quit(self, server: Server) -> None:
        """SIGQUIT stops at once. (The first SIGTERM or SIGINT stops the server gracefully.)"""
        self.alive = False
        self.cfg.worker_int(self)
        server.should_exit = server.force_exit = True

    def _config(self) -> Config:
        """gunicorn's settings as ours; ConfigError for a mistake in CONFIG_KWARGS.

        Its loggers' handlers become ours, before a line is written: one format, one file, and SIGUSR1 has
        them opened anew. Times are seconds in both.
        """
        for ours, theirs in (logs.error_logger, self.log.error_log), (logs.access_logger, self.log.access_log):
            ours.handlers, ours.propagate = theirs.handlers, False
            ours.setLevel(theirs.level)
        options = {
            "log_config": None,
            "backlog": self.cfg.backlog,
            "timeout_keep_alive": self.cfg.keepalive,
            "timeout_graceful_shutdown": self.cfg.graceful_timeout * 0.8,  # the app shuts down before SIGKILL comes
            "limit_max_requests": self.max_requests,
            "forwarded_allow_ips": ",".join(self.cfg.forwarded_allow_ips),
            "ssl_context_factory": (lambda *_: sock.ssl_context(self.cfg)) if self.cfg.is_ssl else None,
        }
        return Config(self.wsgi, **options | self.CONFIG_KWARGS)

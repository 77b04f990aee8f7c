"""Bind, start up, serve, drain, shut down: the life of one server process.

Owns the signals and the order of all that. Knows no byte of HTTP and no ASGI message: connections
and the lifespan do. Nothing here wakes up while the server is idle.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

from .config import Config
from .connection import Connection
from .importer import ConfigError
from .lifespan import Lifespan, LifespanFailure
from .service import Service
from .sockets import address, bind, reason

logger = logging.getLogger("miniasgi.error")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_CALL = 5.0  # seconds before the end of the budget, when streams are told to end
_POLL = 0.02  # seconds, while draining only
# From 3.13 on asyncio would remove the path of any unix socket; it may be systemd's, say.
_KEEP_PATH: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Server:
    """`run()` blocks; `await serve()` fits into a running loop, also of another thread.

    `started` once connections are accepted. Set `should_exit` (from any thread) to stop, as a
    signal does; `force_exit`, as a second signal does, to stop waiting for anybody.
    """

    connection_class = Connection

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        self.servers: list[asyncio.Server] = []
        self.lifespan: Lifespan | None = None
        self.service: Service | None = None
        self._ours: list[socket.socket] = []  # those that nobody gave us
        self._path: str | None = None  # of our own unix socket
        self._should_exit = False
        self._forced = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._signals: list[int] = []

    @property
    def should_exit(self) -> bool:
        """True when the server stops, or is about to."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._wake()

    @property
    def force_exit(self) -> bool:
        """True when the server no longer waits for requests that are being answered."""
        return self._forced > 0

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._forced = self._forced + 1 if value else 0
        self._wake()

    def _wake(self) -> None:
        """A loop that sleeps until something happens has to be told, from any thread."""
        if self._loop is not None and self._changed is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop, in an event loop of the kind that the options ask for."""
        with asyncio.Runner(loop_factory=self.config.loop_factory()) as runner:
            runner.run(self.serve(sockets))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop. ConfigError if the app or an address cannot be had."""
        with self._captured_signals():
            self.config.setup_logging()
            await self.startup(sockets)
            if not self.started:
                return
            try:
                await self._until(lambda: self._should_exit)
            except asyncio.CancelledError:  # a program that cancels us is in no mood to wait
                self.force_exit = True
                raise
            finally:
                await self.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, then starts the app, and only then accepts (L4).

        In this order "address in use" comes before a model has been loaded, and whoever can
        connect finds an app that is ready. Leaves `started` False if the app cannot start.
        """
        config = self.config
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        logger.info("Started server process [%d]", os.getpid())
        config.parser_class()  # if it is not installed, now is the time to say so
        if sockets is None:
            self._ours = sockets = bind(config)
            self._path = config.uds if config.fd is None else None
        try:
            app = config.load_app()
            self.lifespan = Lifespan(app, config.lifespan)
            if await self._start_app(self.lifespan):
                self.service = config.service(app, self.lifespan.state)
                self.service.on_finished = self._stop_after(config.max_requests())
                await self._listen(sockets, self.service)
        finally:
            if not self.started:
                self._stop_listening()
                if self.lifespan is not None:
                    await self.lifespan.shutdown()

    async def _start_app(self, lifespan: Lifespan) -> bool:
        try:  # a stop may come while, say, a model is loading
            return await self._unless(lambda: self._should_exit, lifespan.startup())
        except LifespanFailure as failure:
            logger.error("%s", failure)
            logger.error("Application startup failed. Exiting.")
            return False

    async def _listen(self, sockets: list[socket.socket], service: Service) -> None:
        loop, backlog = asyncio.get_running_loop(), self.config.backlog
        factory = functools.partial(self.connection_class, service)
        for sock in sockets:
            try:
                sock.listen(backlog)  # the loop does it again, but uvloop tells nobody if it fails
            except OSError as error:  # somebody else bound as we did, and was faster to listen
                raise ConfigError(f"cannot listen on {address(sock)}: {reason(error)}") from None
            if sock.family == getattr(socket, "AF_UNIX", None):
                server = await loop.create_unix_server(factory, sock=sock, backlog=backlog, **_KEEP_PATH)
            else:
                server = await loop.create_server(factory, sock=sock, backlog=backlog)
            self.servers.append(server)
            logger.info("miniasgi running on %s (Press CTRL+C to quit)", address(sock))
        self.started = True

    def _stop_after(self, requests: int | None) -> "functools.partial[None] | None":
        return None if requests is None else functools.partial(self._count, requests)

    def _count(self, most: int, finished: int) -> None:
        if finished >= most and not self._should_exit:
            logger.info("%d requests served: stopping (--limit-max-requests)", finished)
            self.should_exit = True

    # The end:

    async def shutdown(self) -> None:
        """Stops accepting, lets requests end within the budget, then shuts the app down (L8)."""
        logger.info("Shutting down")
        service, lifespan = self.service, self.lifespan
        assert service is not None
        assert lifespan is not None
        service.closing = True
        self._stop_listening()
        for _ in range(2):  # turns of the loop, until whom it just accepted is a connection
            await asyncio.sleep(0)
        for connection in list(service.connections):
            connection.shutdown()
        await self._drain(service)
        await self._end(service)
        forced = self._forced
        if not await self._unless(lambda: self._forced > forced, lifespan.shutdown()):
            logger.error("Application shutdown was not waited for.")
        if service.access_log is not None:
            service.access_log.flush()
        logger.info("Finished server process [%d]", os.getpid())

    def _stop_listening(self) -> None:
        for server in self.servers:
            server.close()
        for sock in self._ours:
            sock.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _drain(self, service: Service) -> None:
        """Waits for connections and tasks to end; streams are told in time that they must."""
        budget = self.config.timeout_graceful_shutdown
        now = asyncio.get_running_loop().time()
        last_call = now + max(budget - _LAST_CALL, budget / 2)
        if await self._quiet(service, now + 0.1):
            return
        logger.info(
            "Waiting for %d connections and %d tasks to end, up to %g s (CTRL+C to force)",
            len(service.connections),
            len(service.tasks),
            budget,
        )
        if not await self._quiet(service, last_call):
            for connection in list(service.connections):
                connection.leave()
            await self._quiet(service, now + budget)

    async def _quiet(self, service: Service, deadline: float) -> bool:
        """True when all have ended; False at the deadline, in seconds of the loop's clock."""
        loop = asyncio.get_running_loop()
        while service.connections or service.tasks:
            if self._forced or loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def _end(self, service: Service) -> None:
        """Cancels and closes what would not end by itself."""
        tasks = list(service.tasks)
        if tasks:
            logger.warning("Cancelling %d tasks that did not end in time", len(tasks))
        for connection in list(service.connections):
            connection.leave()
            connection.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        await asyncio.sleep(0)  # for connection_lost

    async def _until(self, condition: Callable[[], bool]) -> None:
        assert self._changed is not None
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _unless(self, condition: Callable[[], bool], coroutine: Coroutine[Any, Any, None]) -> bool:
        """True when the coroutine has ended; cancels it, and False, when the condition is true."""
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(lambda _: self._wake())
        try:
            await self._until(lambda: task.done() or condition())
            if not task.done():
                return False
            task.result()  # raises what the coroutine raised
            return True
        finally:
            task.cancel()

    # Signals:

    @contextlib.contextmanager
    def _captured_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server; afterwards they reach whoever started it."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        former = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        with contextlib.suppress(OSError):
            print(end="", flush=True)  # SIGTERM is about to end the process without that
        for caught in reversed(self._signals):
            signal.raise_signal(caught)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops the server gracefully; a second one, of any kind, at once."""
        self._signals.append(sig)
        if not self._should_exit:
            self.should_exit = True
        elif self.service is None:  # the app is loading, and maybe never awaits
            raise KeyboardInterrupt
        else:
            self.force_exit = True

"""Bind, start up, serve, drain, shut down: the life of one server process.

Owns the signals and the order of all that. Knows no byte of HTTP and no ASGI message: connections
and the lifespan do. Nothing here wakes up while the server is idle.

In order: signal handlers, certificate, bind, import, lifespan startup, listen, READY=1; then the wait;
then STOPPING=1, close the door, drain, leave, abort, lifespan shutdown, last lines of the access log;
at last the signals that came are raised again, for whoever started us.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

from . import logs
from .config import Config
from .connection import Connection
from .importer import ConfigError
from .lifespan import Lifespan, LifespanFailure
from .service import Service
from .sockets import address, bind, reason, release
from .systemd import notify
from .tls import Tls
from .types import App
from .watchdog import Watchdog

logger = logging.getLogger("miniasgi.error")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FAREWELL = 5.0  # seconds before the end of the budget, when streams are told to end
_IDLE = 0.2  # seconds in which idle connections have ended by themselves
_POLL = 0.02  # seconds between two looks, while starting and stopping only


class Server:
    """`run()` blocks; `await serve()` fits into a running loop, also of another thread.

    `started` once connections are accepted. Set `should_exit` (from any thread) to stop, as a
    signal does; `force_exit`, as a second signal does, to stop waiting for requests. Set once more
    while the app shuts down, it stops waiting for that.

    The names are uvicorn's: programs that embed it (Ray Serve and vLLM do) find here what they use.
    `servers` are asyncio's, whose `sockets` tell the port that port 0 has become. One object serves once.

    A subclass is another kind of server by its `connection_class`, `load_app`, `on_accepting`,
    `on_stopping` and `retire`: workers, gunicorn's and the x-ray's are such.
    """

    connection_class = Connection

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        self.force_exit = False
        self.servers: list[asyncio.Server] = []
        self.lifespan = Lifespan(config.lifespan)
        self.service: Service  # what the connections share, once the app is ready
        self.tls: Tls | None = None
        self._ours: list[socket.socket] = []  # those that nobody gave us
        self._access_log: logs.AccessLog | None = None
        self._watchdog = Watchdog(config.longest_hold)
        self._most_requests = config.max_requests()
        self._requests = 0  # finished
        self._should_exit = False
        self._told_to_exit = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals: list[int] = []

    @property
    def should_exit(self) -> bool:
        """True when the server stops, or is about to. To set it cannot be taken back."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if self._loop is not None and not self._loop.is_closed():
            # An idle loop sleeps until something happens; it has to be told, from any thread.
            self._loop.call_soon_threadsafe(self._told_to_exit.set)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop, in an event loop of the kind that the options ask for.

        `sockets` are bound, and closed here at the end, but the path of a unix socket stays: it is their
        owner's. None binds what the options say. Raises what `serve` does, and KeyboardInterrupt after
        a SIGINT, if that is what SIGINT does in this program.
        """
        with asyncio.Runner(loop_factory=self.config.loop_factory()) as runner:
            runner.run(self.serve(sockets))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop. ConfigError if the app or an address cannot be had.

        Returns with `started` False if the app said that it cannot start, or a stop came before it had.
        Cancelled, it ends all at once, but the app is asked to shut down even then (L9).
        """
        with self._captured_signals():
            self.config.setup_logging()
            await self.startup(sockets)
            if not self.started:
                return
            try:
                await self._told_to_exit.wait()
            except asyncio.CancelledError:  # a program that cancels us is in no mood to wait
                self.force_exit = True
                raise
            finally:
                await self.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, then starts the app, and only then accepts (L4).

        In this order "address in use" comes before a model has been loaded, and whoever can
        connect finds an app that is ready. Leaves `started` False if the app cannot start.

        Mistakes come in the order of their price: certificate, address and parser cost milliseconds,
        the import seconds, the startup maybe minutes. If it does not come to accept, for whatever reason, it
        closes the sockets that it has bound itself, and ends a lifespan that has begun.
        """
        config = self.config
        self._loop = asyncio.get_running_loop()
        logger.info("Started server process [%d]", os.getpid())
        self.tls = config.tls()
        if sockets is None:
            self._ours = sockets = bind(config)
        try:
            config.parser_class()  # if it cannot be had, now is the time to say so
            config.websocket_class()
            app = self.load_app()
            self._watchdog.start()  # not before: an import holds the loop, but nobody waits for it yet
            # A stop may come while, say, a model is loading.
            if await self._unless(lambda: self.should_exit, self.lifespan.startup(app)):
                self.service = config.service(app, self.lifespan.state, self.tls)
                self.service.on_finished = self._count
                self._access_log = logs.access_log() if config.access_log else None
                if self._access_log is not None:
                    self.service.log = self._access_log.record
                await self._listen(sockets)
        except LifespanFailure as failure:
            logger.error("%s", failure)
            logger.error("Application startup failed. Exiting.")
        finally:
            if not self.started:
                self._stop_listening()
                await self.lifespan.shutdown()
                self._watchdog.stop()

    def load_app(self) -> App:
        """The app that all requests go to; ConfigError if it cannot be had. The x-ray wraps it here."""
        return self.config.load_app()

    async def _listen(self, sockets: list[socket.socket]) -> None:
        """Opens the door: from the first `listen` on, the kernel accepts clients, whether we do or not."""
        loop, backlog = asyncio.get_running_loop(), self.config.backlog
        tls: dict[str, Any] = {}
        if self.tls is not None:
            # Who connects and says nothing is cut, before there is a `Connection` that could do so. With a
            # limit of 0, asyncio's own one holds, of 60 s: a handshake has no reason to take for ever.
            tls = {"ssl": self.tls.context, "ssl_handshake_timeout": self.config.timeout_request_head or None}
        for sock in sockets:
            try:
                sock.listen(backlog)  # the loop does it again, but uvloop tells nobody if it fails
            except OSError as error:  # somebody else bound as we did, and was faster to listen
                raise ConfigError(f"cannot listen on {address(sock, self.config.scheme)}: {reason(error)}") from None
            # A stream's pieces shall not wait until the client acknowledges the piece before, 40 ms on Linux (RFC 9293
            # 3.7.4). Connections inherit it; asyncio sees to it only for sockets that were made with `IPPROTO_TCP`.
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Not create_unix_server, for unix sockets: from 3.13 on that would remove their path,
            # which may be systemd's, say.
            factory = functools.partial(self.connection_class, self.service)
            self.servers.append(await loop.create_server(factory, sock=sock, backlog=backlog, **tls))
        self.started = True
        self.on_accepting(sockets)

    def on_accepting(self, sockets: list[socket.socket]) -> None:
        """Clients are welcome now. A worker tells its parent instead, who tells everybody once."""
        announce(sockets, self.config.scheme)

    def on_stopping(self) -> None:
        """They are not any more: said before the first is sent away. Not called if nobody was welcome."""
        notify("STOPPING=1")
        logger.info("Shutting down")

    def _count(self) -> None:
        """One more request is finished. `==`, as those that are in the air come after it, and say it once."""
        self._requests += 1
        if self._requests == self._most_requests:
            logger.info("%d requests served: enough (--limit-max-requests)", self._requests)
            self.retire()

    def retire(self) -> None:
        """Enough requests have been served: a cure for apps that leak memory. A worker is replaced first."""
        self.should_exit = True

    # The end:

    async def shutdown(self) -> None:
        """Stops accepting, lets requests end within the budget, then shuts the app down (L8).

        Takes `timeout_graceful_shutdown` seconds at most, one more for tasks that ignore being
        cancelled, and as long as the app needs for itself. Only for a server that has `started`.

        1. New connections are refused. Idle ones get 0.1 s, as a request may be on its way: when they were
           closed at once, one request in a thousand of busy clients failed at each SIGHUP.
        2. WebSockets are closed with 1012. Requests end by themselves; each response whose head is not out
           says `Connection: close` (RFC 9112 9.6).
        3. 5 s before the end of the budget, streams hear that their client has left.
        4. What is left is reset and cancelled. Then no request can need the app's database any more,
        5. and the app shuts down. No time limits that: nobody knows how long a checkpoint takes.
        """
        self.on_stopping()
        self.service.closing = True  # for requests whose head comes from now on
        self._stop_listening()
        for _ in range(2):  # turns of the loop, until whom it just accepted is a connection
            await asyncio.sleep(0)
        for connection in list(self.service.connections):
            connection.shutdown()
        await self._drain(self.service)
        await self._end(self.service)
        self.force_exit = False  # that was for the requests
        if not await self._unless(lambda: self.force_exit, self.lifespan.shutdown()):
            logger.error("Application shutdown was not waited for.")
        if self._access_log is not None:
            self._access_log.flush()
        self._watchdog.stop()
        logger.info("Finished server process [%d]", os.getpid())

    def _stop_listening(self) -> None:
        """Closes the door; what was accepted stays. Others may hold the same sockets: for them they stay open."""
        for server in self.servers:
            server.close()
        release(self._ours, self.config)

    async def _drain(self, service: Service) -> None:
        """Waits for connections and tasks to end by themselves; streams are told in time that they must.

        An event stream never ends by itself: a server that only waits, as uvicorn does by default, waits for
        ever. So apps hear of the end while they can still say something to their clients: 5 s before it,
        or half of a budget of less than 10 s.

        Both are waited for: a task may go on after its connection, and a connection have no task.
        """
        budget, start = self.config.timeout_graceful_shutdown, asyncio.get_running_loop().time()
        await asyncio.sleep(_POLL)  # whoever is in a hurry: a task whose answer is out gets to its end
        await self._empty(service, start + min(_IDLE, budget))
        if service.connections or service.tasks:
            left = len(service.connections), len(service.tasks)
            logger.info("Waiting for %d connections and %d tasks to end, up to %g s (CTRL+C to force)", *left, budget)
        await self._empty(service, start + budget - min(_FAREWELL, budget / 2))
        for connection in list(service.connections):
            connection.leave()
        await self._empty(service, start + budget)

    async def _empty(self, service: Service, deadline: float) -> None:
        """Returns when no connection and no task is left, or at the deadline, on the loop's clock."""
        loop = asyncio.get_running_loop()
        # Looked at now and then, as too many can change it for an event:
        while (service.connections or service.tasks) and loop.time() < deadline and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)

    async def _end(self, service: Service) -> None:
        """Closes and cancels what did not.

        With a reset (RST): a graceful end would pass for the end of the content where there is no other
        (RFC 9112 6.3), and half an answer for a whole one.
        """
        for connection in list(service.connections):
            connection.abort()
        if tasks := list(service.tasks):
            logger.warning("Cancelling %d tasks that did not end in time", len(tasks))
            for task in tasks:
                task.cancel()
            # An app's `finally` may await something; one that ignores its cancellation holds nobody up.
            await asyncio.wait(tasks, timeout=1.0)
        await asyncio.sleep(0)  # for connection_lost

    async def _unless(self, condition: Callable[[], bool], coroutine: Coroutine[Any, Any, None]) -> bool:
        """True when the coroutine has ended; cancels it, and False, when the condition is true.

        Raises what the coroutine raised. Looks at the condition every 20 ms: flags are set by signal handlers
        and by other threads, and while starting and stopping nobody minds a few wake-ups.
        """
        task = asyncio.ensure_future(coroutine)
        try:
            while not (task.done() or condition()):
                await asyncio.wait([task], timeout=_POLL)
            if task.done():
                task.result()  # raises what the coroutine raised
            return task.done()
        finally:
            task.cancel()

    # Signals:

    @contextlib.contextmanager
    def _captured_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server; afterwards they reach whoever started it.

        And SIGHUP reads the certificate anew, if there is one with a file. Else it keeps its
        meaning, so that a server ends with its terminal.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        handlers: dict[int, Any] = dict.fromkeys(_SIGNALS, self.handle_exit)
        if self.config.ssl_certfile is not None and hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self._renew
        with captured(handlers, self._signals), _woken_by_signals(asyncio.get_running_loop()):
            yield

    def _renew(self, sig: int, frame: FrameType | None) -> None:
        """SIGHUP: new connections get the certificate that is in the file now.

        A certificate lives for weeks, and a server for months. If the new one cannot be used, the former
        one stays, and the log says so: nobody is dropped for it.
        """
        if self.tls is not None:
            try:
                self.tls.load()
                logger.info("Certificate read anew: %s", self.tls.certfile)
            except OSError as error:
                logger.error("The former certificate stays: %s: %s", self.tls.certfile, error)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops the server gracefully; a second one, of any kind, at once.

        Python calls it in the main thread, between two instructions of whatever runs there. So it does no
        more than to set flags. Programs that have signals of their own call it themselves, from any thread.
        """
        self._signals.append(sig)
        if not self.should_exit:
            self.should_exit = True
        elif not self.started:  # the app is loading, and maybe never awaits
            raise KeyboardInterrupt
        else:
            self.force_exit = True


def announce(sockets: list[socket.socket], scheme: str) -> None:
    """Says that clients are welcome, and where, a line for each socket: the port 0 has become a number.

    To systemd first (sd_notify(3)), which starts then what depends on us.
    """
    notify("READY=1")
    for sock in sockets:
        logger.info("miniasgi running on %s (Press CTRL+C to quit)", address(sock, scheme))


@contextlib.contextmanager
def captured(handlers: dict[int, Any], caught: list[int]) -> Iterator[None]:
    """Has signals handled so meanwhile; those that were caught reach afterwards whoever started us.

    `caught` is filled by the handlers. Raised again, the latest first as in uvicorn, they do what they
    would have done without us: SIGINT is a KeyboardInterrupt in a program that called `run`, and a shell
    or systemd sees that SIGTERM has ended the process. If the block raised, that is the news, and none
    is raised again. Only in the main thread: Python allows no other to set handlers.
    """
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    with contextlib.suppress(OSError):
        print(end="", flush=True)  # SIGTERM is about to end the process without that
    for number in reversed(caught):
        signal.raise_signal(number)


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Lets a signal end the loop's sleep, also one that comes in the moment before it falls asleep.

    asyncio sees to that for handlers of its own alone: an idle server could sleep on, and not hear it.

    Python's C handler only makes a note, and calls ours later, between two instructions. A signal that
    comes after the loop has looked at its notes, and before the system call in which it sleeps, would be
    heard with the next client, perhaps in hours. (A test failed once in many runs, on Python 3.13.) With a
    wake-up descriptor, the C handler also writes a byte, and a loop with a byte to read does not sleep.
    """
    bell, rope = socket.socketpair()
    with bell, rope:
        # In a C handler nothing may block: `set_wakeup_fd` wants it so. A full socket rings already.
        rope.setblocking(False)
        former = signal.set_wakeup_fd(rope.fileno(), warn_on_full_buffer=False)
        if former == -1:
            loop.add_reader(bell, bell.recv, 1024)
        else:  # somebody does it already: uvloop, say
            signal.set_wakeup_fd(former)
        try:
            yield
        finally:
            if former == -1:
                loop.remove_reader(bell)
                signal.set_wakeup_fd(-1)

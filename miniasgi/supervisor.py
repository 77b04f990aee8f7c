"""Keeps worker processes alive: several of them, or one that begins anew when a file changes.

Owns the processes, and every reason to start or to end one: it compares the workers that there are
with those that there should be, and closes the gap. Knows no byte of HTTP, and never imports the
app: that is for the workers, on the sockets that were bound here.
"""

import contextlib
import dataclasses
import enum
import logging
import math
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from time import monotonic

from .child import FORCE, OVERTIME, READY, STOP, TERMINALS, WORN, nothing, work
from .config import Config
from .importer import ConfigError
from .reload import Project, changes
from .server import announce, captured
from .sockets import bind, release
from .systemd import notify

logger = logging.getLogger("miniasgi.error")

_SPAWN = multiprocessing.get_context("spawn")  # a fork would share too much

_RELOAD_BUDGET = 1.0  # seconds for requests to end, when a developer waits for the new code
_SHORT_LIFE = 10.0  # seconds: who dies sooner would die again
_MOST_SHORT_LIVES = 5  # one after the other, then we give up
_ASLEEP = 0.5  # seconds late: then it was us who slept, not the workers; and what they get to wake up


class State(enum.Enum):
    """What a worker is doing."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()


_TOO_SLOW = {
    State.STARTING: "was not ready in time (--timeout-worker-startup)",
    State.RUNNING: "gave no sign of life (--timeout-worker-healthcheck)",
    State.STOPPING: "did not end in time",
}


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """A worker process, as its parent sees it. Times are of the monotonic clock, in seconds."""

    process: SpawnProcess
    pipe: "connection.Connection[bytes, bytes]"
    deadline: float  # when we lose patience
    replaces: "Worker | None"  # who goes on until this one is ready
    state: State = State.STARTING
    worn: bool = False  # and to be replaced
    ready_since: float = math.inf

    def tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has just died
            self.pipe.send_bytes(word)


class Supervisor:
    """Runs the workers that the options ask for; `run()` blocks.

    SIGINT and SIGTERM stop them gracefully, a second one at once. SIGHUP replaces them one by one,
    SIGTTIN and SIGTTOU change their number by one. While reloading, the old code is gone before the
    new starts: no request after a save is answered by what was there before it.
    """

    def __init__(self, config: Config) -> None:
        self._project = config.project() if config.reload else None
        if self._project is not None:
            budget = min(config.timeout_graceful_shutdown, _RELOAD_BUDGET)
            config = dataclasses.replace(config, timeout_graceful_shutdown=budget)
        _check(config)
        self.config = config
        self.started = False
        self._count = config.processes()
        self._sockets: list[socket.socket] = []
        self._workers: list[Worker] = []
        self._proven = False  # the app, as it is now, has started once
        self._short_lives = 0  # one after the other
        self._waiting = False  # for a change, as the app cannot start
        self._stopping = False
        self._caught: list[int] = []
        self._changed: deque[list[str]] = deque()
        self._bell: socket.socket  # rings when a signal or a change pulls the rope
        self._rope: socket.socket
        reactions: dict[str, Callable[[], None]] = {
            "SIGINT": lambda: self._on_stop(signal.SIGINT),
            "SIGTERM": lambda: self._on_stop(signal.SIGTERM),
            "SIGHUP": self._on_hangup,
            "SIGTTIN": lambda: self._change_count(1),
            "SIGTTOU": lambda: self._change_count(-1),
            "SIGCHLD": lambda: None,  # to wake up is all
        }
        if self._project is not None:
            del reactions["SIGHUP"]  # the developer's terminal was closed, and that is the end
        self._reactions = {getattr(signal, name): reactions[name] for name in reactions if hasattr(signal, name)}

    def run(self) -> None:
        """Serves until told to stop, or until there is no hope; then `started` is False."""
        self.config.setup_logging()
        self._sockets = bind(self.config)
        logger.info("Started supervisor process [%d]", os.getpid())
        with self._captured_signals():
            if self._project is not None:
                threading.Thread(target=self._watch, args=(self._project,), daemon=True).start()
            try:
                while self._workers or not self._stopping:
                    self._adjust()
                    self._wait()
                    for worker in list(self._workers):
                        self._look_at(worker)
            finally:
                for worker in self._workers:  # none, if all is well with us
                    worker.process.kill()
                release(self._sockets, self.config)
            logger.info("Finished supervisor process [%d]", os.getpid())

    @contextlib.contextmanager
    def _captured_signals(self) -> Iterator[None]:
        """Signals ring the bell; those that ended us reach afterwards whoever started us."""
        self._bell, self._rope = socket.socketpair()
        with self._bell, self._rope:
            for end in (self._bell, self._rope):
                end.setblocking(False)
            wakeup = signal.set_wakeup_fd(self._rope.fileno(), warn_on_full_buffer=False)
            try:
                with captured(dict.fromkeys(self._reactions, nothing), self._caught):
                    yield
            finally:
                signal.set_wakeup_fd(wakeup)

    # The workers that there should be:

    def _adjust(self) -> None:
        """Starts and stops workers until they are as many as there should be, and none is worn."""
        leaving = [worker for worker in self._workers if worker.state is State.STOPPING]
        coming = [worker for worker in self._workers if worker.replaces is not None]
        staying = [worker for worker in self._workers if worker not in leaving + coming]
        # The first one proves that the app starts: its mistakes need not be told by all of them.
        wanted = 0 if self._stopping or self._waiting else self._count if self._proven else 1
        self._stop(*staying[wanted:])
        if self._project is None or not leaving:
            for _ in range(wanted - len(staying)):
                self._start()
        worn = [worker for worker in staying[:wanted] if worker.worn and worker.state is State.RUNNING]
        if worn and not (coming or leaving):
            self._start(replaces=worn[0])

    def _start(self, replaces: Worker | None = None) -> None:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=work, args=(self.config, self._sockets, theirs))
        with _blocked(TERMINALS):  # while Python starts there, a Ctrl+C would be a traceback
            process.start()
        theirs.close()
        deadline = monotonic() + (self.config.timeout_worker_startup or math.inf)
        self._workers.append(Worker(process, ours, deadline, replaces))

    def _stop(self, *workers: Worker) -> None:
        for worker in workers:
            if worker.state is not State.STOPPING:  # once: its time runs from then on
                budget = self.config.timeout_graceful_shutdown if worker.state is State.RUNNING else 0.0
                worker.state, worker.deadline = State.STOPPING, monotonic() + budget + OVERTIME
                worker.replaces = None
                worker.tell(STOP)

    def _finish(self) -> None:
        self._stopping = True
        notify("STOPPING=1")
        release(self._sockets, self.config)  # nobody shall wait for workers that never come
        self._stop(*self._workers)

    # What happens to them:

    def _wait(self) -> None:
        """Sleeps until a worker speaks or ends, a signal comes, a file changes, or patience ends."""
        deadline = min((worker.deadline for worker in self._workers), default=math.inf)
        ends = [end for worker in self._workers for end in (worker.pipe, worker.process.sentinel)]
        connection.wait([self._bell, *ends], None if deadline == math.inf else deadline - monotonic())
        if (late := monotonic() - deadline) > _ASLEEP:  # Ctrl+Z, say: the workers slept as well
            for worker in self._workers:
                worker.deadline += late + _ASLEEP
        with contextlib.suppress(BlockingIOError):
            for number in self._bell.recv(1024):
                if number in self._reactions:
                    self._reactions[number]()
        while self._changed:
            self._on_change(self._changed.popleft())

    def _look_at(self, worker: Worker) -> None:
        with contextlib.suppress(EOFError, OSError):  # it is about to end
            while worker.pipe.poll():
                self._on_word(worker, worker.pipe.recv_bytes())
        if not worker.process.is_alive():
            self._workers.remove(worker)
            worker.pipe.close()
            self._on_end(worker)
        elif worker.deadline <= monotonic():
            logger.error("Worker [%d] %s: killed", worker.process.pid, _TOO_SLOW[worker.state])
            worker.deadline = math.inf
            worker.process.kill()

    def _on_word(self, worker: Worker, word: bytes) -> None:
        if word == READY and worker.state is State.STARTING:
            worker.state, worker.ready_since = State.RUNNING, monotonic()
            if not self._proven:
                self._proven = self.started = True
                announce(self._sockets, self.config.scheme)
            if worker.replaces is not None:
                self._stop(worker.replaces)
                worker.replaces = None
        elif word == WORN:
            worker.worn = True
        if worker.state is State.RUNNING:
            worker.deadline = monotonic() + (self.config.timeout_worker_healthcheck or math.inf)

    def _on_end(self, worker: Worker) -> None:
        for other in self._workers:
            if other.replaces is worker:  # it comes just in time
                other.replaces = None
        if worker.state is State.STOPPING:
            return
        pid, how = worker.process.pid, _ending(worker.process.exitcode)
        if worker.replaces is not None:
            logger.error("The new worker [%d] %s: the old ones stay", pid, how)
            for other in self._workers:
                other.worn = worker.worn  # unless there was a SIGHUP since it began
            return
        logger.error("Worker [%d] %s", pid, how)
        self._short_lives = self._short_lives + 1 if monotonic() - worker.ready_since < _SHORT_LIFE else 0
        if not self._proven:
            self._give_up("the app cannot start")
        elif self._short_lives == _MOST_SHORT_LIVES:
            self._give_up(f"{_MOST_SHORT_LIVES} workers died one after the other, each within {_SHORT_LIFE:g} s")

    def _give_up(self, reason: str) -> None:
        if self._project is not None:
            logger.error("Waiting for a file to change: %s", reason)
            self._waiting = True
        else:
            logger.error("Giving up: %s", reason)
            self.started = False
            self._finish()

    # What its user wants:

    def _on_stop(self, number: int) -> None:
        self._caught.append(number)
        if not self._stopping:
            self._finish()
            return
        for worker in self._workers:
            worker.tell(FORCE)
            never_ready = worker.ready_since == math.inf  # and maybe busy with an import
            worker.deadline = min(worker.deadline, monotonic() + (0.0 if never_ready else OVERTIME))

    def _on_hangup(self) -> None:
        logger.info("Replacing all workers, one by one")
        for worker in self._workers:
            worker.worn = True  # one that starts, too: it may have read the old code already

    def _change_count(self, by: int) -> None:
        self._count = max(1, self._count + by)
        logger.info("%d workers from now on", self._count)

    def _watch(self, project: Project) -> None:
        """In a thread: rings the bell for each change."""
        for paths in changes(project, self.config.reload_delay):
            self._changed.append(sorted(map(project.name, paths)))
            with contextlib.suppress(OSError):  # full, so it rings already
                self._rope.send(b"\0")

    def _on_change(self, names: list[str]) -> None:
        logger.info("Changed: %s. Reloading", ", ".join(names))
        self._proven = self._waiting = False
        self._short_lives = 0
        self._stop(*self._workers)


def _check(config: Config) -> None:
    """ConfigError for options that cannot travel to another process."""
    if not isinstance(config.app, str):
        raise ConfigError("workers and reload need the app as an import string, like 'main:app'")
    try:
        pickle.dumps(config)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(f"workers and reload need options that can be imported: {error}") from None


def _ending(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None or status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


@contextlib.contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Holds signals back, here and in a process that is started meanwhile."""
    with contextlib.ExitStack() as stack:
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # or the first start would do it, which lets SIGINT through again
            former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, former)
        yield

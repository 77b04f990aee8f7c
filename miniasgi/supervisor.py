"""Keeps worker processes alive: several of them, or one that begins anew when a file changes.

Owns the processes, and every reason to start or to end one: it compares the workers that there are
with those that there should be, and closes the gap. Knows no byte of HTTP, and never imports the
app: that is for the workers, on the sockets that were bound here.

No plan is kept. A death, a signal, a saved file and enough requests change a number or a mark, and
`_adjust` does what follows: so two of them at a time need no third case. And from the first READY on
the sockets listen, as we hold them: a client who comes when nobody serves waits, and is not refused.

A rolling restart, step by step. SIGHUP marks all workers as worn. `_adjust` starts one that `replaces`
the first of them, and while it comes, starts no other. It imports the code, starts its app, listens, and
says READY. Only then the old one is told to STOP: it drains its requests, its app shuts down, it
ends. Then it is the turn of the next. At no time do fewer serve than before. If the new one fails, the
marks are taken off, and the old code goes on.
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

# A fork would share too much. Of its parent's threads none but the one that forks lives on in it, and what
# the others have locked stays locked.
_SPAWN = multiprocessing.get_context("spawn")

_RELOAD_BUDGET = 1.0  # seconds for requests to end, when a developer waits for the new code
# From READY to its end; who was never ready counts as well. (If the first of all is such, that is the end.)
_SHORT_LIFE = 10.0  # seconds: who dies sooner would die again
_MOST_SHORT_LIVES = 5  # one after the other, then we give up
# After Ctrl+Z and `fg`, or with a laptop that was closed, all deadlines are over, and nobody is to blame. The
# workers wake up at the same moment as we do: killed at once, they had no chance to give a sign of life.
_ASLEEP = 0.5  # seconds late: then it was us who slept, not the workers; and what they get to wake up


class State(enum.Enum):
    """What a worker is doing. From the one to the next, and never back; each has a deadline of its own."""

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
    """A worker process, as its parent sees it. Times are of the monotonic clock, in seconds.

    The deadline is to be ready while STARTING, to give a sign of life while RUNNING, and to have ended
    while STOPPING. Start-up has its own, as a model takes minutes to load: with one limit of 5 s for both,
    such a worker is killed before it is ready.
    """

    process: SpawnProcess
    pipe: "connection.Connection[bytes, bytes]"
    deadline: float  # when we lose patience
    replaces: "Worker | None"  # who goes on until this one is ready
    state: State = State.STARTING
    worn: bool = False  # and to be replaced
    ready_since: float = math.inf

    def tell(self, word: bytes) -> None:
        """Sends a word of `child.py`; never fails, as the end of a process is seen elsewhere."""
        with contextlib.suppress(OSError):  # it has just died
            self.pipe.send_bytes(word)


class Supervisor:
    """Runs the workers that the options ask for; `run()` blocks.

    SIGINT and SIGTERM stop them gracefully, a second one at once. SIGHUP replaces them one by one,
    SIGTTIN and SIGTTOU change their number by one. While reloading, the old code is gone before the
    new starts: once a change has been seen, no request is answered by what was there before it.

    `started` once a worker has accepted; False again when it gave up, so that the command ends with
    status 3. (uvicorn ends with 0, or starts dying workers for ever.) ConfigError, when it is made, for
    an app or for options that cannot be sent to another process.

    Only the main thread may have one: it takes the signals.
    """

    def __init__(self, config: Config) -> None:
        self._project = config.project() if config.reload else None
        if self._project is not None:
            # An open page holds its event stream open: the new code would come 30 s after the save.
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
        """Serves until told to stop, or until there is no hope; then `started` is False.

        ConfigError if the address cannot be had: said once, here, and not by each worker. When it returns, or
        raises, no worker is left alive. What stopped it is raised again as a signal, for whoever started us.
        """
        self.config.setup_logging()
        self._sockets = bind(self.config)
        logger.info("Started supervisor process [%d]", os.getpid())
        with self._captured_signals():
            if self._project is not None:
                # As watchfiles blocks. A daemon: nothing can end its waiting, and the process need not wait.
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
        """Signals ring the bell; those that ended us reach afterwards whoever started us.

        The handlers do `nothing`. Python writes the signal's number into the socket (`set_wakeup_fd`), and
        `_wait` reads it: so reactions come between two steps, in turn, and never in the middle of one.
        """
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
        """Starts and stops workers until they are as many as there should be, and none is worn.

        One step of it: it is called after everything that happens, and what it has begun is seen then. No
        other place starts a worker. A successor counts for nothing until it is ready, as who it replaces is
        still there; then `replaces` is None, and it is one of those that stay.
        """
        leaving = [worker for worker in self._workers if worker.state is State.STOPPING]
        coming = [worker for worker in self._workers if worker.replaces is not None]
        staying = [worker for worker in self._workers if worker not in leaving + coming]
        # The first one proves that the app starts: its mistakes need not be told by all of them.
        wanted = 0 if self._stopping or self._waiting else self._count if self._proven else 1
        self._stop(*staying[wanted:])
        # A reload waits until the old code is gone. Else a dead worker is replaced at once.
        if self._project is None or not leaving:
            for _ in range(wanted - len(staying)):
                self._start()
        # One at a time: each loads the app's model for itself, and there may be no memory for all of them twice.
        worn = [worker for worker in staying[:wanted] if worker.worn and worker.state is State.RUNNING]
        if worn and not (coming or leaving):
            self._start(replaces=worn[0])

    def _start(self, replaces: Worker | None = None) -> None:
        """Starts a process that knows the options and the sockets, and talks with us through a pipe."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=work, args=(self.config, self._sockets, theirs))
        with _blocked(TERMINALS):  # while Python starts there, a Ctrl+C would be a traceback
            process.start()
        theirs.close()  # ours of theirs: or the pipe would not end when the worker does
        deadline = monotonic() + (self.config.timeout_worker_startup or math.inf)
        self._workers.append(Worker(process, ours, deadline, replaces))

    def _stop(self, *workers: Worker) -> None:
        """Tells workers to end: in time for their requests, if they have any, and their app's shutdown.

        One that stops already keeps its time. (SIGTTOU stopped a worker that was being replaced. When its
        successor was ready it was told again, as one that serves no more, and killed with its requests.)
        """
        for worker in workers:
            if worker.state is not State.STOPPING:  # once: its time runs from then on
                budget = self.config.timeout_graceful_shutdown if worker.state is State.RUNNING else 0.0
                worker.state, worker.deadline = State.STOPPING, monotonic() + budget + OVERTIME
                worker.replaces = None
                worker.tell(STOP)

    def _finish(self) -> None:
        """The beginning of the end: systemd knows, the door is closed, and all are told."""
        self._stopping = True
        notify("STOPPING=1")
        release(self._sockets, self.config)  # nobody shall wait for workers that never come
        self._stop(*self._workers)

    # What happens to them:

    def _wait(self) -> None:
        """Sleeps until a worker speaks or ends, a signal comes, a file changes, or patience ends.

        No polling: an idle supervisor wakes up for the workers' signs of life alone.
        """
        deadline = min((worker.deadline for worker in self._workers), default=math.inf)
        ends = [end for worker in self._workers for end in (worker.pipe, worker.process.sentinel)]
        connection.wait([self._bell, *ends], None if deadline == math.inf else deadline - monotonic())
        if (late := monotonic() - deadline) > _ASLEEP:  # Ctrl+Z, say: the workers slept as well
            for worker in self._workers:
                worker.deadline += late + _ASLEEP
        # A byte for each signal that was delivered, in their order.
        with contextlib.suppress(BlockingIOError):
            for number in self._bell.recv(1024):
                if number in self._reactions:
                    self._reactions[number]()
        while self._changed:
            self._on_change(self._changed.popleft())

    def _look_at(self, worker: Worker) -> None:
        """Takes its words, then its end, then its deadline.

        In this order: what it said just before it died still counts (it was READY, say), and one that
        has spoken just now, or has died by itself, is not killed for being late.
        """
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
        """READY, WORN or ALIVE. Any of them is a sign of life, but only of one that serves.

        READY of a worker that is STOPPING comes too late. The first READY of an app is when systemd and the
        log are told of the address: once, and not by each worker. (A reloaded app is another one.)
        """
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
        """It has ended. Nothing is to be said if it was told to; `_adjust` fills the gap if it was not.

        Without the count, an app that starts and dies at once would be started for ever, and whoever
        looks at the process would see it running.
        """
        for other in self._workers:
            if other.replaces is worker:  # it comes just in time
                other.replaces = None
        if worker.state is State.STOPPING:
            return
        pid, how = worker.process.pid, _ending(worker.process.exitcode)
        if worker.replaces is not None:
            logger.error("The new worker [%d] %s: the old ones stay", pid, how)
            # Else the next would be tried with the same code, and fail, without end.
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
        """While developing, the next save may mend it: then we wait. Else whoever started us has to know."""
        if self._project is not None:
            logger.error("Waiting for a file to change: %s", reason)
            self._waiting = True
        else:
            logger.error("Giving up: %s", reason)
            self.started = False
            self._finish()

    # What its user wants:

    def _on_stop(self, number: int) -> None:
        """SIGINT or SIGTERM: the first is graceful, any other one forces.

        Forced, a worker drops its requests, but its app may shut down, for `OVERTIME` at most. One that was
        never ready has nothing to put away: it is killed, as it hears no word in the middle of an import.
        """
        self._caught.append(number)
        if not self._stopping:
            self._finish()
            return
        for worker in self._workers:
            worker.tell(FORCE)
            never_ready = worker.ready_since == math.inf  # and maybe busy with an import
            worker.deadline = min(worker.deadline, monotonic() + (0.0 if never_ready else OVERTIME))

    def _on_hangup(self) -> None:
        """SIGHUP: the code, or a certificate, is another one, and nobody shall notice."""
        logger.info("Replacing all workers, one by one")
        for worker in self._workers:
            worker.worn = True  # one that starts, too: it may have read the old code already

    def _change_count(self, by: int) -> None:
        """SIGTTIN and SIGTTOU, as gunicorn has them; the last worker stays."""
        self._count = max(1, self._count + by)
        logger.info("%d workers from now on", self._count)

    def _watch(self, project: Project) -> None:
        """In a thread: rings the bell for each change.

        It touches nothing of ours but a deque, which threads may share: the rest is for the main thread.
        The byte is a zero, as no signal has that number.
        """
        for paths in changes(project, self.config.reload_delay):
            self._changed.append(sorted(map(project.name, paths)))
            with contextlib.suppress(OSError):  # full, so it rings already
                self._rope.send(b"\0")

    def _on_change(self, names: list[str]) -> None:
        """The code is another: it has to prove itself anew, and what its former self did is forgotten."""
        logger.info("Changed: %s. Reloading", ", ".join(names))
        self._proven = self._waiting = False
        self._short_lives = 0
        self._stop(*self._workers)


def _check(config: Config) -> None:
    """ConfigError for options that cannot travel to another process.

    An app object cannot: it may hold a model, a lock, a connection. Neither can a lambda as
    `ssl_context_factory`. Tried here, where it is one sentence, and not in a traceback of `multiprocessing`.
    """
    if not isinstance(config.app, str):
        raise ConfigError("workers and reload need the app as an import string, like 'main:app'")
    try:
        pickle.dumps(config)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(f"workers and reload need options that can be imported: {error}") from None


def _ending(status: int | None) -> str:
    """How a process ended, in words. `multiprocessing` has a negative number for a signal."""
    if status is None or status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


@contextlib.contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Holds signals back, here and in a process that is started meanwhile, which inherits the mask.

    Back, and not away: one that comes is delivered when they are let through again (signal(7)), so no
    Ctrl+C is lost. A process lets them through itself, when it has handlers: see `child.work`.
    """
    with contextlib.ExitStack() as stack:
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # or the first start would do it, which lets SIGINT through again
            former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, former)
        yield

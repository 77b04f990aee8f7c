"""A worker process: a `Server` that does as its parent says.

Owns the words that the two exchange through a pipe. The worker says READY once it accepts, WORN when
it has served enough, and ALIVE now and then; the parent says STOP, and FORCE when its user has lost
patience. Knows nothing of other workers.

   parent            pipe            worker
     |  <---------- READY ----------   |   accepts clients
     |  <---------- ALIVE ----------   |   three times per --timeout-worker-healthcheck
     |  <---------- WORN -----------   |   has served enough, and goes on
     |  ----------- STOP ---------->   |   drains, and shuts its app down
     |  ----------- FORCE --------->   |   drops its requests, and shuts its app down

Why not by signals: Ctrl+C, and systemd, send those to the workers as well, and a second one would
force. A pipe also ends when the parent dies, however it does.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection
from types import FrameType

from .config import Config
from .importer import ConfigError
from .server import Server

OVERTIME = 10.0  # seconds that a stopping worker gets on top of its budget, for its app's shutdown
READY, WORN, ALIVE = b"ready", b"worn", b"alive"
STOP, FORCE = b"stop", b"force"

# Signals that a terminal sends to all of its processes. The parent starts us with these held back.
TERMINALS = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}


class WorkerServer(Server):
    """A server that tells its parent how it is, and does what its parent says.

    Its sockets are the parent's: the kernel gives each new connection to one of those who wait for it.
    """

    def __init__(self, config: Config, pipe: "Connection[bytes, bytes]") -> None:
        super().__init__(config)
        self._pipe = pipe
        self._telling = threading.Lock()

    def on_accepting(self, sockets: list[socket.socket]) -> None:
        """Tells the parent alone, who tells the log and systemd when the first of us is ready."""
        self._tell(READY)

    def retire(self) -> None:
        """Asks for a successor; STOP comes when that is ready. No request waits for an app to load."""
        self._requests = 0  # and go on: nobody else may be ready yet, or ever
        self._tell(WORN)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM ends this worker gracefully; SIGINT was for the parent, who will tell us."""
        if sig == signal.SIGTERM:
            self.should_exit = True

    def _tell(self, word: bytes) -> None:
        """Sends a word; nothing if the parent is dead. Locked, as the loop's thread and `obey`'s both speak."""
        with self._telling, contextlib.suppress(OSError):
            self._pipe.send_bytes(word)

    def obey(self) -> None:
        """Does as the parent says, until there is none; in a thread, which shows that Python is alive.

        It does not show that the event loop turns: an app that blocks it for a minute may have its reasons,
        and is named by the watchdog, not killed. Frozen processes, and ones that hold the GIL in C, are silent.

        A pipe that ends is a dead parent, killed even: then the worker stops as if it were told, and if
        its app does not let go, this thread ends the process. One that is still starting ends at once.
        """
        pulse = self.config.timeout_worker_healthcheck / 3 or None
        with contextlib.suppress(EOFError, OSError):
            while True:
                if self._pipe.poll(pulse):
                    self.force_exit = self._pipe.recv_bytes() == FORCE
                    self.should_exit = True
                else:
                    self._tell(ALIVE)
        self.should_exit = True
        if self.started:
            time.sleep(self.config.timeout_graceful_shutdown + OVERTIME)
        os._exit(3)  # nobody is left who could lose patience


def work(config: Config, sockets: list[socket.socket], pipe: "Connection[bytes, bytes]") -> None:
    """The life of a worker process. Its exit status is 3 if the app could not start, else 0.

    Called by `multiprocessing`, in a Python that was started afresh; `config` was pickled, and `sockets`
    are duplicates of the parent's. Signals first, as Ctrl+C may come at any moment: with handlers in
    place they are let through again. SIGTERM is not one of them; until the server takes it, it just ends us.
    """
    for number in TERMINALS:
        signal.signal(number, nothing)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINALS)
    with contextlib.suppress(OSError):
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing took it, but pdb needs it)
    os.environ.pop("NOTIFY_SOCKET", None)  # one worker is not the service
    # A process that an app had started in the background kept its worker's sockets: when all of us had
    # ended, clients could still connect, and nobody answered.
    for sock in sockets:
        sock.set_inheritable(False)  # what the app starts must not hold on to it
    server = WorkerServer(config, pipe)
    threading.Thread(target=server.obey, name="miniasgi-obey", daemon=True).start()
    try:
        server.run(sockets)
    except ConfigError as error:
        error.show()
    sys.exit(0 if server.started else 3)


def nothing(sig: int, frame: FrameType | None) -> None:
    """A handler, where one is needed: an ignored signal would be ignored by the app's subprocesses too.

    execve(2) resets a signal that is handled, and leaves one that is ignored (signal(7)).
    """

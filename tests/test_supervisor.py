"""Workers and reload, as seen from outside: real processes, signals, and requests in flight."""

import itertools
import math
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from miniasgi import Config, ConfigError
from miniasgi.child import READY
from miniasgi.supervisor import State, Supervisor, Worker

from .vocabulary import PATIENCE, Client, Spawned, eventually, get, spawned

# Tells its process id; waits at /wait until there is a file named "go".
APP = """
import asyncio, os, pathlib

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        print("lifespan", (await receive())["type"], os.getpid(), flush=True)
        await send({"type": "lifespan.startup.complete"})
        print("lifespan", (await receive())["type"], os.getpid(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/wait":
        print("waiting", os.getpid(), flush=True)
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Spawned]]:
    """`serve("--workers", "2", source=APP)` starts the command in a process group of its own."""
    with ExitStack() as stack:

        def start(*flags: str, source: str = APP, **extra: Any) -> Spawned:
            return stack.enter_context(spawned(tmp_path, source, *flags, start_new_session=True, **extra))

        yield start


def started(server: Spawned) -> list[int]:
    """The workers' process ids, as they say them in the log."""
    return [int(line.split("[")[1].rstrip("]")) for line in server.log.splitlines() if "Started server" in line]


def ready(server: Spawned) -> list[int]:
    """Those whose app has started."""
    return [int(line.split()[-1]) for line in server.output.splitlines() if "lifespan.startup" in line]


def lives(pid: int) -> bool:
    """False for a process that has ended, whether or not somebody has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers(server: Spawned, count: int) -> list[int]:
    """Waits until so many are ready and alive; the oldest first."""
    return eventually(lambda: (found := [pid for pid in ready(server) if lives(pid)]) and len(found) == count and found)


def pid_of(server: Spawned) -> int:
    """Who answers a request."""
    return int(server.connect().ask(get("/", "Connection: close")).body)


class Load:
    """Clients that ask all the time, on kept and on new connections, and count what they get."""

    def __init__(self, server: Spawned) -> None:
        server.connect()
        self.address = server.clients[0].sock.getpeername()
        self.results: Counter[str] = Counter()
        self.pids: set[int] = set()
        self._over = threading.Event()
        kinds = [(), (), ("Connection: close",), ("Connection: close",)]
        self._threads = [threading.Thread(target=self._ask, args=(lines,)) for lines in kinds]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, lines: tuple[str, ...]) -> None:
        client = None
        while not self._over.is_set():
            try:
                client = client or Client(socket.create_connection(self.address))
                reply = client.ask(get("/", *lines))
                self.pids.add(int(reply.body))
                self.results["answered"] += 1
                if reply.header(b"connection") == b"close":
                    client.close()
                    client = None
            except (OSError, AssertionError) as error:
                self.results[repr(error)] += 1
                client = None
        if client is not None:
            client.close()

    def goes_on(self) -> None:
        """Returns when more has been answered."""
        before = self.results["answered"]
        eventually(lambda: self.results["answered"] > before + 20)


# Put before an app: whoever has read it waits until there is a file named "go".
HELD = "import pathlib, time\nprint('read', flush=True)\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\n"


# Serving:


def test_every_worker_serves_and_has_a_lifespan_of_its_own(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2")
    pids = workers(server, 2)
    seen: set[int] = set()
    eventually(lambda: seen.add(pid_of(server)) or seen == set(pids))
    server.signal(signal.SIGTERM)
    assert server.join() == -signal.SIGTERM
    assert sorted(server.output.split()).count("lifespan.shutdown") == 2
    assert server.log.count("running on http://") == 1
    assert not any(map(lives, pids))


def test_the_environment_says_how_many(serve: Callable[..., Spawned]) -> None:
    workers(serve(env=os.environ | {"WEB_CONCURRENCY": "2"}), 2)


@pytest.mark.parametrize("flags", [["--workers", "1"], []])
def test_one_worker_needs_no_supervisor(flags: list[str], serve: Callable[..., Spawned]) -> None:
    server = serve(*flags, env=os.environ | {"WEB_CONCURRENCY": "" if not flags else "2"})
    assert pid_of(server) == server.process.pid


def test_a_unix_socket_is_gone_afterwards(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2", "--uds", "x.sock")
    workers(server, 2)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "x.sock"))
        assert int(Client(sock).ask(get("/", "Connection: close")).body) in started(server)
    server.signal(signal.SIGTERM)
    server.join()
    assert not (tmp_path / "x.sock").exists()


def test_a_worker_can_read_what_is_typed(serve: Callable[..., Spawned]) -> None:
    """As `breakpoint()` does."""
    reading, writing = os.pipe()
    os.write(writing, b"continue\n")
    source = APP + "\nprint('typed', input(), flush=True)"
    server = serve("--workers", "2", source=source, stdin=reading)
    server.wait_for("typed continue", "stdout")
    for end in (reading, writing):
        os.close(end)


# A worker that ends:


def test_a_killed_worker_is_replaced_and_nobody_else_notices(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2")
    both = workers(server, 2)
    waiting = server.connect().send(get("/wait"))
    busy = int(server.wait_for(r"waiting (\d+)", "stdout")[1])
    [other] = set(both) - {busy}
    os.kill(other, signal.SIGKILL)
    server.wait_for(rf"Worker \[{other}\] was ended by SIGKILL")
    assert busy in workers(server, 2)
    (tmp_path / "go").touch()
    assert int(waiting.read_reply().body) == busy


def test_a_worker_that_is_told_to_end_does_so_gracefully_and_is_replaced(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2")
    first, _ = workers(server, 2)
    os.kill(first, signal.SIGTERM)
    server.wait_for(rf"lifespan.shutdown {first}", "stdout")
    eventually(lambda: not lives(first))
    workers(server, 2)


def test_workers_end_with_their_parent(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2")
    pids = workers(server, 2)
    server.signal(signal.SIGKILL)
    server.join()
    eventually(lambda: not any(map(lives, pids)))
    assert server.output.count("lifespan.shutdown") == 2


def test_a_worker_that_is_starting_ends_with_its_parent_too(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", source="import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(3600)")
    pid = int(server.wait_for(r"pid (\d+)", "stdout")[1])
    server.signal(signal.SIGKILL)
    server.join()
    eventually(lambda: not lives(pid))


def test_a_frozen_worker_is_killed_and_replaced(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", "--timeout-worker-healthcheck", "1")
    first, second = workers(server, 2)
    os.kill(first, signal.SIGSTOP)
    server.wait_for(rf"Worker \[{first}\] gave no sign of life \(--timeout-worker-healthcheck\): killed")
    assert second in workers(server, 2)


def test_a_worker_whose_loop_is_blocked_is_alive(serve: Callable[..., Spawned]) -> None:
    source = "import time\n" + APP.replace("        while not", "        time.sleep(1.5)\n        while False and not")
    server = serve("--workers", "2", "--timeout-worker-healthcheck", "1", source=source)
    workers(server, 2)
    assert server.connect().ask(get("/wait")).status == 200
    assert "no sign of life" not in server.log


def test_a_worker_that_takes_its_time_to_start_is_alive(serve: Callable[..., Spawned]) -> None:
    source = f"import time\ntime.sleep(1.5)\n{APP}"
    server = serve("--workers", "2", "--timeout-worker-healthcheck", "1", source=source)
    workers(server, 2)
    assert "killed" not in server.log


def test_workers_that_keep_dying_end_it_all(serve: Callable[..., Spawned]) -> None:
    source = f"{APP}\nimport threading\nthreading.Timer(0.1, os._exit, [7]).start()"
    server = serve("--workers", "2", source=source)
    assert server.join() == 3
    assert server.log.count("ended with status 7") == 5
    assert "Giving up: 5 workers died one after the other, each within 10 s" in server.log


# A start that fails:


def test_a_mistake_is_told_once(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "4", source="import nosuch")
    assert server.join() == 3
    assert server.log.count("No module named 'nosuch'") == 2, "the sentence, and the app's own traceback"
    assert server.log.count("Traceback") == 1
    assert "Giving up: the app cannot start" in server.log


def test_a_failed_startup_ends_with_3(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", source=APP.replace("startup.complete", "startup.failed"))
    assert server.join() == 3
    assert "running on" not in server.log


def test_a_start_that_hangs_has_an_end(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", "--timeout-worker-startup", "0.5", source="import time; time.sleep(3600)")
    assert server.join() == 3
    assert "was not ready in time (--timeout-worker-startup): killed" in server.log


def test_a_busy_port_is_said_once(serve: Callable[..., Spawned]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = serve("--workers", "2", "--port", str(other.getsockname()[1]))
        assert server.join() == 1
    assert server.log.endswith("address already in use\n")
    assert "Started" not in server.log


@pytest.mark.parametrize("options", [{"workers": 2}, {"reload": True}])
def test_an_app_has_to_be_importable(options: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigError, match="need the app as an import string, like 'main:app'"):
        Supervisor(Config(app, **options))
    with pytest.raises(ConfigError, match="need options that can be imported"):
        Supervisor(Config("main:app", ssl_context_factory=lambda config, default: default(), **options))


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5"])
def test_the_environment_can_be_wrong(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert Config("x:y", workers=2).processes() == 2
    with pytest.raises(ConfigError, match=f"WEB_CONCURRENCY must be a number of at least 1, not '{text}'"):
        Config("x:y").processes()


# Signals:


def test_SIGHUP_replaces_the_workers_and_no_request_fails(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", "--no-access-log")
    before = workers(server, 2)
    with Load(server) as load:
        load.goes_on()
        server.signal(signal.SIGHUP)
        eventually(lambda: not any(map(lives, before)))
        after = workers(server, 2)
        load.goes_on()
    assert load.results.keys() == {"answered"}
    assert load.pids <= {*before, *after}
    assert server.output.count("lifespan.startup") == 4


def test_SIGHUP_brings_new_code(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2")
    workers(server, 2)
    (tmp_path / "app.py").write_text(APP.replace("str(os.getpid())", "'new'"))
    server.signal(signal.SIGHUP)
    eventually(lambda: server.connect().ask(get("/", "Connection: close")).body == b"new")


def test_SIGHUP_keeps_the_old_ones_if_the_new_code_fails(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2")
    before = workers(server, 2)
    (tmp_path / "app.py").write_text("def (")
    server.signal(signal.SIGHUP)
    server.wait_for(r"The new worker \[\d+\] ended with status 3: the old ones stay")
    assert workers(server, 2) == before
    assert pid_of(server) in before
    (tmp_path / "app.py").write_text(APP)
    server.signal(signal.SIGHUP)
    eventually(lambda: not any(map(lives, before)))
    workers(server, 2)


def test_SIGHUP_replaces_a_worker_that_is_starting(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    """It has read the old code; the next one finds the new."""
    server = serve("--workers", "2", source=HELD + APP)
    server.wait_for("read", "stdout")
    (tmp_path / "app.py").write_text(APP.replace("str(os.getpid())", "'new'"))
    server.signal(signal.SIGHUP)
    server.wait_for("Replacing all workers, one by one")
    (tmp_path / "go").touch()
    first = eventually(lambda: ready(server))[0]
    eventually(lambda: not lives(first))
    workers(server, 2)
    assert server.connect().ask(get("/", "Connection: close")).body == b"new"


def test_SIGHUP_while_the_new_code_fails_is_not_forgotten(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2")
    before = workers(server, 2)
    (tmp_path / "app.py").write_text(HELD + "import nosuch")
    server.signal(signal.SIGHUP)
    server.wait_for("read", "stdout")
    (tmp_path / "app.py").write_text(APP)
    server.signal(signal.SIGHUP)
    eventually(lambda: server.log.count("Replacing all workers") == 2)
    (tmp_path / "go").touch()
    eventually(lambda: not any(map(lives, before)))
    workers(server, 2)


def test_SIGTTIN_and_SIGTTOU_change_their_number(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2")
    workers(server, 2)
    server.signal(signal.SIGTTIN)
    workers(server, 3)
    server.signal(signal.SIGTTOU)
    workers(server, 2)
    server.signal(signal.SIGTTOU)
    [last] = workers(server, 1)
    server.signal(signal.SIGTTOU)
    eventually(lambda: server.log.count("1 workers from now on") == 2)
    assert pid_of(server) == last


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_to_all_of_them_is_graceful(
    number: int, status: int, serve: Callable[..., Spawned], tmp_path: Path
) -> None:
    """As a terminal sends Ctrl+C, and systemd SIGTERM."""
    server = serve("--workers", "2")
    pids = workers(server, 2)
    waiting = server.connect().send(get("/wait"))
    server.wait_for("waiting", "stdout")
    os.killpg(server.process.pid, number)
    eventually(lambda: server.log.count("Shutting down") == 2)
    (tmp_path / "go").touch()
    assert int(waiting.read_reply().body) in pids
    assert server.join() == status
    assert "Traceback" not in server.log


def test_nobody_is_let_in_while_they_stop(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--workers", "2")
    workers(server, 2)
    server.connect().send(get("/wait"))
    server.wait_for("waiting", "stdout")
    address = server.clients[0].sock.getpeername()
    server.signal(signal.SIGTERM)
    eventually(lambda: server.log.count("Shutting down") == 2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_does_not_end_a_worker_whose_python_is_starting(
    number: int, serve: Callable[..., Spawned], tmp_path: Path
) -> None:
    """The parent will say what it meant."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.kill(os.getpid(), {int(number)})"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    workers(serve("--workers", "2", env=os.environ | {"PYTHONPATH": path}), 2)


def test_what_an_app_starts_does_not_hold_its_address(serve: Callable[..., Spawned]) -> None:
    source = f"{APP}\nos.system('sleep 60 >/dev/null 2>&1 & echo child $!')"
    server = serve("--workers", "2", source=source)
    workers(server, 2)
    server.connect()
    children = [int(line.split()[1]) for line in server.output.splitlines() if "child" in line]
    try:
        server.signal(signal.SIGTERM)
        server.join()
        with pytest.raises(ConnectionRefusedError):
            server.connect()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


def test_a_second_signal_forces(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2")
    pids = workers(server, 2)
    waiting = server.connect().send(get("/wait"))
    server.wait_for("waiting", "stdout")
    server.signal(signal.SIGINT)
    server.wait_for("Waiting for 1 connections and 1 tasks")
    server.signal(signal.SIGINT)
    assert server.join() == 0
    waiting.assert_closed()
    assert not any(map(lives, pids))
    assert server.output.count("lifespan.shutdown") == 2


def test_a_second_signal_ends_a_blocking_start(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", source="import time\nprint('loading', flush=True)\ntime.sleep(3600)")
    server.wait_for("loading", "stdout")
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGINT)
    assert server.join() in (3, -signal.SIGTERM)
    assert "Traceback" not in server.log


# Enough requests:


def test_a_worker_that_served_enough_is_replaced_before_it_ends(serve: Callable[..., Spawned]) -> None:
    server = serve("--workers", "2", "--limit-max-requests", "50", "--no-access-log")
    workers(server, 2)
    with Load(server) as load:
        eventually(lambda: len(load.pids) >= 5)
    assert load.results.keys() == {"answered"}
    assert "Giving up" not in server.log


# Reload:


def test_a_saved_file_is_served(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--reload")
    first, moments = pid_of(server), itertools.count(1)

    def is_watched() -> bool:
        moment = next(moments)
        os.utime(tmp_path / "app.py", (moment, moment))
        return "Changed: app.py" in server.log

    eventually(is_watched)  # nobody says when the watching has begun: change something until it is seen
    for text in ("one", "three"):  # of the same length within a second, Python would take the .pyc for the new file
        (tmp_path / "app.py").write_text(APP.replace("str(os.getpid())", repr(text)))
        eventually(lambda text=text: server.connect().ask(get("/", "Connection: close")).body.decode() == text)
    assert server.log.count("Changed: app.py. Reloading") >= 2
    assert not lives(first)
    assert server.output.count("lifespan.shutdown") >= 2


def test_it_works_without_watchfiles(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ImportError")
    server = serve("--reload", "--reload-delay", "0.05")
    pid_of(server)
    (tmp_path / "app.py").write_text(APP.replace("str(os.getpid())", "'new'"))
    eventually(lambda: server.connect().ask(get("/", "Connection: close")).body == b"new")


def test_a_broken_file_is_shown_and_the_next_save_recovers(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--reload")
    pid_of(server)
    (tmp_path / "app.py").write_text("def (")
    server.wait_for("SyntaxError: invalid syntax")
    server.wait_for("Waiting for a file to change: the app cannot start")
    patient = server.connect().send(get("/"))  # nobody accepts it now
    (tmp_path / "app.py").write_text(APP)
    assert int(patient.read_reply().body) == workers(server, 1)[0]


def test_a_first_start_may_fail_as_well(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--reload", source="def (")
    server.wait_for("Waiting for a file to change: the app cannot start")
    (tmp_path / "app.py").write_text(APP)
    pid_of(server)


def test_an_open_stream_does_not_hold_up_the_new_code(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    server = serve("--reload")
    old = pid_of(server)
    server.connect().send(get("/wait"))
    server.wait_for("waiting", "stdout")
    (tmp_path / "app.py").write_text(APP + "\n# saved")
    eventually(lambda: pid_of(server) != old)


def test_a_project_that_is_removed_is_no_traceback(serve: Callable[..., Spawned], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    server = serve("--reload", "--app-dir", str(tmp_path), "--reload-dir", str(home))
    (home / "x.py").touch()
    pid_of(server)
    shutil.rmtree(home)
    server.wait_for(r"Changed: x\.py")
    eventually(lambda: pid_of(server))
    assert "Traceback" not in server.log


def test_a_signal_ends_it_while_it_waits_for_a_change(serve: Callable[..., Spawned]) -> None:
    server = serve("--reload", source="import nosuch")
    server.wait_for("Waiting for a file to change")
    server.signal(signal.SIGINT)
    assert server.join() == 3


def test_what_blocks_the_loop_is_named_while_developing() -> None:
    assert Config("x:y").longest_hold == 0.0
    assert Config("x:y", reload=True).longest_hold == 1.0
    assert Config("x:y", reload=True, blocked_loop_warning=0).longest_hold == 0.0


# What no real worker does in time for a test:


class Mute:
    """A process that neither ends nor says anything."""

    def __init__(self, sentinel: int = -1) -> None:
        self.sentinel = sentinel


def mute(state: State, replaces: Worker | None = None) -> Worker:
    process: Any = Mute()
    return Worker(process, Pipe()[0], deadline=math.inf, replaces=replaces, state=state)


def test_who_slept_is_not_impatient() -> None:
    """After Ctrl+Z, or with a closed lid, the workers had no chance to give a sign of life."""
    supervisor = Supervisor(Config("x:y", workers=2))
    pipe, _theirs = Pipe()
    supervisor._bell, rope = socket.socketpair()
    supervisor._bell.setblocking(False)
    with socket.socket() as sock, supervisor._bell, rope:
        process: Any = Mute(sock.fileno())
        worker = Worker(process, pipe, deadline=time.monotonic() - 60, replaces=None, state=State.RUNNING)
        supervisor._workers.append(worker)
        supervisor._wait()
        assert worker.deadline > time.monotonic(), "and some more, as both wake up at the same time"


def test_who_stops_keeps_its_time_when_its_successor_is_ready() -> None:
    """One is being replaced when SIGTTOU stops it, with requests that may take 30 s."""
    supervisor = Supervisor(Config("x:y", workers=2))
    supervisor._proven, supervisor._count = True, 1
    old = mute(State.RUNNING)
    new = mute(State.STARTING, replaces=old)
    supervisor._workers += [mute(State.RUNNING), old, new]
    supervisor._adjust()
    deadline = old.deadline
    supervisor._on_word(new, READY)
    assert old.deadline == deadline

"""systemd.py: sockets that are there before the server, and what it says of itself (sd_listen_fds(3), sd_notify(3))."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from miniasgi import Config, ConfigError
from miniasgi.sockets import bind
from miniasgi.systemd import listen_fds, notify

from .servers import fetch, listener
from .test_server import HALF, PLAIN
from .vocabulary import COMMAND, PATIENCE, Client, Spawned, answer, eventually, get, spawned

# As systemd does it: sockets are 3, 4, ..., and the process has its id before the program runs.
LAUNCHER = """
import fcntl, os, sys
moved = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in os.environ["PASSED"].split()]
for number, fd in enumerate(moved, 3):
    os.dup2(fd, number)
    os.close(fd)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""
LAUNCH = (sys.executable, "-S", "-c", LAUNCHER)


def activation(*passed: Any, **environment: str) -> dict[str, Any]:
    """What a process is started with that shall get these as systemd's sockets."""
    fds = [each.fileno() for each in passed]
    given = {"PASSED": " ".join(map(str, fds)), "LISTEN_FDS": str(len(fds)), "PYTHONUNBUFFERED": ""}
    return {"pass_fds": fds, "env": os.environ | given | environment}


def activated(folder: Path, *passed: Any, flags: tuple[str, ...] = ()) -> AbstractContextManager[Spawned]:
    """A server with systemd's sockets."""
    return spawned(folder, PLAIN, *flags, command=(*LAUNCH, *COMMAND), **activation(*passed))


def told(program: str, *passed: Any, **environment: str) -> str:
    """What a program prints in a process that has systemd's sockets."""
    command = (*LAUNCH, sys.executable, "-c", f"from miniasgi.systemd import *\n{program}")
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, **activation(*passed, **environment)
    )
    return ran.stdout + ran.stderr


@pytest.fixture
def listening() -> Iterator[Callable[[], socket.socket]]:
    """`listening()` is a socket as systemd has it."""
    with ExitStack() as stack:

        def make() -> socket.socket:
            sock = stack.enter_context(listener())
            sock.listen()
            return sock

        yield make


# Sockets


def test_systemds_sockets_are_served_in_place_of_host_and_port(tmp_path: Path, listening: Any) -> None:
    one, two, path = listening(), listening(), tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        with activated(tmp_path, one, two, unix) as server:
            assert fetch(one.getsockname()) == fetch(two.getsockname()) == fetch(path) == b"ok"
            for name in (f"http://127.0.0.1:{one.getsockname()[1]}", f"unix:{path}"):
                server.wait_for(f"running on {name} ")
            assert server.log.count("running on") == 3
            server.signal(signal.SIGTERM)
            server.join()
        assert path.is_socket()  # systemd's, for the next one


def test_who_comes_between_two_servers_is_answered_by_the_second(tmp_path: Path, listening: Any) -> None:
    sock = listening()
    with activated(tmp_path, sock) as server:
        assert fetch(sock.getsockname()) == b"ok"
        server.signal(signal.SIGTERM)
        server.join()
    with socket.create_connection(sock.getsockname()) as early:
        client = Client(early).send(get())
        with activated(tmp_path, sock):
            assert client.read_reply().body == b"ok"


def test_who_asks_for_a_socket_gets_that_one(tmp_path: Path, listening: Any) -> None:
    one, two = listening(), listening()
    with activated(tmp_path, one, two, flags=("--fd", "4")) as server:
        server.wait_for(f"running on http://127.0.0.1:{two.getsockname()[1]} ")
        assert server.log.count("running on") == 1
    with activated(tmp_path, one, flags=("--uds", "s")) as server:
        server.wait_for("running on unix:s ")


def test_they_are_duplicates_so_asking_twice_is_no_harm(listening: Any) -> None:
    twice = "for _ in range(2):\n  [sock] = listen_fds()\n  print(sock.getsockname()[1], sock.get_inheritable())"
    sock = listening()
    line = f"{sock.getsockname()[1]} False\n"
    assert told(f"{twice}\n  sock.close()", sock) == line * 2


def test_what_the_app_starts_does_not_get_them(listening: Any) -> None:
    program = "import subprocess, sys\nsocks = listen_fds()\n"
    program += "subprocess.run([sys.executable, '-c', 'import os; os.fstat(3)'], close_fds=False)"
    assert "Bad file descriptor" in told(program, listening())


@pytest.mark.parametrize("environment", [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "0"}], ids=str)
def test_sockets_of_somebody_else_are_left_alone(environment: dict[str, str], listening: Any) -> None:
    assert told("print(listen_fds())", listening(), **environment) == "[]\n"


def test_without_systemd_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert listen_fds() == []


@pytest.mark.parametrize("count", ["garbage", "-1", "1.0", ""])
def test_a_number_that_is_none_is_one_sentence(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(ConfigError, match=f"^systemd's LISTEN_FDS={count}: it is no number of sockets$"):
        bind(Config(answer()))


def test_a_mistake_of_systemds_file_ends_the_process(tmp_path: Path, listening: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other, activated(tmp_path, listening(), other) as server:
        assert server.join() == 1
        sentence = "Error: systemd's LISTEN_FDS=2: descriptor 4 is no stream socket that listens"
        assert server.log.splitlines()[-1] == sentence
        assert "Traceback" not in server.log


def test_only_a_socket_that_listens_will_do(tmp_path: Path) -> None:
    with listener() as bound, (tmp_path / "f").open("w") as file:
        assert "descriptor 3 is no stream socket that listens" in told("listen_fds()", bound)
        assert "Socket operation on non-socket" in told("listen_fds()", file)
        assert "Bad file descriptor" in told("listen_fds()", LISTEN_FDS="1")


# Messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd hears a service."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0miniasgi-{os.getpid()}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        yield sock


def heard(manager: socket.socket) -> bool:
    """True if a message is there already."""
    return bool(select.select([manager], [], [], 0)[0])


SLOW = f"""
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "http":
        return await plain(scope, receive, send)
    await receive()
    print("starting", flush=True)
    await asyncio.to_thread(lambda: open("gate").read())
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    await send({{"type": "lifespan.shutdown.complete"}})

{PLAIN.replace("def app", "def plain")}
"""


def test_systemd_hears_that_the_app_is_ready_and_that_it_stops(tmp_path: Path, manager: socket.socket) -> None:
    os.mkfifo(tmp_path / "gate")
    with spawned(tmp_path, SLOW) as server:
        server.wait_for("starting", "stdout")
        assert not heard(manager)
        (tmp_path / "gate").write_text("open")
        assert manager.recv(100) == b"READY=1"
        client = server.connect().send(HALF)
        server.connect().ask(get())  # accepted after the other: so the other was
        server.signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert client.send(b"k").read_reply().status == 200  # it stops, but it has not stopped
        assert server.join() == -signal.SIGTERM


def test_an_app_that_cannot_start_is_never_ready(tmp_path: Path, manager: socket.socket) -> None:
    failing = SLOW.replace("startup.complete", "startup.failed").replace('open("gate").read()', "None")
    with spawned(tmp_path, failing) as server:
        assert server.join() == 3
    assert not heard(manager)


@pytest.mark.parametrize("where", [None, "", "@", "/nowhere/at/all", "/" + "x" * 200, "relative", "vsock:2:1"])
def test_nobody_who_listens_is_no_mistake(where: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if where is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", where)
    notify("READY=1")


def test_a_message_leaves_no_socket_behind(manager: socket.socket) -> None:
    before = os.listdir("/proc/self/fd")
    notify("STATUS=as it was")
    assert eventually(lambda: os.listdir("/proc/self/fd") == before)

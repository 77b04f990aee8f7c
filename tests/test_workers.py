"""workers.py: real gunicorns whose worker we are, and what becomes of their settings."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config as Settings
from gunicorn.glogging import Logger

from miniasgi import logs
from miniasgi.workers import MiniasgiWorker

from .test_logs import logging_restored
from .test_server import HALF
from .test_tls import Files
from .vocabulary import Client, Spawned, answer, eventually, get, spawned

COMMAND = (sys.executable, "-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", "--no-control-socket")
WORKER = ("-k", "miniasgi.workers.MiniasgiWorker")

APP = """
import asyncio, json, os, time
from miniasgi.workers import MiniasgiWorker

async def starting():
    pass

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await starting()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the app has shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        time.sleep(3600)
    if scope["method"] == "POST":
        while (await receive())["more_body"]:
            pass
    told = {"pid": os.getpid(), "client": scope["client"][0], "scheme": scope["scheme"]}
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""

GATED = (
    APP
    + """
async def starting():
    print("starting", os.getpid(), flush=True)
    while not os.path.exists("gate"):
        await asyncio.sleep(0.01)
"""
)


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Any]:
    """`gunicorn(...)` begins one; at the end its workers notice that it is gone."""
    with contextlib.ExitStack() as stack:

        def begin(*flags: str, source: str = APP, worker: tuple[str, ...] = WORKER, **extra: Any) -> Spawned:
            command = (*COMMAND, *worker, *flags)
            return stack.enter_context(spawned(tmp_path, source, command=command, **extra))

        yield begin


def ask(server: Spawned, *lines: str, target: str = "/") -> dict[str, Any]:
    """What the app tells of a request on a connection of its own."""
    return json.loads(server.connect().ask(get(target, "Connection: close", *lines)).body)


def assert_ends_well(server: Spawned) -> None:
    server.signal(signal.SIGTERM)
    assert server.join() == 0, server.log
    assert "Traceback" not in server.log


# The life of a worker


def test_a_worker_serves_and_its_lines_are_in_gunicorns_logs(gunicorn: Any) -> None:
    server = gunicorn("--access-logfile", "-")
    assert ask(server)["pid"] != server.process.pid
    server.wait_for(r'127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK', "stdout")
    assert_ends_well(server)
    server.wait_for("the app has shut down", "stdout")
    assert all(line.startswith("[") for line in server.log.splitlines()), server.log
    assert "[INFO] Application startup complete." in server.log


def test_SIGTERM_waits_for_a_request(gunicorn: Any) -> None:
    server = gunicorn()
    busy = server.connect().send(HALF)
    ask(server)  # accepted after the other: so the other was
    server.signal(signal.SIGTERM)
    server.wait_for("Waiting for 1 connections")
    reply = busy.send(b"k").read_reply()
    assert (reply.status, reply.header(b"connection")) == (200, b"close")
    assert server.join() == 0
    assert "the app has shut down" in server.output


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT], ids=["SIGQUIT", "SIGINT"])
def test_SIGQUIT_waits_for_none(number: int, gunicorn: Any) -> None:
    server = gunicorn()
    busy = server.connect().send(HALF)
    worker = ask(server)["pid"]
    if number == signal.SIGINT:
        os.kill(worker, number)  # as a terminal does it, to all of the group
    server.signal(number)
    busy.read_all()
    assert server.join() == 0
    assert "the app has shut down" in server.output
    assert "Traceback" not in server.log


def test_SIGHUP_brings_new_workers_and_no_request_fails(gunicorn: Any) -> None:
    server = gunicorn()
    before = ask(server)["pid"]
    server.signal(signal.SIGHUP)
    pids = [before]
    while f"Worker exiting (pid: {before})" not in server.log:
        pids.append(ask(server)["pid"])
    pids.append(ask(server)["pid"])
    assert len(set(pids)) == 2
    assert_ends_well(server)


def test_a_worker_that_is_killed_is_replaced(gunicorn: Any) -> None:
    server = gunicorn()
    before = ask(server)["pid"]
    os.kill(before, signal.SIGKILL)
    assert ask(server)["pid"] != before


def test_a_worker_ends_after_so_many_requests(gunicorn: Any) -> None:
    server = gunicorn("--max-requests", "2")
    first, second = ask(server)["pid"], ask(server)["pid"]
    assert first == second
    eventually(lambda: ask(server)["pid"] != first)  # it may take one more before it has closed the door
    assert "2 requests served: enough" in server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_worker_whose_loop_is_blocked_is_replaced(loop: str, gunicorn: Any) -> None:
    source = f"{APP}\nclass Mine(MiniasgiWorker):\n    CONFIG_KWARGS = {{'loop': {loop!r}}}\n"
    server = gunicorn("--timeout", "1", source=source, worker=("-k", "app.Mine"))
    before = ask(server)["pid"]
    server.connect().send(get("/block"))
    server.wait_for(r"WORKER TIMEOUT")
    server.wait_for(rf"Worker exiting \(pid: {before}\)")
    assert ask(server)["pid"] != before
    server.wait_for(r"time\.sleep\(3600\)")  # the line that blocked it


def test_a_worker_whose_arbiter_died_ends(gunicorn: Any) -> None:
    server = gunicorn()
    worker = ask(server)["pid"]
    server.process.kill()
    server.process.wait()
    eventually(lambda: f"Worker exiting (pid: {worker})" in server.log)
    assert "the app has shut down" in server.output


def test_SIGUSR1_opens_the_logs_anew(gunicorn: Any, tmp_path: Path) -> None:
    server, file = gunicorn("--access-logfile", "access.log"), tmp_path / "access.log"
    ask(server)
    eventually(lambda: "GET /" in file.read_text())
    file.rename(tmp_path / "old.log")
    server.signal(signal.SIGUSR1)
    eventually(lambda: ask(server) and file.exists() and "GET /" in file.read_text())
    assert_ends_well(server)


# A start


def test_a_worker_has_time_to_start_while_its_loop_turns(gunicorn: Any, tmp_path: Path) -> None:
    source = f"{GATED}\nclass Loud(MiniasgiWorker):\n    def notify(self):\n        print('beat', flush=True)"
    server = gunicorn(source=source, worker=("-k", "app.Loud"))
    server.wait_for(r"starting \d+\n(beat\n){2}", "stdout")
    (tmp_path / "gate").touch()
    ask(server)


def test_a_start_that_fails_ends_gunicorn(gunicorn: Any) -> None:
    failing = f"{APP}\nasync def starting():\n    raise OSError('no database')".replace(
        "await starting()\n",
        "try:\n            await starting()\n        except OSError as error:\n"
        "            return await send({'type': 'lifespan.startup.failed', 'message': str(error)})\n",
    )
    server = gunicorn(source=failing)
    assert server.join() == 3
    assert "[ERROR] no database" in server.log
    assert "Worker failed to boot" in server.log


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("{'http': 'nowhere:Mine'}", "module 'nowhere' not found"),
        ("{'port': -1}", "port -1 is out of range: 0 to 65535"),
    ],
)
def test_a_mistake_is_one_sentence_and_ends_gunicorn(options: str, sentence: str, gunicorn: Any) -> None:
    source = f"{APP}\nclass Mine(MiniasgiWorker):\n    CONFIG_KWARGS = {options}\n"
    server = gunicorn(source=source, worker=("-k", "app.Mine"))
    assert server.join() == 3
    assert f"[ERROR] {sentence}" in server.log


def test_a_certificate_that_cannot_be_read_ends_gunicorn(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    server = gunicorn("--certfile", "bad.pem")
    assert server.join() == 3


def test_a_worker_that_is_told_to_stop_while_it_starts_has_not_failed(gunicorn: Any, tmp_path: Path) -> None:
    server = gunicorn(source=GATED)
    first = int(server.wait_for(r"starting (\d+)\n", "stdout")[1])
    os.kill(first, signal.SIGTERM)
    second = int(server.wait_for(rf"starting {first}\nstarting (\d+)\n", "stdout")[1])
    (tmp_path / "gate").touch()
    assert ask(server)["pid"] == second
    assert_ends_well(server)


# Settings


def test_TLS_is_gunicorns(gunicorn: Any, tmp_path: Path) -> None:
    files = Files(tmp_path)
    server = gunicorn("--certfile", files.pair)
    port = int(server.wait_for(r"Listening at: https://127\.0\.0\.1:(\d+)")[1])
    sock = socket.create_connection(("127.0.0.1", port))
    with files.context().wrap_socket(sock, server_hostname="127.0.0.1") as secure:
        assert json.loads(Client(secure).ask(get()).body)["scheme"] == "https"


@pytest.mark.parametrize(("trusted", "client"), [("10.0.0.1,127.0.0.1", "1.2.3.4"), ("10.0.0.1", "127.0.0.1")])
def test_proxies_are_those_that_gunicorn_trusts(trusted: str, client: str, gunicorn: Any) -> None:
    server = gunicorn("--forwarded-allow-ips", trusted)
    assert ask(server, "X-Forwarded-For: 1.2.3.4")["client"] == client


def test_the_arbiter_alone_talks_with_systemd(gunicorn: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        server = gunicorn(env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        ask(server)
        assert_ends_well(server)
        assert b"Gunicorn" in manager.recv(1000)
        assert not select.select([manager], [], [], 0)[0]


@pytest.fixture
def settings() -> Iterator[Settings]:
    with logging_restored():
        yield Settings()


def test_settings_become_options(settings: Settings) -> None:
    chosen = {"backlog": 7, "keepalive": 8, "graceful_timeout": 10, "max_requests": 9, "loglevel": "debug"}
    for name, value in (chosen | {"forwarded_allow_ips": "10.0.0.1, ::1"}).items():
        settings.set(name, value)
    worker = MiniasgiWorker(1, os.getpid(), [], None, 15, settings, Logger(settings))
    worker.wsgi = answer()
    config = worker._config()
    assert (config.backlog, config.timeout_keep_alive, config.limit_max_requests) == (7, 8, 9)
    assert config.timeout_graceful_shutdown < 10, "the app has to shut down before gunicorn loses its patience"
    assert (config.trusted_peers, config.scheme, config.log_config) == ("10.0.0.1,::1", "http", None)
    assert (logs.error_logger.level, logs.error_logger.handlers) == (logs.logging.DEBUG, worker.log.error_log.handlers)
    assert logs.access_log() is None, "as without --access-logfile"
    worker.tmp.close()

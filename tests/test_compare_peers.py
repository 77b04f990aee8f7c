"""Servers as processes: which there are, and those that do not start."""

import importlib.util
import sys
from pathlib import Path

import pytest

from miniasgi.compare import peers
from miniasgi.compare.peers import Mistake, Peer, command, free_port, running

from .vocabulary import Client


@pytest.mark.parametrize(
    "peer, expected",
    [
        ("uvicorn", "uvicorn --port 1 --no-access-log --log-level warning a:b"),
        ("uvicorn:h11", "uvicorn --http h11 --port 1 --no-access-log --log-level warning a:b"),
        ("miniasgi:h11", "miniasgi --http h11 --port 1 --no-access-log --log-level warning a:b"),
        ("gunicorn", "gunicorn --worker-class asgi --bind 127.0.0.1:1 --log-level warning a:b"),
        (
            "gunicorn:miniasgi.workers.MiniasgiWorker",
            "gunicorn --worker-class miniasgi.workers.MiniasgiWorker --bind 127.0.0.1:1 --log-level warning a:b",
        ),
    ],
)
def test_how_a_server_is_started(peer: str, expected: str) -> None:
    assert command(peer, "a:b", 1) == [sys.executable, "-m", *expected.split()]


def test_servers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Mistake, match=r"'apache' is no server that I know: they are miniasgi, uvicorn, hypercorn, .*"):
        command("apache", "a:b", 1)
    with pytest.raises(Mistake, match="daphne has no variants: leave out 'h11'"):
        command("daphne:h11", "a:b", 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Mistake, match="hypercorn is not installed: try `pip install hypercorn`"):
        command("hypercorn", "a:b", 1)


def test_ports_are_free_and_not_those_of_clients() -> None:
    assert {free_port() for _ in range(20)} <= set(range(20000, 32000))


def script(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What runs in place of each server."""
    monkeypatch.setattr(peers, "command", lambda name, app, port: [sys.executable, "-c", text, str(port)])


async def test_one_that_ends_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(monkeypatch, "import sys; sys.exit('no app today')")
    sentence = r"uvicorn ended with a status of 1 instead of serving; its last words:\n  no app today"
    with running("uvicorn", "a:b", tmp_path, tmp_path / "log") as peer, pytest.raises(Mistake, match=sentence):
        await peer.wait(60)


async def test_one_that_hangs_is_not_waited_for_and_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "_STOP", 0.1)
    script(monkeypatch, "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    with running("uvicorn", "a:b", tmp_path, tmp_path / "log") as peer:
        with pytest.raises(Mistake, match=r"uvicorn did not listen within 0\.1 s$"):
            await peer.wait(0.1)
        process = peer._process
    assert process.returncode < 0


async def test_one_that_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "import os, socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    script(monkeypatch, text + "while True:\n c = s.accept()[0]; c.sendall(os.environ['A'].encode()); c.close()")
    with running("uvicorn", "a:b", tmp_path, tmp_path / "log", A="hi") as peer:
        await peer.wait(60)
        assert isinstance(peer, Peer)
        client = Client(peers.socket.create_connection(("127.0.0.1", peer.port)))
        assert client.read_all() == b"hi"
        client.close()
    with pytest.raises(OSError, match="refused"):
        peers.socket.create_connection(("127.0.0.1", peer.port))


def test_the_directory_of_the_app_is_searched_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(monkeypatch, "import miniasgi, sys; print(sys.path)")
    log = tmp_path / "log"
    with running("uvicorn", "a:b", tmp_path, log) as peer:
        peer._process.wait(60)
    assert log.read_text().startswith(f"['', '{tmp_path}'")

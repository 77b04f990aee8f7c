"""sockets.py: what is bound, what is refused, and what is left behind."""

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

import miniasgi.sockets
from miniasgi import Config, ConfigError, Server
from miniasgi.sockets import address, bind, release
from miniasgi.types import Receive, Scope, Send

from .servers import QUIET, Diary, fetch, listener, open_files
from .vocabulary import Client, Recorder, answer, begin, eventually, get, serving, start


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")


# TCP


def test_port_0_is_a_free_one_and_is_printed(log: list[str]) -> None:
    with serving(answer()) as server:
        assert server.port > 0
        assert f"miniasgi running on http://127.0.0.1:{server.port} (Press CTRL+C to quit)" in log


@needs_ipv6
def test_localhost_is_both_families_on_one_port(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0, 0, 0))]
    found = [(family, socket.SOCK_STREAM, 6, "", name) for family, name in both]
    monkeypatch.setattr(miniasgi.sockets.socket, "getaddrinfo", lambda *_, **__: found * 2)
    server = Server(Config(answer(), host="localhost", loop=loop, **QUIET))  # type: ignore[arg-type]
    running = begin(server)
    eventually(lambda: server.started)
    names = [sock.getsockname() for each in server.servers for sock in each.sockets]
    assert [name[0] for name in names] == ["127.0.0.1", "::1"]
    assert names[0][1] == names[1][1]
    monkeypatch.undo()
    for name in names:
        assert fetch(name) == b"ok"
    running.stop()


@needs_ipv6
def test_H12_H13_ipv6(loop: str, log: list[str]) -> None:
    app = Recorder()
    with serving(app, host="::1", loop=loop) as server:
        with socket.create_connection(("::1", server.port)) as sock:
            Client(sock).ask(get())
            assert app.scope["client"] == ("::1", sock.getsockname()[1])
        assert app.scope["server"] == ("::1", server.port)
        assert f"miniasgi running on http://[::1]:{server.port} (Press CTRL+C to quit)" in log


def test_no_host_is_every_interface() -> None:
    sockets = bind(Config(answer(), host="", port=0))
    names = {sock.getsockname()[0] for sock in sockets}
    for sock in sockets:
        sock.close()
    assert "0.0.0.0" in names
    assert names <= {"0.0.0.0", "::"}


@needs_ipv6
def test_every_interface_is_served_in_both_families() -> None:
    with serving(answer(), host="") as server:
        assert fetch(("127.0.0.1", server.port)) == fetch(("::1", server.port)) == b"ok"


def test_a_family_that_this_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without IPv6, whose /etc/hosts has a ::1 all the same."""
    names = [("203.0.113.1", 0), ("127.0.0.1", 0), ("203.0.113.2", 0)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", name) for name in names]
    monkeypatch.setattr(miniasgi.sockets.socket, "getaddrinfo", lambda *_, **__: found)
    [sock] = bind(Config(answer(), port=0))
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1:0: no such address on this machine"):
        bind(Config(answer(), host="203.0.113.1", port=0))


@pytest.mark.parametrize("host", ["::1%no-such-interface", "a..b", "x" * 64], ids=["unknown", "empty", "long"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: "):
        bind(Config(answer(), host=host, port=0))


def test_when_one_address_is_busy_the_others_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as busy:
        busy.listen()
        names = [("127.0.0.2", busy.getsockname()[1]), busy.getsockname()]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", name) for name in names]
        monkeypatch.setattr(miniasgi.sockets.socket, "getaddrinfo", lambda *_, **__: found)
        before = open_files()
        with pytest.raises(ConfigError, match="already in use"):
            bind(Config(answer(), port=names[0][1]))
        assert open_files() == before


def test_elsewhere_than_on_posix_two_servers_must_not_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    reused, config = {}, Config(answer(), port=0)
    for name in ("posix", "nt"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "name", name)
            [sock] = bind(config)
        with sock:
            reused[name] = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
    assert reused == {"posix": True, "nt": False}


# Unix sockets, file descriptors, sockets of others


def test_H12_H13_uds_serves_and_removes_its_path(loop: str, tmp_path: Path, log: list[str]) -> None:
    app, path = Recorder(), tmp_path / "s"
    with serving(app, uds=str(path), loop=loop):
        fetch(path)
        assert (app.scope["client"], app.scope["server"]) == (None, (str(path), None))
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert f"miniasgi running on unix:{path} (Press CTRL+C to quit)" in log
    assert not path.exists()


def test_uds_whose_path_somebody_removed_ends_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(answer(), uds=str(path)):
        path.unlink()


def test_uds_replaces_a_stale_socket_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(0o600)
    with serving(answer(), uds=str(path)):
        assert fetch(path) == b"ok"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_uds_leaves_a_live_socket_alone(tmp_path: Path) -> None:
    path, app = tmp_path / "s", Diary()
    with serving(answer(b"first"), uds=str(path)):
        before = open_files()
        with pytest.raises(ConfigError, match="another server listens on"):
            start(app, uds=str(path))
        assert eventually(lambda: open_files() <= before)
        assert fetch(path) == b"first"
    assert app.lines == []


def test_uds_released_twice_leaves_alone_who_came_between(tmp_path: Path) -> None:
    config = Config(answer(), uds=str(tmp_path / "s"))
    sockets, between = bind(config), []
    for _ in range(2):
        release(sockets, config)
        between = between or bind(config)
    assert (tmp_path / "s").is_socket()
    release(between, config)
    assert not (tmp_path / "s").exists()


def test_uds_leaves_what_is_no_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="exists and is not a socket"):
        start(answer(), uds=str(path))
    assert path.read_text() == "data"


def test_uds_says_what_is_wrong_with_a_path(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(ConfigError, match="af_unix path too long"):
        bind(Config(answer(), uds=str(tmp_path / ("x" * 200))))
    assert open_files() == before


def test_uds_of_an_app_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    running = start(broken, uds=str(tmp_path / "s"))
    assert not running.server.started
    assert list(tmp_path.iterdir()) == []


def test_fd_is_a_socket_of_whoever_started_us(loop: str) -> None:
    with listener() as sock:
        with serving(answer(), fd=sock.fileno(), loop=loop) as server:
            assert fetch(sock.getsockname()) == b"ok"
            assert server.port == sock.getsockname()[1]
        assert sock.getsockname()[1] > 0  # it is theirs, and still open


@pytest.mark.parametrize("how", ["fd", "sockets"])
def test_a_unix_socket_of_somebody_else_keeps_its_path(loop: str, how: str, tmp_path: Path) -> None:
    """systemd, or a supervisor with more workers, still needs it."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        options: dict[str, Any] = {"uds": str(path), "fd": sock.fileno() if how == "fd" else None}
        server = Server(Config(answer(), loop=loop, **QUIET, **options))  # type: ignore[arg-type]
        running = begin(server, None if how == "fd" else [sock])
        eventually(lambda: server.started)
        assert fetch(path) == b"ok"
        running.stop()
        assert path.is_socket()


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_fd_that_is_no_socket_is_refused(what: str, tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file:
        fd = 99999 if what == "nothing" else file.fileno()
        with pytest.raises(ConfigError, match=f"--fd {fd}: "):
            bind(Config(answer(), fd=fd))


def test_serve_takes_sockets_of_each_kind_at_once(loop: str, tmp_path: Path, log: list[str]) -> None:
    unix, tcp, listening = socket.socket(socket.AF_UNIX), listener(), listener()
    unix.bind(str(tmp_path / "s"))
    listening.listen()
    names = [listening.getsockname(), tcp.getsockname()]
    server = Server(Config(answer(), loop=loop, **QUIET))  # type: ignore[arg-type]
    running = begin(server, [unix, tcp, listening])
    eventually(lambda: server.started)
    for name in names:
        assert fetch(name) == b"ok"
    assert fetch(tmp_path / "s") == b"ok"
    assert len(server.servers) == len([line for line in log if "running on" in line]) == 3
    running.stop()
    for name in names:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(name)


def test_address_is_where_a_socket_can_be_reached(tmp_path: Path) -> None:
    with listener() as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert address(tcp, "http") == f"http://127.0.0.1:{tcp.getsockname()[1]}"
        assert address(unix, "http") == f"unix:{tmp_path / 's'}"

"""The app between server and target: it changes nothing, and what it writes can be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.compare import target
from miniasgi.compare.witness import Witness, _unplain, calls, plain
from miniasgi.types import App

from .vocabulary import get, logged, post, serving

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
)


@given(VALUES)
def test_what_asgi_can_say_comes_back(value: Any) -> None:
    assert json.loads(json.dumps(plain(value)), object_hook=_unplain) == value


class Headers:
    """As a server in Rust may have them."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return iter([(b"a", b"b")])


@pytest.mark.parametrize(
    "value, expected",
    [
        ((1, 2), [1, 2]),
        ({1: bytearray(b"a")}, {"1": {"bytes": "a"}}),
        (Headers(), [[{"bytes": "a"}, {"bytes": "b"}]]),
        (object(), "<object>"),
        (Path("/secret"), "<PosixPath>"),
    ],
)
def test_what_only_an_app_understands_is_its_type(value: Any, expected: Any) -> None:
    assert plain(value) == expected


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["path"] == "/boom":
        raise ZeroDivisionError
    message = await receive()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": message["body"]})


def test_all_of_a_call_is_written_down_and_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with serving(Witness(echo, str(path)), lifespan="on") as server:
        client = server.connect()
        port = client.sock.getsockname()[1]
        assert client.ask(post(b"hi", target="/a?b")).body == b"hi"
        with logged() as log:
            assert client.ask(get("/boom")).status == 500
        assert "ZeroDivisionError" in "".join(log)
        lifespan, first, second = calls(path)
    assert (lifespan.port, [kind for kind, _ in lifespan.messages]) == (0, ["receive", "send"])
    assert (first.port, first.scope["raw_path"], first.scope["query_string"]) == (port, b"/a", b"b")
    assert [b"host", b"test"] in first.scope["headers"]
    assert first.messages == [
        ("receive", {"type": "http.request", "body": b"hi", "more_body": False}),
        ("send", {"type": "http.response.start", "status": 201, "headers": [[b"a", b"b"]]}),
        ("send", {"type": "http.response.body", "body": b"hi"}),
    ]
    assert (second.port, second.messages) == (port, [("raised", {"type": "ZeroDivisionError"})])


def test_nothing_was_seen(tmp_path: Path) -> None:
    assert calls(tmp_path / "missing") == []


def test_a_client_without_an_address(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps(["1", "scope", {"client": None}]) + "\n")
    assert calls(path)[0].port == 0


made: App = echo


def factory() -> App:
    return echo


@pytest.mark.parametrize(("name", "is_factory"), [("made", False), ("factory", True)])
def test_the_target_comes_by_the_environment(
    name: str, is_factory: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key, value in target.environment(f"{__name__}:{name}", is_factory, tmp_path / "file").items():
        monkeypatch.setenv(key, value)
    assert target.target() is echo
    assert target.file() == str(tmp_path / "file")

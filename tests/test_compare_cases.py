"""What to ask: files of requests, traces, OpenAPI."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from miniasgi.compare.cases import Case, from_openapi, from_requests, from_traces, load
from miniasgi.compare.peers import Mistake
from miniasgi.compare.protocol import PROTOCOL, get


def test_the_protocol() -> None:
    assert load("protocol") == [Case(name, request) for name, (request, _) in PROTOCOL.items()]
    assert len(PROTOCOL) == 57


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"", []),
        (b"###\n\n###\n", []),
        (b"GET /a", [Case("GET /a", get("/a"))]),
        (b"### a name\nGET /a\n", [Case("a name", get("/a"))]),
        (b"GET /\n###\nGET /\n", [Case("GET /", get()), Case("GET / (2)", get())]),
        (b"GET /a HTTP/1.0\nX: y\n\n", [Case("GET /a", b"GET /a HTTP/1.0\r\nX: y\r\n\r\n")]),
        (b"GET /\nhost: own\n", [Case("GET /", b"GET / HTTP/1.1\r\nhost: own\r\n\r\n")]),
        (
            b"POST /\n\nhi\nthere\n",
            [Case("POST /", b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhi\nthere")],
        ),
        (
            b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n0",
            [Case("POST /", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0")],
        ),
        (b"GET / HTTP/1.1\nA: b\r\n\r\n", [Case("GET / HTTP/1.1\nA: b", b"GET / HTTP/1.1\nA: b\r\n\r\n")]),
    ],
)
def test_requests_in_a_file(text: bytes, expected: list[Case]) -> None:
    assert from_requests(text) == expected


def hop(layer: str, name: str, raw: bytes | None, size: int | None = None) -> dict[str, Any]:
    text = raw if raw is None else base64.b64encode(raw).decode()
    return {"layer": layer, "name": name, "raw": text, "size": len(raw or b"") if size is None else size}


def trace(*hops: Any) -> dict[str, Any]:
    return {"title": "GET /", "hops": [*hops]}


READ = [
    hop("socket", "read", b"GET / HT"),
    hop("socket", "write", b"HTTP/1.1"),
    hop("socket", "read", b"TP/1.1\r\n\r\n"),
]


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"traces": [one]}])
def test_what_an_x_ray_has_seen(wrap: Any) -> None:
    expected = [Case("GET /", b"GET / HTTP/1.1\r\n\r\n")]
    assert from_traces(json.dumps(wrap(trace(*READ))).encode(), "x.json") == expected
    sent = trace(hop("client", "send", b"GET / HTTP/1.1\r\n\r\n"), hop("socket", "read", None))
    assert from_traces(json.dumps(wrap(sent)).encode(), "x.json") == expected


@pytest.mark.parametrize("text", ["", "[1]", "{}", "1", json.dumps(trace())])
def test_what_is_no_x_ray(text: str) -> None:
    with pytest.raises(Mistake, match=r"x\.json is no x-ray"):
        from_traces(text.encode(), "x.json")


def test_an_x_ray_that_has_only_the_beginning() -> None:
    with pytest.raises(Mistake, match="GET / has only the beginning"):
        from_traces(json.dumps(trace(hop("socket", "read", b"GET", 9999))).encode(), "x.json")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.http").write_text("GET /")
    (tmp_path / "a.json").write_text(json.dumps(trace(*READ)))
    (tmp_path / "empty.http").write_text("###")
    assert [load(str(tmp_path / name))[0].name for name in ("a.http", "a.json")] == ["GET /"] * 2
    with pytest.raises(Mistake, match="there is no request in"):
        load(str(tmp_path / "empty.http"))
    with pytest.raises(Mistake, match=r"cannot read the cases in missing\.http: No such file"):
        load("missing.http")


def test_openapi() -> None:
    needed, free = {"name": "a", "required": True}, {"name": "b"}
    paths = {
        "/": {"get": {}},
        "/free": {"get": {"parameters": [free]}, "parameters": [free]},
        "/needs": {"get": {"parameters": [free, needed]}},
        "/all-need": {"get": {}, "parameters": [needed]},
        "/{id}": {"get": {}},
        "/post": {"post": {}},
    }
    assert from_openapi({"paths": paths}) == [Case("GET /", get()), Case("GET /free", get("/free"))]
    assert from_openapi({}) == from_openapi([]) == from_openapi(None) == []

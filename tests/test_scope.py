"""scope.py: what an app is told, over real sockets with each parser and event loop."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from miniasgi.scope import client_name, scope_of, websocket_scope
from miniasgi.types import Receive, Scope, Send

from .vocabulary import START, Recorder, Running, answer, body, eventually, get, post

Serve = Callable[..., Running]


@pytest.mark.parametrize(
    "name, address",
    [(("::1", 80, 0, 0), ("::1", 80)), ("/run/app.sock", ("/run/app.sock", None)), ("", None), (None, None)],
)
def test_H12_H13_addresses_are_as_asgi_has_them(name: Any, address: Any) -> None:
    scope = scope_of(SimpleNamespace(get_extra_info=lambda key: None if key == "ssl_object" else name), "", None)
    assert (scope["client"], scope["server"]) == (address, address)


@pytest.mark.parametrize("address, name", [(("::1", 80), "::1:80"), (None, "-")])
def test_a_client_has_a_name_for_the_log(address: Any, name: str) -> None:
    assert client_name({"client": address}) == name


def test_H6_the_scheme_is_https_over_tls() -> None:
    transport = SimpleNamespace(get_extra_info=lambda key: object() if key == "ssl_object" else None)
    assert scope_of(transport, "", None)["scheme"] == "https"


@pytest.mark.parametrize("scheme, expected", [("http", "ws"), ("https", "wss")])
def test_W4_the_scope_of_a_websocket_has_its_scheme_and_no_method(scheme: str, expected: str) -> None:
    http = {
        "type": "http",
        "method": "GET",
        "scheme": scheme,
        "headers": [],
        "path": "/",
        "x": 1,
        "extensions": {"a": {}},
    }
    scope = websocket_scope(http)
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "scheme": expected,
        "path": "/",
        "headers": [],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        "x": 1,
    }


def test_W4_subprotocols_come_from_all_lines_in_order_and_stay_in_the_headers() -> None:
    name = b"sec-websocket-protocol"
    headers = [(name, b" b,\ta ,,"), (b"x", b"no"), (name, b""), (name, b"b"), (name, b"\xff")]
    scope = websocket_scope({"method": "GET", "scheme": "http", "headers": headers, "extensions": {}})
    assert (scope["subprotocols"], scope["headers"]) == (["b", "a", "b", "\xff"], headers)


def test_A1_A2_A3_H2_to_H14_the_scope_tells_the_request_as_it_came(serve: Serve) -> None:
    app = Recorder()
    server = serve(app, root_path="/mount", server_header=False, proxy_headers=False)
    client = server.connect()
    client.ask(get("/a%2Fb/%C3%A9?x=%20&y", "X-B: 1", "x-a:  two words \t", "X-B: 2", "Cookie: a=1", "cookie: b=2"))
    assert app.scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/mount/a/b/é",
        "raw_path": b"/a%2Fb/%C3%A9",
        "query_string": b"x=%20&y",
        "root_path": "/mount",
        "headers": [
            (b"host", b"test"),
            (b"x-b", b"1"),
            (b"x-a", b"two words"),
            (b"x-b", b"2"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ],
        "client": ("127.0.0.1", client.sock.getsockname()[1]),
        "server": ("127.0.0.1", server.port),
        "state": {},
        "extensions": {"http.response.early_hint": {}, "http.response.pathsend": {}},
    }


def test_A5_A13_scope_and_messages_hold_only_plain_types(serve: Serve) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((dict(scope), await receive()))
        await send(START)
        await send(body())
        seen.append(await receive())

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return value is None or type(value) in (bytes, str, int, float, bool)

    serve(app, proxy_headers=False, lifespan="off").ask(post(b"x"))
    eventually(lambda: len(seen) == 3)
    assert plain(seen), seen


def test_A11_what_one_request_changes_no_other_sees(serve: Serve) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append({key: repr(value) for key, value in scope.items()})
        scope["asgi"]["x"] = scope["state"]["x"] = scope["extensions"]["x"] = 1
        scope["extensions"]["http.response.pathsend"]["x"] = scope["x"] = 1
        scope["headers"].append((b"x", b"1"))
        await answer()(scope, receive, send)

    client = serve(app, lifespan="off").connect()
    client.ask(get())
    client.ask(get())
    assert scopes[0] == scopes[1]


def test_H4_the_http_version_is_the_clients(serve: Serve) -> None:
    app = Recorder()
    serve(app).ask(b"GET / HTTP/1.0\r\n\r\n")
    assert app.scope["http_version"] == "1.0"


def test_the_absolute_form_gives_path_and_host(serve: Serve) -> None:
    app = Recorder()
    serve(app).ask(get("http://other:8080/abs?q"))
    assert (app.scope["path"], app.scope["raw_path"], app.scope["query_string"]) == ("/abs", b"/abs", b"q")
    assert app.scope["headers"] == [(b"host", b"other:8080")]


def test_E7_trailers_are_offered_only_to_a_client_that_takes_them(serve: Serve) -> None:
    app = Recorder()
    serve(app).ask(get("/", "TE: trailers"))
    assert "http.response.trailers" in app.scope["extensions"]

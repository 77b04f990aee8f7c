"""websocket.py over real sockets, raw frames on both sides, with each parser and event loop.

One server per kind serves all tests of this file: what a test asks of it stands in its `Service`.
After each test it must be empty: no connection, no task, and nothing in the log that the test has
not announced.
"""

import asyncio
import dataclasses
import math
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websockets.sync.client
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from miniasgi.types import App, Message, Receive, Scope, Send
from miniasgi.websocket import ClientDisconnected, WebSocket

from .servers import open_files
from .vocabulary import (
    ACCEPT,
    ACCEPT_TOKEN,
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    KINDS,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    VERSION,
    Client,
    Gate,
    Listener,
    Recorder,
    Running,
    accepting,
    answer,
    close_frame,
    echo_socket,
    eventually,
    frame,
    get,
    handshake,
    logged,
    post,
    request,
    serving,
)

Serve = Callable[..., Running]
MB = 1024 * 1024
DENIAL: Message = {"type": "websocket.http.response.start", "status": 401, "headers": []}


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def stage(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The server of a kind."""
    http, loop = request.param
    with serving(answer(), http=http, loop=loop, lifespan="off", server_header=False, date_header=False) as running:
        yield running


@pytest.fixture
def serve(stage: Running) -> Iterator[Serve]:
    """`serve(app, **changes)`: the server, with these fields of its `Service` or `WebSocketOptions`.

    `failures` is how often the app is to be logged as failed.
    """
    service, announced = stage.service, 0
    before = {field.name: getattr(service, field.name) for field in dataclasses.fields(service)}

    def start(app: App, failures: int = 0, **changes: Any) -> Running:
        nonlocal announced
        announced, service.app = failures, app
        options = {name: changes.pop(name) for name in list(changes) if hasattr(service.websocket, name)}
        service.websocket = dataclasses.replace(service.websocket, **options)
        for name, value in changes.items():
            setattr(service, name, value)
        return stage

    with logged() as lines:
        yield start
        for client in stage.clients:
            client.close()
        stage.clients.clear()
        try:
            eventually(lambda: not service.connections and not service.tasks)
        finally:  # the other tests are not to blame
            stage.call(lambda: [task.cancel() for task in service.tasks])
            stage.call(lambda: [connection.abort() for connection in service.connections])
            for name, value in before.items():
                setattr(service, name, value)
    failed = [line for line in lines if "the app failed" in line]
    assert len(failed) == announced, failed


@pytest.fixture
def launch(kind: tuple[str, str]) -> Iterator[Serve]:
    """`launch(app, **options)`: a server of its own, to stop."""
    with ExitStack() as stack:

        def start(app: App, **options: Any) -> Running:
            return stack.enter_context(serving(app, http=kind[0], loop=kind[1], lifespan="off", **options))

        yield start


def saying(*messages: Message) -> App:
    """An app that hears `websocket.connect`, sends these messages, and returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        for message in messages:
            await send(message)

    return app


def text(data: str) -> Message:
    return {"type": "websocket.send", "text": data}


def deny(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


async def until_gone(receive: Receive) -> Message:
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    return message


def sockets(server: Running) -> list[Any]:
    return list(server.service.connections)


def narrow(server: Running, client: Client) -> None:
    """Leaves little room on the way to the client."""
    ours = server.call(lambda: sockets(server)[0].transport.get_extra_info("socket"))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)


def told(server: Running) -> list[tuple[str, int, int]]:
    """What the access log is told from now on: the type of scope, status, and bytes."""
    lines: list[tuple[str, int, int]] = []
    server.service.log = lambda exchange: lines.append((exchange.scope["type"], exchange.status, exchange.sent))
    return lines


# The handshake


def test_W14_the_handshake_is_answered_as_RFC_6455_says(serve: Serve) -> None:
    client = serve(echo_socket).connect().send(handshake())
    assert client.read_until(b"\r\n\r\n") == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + ACCEPT_TOKEN + b"\r\n\r\n"
    )
    assert client.send(frame(TEXT, b"hello")).read_frame() == (TEXT, b"hello")
    assert client.send(frame(BINARY, b"\0\xff")).read_frame() == (BINARY, b"\0\xff")


@pytest.mark.parametrize(
    "versions",
    [[], ["12"], ["13", "13"], ["12", "13"], ["13, 12"], [""]],
    ids=lambda values: "+".join(values) or "none",
)
def test_W14_another_version_is_a_426(serve: Serve, versions: list[str]) -> None:
    lines = [f"Sec-WebSocket-Version: {version}" for version in versions]
    client = serve(echo_socket).connect()
    reply = client.ask(get("/", *UPGRADE, f"Sec-WebSocket-Key: {KEY}", *lines))
    assert (reply.status, reply.header(b"sec-websocket-version"), reply.header(b"upgrade")) == (
        426,
        b"13",
        b"websocket",
    )
    assert [value for name, value in reply.headers if name == b"connection"] == [b"upgrade", b"close"]
    client.assert_closed()


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [""],
        ["abc"],
        [KEY[:-2]],
        [KEY[:-4]],
        [KEY[:-2] + "ZW"],
        ["!" * 24],
        [KEY + "\xff"],
        [KEY, KEY],
        [f"{KEY}, {KEY}"],
    ],
    ids=ascii,
)
def test_W14_a_key_that_is_not_16_bytes_is_a_400(serve: Serve, keys: list[str]) -> None:
    client = serve(echo_socket).connect()
    reply = client.ask(get("/", *UPGRADE, VERSION, *(f"Sec-WebSocket-Key: {key}" for key in keys)))
    assert (reply.status, reply.header(b"connection"), reply.header(b"upgrade")) == (400, b"close", None)
    client.assert_closed()


PLAIN = {
    "POST": request("POST", "/", *UPGRADE, VERSION, f"Sec-WebSocket-Key: {KEY}"),
    "HTTP/1.0": handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "content": handshake("/", "Content-Length: 3") + b"abc",
    "chunks": handshake("/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
    "no upgrade in Connection": handshake().replace(b"Connection: Upgrade", b"Connection: keep-alive"),
    "another protocol": handshake().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
}


@pytest.mark.parametrize("what", PLAIN)
def test_W14_what_is_no_handshake_is_a_plain_request(serve: Serve, what: str) -> None:
    app = Recorder()
    client = serve(app).connect().send(PLAIN[what])
    assert client.read_reply().body == (b"abc" if what in ("content", "chunks") else b"")
    assert (app.scope["type"], dict(app.scope["headers"])[b"sec-websocket-key"]) == ("http", KEY.encode())
    if what != "HTTP/1.0":
        assert client.ask(get()).status == 200


def test_without_websockets_a_handshake_is_a_plain_request(serve: Serve) -> None:
    app = Recorder()
    client = serve(app, enabled=False).connect()
    assert [client.ask(data).status for data in (handshake(), get())] == [200, 200]
    assert [scope["type"] for scope in app.scopes] == ["http", "http"]


def test_a_class_of_ones_own_has_the_sessions(http: str) -> None:
    class Loud(WebSocket):
        def _send(self, message: Message) -> None:
            super()._send({**message, "text": message["text"].upper()})

    with serving(echo_socket, ws=Loud, http=http) as server:
        client = server.connect()
        client.upgrade()
        assert client.send(frame(TEXT, b"hello")).read_frame() == (TEXT, b"HELLO")


def test_W14_the_steering_fields_are_lists_in_any_case(serve: Serve) -> None:
    lines = ["connection: keep-alive, uPGRADE", "UPGRADE: foo/2, WebSocket", VERSION, f"sec-websocket-key:  {KEY} "]
    client = serve(echo_socket).connect()
    assert client.ask(get("/", *lines)).header(b"sec-websocket-accept") == ACCEPT_TOKEN


async def both(scope: Scope, receive: Receive, send: Send) -> None:
    """Serves requests and WebSockets."""
    if scope["type"] == "http":
        await asyncio.sleep(0)
        await answer(b"plain")(scope, receive, send)
    else:
        await echo_socket(scope, receive, send)


def test_W14_a_handshake_may_follow_requests_on_its_connection(serve: Serve) -> None:
    client = serve(both).connect()
    for _ in range(2):
        assert client.ask(get()).body == b"plain"
    client.upgrade()
    assert client.send(frame(TEXT, b"a")).read_frame() == (TEXT, b"a")


def test_W14_a_handshake_may_be_pipelined_with_frames_behind_it(serve: Serve) -> None:
    client = serve(both).connect()
    client.send(get() + post(b"x") + handshake() + frame(TEXT, b"a") + frame(PING, b"b"))
    assert [client.read_reply().body for _ in range(2)] == [b"plain", b"plain"]
    assert client.read_reply().status == 101
    assert sorted(client.read_frame() for _ in range(2)) == [(TEXT, b"a"), (PING + 1, b"b")]


def test_W14_frames_that_come_while_a_pipelined_handshake_waits_are_kept_in_order(serve: Serve) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await gate.wait()
        await both(scope, receive, send)

    server = serve(app)
    client = server.connect().send(get() + handshake() + frame(TEXT, b"1"))
    gate.reached()
    client.send(frame(TEXT, b"2"))
    eventually(lambda: server.call(lambda: any(c._backlog for c in sockets(server))))
    gate.open()
    assert (client.read_reply().status, client.read_reply().status) == (200, 101)
    assert [client.read_frame()[1] for _ in range(2)] == [b"1", b"2"]


def test_W14_every_byte_may_come_alone(serve: Serve) -> None:
    client = serve(echo_socket).connect()
    for byte in handshake() + frame(TEXT, "é".encode()) + frame(BINARY, b"x" * 130):
        client.send(bytes([byte]))
    assert client.read_reply().status == 101
    assert [client.read_frame(), client.read_frame()] == [(TEXT, "é".encode()), (BINARY, b"x" * 130)]


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "more than is read ahead"])
def test_W5_frames_before_the_answer_wait_and_so_does_the_answer(serve: Serve, size: int) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await echo_socket(scope, receive, send)

    server = serve(app)
    client = server.connect()
    sender = threading.Thread(target=client.send, args=[handshake() + frame(BINARY, b"x" * size)])
    sender.start()
    gate.reached()
    eventually(lambda: server.call(lambda: len(sockets(server)[0]._backlog) >= min(size, 65536)))
    client.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(PATIENCE)
    gate.open()
    assert client.read_reply().status == 101
    assert client.read_frame() == (BINARY, b"x" * size)
    sender.join()


# The scope


def test_W4_the_scope_tells_the_handshake_as_it_came(serve: Serve) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append({**scope})
        scope["state"]["model"] = 2
        scope["extensions"]["websocket.http.response"]["x"] = scope["asgi"]["x"] = 1
        await echo_socket(scope, receive, send)

    state = {"model": 1}
    server = serve(app, state=state)
    lines = ["Sec-WebSocket-Protocol: b, a", "Cookie: c=1", "sec-websocket-protocol: b,,c ", "Cookie: d=2"]
    for _ in range(2):
        client = server.connect()
        client.upgrade("/a%2Fb/%C3%A9?x=%20", *lines)
    assert scopes[1] == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5", "x": 1},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a/b/é",
        "raw_path": b"/a%2Fb/%C3%A9",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": [
            (b"host", b"test"),
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", KEY.encode()),
            (b"sec-websocket-protocol", b"b, a"),
            (b"cookie", b"c=1"),
            (b"sec-websocket-protocol", b"b,,c"),
            (b"cookie", b"d=2"),
        ],
        "subprotocols": ["b", "a", "b", "c"],
        "client": ("127.0.0.1", client.sock.getsockname()[1]),
        "server": ("127.0.0.1", server.port),
        "state": {"model": 2},
        "extensions": {"websocket.http.response": {"x": 1}},
    }
    assert state == {"model": 1}


def test_W4_a_root_path_and_a_trusted_proxy_stand_in_the_scope(launch: Serve) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo_socket(scope, receive, send)

    launch(app, root_path="/api").connect().upgrade("/x", "X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.7")
    (scope,) = scopes
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/x", b"/x")
    assert (scope["scheme"], scope["client"]) == ("wss", ("203.0.113.7", 0))


# websocket.accept


def test_W6_the_accept_has_a_subprotocol_and_headers_in_their_order(serve: Serve) -> None:
    headers = [(b"X-B", b"1"), [b"a", b"2"], (b"x-b", b"3"), (b"Set-Cookie", b"c=1")]
    server = serve(saying({**ACCEPT, "subprotocol": "chat", "headers": headers}))
    reply = server.connect().upgrade("/", "Sec-WebSocket-Protocol: soap, chat")
    assert reply.headers[3:] == [
        (b"x-b", b"1"),
        (b"a", b"2"),
        (b"x-b", b"3"),
        (b"set-cookie", b"c=1"),
        (b"sec-websocket-protocol", b"chat"),
    ]


def test_W6_the_101_has_the_headers_of_every_response(launch: Serve) -> None:
    reply = launch(echo_socket, headers=[("X-Frame-Options", "DENY")]).connect().upgrade()
    named = dict(reply.headers)
    assert (named[b"server"], named[b"x-frame-options"]) == (b"miniasgi", b"DENY")
    assert b"date" in named


FORBIDDEN = ["Sec-WebSocket-Protocol", "sec-websocket-accept", "Sec-WebSocket-Extensions", "Upgrade", "connection"]
FORBIDDEN += ["Content-Length", "transfer-encoding", ":status"]
BAD_BEFORE_ACCEPT: list[Any] = [
    {},
    {"type": "websocket.nonsense"},
    {"type": "http.response.start", "status": 200},
    text("early"),
    deny(),
    *({**ACCEPT, "headers": [(name.encode(), b"x")]} for name in FORBIDDEN),
    {**ACCEPT, "headers": [("a", "b")]},
    {**ACCEPT, "headers": [(b"a", "b")]},
    {**ACCEPT, "headers": [(b"a",)]},
    {**ACCEPT, "headers": 1},
    {**ACCEPT, "headers": [(b"a", b"b\r\nc: d")]},
    {**ACCEPT, "headers": [(b"a b", b"c")]},
    {**ACCEPT, "subprotocol": "a\r\nb: c"},
    {**ACCEPT, "subprotocol": b"chat"},
    {**ACCEPT, "subprotocol": 1},
    {"type": "websocket.http.response.start"},
    {**DENIAL, "status": "401"},
    {**DENIAL, "status": 101},
    {**DENIAL, "headers": [("a", "b")]},
]
MISTAKES = (RuntimeError, ValueError, TypeError, KeyError)


def test_A6_W6_W8_a_mistake_before_the_accept_raises_and_changes_nothing(serve: Serve) -> None:
    raised: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in BAD_BEFORE_ACCEPT:
            try:
                await send(message)
                raised.append(message)
            except MISTAKES:
                pass
        await send({**ACCEPT, "headers": [(b"x", b"1")], "extra": "ignored"})  # A7
        await until_gone(receive)

    client = serve(app).connect()
    reply = client.upgrade()
    assert (raised, reply.headers[3:]) == ([], [(b"x", b"1")])


BAD_AFTER_ACCEPT: list[Any] = [
    {},
    {"type": "websocket.nonsense"},
    ACCEPT,
    DENIAL,
    deny(),
    {"type": "websocket.send"},
    {"type": "websocket.send", "bytes": None, "text": None},
    {"type": "websocket.send", "bytes": b"a", "text": "a"},
    {"type": "websocket.send", "bytes": b"", "text": ""},
    {"type": "websocket.send", "bytes": "a"},
    {"type": "websocket.send", "text": b"a"},
    {"type": "websocket.send", "text": 1},
    {"type": "websocket.send", "text": "\ud800"},
    {"type": "websocket.close", "code": 10},
    {"type": "websocket.close", "code": 5000},
    {"type": "websocket.close", "code": "x"},
    {"type": "websocket.close", "code": "1000"},
    {"type": "websocket.close", "code": 1000.0},
    {"type": "websocket.close", "code": 1000, "reason": b"a"},
    {"type": "websocket.close", "code": 1000, "reason": 1},
    {"type": "websocket.close", "code": 1000, "reason": "\ud800"},
]


@pytest.mark.parametrize("lines", [[], ["Sec-WebSocket-Extensions: permessage-deflate"]], ids=["plain", "compressed"])
def test_A6_W8_W12_a_mistake_after_the_accept_raises_and_changes_nothing(serve: Serve, lines: list[str]) -> None:
    raised: list[Any] = []

    async def script(receive: Receive, send: Send) -> None:
        for message in BAD_AFTER_ACCEPT:
            try:
                await send(message)
                raised.append(message)
            except MISTAKES:
                pass
        await send({**text("fine"), "bytes": None, "extra": 1})
        await until_gone(receive)

    client = serve(accepting(script)).connect()
    client.upgrade("/", *lines)
    opcode, payload = client.read_frame()
    if lines:
        opcode, payload = opcode & 15, zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
    assert (raised, opcode, payload) == ([], TEXT, b"fine")


@pytest.mark.parametrize("message", [{"bytes": b"x" * size} for size in (0, 125, 126, 65535, 65536)], ids=str)
def test_W8_bytes_of_any_length_are_one_frame(serve: Serve, message: Message) -> None:
    client = serve(saying(ACCEPT, {"type": "websocket.send", **message})).connect()
    client.upgrade()
    assert client.read_frame() == (BINARY, message["bytes"])


# Messages in


def parts(opcode: int, *payloads: bytes) -> list[bytes]:
    """A message in fragments."""
    last = len(payloads) - 1
    return [frame(0 if n else opcode, data, fin=n == last) for n, data in enumerate(payloads)]


EURO = "€".encode()
MESSAGES: dict[str, tuple[bytes, list[Message]]] = {
    "nothing": (frame(TEXT) + frame(BINARY), [{"text": ""}, {"bytes": b""}]),
    "a character in three fragments": (b"".join(parts(TEXT, *(bytes([b]) for b in EURO))), [{"text": "€"}]),
    "empty fragments": (b"".join(parts(BINARY, b"", b"a", b"", b"b", b"")), [{"bytes": b"ab"}]),
    "control frames between": (frame(PING, b"p").join(parts(TEXT, EURO[:1], EURO[1:], b"!")), [{"text": "€!"}]),
    "an unasked pong between": (frame(PONG, b"p").join(parts(BINARY, b"a", b"b")), [{"bytes": b"ab"}]),
    "another mask": (frame(TEXT, b"abcde", key=b"\xff\0\x80\x01"), [{"text": "abcde"}]),
    "16 bits of length": (frame(BINARY, b"x" * 65535), [{"bytes": b"x" * 65535}]),
    "64 bits of length": (frame(BINARY, b"x" * 300_000), [{"bytes": b"x" * 300_000}]),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_W2_W7_fragments_become_one_message_with_either_text_or_bytes(serve: Serve, what: str) -> None:
    data, messages = MESSAGES[what]
    app = Listener()
    client = serve(app).connect()
    client.upgrade()
    client.send(data + close_frame(1000))
    assert app.end == (1000, "")
    assert app.heard[:-1] == [{"type": "websocket.receive", **message} for message in messages]


def test_W2_W7_fragments_may_come_byte_by_byte(serve: Serve) -> None:
    app = Listener()
    client = serve(app).connect()
    client.upgrade()
    for byte in MESSAGES["control frames between"][0] + MESSAGES["empty fragments"][0] + close_frame(1000):
        client.send(bytes([byte]))
    assert app.end == (1000, "")
    assert app.heard[:-1] == [
        {"type": "websocket.receive", **message} for message in ({"text": "€!"}, {"bytes": b"ab"})
    ]
    assert [client.read_frame() for _ in range(2)] == [(PONG, b"p")] * 2


BROKEN = {
    "unmasked": (1002, b"\x81\x01a"),
    "a reserved opcode": (1002, frame(3, b"a")),
    "a reserved control opcode": (1002, frame(11)),
    "RSV1 without compression": (1002, frame(TEXT, b"a", rsv=4)),
    "RSV2": (1002, frame(TEXT, b"a", rsv=2)),
    "RSV3": (1002, frame(TEXT, b"a", rsv=1)),
    "a fragmented ping": (1002, frame(PING, b"a", fin=False)),
    "a ping of 126 bytes": (1002, frame(PING, b"a" * 126)),
    "a fragmented close": (1002, frame(CLOSE, b"\x03\xe8", fin=False)),
    "a continuation of nothing": (1002, frame(CONTINUATION, b"a")),
    "text in a message": (1002, frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    "a long way to say 1": (1002, b"\x81\xfe\0\1abcd" + b"x"),
    "a negative length": (1002, b"\x82\xff" + b"\xff" * 8 + b"abcd"),
    "a close of one byte": (1002, frame(CLOSE, b"\x03")),
    "a close of 999": (1002, close_frame(999)),
    "a close of 1005": (1002, close_frame(1005)),
    "a close of 1006": (1002, close_frame(1006)),
    "a close of 1016": (1002, close_frame(1016)),
    "a close of 5000": (1002, close_frame(5000)),
    "a close reason that is no text": (1007, frame(CLOSE, b"\x03\xe8\xff")),
    "text that is no text": (1007, frame(TEXT, b"a\xff")),
    "text that is cut": (1007, frame(TEXT, EURO[:2])),
    "fragments that are no text": (1007, frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, b"x")),
    "a surrogate": (1007, frame(TEXT, b"\xed\xa0\x80")),
    "a request": (1002, get()),
}


@pytest.mark.parametrize("what", BROKEN)
def test_W14_a_client_that_breaks_the_protocol_hears_why_and_so_does_the_app(serve: Serve, what: str) -> None:
    code, data = BROKEN[what]
    app = Listener()
    client = serve(app).connect()
    client.upgrade()
    client.send(frame(TEXT, b"before") + data + frame(TEXT, b"after"))
    assert client.read_close()[0] == code
    assert client.read_all() == b""
    assert app.end[0] == code
    assert app.heard[:-1] == [{"type": "websocket.receive", "text": "before"}]


def test_W14_it_hears_why_before_101_has_come_too(serve: Serve) -> None:
    app = Listener()
    client = serve(app).connect().send(handshake() + b"nonsense")
    assert client.read_reply().status == 101
    assert client.read_close()[0] == 1002
    assert app.end[0] == 1002


SIZES = {
    "text": (frame(TEXT, EURO * 3 + b"a"), frame(TEXT, EURO * 3 + b"ab")),
    "bytes": (frame(BINARY, b"x" * 10), frame(BINARY, b"x" * 11)),
    "fragments": (b"".join(parts(BINARY, *[b"x"] * 10)), b"".join(parts(BINARY, *[b"x"] * 11))),
}


@pytest.mark.parametrize("what", SIZES)
def test_W14_a_message_over_the_limit_is_a_1009(serve: Serve, what: str) -> None:
    fits, over = SIZES[what]
    app = Listener()
    client = serve(app, max_size=10).connect()
    client.upgrade()
    client.send(fits + fits + over + fits)
    assert client.read_close() == (1009, "over 10 bytes")
    client.assert_closed()
    assert app.end == (1009, "over 10 bytes")
    assert len(app.heard) == 3


def pour(client: Client, data: bytes, times: int) -> threading.Thread:
    """Sends it so many times from a thread; the server may hang up meanwhile."""

    def send() -> None:
        try:
            for _ in range(times):
                client.sock.sendall(data)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    return thread


ENDLESS = {
    "a huge declared length": (b"\x82\xff" + (1 << 60).to_bytes(8) + b"abcd", b"x" * 65536),
    "tiny fragments": (frame(BINARY, b"x", fin=False), frame(CONTINUATION, b"x", fin=False) * 5000),
    "tiny fragments of text": (frame(TEXT, b"x", fin=False), frame(CONTINUATION, b"x", fin=False) * 5000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_W14_a_message_without_end_is_a_1009_that_the_client_gets_while_it_sends(serve: Serve, what: str) -> None:
    begin, piece = ENDLESS[what]
    app = Listener()
    client = serve(app, max_size=10_000).connect()
    client.upgrade()
    sender = pour(client.send(begin), piece, 300)
    assert client.read_close()[0] == 1009
    client.assert_closed()
    client.close()
    sender.join()
    assert (app.end[0], len(app.heard)) == (1009, 1)


# Compression (RFC 7692)

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def deflated(data: bytes) -> bytes:
    """A message as permessage-deflate has it."""
    stream = zlib.compressobj(9, wbits=-15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


OFFERS = {
    "": None,
    "permessage-deflate": b"permessage-deflate",
    "permessage-deflate; client_max_window_bits": b"permessage-deflate; client_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=10": b"permessage-deflate; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover": b"permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=8": None,
    "permessage-deflate; server_max_window_bits=x": None,
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": b"permessage-deflate",
    "permessage-deflate-2": None,
    "x-webkit-deflate-frame, permessage-deflate": b"permessage-deflate",
}


@pytest.mark.parametrize("offer", OFFERS)
def test_compression_is_agreed_on_if_we_can(serve: Serve, offer: str) -> None:
    client = serve(echo_socket).connect()
    assert (
        client.upgrade("/", f"Sec-WebSocket-Extensions: {offer}").header(b"sec-websocket-extensions") == OFFERS[offer]
    )
    opcode, payload = client.send(frame(TEXT, b"plain")).read_frame()
    assert opcode == (0x41 if OFFERS[offer] else TEXT)
    assert payload == (deflated(b"plain") if OFFERS[offer] else b"plain")


def test_compression_can_be_off(serve: Serve) -> None:
    client = serve(echo_socket, per_message_deflate=False).connect()
    assert client.upgrade("/", DEFLATE).header(b"sec-websocket-extensions") is None


def test_W2_control_frames_may_come_between_compressed_fragments(serve: Serve) -> None:
    data = deflated("€ and € and €".encode())
    client = serve(echo_socket, per_message_deflate=True).connect()
    client.upgrade("/", DEFLATE + "; client_no_context_takeover; server_no_context_takeover")
    _, second, third = parts(TEXT, data[:3], data[3:5], data[5:])
    for control in (frame(PING, b"p"), frame(PONG)):
        client.send(control + frame(TEXT, data[:3], fin=False, rsv=4) + control + second + control + third)
        client.send(b"".join(parts(TEXT, b"pl", b"ain")).join([control, control]))
        answers = [client.read_frame() for _ in range(2 if control == frame(PONG) else 7)]
        assert [found for found in answers if found[0] != PONG] == [(0x41, data), (0x41, deflated(b"plain"))]


def test_W14_what_cannot_be_decompressed_is_a_1007(serve: Serve) -> None:
    client = serve(Listener()).connect()
    client.upgrade("/", DEFLATE)
    assert client.send(frame(TEXT, b"\xff\xff", rsv=4)).read_close()[0] == 1007
    client.assert_closed()


@pytest.fixture
def peak() -> Iterator[Callable[[], float]]:
    """The most memory in use since the start of the test, in MB."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / MB
    tracemalloc.stop()


def test_W14_a_bomb_explodes_before_it_is_big(serve: Serve, peak: Callable[[], float]) -> None:
    app = Listener()
    client = serve(app, max_size=MB).connect()
    client.upgrade("/", DEFLATE)
    bomb = deflated(bytes(256 * MB // 4)) * 4
    sender = pour(client, frame(BINARY, bomb, rsv=4), 1)
    assert client.read_close()[0] == 1009
    assert app.end[0] == 1009
    sender.join()
    assert peak() < 120


def test_W14_many_bombs_within_the_limit_wait_outside(serve: Serve, peak: Callable[[], float]) -> None:
    gate, sizes = Gate(), []

    async def script(receive: Receive, send: Send) -> None:
        await gate.wait()
        while (message := await receive())["type"] == "websocket.receive":
            sizes.append(len(message["bytes"]))

    server = serve(accepting(script), max_size=MB)
    client = server.connect()
    client.upgrade("/", DEFLATE + "; client_no_context_takeover")
    client.send(frame(BINARY, deflated(bytes(MB)), rsv=4) * 150)
    eventually(lambda: server.call(lambda: not sockets(server)[0]._reading))
    gate.open()
    client.send(close_frame(1000))
    assert client.read_close() == (1000, "")
    assert sizes == [MB] * 150
    assert peak() < 100


# Flow control


def test_a_client_waits_for_an_app_that_takes_no_messages(serve: Serve) -> None:
    gate = Gate()
    app = Listener(gate)
    server = serve(app, max_queue=4)
    client = server.connect()
    client.upgrade()
    gate.reached()
    client.send(frame(TEXT, b"small") * 10_000)
    sender = pour(client, frame(BINARY, b"x" * 100_000), 200)
    eventually(lambda: server.call(lambda: not sockets(server)[0]._reading))
    assert server.call(lambda: len(sockets(server)[0]._messages)) < 4000, "they wait unparsed"
    assert sender.is_alive()
    gate.open()
    sender.join()
    client.send(close_frame(1000))
    assert app.end == (1000, "")
    assert sum(len(message.get("text", "")) for message in app.heard) == 50_000
    assert sum(len(message.get("bytes", b"")) for message in app.heard) == 20_000_000


def test_an_app_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    sent: list[int] = []

    async def script(receive: Receive, send: Send) -> None:
        for _ in range(200):
            await send({"type": "websocket.send", "bytes": b"x" * 100_000})
            sent.append(1)

    server = serve(accepting(script))
    client = server.connect()
    client.upgrade()
    eventually(lambda: server.call(lambda: not sockets(server)[0]._drained.is_set()))
    assert len(sent) < 200
    for _ in range(200):
        assert client.read_frame() == (BINARY, b"x" * 100_000)
    assert client.read_close() == (1011, "")


def test_an_app_waits_for_a_client_that_has_not_read_the_response_before_the_handshake(serve: Serve) -> None:
    """The transport has told the connection to pause, and will not tell the WebSocket."""
    gate, sent = Gate(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await gate.wait()
            await answer(b"x" * 4 * MB)(scope, receive, send)
            return
        await send(ACCEPT)
        for _ in range(50):
            await send({"type": "websocket.send", "bytes": b"x" * 100_000})
            sent.append(1)

    server = serve(app)
    client = server.connect().send(get() + handshake())
    gate.reached()
    narrow(server, client)
    gate.open()
    eventually(lambda: server.call(lambda: any(hasattr(c, "frames") for c in sockets(server))))
    assert len(sent) < 50
    eventually(lambda: len(server.service.tasks) == 1)  # the response is done
    assert (len(client.read_reply().body), client.read_reply().status) == (4 * MB, 101)
    for _ in range(50):
        assert client.read_frame() == (BINARY, b"x" * 100_000)
    assert client.read_close() == (1011, "")


# Pings


def test_W1_pings_are_answered_while_the_app_does_not_listen(serve: Serve) -> None:
    gate = Gate()
    client = serve(Listener(gate)).connect()
    client.upgrade()
    gate.reached()
    for payload in (b"", b"x" * 125):
        assert client.send(frame(PING, payload)).read_frame() == (PONG, payload)
    gate.open()


def test_W1_our_pings_come_and_a_pong_keeps_the_connection(serve: Serve) -> None:
    client = serve(echo_socket, ping_interval=0.01, ping_timeout=PATIENCE).connect()
    client.upgrade()
    for _ in range(3):
        assert client.read_frame() == (PING, b"")
        client.send(frame(PONG))
    assert client.send(frame(TEXT, b"a")).read_frame()[0] in (TEXT, PING)


def test_W1_without_a_pong_it_is_over(serve: Serve) -> None:
    app = Listener()
    client = serve(app, ping_interval=0.01, ping_timeout=0.03).connect()
    client.upgrade()
    assert client.read_frame() == (PING, b"")
    assert client.read_close() == (1011, "no pong came in time")
    client.assert_closed()
    assert app.end == (1011, "no pong came in time")


def test_W1_without_an_interval_there_are_no_pings(serve: Serve) -> None:
    server = serve(echo_socket, ping_interval=math.inf)
    client = server.connect()
    client.upgrade()
    assert client.send(frame(PONG) + frame(TEXT, b"a")).read_frame() == (TEXT, b"a")
    assert server.call(lambda: sockets(server)[0]._deadline._timer) is None


def test_W1_a_pong_behind_much_that_a_slow_app_has_not_taken_counts(serve: Serve) -> None:
    gate, left = Gate(), []

    async def script(receive: Receive, send: Send) -> None:
        await gate.wait()
        (ours,) = sockets(server)
        assert not ours._reading
        ours.options = dataclasses.replace(ours.options, ping_timeout=PATIENCE)
        while not ours._reading:
            await receive()
        left.append(ours._deadline._when - server.service.loop.time())  # before anything can be read
        await until_gone(receive)

    server = serve(accepting(script), ping_interval=0.01, ping_timeout=0.02)
    client = server.connect()
    client.upgrade()
    sender = pour(client, frame(BINARY, b"x" * 100_000), 200)
    for _ in range(4):  # each after the first would be the end, if the pong were missed
        assert client.read_frame() == (PING, b"")
    gate.reached()
    gate.open()
    sender.join()
    client.send(frame(PONG))
    assert client.read_frame() == (PING, b"")
    assert left[0] > PATIENCE / 2


def test_W1_a_flood_of_pings_without_a_reader_does_not_fill_the_memory(serve: Serve) -> None:
    server = serve(echo_socket)
    client = server.connect()
    client.upgrade()
    narrow(server, client)
    pings = frame(PING, b"x" * 125) * 1000
    for _ in range(10):
        client.send(pings)
    eventually(lambda: server.call(lambda: not sockets(server)[0]._drained.is_set()))
    unsent = server.call(lambda: sockets(server)[0].transport.get_write_buffer_size())
    assert unsent < 70_000
    client.send(frame(TEXT, b"end"))
    while (found := client.read_frame()) != (TEXT, b"end"):
        assert found == (PONG, b"x" * 125)


# The end


CLOSES = {
    "1000": (close_frame(1000), (1000, "")),
    "nothing": (frame(CLOSE), (1005, "")),
    "4000 with a reason": (close_frame(4000, "bye €"), (4000, "bye €")),
    "1001": (close_frame(1001), (1001, "")),
    "the longest reason": (close_frame(3000, "x" * 123), (3000, "x" * 123)),
}


@pytest.mark.parametrize("what", CLOSES)
def test_W9_the_app_hears_how_the_client_closed_and_the_client_the_same(serve: Serve, what: str) -> None:
    data, end = CLOSES[what]
    app = Listener()
    server = serve(app)
    lines = told(server)
    client = server.connect()
    client.upgrade()
    client.send(frame(TEXT, b"last") + data + frame(TEXT, b"too late"))
    opcode, payload = client.read_frame()
    assert opcode == CLOSE
    assert payload == (b"" if end[0] == 1005 else end[0].to_bytes(2) + end[1].encode())
    client.assert_closed()
    assert app.end == end
    assert app.heard[0] == {"type": "websocket.receive", "text": "last"}
    assert len(app.heard) == 2
    assert lines == [("websocket", 101, 0), ("websocket", end[0], 0)]


@pytest.mark.parametrize("how", ["close", "abort", "half"])
def test_W9_a_lost_connection_is_a_1006(serve: Serve, how: str) -> None:
    app = Listener()
    server = serve(app)
    lines = told(server)
    client = server.connect()
    client.upgrade()
    if how == "half":
        client.sock.shutdown(1)
        client.assert_closed()
    else:
        getattr(client, how)()
    assert app.end == (1006, "")
    assert lines[-1] == ("websocket", 1006, 0)


def test_W9_the_disconnect_is_heard_as_often_as_one_listens_without_suspending(serve: Serve) -> None:
    heard: list[Any] = []

    async def script(receive: Receive, send: Send) -> None:
        heard.append(await until_gone(receive))
        for _ in range(2):
            coroutine = receive()
            try:
                coroutine.send(None)  # type: ignore[attr-defined]
            except StopIteration as stop:
                heard.append(stop.value)

    client = serve(accepting(script)).connect()
    client.upgrade()
    client.send(close_frame(4001))
    eventually(lambda: heard == [{"type": "websocket.disconnect", "code": 4001, "reason": ""}] * 3)


APP_CLOSES: dict[str, tuple[Message, tuple[int, str]]] = {
    "default": ({}, (1000, "")),
    "own": ({"code": 4242, "reason": "bye €"}, (4242, "bye €")),
    "no reason": ({"code": 1001, "reason": None}, (1001, "")),
    "a reason that is too long": ({"code": 3000, "reason": "€" * 100}, (3000, "€" * 41)),
    "a code that is not for the wire": ({"code": 1005}, (1000, "")),
}


@pytest.mark.parametrize("what", APP_CLOSES)
def test_W12_the_app_closes_with_its_code_and_reason(serve: Serve, what: str) -> None:
    message, end = APP_CLOSES[what]
    heard: list[Message] = []

    async def script(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", **message})
        heard.append(await until_gone(receive))

    client = serve(accepting(script)).connect()
    client.upgrade()
    assert client.read_close() == end
    client.send(frame(TEXT, b"ignored") + frame(PING, b"ignored") + close_frame(end[0]))
    client.assert_closed()
    eventually(lambda: heard == [{"type": "websocket.disconnect", "code": end[0], "reason": ""}])


@pytest.mark.parametrize("rest", [b"", frame(PONG) + frame(TEXT, b"x"), b"\x81\x01a"], ids=["silent", "busy", "broken"])
def test_W12_a_client_that_does_not_answer_our_close_is_cut(
    serve: Serve, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miniasgi.websocket._CLOSING", 0.05)
    client = serve(saying(ACCEPT, {"type": "websocket.close"}), ping_interval=math.inf).connect()
    client.upgrade()
    assert client.read_close() == (1000, "")
    client.send(rest)
    client.assert_closed()


def test_W12_messages_that_wait_do_not_hide_the_answer_to_our_close(serve: Serve) -> None:
    """What the app has not taken stopped the reading; after its close, nobody takes it."""
    gate = Gate()

    async def script(receive: Receive, send: Send) -> None:
        await gate.wait()
        await send({"type": "websocket.close"})
        await until_gone(receive)

    server = serve(accepting(script), max_queue=2)
    client = server.connect()
    client.upgrade()
    sender = pour(client, frame(TEXT, b"x" * 1000) * 1000, 8)
    eventually(lambda: server.call(lambda: not sockets(server)[0]._reading))
    gate.open()
    assert client.read_close() == (1000, "")
    sender.join()
    client.send(close_frame(1000))
    client.assert_closed()


@pytest.mark.parametrize("how", ["close", "abort"])
def test_W10_send_to_a_client_that_left_raises_and_may_escape(serve: Serve, how: str) -> None:
    raised: list[Any] = []

    async def script(receive: Receive, send: Send) -> None:
        await until_gone(receive)
        for message in (text("x"), {"type": "websocket.close"}, {"type": "websocket.nonsense"}):
            try:
                await send(message)
            except OSError as error:
                raised.append(type(error))
        await send(text("x"))

    server = serve(accepting(script))
    client = server.connect()
    client.upgrade()
    getattr(client, how)()
    eventually(lambda: raised == [ClientDisconnected] * 3)
    eventually(lambda: not server.service.tasks)


def test_W10_A10_an_app_that_only_sends_ends_when_its_client_leaves(serve: Serve) -> None:
    """It never waits for anything, so that only `send` can let the others run."""

    async def script(receive: Receive, send: Send) -> None:
        while True:
            await send(text("x" * 1000))

    server = serve(accepting(script))
    client = server.connect()
    client.upgrade()
    client.read_frame()
    client.abort()
    eventually(lambda: not server.service.tasks)


def test_W10_A10_a_sender_that_waits_hears_of_the_end(serve: Serve) -> None:
    server = serve(saying(ACCEPT, *[text("x" * 1_000_000)] * 30))
    client = server.connect()
    client.upgrade()
    eventually(lambda: server.call(lambda: not sockets(server)[0]._drained.is_set()))
    client.abort()
    eventually(lambda: not server.service.tasks)


def test_W10_send_after_the_apps_own_close_raises_and_is_its_mistake(serve: Serve) -> None:
    raised: list[type] = []

    async def script(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})
        try:
            await send(text("x"))
        except OSError as error:
            raised.append(type(error))
        raise ValueError("a bug that nobody must hide")

    client = serve(accepting(script), failures=1).connect()
    client.upgrade()
    assert client.read_close() == (1000, "")
    client.send(close_frame(1000)).assert_closed()
    assert raised == [ClientDisconnected]


@pytest.mark.parametrize("answer", ["websocket.close", "denial"])
def test_W10_a_bug_after_a_refusal_is_logged(serve: Serve, answer: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in [{"type": "websocket.close"}] if answer == "websocket.close" else [DENIAL, deny()]:
            await send(message)
        raise ValueError

    assert serve(app, failures=1).connect().ask(handshake()).status in (401, 403)


def test_W11_a_close_before_the_accept_is_a_403(serve: Serve) -> None:
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 4000, "reason": "no"})
        heard.append(await until_gone(receive))
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)

    server = serve(app)
    lines = told(server)
    client = server.connect()
    reply = client.ask(handshake())
    assert (reply.status, reply.header(b"connection"), reply.header(b"upgrade")) == (403, b"close", None)
    client.assert_closed()
    eventually(lambda: heard == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}])
    assert lines == [("websocket", 403, 0)]


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("before", [[], [DENIAL]], ids=["at once", "with a denial begun"])
def test_W13_an_app_that_ends_before_it_answered_is_a_500(serve: Serve, raises: bool, before: list[Message]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(*before)(scope, receive, send)
        if raises:
            raise ValueError

    server = serve(app, failures=1)
    lines = told(server)
    client = server.connect()
    assert client.ask(handshake()).status == 500
    client.assert_closed()
    assert lines == [("websocket", 500, 0)]


@pytest.mark.parametrize("raises", [True, False])
def test_A8_W3_W13_an_app_that_ends_after_the_accept_closes_with_1011(serve: Serve, raises: bool) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(text("x"))
        if raises:
            raise ValueError

    server = serve(accepting(script), failures=int(raises))
    lines = told(server)
    client = server.connect()
    client.upgrade()
    assert (client.read_frame(), client.read_close()) == ((TEXT, b"x"), (1011, ""))
    client.send(close_frame(1011)).assert_closed()
    eventually(lambda: lines == [("websocket", 101, 0), ("websocket", 1011, 3)])


def test_W3_an_app_that_ends_after_its_close_is_fine(serve: Serve) -> None:
    client = serve(saying(ACCEPT, text("x"), {"type": "websocket.close"})).connect().send(handshake())
    assert client.read_reply().status == 101
    assert (client.read_frame(), client.read_close()) == ((TEXT, b"x"), (1000, ""))


# Denial


def test_E1_a_denial_is_a_response_of_the_apps_own(serve: Serve) -> None:
    headers = [(b"WWW-Authenticate", b"Basic"), (b"content-length", b"9"), (b"x", b"1"), (b"x", b"2")]
    server = serve(saying({**DENIAL, "headers": headers}, deny(b"log", more=True), deny(b" first")))
    lines = told(server)
    client = server.connect()
    reply = client.ask(handshake())
    assert (reply.status, reply.body) == (401, b"log first")
    assert reply.headers == [
        (b"www-authenticate", b"Basic"),
        (b"content-length", b"9"),  # in the app's order (H19)
        (b"x", b"1"),
        (b"x", b"2"),
        (b"connection", b"close"),
    ]
    client.assert_closed()
    assert lines == [("websocket", 401, 9)]


def test_E1_a_denial_may_be_streamed_and_is_the_end(serve: Serve) -> None:
    ended: list[Any] = []
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(DENIAL)
        for message in (ACCEPT, text("x"), {"type": "websocket.close"}, DENIAL, {**deny(), "body": "str"}, {}):
            with pytest.raises(MISTAKES):
                await send(message)
        await send(deny(b"one", more=True))
        await gate.wait()
        await send(deny(b"two"))
        ended.append(await until_gone(receive))
        for message in (deny(b"three"), ACCEPT, text("x")):
            with pytest.raises(ClientDisconnected):
                await send(message)

    client = serve(app).connect().send(handshake() + frame(TEXT, b"nobody reads this"))
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"transfer-encoding: chunked" in head
    assert client.read_until(b"one\r\n") == b"3\r\none\r\n"
    gate.open()
    assert client.read_all() == b"3\r\ntwo\r\n0\r\n\r\n"
    eventually(lambda: ended == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}])


@pytest.mark.parametrize("raises", [True, False])
def test_E1_W13_a_denial_that_is_cut_does_not_look_complete(serve: Serve, raises: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(DENIAL, deny(b"half", more=True))(scope, receive, send)
        if raises:
            raise ValueError

    server = serve(app, failures=1)
    lines = told(server)
    client = server.connect().send(handshake())
    assert client.read_all().endswith(b"\r\n\r\n4\r\nhalf\r\n")
    eventually(lambda: lines == [("websocket", 401, 4)])


def test_E1_a_client_that_leaves_during_a_denial_is_told_of(serve: Serve) -> None:
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(DENIAL)
        await send(deny(b"half", more=True))
        heard.append(await until_gone(receive))
        await send(deny(b"nobody"))

    client = serve(app).connect().send(handshake())
    client.read_until(b"half")
    client.abort()
    eventually(lambda: heard == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}])


def test_W5_a_client_that_leaves_before_the_answer_is_told_of(serve: Serve) -> None:
    gate, raised = Gate(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await gate.wait()
        assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        try:
            await send(ACCEPT)
        except OSError as error:
            raised.append(error)
            raise

    server = serve(app)
    lines = told(server)
    client = server.connect().send(handshake())
    gate.reached()
    client.close()
    eventually(lambda: not server.service.connections)
    gate.open()
    eventually(lambda: raised)
    assert lines == [("websocket", 0, 0)]


# The server's side


def test_W13_at_a_shutdown_client_and_app_hear_1012(launch: Serve) -> None:
    app = Listener()
    server = launch(app)
    lines = told(server)
    client = server.connect()
    client.upgrade()
    server.server.should_exit = True
    assert client.read_close() == (1012, "")
    client.send(frame(TEXT, b"too late") + close_frame(1012)).assert_closed()
    server.join()
    assert app.heard == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]
    assert lines == [("websocket", 101, 0), ("websocket", 1012, 0)]


def test_W10_W13_at_a_shutdown_an_app_that_sends_is_not_logged_as_failed(launch: Serve) -> None:
    async def script(receive: Receive, send: Send) -> None:
        while True:
            await send(text("x"))
            await asyncio.sleep(0)

    with logged() as lines:
        server = launch(accepting(script))
        client = server.connect()
        client.upgrade()
        server.server.should_exit = True
        while client.read_frame()[0] != CLOSE:
            pass
        client.send(close_frame(1012)).assert_closed()
        server.join()
    assert not [line for line in lines if "failed" in line]


@pytest.mark.parametrize("stubborn", ["client", "app"])
def test_W13_a_shutdown_ends_within_its_budget(launch: Serve, stubborn: str) -> None:
    ended = []

    async def script(receive: Receive, send: Send) -> None:
        try:
            await (until_gone(receive) if stubborn == "client" else asyncio.sleep(60))
        finally:
            ended.append(1)

    server = launch(accepting(script), timeout_graceful_shutdown=0.2)
    client = server.connect()
    client.upgrade()
    server.server.should_exit = True
    assert client.read_close() == (1012, "")
    if stubborn == "app":
        client.send(close_frame(1012)).assert_closed()
    server.join()
    assert ended == [1]


def test_W13_at_a_shutdown_a_handshake_that_is_not_answered_is_a_503(launch: Serve) -> None:
    gate, heard = Gate(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await gate.wait()
        heard.append(await receive())
        await send(ACCEPT)

    with logged() as lines:
        server = launch(app)
        client = server.connect().send(handshake())
        late = server.connect().send(handshake()[:-1])
        gate.reached()
        eventually(lambda: server.call(lambda: any(getattr(c, "_heard", False) for c in sockets(server))))
        server.server.should_exit = True
        assert client.read_reply().status == 503
        assert late.send(b"\n").read_reply().status == 503
        gate.open()
        server.join()
    assert [message["code"] for message in heard] == [1006]
    assert not [line for line in lines if "failed" in line]


def test_E1_at_a_shutdown_a_denial_that_has_begun_is_completed(launch: Serve) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(DENIAL)
        await gate.wait()
        await send(deny(b"no"))

    server = launch(app)
    client = server.connect().send(handshake())
    gate.reached()
    server.server.should_exit = True
    eventually(lambda: server.service.closing)
    gate.open()
    assert client.read_reply().body == b"no"
    server.join()


def test_limit_max_requests_counts_a_websocket_when_it_ends(launch: Serve) -> None:
    server = launch(echo_socket, limit_max_requests=2)
    for _ in range(2):
        assert not server.server.should_exit
        client = server.connect()
        client.upgrade()
        client.send(close_frame(1000)).read_close()
    server.join()


def test_limit_concurrency_counts_websockets_and_refuses_them(serve: Serve) -> None:
    server = serve(both, concurrency=2)
    lines = told(server)
    clients = [server.connect() for _ in range(2)]
    for client in clients:
        client.upgrade()
    refused = server.connect()
    assert refused.ask(handshake()).status == 503
    refused.assert_closed()
    assert server.ask(get()).status == 503
    assert lines == [("websocket", 101, 0)] * 2 + [("websocket", 503, 0)]
    clients[0].send(close_frame(1000)).read_close()
    eventually(lambda: len(server.service.tasks) == 1)
    server.connect().upgrade()


@pytest.mark.parametrize("how", ["close", "abort", "a close frame", "nonsense"])
def test_cancel_on_disconnect_cancels_the_app(serve: Serve, how: str) -> None:
    ended: list[str] = []

    async def script(receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    server = serve(accepting(script), cancel_on_disconnect=True)
    client = server.connect()
    client.upgrade()
    if how == "a close frame":
        client.send(close_frame(1000)).read_close()
    elif how == "nonsense":
        client.send(b"nonsense").read_close()
    else:
        getattr(client, how)()
    eventually(lambda: ended and not server.service.tasks)


@pytest.mark.parametrize("how", ["close", "refuse", "deny"])
def test_cancel_on_disconnect_leaves_an_app_alone_that_ended_it_itself(serve: Serve, how: str) -> None:
    gate, ended = Gate(), []
    messages = {"close": [ACCEPT, {"type": "websocket.close"}], "refuse": [{"type": "websocket.close"}]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages.get(how, [DENIAL, deny()]):
            await send(message)
        await gate.wait()
        ended.append("cleaned up")

    server = serve(app, cancel_on_disconnect=True)
    client = server.connect()
    client.ask(handshake())
    if how == "close":
        client.read_close()
        client.send(close_frame(1000))
    client.assert_closed()
    eventually(lambda: not server.service.connections)
    gate.open()
    eventually(lambda: ended)


def test_200_clients_that_leave_leave_nothing_behind(serve: Serve) -> None:
    server = serve(echo_socket)
    server.connect().upgrade()
    files = open_files()
    for how in ("close", "abort") * 5:
        clients = [server.connect() for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(handshake()[: None if number % 4 else -1] + frame(TEXT, b"x")[: number % 8])
        for client in clients:
            getattr(client, how)()
    eventually(lambda: len(server.service.connections) == 1 and len(server.service.tasks) == 1)
    eventually(lambda: open_files() <= files)


def test_a_repr_tells_what_is_going_on(serve: Serve) -> None:
    server = serve(echo_socket)
    client = server.connect()
    client.upgrade()
    host, port = client.sock.getsockname()
    assert server.call(lambda: repr(sockets(server)[0])) == f"<WebSocket {host}:{port} OPEN>"


def test_the_access_log_has_a_line_for_each_answer_and_each_end(
    launch: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = launch(echo_socket, access_log=True)
    client = server.connect()
    client.upgrade("/chat?room=1")
    client.send(frame(TEXT, b"hi")).read_frame()
    client.send(close_frame(4000)).read_close()
    server.ask(get("/", *UPGRADE))
    server.stop()
    lines = [record.getMessage() for record in caplog.records if record.name == "miniasgi.access"]
    said = [line.partition(" - ")[2].rpartition("ms ")[0].rpartition(" ")[0] for line in lines]
    assert said == [
        '"WebSocket /chat?room=1 HTTP/1.1" 101 Switching Protocols',
        '"WebSocket /chat?room=1 HTTP/1.1" 4000 Closed',
        '"WebSocket / HTTP/1.1" 426 Upgrade Required',
    ]


# A client and frameworks that people use


def connect(server: Running, **options: Any) -> Any:
    """The `websockets` client."""
    return websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}/", proxy=None, **options)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets_talks_to_us(serve: Serve, compression: str | None) -> None:
    messages = ["", "€" * 1000, b"", bytes(range(256)) * 1000, "x" * 300_000]
    with connect(serve(echo_socket), compression=compression) as client:
        assert bool(client.protocol.extensions) is (compression == "deflate")
        for message in messages * 2:
            client.send(message)
            assert client.recv(PATIENCE) == message
        client.send(iter(["a€", "b", ""]))
        assert client.recv(PATIENCE) == "a€b"
        assert client.ping().wait(PATIENCE)
        client.close(4001, "bye")
    assert (client.protocol.close_rcvd.code, client.protocol.close_rcvd.reason) == (4001, "bye")


def test_websockets_hears_our_close_and_our_refusal(serve: Serve) -> None:
    close = {"type": "websocket.close", "code": 4002, "reason": "enough"}
    with connect(serve(saying(ACCEPT, text("x"), close))) as client:
        assert client.recv(PATIENCE) == "x"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, "enough")
    with pytest.raises(InvalidStatus) as refused:
        connect(serve(saying({**DENIAL, "headers": [(b"x", b"1")]}, deny(b"no"))))
    assert (refused.value.response.status_code, refused.value.response.body) == (401, b"no")


def test_websockets_hears_why_its_message_is_too_long(serve: Serve) -> None:
    server = serve(echo_socket, max_size=1000)
    with pytest.raises(ConnectionClosed) as closed, connect(server, compression=None) as client:
        client.send(bytes(5_000_000))
        client.recv(PATIENCE)
    assert closed.value.rcvd.code == 1009


def test_FastAPI_echoes_and_hears_the_end(serve: Serve) -> None:
    app, ends = FastAPI(), []

    @app.websocket("/")
    async def endpoint(socket: FastAPIWebSocket) -> None:
        await socket.accept(subprotocol="chat", headers=[(b"x", b"1")])
        try:
            while True:
                await socket.send_json({"you said": await socket.receive_text()})
        except WebSocketDisconnect as end:
            ends.append((end.code, end.reason))

    with connect(serve(app), subprotocols=["soap", "chat"]) as client:
        assert (client.subprotocol, client.response.headers["x"]) == ("chat", "1")
        client.send("hello")
        assert client.recv(PATIENCE) == '{"you said":"hello"}'
        client.close(4003, "bye €")
    eventually(lambda: ends == [(4003, "bye €")])


def test_FastAPI_need_not_catch_the_end(serve: Serve) -> None:
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(socket: FastAPIWebSocket) -> None:
        await socket.accept()
        while True:
            await socket.receive_text()

    server = serve(app)
    with connect(server):
        pass
    eventually(lambda: not server.service.tasks)


def test_Starlette_denies(serve: Serve) -> None:
    async def endpoint(socket: StarletteWebSocket) -> None:
        await socket.send_denial_response(PlainTextResponse("who are you?", 401, {"www-authenticate": "Basic"}))

    async def closing(socket: StarletteWebSocket) -> None:
        await socket.close()

    server = serve(Starlette(routes=[WebSocketRoute("/", endpoint), WebSocketRoute("/close", closing)]))
    reply = server.ask(handshake())
    assert (reply.status, reply.body, reply.header(b"www-authenticate")) == (401, b"who are you?", b"Basic")
    assert server.ask(handshake("/close")).status == 403
    assert server.ask(handshake("/nowhere")).status == 403

"""The x-ray as a whole: it changes nothing, mixes up nothing, shows no secret, and breaks nothing."""

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from miniasgi import Config, ConfigError, Server
from miniasgi.types import App, Message, Receive, Scope, Send
from miniasgi.xray import quiet
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import current
from miniasgi.xray.server import XrayServer

from .test_conversations import CONVERSATIONS, hold, mirror
from .vocabulary import (
    KINDS,
    START,
    TEXT,
    Running,
    answer,
    body,
    chunked,
    close_frame,
    echo,
    echo_socket,
    eventually,
    frame,
    get,
    handshake,
    logged,
    post,
    read_body,
    request,
    sends,
    serving,
)


def unseen(config: Config) -> XrayServer:
    """A server under the x-ray, without a page."""
    return XrayServer(config, page=False)


@contextlib.contextmanager
def watching(app: App | str, **options: Any) -> Iterator[tuple[Running, Any]]:
    """Such a server, and its recorder."""
    with serving(app, make=options.pop("make", unseen), **options) as server:
        yield server, server.server.recorder  # type: ignore[attr-defined]


def over(recorder: Any, count: int = 1) -> list[Trace]:
    """The traces, as soon as so many are complete."""
    return list(eventually(lambda: sum(t.done for t in recorder.traces) >= count and list(recorder.traces)))


def names(trace: Trace) -> list[str]:
    return [f"{hop.layer}: {hop.name}" for hop in sorted(trace.hops, key=lambda hop: hop.start_ns)]


def everything(trace: Trace) -> str:
    """All that could be shown of it."""
    raw = b"".join(hop.raw or b"" for hop in trace.hops)
    return f"{trace.json()} {raw!r} {[hop.raw for hop in trace.hops]}"


# It changes nothing:


class Witness:
    """Writes down what passes between server and app, by the client's port."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen: dict[int, list[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        notes = self.seen.setdefault(scope["client"][1] if "client" in scope else 0, [])
        notes.append(repr({key: value for key, value in scope.items() if key not in ("client", "server", "state")}))

        content = b""

        async def heard() -> Message:
            nonlocal content
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):  # in how many pieces it comes is the network's affair
                notes.append(f"receive {message | {'body': content}}")
            return message

        async def said(message: Message) -> None:
            notes.append(f"send {message}")
            try:
                await send(message)
            except Exception as error:
                notes.append(f"raised {error!r}")
                raise

        await self.app(scope, heard, said)


@pytest.mark.parametrize("http, loop", KINDS)
def test_bytes_and_messages_are_the_same_with_it_and_without(http: str, loop: str) -> None:
    held, heard = [], []
    for make in (Server, unseen):
        witness = Witness(mirror)
        held.append(hold(witness, http, loop, make=make))
        heard.append(sorted("\n".join(notes) for notes in witness.seen.values()))
    assert held[0] == held[1]
    assert heard[0] == heard[1]
    assert len(heard[0]) > len(CONVERSATIONS) / 2


# What a client says, how many frames it waits for then, and what it says at the end.
SOCKET_TALKS = {
    "echo": (frame(TEXT, b"hello") + frame(2, b"\x00\xff"), 2, close_frame(1000, "bye")),
    "ping": (frame(9, b"are you there"), 1, close_frame(1001)),
    "fragments": (frame(TEXT, b"he", fin=False) + frame(0, b"llo"), 1, close_frame(1000)),
    "wrong": (frame(TEXT, b"\xff\xff"), 0, b""),
    "reserved bits": (frame(TEXT, b"x", rsv=4), 0, b""),
}


@pytest.mark.parametrize("http, loop", KINDS)
def test_websockets_are_the_same_with_it_and_without(http: str, loop: str) -> None:
    held: list[Any] = []
    for make in (Server, unseen):
        witness = Witness(echo_socket)
        with serving(witness, make=make, http=http, loop=loop, date_header=False) as server:
            found = {}
            for name, (frames, count, last) in SOCKET_TALKS.items():
                client = server.connect()
                head = client.send(handshake() + frames).read_until(b"\r\n\r\n")
                found[name] = [head, *(client.read_frame() for _ in range(count)), client.send(last).read_all()]
            refused = server.connect().send(get("/", "Connection: Upgrade", "Upgrade: websocket")).read_all()
        held.append((found, refused, sorted("\n".join(notes) for notes in witness.seen.values())))
    assert held[0] == held[1]
    assert held[0][0]["echo"][1:3] == [(TEXT, b"hello"), (2, b"\x00\xff")]


# It mixes up nothing:


async def marked(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the content, some of it late."""
    if scope["type"] == "http":
        data = await read_body(receive)
        await send({**START, "headers": [(b"mark", scope["path"].encode())]})
        for _ in range(2):
            await send(body(scope["path"].encode() + b" " + data, more=True))
        await send(body())


def five_requests(number: int) -> bytes:
    """Pipelined, each with a mark of its own in the path and in the content."""
    marks = [f"/mark-{number:02d}-{index}-" for index in range(5)]
    return b"".join(
        chunked(mark.encode(), b"x" * 10, target=mark) if index % 2 else post(mark.encode(), target=mark)
        for index, mark in enumerate(marks)
    )


def check_marks(trace: Trace) -> None:
    own = trace.title.removeprefix("POST ")
    for hop in trace.hops:
        found = set(re.findall(r"/mark-\d\d-\d-", f"{hop.name} {hop.data} {hop.raw!r}"))
        if hop.name == "read":  # pipelined: one read, several requests of the same client
            assert all(mark[:9] == own[:9] for mark in found), (own, hop)
        else:
            assert found <= {own}, (own, hop)


@pytest.mark.parametrize("http, loop", KINDS)
def test_no_hop_is_in_a_wrong_trace(http: str, loop: str) -> None:
    """60 connections with 5 pipelined requests each: half of them in one piece, half in many, all mixed."""
    with watching(marked, http=http, loop=loop) as (server, recorder):
        recorder.kept = 1000
        clients = [(server.connect(), five_requests(number)) for number in range(60)]
        for client, data in clients[::2]:
            client.send(data)
        for at in range(0, 1000, 70):
            for client, data in clients[1::2]:
                client.send(data[at : at + 70])
        for client, _ in clients:
            for _ in range(5):
                assert client.read_reply("POST").status == 200
        traces = over(recorder, 300)
    assert len(traces) == 300
    for trace in traces:
        check_marks(trace)
        kinds = [hop.name.partition("(")[0] for hop in trace.hops]
        assert kinds.count("event Request") == kinds.count("event End") == kinds.count("finished") == 1
        assert kinds.count("send http.response.body") == 3
        assert "read" in kinds


def test_what_works_on_after_its_request_is_in_no_other_one() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def later() -> None:
            await left.wait()
            seen.append((current.get(), recorder.active()))

        if scope["type"] == "http":
            left = asyncio.Event()
            task = asyncio.create_task(later())
            await sends(START, body())(scope, receive, send)
            asyncio.get_running_loop().call_later(0.05, left.set)
            tasks.append(task)

    tasks: list[Any] = []
    with watching(app) as (server, recorder):
        server.ask(get())
        [trace] = over(recorder)
        eventually(lambda: seen)
    assert seen == [(trace, None)]


async def lazy(scope: Scope, receive: Receive, send: Send) -> None:
    """Gives its headers once: "an iterable", says ASGI."""
    if scope["type"] == "http":
        await send({**START, "headers": iter([(b"x-lazy", b"yes")])})
        await send(body(b"ok"))


def test_headers_that_can_be_read_once_reach_the_client() -> None:
    with watching(lazy) as (server, _):
        assert (b"x-lazy", b"yes") in server.ask(get()).headers


# It shows no secret:

SECRETS = {
    "Authorization": "Bearer s3cr3t-bearer-token",
    "Cookie": "session=s3cr3t-cookie; other=s3cr3t-second",
    "X-Api-Key": "s3cr3t-api-key",
    "Proxy-Authorization": "Basic dXNlcjpzM2NyM3QtcGFzc3dvcmQ=",
    "X-Csrf-Token": "s3cr3t-csrf",
}
PLAIN = ("s3cr3t", "dXNlcjpzM2NyM3QtcGFzc3dvcmQ")


async def indiscreet(scope: Scope, receive: Receive, send: Send) -> None:
    """Says all it hears, and sets a cookie."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        for _, value in scope["headers"]:
            await send({"type": "websocket.send", "text": value.decode()})
        await receive()
    elif scope["type"] == "http":
        await read_body(receive)
        text = repr(scope["headers"]).encode() + str(dict(scope["headers"])).encode()
        await send({**START, "headers": [*scope["headers"][1:3], (b"set-cookie", b"id=s3cr3t-new-cookie; HttpOnly")]})
        await send(body(text, more=True))
        await send(body(b"s3cr3t-new-cookie"))
        if scope["path"] == "/crash":
            raise ValueError(f"unknown key: {scope['headers']}")


@pytest.mark.parametrize("http, loop", KINDS)
@pytest.mark.parametrize("size", [10000, 7, 1])
def test_no_secret_is_kept(http: str, loop: str, size: int) -> None:
    lines = [f"{name}: {value}" for name, value in SECRETS.items()]
    with watching(indiscreet, http=http, loop=loop) as (server, recorder):
        for data in (get("/", *lines), get("/crash", *lines), post(b"x", *lines), get("/bad\x00", *lines)):
            client = server.connect()
            for at in range(0, len(data), size):
                client.send(data[at : at + size])
            client.read_reply("GET")
        client = server.connect()
        client.upgrade("/", *lines)
        client.send(close_frame(1000)).read_all()
        traces = over(recorder, 5)
    assert len(traces) == 5
    for trace in traces:
        text = everything(trace)
        assert not any(secret in text for secret in PLAIN), re.findall(".{30}s3cr3t.{20}", text)
        assert "GET" in text or "POST" in text or size == 1


async def logs_in(scope: Scope, receive: Receive, send: Send) -> None:
    trace = current.get()
    if trace is not None:
        trace.instant("app", "made s3cr3t-new-cookie", None, b"s3cr3t-new-cookie", value="s3cr3t-new-cookie")
    await sends({**START, "headers": [(b"set-cookie", b"id=s3cr3t-new-cookie")]}, body())(scope, receive, send)


def test_no_secret_of_a_response_is_kept_from_before_it() -> None:
    with watching(logs_in) as (server, recorder):
        server.ask(get())
        [trace] = over(recorder)
    assert any(hop.name.startswith("made ***") for hop in trace.hops)
    assert "s3cr3t" not in everything(trace)


async def hears_and_says_in_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    more, length = True, dict(scope["headers"])[b"content-length"]
    await send({**START, "headers": [(b"content-length", length)]})
    while more:
        message = await receive()
        more = message["more_body"]
        await send(body(message["body"], more=more))


@pytest.mark.parametrize("http, loop", KINDS)
def test_no_secret_is_kept_that_comes_in_pieces(http: str, loop: str) -> None:
    with watching(hears_and_says_in_pieces, http=http, loop=loop) as (server, recorder):
        client, data = server.connect(), post(b'{"password": "s3cr3t-in-pieces", "a": "seen"}')
        for part in (b"s3c", b"in-pieces", b"eces"):  # each reaches the app by itself
            at = data.index(part) + 1
            client.send(data[:at])
            data = data[at:]
            time.sleep(0.05)
        client.send(data).read_reply()
        [trace] = over(recorder)
    assert not [hop for hop in trace.hops if hop.raw and re.search(b"3cr|t-i|n-pie|ces", hop.raw)]
    assert any(b"seen" in hop.raw for hop in trace.hops if hop.raw)


async def tells_its_query(scope: Scope, receive: Receive, send: Send) -> None:
    await sends(START, body(b"you said " + scope["query_string"].partition(b"=")[2]))(scope, receive, send)


@pytest.mark.parametrize("http, loop", KINDS)
def test_no_secret_of_a_query_is_kept(http: str, loop: str) -> None:
    with watching(tells_its_query, http=http, loop=loop) as (server, recorder):
        server.ask(get("/?api_key=s3cr3t-in-the-query"))
        [trace] = over(recorder)
    assert "s3cr3t" not in everything(trace)


# It breaks nothing:


def faults() -> list[str]:
    """Every tap that a few requests call."""
    called = dict[str, None]()
    real = quiet.call

    def note(function: Any, *args: Any, **kwargs: Any) -> Any:
        called[function.__qualname__] = None
        return real(function, *args, **kwargs)

    quiet.call = note
    try:
        talk(unseen)
    finally:
        quiet.call = real
    return list(called)


async def all_kinds(scope: Scope, receive: Receive, send: Send) -> None:
    """An echo, for both protocols, that crashes if it is asked to."""
    if scope["type"] == "websocket":
        await echo_socket(scope, receive, send)
    elif scope["type"] == "http" and scope["path"] == "/crash":
        raise RuntimeError("on purpose")
    elif scope["type"] == "http":
        await echo(scope, receive, send)


def talk(make: Any) -> list[Any]:
    """A few requests of every kind."""
    options = {"date_header": False, "timeout_keep_alive": 0.02, "limit_request_body": 1_000_000}
    with serving(all_kinds, make=make, **options) as server:
        large = post(b"x" * 300_000, "Connection: close")
        found: list[Any] = [
            server.connect().send(data).read_all()
            for data in (get() + post(b"two"), get("/crash"), chunked(b"a", b"b"), b"nonsense\r\n\r\n", large)
        ]
        leaver = server.connect().send(request("POST", "/", "Content-Length: 3", "Expect: 100-continue"))
        found.append(leaver.read_until(b"\r\n\r\n"))
        leaver.close()
        client = server.connect().send(handshake() + frame(TEXT, b"hi"))
        found.append([client.read_until(b"\r\n\r\n"), client.read_frame(), client.send(close_frame(1000)).read_all()])
        found.append(server.connect().send(get("/", "Connection: Upgrade", "Upgrade: websocket")).read_all())
        eventually(lambda: not server.service.tasks)
    return found


def test_a_tap_that_raises_leaves_the_answers_intact(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, taps, real = talk(Server), faults(), quiet.call
    assert len(taps) > 20, taps
    for tap in taps:
        monkeypatch.setattr(quiet, "_failed", set())

        def fail(function: Any, *args: Any, tap: str = tap, **kwargs: Any) -> Any:
            if function.__qualname__ == tap:
                raise RuntimeError("a broken tap")
            return real(function, *args, **kwargs)

        monkeypatch.setattr(quiet, "call", fail)
        with logged() as lines:
            assert talk(unseen) == expected, tap
        told = [line for line in lines if line.startswith("x-ray: ")]
        assert sum(f"{tap} failed" in line for line in told) == 1, (tap, told)


def test_off_leaves_nothing_imported() -> None:
    code = """
import sys, threading, miniasgi
from miniasgi.cli import main
async def app(scope, receive, send): pass
server = miniasgi.Server(miniasgi.Config(app, port=0, lifespan="off"))
threading.Timer(0.2, lambda: setattr(server, "should_exit", True)).start()
server.run()
try: main(["--help"])
except SystemExit: pass
print([name for name in sys.modules if "xray" in name or "opentelemetry" in name or "pydantic" in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]", done


# What it refuses:


def test_open_to_others_only_if_that_is_said() -> None:
    host = "0.0.0.0"
    with pytest.raises(ConfigError, match=r"not on http://.*; or say --xray-unsafe"), watching(answer(), host=host):
        pass
    with watching(answer(), host=host, make=lambda config: XrayServer(config, page=False, unsafe=True)) as (server, _):
        assert server.ask(get()).status == 200


def test_one_process_only() -> None:
    for options in ({"workers": 2}, {"reload": True}):
        with pytest.raises(ConfigError, match="single process"):
            XrayServer(Config(answer(), **options))  # type: ignore[arg-type]


def test_server_timing_tells_where_the_time_went() -> None:
    make = lambda config: XrayServer(config, page=False, server_timing=True)  # noqa: E731
    with watching(answer(), make=make) as (server, _):
        value = server.ask(get()).header(b"server-timing")
    assert value is not None
    assert re.fullmatch(rb"[a-z]+;dur=\d+\.\d{3}(, [a-z]+;dur=\d+\.\d{3})*", value)
    assert {b"socket", b"parser", b"server", b"asgi"} <= {part.split(b";")[0] for part in value.split(b", ")}


def test_the_last_two_hundred_are_kept_and_those_in_flight() -> None:
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/slow":
            while not gate.is_set():
                await asyncio.sleep(0.01)
        await answer()(scope, receive, send)

    with watching(app) as (server, recorder):
        slow = server.connect().send(get("/slow"))
        eventually(lambda: recorder.traces)
        client = server.connect()
        for _ in range(250):
            assert client.ask(get()).status == 200
        assert len(recorder.traces) == 200
        assert recorder.traces[0].title == "GET /slow"
        gate.set()
        slow.read_reply()

"""WSGI apps: PEP 3333 whole, content that streams both ways, and threads that nobody can hold for ever."""

import contextvars
import functools
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import flask
import pytest

from miniasgi.importer import ConfigError, load_app
from miniasgi.types import Message, Scope
from miniasgi.wsgi import WSGI, environ_of

from .test_logs import logging_restored
from .test_memory import MB, bounded
from .vocabulary import PATIENCE, Client, Running, chunked, eventually, get, logged, post, request, serving, spawned

Serve = Callable[..., Running]
TEXT = [("Content-Type", "text/plain")]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [b"hello"]


def upper(environ: Any, start_response: Any) -> Iterator[bytes]:
    """Answers each line when it has come."""
    start_response("200 OK", TEXT)
    for line in environ["wsgi.input"]:
        yield line.upper()


def describe(environ: Any, start_response: Any) -> list[bytes]:
    """The text of its environ, as JSON."""
    start_response("200 OK", TEXT)
    return [json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()]


def yields(*pieces: bytes, headers: Any = TEXT, status: str = "200 OK") -> Any:
    """An app that yields these pieces, and has no length."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(status, headers)
        yield from pieces

    return app


def reads(read: Callable[[Any], Any]) -> Any:
    """An app that answers with what `read` makes of its input."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [repr(read(environ["wsgi.input"])).encode()]

    return app


class Closing:
    """Pieces of content with a `close()` that tells."""

    def __init__(self, pieces: Any) -> None:
        self.pieces = iter(pieces)
        self.closed = threading.Event()

    def __iter__(self) -> Any:
        return self.pieces

    def close(self) -> None:
        assert not self.closed.is_set(), "closed twice"
        self.closed.set()

    def app(self, environ: Any, start_response: Any) -> "Closing":
        start_response("200 OK", TEXT)
        return self


def size_of_chunks(client: Client) -> int:
    """Reads a chunked response, and gives its length; keeps nothing of it."""
    client.read_until(b"\r\n\r\n")
    size = 0
    while length := int(client.read_until(b"\r\n"), 16):
        client.read_exactly(length + 2)
        size += length
    return size


def failures(log: list[str]) -> list[str]:
    return [line for line in log if "failed" in line]


# The environ


SCOPE: Scope = {
    "type": "http",
    "method": "GET",
    "scheme": "http",
    "http_version": "1.1",
    "path": "/",
    "query_string": b"",
    "headers": [],
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 5000),
}


class NoContent(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0


def environ(threads: int = 10, **scope: Any) -> dict[str, Any]:
    """The environ of a scope that is plain but for this."""
    return environ_of({**SCOPE, **scope}, NoContent(), threads)


def fields(*headers: tuple[bytes, bytes]) -> dict[str, str]:
    """The part of an environ that these header fields are."""
    without = environ()
    return {key: value for key, value in environ(headers=headers).items() if key not in without}


def test_S2_the_environ_has_all_that_PEP_3333_asks_for() -> None:
    found = environ(
        method="POST",
        path="/a/b",
        root_path="/a",
        query_string=b"q=1&r=%20",
        headers=[(b"content-type", b"text/plain"), (b"content-length", b"7"), (b"x-some-thing", b"1")],
    )
    content = found.pop("wsgi.input")
    assert isinstance(content, io.BufferedReader)
    assert found == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/a",
        "PATH_INFO": "/b",
        "QUERY_STRING": "q=1&r=%20",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "7",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_X_SOME_THING": "1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    assert type(found) is dict


def test_S5_one_thread_is_not_many() -> None:
    assert environ(threads=1)["wsgi.multithread"] is False


@pytest.mark.parametrize(
    ("path", "root_path", "script_name", "path_info"),
    [
        ("/x", "", "", "/x"),
        ("/app/x", "/app", "/app", "/x"),
        ("/app/x", "/app/", "/app", "/x"),
        ("/app", "/app", "/app", ""),
        ("//x", "/", "", "//x"),
        ("/\N{SNOWMAN}/é", "/\N{SNOWMAN}", "/\xe2\x98\x83", "/\xc3\xa9"),
        ("*", "", "", "*"),
    ],
)
def test_S2_the_path_is_what_is_left_of_the_mount_as_latin_1(
    path: str, root_path: str, script_name: str, path_info: str
) -> None:
    found = environ(path=path, root_path=root_path)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script_name, path_info)


@pytest.mark.parametrize(
    ("server", "scheme", "name", "port"),
    [
        (("example.org", 8443), "https", "example.org", "8443"),
        (("/run/app.sock", None), "http", "localhost", "80"),
        (("/run/app.sock", None), "https", "localhost", "443"),
        (None, "http", "localhost", "80"),
    ],
)
def test_S5_a_server_has_a_name_and_a_port_that_are_text(server: Any, scheme: str, name: str, port: str) -> None:
    found = environ(server=server, scheme=scheme)
    assert (found["SERVER_NAME"], found["SERVER_PORT"], found["wsgi.url_scheme"]) == (name, port, scheme)


@pytest.mark.parametrize(
    ("client", "expected"),
    [(None, (None, None)), (("1.2.3.4", 0), ("1.2.3.4", "")), (("/run/client", None), ("/run/client", ""))],
)
def test_S2_a_client_that_is_not_known_is_not_there(client: Any, expected: Any) -> None:
    found = environ(client=client)
    assert (found.get("REMOTE_ADDR"), found.get("REMOTE_PORT")) == expected


def test_S5_lines_of_one_field_are_joined_and_cookies_as_cookies_are() -> None:
    found = fields((b"accept", b"a"), (b"cookie", b"a=1"), (b"accept", b"b"), (b"cookie", b"b=2"))
    assert found == {"HTTP_ACCEPT": "a,b", "HTTP_COOKIE": "a=1; b=2"}


def test_S5_header_values_are_latin_1() -> None:
    assert fields((b"x-name", b"\xe9\xff")) == {"HTTP_X_NAME": "\xe9\xff"}


def test_S5_a_name_with_an_underscore_cannot_pass_for_one_with_a_hyphen() -> None:
    assert fields((b"x_real_ip", b"6.6.6.6"), (b"x-real-ip", b"1.2.3.4"), (b"x_real-ip", b"6.6.6.6")) == {
        "HTTP_X_REAL_IP": "1.2.3.4"
    }


def test_S5_a_client_cannot_set_HTTP_PROXY() -> None:
    assert fields((b"proxy", b"http://evil"), (b"proxy-authorization", b"x")) == {"HTTP_PROXY_AUTHORIZATION": "x"}


def test_S2_the_environ_of_a_request_on_the_wire(serve: Serve) -> None:
    server = serve(describe, root_path="/mount")
    lines = ("X-Name: \xe9", "X_Name: evil", "Proxy: evil", "X-Twice: 1", "X-Twice: 2")
    found = json.loads(server.ask(get("/caf%C3%A9?q=%20", *lines)).body)
    assert found.pop("REMOTE_PORT").isdigit()
    assert found == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/mount",
        "PATH_INFO": "/caf\xc3\xa9",
        "QUERY_STRING": "q=%20",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "test",
        "HTTP_X_NAME": "\xe9",
        "HTTP_X_TWICE": "1,2",
        "wsgi.url_scheme": "http",
    }


def test_S5_more_lines_than_the_limit_are_refused_before_anybody_joins_them(http: str) -> None:
    with serving(describe, http=http) as server:
        assert len(json.loads(server.ask(get("/", *["X: 1"] * 99)).body)["HTTP_X"]) == 197
        assert server.ask(get("/", *["X: 1"] * 100)).status == 431


# Content in


@pytest.mark.parametrize("send", [post, chunked], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda file: file.read(), b"ab\ncd\nef"),
        (lambda file: [file.read(4), file.read(1), file.read(100), file.read(1)], [b"ab\nc", b"d", b"\nef", b""]),
        (lambda file: [file.readline(), file.readline(1), file.readline()], [b"ab\n", b"c", b"d\n"]),
        (lambda file: file.readlines(), [b"ab\n", b"cd\n", b"ef"]),
        (lambda file: file.readlines(4), [b"ab\n", b"cd\n"]),
        (lambda file: list(file), [b"ab\n", b"cd\n", b"ef"]),
        (lambda file: [file.read(0), file.read(), file.read()], [b"", b"ab\ncd\nef", b""]),
    ],
    ids=["read", "read(n)", "readline", "readlines", "readlines(n)", "iter", "read nothing"],
)
def test_S5_input_is_a_file(read: Any, expected: Any, send: Any, http: str) -> None:
    with serving(reads(read), http=http) as server:
        assert server.ask(send(b"ab\ncd\nef")).body == repr(expected).encode()


def test_S5_input_without_content_is_empty(serve: Serve) -> None:
    assert serve(reads(lambda file: file.read())).ask(get()).body == b"b''"


def test_S4_each_piece_is_sent_when_it_is_yielded_and_read_when_it_comes(serve: Serve) -> None:
    client = serve(upper).connect().send(request("POST", "/", "Transfer-Encoding: chunked"))
    for line in (b"one\n", b"two\n", b"three\n"):
        client.send(b"%x\r\n%b\r\n" % (len(line), line))
        assert client.read_until(line.upper())
    client.send(b"0\r\n\r\n")
    client.read_until(b"0\r\n\r\n")
    assert client.ask(post(b"again\n")).body == b"AGAIN\n"


def test_a_client_is_told_to_continue_when_the_app_reads(serve: Serve) -> None:
    client = serve(upper).connect().send(request("POST", "/", "Expect: 100-continue", "Content-Length: 3"))
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"abc").read_reply().body == b"ABC"


# Content out


def test_S3_status_and_headers_are_those_of_the_app(serve: Serve) -> None:
    headers = [("X-One", "\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    reply = serve(yields(b"x", headers=headers, status="299 Whatever It Is")).ask(get())
    assert reply.status == 299
    names = [field for field in reply.headers if field[0] in (b"x-one", b"set-cookie")]
    assert names == [(b"x-one", b"\xe9"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]


def test_S5_one_piece_has_a_length_and_several_are_chunks(serve: Serve) -> None:
    server = serve(hello)
    client = server.connect()
    assert client.ask(get()).header(b"content-length") == b"5"
    assert client.ask(get(method="HEAD")).header(b"content-length") == b"5"
    server = serve(yields(b"he", b"", b"llo"))
    reply = server.ask(get())
    assert (reply.header(b"transfer-encoding"), reply.body) == (b"chunked", b"hello")
    assert server.ask(get(version="1.0")).body == b"hello"


@pytest.mark.parametrize("result", [[], [b""], [b"", b""], iter([])], ids=["[]", "one", "two", "iterator"])
def test_S5_no_content_is_an_empty_response(result: Any, http: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return result

    with serving(app, http=http) as server:
        reply = server.ask(get())
        assert (reply.status, reply.header(b"content-length"), reply.body) == (200, b"0", b"")


def test_S5_write_sends_before_what_is_returned(serve: Serve) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"")
        write(b"one ")
        write(b"two ")
        return [b"three"]

    assert serve(app).ask(get()).body == b"one two three"


def test_S5_headers_wait_for_the_first_piece_that_is_not_empty(serve: Serve) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b""
        try:
            raise ValueError("no")
        except ValueError:
            start_response("404 Not Found", TEXT, sys.exc_info())
        yield b"never mind"

    reply = serve(app).ask(get())
    assert (reply.status, reply.body) == (404, b"never mind")


def test_S5_an_error_after_the_headers_is_raised_again_in_the_app(serve: Serve) -> None:
    caught: list[bool] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"some"
        try:
            raise ValueError("too late")
        except ValueError as error:
            try:
                start_response("500 Sorry", TEXT, sys.exc_info())
            except ValueError as again:
                caught.append(again is error)
                raise

    with logged() as log:
        reply = serve(app).connect().send(get()).read_all()
        eventually(lambda: failures(log))
    assert reply.endswith(b"4\r\nsome\r\n")  # and no last chunk: the client can tell
    assert caught == [True]
    assert failures(log) == ["GET /: the app failed: ValueError('too late')"]


def twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"never"]


def never(environ: Any, start_response: Any) -> list[bytes]:
    return [b"content"]


def raises(environ: Any, start_response: Any) -> list[bytes]:
    raise ValueError("boom")


def stops(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return next(iter([]))  # type: ignore[no-any-return, call-overload]


@pytest.mark.parametrize(
    ("app", "what"),
    [
        (twice, "RuntimeError('start_response was called twice, and without exc_info (PEP 3333)')"),
        (never, "RuntimeError('the app gave content before it called start_response (PEP 3333)')"),
        (raises, "ValueError('boom')"),
        (stops, "RuntimeError('the app raised StopIteration')"),
        (yields("text"), "TypeError('body must be bytes, not str')"),  # type: ignore[arg-type]
        (yields(b"x", status="OK"), "ValueError(\"invalid literal for int() with base 10: 'OK'\")"),
        (yields(b"x", headers=[("X", "a\r\nb")]), "ValueError(\"control character in header b'x': b'a\\\\r\\\\nb'\")"),
        (
            yields(b"12345", headers=[("Content-Length", "3")]),
            "RuntimeError('5 bytes of content, where content-length leaves 3 (RFC 9112 6.3)')",
        ),
    ],
    ids=["twice", "never", "raises", "StopIteration", "str", "status", "header", "over its length"],
)
def test_A8_a_mistake_of_the_app_is_logged_once_and_is_a_500(app: Any, what: str, http: str) -> None:
    with logged() as log, serving(app, http=http) as server:
        assert server.ask(get()).status == 500
    assert failures(log) == [f"GET /: the app failed: {what}"]


def test_A8_the_log_shows_the_frames_of_the_app(capfd: pytest.CaptureFixture[str]) -> None:
    with logging_restored(), serving(raises, log_config="default", use_colors=False) as server:
        server.ask(get())
    assert "in raises" in capfd.readouterr().err


@pytest.mark.parametrize("pieces", [(b"abc", b"de"), (b"ab",)], ids=["more", "less"])
def test_S5_never_more_than_its_length_and_less_is_seen(pieces: tuple[bytes, ...], serve: Serve) -> None:
    with logged() as log:
        client = serve(yields(*pieces, headers=[("Content-Length", "3")])).connect()
        head, _, content = client.send(get()).read_all().partition(b"\r\n\r\n")
        eventually(lambda: failures(log))
    assert b"content-length: 3" in head
    assert content == pieces[0]
    assert "content-length leaves" in failures(log)[0]


@pytest.mark.parametrize(
    "pieces", [[b"a", b"b"], [], [b"a", "b"], [b"a", None]], ids=["some", "none", "a mistake", "nothing"]
)
def test_S5_close_is_always_called(pieces: Any, http: str) -> None:
    result = Closing(pieces)
    with serving(result.app, http=http) as server:
        server.connect().send(get("/", "Connection: close")).read_all()
        assert result.closed.wait(PATIENCE)


def test_S5_close_is_called_when_iterating_raises_and_after_the_client_has_it_all(serve: Serve) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise ValueError

    result = Closing(pieces())
    serve(result.app).connect().send(get()).read_all()
    assert result.closed.wait(PATIENCE)

    class Slow(Closing):
        def close(self) -> None:
            answered.wait(PATIENCE)
            super().close()

    answered, result = threading.Event(), Slow([b"a", b"b"])
    assert serve(result.app).ask(get()).body == b"ab"
    assert not result.closed.is_set()
    answered.set()
    assert result.closed.wait(PATIENCE)


def test_S4_an_app_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    piece, given = bytes(65536), []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            given.append(number)
            yield piece

    server = serve(Closing(pieces()).app)
    client = server.connect().send(get())
    eventually(lambda: any(not connection.writable for connection in list(server.service.connections)))
    assert len(given) < 500  # what fits the buffers of two sockets
    assert size_of_chunks(client) == 1000 * len(piece)


def test_an_exception_of_close_is_logged_and_takes_nothing_from_the_client(serve: Serve) -> None:
    class Broken(Closing):
        def close(self) -> None:
            raise ValueError("cannot close")

    with logged() as log:
        client = serve(Broken([b"a"]).app).connect()
        assert client.ask(get()).body == b"a"
        eventually(lambda: failures(log))
    assert failures(log) == ["GET /: the app failed: ValueError('cannot close')"]


# The validator of the standard library


def checked(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    environ["wsgi.errors"].write("")
    content = environ["wsgi.input"]
    return [content.readline(), *content.readlines(), content.read(10)]


@pytest.mark.parametrize("app", [checked, yields(b"a", b"", b"b"), hello], ids=["reads", "generator", "list"])
@pytest.mark.parametrize("root_path", ["", "/", "/mount"])
def test_S5_the_validator_of_the_standard_library_finds_nothing(app: Any, root_path: str, http: str) -> None:
    with logged() as log, serving(validator(app), http=http, root_path=root_path, interface="wsgi") as server:
        client = server.connect()
        for data in (get("/a%20b?c"), get(method="HEAD"), post(b"a\nb\nc"), chunked(b"a\n", b"b")):
            assert client.ask(data).status == 200
    assert not failures(log)


# Threads


def test_S1_twenty_requests_on_four_threads(serve: Serve) -> None:
    together, names = threading.Barrier(4), set()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        together.wait(PATIENCE)
        names.add(threading.current_thread().name)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    server = serve(app, wsgi_threads=4)
    clients = [server.connect().send(get(f"/{n}")) for n in range(20)]
    assert [client.read_reply().body for client in clients] == [b"/%d" % n for n in range(20)]
    assert len(names) == 4
    assert server.thread.name not in names


def test_the_context_of_a_request_is_its_own(serve: Serve) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        variable.set(variable.get() + 1)
        start_response("200 OK", TEXT)
        return [b"%d" % variable.get()]

    client = serve(app, wsgi_threads=1).connect()
    assert [client.ask(get()).body for _ in range(3)] == [b"1"] * 3


def test_requests_that_are_pipelined_are_answered_in_turn(serve: Serve) -> None:
    client = serve(describe).connect().send(b"".join(get(f"/{n}") for n in range(10)))
    paths = [json.loads(client.read_reply().body)["PATH_INFO"] for _ in range(10)]
    assert paths == [f"/{n}" for n in range(10)]


# Clients that leave

LEAVE = pytest.mark.parametrize("leave", [Client.close, Client.abort], ids=["FIN", "RST"])


def forever() -> Iterator[bytes]:
    while True:
        yield b"tick"
        time.sleep(0.001)


@LEAVE
@pytest.mark.parametrize(
    "data", [get(), post(b"unread"), post(b"cut short")[:-4]], ids=["GET", "POST", "POST cut short"]
)
def test_S5_a_client_that_leaves_ends_the_iteration_and_close_is_called(
    leave: Callable[[Client], None], data: bytes, serve: Serve
) -> None:
    result = Closing(forever())
    with logged() as log:
        server = serve(result.app)
        client = server.connect().send(data)
        client.read_until(b"tick")
        leave(client)
        assert result.closed.wait(PATIENCE)
        eventually(lambda: not server.service.tasks)
    assert not failures(log)


@LEAVE
def test_S5_a_client_that_leaves_in_the_middle_of_an_upload_is_an_OSError(
    leave: Callable[[Client], None], serve: Serve
) -> None:
    reading, caught = threading.Event(), []

    def read(file: Any) -> None:
        assert file.read(3) == b"som"
        reading.set()
        with pytest.raises(OSError, match="the client left") as error:
            file.read()
        caught.append(error.value)

    server = serve(reads(read))
    client = server.connect().send(post(b"some of it")[:-2])
    assert reading.wait(PATIENCE)
    leave(client)
    eventually(lambda: caught)
    eventually(lambda: not server.service.tasks)


async def test_to_see_whether_a_client_left_no_more_is_read_than_may_be_kept() -> None:
    """Of an upload that nobody reads the rest stays with the client, however much is sent to it."""
    received, sent = [], []

    async def receive() -> Message:
        received.append(65536)
        return {"type": "http.request", "body": bytes(65536), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    pieces = Closing(b"tick" for _ in range(100))
    await WSGI(pieces.app)(SCOPE, receive, send)
    assert (len(sent), sum(received)) == (102, 262144)


def test_a_server_that_is_forced_to_stop_leaves_no_thread_waiting() -> None:
    entered, go, ended = threading.Event(), threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        assert go.wait(PATIENCE)
        write = start_response("200 OK", TEXT)
        try:
            write(b"nobody is there")
        except ConnectionResetError:
            ended.set()
        return []

    with serving(app) as server:
        server.connect().send(get())
        assert entered.wait(PATIENCE)
        server.server.force_exit = True
        server.stop()
    go.set()
    assert ended.wait(PATIENCE)


def test_requests_that_wait_for_a_thread_can_be_cancelled() -> None:
    entered, go, called = threading.Event(), threading.Event(), []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        called.append(environ["PATH_INFO"])
        entered.set()
        assert go.wait(PATIENCE)
        return hello(environ, start_response)

    with serving(app, wsgi_threads=1, cancel_on_disconnect=True) as server:
        first = server.connect().send(get("/first"))
        assert entered.wait(PATIENCE)
        second = server.connect().send(get("/second"))
        eventually(lambda: len(server.service.tasks) == 2)
        second.close()
        eventually(lambda: len(server.service.tasks) == 1)
        go.set()
        assert first.read_reply().body == b"hello"
        assert server.ask(get("/third")).body == b"hello"
    assert called == ["/first", "/third"]


# What is no request


def test_S5_a_websocket_is_refused(serve: Serve) -> None:
    key = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    assert serve(hello).ask(get("/", "Upgrade: websocket", "Connection: Upgrade", *key)).status == 403


def test_S5_a_lifespan_is_not_supported() -> None:
    with logged() as log, serving(hello) as server:
        assert server.ask(get()).body == b"hello"
    sentence = "The app does not support lifespan (RuntimeError('WSGI apps know no lifespan')); going on without."
    assert sentence in log


# Which apps are WSGI


class Application:
    """As Flask and Django have them."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return hello(environ, start_response)


class PerRequest:
    """The second example of PEP 3333: a class, whose instances are iterated over."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        self.start = start_response

    def __iter__(self) -> Iterator[bytes]:
        self.start("200 OK", TEXT)
        yield b"hello"


@pytest.mark.parametrize(
    "app",
    [hello, Application(), Application().__call__, PerRequest, functools.partial(hello), flask.Flask("x")],
    ids=["function", "object", "method", "class", "partial", "Flask"],
)
def test_WSGI_is_recognised_by_its_two_arguments_and_the_log_says_so(app: Any) -> None:
    with logged() as log:
        assert isinstance(load_app(app, wsgi_threads=3), WSGI)
    assert log == [f"Serving {app!r} as a WSGI app, on 3 threads"]


class Coroutine:
    async def __call__(self, one: Any, two: Any) -> None: ...


async def coroutine(one: Any, two: Any) -> None: ...


@pytest.mark.parametrize("app", [coroutine, Coroutine()], ids=["function", "object"])
def test_what_has_to_be_awaited_is_no_WSGI_app(app: Any) -> None:
    with pytest.raises(ConfigError, match=r"and WSGI apps \(environ, start_response\); a factory needs --factory"):
        load_app(app)


def test_an_app_may_be_said_to_be_WSGI() -> None:
    def anything(*args: Any) -> Any:
        return hello(*args)

    with serving(anything, interface="wsgi") as server:
        assert server.ask(get()).body == b"hello"
    with serving(PerRequest) as server:
        assert server.ask(get()).body == b"hello"


# Frameworks


def shop() -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/items/<int:number>")
    def read(number: int) -> dict[str, Any]:
        return {"number": number, "q": flask.request.args["q"], "url": flask.request.base_url}

    @app.post("/upload")
    def upload() -> flask.Response:
        def pieces() -> Iterator[bytes]:
            while piece := flask.request.stream.read(10_000):
                yield piece

        return flask.Response(flask.stream_with_context(pieces()))

    @app.post("/form")
    def form() -> str:
        return flask.request.form["name"]

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("boom")

    return app


def test_flask_works(serve: Serve) -> None:
    client = serve(shop()).connect()
    reply = client.ask(get("/items/7?q=%C3%A9"))
    assert json.loads(reply.body) == {"number": 7, "q": "é", "url": "http://test/items/7"}
    assert client.ask(get("/items/7?q=1", method="HEAD")).body == b""
    assert client.ask(get("/nowhere")).status == 404
    content = bytes(range(256)) * 1000
    assert client.ask(post(content, target="/upload")).body == content
    assert client.ask(chunked(content, b"and more", target="/upload")).body == content + b"and more"
    lines = ("Content-Type: application/x-www-form-urlencoded",)
    assert client.ask(post(b"name=%C3%A9", *lines, target="/form")).body == "é".encode()
    assert client.ask(get("/broken")).status == 500


DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", LOGGING_CONFIG=None)

def hello(request):
    return HttpResponse(f"hello {request.GET['name']} at {request.path}")

def echo(request):
    return HttpResponse(request.body)

def count(request):
    return StreamingHttpResponse(b"%d" % number for number in range(3))

urlpatterns = [path("hello", hello), path("echo", echo), path("count", count)]
app = get_wsgi_application()
"""


def test_django_works_and_the_command_says_what_it_serves(tmp_path: Path, http: str) -> None:
    with spawned(tmp_path, DJANGO, "--http", http, "--root-path", "/mount", "--wsgi-threads", "2") as server:
        server.wait_for("Serving app:app as a WSGI app, on 2 threads")
        client = server.connect()
        assert client.ask(get("/hello?name=w%C3%B6rld")).body == "hello wörld at /mount/hello".encode()
        assert client.ask(post(b"x" * 100_000, target="/echo")).body == b"x" * 100_000
        assert client.ask(get("/count")).body == b"012"
        assert client.ask(get("/nowhere")).status == 404


# Memory

BIG = 40  # MB
STREAMS = f"""
def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/download":
        yield from (bytes({MB}) for _ in range({BIG}))
    size = 0
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
    yield b"%d" % size
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_content_is_not_collected_in_either_direction(tmp_path: Path, http: str) -> None:
    with spawned(tmp_path, STREAMS, "--http", http, "--no-access-log") as server, bounded(server):
        client = server.connect().send(request("POST", "/upload", f"Content-Length: {BIG * MB}"))
        for _ in range(BIG):
            client.send(bytes(MB))
        assert client.read_reply().body == b"%d" % (BIG * MB)
        assert size_of_chunks(client.send(get("/download"))) == BIG * MB + len("0")

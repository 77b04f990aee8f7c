"""What an HTTP server for ASGI apps has to do, as one small test each: the plot of the book.

Owns the probes: functions that talk to a server which runs `mirror.app`, return if it does what their
docstring says, and raise if it does not. Knows no server. Nothing here waits for time to pass: what has to
come is waited for, and what must not come is ruled out by what comes instead.
"""

import contextlib
import itertools
import json
import socket
from collections.abc import Callable
from typing import Any, Protocol

from .client import Client, Reply


class Server(Protocol):
    """A running server, as a probe sees it."""

    def connect(self) -> Client: ...

    def stop(self) -> str:
        """Sends SIGTERM, waits for the end; gives what was printed."""


Probe = Callable[[Server], None]
CLOSE = "Connection: close"
_names = itertools.count(1)


def request(method: str, target: str, *fields: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def get(target: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return request("GET", target, *fields, version=version)


def post(target: str, content: bytes, *fields: str) -> bytes:
    return request("POST", target, f"Content-Length: {len(content)}", *fields) + content


def chunked(target: str, *chunks: bytes, end: bytes = b"0\r\n\r\n", fields: tuple[str, ...] = ()) -> bytes:
    head = request("POST", target, "Transfer-Encoding: chunked", *fields)
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def ask(server: Server, data: bytes, method: str = "GET") -> Reply:
    with server.connect() as client:
        return client.send(data).read_reply(method)


def seen(reply: Reply) -> dict[str, Any]:
    """What the app was asked."""
    assert reply.status == 200, reply
    found: dict[str, Any] = json.loads(reply.body)
    return found


def check_refused(server: Server, *requests: bytes) -> None:
    """Each gets a status of 400 to 499, and its connection is closed: nobody knows where the next one begins."""
    for data in requests:
        with server.connect() as client:
            with contextlib.suppress(ConnectionError):  # it may have heard enough, and closed
                client.send(data)
            reply = client.read_head()
            assert 400 <= reply.status < 500, reply
            assert b"HTTP/1.1" not in client.read_all()


# A request and its answer:


def get_is_answered(server: Server) -> None:
    """A GET gets a response with a status line, whose end can be found (RFC 9112 2.1, 4, 6.3)."""
    assert ask(server, get()).status == 200


def close_is_honoured(server: Server) -> None:
    """After `Connection: close` the server closes (RFC 9112 9.6)."""
    with server.connect() as client:
        assert client.send(get("/", CLOSE)).read_reply().status == 200
        assert client.read_all() == b""


def http_1_0_is_closed(server: Server) -> None:
    """A client of HTTP/1.0 does not expect its connection to stay open (RFC 9112 9.3)."""
    with server.connect() as client:
        assert client.send(get(version="1.0")).read_reply().status == 200
        assert client.read_all() == b""


def any_pieces_will_do(server: Server) -> None:
    """A request that comes byte by byte is the same request (RFC 9293 2.2: TCP is a stream of bytes)."""
    with server.connect() as client:
        for byte in get("/pieces", CLOSE):
            client.send(bytes([byte]))
        assert seen(client.read_reply())["path"] == "/pieces"


def scope_has_the_request_line(server: Server) -> None:
    """Method, version, path and query string are told apart (RFC 9112 3, ASGI HTTP scope)."""
    found = seen(ask(server, request("DELETE", "/a/b?c=d%20e?f")))
    assert [found[key] for key in ("method", "http_version", "path")] == ["DELETE", "1.1", "/a/b"]
    assert found["query_string"] == "c=d%20e?f"


def path_is_decoded(server: Server) -> None:
    """`path` is decoded from percents and UTF-8, `raw_path` is not (ASGI HTTP scope)."""
    found = seen(ask(server, get("/caf%C3%A9%2F")))
    assert (found["path"], found["raw_path"]) == ("/café/", "/caf%C3%A9%2F")


def headers_are_told(server: Server) -> None:
    """Names in lower case, values without white space around them, in order (RFC 9112 5.1, ASGI HTTP scope)."""
    found = seen(ask(server, get("/", "X-One:  a b \t", "x-TWO:", "X-One: c:d")))
    assert found["headers"] == ["host: test", "x-one: a b", "x-two: ", "x-one: c:d"]


def host_is_required(server: Server) -> None:
    """HTTP/1.1 without Host, or with two, is a 400 (RFC 9112 3.2)."""
    check_refused(server, b"GET / HTTP/1.1\r\n\r\n", get("/", "Host: other"))


def space_before_colon_is_refused(server: Server) -> None:
    """Two readers would see two names (RFC 9112 5.1)."""
    check_refused(server, get("/", "X-One : a"))


def absolute_target_is_understood(server: Server) -> None:
    """`GET http://host/path`, as to a proxy, is for any server to accept (RFC 9112 3.2.2)."""
    found = seen(ask(server, get("http://test/a?b")))
    assert (found["path"], found["query_string"]) == ("/a", "b")


def endless_head_is_refused(server: Server) -> None:
    """A head that grows and grows gets a 431, or a 400, before it fills the memory (RFC 6585 5)."""
    check_refused(server, get("/", *(f"X-{number}: {'x' * 4096}" for number in range(64))))


def failure_is_a_500(server: Server) -> None:
    """An app that raises before its response does not take the server along (RFC 9110 15.6.1)."""
    assert ask(server, get("/broken")).status == 500
    assert ask(server, get("/broken", CLOSE)).status == 500


def lifespan_comes_first(server: Server) -> None:
    """The app has started, and what it left in `state` is there, at the first request (ASGI lifespan)."""
    assert seen(ask(server, get()))["state"] == {"started": True}


# Content of requests:


def content_reaches_the_app(server: Server) -> None:
    """`Content-Length` says how much there is, in whatever pieces it comes (RFC 9112 6.2)."""
    content = bytes(range(256)) * 1024
    with server.connect() as client:
        head, _, _ = post("/", content, CLOSE).partition(content)
        client.send(head)
        client.send(content[:1000]).send(content[1000:])
        assert seen(client.read_reply())["body"] == content.decode("latin-1")


def chunked_content_reaches_the_app(server: Server) -> None:
    """Content of unknown length comes in chunks, and the app sees none of their sizes (RFC 9112 7.1)."""
    found = seen(ask(server, chunked("/", b"a", b"bc" * 5000, b"\r\n")))
    assert found["body"] == "a" + "bc" * 5000 + "\r\n"


def trailers_are_dropped(server: Server) -> None:
    """Fields behind the content must not pass for those of the head (RFC 9110 6.5.1)."""
    found = seen(ask(server, chunked("/", b"a", end=b"0\r\nX-Trailer: b\r\n\r\n")))
    assert found["body"] == "a"
    assert not [line for line in found["headers"] if "trailer:" in line]


def invalid_length_is_refused(server: Server) -> None:
    """A length is digits, and nothing else (RFC 9112 6.3; RFC 9110 8.6)."""
    lengths = ("+1", "x", "1_0", "1,2")
    check_refused(server, *(request("POST", "/", f"Content-Length: {length}") + b"1" * 10 for length in lengths))


def invalid_chunk_is_refused(server: Server) -> None:
    """The size of a chunk is hexadecimal digits, and nothing else (RFC 9112 7.1)."""
    check_refused(
        server, *(request("POST", "/", "Transfer-Encoding: chunked") + size for size in (b"+1\r\n", b"x\r\n"))
    )


def length_and_chunks_are_refused(server: Server) -> None:
    """Who says both smuggles: two servers may see two ends of the request (RFC 9112 6.3, 11.2)."""
    check_refused(server, chunked("/", b"a", fields=("Content-Length: 1",)))


def unread_content_is_no_request(server: Server) -> None:
    """What the app leaves unread must not be taken for the next request (RFC 9112 9.3)."""
    with server.connect() as client:
        client.send(post("/unread", get("/smuggled")))
        reply = client.read_reply()
        assert (reply.status, reply.body) == (200, b"no")
        with contextlib.suppress(ConnectionError):  # it may have closed
            client.send(get("/next", CLOSE))
        assert b"/smuggled" not in client.read_all()


def continue_is_said_when_content_is_wanted(server: Server) -> None:
    """`Expect: 100-continue` gets its 100 when the app reads, and only then (RFC 9110 10.1.1)."""
    expect = ("Expect: 100-continue", "Content-Length: 1")
    assert ask(server, request("POST", "/unread", *expect)).status == 200
    with server.connect() as client:
        assert client.send(request("POST", "/", *expect)).read_head().status == 100
        assert seen(client.send(b"a").read_reply())["body"] == "a"


def upload_waits_for_the_app(server: Server) -> None:
    """Content that the app does not take is not read into memory; the client has to wait (ASGI HTTP `receive`)."""
    name, size, sent, refused = unique(), 64 * 1024 * 1024, 0, 0
    with server.connect() as client:
        client.send(request("POST", f"/deaf?{name}", f"Content-Length: {size}"))
        client.read_until(b"deaf")
        client.sock.setblocking(False)
        while refused < 5:  # each time, the server has had its turn since
            ask(server, get(f"/count?{name}"))
            try:
                sent += client.sock.send(b"x" * 1024 * 1024)
                refused = 0
            except BlockingIOError:
                refused += 1
            assert sent < size, "all of it was taken"
    ask(server, get(f"/end?{name}"))


# Content of responses:


def head_has_no_content(server: Server) -> None:
    """The response to HEAD ends with its head (RFC 9110 9.3.2)."""
    with server.connect() as client:
        reply = client.send(request("HEAD", "/", CLOSE)).read_reply("HEAD")
        assert (reply.status, client.read_all()) == (200, b"")


def no_content_is_none(server: Server) -> None:
    """A 204 has neither content nor a length (RFC 9110 8.6, 15.3.5)."""
    with server.connect() as client:
        reply = client.send(get("/empty", CLOSE)).read_reply()
        assert (reply.status, client.read_all()) == (204, b"")
        assert not {b"content-length", b"transfer-encoding"} & set(reply.headers)


def response_flows(server: Server) -> None:
    """Each piece is sent when the app sends it, not when all are there (ASGI `http.response.body`)."""
    with server.connect() as client:
        client.send(request("POST", "/echo", "Content-Length: 10") + b"first")
        assert client.read_head().status == 200
        client.read_until(b"first")
        client.send(b"after")
        client.read_until(b"after")


def failure_is_not_an_end(server: Server) -> None:
    """A response whose app fails in its middle must not look complete (RFC 9112 8)."""
    try:
        reply = ask(server, get("/half"))
    except (EOFError, ConnectionError):
        return
    assert reply.status == 500, reply


def headers_cannot_be_injected(server: Server) -> None:
    """A line break in a field's value would begin a field, or a response, of its own (RFC 9110 5.5)."""
    with server.connect() as client:
        answer = client.send(get("/inject", CLOSE)).read_all()
    assert b"injected" not in answer
    assert not answer.startswith(b"HTTP/1.1 200")


def too_much_content_is_held_back(server: Server) -> None:
    """Beyond the `content-length` that the app gave, the next response begins (RFC 9112 6.3)."""
    with server.connect() as client:
        head, _, content = client.send(get("/too-much", CLOSE)).read_all().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500") or (b"200 OK" not in head or content in b"01234")


def too_little_content_is_noticed(server: Server) -> None:
    """Nobody waits for content that will never come (RFC 9112 8)."""
    with server.connect() as client:
        head, _, content = client.send(get("/too-little")).read_all().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500") or not head or (b"length: 10" in head and len(content) < 10)


# Connections:


def connection_is_kept(server: Server) -> None:
    """The next request comes on the same connection (RFC 9112 9.3)."""
    with server.connect() as client:
        assert seen(client.send(post("/1", b"content")).read_reply())["path"] == "/1"
        assert seen(client.send(get("/2")).read_reply())["path"] == "/2"


def pipelined_requests_are_answered_in_order(server: Server) -> None:
    """A client may send more requests before it has an answer (RFC 9112 9.3.2)."""
    with server.connect() as client:
        client.send(get("/1") + post("/2", b"content") + get("/3") + get("/4"))
        assert [seen(client.read_reply())["path"] for _ in range(4)] == ["/1", "/2", "/3", "/4"]


def stream_keeps_the_connection(server: Server) -> None:
    """Content of unknown length is sent in chunks (RFC 9112 7.1)."""
    with server.connect() as client:
        reply = client.send(get("/numbers")).read_reply()
        assert (reply.status, reply.body) == (200, b"one\ntwo\nthree\n")
        assert reply.headers.get(b"transfer-encoding") == b"chunked"
        assert seen(client.send(get("/next")).read_reply())["path"] == "/next"


def stream_to_http_1_0_ends_with_the_connection(server: Server) -> None:
    """HTTP/1.0 knows no chunks (RFC 9112 6.1)."""
    reply = ask(server, get("/numbers", version="1.0"))
    assert (reply.status, reply.body) == (200, b"one\ntwo\nthree\n")
    assert b"transfer-encoding" not in reply.headers


def half_closed_client_is_answered(server: Server) -> None:
    """A client that has said all may close its side, and still listen (RFC 9293 3.6.1)."""
    name = unique()
    with server.connect() as client:
        client.send(get(f"/deaf?{name}")).read_until(b"deaf")
        client.sock.shutdown(socket.SHUT_WR)
        for _ in range(3):  # the server has its turn, to hear of it
            ask(server, get(f"/count?{name}"))
        ask(server, get(f"/end?{name}"))
        assert b"over" in client.read_all()


def slow_client_delays_nobody(server: Server) -> None:
    """While one client is in the middle of a request, another one is answered."""
    with server.connect() as slow:
        slow.send(get("/slow")[:20])
        assert seen(ask(server, get("/quick")))["path"] == "/quick"
        assert seen(slow.send(get("/slow")[20:]).read_reply())["path"] == "/slow"


def slow_reader_stops_the_app(server: Server) -> None:
    """`send` does not return while the client takes nothing: memory is finite (ASGI HTTP `send`)."""
    with server.connect() as client:
        check_stopped(server, client)


def waiting_send_ends_with_the_client(server: Server) -> None:
    """An app whose `send` waits for a client is let go when that leaves (ASGI HTTP `send`)."""
    with server.connect() as client:
        name = check_stopped(server, client)
    assert ask(server, get(f"/wait?{name}")).body == b"no"


def check_stopped(server: Server, client: Client) -> str:
    """That an app which floods a client has to wait; gives its name."""
    name, counts = unique(), [-1]
    assert client.send(get(f"/flood?{name}")).read_head().status == 200
    while len(set(counts[-5:])) > 1 or len(counts) < 5:  # an app that may go on goes on between two of them
        reply = ask(server, get(f"/count?{name}"))
        assert reply.status == 200
        count, ended = map(int, reply.body.split())
        assert not ended, f"{count} pieces are in memory"
        counts.append(count)
    return name


def client_that_leaves_is_noticed(server: Server) -> None:
    """`receive` says `http.disconnect` when the client leaves, and not before (ASGI HTTP disconnect)."""
    name = unique()
    with server.connect() as client:
        client.send(get(f"/listen?{name}")).read_until(b"waiting")
        assert ask(server, get(f"/count?{name}")).body == b"0 0"
    assert ask(server, get(f"/wait?{name}")).body == b"no"


def end_is_told(server: Server) -> None:
    """At SIGTERM the app may clean up before the process ends (ASGI lifespan)."""
    assert "mirror: the server told us of its end" in server.stop()


def unique() -> str:
    return f"{next(_names)}"


PROBES: tuple[Probe, ...] = (
    get_is_answered,
    close_is_honoured,
    http_1_0_is_closed,
    any_pieces_will_do,
    scope_has_the_request_line,
    path_is_decoded,
    headers_are_told,
    host_is_required,
    failure_is_a_500,
    content_reaches_the_app,
    response_flows,
    slow_client_delays_nobody,
    lifespan_comes_first,
    endless_head_is_refused,
    connection_is_kept,
    pipelined_requests_are_answered_in_order,
    stream_keeps_the_connection,
    stream_to_http_1_0_ends_with_the_connection,
    failure_is_not_an_end,
    chunked_content_reaches_the_app,
    trailers_are_dropped,
    unread_content_is_no_request,
    head_has_no_content,
    no_content_is_none,
    too_little_content_is_noticed,
    too_much_content_is_held_back,
    headers_cannot_be_injected,
    space_before_colon_is_refused,
    invalid_length_is_refused,
    invalid_chunk_is_refused,
    length_and_chunks_are_refused,
    continue_is_said_when_content_is_wanted,
    half_closed_client_is_answered,
    absolute_target_is_understood,
    upload_waits_for_the_app,
    slow_reader_stops_the_app,
    waiting_send_ends_with_the_client,
    client_that_leaves_is_noticed,  # from here on, rung 2 waits for ever
    end_is_told,  # and all servers are gone
)

"""parser_httptools.py: bytes to events with llhttp, and the bounds that llhttp does not have."""

import pytest

from miniasgi.events import END, BadRequest, Body, End, Request
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.rules import Limits

from .vocabulary import chunked, frame, get, handshake, post, request

GET = Request("GET", b"/", "1.1", [(b"host", b"test")])
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")


def parser(**limits):
    return HttptoolsParser(Limits(**limits))


def test_a_request_without_content_is_complete_with_its_head():
    assert list(parser().feed(get("/a?b", "Accept: x"))) == [
        Request("GET", b"/a?b", "1.1", [(b"host", b"test"), (b"accept", b"x")]),
        END,
    ]


def test_a_head_comes_only_when_it_is_whole():
    half = parser()
    assert list(half.feed(get()[:-1])) == []
    assert repr(half) == f"<HttptoolsParser {len(get()) - 1} bytes into the unknown>"
    assert list(half.feed(b"\n")) == [GET, END]
    assert repr(half) == "<HttptoolsParser 0 bytes into the unknown>"


def test_a_head_may_come_byte_by_byte():
    half, events = parser(), []
    for byte in get("/a/b?c", "Empty:", "Accept:  x \t "):
        events += half.feed(bytes([byte]))
    fields = [(b"host", b"test"), (b"empty", b""), (b"accept", b"x")]
    assert events == [Request("GET", b"/a/b?c", "1.1", fields), END]


def test_content_comes_as_it_arrives():
    half = parser()
    assert list(half.feed(post(b"abcdef")[:-4]))[1:] == [Body(b"ab")]
    assert list(half.feed(b"cd")) == [Body(b"cd")]
    assert list(half.feed(b"ef" + get())) == [Body(b"ef"), END, GET, END]


def test_h15_chunks_are_freed_from_their_framing_and_trailers_are_dropped():
    data = chunked(b"abc", b"\r\n", end=b"0;last\r\nA: b\r\nHost: evil\r\n\r\n") + get()
    _, *events = parser().feed(data)
    assert events == [Body(b"abc"), Body(b"\r\n"), END, GET, END]


def test_events_before_a_mistake_are_delivered():
    events = parser().feed(post(b"ab") + get("/second") + b"nonsense\r\n\r\n")
    assert [type(next(events)) for _ in range(5)] == [Request, Body, End, Request, End]
    with pytest.raises(BadRequest) as caught:
        next(events)
    assert caught.value.status == 400


@pytest.mark.parametrize("data", [b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_versions_that_llhttp_refuses_are_not_supported(data):
    with pytest.raises(BadRequest) as caught:
        list(parser().feed(data))
    assert caught.value.status == 505


# An upgrade that nobody speaks, RFC 9110 7.8:


def upgrade(*lines):
    fields = [(b"host", b"test"), (b"connection", b"Upgrade"), (b"upgrade", b"h2c")]
    return Request("POST", b"/up", "1.1", [*fields, *lines])


def test_an_upgrade_is_ignored():
    data = request("POST", "/up", *UPGRADE)
    assert list(parser().feed(data + data + get())) == [upgrade(), END, upgrade(), END, GET, END]


def test_the_content_behind_an_upgrade_is_content():
    """llhttp leaves it unread: as the next request, it would be one that the client never sent."""
    data = post(get("/evil"), *UPGRADE, target="/up") + get()
    length = (b"content-length", b"%d" % len(get("/evil")))
    assert list(parser().feed(data)) == [upgrade(length), Body(get("/evil")), END, GET, END]


def test_the_chunks_behind_an_upgrade_are_chunks():
    data = request("POST", "/up", *UPGRADE, "Transfer-Encoding: chunked")
    data += b"2\r\nab\r\n0\r\nA: b\r\n\r\n" + get()
    expected = upgrade((b"transfer-encoding", b"chunked"))
    assert list(parser().feed(data)) == [expected, Body(b"ab"), END, GET, END]


def test_an_upgrade_with_a_coding_that_llhttp_cannot_read_is_refused_after_its_head():
    events = parser().feed(request("POST", "/up", *UPGRADE, "Transfer-Encoding: gzip"))
    assert next(events) == upgrade((b"transfer-encoding", b"gzip"))
    with pytest.raises(BadRequest) as caught:
        next(events)
    assert caught.value.status == 400


def test_an_upgrade_after_other_requests_leaves_them_alone():
    data = post(b"ab") + request("POST", "/up", *UPGRADE) + get()
    assert list(parser().feed(data))[1:] == [Body(b"ab"), END, upgrade(), END, GET, END]


@pytest.mark.parametrize("limit", [65536, 200])
def test_what_came_behind_a_handshake_is_there_for_who_takes_over(limit):
    """Behind the latest `Request`, also where the parser is fed with pieces."""
    stream = parser(head=limit)
    frames = frame(2, b"a" * 500)
    events = stream.feed(get() + handshake() + frames + get())
    assert [next(events), next(events)] == [GET, END]
    assert next(events).target == b"/"
    assert stream.unread == frames + get()


def test_behind_a_handshake_there_may_be_nothing():
    stream = parser()
    list(stream.feed(get() + handshake()[:-1]))
    assert len(list(stream.feed(b"\n"))) == 2
    assert stream.unread == b""


# Bounds:


@pytest.mark.parametrize(("status", "data"), [(414, b"GET /" + b"a" * 50), (431, b"GET / HTTP/1.1\r\nA: " + b"b" * 50)])
def test_a_head_over_the_limit_is_refused_before_its_end(status, data):
    with pytest.raises(BadRequest) as caught:
        list(parser(head=50, line=40).feed(data))
    assert caught.value.status == status


def test_the_bound_is_the_same_however_the_bytes_come():
    data = get("/" + "a" * 50)
    assert len(list(parser(head=len(data)).feed(data))) == 2
    exact = parser(head=len(data))
    assert sum(len(list(exact.feed(bytes([byte])))) for byte in data) == 2
    with pytest.raises(BadRequest):
        list(parser(head=len(data) - 1).feed(data))


def test_long_content_is_not_bound_by_the_limit_of_a_head():
    events = list(parser(head=100).feed(post(b"a" * 1000) + get()))
    assert b"".join(event.data for event in events if isinstance(event, Body)) == b"a" * 1000
    assert events[-3:] == [END, GET, END]


def test_what_llhttp_swallows_without_a_word_is_bounded():
    with pytest.raises(BadRequest) as caught:
        list(parser(head=200).feed(chunked(end=b"2;" + b"a" * 500)))
    assert caught.value.status == 431

"""parser_h11.py: bytes to events with h11, and where we are stricter than h11 is."""

import pytest

from miniasgi.events import END, BadRequest, Body, Request
from miniasgi.parser_h11 import H11Parser
from miniasgi.rules import Limits

from .vocabulary import chunked, frame, get, handshake, post

GET = Request("GET", b"/", "1.1", [(b"host", b"test")])


def parser(**limits):
    return H11Parser(Limits(**limits))


def test_a_request_without_content_is_complete_with_its_head():
    assert list(parser().feed(get("/a?b", "Accept: x"))) == [
        Request("GET", b"/a?b", "1.1", [(b"host", b"test"), (b"accept", b"x")]),
        END,
    ]


def test_events_are_bytes_and_str_and_no_subclass_of_h11s():
    request, body, _ = parser().feed(post(b"abc"))
    assert (type(request.method), type(request.http_version)) == (str, str)
    assert {type(request.target), type(body.data)} == {bytes}
    assert {type(value) for field in request.headers for value in field} == {bytes}


def test_a_head_comes_only_when_it_is_whole():
    half = parser()
    assert list(half.feed(get()[:-1])) == []
    assert repr(half) == f"<H11Parser {len(get()) - 1} bytes of head>"
    assert list(half.feed(b"\n")) == [GET, END]
    assert repr(half) == "<H11Parser 0 bytes of head>"


def test_content_comes_as_it_arrives():
    half = parser()
    request, body = half.feed(post(b"abcdef")[:-4])
    assert isinstance(request, Request)
    assert body == Body(b"ab")
    assert repr(half) == "<H11Parser in a body>"
    assert list(half.feed(b"cd")) == [Body(b"cd")]
    assert list(half.feed(b"ef")) == [Body(b"ef"), END]


def test_content_may_come_later_than_its_head():
    half = parser()
    assert len(list(half.feed(post(b"ab")[:-2]))) == 1
    assert list(half.feed(b"ab" + get())) == [Body(b"ab"), END, GET, END]


def test_nothing_is_parsed_before_it_is_asked_for():
    """The connection answers one request before it looks at the next (RFC 9112 9.3.2)."""
    events = parser().feed(get() + b"nonsense\r\n\r\n")
    assert [next(events), next(events)] == [GET, END]
    with pytest.raises(BadRequest):
        next(events)


def test_empty_lines_before_a_request_are_skipped():
    lines = parser()
    assert list(lines.feed(b"\r\n\r")) == []
    assert list(lines.feed(b"\n\r\n" + get() + b"\r\n\r\n" + get())) == [GET, END, GET, END]


def test_h15_chunks_are_freed_from_their_framing_and_trailers_are_dropped():
    data = chunked(b"abc", b"\r\n", end=b"0;last\r\nA: b\r\nHost: evil\r\n\r\n") + get()
    _, *events = parser().feed(data)
    assert events == [Body(b"abc"), Body(b"\r\n"), END, GET, END]


def test_each_message_has_an_h11_of_its_own():
    close = get("/", "Connection: close") + get()
    assert sum(event == END for event in parser().feed(close)) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: test\n\n",
        b"GET / HTTP/1.1\r\nHost: test\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nA: b\r\n\tc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nA: b\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nA: b\x7f\r\n\r\n",
    ],
)
def test_a_head_that_h11_would_mend_is_refused(data):
    """RFC 9112 2.2 and 5.2, RFC 9110 5.5; whether or not it would ever come to its end."""
    with pytest.raises(BadRequest, match="in the request head") as caught:
        list(parser().feed(data))
    assert caught.value.status == 400


def test_a_head_that_h11_would_mend_is_refused_at_once():
    line = parser()
    assert list(line.feed(b"GET / HTTP/1.1")) == []
    with pytest.raises(BadRequest, match=r"b'\\n' in the request head"):
        list(line.feed(b"\n"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Content-Length: 2", "Content-Length: 2"], "repeated"),
        (["content-length: 2", "CONTENT-LENGTH: 2"], "repeated"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "repeated"),
        (["Content-Length: 2, 2"], "repeated"),
    ],
)
def test_framing_that_h11_would_merge_is_refused(lines, message):
    """RFC 9112 6.3: whoever reads the other value sees another request in the content."""
    with pytest.raises(BadRequest, match=message) as caught:
        list(parser().feed(get("/", *lines) + b"ab"))
    assert caught.value.status == 400


def test_other_transfer_codings_have_h11s_status():
    with pytest.raises(BadRequest) as caught:
        list(parser().feed(get("/", "Transfer-Encoding: gzip")))
    assert caught.value.status == 501


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\n\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\n\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA: b\r\n\tc\r\n\r\n",
    ],
)
def test_a_trailer_section_that_h11_would_mend_is_refused(end):
    events = parser().feed(chunked(b"ab", end=end))
    assert next(events).method == "POST"
    assert next(events) == Body(b"ab")
    with pytest.raises(BadRequest, match="invalid trailer section") as caught:
        next(events)
    assert caught.value.status == 400


def test_line_feeds_in_content_are_no_business_of_the_trailers():
    _, *events = parser().feed(chunked(b"a\nb", b"\n \n\r\n") + get())
    assert events == [Body(b"a\nb"), Body(b"\n \n\r\n"), END, GET, END]


def test_long_chunked_content_does_not_stay_in_memory():
    stream = parser(head=100)
    assert len(list(stream.feed(chunked(end=b"")))) == 1
    for _ in range(100):
        assert list(stream.feed(b"32\r\n" + b"a" * 50 + b"\r\n")) == [Body(b"a" * 50)]
    assert len(stream.tail) < 200
    assert list(stream.feed(b"0\r\nA: b\r\n\r\n")) == [END]


@pytest.mark.parametrize(("status", "data"), [(414, b"GET /" + b"a" * 50), (431, b"GET / HTTP/1.1\r\nA: " + b"b" * 50)])
def test_a_head_over_the_limit_is_refused_before_its_end(status, data):
    with pytest.raises(BadRequest) as caught:
        list(parser(head=50, line=40).feed(data))
    assert caught.value.status == status


def test_what_h11_swallows_without_a_word_is_bounded():
    with pytest.raises(BadRequest) as caught:
        list(parser(head=200).feed(chunked(end=b"2;" + b"a" * 300)))
    assert caught.value.status == 431


def test_what_came_behind_a_handshake_is_there_for_who_takes_over():
    """Behind the latest `Request`, as long as nobody asks for what is next."""
    stream = parser()
    events = stream.feed(get() + handshake() + frame(1, b"a") + get())
    assert [next(events), next(events)] == [GET, END]
    assert next(events).target == b"/"
    assert stream.unread == frame(1, b"a") + get()


def test_behind_a_handshake_there_may_be_nothing():
    stream = parser()
    list(stream.feed(get() + handshake()[:-1]))
    assert len(list(stream.feed(b"\n"))) == 2
    assert stream.unread == b""

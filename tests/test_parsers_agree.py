"""Both parsers, each followed by `judge`, say the same of any bytes, however they are split."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniasgi.events import END, BadRequest, Body, Request
from miniasgi.parser_h11 import H11Parser
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.rules import Limits, judge

from .vocabulary import chunked, get, post, request

PARSERS = pytest.mark.parametrize("parser", [H11Parser, HttptoolsParser], ids=["h11", "httptools"])
FUZZ = settings(deadline=None, derandomize=True, max_examples=250)
HOST = (b"host", b"test")
DEFAULT = Limits()


def said(parser_class, pieces, limits=DEFAULT):
    """All events of a connection, adjacent content joined; last the status, if one is refused.

    As in a connection, each head is judged before more is parsed, and nothing is read after a
    request that asks for the connection to be closed.
    """
    parser, events, keep_alive = parser_class(limits), [], True
    try:
        for event in itertools.chain.from_iterable(map(parser.feed, pieces)):
            if isinstance(event, Request):
                keep_alive = judge(event, limits).keep_alive
            if isinstance(event, Body) and isinstance(events[-1], Body):
                event = Body(events.pop().data + event.data)
            events.append(event)
            if event == END and not keep_alive:
                break
    except BadRequest as error:
        events.append(error.status)
    return events


def cut(data, size):
    return (data[start : start + size] for start in range(0, len(data), size))


def bytewise(data):
    return cut(data, 1)


# Heads that both refuse, the request behind them unseen ("|" is CR LF):

REFUSED_HEADS = {
    400: {
        "content-length-and-transfer-encoding": "POST / HTTP/1.1|Host: a|Content-Length: 5|Transfer-Encoding: chunked",
        "transfer-encoding-and-content-length": "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 5",
        "content-length-twice": "POST / HTTP/1.1|Host: a|Content-Length: 5|Content-Length: 5",
        "content-lengths-differ": "POST / HTTP/1.1|Host: a|Content-Length: 5|Content-Length: 6",
        "content-length-list": "POST / HTTP/1.1|Host: a|Content-Length: 5, 5",
        "content-length-plus-5": "POST / HTTP/1.1|Host: a|Content-Length: +5",
        "content-length-minus-5": "POST / HTTP/1.1|Host: a|Content-Length: -5",
        "content-length-hex": "POST / HTTP/1.1|Host: a|Content-Length: 0x5",
        "content-length-empty": "POST / HTTP/1.1|Host: a|Content-Length:",
        "content-length-two-numbers": "POST / HTTP/1.1|Host: a|Content-Length: 5 5",
        "content-length-over-64-bits": f"POST / HTTP/1.1|Host: a|Content-Length: {2**64 + 5}",
        "content-length-over-63-bits": f"POST / HTTP/1.1|Host: a|Content-Length: {2**63}",
        "content-length-of-5000-digits": f"POST / HTTP/1.1|Host: a|Content-Length: {'0' * 4999}5",
        "transfer-encoding-in-http-1.0": "POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked",
        "transfer-coding-vertical-tab": "POST / HTTP/1.1|Host: a|Transfer-Encoding: \x0bchunked",
        "no-host": "GET / HTTP/1.1|Accept: x",
        "two-hosts": "GET / HTTP/1.1|Host: a|Host: b",
        "two-equal-hosts": "GET / HTTP/1.1|Host: a|Host: a",
        "two-hosts-in-http-1.0": "GET / HTTP/1.0|Host: a|Host: b",
        "host-with-path": "GET / HTTP/1.1|Host: a/b",
        "host-with-userinfo": "GET / HTTP/1.1|Host: user@a",
        "host-with-space": "GET / HTTP/1.1|Host: a b",
        "http-0.9": "GET / HTTP/0.9|Host: a",
        "http-0.9-without-version": "GET /",
        "http-1.10": "GET / HTTP/1.10|Host: a",
        "http-1": "GET / HTTP/1|Host: a",
        "http-in-lower-case": "GET / http/1.1|Host: a",
        "space-after-version": "GET / HTTP/1.1 |Host: a",
        "space-before-method": " GET / HTTP/1.1|Host: a",
        "tabs-in-request-line": "GET\t/\tHTTP/1.1|Host: a",
        "no-target": "GET HTTP/1.1|Host: a",
        "two-targets": "GET / / HTTP/1.1|Host: a",
        "H5-method-in-lower-case": "get / HTTP/1.1|Host: a",
        "H5-method-in-mixed-case": "Get / HTTP/1.1|Host: a",
        "method-with-slash": "GE/T / HTTP/1.1|Host: a",
        "asterisk-for-get": "GET * HTTP/1.1|Host: a",
        "asterisk-and-more": "OPTIONS *x HTTP/1.1|Host: a",
        "target-without-slash": "GET a HTTP/1.1|Host: a",
        "target-only-query": "GET ?a HTTP/1.1|Host: a",
        "fragment": "GET /a#b HTTP/1.1|Host: a",
        "fragment-in-absolute-form": "GET http://b/a#b HTTP/1.1|Host: a",
        "userinfo-in-authority": "GET http://user:secret@b/ HTTP/1.1|Host: a",
        "no-authority": "GET http:///a HTTP/1.1|Host: a",
        "ftp": "GET ftp://b/a HTTP/1.1|Host: a",
        "scheme-without-slashes": "GET http:b HTTP/1.1|Host: a",
        "non-ascii-target": "GET /\xe9 HTTP/1.1|Host: a",
        "control-in-target": "GET /\x01 HTTP/1.1|Host: a",
        "nul-in-target": "GET /\x00 HTTP/1.1|Host: a",
        "del-in-target": "GET /\x7f HTTP/1.1|Host: a",
        "nul-in-value": "GET / HTTP/1.1|Host: a|A: b\x00c",
        "control-in-value": "GET / HTTP/1.1|Host: a|A: b\x01c",
        "vertical-tab-in-value": "GET / HTTP/1.1|Host: a|A: b\x0bc",
        "del-in-value": "GET / HTTP/1.1|Host: a|A: b\x7fc",
        "carriage-return-in-value": "GET / HTTP/1.1|Host: a|A: b\rc",
        "carriage-return-at-end-of-value": "GET / HTTP/1.1|Host: a|A: b\r",
        "space-before-colon": "GET / HTTP/1.1|Host: a|A : b",
        "tab-before-colon": "GET / HTTP/1.1|Host: a|A\t: b",
        "missing-colon": "GET / HTTP/1.1|Host: a|A",
        "no-name": "GET / HTTP/1.1|Host: a|: b",
        "name-no-token": "GET / HTTP/1.1|Host: a|A@b: c",
        "non-ascii-name": "GET / HTTP/1.1|Host: a|\xc4: b",
        "nul-in-name": "GET / HTTP/1.1|Host: a|A\x00: b",
        "obs-fold": "GET / HTTP/1.1|Host: a|A: b| c",
        "obs-fold-with-tab": "GET / HTTP/1.1|Host: a|A: b|\tc",
        "obs-fold-before-first-field": "GET / HTTP/1.1| A: b|Host: a",
        "obs-fold-of-spaces": "GET / HTTP/1.1|Host: a|A: b| ",
        "bare-lf-after-request-line": "GET / HTTP/1.1\nHost: a",
        "bare-lf-between-fields": "GET / HTTP/1.1|Host: a\nA: b",
        "bare-lf-as-end": "GET / HTTP/1.1|Host: a|\n",
        "bare-lf-everywhere": "GET / HTTP/1.1\nHost: a\n\n",
        "bare-cr-everywhere": "GET / HTTP/1.1\rHost: a\r\r",
    },
    501: {
        "transfer-coding-gzip": "POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip",
        "transfer-coding-identity": "POST / HTTP/1.1|Host: a|Transfer-Encoding: identity",
        "transfer-coding-xchunked": "POST / HTTP/1.1|Host: a|Transfer-Encoding: xchunked",
        "transfer-coding-gzip-chunked": "POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked",
        "transfer-coding-with-parameter": "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked;q=1",
        "upgrade-with-gzip": "POST / HTTP/1.1|Host: a|Connection: upgrade|Upgrade: x|Transfer-Encoding: gzip",
        "connect": "CONNECT a:80 HTTP/1.1|Host: a",
        "connect-with-content": "CONNECT a:80 HTTP/1.1|Host: a|Content-Length: 5",
        "connect-with-path": "CONNECT /a HTTP/1.1|Host: a",
    },
    505: {
        "http-9.9": "GET / HTTP/9.9|Host: a",
        "http-9.9-without-host": "GET / HTTP/9.9",
        "http-3.0": "GET / HTTP/3.0|Host: a",
        "http-2.0": "GET / HTTP/2.0|Host: a",
        "http-2-preface": "PRI * HTTP/2.0||SM",
        "http-1.2": "GET / HTTP/1.2|Host: a",
    },
}


@PARSERS
@pytest.mark.parametrize(
    ("status", "head"),
    [pytest.param(status, head, id=name) for status, heads in REFUSED_HEADS.items() for name, head in heads.items()],
)
def test_a_head_is_refused(parser, status, head):
    data = (head + "||").replace("|", "\r\n").encode("latin-1") + get()
    assert said(parser, [data]) == [status]
    assert said(parser, bytewise(data)) == [status]


# Chunked content that both refuse, whatever was good before it:

REFUSED_CHUNKS = {
    "chunk-size-no-hex": (b"", b"zz\r\n"),
    "chunk-size-empty": (b"", b"\r\n"),
    "chunk-size-plus": (b"", b"+2\r\nab\r\n0\r\n\r\n"),
    "chunk-size-minus": (b"", b"-2\r\nab\r\n0\r\n\r\n"),
    "chunk-size-0x": (b"", b"0x2\r\nab\r\n0\r\n\r\n"),
    "chunk-size-underscore": (b"", b"1_0\r\n"),
    "chunk-size-after-space": (b"", b" 2\r\nab\r\n0\r\n\r\n"),
    "chunk-size-with-bare-lf": (b"", b"2\nab\r\n0\r\n\r\n"),
    "chunk-extension-with-bare-lf": (b"", b"2;a\nb\r\nab\r\n0\r\n\r\n"),
    "chunk-longer-than-its-size": (b"ab", b"2\r\nabc\r\n0\r\n\r\n"),
    "chunk-followed-by-bare-lf": (b"ab", b"2\r\nab\n0\r\n\r\n"),
    "chunk-followed-by-nothing": (b"ab", b"2\r\nab0\r\n\r\n"),
    "last-chunk-with-bare-lf": (b"ab", b"2\r\nab\r\n0\n\r\n"),
    "end-with-bare-lf": (b"ab", b"2\r\nab\r\n0\r\n\n"),
    "trailer-with-bare-lf": (b"ab", b"2\r\nab\r\n0\r\nA: b\nC: d\r\n\r\n"),
    "trailer-end-with-bare-lf": (b"ab", b"2\r\nab\r\n0\r\nA: b\n\r\n"),
    "trailers-end-with-bare-lfs": (b"ab", b"2\r\nab\r\n0\r\nA: b\n\n"),
    "trailer-with-bare-cr": (b"ab", b"2\r\nab\r\n0\r\nA: b\rc\r\n\r\n"),
    "trailer-with-obs-fold": (b"ab", b"2\r\nab\r\n0\r\nA: b\r\n c\r\n\r\n"),
    "trailer-space-before-colon": (b"ab", b"2\r\nab\r\n0\r\nA : b\r\n\r\n"),
    "trailer-missing-colon": (b"ab", b"2\r\nab\r\n0\r\nA\r\n\r\n"),
    "trailer-content-length-no-number": (b"ab", b"2\r\nab\r\n0\r\nContent-Length: x\r\n\r\n"),
}


@PARSERS
@pytest.mark.parametrize(("before", "chunks"), REFUSED_CHUNKS.values(), ids=REFUSED_CHUNKS)
def test_chunked_content_is_refused(parser, before, chunks):
    data = chunked(end=chunks) + get()
    for pieces in ([data], bytewise(data)):
        head, *content, status = said(parser, pieces)
        assert head.method == "POST"
        assert content == [Body(before)] * bool(before)
        assert status == 400


# What both accept:


def asked(method, target, *fields, version="1.1", host=b"test"):
    return Request(method, target, version, [(b"host", host), *fields])


GET = [asked("GET", b"/"), END]
LENGTH_2 = (b"content-length", b"2")
CODING = (b"transfer-encoding", b"chunked")
CHUNKED = asked("POST", b"/", CODING)
UPGRADE_LINES = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
UPGRADE = ((b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"))

ACCEPTED = {
    "simple": (get(), GET),
    "pipelined": (get() + post(b"ab") + get(), [*GET, asked("POST", b"/", LENGTH_2), Body(b"ab"), END, *GET]),
    "incomplete-head": (get() + get()[:-1], GET),
    "incomplete-content": (post(b"ab")[:-1], [asked("POST", b"/", LENGTH_2), Body(b"a")]),
    "empty-lines-before": (b"\r\n\r\n" + get() + b"\r\n" + get(), [*GET, *GET]),
    "H5-unusual-methods": (
        request("M-SEARCH", "/") + request("QUERY", "/") + request("PROPFIND", "/"),
        [asked("M-SEARCH", b"/"), END, asked("QUERY", b"/"), END, asked("PROPFIND", b"/"), END],
    ),
    "H8-target-as-received": (get("//%41/../a%2Fb;c?d=%20&e?"), [asked("GET", b"//%41/../a%2Fb;c?d=%20&e?"), END]),
    "odd-characters-in-target": (get("/\"<>{}|\\^`[]'"), [asked("GET", b"/\"<>{}|\\^`[]'"), END]),
    "asterisk-for-options": (request("OPTIONS", "*"), [asked("OPTIONS", b"*"), END]),
    "absolute-form": (get("http://other:80/a?b"), [asked("GET", b"http://other:80/a?b", host=b"other:80"), END]),
    "absolute-form-without-path": (get("http://other?a=/b"), [asked("GET", b"http://other?a=/b", host=b"other"), END]),
    "H11-order-and-duplicates": (
        get("/", "B: 1", "a: 2", "b: 3", "B: 1"),
        [asked("GET", b"/", (b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"b", b"1")), END],
    ),
    "H26-cookies-never-joined": (
        get("/", "Cookie: a=1", "Cookie: b=2"),
        [asked("GET", b"/", (b"cookie", b"a=1"), (b"cookie", b"b=2")), END],
    ),
    "trailing-spaces-stripped": (
        get("/", "A:b", "C: \t d  e \t ", "F:", "G:  \t"),
        [asked("GET", b"/", (b"a", b"b"), (b"c", b"d  e"), (b"f", b""), (b"g", b"")), END],
    ),
    "obs-text-in-value": (get("/", "A: \xe9\xff"), [asked("GET", b"/", (b"a", b"\xe9\xff")), END]),
    "every-token-character-in-name": (
        get("/", "!#$%&'*+-.^_`|~0aZ: b"),
        [asked("GET", b"/", (b"!#$%&'*+-.^_`|~0az", b"b")), END],
    ),
    "http-1.0-without-host": (b"GET / HTTP/1.0\r\n\r\n", [Request("GET", b"/", "1.0", []), END]),
    "http-1.0-keep-alive": (
        get("/", "Connection: Keep-Alive", version="1.0") + get(),
        [asked("GET", b"/", (b"connection", b"Keep-Alive"), version="1.0"), END, *GET],
    ),
    "nothing-after-http-1.0": (get(version="1.0") + get(), [asked("GET", b"/", version="1.0"), END]),
    "nothing-after-connection-close": (
        get("/", "Connection: close") + get(),
        [asked("GET", b"/", (b"connection", b"close")), END],
    ),
    "post-without-framing": (request("POST", "/") + get(), [asked("POST", b"/"), END, *GET]),
    "content-of-get": (
        request("GET", "/", "Content-Length: 2") + b"ab" + get(),
        [asked("GET", b"/", LENGTH_2), Body(b"ab"), END, *GET],
    ),
    "content-like-requests": (
        post(get() + get()) + get(),
        [asked("POST", b"/", (b"content-length", b"%d" % len(get() + get()))), Body(get() + get()), END, *GET],
    ),
    "content-length-0": (post(b"") + get(), [asked("POST", b"/", (b"content-length", b"0")), END, *GET]),
    "content-length-with-spaces": (
        request("POST", "/", "Content-Length: \t2 ") + b"ab" + get(),
        [asked("POST", b"/", LENGTH_2), Body(b"ab"), END, *GET],
    ),
    "H15-chunked": (chunked(b"ab", b"\r\n0\r\n\r\n") + get(), [CHUNKED, Body(b"ab\r\n0\r\n\r\n"), END, *GET]),
    "H15-chunked-and-empty": (chunked() + get(), [CHUNKED, END, *GET]),
    "chunk-size-in-hex": (
        chunked(end=b"00A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n") + get(),
        [CHUNKED, Body(b"0123456789" * 2), END, *GET],
    ),
    "chunk-extensions-ignored": (
        chunked(end=b'2;a\r\nab\r\n1;b=c;d="e f"\r\nc\r\n0;g=h\r\n\r\n') + get(),
        [CHUNKED, Body(b"abc"), END, *GET],
    ),
    "trailers-dropped": (
        chunked(b"ab", end=b"0\r\nA: b\r\nHost: evil\r\nC:\r\n\r\n") + get(),
        [CHUNKED, Body(b"ab"), END, *GET],
    ),
    "upgrade-ignored": (get("/", *UPGRADE_LINES) + get(), [asked("GET", b"/", *UPGRADE), END, *GET]),
    "upgrade-with-content": (
        request("POST", "/", *UPGRADE_LINES, "Content-Length: 2") + b"ab" + get(),
        [asked("POST", b"/", *UPGRADE, LENGTH_2), Body(b"ab"), END, *GET],
    ),
    "upgrade-with-chunks": (
        request("POST", "/", *UPGRADE_LINES, "Transfer-Encoding: chunked") + b"2\r\nab\r\n0\r\nA: b\r\n\r\n" + get(),
        [asked("POST", b"/", *UPGRADE, CODING), Body(b"ab"), END, *GET],
    ),
    "upgrade-in-http-1.0": (
        request("POST", "/", *UPGRADE_LINES, "Content-Length: 2", version="1.0") + b"ab" + get(),
        [asked("POST", b"/", *UPGRADE, LENGTH_2, version="1.0"), Body(b"ab"), END],
    ),
}


@PARSERS
@pytest.mark.parametrize(("data", "events"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_conversation_is_accepted(parser, data, events):
    assert said(parser, [data]) == events
    assert said(parser, bytewise(data)) == events


# Known differences: what is said last, by h11 and by httptools. In each of them one of the two
# refuses, or refuses sooner, or with another status; none is read as two different requests, in
# which a third could hide (RFC 9112 11.2).

DIFFERENCES = {
    # llhttp has a list of methods, some of them for other protocols alone:
    "method-unknown-to-llhttp": (request("PURGE2", "/"), [END], [400]),
    "method-of-rtsp": (request("DESCRIBE", "/"), [END], [400]),
    # llhttp reads request lines of other protocols, and takes any number of spaces:
    "rtsp": (b"GET / RTSP/1.0\r\nHost: test\r\n\r\n", [400], [END]),
    "ice": (b"SOURCE / ICE/1.0\r\nHost: test\r\n\r\n", [400], [END]),
    "two-spaces-before-target": (b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n", [400], [END]),
    "two-spaces-before-version": (b"GET /  HTTP/1.1\r\nHost: test\r\n\r\n", [400], [END]),
    # llhttp judges byte by byte, and says no sooner:
    "nonsense-without-end": (b"nonsense", [], [400]),
    "version-before-fields": (b"GET / HTTP/9.9\r\nA\r\n\r\n", [400], [505]),
    # The order of the checks differs, and with it the status, where two of them say no:
    "no-transfer-coding": (request("POST", "/", "Transfer-Encoding:"), [501], [400]),
    "chunked-chunked": (request("POST", "/", "Transfer-Encoding: chunked, chunked"), [501], [400]),
    "gzip-in-http-1.0": (request("POST", "/", "Transfer-Encoding: gzip", version="1.0"), [501], [400]),
    "gzip-twice": (request("POST", "/", "Transfer-Encoding: gzip", "Transfer-Encoding: gzip"), [400], [501]),
    # llhttp knows no tab here (RFC 9112 5.1 does), and refuses after the head:
    "tab-after-chunked": (request("POST", "/", "Transfer-Encoding: chunked\t") + b"0\r\n\r\n", [END], [400]),
    # h11 ignores what stands behind a chunk size, and counts its digits instead of its value:
    "chunk-size-and-space": (chunked(end=b"2 \r\nab\r\n0\r\n\r\n"), [END], [400]),
    "chunk-extension-after-space": (chunked(end=b"2; a\r\nab\r\n0\r\n\r\n"), [END], [400]),
    "chunk-extension-no-token": (chunked(end=b"2;@\r\nab\r\n0\r\n\r\n"), [END], [400]),
    "chunk-extension-obs-text": (chunked(end=b"2;\xe9\r\nab\r\n0\r\n\r\n"), [END], [400]),
    "chunk-extension-bare-cr": (chunked(end=b"2;a\rb\r\nab\r\n0\r\n\r\n"), [END], [400]),
    "chunk-size-of-17-digits": (chunked(end=b"1" * 17 + b"\r\nab"), [Body(b"ab")], [400]),
    "chunk-size-of-many-zeros": (chunked(end=b"0" * 21 + b"\r\n\r\n"), [400], [END]),
    # h11 does not look into trailers, which are dropped anyway; llhttp takes some by their word:
    "control-in-trailer": (chunked(end=b"0\r\nA: \x01\r\n\r\n"), [END], [400]),
    "content-length-in-trailer": (chunked(end=b"0\r\nContent-Length: 5\r\n\r\n"), [END], [400]),
    "coding-in-trailer": (chunked(end=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), [END], [400]),
    "close-in-trailer": (chunked(end=b"0\r\nConnection: close\r\n\r\n") + get(), [END], [400]),
    # To llhttp, this old invention closes the connection:
    "proxy-connection": (get("/", "Proxy-Connection: close") + get(), [END], [400]),
}


@pytest.mark.parametrize(("data", "h11", "httptools"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_known_difference(data, h11, httptools):
    for pieces in ([data], list(bytewise(data))):
        assert said(H11Parser, pieces)[-1:] == h11
        assert said(HttptoolsParser, pieces)[-1:] == httptools


def test_a_known_difference_in_the_case_of_the_transfer_coding():
    data = request("POST", "/", "Transfer-Encoding: Chunked") + b"0\r\n\r\n"
    assert said(H11Parser, [data]) == [asked("POST", b"/", CODING), END]
    as_received = (b"transfer-encoding", b"Chunked")
    assert said(HttptoolsParser, [data]) == [asked("POST", b"/", as_received), END]


@pytest.mark.parametrize("parser", [H11Parser, HttptoolsParser])
def test_endless_empty_lines_are_refused_like_an_endless_head(parser):
    assert said(parser, [b"\r\n" * 100] * 100, Limits(head=256)) == [431]


# Any valid conversation, split anywhere:

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=8)
SPACES = st.sampled_from([b"", b" ", b"\t", b" \t "])
CASES = st.sampled_from([bytes.lower, bytes.upper, bytes.title, bytes.swapcase])
VALUE = st.text([chr(code) for code in (9, *range(32, 127), *range(128, 256))], max_size=12).map(
    lambda text: text.strip(" \t").encode("latin-1")
)
NAME = TOKEN.map(lambda text: f"x-{text}".encode())  # none that has a meaning
TARGET = st.sampled_from([b"/", b"/a%20b?c=/d", b"//?", b"http://other/a?b", b"http://[::1]:80"])


@st.composite
def fields(draw, *extra):
    """Header lines, and the same as the parsers should see them."""
    drawn = draw(st.lists(st.tuples(NAME, VALUE), max_size=4))
    drawn = draw(st.permutations([HOST, *drawn, *extra]))
    lines = [
        # No tab after the coding: see the known differences.
        draw(CASES)(name) + b":" + draw(SPACES) + value + (b" " if value == b"chunked" else draw(SPACES))
        for name, value in drawn
    ]
    return lines, [(name.lower(), value) for name, value in drawn]


@st.composite
def chunks(draw):
    """Chunked content, and what is in it."""
    content = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3))
    extension = st.sampled_from([b"", b";a", b";a=b", b';a="b ; c"', b";a;b=c"])
    data = b"".join(
        draw(st.sampled_from([b"%x", b"%X", b"%03x"])) % len(chunk) + draw(extension) + b"\r\n%b\r\n" % chunk
        for chunk in content
    )
    trailers = draw(st.lists(st.tuples(NAME, VALUE), max_size=2))
    lines = b"".join(b"%b: %b\r\n" % field for field in trailers)
    return data + b"0" + draw(extension) + b"\r\n" + lines + b"\r\n", b"".join(content)


@st.composite
def conversations(draw):
    """One request or several, pipelined, and the events that they are."""
    data, events = b"", []
    for _ in range(draw(st.integers(1, 3))):
        extra, body, content = draw(st.sampled_from([(), UPGRADE])), b"", b""
        framing = draw(st.sampled_from(["none", "length", "chunks"]))
        if framing == "length":
            body = content = draw(st.binary(max_size=40) | st.just(get("/evil")))
            extra = (*extra, (b"content-length", b"%d" % len(body)))
        elif framing == "chunks":
            body, content = draw(chunks())
            extra = (*extra, CODING)
        lines, headers = draw(fields(*extra))
        method, target = draw(st.sampled_from(["GET", "POST", "HEAD", "DELETE"])), draw(TARGET)
        if authority := target.partition(b"://")[2]:
            host = (b"host", authority.partition(b"/")[0])
            headers = [host, *(field for field in headers if field[0] != b"host")]
        head = [b"%b %b HTTP/1.1" % (method.encode(), target), *lines, b"", b""]
        data += b"\r\n" * draw(st.integers(0, 2)) + b"\r\n".join(head) + body
        events += [Request(method, target, "1.1", headers), *[Body(content)] * bool(content), END]
    return data, events


@st.composite
def split(draw, data):
    """The same bytes in a few pieces, or one by one."""
    if draw(st.booleans()):
        return list(bytewise(data))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


@PARSERS
@FUZZ
@given(conversations(), st.data())
def test_any_conversation_split_anywhere_is_read_as_it_was_written(parser, conversation, choice):
    data, events = conversation
    assert said(parser, [data]) == events
    assert said(parser, choice.draw(split(data))) == events


# Garbage:

NASTY = st.binary(max_size=3) | st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"\0", b" ", b"\t", b":", b";", b"0", b"#", b"*"),
        *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil\r\n", b"Connection: close\r\n"),
        *(b"GET /evil HTTP/1.1\r\n\r\n", b"HTTP/1.0", b"0\r\n\r\n", b"Expect: 100-continue\r\n"),
    ]
)


@st.composite
def damaged(draw):
    """Conversations with something put in, taken out or overwritten."""
    data, _ = draw(conversations())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(NASTY) + data[place + draw(st.integers(0, 4)) :]
    return data


def transcript(events):
    """Events as text, without a refusal: who stopped sooner has a part of the other's text."""
    return " ".join(
        event.data.hex() if isinstance(event, Body) else repr(event).lower()
        for event in events
        if not isinstance(event, int)
    )


@FUZZ
@given(damaged() | st.binary(max_size=200), st.data())
def test_garbage_is_refused_or_read_alike(data, choice):
    """Nothing but `BadRequest` is raised; what one parser accepts, the other never misreads."""
    h11, httptools = said(H11Parser, [data]), said(HttptoolsParser, [data])
    less, more = sorted([transcript(h11), transcript(httptools)], key=len)
    assert more.startswith(less)
    pieces = choice.draw(split(data))
    assert said(H11Parser, pieces) == h11
    assert said(HttptoolsParser, pieces) == httptools


# Input without end:

ENDLESS = {
    "request-line": (414, b"GET /", b"a"),
    "query": (414, b"GET /?", b"a&"),
    "header-name": (431, b"GET / HTTP/1.1\r\n", b"a"),
    "header-spaces": (431, b"GET / HTTP/1.1\r\nA:", b" "),
    "header-value": (431, b"GET / HTTP/1.1\r\nA: ", b"a"),
    "headers": (431, b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
    "chunk-size": (431, chunked(end=b""), b"0"),
    "chunk-extension": (431, chunked(end=b"2;"), b"a"),
    "last-chunk-extension": (431, chunked(b"ab", end=b"0;"), b"a"),
    "trailer-name": (431, chunked(end=b"0\r\n"), b"a"),
    "trailer-value": (431, chunked(end=b"0\r\nA: "), b"a"),
    "trailers": (431, chunked(end=b"0\r\n"), b"A: b\r\n"),
}


@PARSERS
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize(("status", "start", "repeated"), ENDLESS.values(), ids=ENDLESS)
def test_endless_input_is_refused_after_twice_the_limit_at_the_latest(parser, status, start, repeated, size):
    data = start + repeated * 10_000
    bounded = data[: len(start) + 2 * 256 + size]
    assert said(parser, cut(bounded, size), Limits(head=256, line=64))[-1] == status


@PARSERS
@pytest.mark.parametrize("size", [1000, 65_536, 1_200_000])
def test_200_000_headers_are_refused_after_twice_the_limit_at_the_latest(parser, size):
    data = get()[:-2] + b"A: b\r\n" * 200_000
    assert said(parser, cut(data[: 2 * 65_536 + size], size)) == [431]


@PARSERS
def test_more_fields_than_the_limit_are_refused(parser):
    lines = [f"A: {number}" for number in range(99)]
    assert said(parser, [get("/", *lines)])[-1] == END
    assert said(parser, [get("/", *lines, "A: 99")]) == [431]


@PARSERS
@pytest.mark.parametrize("pieces", [lambda data: [data], bytewise], ids=["whole", "bytewise"])
def test_a_limit_is_exact(parser, pieces):
    line, head = len(b"GET /aaaa HTTP/1.1\r\n"), get("/aaaa")
    exact = Limits(head=len(head), line=line)
    assert said(parser, pieces(head), exact) == [asked("GET", b"/aaaa"), END]
    assert said(parser, pieces(head), Limits(head=len(head), line=line - 1)) == [414]
    assert said(parser, pieces(head), Limits(head=len(head) - 1, line=line)) == [431]


@PARSERS
def test_a_declared_body_over_the_limit_is_refused(parser):
    assert said(parser, [post(b"abc")], Limits(body=3))[-1] == END
    assert said(parser, [post(b"abcd")], Limits(body=3)) == [413]

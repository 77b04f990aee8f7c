"""Which differences are on purpose."""

import re
from typing import Any

import pytest

from miniasgi.compare.diff import Difference
from miniasgi.compare.differences import DIFFERENCES
from miniasgi.compare.explain import explain
from miniasgi.compare.protocol import PROTOCOL, get, request

OURS = ("miniasgi", "uvicorn")


def difference(what: str, left: str | None, right: str | None) -> Difference:
    return Difference("bytes", what, left, right)


def sections(*differences: Any, request: bytes = get(), names: tuple[str, str] = OURS) -> list[str | None]:
    return [why and why.section for _, why in explain([difference(*one) for one in differences], request, names)]


NO_HOST = b"GET / HTTP/1.1\r\nA: b\r\n\r\n"
REFUSED = ("status", "400", "200")


@pytest.mark.parametrize(
    "request_, one, section",
    [
        (NO_HOST, REFUSED, "RFC 9112 3.2"),
        (b"GET / HTTP/1.0\r\n\r\n", REFUSED, None),
        (get("/", "Host: b"), REFUSED, "RFC 9112 3.2"),
        (get(), REFUSED, None),
        (NO_HOST, ("status", "500", "200"), None),
        (PROTOCOL["CL and TE"][0], REFUSED, "RFC 9112 6.3"),
        (PROTOCOL["two CL"][0], REFUSED, "RFC 9112 6.3, RFC 9110 8.6"),
        (PROTOCOL["CL +1"][0], REFUSED, "RFC 9112 6.3, RFC 9110 8.6"),
        (PROTOCOL["bare line feeds"][0], REFUSED, "RFC 9112 2.2"),
        (PROTOCOL["folded line"][0], REFUSED, "RFC 9112 5.2"),
        (PROTOCOL["TE on 1.0"][0], REFUSED, "RFC 9112 6.1"),
        (PROTOCOL["HTTP/9.9"][0], ("status", "505", "200"), "RFC 9110 15.6.6"),
        (PROTOCOL["CONNECT"][0], ("status", "501", "404"), "RFC 9110 9.3.6"),
        (PROTOCOL["fragment"][0], REFUSED, "RFC 9112 3.2, RFC 3986 2"),
        (get("http://a/b"), REFUSED, None),
        (get(method="get"), REFUSED, "RFC 9110 9.1, ASGI HTTP 2.5"),
        (get("/lower"), REFUSED, None),
        (get(), ("status", "414", "200"), "RFC 9112 3, RFC 9110 15.5.15"),
        (get(), ("status", "200", "500"), None),
        (get(), ("own body", "a", "b"), "RFC 9110 15.5"),
        (get(), ("body", "a", "b"), None),
        (get(), ("status line", "HTTP/1.1 200 OK", "'HTTP/1.1 200 '"), "RFC 9112 4"),
        (get(), ("status line", "HTTP/1.1 200 OK", "HTTP/1.1 200 Fine"), None),
        (get(), ("header x", "b", "'b '"), None),
        (get(), ("scope header x", "b", "'b '"), "RFC 9112 5.1"),
        (get(), ("scope.extensions.http.response.pathsend", "{}", None), "ASGI extensions"),
        (get(), ("scope.raw_path", "a", "b"), None),
        (get(), ("framing", "content-length", "chunked"), "RFC 9112 6.2, ASGI HTTP 2.5"),
        (get(version="1.0"), ("framing", "close", "chunked"), "RFC 9112 6.1"),
        (get(), ("framing", "close", "chunked"), None),
    ],
)
def test_what_is_explained_and_what_not(request_: bytes, one: Any, section: str | None) -> None:
    assert sections(one, request=request_) == [section]
    swapped = (one[0], one[2], one[1])
    assert sections(swapped, request=request_, names=OURS[::-1]) == [section]
    assert sections(one, request=request_, names=("uvicorn", "hypercorn")) == [None]
    assert sections(one, request=request_, names=("miniasgi:h11", "miniasgi")) == [None]


def test_what_follows_from_an_explained_difference_is_explained() -> None:
    general = ("own body", "a", "b")
    found = sections(REFUSED, ("connection", "closed", "open"), general, ("calls", "0", "1"), request=NO_HOST)
    assert found == ["RFC 9112 3.2", "RFC 9112 3.2", "RFC 9110 15.5", "RFC 9112 3.2"]


def test_which_reply_makes_no_difference() -> None:
    assert sections(("reply 3: status", "400", "200"), request=NO_HOST) == ["RFC 9112 3.2"]


def test_a_peer_may_have_reasons_of_its_own() -> None:
    request_ = request("POST", "/", "Content-Length: 1") + b"x"
    assert sections(("connection", "open", "closed"), request=request_) == [None]
    assert sections(("connection", "open", "closed"), request=request_, names=("miniasgi", "granian")) != [None]


@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: entry.because)
def test_each_entry_says_why_and_where_that_is_written(entry: Any) -> None:
    assert re.fullmatch(r"\S.*[^.\s]", entry.because)
    assert re.match(r"RFC \d{4} \d|ASGI ", entry.section)
    for pattern in (entry.request, entry.ours, entry.theirs):
        re.compile(pattern)
    assert entry.what != "*"
    assert not (entry.whole and entry.general)
    assert not entry.whole or entry.ours or entry.theirs or entry.request

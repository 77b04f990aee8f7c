"""rules.py: which request heads are refused, with which status, and what the others ask for."""

import math

import pytest

from miniasgi.events import BadRequest, Request
from miniasgi.rules import Limits, Terms, judge, over_body

HOST = (b"host", b"test")
DEFAULT = Limits()


def head(*headers, method="GET", target=b"/", version="1.1"):
    return Request(method, target, version, [HOST, *headers])


def refusal(request, limits=DEFAULT):
    with pytest.raises(BadRequest) as caught:
        judge(request, limits)
    return caught.value.status


def terms(*headers, limits=DEFAULT, **request):
    return judge(head(*headers, **request), limits)


@pytest.mark.parametrize("headers", [[], [(b"accept", b"*/*")]], ids=["host", "host-and-accept"])
def test_the_common_request_is_kept_alive_and_has_no_content(headers):
    expected = Terms(b"/a", b"b?c", True, False, False)
    assert terms(*headers, target=b"/a?b?c") == expected


# Targets, RFC 9112 3.2:


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%20b/?x=%41", b"/a%20b/", b"x=%41"),
        (b"/?", b"/", b""),
        (b"//a/b", b"//a/b", b""),
        (b"/http://a/b", b"/http://a/b", b""),
    ],
)
def test_h8_h9_path_and_query_string_are_as_received(target, path, query):
    found = terms(target=target)
    assert (found.raw_path, found.query_string) == (path, query)


def test_the_asterisk_is_for_options():
    assert terms(target=b"*", method="OPTIONS").raw_path == b"*"
    assert refusal(head(target=b"*")) == 400
    assert refusal(head(target=b"*x", method="OPTIONS")) == 400


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://other/a?b", b"other", b"/a", b"b"),
        (b"HTTPS://other:8000/a/b", b"other:8000", b"/a/b", b""),
        (b"http://[::1]:80/a", b"[::1]:80", b"/a", b""),
        (b"http://other", b"other", b"/", b""),
        (b"http://other?b", b"other", b"/", b"b"),
        (b"http://other?b=/c/d", b"other", b"/", b"b=/c/d"),
        (b"http://other/a?b=http://c", b"other", b"/a", b"b=http://c"),
    ],
)
def test_an_absolute_target_is_split_and_its_authority_replaces_the_host(target, host, path, query):
    request = Request("GET", target, "1.1", [(b"a", b"1"), HOST, (b"b", b"2")])
    found = judge(request, DEFAULT)
    assert (found.raw_path, found.query_string) == (path, query)
    assert request.headers == [(b"host", host), (b"a", b"1"), (b"b", b"2")]  # first, H11


def test_h11_the_authority_comes_first_where_http_1_0_has_no_host():
    request = Request("GET", b"http://other/", "1.0", [(b"a", b"1")])
    judge(request, DEFAULT)
    assert request.headers == [(b"host", b"other"), (b"a", b"1")]


@pytest.mark.parametrize(
    "target",
    [
        b"a",
        b"?a",
        b"",
        b"http:/a",
        b"http:a",
        b"://a/",
        b"ftp://a/",
        b"http://",
        b"http:///a",
        b"http://?a",
        b"http://user@a/",
        b"http://user:secret@a/",
        b"http://a\\b/",
        b"/a#b",
        b"http://a/#b",
        b"http://a#b",
    ],
)
def test_other_targets_are_refused(target):
    assert refusal(head(target=target)) == 400


@pytest.mark.parametrize("target", [b"a:80", b"/", b"*", b"http://a/"])
def test_connect_is_not_implemented(target):
    assert refusal(head(method="CONNECT", target=target)) == 501


# Version and method:


@pytest.mark.parametrize(("version", "status"), [("0.9", 400), ("1.2", 505), ("2.0", 505), ("3.0", 505), ("9.9", 505)])
def test_other_versions_are_not_supported(version, status):
    assert refusal(head(version=version)) == status


@pytest.mark.parametrize("method", ["get", "Get", "GETt"])
def test_h5_a_method_is_in_upper_case(method):
    assert refusal(head(method=method)) == 400


@pytest.mark.parametrize("method", ["PURGE2", "M-SEARCH", "X"])
def test_any_token_in_upper_case_is_a_method(method):
    assert terms(method=method).keep_alive


# Host, RFC 9112 3.2:


@pytest.mark.parametrize("value", [b"", b"test:8000", b"[::1]:80", b"a_b.c", b"\xe9"])
def test_a_host_may_be_anything_that_a_host_can_be(value):
    assert judge(Request("GET", b"/", "1.1", [(b"host", value)]), DEFAULT).keep_alive


@pytest.mark.parametrize(
    "value", [b"a b", b"a/b", b"a?b", b"a#b", b"user@a", b"a\\b", b"<a>", b"a^b", b"`a`", b"{a|b}", b'"a"']
)
def test_a_host_that_could_mislead_is_refused(value):
    assert refusal(Request("GET", b"/", "1.1", [(b"host", value)])) == 400


def test_http_1_1_needs_one_host():
    assert refusal(Request("GET", b"/", "1.1", [])) == 400
    assert refusal(Request("GET", b"/", "1.1", [HOST, HOST])) == 400


def test_http_1_0_may_have_one_host():
    assert judge(Request("GET", b"/", "1.0", []), DEFAULT).raw_path == b"/"
    assert judge(Request("GET", b"/", "1.0", [HOST]), DEFAULT).raw_path == b"/"
    assert refusal(Request("GET", b"/", "1.0", [HOST, HOST])) == 400


# What the client asks of the connection, RFC 9112 9.3 and RFC 9110 10.1:


@pytest.mark.parametrize(
    ("version", "values", "kept"),
    [
        ("1.1", [], True),
        ("1.1", [b"keep-alive"], True),
        ("1.1", [b"close"], False),
        ("1.1", [b"x, CLOSE ,y"], False),
        ("1.1", [b"keep-alive", b"close"], False),
        ("1.1", [b"keep-alive, close"], False),
        ("1.1", [b"closed"], True),
        ("1.1", [b""], True),
        ("1.0", [], False),
        ("1.0", [b"Keep-Alive"], True),
        ("1.0", [b"x", b"y,keep-alive"], True),
        ("1.0", [b"keep-alive, close"], False),
        ("1.0", [b"x"], False),
    ],
)
def test_the_connection_is_kept_where_version_and_connection_say_so(version, values, kept):
    assert terms(*((b"connection", value) for value in values), version=version).keep_alive is kept


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        ("1.1", b"100-continue", True),
        ("1.1", b"100-Continue", True),
        ("1.1", b"200-ok", False),
        ("1.0", b"100-continue", False),
    ],
)
def test_a_client_may_wait_for_a_100(version, value, expected):
    assert terms((b"expect", value), version=version).expects_continue is expected


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        ("1.1", b"trailers", True),
        ("1.1", b"gzip;q=0.5, Trailers;q=1", True),
        ("1.1", b"gzip", False),
        ("1.0", b"trailers", False),
    ],
)
def test_e7_a_client_may_take_trailers(version, value, expected):
    assert terms((b"te", value), version=version).accepts_trailers is expected


# The framing of the content, RFC 9112 6.1 to 6.3:


@pytest.mark.parametrize("value", [b"0", b"5", b"007", b"9" * 18])
def test_a_content_length_is_digits(value):
    assert terms((b"content-length", value)).keep_alive


@pytest.mark.parametrize(
    "value", [b"", b"+5", b"-5", b"5.0", b"0x5", b"5_0", b"5 5", b"5, 5", b"5,", "\u0665".encode(), b"\xb2"]
)
def test_any_other_content_length_is_refused(value):
    assert refusal(head((b"content-length", value))) == 400


@pytest.mark.parametrize("value", [b"9" * 19, b"18446744073709551621", b"9" * 5000, b"0" * 5000 + b"5"], ids=len)
def test_a_content_length_of_too_many_digits_is_refused(value):
    """Python reads no integer of more than 4300 digits, and others overflow sooner."""
    assert refusal(head((b"content-length", value))) == 400


def test_two_content_lengths_are_refused_even_if_they_are_equal():
    assert refusal(head((b"content-length", b"5"), (b"content-length", b"5"))) == 400


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b"Chunked"])
def test_chunked_content_is_fine(value):
    assert terms((b"transfer-encoding", value)).keep_alive


@pytest.mark.parametrize(
    "values", [[b"gzip"], [b"gzip, chunked"], [b"chunked, gzip"], [b"xchunked"], [b""], [b"chunked"] * 2], ids=repr
)
def test_other_transfer_codings_are_not_implemented(values):
    assert refusal(head(*((b"transfer-encoding", value) for value in values))) == 501


def test_content_length_with_transfer_encoding_is_refused():
    chunked, length = (b"transfer-encoding", b"chunked"), (b"content-length", b"5")
    assert refusal(head(chunked, length)) == 400
    assert refusal(head(length, chunked)) == 400


def test_transfer_encoding_in_http_1_0_is_refused():
    assert refusal(head((b"transfer-encoding", b"chunked"), version="1.0")) == 400


# The upgrade to a WebSocket, RFC 6455 4.1:

UPGRADE = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


@pytest.mark.parametrize(
    "headers",
    [
        UPGRADE,
        [(b"connection", b"keep-alive, UPGRADE"), (b"upgrade", b"h2c,WebSocket")],
        [(b"connection", b"keep-alive"), (b"upgrade", b"h2c"), *UPGRADE],
        [*UPGRADE, (b"content-length", b"0")],
    ],
)
def test_W14_a_handshake_is_known_by_its_two_lists(headers):
    found = terms(*headers)
    assert (found.wants_websocket, found.keep_alive) == (True, True)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        UPGRADE[:1],
        UPGRADE[1:],
        [UPGRADE[0], (b"upgrade", b"websocket2")],
        [(b"connection", b"close"), UPGRADE[1]],
        [*UPGRADE, (b"content-length", b"1")],
        [*UPGRADE, (b"transfer-encoding", b"chunked")],
    ],
)
def test_W14_anything_else_is_no_handshake(headers):
    assert not terms(*headers).wants_websocket


def test_W14_only_a_GET_of_HTTP_1_1_is_a_handshake():
    assert not terms(*UPGRADE, method="POST").wants_websocket
    assert not terms(*UPGRADE, method="HEAD").wants_websocket
    assert not terms(*UPGRADE, version="1.0").wants_websocket


# Limits:


def test_the_limits_are_those_of_the_manual():
    assert Limits(head=65_536, fields=100, line=8192, body=math.inf) == DEFAULT


@pytest.mark.parametrize(("line", "status"), [(10, 431), (11, 414)])
def test_a_head_without_end_is_refused_for_its_line_or_else_for_its_size(line, status):
    assert Limits(line=10).overrun(line).status == status


def test_a_declared_body_over_the_limit_is_refused():
    limits = Limits(body=5)
    assert terms((b"content-length", b"5"), limits=limits).keep_alive
    assert refusal(head((b"content-length", b"6")), limits) == 413
    assert terms((b"content-length", b"6")).keep_alive


def test_the_limit_of_a_body_can_be_nothing():
    assert refusal(head((b"content-length", b"1")), Limits(body=0)) == 413


def test_over_body_names_the_limit_to_the_log():
    assert str(over_body(5)) == "413: content over 5 bytes (RFC 9110 15.5.14)"


def test_a_request_line_over_the_limit_is_refused():
    line = len(b"GET /aaaa HTTP/1.1\r\n")
    assert terms(target=b"/aaaa", limits=Limits(line=line)).raw_path == b"/aaaa"
    assert refusal(head(target=b"/aaaa"), Limits(line=line - 1)) == 414


def test_too_many_fields_are_refused():
    assert terms((b"a", b""), (b"a", b""), limits=Limits(fields=3)).keep_alive
    assert refusal(head((b"a", b""), (b"a", b"")), Limits(fields=2)) == 431

"""response.py: a response as bytes: head, framing, and what an app may not put there."""

import http
from types import SimpleNamespace

import pytest

from miniasgi import response as module
from miniasgi.events import Request
from miniasgi.response import Framing, HeaderLines, Response, refusal
from miniasgi.rules import Terms

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = HeaderLines(server=False, date=False)
CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSE = b"connection: close\r\n"


def response(method="GET", version="1.1", keep_alive=True, waits=False, te=False, defaults=PLAIN):
    terms = Terms(b"/", b"", keep_alive, waits, te)
    return Response(Request(method, b"/", version, []), terms, defaults)


def started(*headers, status=200, trailers=False, **request):
    found = response(**request)
    found.start(status, headers, trailers)
    return found


# Framing, RFC 9112 6.3:


def test_h17_the_head_is_held_until_the_first_content():
    simple = response()
    assert repr(simple) == "<Response - HELD>"
    assert simple.start(200, [], False) is None
    assert simple.framing is Framing.HELD
    assert repr(simple) == "<Response 200 HELD>"


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["empty", "hello"])
def test_content_in_one_piece_gets_its_length(body):
    simple = started()
    assert simple.content(body, False) == OK + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    assert simple.framing is Framing.LENGTH
    assert simple.terms.keep_alive
    assert repr(simple) == "<Response 200 LENGTH>"


def test_content_in_pieces_is_chunked():
    stream = started()
    assert stream.content(b"hello", True) == OK + CHUNKED + b"\r\n5\r\nhello\r\n"
    assert stream.framing is Framing.CHUNKED
    assert stream.content(b"a" * 26, True) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert stream.content(b"b", False) == b"1\r\nb\r\n0\r\n\r\n"
    assert stream.terms.keep_alive


def test_no_data_is_no_chunk_since_an_empty_one_would_end_the_content():
    stream = started()
    assert stream.content(b"", True) == OK + CHUNKED + b"\r\n"
    assert stream.content(b"", True) == b""
    assert stream.content(b"", False) == b"0\r\n\r\n"


def test_a_length_of_the_app_frames_content_in_pieces():
    stream = started((b"Content-Length", b"5"))
    assert stream.content(b"he", True) == OK + b"content-length: 5\r\n\r\nhe"
    assert stream.content(b"", True) == b""
    assert stream.content(b"llo", True) == b"llo"
    assert stream.content(b"", False) == b""
    assert stream.framing is Framing.LENGTH


def test_http_1_0_gets_a_length_and_may_keep_the_connection():
    simple = started(version="1.0")
    assert simple.content(b"hi", False) == OK + b"content-length: 2\r\nconnection: keep-alive\r\n\r\nhi"
    assert simple.terms.keep_alive


def test_http_1_0_gets_no_chunks_but_the_end_of_the_connection():
    stream = started(version="1.0")
    assert stream.content(b"he", True) == OK + CLOSE + b"\r\nhe"
    assert stream.framing is Framing.CLOSE
    assert not stream.terms.keep_alive
    assert stream.content(b"llo", False) == b"llo"


def test_http_1_0_that_does_not_ask_for_it_is_not_kept():
    simple = started(version="1.0", keep_alive=False)
    assert simple.content(b"", False) == OK + b"content-length: 0\r\n" + CLOSE + b"\r\n"


@pytest.mark.parametrize(
    ("headers", "more", "length"),
    [
        ([], False, b"content-length: 2\r\n"),
        ([], True, b""),
        ([(b"content-length", b"5")], True, b"content-length: 5\r\n"),
        ([(b"content-length", b"5")], False, b"content-length: 5\r\n"),
    ],
)
def test_head_announces_what_get_would_and_has_no_content(headers, more, length):
    answer = started(*headers, method="HEAD")
    assert answer.content(b"hi", more) == OK + length + b"\r\n"
    assert answer.framing is Framing.NONE
    assert answer.content(b"more", False) == b""
    assert answer.terms.keep_alive


@pytest.mark.parametrize("more", [False, True])
def test_204_has_neither_content_nor_length(more):
    answer = started((b"content-length", b"2"), status=204)
    assert answer.content(b"hi", more) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert answer.framing is Framing.NONE


@pytest.mark.parametrize(
    ("headers", "length"), [([], b""), ([(b"content-length", b"5")], b"content-length: 5\r\n")], ids=["without", "with"]
)
def test_304_has_no_content_and_only_the_length_that_the_app_gave(headers, length):
    answer = started(*headers, status=304)
    assert answer.content(b"hi", False) == b"HTTP/1.1 304 Not Modified\r\n" + length + b"\r\n"
    assert answer.framing is Framing.NONE


# The app's content-length is a promise:


def test_content_over_its_length_is_refused_and_nothing_of_it_is_sent():
    stream = started((b"content-length", b"5"))
    with pytest.raises(RuntimeError, match="content-length leaves"):
        stream.content(b"hello!", False)
    assert stream.framing is Framing.HELD
    assert stream.content(b"he", True).endswith(b"\r\n\r\nhe")
    with pytest.raises(RuntimeError, match="content-length leaves"):
        stream.content(b"llo!", True)
    assert stream.content(b"llo", False) == b"llo"


def test_content_short_of_its_length_is_refused():
    stream = started((b"content-length", b"5"))
    with pytest.raises(RuntimeError, match="content-length leaves"):
        stream.content(b"hell", False)
    assert stream.framing is Framing.HELD
    assert stream.content(b"hell", True).endswith(b"\r\n\r\nhell")
    with pytest.raises(RuntimeError, match="content-length leaves"):
        stream.content(b"", False)
    assert stream.content(b"o", False) == b"o"


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"+1", b"1.0", b"1, 1"])
def test_a_length_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="content-length"):
        response().start(200, [(b"content-length", value)], False)


def test_lengths_may_be_repeated_but_not_differ():
    twice = started((b"content-length", b"2"), (b"content-length", b"2"))
    assert twice.content(b"hi", False) == OK + b"content-length: 2\r\n\r\nhi"
    with pytest.raises(ValueError, match="content-length"):
        response().start(200, [(b"content-length", b"2"), (b"content-length", b"3")], False)


# The head:


def test_h19_the_order_of_headers_is_kept_and_their_names_are_in_lower_case():
    headers = [(b"X-B", b"1"), (b"x-a", b"2"), (b"SET-COOKIE", b"a"), (b"x-b", b"3"), (b"Set-Cookie", b"b")]
    lines = b"x-b: 1\r\nx-a: 2\r\nset-cookie: a\r\nx-b: 3\r\nset-cookie: b\r\n"
    assert started(*headers).content(b"", False) == OK + lines + b"content-length: 0\r\n\r\n"


def test_h19_content_length_stays_where_the_app_has_it():
    before, after = (b"a", b"1"), (b"b", b"2")
    given = started(before, (b"Content-Length", b"2"), after, (b"content-length", b"2"), (b"connection", b"close"))
    head = b"a: 1\r\ncontent-length: 2\r\nb: 2\r\nconnection: close\r\n\r\n"
    assert given.content(b"hi", False) == OK + head + b"hi"
    once = started((b"content-length", b"2"), after)
    assert once.content(b"hi", False) == OK + b"content-length: 2\r\nb: 2\r\n\r\nhi"
    ours = started(before, after)
    assert ours.content(b"hi", False) == OK + b"a: 1\r\nb: 2\r\ncontent-length: 2\r\n\r\nhi"


def test_headers_may_be_lists_and_come_from_an_iterator():
    lists = response()
    lists.start(200, iter([[b"a", b"b"]]), False)
    assert b"\r\na: b\r\n" in lists.content(b"", False)


@pytest.mark.parametrize("value", [b"chunked", b"gzip", b"gzip, chunked"])
def test_h18_a_transfer_encoding_of_the_app_is_ignored(value):
    simple = started((b"Transfer-Encoding", value))
    assert simple.content(b"hi", False) == OK + b"content-length: 2\r\n\r\nhi"
    stream = started((b"Transfer-Encoding", value))
    assert stream.content(b"hi", True) == OK + CHUNKED + b"\r\n2\r\nhi\r\n"


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close"])
def test_the_app_may_close_the_connection(value):
    last = started((b"Connection", value))
    assert not last.terms.keep_alive
    assert last.content(b"", False) == OK + b"content-length: 0\r\n" + CLOSE + b"\r\n"


def test_the_app_cannot_keep_the_connection():
    last = started((b"connection", b"keep-alive"), keep_alive=False)
    assert not last.terms.keep_alive
    assert last.content(b"", False).count(b"connection:") == 1


def test_the_connection_may_be_closed_up_to_the_head():
    last = started()
    last.terms.keep_alive = False
    assert CLOSE in last.content(b"", False)


def test_who_waits_for_a_100_and_gets_an_answer_is_not_kept():
    assert CLOSE in started(waits=True).content(b"", False)


@pytest.mark.parametrize("status", [299, 600, 999])
def test_a_status_without_a_phrase_has_none(status):
    line = b"HTTP/1.1 %d \r\n" % status
    assert started(status=status).content(b"", False) == line + b"content-length: 0\r\n\r\n"


def test_a_status_may_be_an_http_status():
    assert started(status=http.HTTPStatus.NOT_FOUND).content(b"", False).startswith(b"HTTP/1.1 404 Not Found\r\n")


# What an app may not say leaves no trace:


def refused(error, *start):
    """`start` raises, and the response works as if that had not been."""
    answer = response(te=True)
    with pytest.raises(error):
        answer.start(*start)
    assert repr(answer) == "<Response - HELD>"
    assert answer.terms.keep_alive
    assert not answer.trailers
    answer.start(201, [(b"a", b"b")], False)
    assert answer.content(b"hi", False) == b"HTTP/1.1 201 Created\r\na: b\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 1000])
def test_a_status_that_is_not_final_is_refused(status):
    refused(ValueError, status, [], False)


@pytest.mark.parametrize("status", ["200", b"200", 200.0, None])
def test_a6_a_status_that_is_no_int_is_refused(status):
    refused(ValueError, status, [], False)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b":status", b"a\r\nb", b"a\n", b"a\0", b"\xe4", b"(a)"])
def test_a_name_that_is_no_token_is_refused(name):
    refused(ValueError, 200, [(b"connection", b"close"), (name, b"")], False)


@pytest.mark.parametrize("name", [b"a", b"content-length", b"date"])
@pytest.mark.parametrize("value", [b"1\r\nb: c", b"1\n", b"1\r", b"1\0", b"\x01", b"1\x0b", b"1\x7f"])
def test_a_control_character_in_a_value_is_refused(name, value):
    refused(ValueError, 200, [(b"b", b"c"), (name, value)], True)


def test_the_error_names_the_bad_value():
    with pytest.raises(ValueError, match=r"header b'a': b'c\\n'"):
        response().start(200, [(b"a", b"b"), (b"a", b"c\n")], False)


def test_a_tab_and_obs_text_in_a_value_are_allowed():
    assert b"a: \t\xe9\xff\r\n" in started((b"a", b"\t\xe9\xff")).content(b"", False)


@pytest.mark.parametrize(
    "field",
    [
        ("a", b"b"),
        (b"a", "b"),
        (b"a", None),
        (b"a", 1),
        (b"a", bytearray(b"b")),
        (bytearray(b"a"), b"b"),
        (None, b"b"),
        (b"content-length", 1),
        (b"content-length", "1"),
        (b"connection", "close"),
        (b"transfer-encoding", "chunked"),
        (b"date", "now"),
        None,
        1,
    ],
    ids=repr,
)
def test_a6_a_header_that_is_not_bytes_is_refused(field):
    refused(TypeError, 200, [(b"a", b"b"), field], False)


def test_a6_headers_that_cannot_be_iterated_are_refused():
    refused(TypeError, 200, None, False)


# Early hints, E6:


def test_e6_early_hints_come_before_the_head_any_number_of_times():
    answer = response()
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\n\r\n"
    assert answer.early_hint([b"</a>; rel=preload", b"</b>"]) == hint
    answer.start(200, [], False)
    assert answer.early_hint(iter([b"</a>; rel=preload", b"</b>"])) == hint
    assert answer.content(b"hi", False) == OK + b"content-length: 2\r\n\r\nhi"


def test_e6_early_hints_after_the_head_or_to_http_1_0_are_dropped():
    assert response(version="1.0").early_hint([b"</a>"]) == b""
    stream = started()
    stream.content(b"", True)
    assert stream.early_hint([b"</a>"]) == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("links", "error"),
    [([b"</a>\r\nb: c"], ValueError), (["</a>"], TypeError), (b"</a>", TypeError), (None, TypeError)],
)
def test_e6_early_hints_are_checked_even_if_they_are_dropped(version, links, error):
    with pytest.raises(error):
        response(version=version).early_hint(links)


# Trailers, E7:


def test_e7_trailers_follow_the_last_chunk():
    stream = started(te=True, trailers=True)
    assert stream.trailers
    assert stream.content(b"hi", False) == OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n"
    assert stream.trailer_section([(b"A", b"b")], True) == b"a: b\r\n"
    assert stream.trailer_section([[b"C", b"d"], [b"E", b"f"]], False) == b"c: d\r\ne: f\r\n\r\n"


def test_e7_trailers_may_follow_content_without_data_and_be_none():
    stream = started(te=True, trailers=True)
    assert stream.content(b"", False) == OK + CHUNKED + b"\r\n0\r\n"
    assert stream.trailer_section([], False) == b"\r\n"


def test_e7_content_with_trailers_is_chunked_even_if_its_length_is_known():
    stream = started((b"content-length", b"2"), te=True, trailers=True)
    assert stream.content(b"hi", False) == OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n"


@pytest.mark.parametrize(("te", "trailers"), [(True, False), (False, True), (False, False)])
def test_e7_trailers_need_an_app_and_a_client_that_want_them(te, trailers):
    simple = started(te=te, trailers=trailers)
    assert simple.content(b"hi", False) == OK + b"content-length: 2\r\n\r\nhi"
    assert not simple.trailers


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_e7_no_trailers_follow_a_response_without_content(method, status):
    """The client would read them as the beginning of the next response."""
    answer = started(method=method, status=status, te=True, trailers=True)
    head = answer.content(b"hi", False)
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n") == 2
    assert not answer.trailers


@pytest.mark.parametrize(
    ("field", "error"),
    [((b"a", b"b\r\n"), ValueError), ((b"a b", b""), ValueError), ((b"a", "b"), TypeError), (("a", b"b"), TypeError)],
)
def test_e7_trailers_are_checked(field, error):
    stream = started(te=True, trailers=True)
    stream.content(b"hi", False)
    with pytest.raises(error):
        stream.trailer_section([(b"c", b"d"), field], False)
    assert stream.trailer_section([(b"c", b"d")], False) == b"c: d\r\n\r\n"


# Files, E4:


def test_e4_a_file_follows_a_head_with_its_size():
    answer = started()
    assert answer.file(5) == (OK + b"content-length: 5\r\n\r\n", 5)
    assert answer.framing is Framing.LENGTH
    assert answer.terms.keep_alive


def test_e4_a_length_of_the_app_may_be_a_part_of_the_file():
    answer = started((b"content-length", b"3"))
    assert answer.file(5) == (OK + b"content-length: 3\r\n\r\n", 3)


def test_e4_a_file_shorter_than_the_length_is_refused():
    answer = started((b"content-length", b"6"))
    with pytest.raises(RuntimeError, match="1 bytes short"):
        answer.file(5)
    assert answer.framing is Framing.HELD


def test_e4_a_file_after_other_content_is_refused():
    stream = started()
    stream.content(b"hi", True)
    with pytest.raises(RuntimeError, match="whole content"):
        stream.file(5)
    assert stream.content(b"", False) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "status", "head"),
    [
        ("HEAD", 200, OK + b"content-length: 5\r\n\r\n"),
        ("GET", 204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 304, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ],
)
def test_e4_no_file_follows_where_there_is_no_content(method, status, head):
    answer = started(method=method, status=status)
    assert answer.file(5) == (head, 0)
    assert answer.framing is Framing.NONE


def test_e4_no_trailers_follow_a_file():
    answer = started(te=True, trailers=True)
    assert answer.file(5) == (OK + b"content-length: 5\r\n\r\n", 5)
    assert not answer.trailers


def test_e4_a_file_to_http_1_0_has_its_length_too():
    answer = started(version="1.0")
    assert answer.file(5) == (OK + b"content-length: 5\r\nconnection: keep-alive\r\n\r\n", 5)


# Failures and refusals:

FAILURE = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\n"
    b"content-length: 26\r\nconnection: close\r\n\r\n500 Internal Server Error\n"
)


@pytest.mark.parametrize("make", [response, started], ids=["no-start", "started"])
def test_a8_an_app_that_fails_before_the_first_byte_gives_a_500(make):
    answer = make()
    assert answer.failure() == FAILURE
    assert not answer.terms.keep_alive
    assert repr(answer) == "<Response 500 LENGTH>"


def test_a8_a_failure_after_the_first_byte_says_nothing_and_closes():
    stream = started()
    stream.content(b"", True)
    assert stream.failure() == b""
    assert not stream.terms.keep_alive
    assert repr(stream) == "<Response 200 CHUNKED>"


def test_a8_a_failure_has_no_content_for_head():
    assert response(method="HEAD").failure() + b"500 Internal Server Error\n" == FAILURE


@pytest.mark.parametrize(
    "status", [400, 408, 413, 414, 431, 500, 501, 503, 505], ids=lambda status: http.HTTPStatus(status).name
)
def test_a_refusal_tells_no_more_than_its_status(status):
    text = b"%d %s" % (status, http.HTTPStatus(status).phrase.encode())
    head, _, content = refusal(status, PLAIN).partition(b"\r\n\r\n")
    assert content == text + b"\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 " + text,
        b"content-type: text/plain",
        b"content-length: %d" % len(content),
        b"connection: close",
    ]
    assert refusal(status, PLAIN, content=False) == head + b"\r\n\r\n"


# What is sent with every response:

DATE = b"date: Sun, 09 Sep 2001 01:46:40 GMT\r\n"
SERVER = b"server: miniasgi\r\n"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time that response.py sees."""
    seconds = SimpleNamespace(now=1_000_000_000.5)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: seconds.now))
    return seconds


def test_server_and_date_are_sent_unless_turned_off():
    assert HeaderLines().defaults() == SERVER + DATE
    assert HeaderLines(date=False).defaults() == SERVER
    assert HeaderLines(server=False).defaults() == DATE
    assert HeaderLines(server=False, date=False).defaults() == b""


def test_they_stand_before_the_apps_headers_and_in_refusals():
    answer = started((b"a", b"b"), defaults=HeaderLines())
    assert answer.content(b"", False) == OK + SERVER + DATE + b"a: b\r\ncontent-length: 0\r\n\r\n"
    assert SERVER + DATE in refusal(400, HeaderLines())


def test_they_are_rendered_once_a_second(clock):
    defaults = HeaderLines()
    first = defaults.defaults()
    clock.now += 0.4
    assert defaults.defaults() is first
    clock.now += 0.1
    assert defaults.defaults() == first.replace(b":40 GMT", b":41 GMT")


def test_headers_of_the_configuration_come_first_and_overrule_ours():
    extra = [(b"X-A", b"1"), (b"X-A", b"2")]
    assert HeaderLines(extra=extra).defaults() == b"x-a: 1\r\nx-a: 2\r\n" + SERVER + DATE
    assert HeaderLines(extra=[(b"Server", b"mine")]).defaults() == b"server: mine\r\n" + DATE
    assert HeaderLines(extra=[(b"Date", b"today")]).defaults() == b"date: today\r\n" + SERVER


def test_a_date_or_server_of_the_app_replaces_ours():
    defaults = HeaderLines(extra=[(b"x", b"y")])
    for name, rest in [(b"Date", SERVER), (b"Server", DATE)]:
        answer = started((name, b"own"), defaults=defaults)
        lines = b"x: y\r\n" + rest + name.lower() + b": own\r\ncontent-length: 0\r\n\r\n"
        assert answer.content(b"", False) == OK + lines
    both = started((b"date", b"1"), (b"server", b"2"), defaults=defaults)
    assert both.content(b"", False) == OK + b"x: y\r\ndate: 1\r\nserver: 2\r\ncontent-length: 0\r\n\r\n"
    assert defaults.defaults() == b"x: y\r\n" + SERVER + DATE


def test_a_field_is_judged_once():
    known = HeaderLines()
    first = known[b"X-Name", b"value"]
    assert first == b"x-name: value\r\n"
    assert known[b"X-Name", b"value"] is first


def test_an_app_that_invents_fields_does_not_fill_the_memory():
    known = HeaderLines()
    assert known[b"long", b"x" * 1000] == b"long: " + b"x" * 1000 + b"\r\n"
    assert len(known) == 0
    for number in range(5000):
        assert known[b"X-%d" % number, b""] == b"x-%d: \r\n" % number
    assert len(known) == 1024
    with pytest.raises(ValueError, match="invalid header name"):
        known[b"a b", b""]
    assert len(known) == 1024

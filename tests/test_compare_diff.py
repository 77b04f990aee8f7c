"""What is a difference, and what it is called."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.compare.diff import Difference, answered, diff_answers, diff_calls, plain_name
from miniasgi.compare.protocol import get
from miniasgi.compare.wire import Answer, replies
from miniasgi.compare.witness import Call


def reply(*lines: str, status: str = "200 OK", body: str = "hi", length: bool = True) -> bytes:
    lines = (*lines, f"content-length: {len(body)}") if length else lines
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", body]).encode("latin-1")


def answer(*data: bytes, closed: bool = False) -> Answer:
    raw = b"".join(data)
    return Answer(raw, replies(raw, get() * len(data), closed), closed)


def diff(left: Any, right: Any, answered: int = 99) -> list[tuple[str, str | None, str | None]]:
    sides = [side if isinstance(side, Answer) else answer(side) for side in (left, right)]
    found = diff_answers(sides[0], sides[1], answered)
    assert all(difference.level == "bytes" for difference in found)
    return [(difference.what, difference.left, difference.right) for difference in found]


PLAIN = reply()
LENGTH = "content-length"
CHUNKED = "transfer-encoding: chunked"


@pytest.mark.parametrize(
    "left, right, expected",
    [
        (PLAIN, PLAIN, []),
        (reply("date: a", "server: b"), reply("server: c", "date: d"), []),
        (reply("date: a"), PLAIN, [("header date", "*", None)]),
        (reply("a: 1"), PLAIN, [("header a", "1", None)]),
        (reply("a: 1"), reply("a: 2"), [("header a", "1", "2")]),
        (reply("a: 1"), reply("a: 1", "a: 2"), [("header a", "1", "1, 2")]),
        (reply("a:\t"), PLAIN, [("header a", "", None)]),
        (reply("a: \x1b"), PLAIN, [("header a", r"'\x1b'", None)]),
        (reply("a: 1", "b: 2"), reply("b: 2", "a: 1"), [("header order", f"a, b, {LENGTH}", f"b, a, {LENGTH}")]),
        (reply("a: 1"), reply("A: 1"), [("header case", "a", "A")]),
        (PLAIN, reply(status="404 Not Found"), [("status", "200", "404")]),
        (PLAIN, reply(status="200 Fine"), [("status line", "HTTP/1.1 200 OK", "HTTP/1.1 200 Fine")]),
        (PLAIN, reply(body="ho"), [("body", "hi", "ho")]),
        (
            reply(CHUNKED, body="2\r\nhi\r\n0\r\n\r\n", length=False),
            reply(CHUNKED, body="1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", length=False),
            [("chunks", "[2]", "[1, 1]")],
        ),
        (
            PLAIN,
            reply(CHUNKED, body="2\r\nhi\r\n0\r\n\r\n", length=False),
            [
                ("header content-length", "2", None),
                ("header transfer-encoding", None, "chunked"),
                ("framing", "content-length", "chunked"),
            ],
        ),
        (
            reply(CHUNKED, body="0\r\na: b\r\n\r\n", length=False),
            reply(CHUNKED, body="0\r\n\r\n", length=False),
            [("trailers", "a: b", "")],
        ),
        (PLAIN, PLAIN[:-1], [("end", "whole", "unfinished")]),
        (answer(PLAIN, closed=True), PLAIN, [("connection", "closed", "open")]),
        (PLAIN, answer(), [("replies", "200", "no reply")]),
        (answer(PLAIN, PLAIN), PLAIN, [("replies", "200, 200", "200")]),
        (answer(PLAIN, PLAIN), answer(PLAIN, reply(body="ho")), [("reply 2: body", "hi", "ho")]),
        (reply("a:  1"), reply("a: 1"), [("bytes", repr(reply("a:  1")), repr(reply("a: 1")))]),
    ],
)  # fmt: skip
def test_what_differs_on_the_wire(left: Any, right: Any, expected: list[Any]) -> None:
    assert diff(left, right) == expected
    assert sorted(diff(right, left)) == sorted((what, theirs, ours) for what, ours, theirs in expected)


def test_streams_that_were_cut_are_the_same_if_one_goes_on_like_the_other() -> None:
    one, more, other = (reply("a: b", body=body, length=False) for body in ("ab", "abab", "ba"))
    assert diff(one, more) == diff(more, one) == []
    assert diff(one, other) == [("body", "ab", "ba")]
    assert diff(one, answer(more, closed=True)) == [("end", "unfinished", "whole"), ("connection", "open", "closed")]
    streams = [call(START, ("send", BODY[1] | {"more_body": True})), call(START, ("send", BODY[1] | {"body": b"abab"}))]
    streams.append(call(*streams[0].messages, ("send", BODY[1] | {"more_body": True})))
    assert door(streams[0], streams[2]) == []
    assert door(streams[0], streams[1]) == [("send http.response.body.body", "b'ab'", "b'abab'")]


def test_long_bodies_are_shown_where_they_part() -> None:
    ((_, left, right),) = diff(reply(body="a" * 200 + "b"), reply(body="a" * 200 + "c"))
    assert (left, right) == ("..." + "a" * 10 + "b", "..." + "a" * 10 + "c")


def test_what_a_server_answers_by_itself_is_called_so() -> None:
    ours, theirs = (reply(status="400 Bad Request", body=body) for body in ("no", "oh"))
    assert diff(ours, theirs, answered=0) == [("own body", "no", "oh")]
    assert diff(ours, theirs, answered=1) == [("body", "no", "oh")]
    assert diff(answer(PLAIN, ours), answer(PLAIN, theirs), answered=1) == [("reply 2: own body", "no", "oh")]


def test_a_name_without_its_number() -> None:
    assert plain_name(Difference("bytes", "reply 12: own body", None, None)) == "own body"
    assert plain_name(Difference("asgi", "call 1: scope header a: b", None, None)) == "scope header a: b"


NAMES = st.text("abcXYZ-", min_size=1, max_size=5).map(lambda name: f"x{name}")
LINES = st.lists(st.tuples(NAMES, st.text("ab ,", max_size=4)).map(lambda pair: f"{pair[0]}: {pair[1]}"), max_size=5)


@given(LINES, st.text(max_size=20).map(lambda text: text.encode().decode("latin-1")), st.booleans())
def test_nothing_differs_from_itself(lines: list[str], body: str, closed: bool) -> None:
    same = answer(reply(*lines, body=body), closed=closed)
    assert diff(same, same) == []


@given(LINES, LINES)
def test_a_difference_is_one_from_both_sides_and_never_overlooked(left: list[str], right: list[str]) -> None:
    ours, theirs = reply(*left), reply(*right)
    found = diff(ours, theirs)
    assert (found == []) == (ours == theirs)
    assert {what for what, _, _ in found} == {what for what, _, _ in diff(theirs, ours)}


# At the app's door:

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "path": "/",
    "headers": [[b"host", b"a"]],
    "client": ["127.0.0.1", 5],
    "server": ["127.0.0.1", 80],
    "state": {"b": 1, "a": {"x": 2}},
}
REQUEST = ("receive", {"type": "http.request", "body": b"hi", "more_body": False})
START = ("send", {"type": "http.response.start", "status": 200, "headers": []})
BODY = ("send", {"type": "http.response.body", "body": b"ab"})
GONE = ("receive", {"type": "http.disconnect"})


def call(*messages: Any, **scope: Any) -> Call:
    return Call(SCOPE | scope, [*messages])


def door(left: Any, right: Any) -> list[tuple[str, str | None, str | None]]:
    sides = [side if isinstance(side, list) else [side] for side in (left, right)]
    return [(difference.what, difference.left, difference.right) for difference in diff_calls(*sides)]


@pytest.mark.parametrize(
    "left, right, expected",
    [
        (call(REQUEST, START, BODY), call(START, REQUEST, BODY), []),
        (call(client=["127.0.0.1", 6]), call(), []),
        (call(client=["127.0.0.1", "6"]), call(), [("scope.client", "['127.0.0.1', 'str']", "['127.0.0.1', 'int']")]),
        (call(state={"a": 3}), call(), [("scope.state", "['a']", "['a', 'b']")]),
        (call(path="/a"), call(), [("scope.path", "'/a'", "'/'")]),
        (call(extra=None), call(), [("scope.extra", "None", None)]),
        (call(asgi={"version": "3.0"}), call(), [("scope.asgi.spec_version", None, "'2.3'")]),
        (call(headers=[[b"host", b"b"]]), call(), [("scope header host", "b", "a")]),
        (call(headers=[[b"date", b"b"]]), call(headers=[[b"date", b"c"]]), []),
        ([call(), call()], call(), [("calls", "2", "1")]),
        ([call(), call(path="/a")], [call(), call()], [("call 2: scope.path", "'/a'", "'/'")]),
        (
            call(REQUEST),
            call(
                ("receive", {"type": "http.request", "body": b"h", "more_body": True}),
                ("receive", {"type": "http.request", "body": b"i"}),
            ),
            [],
        ),
        (call(REQUEST), call(), [("receive", "http.request", "nothing")]),
        (call(START), call(START, BODY), [("send", "http.response.start", "http.response.start, http.response.body")]),
        (call(START), call(("send", START[1] | {"status": 201})), [("send http.response.start.status", "200", "201")]),
        (call(("raised", {"type": "TypeError"})), call(), [("raised", "TypeError", "nothing")]),
        (call(START, BODY, GONE, ("raised", {"type": "OSError"})), call(START, BODY), []),
    ],
)  # fmt: skip
def test_what_differs_at_the_door(left: Any, right: Any, expected: list[Any]) -> None:
    assert door(left, right) == expected
    assert door(right, left) == [(what, theirs, ours) for what, ours, theirs in expected]


def test_a_call_has_answered_when_it_has_begun_to() -> None:
    assert answered([call(REQUEST, START, BODY), call(REQUEST), call()]) == 1


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=5), st.data())
def test_content_is_the_same_in_whatever_pieces_it_came(pieces: list[bytes], choice: st.DataObject) -> None:
    def sent(bodies: list[bytes]) -> Call:
        return call(
            START, *(("send", {"type": "http.response.body", "body": body, "more_body": True}) for body in bodies)
        )

    content = b"".join(pieces)
    cut = choice.draw(st.integers(0, len(content)))
    assert door(sent(pieces), sent([content[:cut], content[cut:]])) == []

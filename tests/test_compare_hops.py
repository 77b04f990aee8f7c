"""Hops of two servers beside each other; how they are asked is in test_compare_command."""

from typing import Any

import click
import pytest

from miniasgi.compare.hops import aligned, asked, shown, took
from miniasgi.xray.command import Question
from miniasgi.xray.model import Hop, Layer, Trace

BASE = 1_000_000


def trace(*hops: tuple[Layer, str, int, int]) -> Trace:
    found = [Hop(layer, name, BASE + start * 1000, BASE + end * 1000) for layer, name, start, end in hops]
    return Trace("a", 1, "", hops=found, done=True)


def steps(left: Trace, right: Trace) -> list[Any]:
    return [(step.row.name, shown(step.left), shown(step.right), step.parts) for step in aligned(left, right)]


CALL: tuple[Layer, str, int, int] = ("asgi", "await app", 10, 50)


def test_what_has_one_name_stands_in_one_line() -> None:
    left = trace(CALL, ("socket", "read", 1, 4), ("asgi", "receive", 11, 12), ("app", "queue", 13, 20))
    right = trace(CALL, ("asgi", "receive", 11, 14), ("app", "queue", 15, 16), ("gpu", "forward", 17, 19))
    assert steps(left, right) == [
        ("read", "3", "", False),  # nobody looks there, in other servers
        ("await app", "40", "40", False),
        ("receive", "1", "3", False),
        ("queue", "7", "1", False),
        ("forward", "", "2", True),
    ]


def test_numbers_in_a_name_do_not_matter() -> None:
    left, right = trace(("asgi", "batch of 4", 0, 1)), trace(("asgi", "batch of 12", 0, 1))
    assert steps(left, right) == [("batch of 4", "1", "1", False)]


def test_the_client_has_lines_of_its_own() -> None:
    left = trace(("client", "recv", 0, 60), CALL)
    right = trace(CALL, ("client", "recv", 45, 60))
    assert [name for name, *_ in steps(left, right)] == ["recv", "await app"]


def test_an_instant_takes_no_time() -> None:
    ((row, *_),) = aligned(trace(("asgi", "x", 5, 5)), trace(("asgi", "x", 5, 5)))
    assert row
    assert (took(row), shown(row)) == (0, ".")


@pytest.mark.parametrize(
    "words, expected",
    [
        ("/a", Question("GET", "/a")),
        ("GET /a", Question("GET", "/a")),
        ('POST /a {"b": "c d"}', Question("POST", "/a", data=b'{"b": "c d"}')),
    ],
)
def test_what_the_words_ask(words: str, expected: Question) -> None:
    found = asked(words)
    assert (found.method, found.target, found.data) == (expected.method, expected.target, expected.data)


def test_words_that_ask_nothing() -> None:
    with pytest.raises(click.UsageError):
        asked("G@T /")

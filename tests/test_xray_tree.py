"""Hops, nested by time and folded: every one in its place, none lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.xray.model import Hop, Trace
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.tree import busy, rows, wholes

from . import xray_samples as samples
from .xray_samples import hop, trace


def drawn(*hops: Hop, done: bool = True) -> list[str]:
    """The rows as indented names."""
    return [f"{'  ' * row.depth}{row.name}" for row in rows(trace(Recorder(), "GET /", *hops, done=done))]


@pytest.mark.parametrize(
    "hops, expected",
    [
        ([hop("asgi", "b", 5, 2), hop("asgi", "a", 0, 5)], ["a", "b"]),
        ([hop("asgi", "part", 2, 3), hop("asgi", "whole", 0, 5)], ["whole", "  part"]),
        ([hop("asgi", "whole", 0, 5), hop("asgi", "instant", 5)], ["whole", "  instant"]),
        ([hop("asgi", "a", 0, 5), hop("asgi", "overlaps", 3, 5)], ["a", "overlaps"]),
        ([hop("asgi", "outer", 0, 9), hop("app", "a", 1, 5), hop("app", "b", 3, 5)], ["outer", "  a", "  b"]),
        ([hop("asgi", "instant", 0), hop("asgi", "meanwhile", 0)], ["instant", "meanwhile"]),
        ([hop("asgi", "waits", 0, 9, waits=True), hop("app", "meanwhile", 1, 5)], ["waits", "meanwhile"]),
        ([hop("app", "thread's", 0, 9, thread="T"), hop("app", "loop's", 1, 5)], ["thread's", "loop's"]),
        ([hop("app", "a", 0, 9, thread="T"), hop("app", "b", 1, 5, thread="T")], ["a", "  b"]),
        ([hop("app", "loop's", 0, 9), hop("app", "thread's", 1, 5, thread="T")], ["loop's", "  thread's"]),
        ([hop("socket", "a", 0, 9), hop("client", "b", 1, 5)], ["a", "b"]),
        ([hop("client", "a", 0, 9), hop("socket", "b", 1, 5), hop("client", "c", 2, 5)], ["a", "  b", "  c"]),
    ],
)
def test_a_part_is_what_happens_meanwhile_and_can_be_one(hops: list[Hop], expected: list[str]) -> None:
    assert drawn(*hops) == expected


def test_what_lasts_contains_all_that_came_since() -> None:
    assert drawn(hop("asgi", "lasts", 0, None), hop("app", "part", 3, 2), done=False) == ["lasts", "  part"]


def test_what_repeats_is_one_row_where_it_came_first_and_its_parts_are_too() -> None:
    tokens = [made for n in range(4) for made in (hop("asgi", "send", n, 0.9), hop("socket", "write", n + 0.1, 0.1))]
    assert drawn(hop("asgi", "call", 0, 9), *tokens, hop("asgi", "last", 6, 1)) == [
        "call",
        "  send x 4",
        "    write x 4",
        "  last",
    ]


def test_three_of_a_kind_are_three_rows() -> None:
    assert drawn(*(hop("asgi", "send", n, 0.5) for n in range(3))) == ["send"] * 3


def test_of_events_of_the_parser_the_details_make_no_difference() -> None:
    assert drawn(*(hop("parser", f"event Body({n} bytes)", n) for n in range(5))) == ["event Body x 5"]


def test_what_failed_is_a_row_of_its_own() -> None:
    hops = [hop("asgi", "send", n, 0.5, failed=n == 2) for n in range(6)]
    assert drawn(*hops) == ["send x 5", "send"]


def test_a_layers_work_is_without_its_parts_of_other_layers_and_without_waiting() -> None:
    made = trace(
        Recorder(),
        "GET /",
        hop("asgi", "waits", 0, 900, waits=True),
        hop("fastapi", "endpoint", 0, 100),
        hop("app", "f()", 10, 50),
        hop("app", "g()", 20, 30),
        hop("gpu", "overlaps g()", 40, 15),
        hop("asgi", "send, which is waited for", 70, 5, waits=True),
        hop("app", "later", 300, 7),
        hop("gpu", "instant", 5),
    )
    assert busy(made) == {"fastapi": 45_000, "app": 52_000, "gpu": 15_000}


def test_what_lasts_works_until_the_trace_ends() -> None:
    assert busy(trace(Recorder(), "GET /", hop("app", "a", 5, None), hop("gpu", "b", 0, 20))) == {
        "app": 15_000,
        "gpu": 5_000,
    }


def test_a_trace_without_hops() -> None:
    empty = trace(Recorder(), "GET /")
    assert (rows(empty), wholes(empty), busy(empty)) == ([], [], {})


def test_hops_nested_deeper_than_python_is() -> None:
    made = trace(Recorder(), "GET /", *(hop("app", f"f{n}", n, 4000 - 2 * n) for n in range(1500)))
    assert [row.depth for row in rows(made)] == list(range(1500))
    assert len(wholes(made)) == 1500
    assert busy(made) == {"app": 4_000_000}


hops = st.builds(
    lambda layer, name, at, took, **extra: hop(layer, name, at, took, **extra),
    st.sampled_from(["client", "socket", "parser", "asgi", "app"]),
    st.sampled_from(["a", "b(1)", "b(2)"]),
    st.integers(0, 20),
    st.one_of(st.none(), st.integers(0, 12)),
    thread=st.sampled_from(["", "", "T", "U"]),
    waits=st.booleans(),
    failed=st.sampled_from([False, False, False, True]),
)
traces = st.builds(lambda hops: trace(Recorder(), "GET /", *hops), st.lists(hops, max_size=30))


def times(hop: Hop, made: Trace) -> tuple[int, int]:
    return hop.start_ns, made.end_ns if hop.end_ns is None else hop.end_ns


def could_contain(outer: Hop, inner: Hop) -> bool:
    """All that the tree promises, but for the times."""
    same_side = inner.layer != "client" or outer.layer == "client"
    return same_side and not outer.waits and outer.thread in ("", inner.thread)


@given(traces)
def test_every_hop_stands_in_one_row(made: Trace) -> None:
    shown = [id(hop) for row in rows(made) for hop in row.hops]
    assert sorted(shown) == sorted(map(id, made.hops))


@given(traces)
def test_a_part_stands_one_deeper_than_its_whole_and_after_it(made: Trace) -> None:
    place: dict[Any, tuple[int, int]] = {
        id(hop): (row.depth, n) for n, row in enumerate(rows(made)) for hop in row.hops
    }
    for part, whole in wholes(made):
        depth, number = place[id(part)]
        if whole is None:
            assert depth == 0
        else:
            assert depth == place[id(whole)][0] + 1
            assert number > place[id(whole)][1]


@given(traces)
def test_a_whole_contains_its_parts_and_may(made: Trace) -> None:
    for part, whole in wholes(made):
        if whole is not None:
            assert could_contain(whole, part)
            assert times(whole, made)[0] <= times(part, made)[0] <= times(part, made)[1] <= times(whole, made)[1]


@given(traces)
def test_whatever_could_be_a_part_is_one_of_the_narrowest(made: Trace) -> None:
    for part, whole in wholes(made):
        start, end = times(part, made)
        around = [
            times(other, made)[0]
            for other in made.hops
            if could_contain(other, part) and times(other, made)[0] < start and times(other, made)[1] > end
        ]
        if around:
            assert whole is not None
            assert times(whole, made)[0] >= max(around)


@given(traces)
def test_wholes_come_before_their_parts_and_all_hops_once(made: Trace) -> None:
    seen: set[int] = set()
    for part, whole in wholes(made):
        assert whole is None or id(whole) in seen
        seen.add(id(part))
    assert len(seen) == len(made.hops) == len(wholes(made))


@given(traces)
def test_no_layer_works_longer_than_its_hops_take(made: Trace) -> None:
    for layer, took in busy(made).items():
        spans = [times(hop, made) for hop in made.hops if hop.layer == layer and not hop.waits]
        assert 0 <= took <= sum(max(0, end - start) for start, end in spans)


def test_a_chat_fits_on_a_screen() -> None:
    assert len(rows(samples.chat(Recorder()))) <= 40

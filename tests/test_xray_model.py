"""What is kept of a request: copied when seen, cut, masked, and placed in the source."""

import asyncio
import functools
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from miniasgi.connection import Connection
from miniasgi.xray.model import MOST_BYTES, MOST_HOPS, Hop, Place, Trace, place_of, shown, thread_name


def test_a_message_that_changes_later_is_kept_as_it_was() -> None:
    trace, headers = Trace("0" * 32, 1, "-"), [(b"a", b"b")]
    hop = trace.begin("asgi", "send", headers=headers)
    headers.append((b"c", b"d"))
    assert hop.data == {"headers": "[(b'a', b'b')]"}


@given(st.binary(max_size=3 * MOST_BYTES))
def test_bytes_are_cut_and_counted(data: bytes) -> None:
    hop = Trace("0" * 32, 1, "-").begin("socket", "read", None, data)
    assert hop.raw is not None
    assert (len(hop.raw), hop.size) == (min(len(data), MOST_BYTES), len(data))


@given(
    st.recursive(
        st.text() | st.binary() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_becomes_a_text_of_a_bounded_length(value: object) -> None:
    assert len(shown(value)) <= MOST_BYTES


def test_a_repr_that_raises_or_is_endless_is_no_matter() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Hostile" in shown(Hostile())
    assert len(shown("x" * 10**6)) == MOST_BYTES
    assert len(shown([["y" * 10**5] * 10**4] * 10**3)) <= MOST_BYTES
    loop: list[object] = []
    loop.append(loop)
    assert "..." in shown(loop)


def test_a_trace_bounds_its_hops() -> None:
    trace = Trace("0" * 32, 1, "-")
    for _ in range(MOST_HOPS + 3):
        trace.instant("socket", "read")
    assert (len(trace.hops), trace.dropped) == (MOST_HOPS, 3)


def test_an_error_fails_a_hop_and_a_cancellation_does_not() -> None:
    trace = Trace("0" * 32, 1, "-")
    trace.end(cancelled := trace.begin("asgi", "receive"), asyncio.CancelledError())
    assert not trace.failed
    trace.end(trace.begin("asgi", "send"), ValueError("wrong"))
    assert trace.failed
    assert cancelled.data == {"cancelled": "CancelledError"}
    assert trace.hops[1].data == {"error": "ValueError('wrong')"}


def test_json_has_bytes_as_base64_and_all_that_a_list_shows() -> None:
    trace = Trace("ab" * 16, 7, "127.0.0.1:1", title="GET /", status=200)
    trace.end(trace.begin("socket", "read", Place(__file__, 3), b"GET /", scheme="http"))
    trace.done = True
    json = trace.json()
    assert (json["number"], json["status"], json["done"], json["failed"]) == (7, 200, True, False)
    [hop] = json["hops"]
    assert (hop["raw"], hop["size"], hop["where"]) == ("R0VUIC8=", 5, "tests/test_xray_model.py:3")
    assert json["end_ns"] == hop["end_ns"]


def test_a_trace_in_flight_ends_now() -> None:
    trace = Trace("0" * 32, 1, "-", hops=[Hop("socket", "read", 5, 6)])
    assert trace.end_ns > 6
    trace.done = True
    assert trace.end_ns == 6


class Callable:
    def __call__(self) -> None: ...


def test_the_place_of_whatever_can_be_called() -> None:
    line = Callable.__call__.__code__.co_firstlineno
    assert place_of(Callable()) == place_of(Callable.__call__) == Place(__file__, line)
    assert place_of(Callable) == Place(__file__, line - 1)
    assert str(place_of(Connection.write)).startswith("connection.py:")
    assert str(place_of(given)).startswith("hypothesis/core.py:")
    assert place_of(functools.partial(test_a_trace_bounds_its_hops)) == place_of(test_a_trace_bounds_its_hops)
    assert place_of(len) is None
    assert place_of(type("Made", (), {})) is None
    assert str(Place(str(Path.cwd() / "main.py"), 7)) == "main.py:7"


async def test_only_other_threads_have_a_name() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(thread_name()), name="worker")
    thread.start()
    thread.join()
    assert (thread_name(), found) == ("", ["worker"])

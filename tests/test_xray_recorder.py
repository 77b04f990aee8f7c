"""Which trace is whose, how long it is open, and how many are kept."""

import pytest

from miniasgi.xray.model import MOST_HOPS, Trace
from miniasgi.xray.recorder import MOST_HOPS_KEPT, Recorder, current, title_of

ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "value, adopted",
    [
        (f"00-{ID}-b7ad6b7169203331-01", True),
        (f"cc-{ID}-b7ad6b7169203331-01-what-the-future-is", True),
        (f"ff-{ID}-b7ad6b7169203331-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{ID}-{'0' * 16}-01", False),
        (f"00-{ID.upper()}-b7ad6b7169203331-01", False),
        ("nonsense", False),
    ],
)
def test_a_traceparent_is_adopted_if_it_is_one(value: str, adopted: bool) -> None:
    """W3C Trace Context, section 3.2."""
    trace = Recorder().begin("-", "GET /", [(b"traceparent", value.encode())])
    assert (trace.id == ID) is adopted
    assert len(trace.id) == 32


def test_a_trace_is_over_when_call_and_response_are() -> None:
    recorder, seen = Recorder(), list[bool]()
    trace, scope = recorder.begin("-", "GET /"), {"type": "http"}
    recorder.bind(scope, trace)
    assert recorder.trace_of(scope) is trace
    assert recorder.trace_of(dict(scope)) is None  # another one, that is equal
    recorder.listeners.add(lambda changed: seen.append(changed.done))
    recorder.settle(trace, "response")
    assert not trace.done
    recorder.settle(trace, "call")
    assert trace.done
    assert recorder.trace_of(scope) is None
    recorder.settle(trace, "call")
    assert seen == [True]


def test_one_that_nobody_answers_is_over_at_once() -> None:
    recorder = Recorder()
    recorder.settle(trace := recorder.begin("-", "(no request)"), "call", "response")
    assert trace.done


def test_the_oldest_that_is_over_goes_first() -> None:
    recorder = Recorder(kept=3)
    traces = [recorder.begin("-", f"GET /{number}") for number in range(3)]
    traces[1].done = True
    recorder.begin("-", "GET /3")
    assert [trace.title for trace in recorder.traces] == ["GET /0", "GET /2", "GET /3"]
    recorder.begin("-", "GET /4")  # all are in flight
    assert [trace.number for trace in recorder.traces] == [3, 4, 5]
    assert recorder.find(traces[0].id) is None
    assert recorder.find(traces[2].id) is traces[2]


def test_nobody_works_for_a_request_that_is_over() -> None:
    recorder = Recorder()
    trace = recorder.begin("-", "GET /")
    token = current.set(trace)
    try:
        assert recorder.active() is trace
        trace.done = True
        assert recorder.active() is None
    finally:
        current.reset(token)


def test_who_listens_hears_of_every_change_meanwhile() -> None:
    recorder, heard = Recorder(), list[Trace]()
    with recorder.listening(heard.append):
        trace = recorder.begin("-", "GET /")
        trace.instant("socket", "read")
    trace.instant("socket", "read")
    assert heard == [trace, trace]


def test_a_title_is_the_request_line() -> None:
    scope = {"method": "GET", "path": "/é", "raw_path": b"/%C3%A9", "query_string": b"a=b"}
    assert title_of(scope) == "GET /%C3%A9?a=b"
    assert title_of({"path": "/chat", "query_string": b""}) == "WebSocket /chat"
    assert Recorder().begin("-", "GET /?token=abcdef").title == "GET /?token=******"


def test_long_streams_are_kept_as_long_as_there_is_room() -> None:
    recorder = Recorder()
    for _ in range(50):
        trace = recorder.begin("-", "GET /stream")
        for _ in range(MOST_HOPS):
            trace.instant("asgi", "send http.response.body")
        recorder.settle(trace)
    assert len(recorder.traces) == MOST_HOPS_KEPT // MOST_HOPS + 1
    assert recorder.traces[-1] is trace


def test_what_is_not_kept_is_not_waited_for() -> None:
    """A trace whose taps are broken is never over."""
    recorder, scope = Recorder(kept=1), {"type": "http"}
    recorder.bind(scope, recorder.begin("-", "GET /1"))
    recorder.begin("-", "GET /2")
    assert recorder.trace_of(scope) is None
    assert not recorder._open

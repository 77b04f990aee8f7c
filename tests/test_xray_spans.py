"""Spans of OpenTelemetry, as the API calls them."""

import asyncio
import inspect
from typing import Any

from opentelemetry.trace import INVALID_SPAN, SpanContext, SpanKind

from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder, current
from miniasgi.xray.spans import XraySpan, XrayTracerProvider, traces_of

CONTEXT = SpanContext(1, 2, is_remote=False)


def span(trace: Trace, **attributes: Any) -> XraySpan:
    return XraySpan("work", SpanKind.INTERNAL, attributes, [trace], CONTEXT)


def test_attributes_may_have_any_name() -> None:
    trace, names = Trace("0" * 32, 1, "-"), ("hop", "self", "raw", "layer", "name", "where", "waits", "error", "data")
    made = span(trace, **dict.fromkeys(names, "seen"))
    made.add_event("event", dict.fromkeys(names, "seen"))
    work, event = trace.hops
    assert work.data == event.data == dict.fromkeys(names, "seen")
    assert (event.name, event.end_ns) == ("event", event.start_ns)


def test_a_name_is_masked_also_a_later_one() -> None:
    trace = Trace("0" * 32, 1, "-")
    span(trace).update_name("login(password='s3cr3t-password')")
    assert "s3cr3t" not in trace.hops[0].name


def test_what_is_no_link_is_no_error_of_the_app() -> None:
    tracer = XrayTracerProvider(Recorder()).get_tracer("app")
    assert tracer.start_span("work", attributes=5, links=7) is INVALID_SPAN


async def test_a_decorated_coroutine_function_stays_one() -> None:
    recorder = Recorder()
    tracer = XrayTracerProvider(recorder).get_tracer("test")

    @tracer.start_as_current_span("work")
    async def work() -> int:
        await asyncio.sleep(0)
        return len(trace.hops)

    trace = recorder.begin("-", "GET /")
    token = current.set(trace)
    try:
        assert await work() == 1
    finally:
        current.reset(token)
    assert inspect.iscoroutinefunction(work)
    assert [hop.name for hop in trace.hops] == ["work"]
    assert trace.hops[0].end_ns is not None


def test_a_span_that_links_elsewhere_is_its_requests_own() -> None:
    recorder = Recorder()
    trace = recorder.begin("-", "GET /")
    token = current.set(trace)
    try:
        elsewhere = SpanContext(1, 2, is_remote=True)
        assert traces_of(recorder, [elsewhere], None) == [trace]
    finally:
        current.reset(token)

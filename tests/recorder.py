"""A tracer provider of OpenTelemetry that keeps its spans, for tests of what an app records."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from examples.inference import spans


class Recorded(NonRecordingSpan):
    """A span: what it was told, as attributes."""

    def __init__(self, name: str, parent: SpanContext, number: int, attributes: Any, links: Any) -> None:
        super().__init__(SpanContext(parent.trace_id or number, number, False, TraceFlags(TraceFlags.SAMPLED)))
        self.name, self.parent, self.attributes = name, parent.span_id, dict(attributes or {})
        self.links = [link.context.span_id for link in links or ()]
        self.events, self.errors = list[tuple[str, Any]](), list[BaseException]()
        self.start, self.ended = time.time_ns(), None

    @property
    def id(self) -> int:
        return self.get_span_context().span_id

    def is_recording(self) -> bool:
        return self.ended is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def add_event(self, name: str, attributes: Any = None, timestamp: Any = None) -> None:
        self.events.append((name, attributes))

    def record_exception(self, exception: BaseException, *args: Any, **options: Any) -> None:
        self.errors.append(exception)

    def end(self, end_time: int | None = None) -> None:
        assert self.ended is None, "once only"
        self.ended = end_time or time.time_ns()


class Recorder(trace.TracerProvider, trace.Tracer):
    """Provider and tracer in one."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []
        self._numbers = itertools.count(1)

    def get_tracer(self, *args: Any, **options: Any) -> "Recorder":
        return self

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        *args: Any,
        **options: Any,
    ) -> Recorded:
        parent = trace.get_current_span(context).get_span_context()
        self.spans.append(span := Recorded(name, parent, next(self._numbers), attributes, links))
        return span

    @contextlib.contextmanager
    def start_as_current_span(self, name: str, *args: Any, **options: Any) -> Iterator[Recorded]:
        span = self.start_span(name)
        with trace.use_span(span, end_on_exit=True):
            yield span

    def named(self, name: str) -> list[Recorded]:
        return [span for span in list(self.spans) if span.name == name]


def recording(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Of everything in this process, until the end of the test. A global provider could be set only once."""
    recorder = Recorder()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorder)  # FastAPI asks at each request
    monkeypatch.setattr(spans, "tracer", recorder)
    return recorder

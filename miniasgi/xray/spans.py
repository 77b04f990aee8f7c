"""What FastAPI and the app tell of themselves through the OpenTelemetry API.

Owns a TracerProvider that turns spans into hops: API only, no SDK. FastAPI (from 0.142 on) reports its
own steps there, and an app whatever it likes. A span that links to others, such as that of one batch
for many requests, is a hop in the trace of each. If the app has brought an SDK, it keeps it, and we
read along. Knows nothing of the server.
"""

import importlib
import operator
import random
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, Tracer, TracerProvider

try:  # the API's own, which knows how to decorate an `async def`
    from opentelemetry.util._decorator import _agnosticcontextmanager as contextmanager
except ImportError:
    from contextlib import contextmanager  # type: ignore[assignment]

from ..types import Scope
from ..watchdog import is_apps
from .model import Hop, Layer, Place, Trace, place_of
from .quiet import quiet
from .recorder import Recorder

_ids = random.SystemRandom()
_FUNCTION = "code.function.name"
_SAMPLED = otel.TraceFlags(otel.TraceFlags.SAMPLED)


def install(recorder: Recorder) -> None:
    """Listens to OpenTelemetry from now on. Call it when the app has been imported: it may bring an SDK.

    RuntimeError if somebody else listens, and does not let us.
    """
    provider: Any = otel.get_tracer_provider()
    if isinstance(provider, otel.ProxyTracerProvider):  # nobody does yet; this can be done once in a process
        otel.set_tracer_provider(XrayTracerProvider(recorder))
    elif isinstance(provider, XrayTracerProvider):
        provider.recorder = recorder
    elif hasattr(provider, "add_span_processor"):
        base = importlib.import_module("opentelemetry.sdk.trace").SpanProcessor  # has what an SDK may call one day
        provider.add_span_processor(type("SpanReader", (SpanReader, base), {})(recorder))
    else:
        raise RuntimeError(f"the app has a {type(provider).__name__} that takes no span processor")


@quiet
def enter(recorder: Recorder, trace: Trace, scope: Scope) -> None:
    """Makes the spans of an app without FastAPI belong to the trace, too; call it in the app's task."""
    span = XraySpan("", SpanKind.SERVER, {}, [trace], _context(trace, recorder))
    otel_context.attach(otel.set_span_in_context(span))


class XrayTracerProvider(TracerProvider):
    """What `opentelemetry.trace.get_tracer_provider()` gives under the x-ray."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return XrayTracer(self)


class XrayTracer(Tracer):
    """Makes a span of hops, or one that does nothing for work that belongs to no request."""

    def __init__(self, provider: XrayTracerProvider) -> None:
        self._provider = provider

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        *args: Any,
        **options: Any,
    ) -> Span:
        return self._start(name, context, kind, attributes, links) or otel.INVALID_SPAN

    @quiet
    def _start(self, name: str, context: Any, kind: Any, attributes: Any, links: Any) -> Span:
        recorder = self._provider.recorder
        traces = traces_of(recorder, [link.context for link in links or ()], context)
        if not traces:
            return otel.INVALID_SPAN
        return XraySpan(name, kind, dict(attributes or {}), traces, _context(traces[0], recorder))

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, **options: Any) -> Iterator[Span]:
        names = ("end_on_exit", "record_exception", "set_status_on_exception")
        uses = {key: options.pop(key, True) for key in names}
        span = self.start_span(name, *args, **options)
        with otel.use_span(span, **uses):
            yield span


class XraySpan(Span):
    """A hop in each of its traces. That of FastAPI for a whole request is none: the call of the app is."""

    def __init__(
        self, name: str, kind: Any, attributes: dict[str, Any], traces: list[Trace], context: SpanContext
    ) -> None:
        self._name, self._context, self._traces, self._over = name, context, traces, False
        self._hops: list[Hop] = []
        if kind is not SpanKind.SERVER:
            where = _place(name, attributes)
            self._hops = [trace.begin(_layer(name), name, where) for trace in traces]
            self.set_attributes(attributes)
            if name == "fastapi.endpoint":
                self._tell_values()

    def get_span_context(self) -> SpanContext:
        return self._context

    def is_recording(self) -> bool:
        return not self._over

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    @quiet
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for trace, hop in zip(self._traces, self._hops, strict=False):
            trace.describe(hop, **{key: value for key, value in attributes.items() if key != _FUNCTION})
        if not self._hops and "http.route" in attributes:
            for trace in self._traces:
                _tell_route(trace, attributes["http.route"])

    @quiet
    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        for trace in self._traces:
            trace.describe(trace.instant(_layer(name), name, _apps_place()), **dict(attributes or {}))

    @quiet
    def update_name(self, name: str) -> None:
        for trace, hop in zip(self._traces, self._hops, strict=False):
            hop.name = trace.secrets.mask(name)

    @quiet
    def set_status(self, status: Any, description: str | None = None) -> None:
        if getattr(status, "status_code", status) is StatusCode.ERROR:
            for trace, hop in zip(self._traces, self._hops, strict=False):
                hop.failed = True
                trace.describe(hop, error=getattr(status, "description", description))

    @quiet
    def record_exception(self, exception: BaseException, *args: Any, **kwargs: Any) -> None:
        for trace, hop in zip(self._traces, self._hops, strict=False):
            trace.describe(hop, error=exception)

    @quiet
    def end(self, end_time: int | None = None) -> None:
        if not self._over:
            self._over = True
            for trace, hop in zip(self._traces, self._hops, strict=False):
                trace.end(hop)
                if end_time is not None:  # a GPU's, say, which is known only later
                    hop.end_ns = max(hop.start_ns, end_time - _ahead())

    def _tell_values(self) -> None:
        """What the dependencies gave is known once they are over: now."""
        if (data := _fastapis_data()) is not None:
            for trace in self._traces:
                for hop in reversed(trace.hops):
                    if hop.name == "fastapi.dependencies":
                        trace.describe(hop, values=data.values)
                        break


class SpanReader:
    """A span processor: reads what an SDK records, once it is over. Its times are those of the epoch."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._traces: dict[int, list[Trace]] = {}

    @quiet
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        traces = traces_of(self._recorder, [link.context for link in span.links], parent_context)
        ident = span.get_span_context().span_id
        if traces:
            self._traces[ident] = traces
            self._recorder.spans[ident] = traces[0]

    @quiet
    def on_end(self, span: Any) -> None:
        attributes = dict(span.attributes or {})
        for trace in self._traces.pop(span.get_span_context().span_id, ()):
            if span.kind is SpanKind.SERVER:
                _tell_route(trace, attributes.get("http.route"))
                continue
            start, end = span.start_time - _ahead(), span.end_time - _ahead()
            hop = Hop(_layer(span.name), trace.secrets.mask(span.name), start, end, where=_place(span.name, attributes))
            hop.failed = span.status.status_code is StatusCode.ERROR
            trace.describe(hop, **{key: value for key, value in attributes.items() if key != _FUNCTION})
            trace.add(hop)


def traces_of(recorder: Recorder, links: list[SpanContext], context: Any) -> list[Trace]:
    """Whose work a span is: of those that it links to; else of the present request, or of its parent span."""
    if linked := list(dict.fromkeys(trace for link in links if (trace := recorder.spans.get(link.span_id)))):
        return linked
    parent = otel.get_current_span(context).get_span_context()
    found = recorder.active() or recorder.spans.get(parent.span_id)
    return [found] if found is not None else []


def _context(trace: Trace, recorder: Recorder) -> SpanContext:
    """A new span's identity, by which links will find the trace."""
    span_id = _ids.getrandbits(64) or 1
    recorder.spans[span_id] = trace
    return SpanContext(int(trace.id, 16), span_id, is_remote=False, trace_flags=_SAMPLED)


def _ahead() -> int:
    """By how many nanoseconds the clock of the epoch is ahead of ours."""
    return time.time_ns() - time.perf_counter_ns()


def _tell_route(trace: Trace, route: Any) -> None:
    name = f"route matched: {route}"
    if route and all(hop.name != name for hop in trace.hops):
        trace.instant("fastapi", name)


def _layer(name: str) -> Layer:
    first = name.partition(".")[0]
    return "fastapi" if first == "fastapi" else "gpu" if first in ("gpu", "cuda") else "app"


def _place(name: str, attributes: Mapping[str, Any]) -> Place | None:
    """Of the endpoint, or of the function that a span names; else of the app's line that started it."""
    if name == "fastapi.endpoint" and (data := _fastapis_data()) and data.request is not None:
        return place_of(data.request.scope.get("endpoint"))
    if function := attributes.get(_FUNCTION):
        return _place_named(function)
    return None if name.startswith("fastapi.") else _apps_place()


def _fastapis_data() -> Any:
    """What FastAPI knows of the present request; None before 0.142."""
    return getattr(sys.modules.get("fastapi.telemetry"), "get_telemetry_data", lambda: None)()


def _place_named(function: str) -> Place | None:
    """Of `package.module.Class.method`; None for a function inside of a function, which has no address."""
    parts = function.split(".")
    for count in range(len(parts) - 1, 0, -1):
        if module := sys.modules.get(".".join(parts[:count])):
            try:
                return place_of(operator.attrgetter(".".join(parts[count:]))(module))
            except AttributeError:
                return None
    return None


def _apps_place() -> Place | None:
    """The innermost line on the stack that is the app's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_apps(frame.f_code.co_filename):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno) if frame is not None else None

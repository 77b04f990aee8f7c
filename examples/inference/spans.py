"""What OpenTelemetry is told of a batch: one span, with a link to every request that rides in it.

By the API alone, which records nothing by itself. Who wants to see it brings an SDK, or serves the
app with `miniasgi --xray`.
"""

from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext

tracer = trace.get_tracer("miniasgi.examples.inference")


def rider() -> SpanContext | None:
    """The current span, for the batches that its request will ride in; None if nobody records it."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def forward(riders: Iterable[SpanContext | None], attributes: Mapping[str, int]) -> Span:
    """Begins the span of a batch; it records nothing if nobody records a rider."""
    recorded = {rider.span_id: rider for rider in riders if rider is not None}  # who rides twice is linked once
    if not recorded:
        return INVALID_SPAN
    links = [Link(rider) for rider in recorded.values()]
    # A root, in an empty context: a batch is the child of no rider, as none of them comes before the others.
    return tracer.start_span("gpu.forward", Context(), attributes=attributes, links=links)

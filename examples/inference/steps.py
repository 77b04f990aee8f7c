"""A span for each step of transformers' continuous batching: who rode in it, and what the device took for it.

Owns the few names inside transformers that tell. Nobody has promised them to us: where one is missing
there is no span, and the model works as ever.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext

from .spans import forward, rider


class Steps:
    """Stands between the engine's thread and its model. Make it before the thread is started."""

    def __init__(self, manager: Any, new_event: Callable[[], Any] | None = None) -> None:
        """`new_event` makes CUDA's timing events; without, a step takes as long as the thread is in it."""
        self._manager = manager
        self._riders: dict[str, SpanContext] = {}
        self._clock = DeviceClock(new_event) if new_event is not None else None
        with suppress(AttributeError):
            # Not a hook of the model: a CUDA graph that is replayed does not call that.
            self._compute = manager._generation_step
            manager._generation_step = self._step
            if self._clock is not None:
                self._deliver = manager.output_router.deliver_batch
                manager.output_router.deliver_batch = self._settle_and_deliver

    def enter(self, number: str, prompt: int) -> None:
        """A request goes into the engine's queue, with so many tokens; called in its context."""
        if (context := rider()) is not None:
            self._riders[number] = context
            trace.get_current_span().add_event("model.queued", {"prompt.tokens": prompt} | self._waiting())

    def leave(self, number: str) -> None:
        self._riders.pop(number, None)

    def _waiting(self) -> dict[str, int]:
        try:
            scheduler = self._manager.batch_processor.scheduler
            return {"waiting": self._manager.input_queue.qsize() + len(scheduler.waiting_requests)}
        except AttributeError:  # another transformers
            return {}

    # In the engine's thread:

    def _step(self) -> None:
        """Once for each batch."""
        if not self._riders:  # nobody records
            self._compute()
            return
        span, stream = self._begun()
        if self._clock is None or span is INVALID_SPAN:
            with trace.use_span(span, end_on_exit=True):
                self._compute()
        else:
            with self._clock.timing(span, stream), trace.use_span(span):
                self._compute()

    def _begun(self) -> tuple[Span, Any]:
        """The span of the batch that is about to be computed, and the stream of the device that will do it."""
        try:
            batch = self._manager.batch_processor.inputs_and_outputs
            stream = batch.compute_stream
            if hasattr(batch, "io_pairs"):  # two batches: while one is computed, the other is prepared
                batch = batch.io_pairs[batch.current_pair].host_io
            numbers = [request.state.request_id for request in batch.requests_in_batch]
            tokens = sum(request.query_length for request in batch.requests_in_batch)
        except (AttributeError, LookupError, TypeError):  # another transformers
            return INVALID_SPAN, None
        return forward(map(self._riders.get, numbers), {"batch.size": len(numbers), "batch.tokens": tokens}), stream

    def _settle_and_deliver(self, *arguments: Any) -> None:
        """There are tokens, so their step is done: its span ends before anybody reads them."""
        assert self._clock is not None
        self._clock.settle()
        self._deliver(*arguments)


class DeviceClock:
    """Times what is queued on a CUDA device, by events in its stream. Never waits for the device."""

    def __init__(self, new_event: Callable[[], Any]) -> None:
        self._new_event = new_event
        self._queued: deque[tuple[Span, int, Any, Any]] = deque()
        self._idle = 0  # since when the device is, in nanoseconds of the epoch

    @contextmanager
    def timing(self, span: Span, stream: Any) -> Iterator[None]:
        """Around what puts work into the stream. The span ends once the work is done and `settle` is called."""
        begin, end, now = self._new_event(), self._new_event(), time.time_ns()
        self.settle()
        try:
            begin.record(stream)
            yield
            end.record(stream)
        except BaseException:  # a device that fails has no time to tell
            span.end()
            raise
        self._queued.append((span, now, begin, end))

    def settle(self) -> None:
        """Ends the spans of all work that is done by now."""
        while self._queued and self._queued[0][-1].query():
            span, asked, begin, end = self._queued.popleft()
            took = begin.elapsed_time(end)
            # A stream does one thing after the other: each begins when it is asked for, or when the last one is done.
            self._idle = max(asked, self._idle) + int(took * 1e6)
            span.set_attribute("gpu.device_ms", took)
            span.end(self._idle)

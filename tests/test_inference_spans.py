"""What the inference app tells OpenTelemetry of its batches; transformers and CUDA are fakes here.

With the real model: in `test_inference_model.py`.
"""

import asyncio
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace

from examples.inference.embedder import Batcher
from examples.inference.steps import Steps

from .recorder import Recorder, recording
from .vocabulary import PATIENCE


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return recording(monkeypatch)


class Device:
    """What stands behind torch.cuda: a stream that does one thing after the other, when a test says so."""

    def __init__(self) -> None:
        self.queue, self.now = deque[Any](), 0.0  # milliseconds

    def compute(self, milliseconds: float) -> None:
        self.queue.append(milliseconds)

    def work(self, things: int) -> None:
        for _ in range(things):
            thing = self.queue.popleft()
            if isinstance(thing, Event):
                thing.time = self.now
            else:
                self.now += thing

    def event(self) -> "Event":
        return Event(self)


class Event:
    def __init__(self, device: Device) -> None:
        self.device, self.time = device, None

    def record(self, stream: Any) -> None:
        assert stream == "the stream"
        self.device.queue.append(self)

    def query(self) -> bool:
        return self.time is not None

    def elapsed_time(self, end: Any) -> float:
        return end.time - self.time


class Manager:
    """As much of transformers' as `Steps` has to do with."""

    def __init__(self, in_pairs: bool = False) -> None:
        self.input_queue = SimpleNamespace(qsize=lambda: 2)
        self.output_router = SimpleNamespace(deliver_batch=lambda outputs: self.delivered.append(outputs))
        self.batch = SimpleNamespace(requests_in_batch=[], compute_stream="the stream")
        batches = self.batch
        if in_pairs:
            pairs = [SimpleNamespace(host_io=None), SimpleNamespace(host_io=self.batch)]
            batches = SimpleNamespace(io_pairs=pairs, current_pair=1, compute_stream="the stream")
        scheduler = SimpleNamespace(waiting_requests={"a": 1})
        self.batch_processor = SimpleNamespace(inputs_and_outputs=batches, scheduler=scheduler)
        self.delivered, self.steps = list[Any](), 0

    def _generation_step(self) -> None:
        self.steps += 1

    def step(self, **tokens: int) -> None:
        """One of these requests, with so many tokens each."""
        self.batch.requests_in_batch = [
            SimpleNamespace(state=SimpleNamespace(request_id=name), query_length=length)
            for name, length in tokens.items()
        ]
        self._generation_step()


def enter(steps: Steps, recorder: Recorder, *names: str) -> list[Any]:
    """Requests go in; their spans."""
    found = []
    for name in names:
        with trace.use_span(recorder.start_span(name)) as span:
            steps.enter(name, 7)
        found.append(span)
    return found


@pytest.mark.parametrize("in_pairs", [False, True])
def test_a_step_is_a_span_with_a_link_to_each_rider(in_pairs: bool, recorder: Recorder) -> None:
    manager = Manager(in_pairs)
    steps = Steps(manager)
    a, b, c = enter(steps, recorder, *"abc")
    assert a.events == [("model.queued", {"prompt.tokens": 7, "waiting": 3})]
    manager.step(a=7, b=5)
    steps.leave("a")
    manager.step(a=1, b=1, c=3)  # the engine may not know yet that a has left
    steps.leave("b")
    manager.step(c=1)
    found = recorder.named("gpu.forward")
    assert [span.links for span in found] == [[a.id, b.id], [b.id, c.id], [c.id]]
    assert [span.attributes["batch.size"] for span in found] == [2, 3, 1]
    assert [span.attributes["batch.tokens"] for span in found] == [12, 5, 1]
    assert all(span.ended and not span.parent for span in found)
    assert manager.steps == 3


def test_nothing_is_recorded_for_those_whom_nobody_records(recorder: Recorder) -> None:
    manager = Manager()
    steps = Steps(manager)
    steps.enter("x", 7)  # there is no span
    manager.step(x=7)
    [a] = enter(steps, recorder, "a")
    manager.step(x=1)  # a still waits
    manager.step(x=1, a=7)
    [found] = recorder.named("gpu.forward")
    assert (found.links, found.attributes) == ([a.id], {"batch.size": 2, "batch.tokens": 8})
    assert manager.steps == 3


@pytest.mark.parametrize("lost", ["batch_processor", "input_queue", "output_router"])
def test_another_transformers_works_as_ever(lost: str, recorder: Recorder) -> None:
    manager = Manager()
    delattr(manager, lost)
    steps = Steps(manager, Device().event if lost == "output_router" else None)
    enter(steps, recorder, "a")
    manager.step(a=7)
    assert manager.steps == 1
    assert len(recorder.named("gpu.forward")) == (lost != "batch_processor")


def test_a_thread_without_steps_is_left_alone(recorder: Recorder) -> None:
    Steps(SimpleNamespace()).enter("a", 7)


def test_a_step_that_fails_says_so(recorder: Recorder) -> None:
    for new_event in (None, Device().event):
        manager = Manager()
        manager._generation_step = lambda: 1 / 0
        steps = Steps(manager, new_event)
        enter(steps, recorder, "a")
        with pytest.raises(ZeroDivisionError):
            manager.step(a=7)
    for span in recorder.named("gpu.forward"):
        assert span.ended
        assert [type(error) for error in span.errors] == [ZeroDivisionError]


# CUDA:


def test_the_device_takes_the_time_and_nobody_waits_for_it(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches at a time, as with CUDA graphs: a step returns long before the device is done."""
    monkeypatch.setattr("examples.inference.steps.time", SimpleNamespace(time_ns=lambda: 1_000))
    device, manager, milliseconds = Device(), Manager(in_pairs=True), iter((30.0, 50.0, 20.0))
    manager._generation_step = lambda: device.compute(next(milliseconds))
    steps = Steps(manager, device.event)
    enter(steps, recorder, "a")
    manager.step(a=7)
    manager.step(a=1)
    first, second = recorder.named("gpu.forward")
    assert (first.ended, second.ended) == (None, None)
    device.work(3)
    assert first.ended is None, "nobody asked"
    manager.output_router.deliver_batch("tokens")
    assert manager.delivered == ["tokens"]
    assert first.attributes == {"batch.size": 1, "batch.tokens": 7, "gpu.device_ms": 30.0}
    assert first.ended == 1_000 + 30e6
    assert second.ended is None
    device.work(3)
    manager.step(a=1)
    assert second.attributes["gpu.device_ms"] == 50.0
    assert second.ended - first.ended == 50e6, "it was asked for before the first one was done"
    assert recorder.named("gpu.forward")[-1].ended is None


def test_nobody_asks_the_device_when_nobody_records() -> None:
    device, manager = Device(), Manager()
    steps = Steps(manager, device.event)
    steps.enter("a", 7)
    manager.step(a=7)
    manager.output_router.deliver_batch("tokens")
    assert (list(device.queue), manager.steps, manager.delivered) == ([], 1, ["tokens"])


# Embeddings:


async def test_a_batch_of_texts_is_a_span_with_a_link_to_each_caller(recorder: Recorder) -> None:
    begun, go, current = threading.Event(), threading.Event(), list[Any]()

    def work(texts: list[str]) -> list[list[float]]:
        current.append(trace.get_current_span())
        begun.set()
        assert go.wait(PATIENCE)
        return [[float(text)] for text in texts]

    embed = Batcher(work)
    callers = []

    async def call(*texts: str) -> None:
        with recorder.start_as_current_span("caller") as span:
            callers.append(span)
            await embed(texts)

    first = asyncio.create_task(call("0"))
    await asyncio.to_thread(begun.wait, PATIENCE)
    others = [asyncio.create_task(call("1", "2")), asyncio.create_task(call("3")), asyncio.create_task(embed(["4"]))]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others)
    await embed(["5"])  # nobody records that
    alone, together = recorder.named("gpu.forward")
    assert [alone.links, together.links] == [[callers[0].id], [caller.id for caller in callers[1:]]]
    assert (alone.attributes, together.attributes) == ({"batch.size": 1}, {"batch.size": 4})
    assert current == [alone, together, trace.INVALID_SPAN]
    assert all(span.ended and not span.parent for span in (alone, together))

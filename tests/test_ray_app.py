"""The inference app under Ray Serve: skipped without `pip install 'ray[serve]'`, which nothing else needs.

A real cluster on this machine, in processes of its own, with a model of random weights: what is said does not matter.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from websockets.sync.client import connect

from .vocabulary import PATIENCE, eventually

if find_spec("ray") is None or find_spec("torch") is None:
    pytest.skip("ray or torch is not installed", allow_module_level=True)

URL = "http://127.0.0.1:8000"
STARTING = 120.0  # seconds: Ray starts half a dozen processes
RUN = [sys.executable, "-m", "ray.serve.scripts", "run", "examples.inference.ray_app:app"]


def make_model(folder: Path) -> None:
    """A model of random weights that never ends by itself, and a tokenizer of bytes."""
    code = f"""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE(dict(zip(letters, range(256))), []))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
fast.chat_template = "{{% for message in messages %}}{{{{ message.content }}}}{{% endfor %}}"
fast.save_pretrained({str(folder)!r})
shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
config = LlamaConfig(vocab_size=256, max_position_embeddings=8192, eos_token_id=None, bos_token_id=None, **shape)
LlamaForCausalLM(config).save_pretrained({str(folder)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=STARTING)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("ray") / "tiny"
    make_model(folder)
    environment = os.environ | {"APP_MODEL": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "log").open("w") as log, httpx.Client(base_url=URL, timeout=PATIENCE) as client:
        process = subprocess.Popen(RUN, env=environment, cwd=Path(__file__).parent.parent, stdout=log, stderr=log)
        try:
            eventually(lambda: process.poll() is not None or "is ready at" in (folder / "log").read_text(), STARTING)
            assert process.poll() is None, (folder / "log").read_text()
            yield client
        finally:
            process.terminate()
            process.wait(STARTING)


@pytest.fixture(scope="module")
def asking(client: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=PATIENCE) as asking:
        yield asking


ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}


def in_progress(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("requests_in_progress "))


def test_a_replica_gets_requests_when_its_model_is_loaded(client: httpx.Client) -> None:
    assert client.get("/ready").json() == {"status": "ready"}


def test_an_answer_whole(asking: openai.OpenAI) -> None:
    answer = asking.chat.completions.create(**ASK, max_tokens=20)
    assert (answer.choices[0].finish_reason, answer.usage and answer.usage.completion_tokens) == ("length", 20)


def test_a_stream_comes_in_pieces(asking: openai.OpenAI) -> None:
    chunks, times = [], []
    for chunk in asking.chat.completions.create(**ASK, max_tokens=500, stream=True):
        chunks.append(chunk)
        times.append(time.monotonic())
    assert chunks[-1].choices[0].finish_reason == "length"
    assert len(set(times)) > 10, "and not all at once"


def test_a_mistake_is_a_400(asking: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        asking.chat.completions.create(**ASK, max_tokens=-1)


def test_a_client_that_leaves_a_stream_frees_the_engine(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/chat/completions", json=ASK | {"stream": True, "max_tokens": 8000}) as reply:
        lines = reply.iter_lines()
        assert next(lines).startswith("data: ")
        with httpx.Client(base_url=URL, timeout=PATIENCE) as other:
            assert in_progress(other) == 1
    eventually(lambda: in_progress(client) == 0)


def test_a_conversation_can_be_interrupted(client: httpx.Client) -> None:
    with connect(URL.replace("http", "ws") + "/v1/chat/ws") as socket:
        socket.send(json.dumps({"type": "message", "content": "Hello", "temperature": 0}))
        assert json.loads(socket.recv(PATIENCE))["type"] == "token"
        socket.send('{"type": "stop"}')
        while (heard := json.loads(socket.recv(PATIENCE)))["type"] == "token":
            continue
        assert heard["finish_reason"] == "interrupted"
    eventually(lambda: in_progress(client) == 0)

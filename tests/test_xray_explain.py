"""A sentence for each kind of hop."""

import re
from typing import get_args

import pytest

from miniasgi.xray.explain import _SENTENCES, explain
from miniasgi.xray.model import Hop, Layer
from miniasgi.xray.recorder import Recorder

from . import xray_samples as samples

LAYERS = get_args(Layer)
# What the taps name their hops; those of the samples come with them.
NAMES = [
    ("client", "message received 'hi'"),
    ("client", "close 1000 sent"),
    ("socket", "pause reading"),
    ("socket", "resume writing"),
    ("socket", "client left: it sends no more"),
    ("socket", "the client closes"),
    ("socket", "closed"),
    ("parser", "event str"),
    ("parser", "event Ping"),
    ("parser", "event CloseConnection"),
    ("parser", "event BadRequest(400: no host)"),
    ("server", "drain: the client reads slowly"),
    ("server", "refused: 413: too much"),
    ("server", "want_body: the app waits for content"),
    ("server", "sendfile: 10 bytes from the disk to the socket"),
    ("server", "finished"),
    ("asgi", "receive"),
    ("asgi", "receive websocket.connect"),
    ("asgi", "send websocket.accept"),
    ("asgi", "send websocket.http.response.start"),
    ("middleware", "GZipMiddleware"),
    ("fastapi", "fastapi.serialization"),
    ("fastapi", "fastapi.background_task"),
    ("pydantic", "construct Answer"),
    ("app", "quota() -> worker thread"),
]


def general(layer: Layer) -> str:
    return explain(Hop(layer, "something that nobody has thought of", 0))


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_has_a_sentence_for_all_else(layer: Layer) -> None:
    assert general(layer)
    assert list(_SENTENCES[layer])[-1] == ""


@pytest.mark.parametrize("sample", [samples.chat, samples.refused, samples.crashed])
def test_what_traces_have_is_explained(sample: object) -> None:
    for hop in sample(Recorder()).hops:  # type: ignore[operator]
        assert explain(hop) != general(hop.layer) or hop.name == "tokenizer.encode", hop


@pytest.mark.parametrize("layer, name", NAMES)
def test_what_the_taps_tell_is_explained(layer: Layer, name: str) -> None:
    assert explain(Hop(layer, name, 0)) != general(layer)


def test_sentences_are_sentences() -> None:
    assert list(_SENTENCES) == list(LAYERS)
    found = [text for table in _SENTENCES.values() for text in table.values()]
    assert len(set(found)) == len(found)
    for text in found:
        assert re.fullmatch(r"[A-Z][^\n]{30,200}\.", text), text
        assert "  " not in text


def test_no_beginning_hides_another() -> None:
    for table in _SENTENCES.values():
        for pattern in table:
            plain = re.sub(r"[\\$()]|\|.*", "", pattern)
            if re.fullmatch(r"[\w. ]+", plain) and pattern.isascii() and "*" not in pattern:
                name = plain + ("(" if pattern.endswith(r"\(") else "")
                assert next(each for each in table if re.match(each, name)) == pattern, name

"""Pydantic's plugin, called as Pydantic calls it. (`test_xray_fastapi` has it called by Pydantic.)"""

import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.plugin import SchemaTypePath

from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder, current
from miniasgi.xray.validation import Plugin, announce, plugin


class Prompt(BaseModel):
    text: str


@pytest.fixture
def trace() -> Iterator[Trace]:
    recorder = Recorder()
    trace = recorder.begin("-", "POST /")
    token = current.set(trace)
    yield trace
    current.reset(token)


def watcher(kind: Any, name: str = "Prompt") -> Any:
    made = Plugin()
    made.recorder = Recorder()
    python, json, strings = made.new_schema_validator({}, kind, SchemaTypePath("main", name), "BaseModel", None, {})
    assert python is json is strings
    return python


@pytest.mark.parametrize(
    "kind, label",
    [
        (Prompt, "Prompt"),
        (Annotated[Prompt, Field(alias="prompt")], "prompt: Prompt"),
        (Annotated[int | None, Field(ge=1), Field(alias="top_k")], "top_k: int | None"),
        (Annotated[int, Field(ge=1)], "int"),
        ("'something' made in C", "Named"),
    ],
)
def test_what_is_validated_has_a_name(trace: Trace, kind: Any, label: str) -> None:
    watching = watcher(kind, "Named")
    watching.on_enter({})
    watching.on_success({})
    assert trace.hops[0].name == f"validate {label}"


def test_a_model_that_is_made_by_hand_is_constructed(trace: Trace) -> None:
    watching = watcher(Prompt)
    watching.on_enter({"text": "a"}, self_instance=Prompt.model_construct())
    watching.on_success(Prompt(text="a"))
    [hop] = trace.hops
    assert (hop.name, hop.data) == ("construct Prompt", {"input": "{'text': 'a'}", "output": "Prompt(text='a')"})
    assert hop.where is not None
    assert hop.where.file == __file__


def test_each_error_with_its_place_in_the_input(trace: Trace) -> None:
    watching = watcher(Prompt)
    watching.on_enter([{"text": 1}, {}])
    with pytest.raises(ValidationError) as wrong:
        TypeAdapter(list[Prompt]).validate_python([{"text": 1}, {}])
    watching.on_error(wrong.value)
    [hop] = trace.hops
    assert hop.failed
    assert hop.data["error 1"] == "0.text: Input should be a valid string [string_type]"
    assert hop.data["error 2"] == "1.text: Field required [missing]"


def test_one_inside_of_another_and_one_that_raises(trace: Trace) -> None:
    outer, inner = watcher(Prompt, "Outer"), watcher(Prompt, "Inner")
    outer.on_enter(1)
    outer.on_enter(2)
    inner.on_enter(3)
    inner.on_exception(ZeroDivisionError())
    outer.on_success("two")
    outer.on_success("one")
    assert [hop.data.get("output") for hop in trace.hops] == ["one", "two", None]
    assert trace.hops[2].failed


def test_without_a_request_nothing_is_kept() -> None:
    watching = watcher(Prompt)
    watching.on_enter({})
    watching.on_success({})
    assert watching._plugin.recorder.traces == type(watching._plugin.recorder.traces)()


def test_it_is_announced_unless_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = sys.modules["pydantic.plugin._loader"]
    monkeypatch.setattr(loader, "_plugins", {})
    with pytest.raises(RuntimeError, match="in use before"):
        announce(Recorder())
    monkeypatch.setattr(loader, "_plugins", None)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    announce(recorder := Recorder())
    announce(recorder)
    [found] = [point for point in importlib.metadata.entry_points(group="pydantic") if point.name == "miniasgi-xray"]
    assert found.load() is plugin
    assert plugin.recorder is recorder
    assert importlib.metadata.version("miniasgi-xray") == "1"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("there-is-no-such-package")


def test_a_parameter_with_a_telling_name_is_hidden(trace: Trace) -> None:
    watching = watcher(Annotated[str, Field(alias="api_key")])
    watching.on_enter("s3cr3t")
    watching.on_success("s3cr3t")
    assert trace.hops[0].data == {"input": "******", "output": "******"}

"""Traces in files that other programs read: what they need to be true of them is."""

import base64
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from miniasgi.importer import ConfigError
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.saves import check_save_path, save
from miniasgi.xray.tree import wholes

from . import xray_samples as samples
from .test_xray_tree import traces
from .test_xray_waterfall import SAMPLES
from .xray_samples import BASE, hop, trace

ALL = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saves")


def saved(folder: Path, ending: str, *made: Trace) -> Any:
    path = folder / f"x{ending}"
    save(path, list(made))
    return json.loads(path.read_text("utf-8"))


# Paths:


@pytest.mark.parametrize("name", ["x.html", "x.perfetto.json", "x.otlp.json", "a.b.otlp.json"])
def test_an_ending_names_a_format(name: str, tmp_path: Path) -> None:
    check_save_path(tmp_path / name)


@pytest.mark.parametrize("function", [check_save_path, lambda path: save(path, [])])
@pytest.mark.parametrize("name", ["x", "x.json", "otlp.json", "x.html.txt", "x.OTLP.JSON.gz"])
def test_other_endings_are_a_mistake(name: str, function: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        function(tmp_path / name)
    assert str(raised.value).endswith(f"{name}: its name must end with .html, .perfetto.json, .otlp.json")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no directory .*missing$"):
        check_save_path(tmp_path / "missing" / "x.html")


def test_a_directory_in_the_files_place(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        check_save_path(path)


@pytest.mark.parametrize("there", [True, False])
def test_what_may_not_be_written(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "x.html", []
    if there:
        path.touch()
    monkeypatch.setattr("os.access", lambda where, mode: asked.append(where))  # root may write everywhere
    with pytest.raises(ConfigError, match="cannot be written"):
        check_save_path(path)
    assert asked == [path if there else tmp_path]


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_save_path(Path("x.html"))


def test_a_disk_that_fails_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot save the x-ray to .*x\.otlp\.json: No such file or directory$"):
        save(tmp_path / "gone" / "x.otlp.json", [])


def test_a_page_is_the_other_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = SimpleNamespace(saved_page=lambda traces: f"<b>{len(traces)} £</b>")
    monkeypatch.setitem(sys.modules, "miniasgi.xray.saved", page)
    save(tmp_path / "x.html", [samples.chat(Recorder())])
    assert (tmp_path / "x.html").read_text("utf-8") == "<b>1 £</b>"


# Perfetto:


def tracks(file: dict[str, Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """The events of each thread, in their order in the file."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in file["traceEvents"]:
        if event["ph"] != "M":
            found.setdefault((event["pid"], event["tid"]), []).append(event)
    return found


def assert_nested(file: dict[str, Any]) -> int:
    """Each begin has its end, inside of what began before it, and time goes on; gives how many there are."""
    count = 0
    for events in tracks(file).values():
        depth, now = 0, float("-inf")
        for event in events:
            assert event["ts"] >= now
            now = event["ts"]
            depth += {"B": 1, "E": -1, "i": 0}[event["ph"]]
            count += event["ph"] != "E"
            assert depth >= 0
        assert depth == 0
    return count


def durations(events: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Begins and ends matched as Perfetto does: an end is that of what began last."""
    stack: list[dict[str, Any]] = []
    found = []
    for event in events:
        if event["ph"] == "B":
            stack.append(event)
        elif event["ph"] == "E":
            begin = stack.pop()
            found.append((begin["name"], begin["ts"], event["ts"]))
    return found


@ALL
def test_begins_and_ends_balance_and_nest(sample: Any, folder: Path) -> None:
    made = sample(Recorder())
    assert assert_nested(saved(folder, ".perfetto.json", made)) == len(made.hops)


@settings(deadline=None)
@given(made=traces)
def test_they_do_whatever_overlaps(made: Trace, folder: Path) -> None:
    file = saved(folder, ".perfetto.json", made)
    assert assert_nested(file) == len(made.hops)
    shown = sorted(found for events in tracks(file).values() for found in durations(events))
    ends = [(hop, made.end_ns if hop.end_ns is None else hop.end_ns) for hop in made.hops]
    zero = made.start_ns
    expected = [
        (hop.name, (hop.start_ns - zero) / 1000, (end - zero) / 1000) for hop, end in ends if end > hop.start_ns
    ]
    assert shown == sorted(expected)


def test_each_trace_is_a_process_and_each_layer_and_thread_has_a_track(folder: Path) -> None:
    recorder = Recorder()
    file = saved(folder, ".perfetto.json", samples.chat(recorder), samples.crashed(recorder))
    names = [event["args"]["name"] for event in file["traceEvents"] if event["ph"] == "M"]
    assert names == [
        *("#1 POST /v1/chat/completions", "client", "socket", "parser", "server", "asgi", "fastapi"),
        *("app AnyIO worker thread", "pydantic", "app", "gpu Thread-3"),
        *("#2 GET /boom", "socket", "asgi", "app"),
    ]


def test_an_event_tells_what_the_hop_does(folder: Path) -> None:
    seen = hop("app", "f()", 5, 2, raw=b"\xff", size=9, data={"a": "1"}, where=samples.HERE, thread="T")
    [event, end] = next(iter(tracks(saved(folder, ".perfetto.json", trace(Recorder(), "GET /", seen))).values()))
    assert end == {"ph": "E", "ts": 2.0, "pid": 1, "tid": 1}
    assert event == {
        "ph": "B",
        "ts": 0.0,
        "name": "f()",
        "cat": "app",
        "args": {
            "a": "1",
            "bytes": r"b'\xff'",
            "size": 9,
            "code.file.path": samples.HERE.file,
            "code.line.number": 10,
            "thread.name": "T",
        },
        "pid": 1,
        "tid": 1,
    }


def test_an_instant_is_one_of_its_thread(folder: Path) -> None:
    made = trace(Recorder(), "GET /", hop("app", "now", 0))
    [[event]] = tracks(saved(folder, ".perfetto.json", made)).values()
    assert (event["ph"], event["s"]) == ("i", "t")


# OpenTelemetry:


def parsed(file: dict[str, Any]) -> ExportTraceServiceRequest:
    """As a collector reads it; ids are hex in OTLP's JSON, and base64 in protobuf's."""
    for span in spans_of(file):
        for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(file, ExportTraceServiceRequest())


def spans_of(file: dict[str, Any]) -> list[dict[str, Any]]:
    return file["resourceSpans"][0]["scopeSpans"][0]["spans"]


@ALL
def test_opentelemetry_can_read_it(sample: Any, folder: Path) -> None:
    made = sample(Recorder())
    request = parsed(saved(folder, ".otlp.json", made))
    spans = request.resource_spans[0].scope_spans[0].spans
    assert len(spans) == 1 + len(made.hops)
    assert {span.trace_id.hex() for span in spans} == {made.id}
    ids = [span.span_id for span in spans]
    assert len(set(ids)) == len(ids)
    assert {len(ident) for ident in ids} == {8}
    assert {span.parent_span_id for span in spans} <= {*ids, b""}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


def test_spans_of_several_traces_have_ids_of_their_own(folder: Path) -> None:
    recorder, header = Recorder(), [(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]
    made = [recorder.begin("", "GET /", header, [hop("app", "f()", 0)]) for _ in range(2)]
    ids = [(span["traceId"], span["spanId"]) for span in spans_of(saved(folder, ".otlp.json", *made))]
    assert len(set(ids)) == len(ids) == 4


@settings(deadline=None)
@given(made=traces)
def test_the_parents_are_those_of_the_tree(made: Trace, folder: Path) -> None:
    root, *spans = spans_of(saved(folder, ".otlp.json", made))
    assert "parentSpanId" not in root
    pairs = wholes(made)
    ids = {id(part): span["spanId"] for (part, _), span in zip(pairs, spans, strict=True)}
    for (_, whole), span in zip(pairs, spans, strict=True):
        assert span["parentSpanId"] == (root["spanId"] if whole is None else ids[id(whole)])


def test_times_are_those_of_the_epoch(folder: Path) -> None:
    now = time.perf_counter_ns()
    before = time.time_ns()
    made = trace(Recorder(), "GET /", hop("app", "f()", (now - BASE) / 1000, 5))
    root, span = spans_of(saved(folder, ".otlp.json", made))
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    assert end - start == 5000
    assert abs(start - before) < 1e9  # a clock may be set meanwhile, but not by that much
    assert (root["startTimeUnixNano"], root["endTimeUnixNano"]) == (str(start), str(end))


def test_a_span_tells_what_the_hop_does(folder: Path) -> None:
    seen = hop("client", "f()", 5, None, raw=b"\xff", size=9, data={"error": "E"}, where=samples.HERE, failed=True)
    request = parsed(saved(folder, ".otlp.json", trace(Recorder(), "GET /", seen)))
    root, span = request.resource_spans[0].scope_spans[0].spans
    assert json_format.MessageToDict(span.status) == {"code": "STATUS_CODE_ERROR", "message": "E"}
    assert (root.kind, span.kind) == (span.SPAN_KIND_SERVER, span.SPAN_KIND_CLIENT)
    assert {each.key: each.value.string_value or each.value.int_value for each in span.attributes} == {
        "miniasgi.layer": "client",
        "error": "E",
        "bytes": r"b'\xff'",
        "size": 9,
        "code.file.path": samples.HERE.file,
        "code.line.number": 10,
        "still": "running",
    }
    assert {each.key for each in root.attributes} == {"miniasgi.connection", "http.response.status_code"}

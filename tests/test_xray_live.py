"""The live page's server: who may ask it, what it says, and that it costs little."""

import asyncio
import gc
import json
import re
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from miniasgi.xray import live as live_module
from miniasgi.xray.live import Changes
from miniasgi.xray.model import Place
from miniasgi.xray.page import source_json, trace_json
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.tree import rows

from . import xray_samples as samples
from .live_pages import Live, hanging, living
from .vocabulary import Gate, eventually


@pytest.fixture
def live(loop: str, log: list[str]) -> Iterator[Live]:
    with living(loop) as live:
        yield live
    assert log == []  # nobody wants to read about the page's own requests


# Who may ask:


def test_the_page_comes_whole_and_allows_nothing_but_itself(live: Live) -> None:
    reply = live.ask()
    page = reply.body.decode()
    assert reply.status == 200
    assert reply.header(b"content-type") == b"text/html; charset=utf-8"
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    for word in ("https:", "innerHTML", "onclick=", "style=", "document.write", "eval("):
        assert word not in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert live.ask(method="HEAD").body == b""


def test_each_response_is_guarded(live: Live) -> None:
    for path in ("", "events", "trace/1", "nonsense"):
        head = live.ask(path, method="HEAD")
        assert head.header(b"x-content-type-options") == b"nosniff"
        assert head.header(b"referrer-policy") == b"no-referrer"
        assert head.header(b"cache-control") == b"no-store"
        assert head.header(b"cross-origin-resource-policy") == b"same-origin"
        policy = dict(
            rule.split(" ", 1) for rule in (head.header(b"content-security-policy") or b"").decode().split("; ")
        )
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy.pop("script-src"))
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy.pop("style-src"))
        assert policy == {
            "default-src": "'none'",
            "connect-src": "'self'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }


def test_it_takes_the_token(live: Live) -> None:
    token = live.path.strip("/")
    assert len(token) > 40
    for path in ("/", "/events", f"/{token}", f"/{token[:-1]}/", f"/{token}x/", "//", "/%C3%A9/", f"/x/{token}/"):
        assert live.connect().ask(live.request(path)).status == 404
    with living() as other:
        assert other.path != live.path


def test_it_is_known_by_its_own_names_alone(live: Live) -> None:
    for host in ("127.0.0.1:{}", "localhost:{}"):
        assert live.ask(host=host).status == 200
    for host in ("evil.example:{}", "127.0.0.1", "127.0.0.1:1{}", "localhost", "127.0.0.1.evil.example:{}", ""):
        assert live.ask(host=host).status == 403
    old = b"GET %b HTTP/1.0\r\n\r\n" % live.path.encode()
    assert live.connect().ask(old).status == 403


def test_it_can_only_be_read(live: Live) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        reply = live.ask(method=method)
        assert (reply.status, reply.header(b"allow")) == (405, b"GET, HEAD")


def test_it_listens_on_this_machine_alone(live: Live) -> None:
    assert live.page.address.startswith("http://127.0.0.1:")
    assert [sock.getsockname()[0] for sock in live.page._server.sockets] == ["127.0.0.1"]


# What it says:


def test_a_trace_has_rows_that_name_its_hops(live: Live) -> None:
    trace = samples.chat(live.recorder)
    found = live.json(f"trace/{trace.number}")
    assert found == live.json(f"trace/{trace.id}") == json.loads(json.dumps(trace_json(trace)))
    assert [(row["depth"], row["name"]) for row in found["rows"]] == [(row.depth, row.name) for row in rows(trace)]
    assert [[trace.hops[place] for place in row["hops"]] for row in found["rows"]] == [row.hops for row in rows(trace)]
    assert all(row["explanation"].endswith(".") for row in found["rows"])
    assert found["busy"]["asgi"] > 0
    assert live.page.url_of(trace) == f"{live.page.address}#{trace.id}"


def test_two_clients_may_send_the_same_id(live: Live) -> None:
    older, newer = samples.refused(live.recorder), samples.crashed(live.recorder)
    older.id = newer.id
    assert live.json(f"trace/{older.id}")["number"] == newer.number
    assert live.json(f"trace/{older.number}")["title"] == older.title


def test_what_is_not_kept_is_not_found(live: Live) -> None:
    for path in ("trace/1", "trace/", "trace", "trace/x/y", "stack/1", "nonsense/1", "events/", "source"):
        assert live.ask(path).status == 404
    samples.crashed(live.recorder)
    assert live.ask("nonsense/1").status == 404


def test_source_of_places_that_hops_name_and_no_other(live: Live) -> None:
    trace = samples.chat(live.recorder)
    place = next(hop.where for hop in trace.hops if hop.where)
    assert live.json(f"source?file={place.file}&line={place.line}") == source_json(place)
    trace.hops[0].where = Place("/no/such/file.py", 1)
    for query in (
        f"file={place.file}&line={place.line + 1}",
        f"file={place.file}&line=",
        "file=/etc/passwd&line=1",
        "file=/no/such/file.py&line=1",
        "line=1",
        "%FF",
    ):
        assert live.ask(f"source?{query}").status == 404


@pytest.mark.parametrize(
    "line, first, last",
    [
        (1, 1, 24),  # of no function: the lines around it
        (8, 6, 9),  # a function is whole, its decorator with it
        (6, 6, 9),
        (13, 12, 13),  # the inner one
        (15, 11, 15),  # the outer one
        (60, 48, 83),  # too long for that
        (100, None, None),
        (0, None, None),
    ],
)
def test_the_function_around_a_line(tmp_path: Any, line: int, first: int | None, last: int | None) -> None:
    file = tmp_path / "code.py"
    text = "import os\n\nX = 1\n\n\n@os.wrap\ndef one():\n    a = 1\n    return a\n\nasync def two():\n"
    text += "    def three():\n        return 3\n\n    return three\n\ndef long():\n" + "    pass\n" * 80
    file.write_text(text)
    found = source_json(Place(str(file), line))
    lines = text.splitlines()
    if first is None or last is None:
        assert found is None
    else:
        assert found == {"first": first, "line": line, "lines": lines[first - 1 : last]}


def test_lines_of_no_python(tmp_path: Any) -> None:
    file = tmp_path / "page.html"
    lines = ["<p>", "  def '''", "   <b>("]
    file.write_text("\n".join(lines))
    for line in (1, 2, 3):
        assert source_json(Place(str(file), line)) == {"first": 1, "line": line, "lines": lines}


def test_where_a_request_is_stuck(live: Live) -> None:
    trace = samples.chat(live.recorder, done=False)
    assert live.json(f"stack/{trace.number}") == []
    with hanging(live, trace):
        [chain] = live.json(f"stack/{trace.number}")
        assert [step["function"] for step in chain][:4] == ["stuck", "_drops", "_Well._wait", "Barrier.wait"]
        assert [step["is_apps"] for step in chain][:4] == [True, True, True, False]
        assert chain[0]["line"] == "async for _ in _drops(reached):"
        assert re.fullmatch(r"tests/live_pages\.py:\d+", chain[0]["where"])
    assert live.json(f"stack/{trace.number}") == []


# Events:


def test_events_begin_with_all_that_is_kept(live: Live) -> None:
    traces = [samples.refused(live.recorder), samples.crashed(live.recorder)]
    stream = live.stream()
    assert b"content-type: text/event-stream" in stream.head.lower()
    assert stream.next() == ("all", {"kept": 200, "requests": [trace.summary() for trace in traces]})
    samples.chat(live.recorder)
    name, [summary] = stream.next()
    assert (name, summary["number"], summary["title"]) == ("changed", 3, "POST /v1/chat/completions")


def test_changes_in_a_hurry_are_one_event(live: Live) -> None:
    trace, other = samples.chat(live.recorder, done=False), samples.crashed(live.recorder)
    stream = live.stream()
    assert stream.next()[0] == "all"

    def work() -> None:
        for number in range(1000):
            trace.title = f"change {number}"
            trace.changed(trace)
        other.changed(other)

    def hurry() -> None:  # threads of an app, while the loop has no time
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    live.call(hurry)
    name, summaries = stream.next()
    assert (name, [summary["number"] for summary in summaries]) == ("changed", [1, 2])
    assert summaries[0]["title"] == "change 999"
    trace.title = "the end"
    trace.changed(trace)
    assert stream.until(lambda summary: summary["title"] == "the end") == 1


def test_events_leave_a_pause_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, pauses = Gate(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await gate.wait()

    monkeypatch.setattr(live_module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    with living() as live:
        trace = samples.chat(live.recorder, done=False)
        stream = live.stream()
        stream.next()
        trace.changed(trace)
        stream.next()
        gate.reached()
        for number in range(100):
            trace.title = f"change {number}"
            trace.changed(trace)
        assert pauses == [0.1]
        gate.open()
        assert stream.next()[1][0]["title"] == "change 99"
        assert stream.client.buffer == b""


async def test_nothing_wakes_up_while_nothing_changes() -> None:
    changes, recorder = Changes(), Recorder()
    waiting = asyncio.ensure_future(changes.take())
    await asyncio.sleep(0)
    with recorder.listening(changes.note):
        trace = samples.crashed(recorder)
    assert await waiting == [trace]
    samples.crashed(recorder)
    again = asyncio.ensure_future(changes.take())
    assert asyncio.get_running_loop()._scheduled == []  # type: ignore[attr-defined]
    again.cancel()
    await asyncio.wait([again])


async def test_a_trace_that_is_gone_is_no_change() -> None:
    changes, recorder = Changes(), Recorder()
    waiting = asyncio.ensure_future(changes.take())
    changes.note(samples.crashed(Recorder()))
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.note(kept := samples.crashed(recorder))
    assert await waiting == [kept]


def test_nobody_is_told_once_the_loop_is_closed() -> None:
    async def begin() -> Changes:
        return Changes()

    asyncio.run(begin()).note(samples.crashed(Recorder()))


def test_a_reader_that_does_not_read_costs_no_memory(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_PAUSE", 0)
    stream = live.stream(SO_RCVBUF=4096)
    [connection] = live.page._service.connections

    def trace(size: int = 10000) -> Any:
        return live.recorder.begin("127.0.0.1:1", "GET /" + "x" * size)

    def until(condition: Callable[[], object]) -> None:
        def look() -> object:
            trace()
            return condition()

        eventually(look)

    until(lambda: not connection.writable)
    gone = weakref.ref(trace())
    for _ in range(250):
        trace(1)
    eventually(lambda: gc.collect() is not None and gone() is None)
    assert connection.transport.get_write_buffer_size() < 4_000_000
    assert len(live.recorder.traces) == 200
    assert stream.head


def test_a_reader_that_leaves_is_forgotten(live: Live) -> None:
    stream = live.stream()
    stream.next()
    assert len(live.recorder.listeners) == 1
    stream.client.close()
    eventually(lambda: not live.recorder.listeners and not live.page._service.tasks)


def test_to_stop_ends_streams_at_once(loop: str, log: list[str]) -> None:
    with living(loop) as live:
        streams = [live.stream() for _ in range(3)]
        for stream in streams:
            stream.next()
        live.run(live.page.stop())
        for stream in streams:
            stream.client.read_all()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", live.port)).close()
    assert not live.recorder.listeners
    assert not live.page._service.tasks
    assert not live.page._service.connections
    assert log == []

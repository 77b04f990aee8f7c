"""`miniasgi xray`: real runs, from the words to the picture; and what the words mean."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from miniasgi.xray.command import Question, _over, main, read_question
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.waterfall import columns

from .vocabulary import PATIENCE, spawned
from .xray_samples import trace

APP = """
import json
print("app imported")
asked = 0

async def app(scope, receive, send):
    global asked
    if scope["type"] == "lifespan":
        raise RuntimeError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        return
    asked += 1
    if scope["path"] == "/boom":
        raise ZeroDivisionError("on purpose")
    if scope["path"] == "/never":
        print("waits", flush=True)
        await receive()
        await receive()
        return
    headers = [(b"x-asked", b"%d" % asked)]
    status = 200
    if scope["path"] == "/loading" and asked < 3:
        status, headers = 503, [(b"retry-after", b"0")]
    body = (await receive())["body"]
    seen = {name.decode(): value.decode() for name, value in scope["headers"]}
    await send({"type": "http.response.start", "status": status, "headers": headers})
    seen |= {"asked": asked, "body": body.decode()}
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
"""


@pytest.fixture
def xray(tmp_path: Path) -> Iterator[Any]:
    """`xray(*words)` runs the command to its end."""
    (tmp_path / "main.py").write_text(APP)

    def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "miniasgi", "xray", *words]
        extra = {"PYTHONIOENCODING": "utf-8"} | environment
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | extra, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_a_picture_of_one_request(xray: Any, tmp_path: Path) -> None:
    saves = [word for name in ("x.perfetto.json", "x.otlp.json") for word in ("--xray-save", name)]
    done = xray("main:app", "/path?q=1", "-d", '{"a": "b"}', "--width", "100", *saves)
    assert (done.returncode, done.stderr) == (0, "")
    said, title, heading, *rows = done.stdout.splitlines()
    assert said == "app imported"
    assert re.match(r"#1 POST /path\?q=1 -> 200  [\d.]+ ms  connection 127\.0\.0\.1:\d+  trace [0-9a-f]+…$", title)
    assert heading.split() == ["at", "took", "hop", "data", "where"]
    picture = "\n".join(rows)
    for hop in ("client: connect()", "client: send", "read", "event Request(POST", "await app", "client: recv"):
        assert hop in picture
    assert all(columns(row) <= 100 for row in rows)
    assert rows[-2:] == ["saved to x.perfetto.json", "saved to x.otlp.json"]
    assert len(json.loads((tmp_path / "x.otlp.json").read_text())["resourceSpans"][0]["scopeSpans"][0]["spans"]) > 10


def test_json_tells_all_and_the_app_was_warm(xray: Any) -> None:
    done = xray("main:app", "PUT", "/", "-d", "words", "-H", "X-Api-Key: sesame-sesame", "--server-timing", "--json")
    assert done.returncode == 0
    trace = json.loads(done.stdout.removeprefix("app imported\n"))
    assert (trace["title"], trace["status"], trace["done"], trace["failed"]) == ("PUT /", 200, True, False)
    layers = {hop["layer"] for hop in trace["hops"]}
    assert {"client", "socket", "parser", "server", "asgi"} <= layers
    assert "sesame" not in done.stdout
    start = next(hop for hop in trace["hops"] if hop["name"] == "send http.response.start")
    assert "(b'x-asked', b'3')" in start["data"]["headers"]
    first, *others = sorted(trace["hops"], key=lambda hop: hop["start_ns"])
    assert first["name"] == "the whole exchange"
    assert all(hop["start_ns"] >= first["start_ns"] for hop in others)


def test_a_cold_app_is_asked_once(xray: Any) -> None:
    done = xray("main:app", "/", "--no-warm-up", "--json")
    assert "(b'x-asked', b'1')" in done.stdout


def test_an_app_that_is_still_loading_is_asked_again(xray: Any) -> None:
    done = xray("main:app", "/loading")
    assert " GET /loading -> 200 " in done.stdout


def test_a_websocket(xray: Any) -> None:
    done = xray("main:app", "/chat", "--ws", "hi", "--ws", "ho", "--no-warm-up", "--color")
    assert done.returncode == 0
    assert "\x1b[" in done.stdout
    plain = click.unstyle(done.stdout)
    for hop in ("#1 WebSocket /chat -> 1000 ", "message sent 'ho'", "message received 'HO'", "close 1000 received"):
        assert hop in plain


def test_an_app_that_fails_has_a_picture_and_says_so_once(xray: Any) -> None:
    done = xray("main:app", "/boom")
    assert done.returncode == 0  # it was answered
    assert " GET /boom -> 500 " in done.stdout
    assert "! raised ZeroDivisionError" in done.stdout
    assert done.stderr.count("the app failed") == 1


def test_no_answer_within_the_time(xray: Any) -> None:
    done = xray("main:app", "/never", "--timeout", "0.5", "--no-warm-up")
    assert done.returncode == 1
    assert "#1 GET /never -> " in done.stdout
    assert done.stderr == "Error: the exchange was not over within 0.5 s\n"


def test_a_request_that_is_none_has_the_clients_picture(xray: Any) -> None:
    done = xray("main:app", "/", "-H", "Content-Length: x", "--no-warm-up")
    assert done.returncode == 0
    assert "#1 GET / -> 400 " in done.stdout
    assert "client: recv" in done.stdout


@pytest.mark.parametrize(
    "words, status, sentence",
    [
        (["missing:app"], 1, "Error: module 'missing' not found"),
        (["main:app", "--lifespan", "on"], 3, "Application startup failed"),
        (["main:app", "--xray-save", "x.png"], 1, "its name must end with .html, .perfetto.json, .otlp.json"),
        (["main:app", "NO WAY"], 2, "'NO WAY' is no method"),
        (["main:app", "-d", "@missing"], 2, "cannot read missing: No such file or directory"),
    ],
)
def test_mistakes_are_a_sentence(xray: Any, words: list[str], status: int, sentence: str) -> None:
    done = xray(*words)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "client.py" not in done.stderr


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "miniasgi", "xray", "app:app", "/never", "--no-warm-up")
    with spawned(tmp_path, APP, command=command) as run:
        run.wait_for("waits", "stdout")
        run.signal(signal.SIGINT)
        assert run.process.wait(PATIENCE) == 130
        assert "Traceback" not in run.log


def test_an_interrupt_at_a_terminal_reaches_all_of_its_processes_and_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command, pipe = (sys.executable, "-m", "miniasgi", "xray", "app:app", "/never", "--no-warm-up"), subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        while run.stdout.readline() != "waits\n":
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)
        _, log = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "Traceback" not in log


async def test_a_trace_is_waited_for_until_it_is_over() -> None:
    recorder = Recorder()
    made = trace(recorder, "GET /", done=False)
    recorder.bind(scope := {}, made)
    over = asyncio.create_task(_over(recorder, made.id))
    await asyncio.sleep(0)
    recorder.settle(made, "call")
    await asyncio.sleep(0)
    assert not over.done()
    recorder.settle(made, "response")
    assert await over is made
    assert made.done
    assert recorder.trace_of(scope) is None


async def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniasgi.xray.command._LINGER", 0.01)
    made = trace(recorder := Recorder(), "GET /", done=False)
    assert await _over(recorder, made.id) is made
    assert not made.done
    assert recorder.listeners == set()


# The words:


def words(*given: str) -> Question:
    """What the arguments mean."""
    context = main.make_context("xray", ["main:app", *given])
    own = context.params
    return read_question(own["method"], own["target"], own["request_headers"], own["data"], own["messages"])


@pytest.mark.parametrize(
    "given, expected",
    [
        ([], Question("GET", "/")),
        (["/a"], Question("GET", "/a")),
        (["DELETE"], Question("DELETE", "/")),
        (["BREW", "/pot?a=b&c=%20"], Question("BREW", "/pot?a=b&c=%20")),
        (["GET", "/a b/ü"], Question("GET", "/a%20b/%C3%BC")),
        (["OPTIONS", "*"], Question("OPTIONS", "*")),
        (["-d", "hi"], Question("POST", "/", data=b"hi")),
        (["PUT", "/", "-d", ""], Question("PUT", "/", data=b"")),
        (["-H", "A: b", "-H", "C:d"], Question("GET", "/", headers=(("A", "b"), ("C", "d")))),
        (["/a", "--ws", "x", "--ws", ""], Question("GET", "/a", messages=["x", ""])),
    ],
)
def test_what_words_mean(given: list[str], expected: Question) -> None:
    found = words(*given)
    found.headers, expected.headers = list(found.headers), list(expected.headers)
    assert found == expected


def test_content_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\0")
    assert words("-d", f"@{tmp_path / 'x'}").data == b"\xff\0"


@pytest.mark.parametrize(
    "given",
    [
        ["G T"],
        ["-H", "no colon"],
        ["-H", "A B: c"],
        ["-H", "A: b\r\nC: d"],
        ["-H", "A: ☕"],
        ["--ws", "x", "-d", "y"],
        ["--timeout", "0"],
    ],
)
def test_words_that_mean_nothing(given: list[str]) -> None:
    with pytest.raises(click.UsageError):
        words(*given)


PLAIN = "text/plain; charset=utf-8"


def lines(question: Question) -> list[str]:
    return question.bytes(80, "a" * 32).decode("latin-1").split("\r\n")


def test_a_request_has_what_it_needs() -> None:
    assert lines(Question("GET", "/")) == [
        "GET / HTTP/1.1",
        "Host: 127.0.0.1:80",
        "Accept: */*",
        f"traceparent: 00-{'a' * 32}-{'a' * 16}-01",
        "",
        "",
    ]


@pytest.mark.parametrize("data, kind", [(b"{}", "application/json"), (b"{", PLAIN), (b"\xff", PLAIN)])
def test_content_is_declared(data: bytes, kind: str) -> None:
    assert lines(Question("POST", "/", data=data))[-4:-1] == [
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        "",
    ]


def test_headers_that_are_given_come_in_place_of_ours() -> None:
    found = lines(Question("POST", "/", [("host", "é"), ("Content-type", "x/y")], b"{}"))
    assert [line for line in found if line.lower().startswith(("host", "content-type"))] == [
        "host: é",
        "Content-type: x/y",
    ]
    assert found[-1] == "{}"


def test_the_project_says_what_its_options_are_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIASGI_DATA", "x")
    Path("pyproject.toml").write_text('[tool.miniasgi]\nheaders = [["a", "b"]]\nhttp = "h11"\nreload = true\n')
    assert words() == Question("GET", "/")
    assert main.make_context("xray", []).params["http"] == "h11"


def test_options_of_the_server_are_those_of_its_own_command() -> None:
    flags = [flag for param in main.params for flag in param.opts]
    assert len(flags) == len(set(flags))
    assert {"--loop", "--http", "--app-dir", "--factory", "--root-path", "--interface"} <= set(flags)

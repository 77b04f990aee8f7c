"""`miniasgi compare`: real servers, from the words to the exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from miniasgi.compare.command import main
from miniasgi.compare.protocol import PROTOCOL

ROOT = Path(__file__).parent.parent
APP = """
import sys, time

server = "uvicorn" if "uvicorn" in sys.modules else "miniasgi"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    path = scope["path"]
    if path == "/hang":
        while True:
            await receive()
    text = {"/who": server, "/number": str(time.time_ns())}.get(path, "hi")
    headers = [(b"content-length", b"%d" % len(text)), (b"x-path", scope["raw_path"])]
    if path == "/order" and server == "uvicorn":
        headers.reverse()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})

async def hangs(scope, receive, send):
    if scope["type"] != "lifespan":
        time.sleep(3600)  # and the server with it
    raise RuntimeError

def make():
    return app

if server == "uvicorn":
    only_in_one = 1
else:
    only_in_one = app
"""
CASES = "GET /\n###\nGET /who\n### order\nGET /order\n###\nGET /number\n### no Host\nGET / HTTP/1.1\nA: b\n\n"

Compare = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*words: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "miniasgi", "compare", *words]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """`compare(*words)` runs the command to its end, in a directory with an app and a file of cases."""
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "cases.http").write_text(CASES)
    return lambda *words: run(*words, cwd=tmp_path)


def test_each_difference_from_uvicorn_is_explained() -> None:
    done = run("examples.hello.main:app", "--timeout", "10")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"{len(PROTOCOL) + 4} cases: " in done.stdout  # the lifespan, and three paths
    assert " 0 unexplained; " in done.stdout


@pytest.mark.parametrize(("left", "right"), [("miniasgi:httptools", "miniasgi:h11"), ("uvicorn", "uvicorn")])
def test_nothing_differs_between_our_parsers_or_from_itself(left: str, right: str) -> None:
    done = run("examples.hello.main:app", "--left", left, "--with", right, "--timeout", "10")
    cases = len(PROTOCOL) + 4
    assert done.stdout.endswith(f"\n{cases} cases: {cases} equal, 0 explained, 0 unexplained\n")
    assert done.returncode == 0


def test_what_differs_is_named_and_what_varies_is_not(compare: Compare, tmp_path: Path) -> None:
    done = compare("main:app", "--cases", "cases.http", "--json", "--html", "page.html")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["summary"] == {"equal": 2, "explained": 2, "unexplained": 2}
    verdicts = {case["name"]: case["verdict"] for case in found["cases"]}
    assert verdicts == {
        "lifespan": "equal",
        "GET /": "equal",
        "GET /who": "unexplained",
        "order": "unexplained",
        "GET /number": "explained",
        "no Host": "explained",
    }
    named = {
        case["name"]: {one["what"] for one in case["differences"] if one["because"] is None} for case in found["cases"]
    }
    assert named["GET /who"] == {"body", "header content-length", "send http.response.body.body", *HEADERS}
    assert named["order"] == {"header order", *HEADERS}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(what in page for case in named.values() for what in case)


HEADERS = {"send http.response.start.headers"}


def test_one_request_hop_beside_hop(compare: Compare) -> None:
    done = compare("main:make", "--factory", "--cases", "cases.http", "--hops", "POST /a hi", "--json")
    hops = {hop["name"]: hop for hop in json.loads(done.stdout)["hops"]}
    for name in ("the whole exchange", "await app(scope, receive, send)", "send http.response.start"):
        assert hops[name]["left"] > 0
        assert hops[name]["right"] > 0
    assert hops["read"]["right"] is None


def test_an_app_that_hangs_does_not_hang_us(compare: Compare) -> None:
    done = compare("main:hangs", "--timeout", "0.3", "--cases", "cases.http")
    assert done.returncode == 2
    assert done.stderr == "Error: neither server has answered anything within 0.3 s: try --timeout\n"


def test_an_app_that_starts_in_one_of_them(compare: Compare) -> None:
    done = compare("main:only_in_one", "--cases", "cases.http")
    assert done.returncode == 2
    why = "app main:only_in_one is not callable, but of type int"
    sentence = "Error: uvicorn ended with a status of 1 instead of serving; its last words:"
    assert done.stderr == f"{sentence}\n  {why}\n"


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["a:b", "--with", "apache"], "'apache' is no server that I know"),
        (["a:b", "--cases", "missing.http"], "cannot read the cases in missing.http: No such file or directory"),
        (["a:b", "--html", "missing/x.html"], "cannot write the page to missing/x.html"),
        (["a:b", "--hops", "G@T /"], "'G@T' is no method"),
        ([], "Missing argument 'APP'"),
    ],
)
def test_mistakes_are_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(words)
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_server_does_not_know_of_it() -> None:
    code = "import sys, miniasgi.cli, miniasgi.xray.server; print([name for name in sys.modules if 'compare' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_help_is_part_of_ours(capsys: pytest.CaptureFixture[Any]) -> None:
    done = run("--help")
    assert "Usage: miniasgi compare [OPTIONS] APP" in done.stdout

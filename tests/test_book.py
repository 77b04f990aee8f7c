"""The book: what it shows to type is run, and must print what it shows; what it shows of the source is the source.

A command that starts a server stays, as in a reader's first terminal, until the next one or the end of the chapter.
Scores are not measured again: they must be those that tests/test_ladder.py pins.
"""

import contextlib
import doctest
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from examples.ladder.probes import PROBES
from miniasgi import child
from miniasgi.cycle import Phase
from miniasgi.types import Message
from tools import book
from tools.terminal import COMMAND, plain

from .test_cycle import make
from .test_ladder import PASSES, ROWS
from .vocabulary import Spawned, eventually, get, spawned

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "docs" / "book").glob("[0-9][0-9]-*.md"))
LADDER = [chapter for chapter in CHAPTERS if 1 <= int(chapter.stem[:2]) <= 6]
SETUP = "scripts/setup"
SCORE = ".venv/bin/python -m examples.ladder.score"
RUNG = re.compile(r"\.venv/bin/python examples/ladder/0.* --port (\d+)")  # says where it listens
SERVER = re.compile(r"\.venv/bin/miniasgi (?!xray|compare).*--port (\d+)")


def fences(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command that the reader types, and what is shown beneath it."""
    return [found for fence in fences(text, "console") for found in COMMAND.findall(fence)]


def here(command: str) -> str:
    """The command, of the environment that we run in."""
    return command.replace(".venv/bin/", f"{Path(sys.executable).parent}/")


@contextmanager
def served(command: str) -> Iterator[tuple[str, str]]:
    """A server that listens, on a free port: what it said on stdout, and the port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = re.sub(r"--port \d+", f"--port {port}", here(command))
    with subprocess.Popen(
        shlex.split(command), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout
        try:
            said = run.stdout.readline() if "examples/ladder/0" in command else ""
            eventually(lambda: is_open(int(port)))
            yield said, port
        finally:
            run.kill()


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_commands_print_what_is_shown(chapter: Path) -> None:
    shown_port, port = "", ""
    with ExitStack() as stack:
        for command, output in commands(chapter.read_text()):
            if command.startswith((SETUP, SCORE)):
                continue
            if found := RUNG.fullmatch(command) or SERVER.match(command):
                stack.close()
                shown_port = found[1]
                said, port = stack.enter_context(served(command))
                assert said.replace(port, shown_port) == output
                continue
            if shown_port:
                command = re.sub(rf"(127\.0\.0\.1:|client ){shown_port}", rf"\g<1>{port}", command)
            ran = subprocess.run(
                ["bash", "-c", here(command)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=30
            )
            seen = ran.stdout.replace(port, shown_port) if port else ran.stdout
            assert seen.rstrip() == output.rstrip(), f"{command}\n{ran.stderr}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_scores_are_those_that_are_pinned(chapter: Path) -> None:
    scores = {c[len(SCORE) :].strip(): shown for c, shown in commands(chapter.read_text()) if c.startswith(SCORE)}
    assert chapter not in LADDER or str(int(chapter.stem[:2])) in scores, "it tells the score of its rung"
    if table := scores.pop("", None):
        rows = [line for line in table.splitlines() if line[:44].strip() in ROWS]
        assert {row[:44].strip(): row[44:].replace(" ", "") for row in rows} == {
            name: row[:6] for name, row in ROWS.items()
        }
    for server, shown in scores.items():
        first, *lines = shown.splitlines()
        name = f"rung {server}" if server.isdecimal() else server
        assert first == f"{name}: {len(PASSES[server])}/{len(PROBES)}, fails:"
        assert set(" ".join(map(str.strip, lines)).split(", ")) == ROWS.keys() - PASSES[server]


def logs(number: int) -> list[list[str]]:
    """The logs that a chapter shows, plain."""
    shown = [fence for fence in fences(CHAPTERS[number].read_text(), "text") if re.match(r"(?:INFO|ERROR): ", fence)]
    return [[plain(line) for line in fence.splitlines()] for fence in shown]


def hello(directory: Path, *flags: str) -> AbstractContextManager[Spawned]:
    """The server of these chapters, in a process whose log can be read."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return spawned(directory, "from examples.hello.main import app", "--port", "0", *flags, env=environment)


def since(line: str, log: str) -> list[str]:
    """What has been logged from this line on, plain."""
    lines = [plain(line) for line in log.splitlines()]
    return lines[lines.index(line) :]


def test_a_server_logs_its_end_as_is_shown(tmp_path: Path) -> None:
    [shown] = logs(13)
    [access] = [line for line in shown if "GET" in line]
    shown.remove(access)
    with hello(tmp_path) as server:
        server.connect().send(get("/count?to=3")).read_until(b"1\n")
        server.signal(signal.SIGINT)
        server.join()
        assert since(shown[0], server.log) == shown
        assert since(access, server.output) == [access]


def test_a_supervisor_logs_deaths_and_renewals_as_is_shown(tmp_path: Path) -> None:
    death, renewal = logs(15)
    with hello(tmp_path, "--workers", "2") as server:
        complete = "(?s:.*Application startup complete.){%d}"
        server.wait_for(complete % 2)
        os.kill(int(server.wait_for(r"Started server process \[(\d+)\]")[1]), signal.SIGKILL)
        server.wait_for(complete % 3)
        assert since(death[0], server.log) == death
        server.signal(signal.SIGHUP)
        server.wait_for("Finished server process")
        assert since(renewal[0], server.log)[: len(renewal)] == renewal


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_typed_into_python_answers_as_shown(chapter: Path) -> None:
    for number, fence in enumerate(fences(chapter.read_text(), "pycon")):
        assert not re.search(r"^\.\.\.\n\.\.\. ", fence, re.MULTILINE), "to who types it, an empty line ends the block"
        test = doctest.DocTestParser().get_doctest(fence, {}, f"{chapter.stem} {number}", str(chapter), 0)
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_files_it_names_exist(chapter: Path) -> None:
    for name in re.findall(r"\]\((?!http)([^)]+)\)", chapter.read_text()):
        assert (chapter.parent / name).exists(), name


def test_the_code_it_shows_is_the_source() -> None:
    assert [fault for page in book.pages() for fault in book.faults(page)] == []


def test_it_leaves_out_nothing_of_the_server() -> None:
    assert list(book.orphans()) == []


def figures(path: Path) -> str:
    return "\n".join(fences(path.read_text(), "text"))


def picture(number: int) -> str:
    """The first one of a chapter, which may be split into words."""
    [first, *_] = [figure for figure in fences(CHAPTERS[number].read_text(), "text") if "|" in figure]
    return first


TRAILERS = [(b"a", b"b")]
ASKED: dict[str, Message] = {  # in the words of the picture
    "early_hint": {"type": "http.response.early_hint", "links": [b"</a>"]},
    "start": {"type": "http.response.start", "status": 200, "trailers": False},
    "start, trailers to come": {"type": "http.response.start", "status": 200, "trailers": True},
    "body, with more_body": {"type": "http.response.body", "body": b"a", "more_body": True},
    "the last body": {"type": "http.response.body", "body": b"a"},
    "pathsend": {"type": "http.response.pathsend", "path": __file__},
    "trailers, with more_trailers": {"type": "http.response.trailers", "headers": TRAILERS, "more_trailers": True},
    "the last trailers": {"type": "http.response.trailers", "headers": TRAILERS},
}
ARROWS = {
    ("START", "early_hint", "START"),
    ("START", "start", "BODY"),
    ("START", "start, trailers to come", "BODY"),
    ("BODY", "early_hint", "BODY"),
    ("BODY", "body, with more_body", "BODY"),
    ("BODY", "the last body", "DONE"),
    ("BODY", "pathsend", "DONE"),
    ("BODY", "the last body", "TRAILERS"),
    ("TRAILERS", "trailers, with more_trailers", "TRAILERS"),
    ("TRAILERS", "the last trailers", "DONE"),
}
WAYS = (
    [],
    ["start"],
    ["start, trailers to come"],
    ["start, trailers to come", "the last body"],
    ["start", "the last body"],
)


async def test_the_picture_of_the_cycle_is_what_it_does() -> None:
    """All messages in all phases: those that do something are the arrows."""
    arrows = set()
    for way, (words, message) in itertools.product(WAYS, ASKED.items()):
        cycle, wire = make("GET", "1.1", (b"te", b"trailers"))
        for step in way:
            await cycle.send(ASKED[step])
        before, sent = cycle.phase, len(wire.data)
        with contextlib.suppress(RuntimeError):
            await cycle.send(message)
        if cycle.phase is not before or len(wire.data) > sent:
            arrows.add((before.name, words, cycle.phase.name))
    # A file has no trailers behind it: those that were announced are not sent (E4).
    assert arrows == ARROWS
    drawn = picture(8)
    assert set(re.findall(r"\b[A-Z]{4,}\b", drawn)) == {phase.name for phase in Phase}
    assert {word for _, words, _ in ARROWS for word in re.findall(r"\w+", words)} <= set(re.findall(r"\w+", drawn))


def test_the_picture_of_the_connection_has_what_it_calls() -> None:
    drawn = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\b_[a-z]+\b", picture(9)))
    source = (ROOT / "miniasgi" / "connection.py").read_text()
    assert len(drawn) > 10
    assert {name for name in drawn if not re.search(rf"[. ]{name}\b", source)} == set()


def test_the_picture_of_the_processes_has_their_words_and_signals() -> None:
    drawn = set(re.findall(r"\b[A-Z]{4,}\b", picture(15)))
    words = {name for name in vars(child) if name.isupper() and isinstance(getattr(child, name), bytes)}
    handled = set(re.findall(r"\"(SIG[A-Z]+)\":", (ROOT / "miniasgi" / "supervisor.py").read_text()))
    assert drawn == words | handled - {"SIGCHLD"}  # which only wakes it up


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_classes_in_pictures_exist(chapter: Path) -> None:
    named = set(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", figures(chapter)))
    source = "".join(path.read_text() for name in ("miniasgi", "examples") for path in (ROOT / name).rglob("*.py"))
    for name in named:
        assert re.search(rf"\b{name}\b", source), name

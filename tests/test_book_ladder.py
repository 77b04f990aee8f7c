"""Chapters 1 to 6 of the book: what they show to type is run, and must print what they show.

A command that starts a rung stays, as in a reader's first terminal, until the next one or the end of the chapter.
Scores are not measured again: they must be those that tests/test_ladder.py pins.
"""

import doctest
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from examples.ladder.probes import PROBES

from .test_ladder import PASSES, ROWS

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "docs" / "book").glob("0[1-6]-*.md"))
SETUP = "scripts/setup"
SCORE = ".venv/bin/python -m examples.ladder.score"
RUNG = ".venv/bin/python examples/ladder/0"


def fences(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command that the reader types, and what is shown beneath it."""
    return [
        found for fence in fences(text, "console") for found in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", fence, re.M)
    ]


def here(command: str) -> str:
    return command.replace(".venv/bin/python", sys.executable)


@contextmanager
def rung(command: str) -> Iterator[tuple[str, str]]:
    """A rung that listens, on a free port: what it said, and the port."""
    command = re.sub(r"--port \d+", "--port 0", here(command))
    with subprocess.Popen(
        command.split(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout
        said = run.stdout.readline()
        yield said, said.strip().rpartition(":")[2]
        run.kill()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_commands_print_what_is_shown(chapter: Path) -> None:
    shown_port, port = "", ""
    with ExitStack() as stack:
        for command, output in commands(chapter.read_text()):
            if command.startswith((SETUP, SCORE)):
                continue
            if command.startswith(RUNG):
                stack.close()
                shown_port = command.rpartition(" ")[2]
                said, port = stack.enter_context(rung(command))
                assert said.replace(port, shown_port) == output
                continue
            command = re.sub(rf"(127\.0\.0\.1:|client ){shown_port}", rf"\g<1>{port}", command)
            ran = subprocess.run(
                ["bash", "-c", here(command)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=20
            )
            assert ran.stdout.replace(port, shown_port).rstrip() == output.rstrip(), command


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_scores_are_those_that_are_pinned(chapter: Path) -> None:
    number = str(int(chapter.stem[:2]))
    scores = dict(commands(chapter.read_text()))
    first, *lines = scores[f"{SCORE} {number}"].splitlines()
    assert first == f"rung {number}: {len(PASSES[number])}/{len(PROBES)}, fails:"
    assert set(" ".join(map(str.strip, lines)).split(", ")) == ROWS.keys() - PASSES[number]
    if table := scores.get(SCORE):
        rows = [line for line in table.splitlines() if line[:44].strip() in ROWS]
        assert {row[:44].strip(): row[44:].replace(" ", "") for row in rows} == {
            name: row[:6] for name, row in ROWS.items()
        }


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_typed_into_python_answers_as_shown(chapter: Path) -> None:
    for number, fence in enumerate(fences(chapter.read_text(), "pycon")):
        test = doctest.DocTestParser().get_doctest(fence, {}, f"{chapter.stem} {number}", str(chapter), 0)
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_files_it_names_exist(chapter: Path) -> None:
    for name in re.findall(r"\]\((?!http)([^)]+)\)", chapter.read_text()):
        assert (chapter.parent / name).exists(), name

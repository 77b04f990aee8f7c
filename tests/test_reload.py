"""Which files count, and that every change of one is told, by either way of looking."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import pytest

from miniasgi import Config, ConfigError
from miniasgi.reload import Project, changes

from .vocabulary import PATIENCE


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("main.py", True),
        ("deep/er/main.py", True),
        ("main.html", False),
        ("main.pyc", False),
        ("py", False),
        (".env", False),
        (".#main.py", False),
        ("~main.py", False),
        ("main.py~", False),
        (".venv/main.py", False),
        (".git/hooks/main.py", False),
        ("node_modules/gyp/main.py", False),
        ("env/lib/python3.11/site-packages/click/core.py", False),
        ("__pycache__/main.py", False),
        ("app/.cache/main.py", False),
    ],
)
def test_python_files_of_ours_count(path: str, counts: bool, tmp_path: Path) -> None:
    assert Project((tmp_path,)).counts(tmp_path / path) is counts


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("page.html", True),
        ("templates/page.html", True),
        (".env", True),
        ("main.py", True),
        ("test_main.py", False),
        ("old/main.py", False),
        ("old/deep/page.html", False),
        (".venv/page.html", False),
    ],
)
def test_patterns_add_and_take_away(path: str, counts: bool, tmp_path: Path) -> None:
    project = Project((tmp_path,), includes=("*.html", ".env"), excludes=("test_*", str(tmp_path / "old")))
    assert project.counts(tmp_path / path) is counts


def test_a_hidden_directory_counts_if_it_is_the_one_to_watch(tmp_path: Path) -> None:
    top = tmp_path / ".hidden" / "node_modules"
    assert Project((top,)).counts(top / "main.py")
    assert not Project((tmp_path,)).counts(top / "main.py")


def test_files_have_short_names(tmp_path: Path) -> None:
    project = Project((tmp_path / "a", tmp_path / "b"))
    assert project.name(tmp_path / "b" / "deep" / "x.py") == "deep/x.py"
    assert project.name(tmp_path / "x.py") == str(tmp_path / "x.py")


def test_the_options_name_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("app", "lib", "assets", "old"):
        (tmp_path / name).mkdir()
    assert Config("x:y", reload=True).project() == Project((tmp_path,))
    assert Config("x:y", app_dir="app").project() == Project((tmp_path, tmp_path / "app"))
    options = {"reload_dirs": ["lib"], "reload_includes": ["*.css", "assets"], "reload_excludes": ["old", "*_.py"]}
    expected = Project((tmp_path / "lib", tmp_path / "assets"), ("*.css", "assets"), (str(tmp_path / "old"), "*_.py"))
    assert Config("x:y", **options).project() == expected
    with pytest.raises(ConfigError, match="--reload-dir nosuch: there is no such directory"):
        Config("x:y", reload_dirs=["nosuch"]).project()


@pytest.fixture(params=["watchfiles", "looking"])
def told(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., set[Path]]]:
    """`told()` waits for the next change of the project in `tmp_path`, and gives its files."""
    if request.param == "looking":
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    (tmp_path / "before.py").touch()
    queue: Queue[set[Path]] = Queue()
    enough = Event()

    def watch() -> None:
        for paths in changes(Project((tmp_path,)), 0.01):
            queue.put(paths)
            if enough.is_set():
                return

    thread = Thread(target=watch, daemon=True)
    thread.start()
    # Nobody says when the watching has begun: change something until it is seen.
    moment = 0
    while queue.empty():
        moment += 1
        os.utime(tmp_path / "before.py", (moment, moment))
    yield lambda patience=PATIENCE: queue.get(timeout=patience)
    enough.set()
    (tmp_path / "last.py").touch()
    thread.join(PATIENCE)


def until(told: Callable[[], set[Path]], path: Path) -> None:
    while path not in told():
        continue


def test_changed_made_and_removed_files_are_told(told: Callable[[], set[Path]], tmp_path: Path) -> None:
    (tmp_path / "ignored.txt").write_text("x")
    (tmp_path / "made.py").touch()
    until(told, tmp_path / "made.py")
    (tmp_path / "made.py").write_text("x")
    until(told, tmp_path / "made.py")
    (tmp_path / "made.py").unlink()
    until(told, tmp_path / "made.py")


def test_a_file_of_a_new_directory_is_told(told: Callable[..., set[Path]], tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hidden.py").touch()
    (tmp_path / "new" / "deep").mkdir(parents=True)
    path = tmp_path / "new" / "deep" / "made.py"
    path.touch()
    found = told()
    for moment in range(1, 100):  # the watching of a new directory begins a little after it is there
        if path in found:
            break
        os.utime(path, (moment, moment))
        with contextlib.suppress(Empty):
            found |= told(0.1)
    assert path in found
    assert not any(".git" in file.parts for file in found)

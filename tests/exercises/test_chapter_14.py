"""Exercises of chapter 14."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest


@dataclass
class Options:
    host: str = "127.0.0.1"
    max_size: int = 5
    patience: float = 1.5
    access_log: bool = True
    reload: bool = False


@pytest.mark.parametrize(
    "words, environ, expected",
    [
        ("", {}, Options()),
        ("--max-size 7 --host a", {}, Options("a", 7)),
        ("--patience 2", {}, Options(patience=2.0)),
        ("--reload --no-access-log", {}, Options(access_log=False, reload=True)),
        ("--no-reload --access-log", {}, Options()),
        ("", {"MAX_SIZE": "8", "PATH": "/bin", "RELOAD": "1"}, Options(max_size=8, reload=True)),
        ("--max-size 9", {"MAX_SIZE": "8"}, Options(max_size=9)),
        ("--no-reload", {"RELOAD": "1", "ACCESS_LOG": "0"}, Options(access_log=False)),
    ],
)
def test_words_win_over_variables(chapter: ModuleType, words: str, environ: dict[str, str], expected: Options) -> None:
    found = chapter.parse(Options, words.split(), environ)
    assert found == expected
    assert type(found.patience) is float


@pytest.mark.parametrize(
    "words, environ, name",
    [
        ("--max-sizes 5", {}, "--max-sizes"),
        ("--no-host", {}, "--no-host"),
        ("--max-size", {}, "--max-size"),
        ("--max-size many", {}, "--max-size"),
        ("", {"MAX_SIZE": "many"}, "MAX_SIZE"),
        ("", {"RELOAD": "perhaps"}, "RELOAD"),
        ("--host a b", {}, "b"),
    ],
)
def test_a_mistake_has_a_name(chapter: ModuleType, words: str, environ: dict[str, str], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        chapter.parse(Options, words.split(), environ)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules, in a directory that Python looks into."""
    sources = {
        "good14.py": "class app:\n    inner = 14\n",
        "lacks14.py": "import nowhere14\n",
        "fails14.py": "raise RuntimeError('on purpose')\n",
        "package14/__init__.py": "",
        "package14/within.py": "app = 15\n",
        "package14/lacks.py": "import package14.nothing\n",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("text, expected", [("good14:app.inner", 14), ("package14.within:app", 15)])
def test_a_name_is_loaded(chapter: ModuleType, folder: Path, text: str, expected: int) -> None:
    assert chapter.load(text) == expected


@pytest.mark.parametrize("text", ["good14", "good14:", ":app", "", "good14:app.", "package14..within:app"])
def test_another_form_is_refused(chapter: ModuleType, folder: Path, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # what it says is the reader's choice
        chapter.load(text)


@pytest.mark.parametrize(
    "text", ["good15:app", "good14:application", "good14:app.outer", "package14.without:app", "package15.within:app"]
)
def test_what_is_not_there_is_said(chapter: ModuleType, folder: Path, text: str) -> None:
    with pytest.raises(LookupError):
        chapter.load(text)


@pytest.mark.parametrize(
    "text, expected",
    [("lacks14:app", ModuleNotFoundError), ("package14.lacks:app", ModuleNotFoundError), ("fails14:app", RuntimeError)],
)
def test_what_a_module_raises_comes_through(
    chapter: ModuleType, folder: Path, text: str, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        chapter.load(text)

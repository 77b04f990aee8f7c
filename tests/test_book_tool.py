"""tools/book.py: code is found by symbol wherever it stands, and a page that is not like it is named by line."""

from pathlib import Path

import pytest

from tools import book

MODULE = '''"""What it owns.

And what it refuses to know."""

import functools

# Why so many.
LIMIT = 10  # bytes
A, B = 1, 2


class Cycle:
    """One request."""

    # Why it is so.
    @functools.cache
    def send(self) -> int:
        """Sends."""
        return LIMIT

    class Inner:
        pass


async def serve() -> None:
    pass


if LIMIT:

    def chosen() -> None:
        pass
'''


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module and no page."""
    for name, place in (("ROOT", ""), ("PAGES", "docs/book"), ("SERVER", "miniasgi")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(book, name, tmp_path / place)
    (tmp_path / "miniasgi/cycle.py").write_text(MODULE)
    return tmp_path


def page(*fences: tuple[str, str], prose: str = "") -> Path:
    path = book.PAGES / "01-page.md"
    texts = [f'```python title="{title}"\n{code}```\n' for title, code in fences]
    path.write_text("\n".join(["# Page", "", *texts, prose, ""]))
    return path


@pytest.mark.parametrize(
    ("symbol", "code"),
    [
        ("__doc__", "What it owns.\n\nAnd what it refuses to know."),
        ("LIMIT", "# Why so many.\nLIMIT = 10  # bytes"),
        ("B", "A, B = 1, 2"),
        ("Cycle.Inner", "class Inner:\n    pass"),
        ("serve", "async def serve() -> None:\n    pass"),
        ("Cycle.send", '# Why it is so.\n@functools.cache\ndef send(self) -> int:\n    """Sends."""\n    return LIMIT'),
    ],
)
def test_a_symbol_is_shown_with_its_comment_and_decorators(symbol: str, code: str) -> None:
    assert book.shown("miniasgi/cycle.py", [symbol]) == f"{code}\n"


def test_several_symbols_are_shown_one_after_the_other_and_none_is_the_file() -> None:
    assert book.shown("miniasgi/cycle.py", ["LIMIT", "B"]) == "# Why so many.\nLIMIT = 10  # bytes\nA, B = 1, 2\n"
    assert "LIMIT = 10  # bytes\n\n\nasync def serve()" in book.shown("miniasgi/cycle.py", ["LIMIT", "serve"])
    assert book.shown("miniasgi/cycle.py", []) == MODULE


def test_pages_are_filled_and_then_without_fault(capsys: pytest.CaptureFixture[str]) -> None:
    path = page(("miniasgi/cycle.py serve", ""), ("miniasgi/cycle.py Cycle.send", "def send(self): ...\n"))
    assert book.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "docs/book/01-page.md:3: miniasgi/cycle.py serve has changed" in told
    assert "-def send(self): ...\n+# Why it is so.\n" in told
    assert book.main([]) == 0
    assert '```python title="miniasgi/cycle.py serve"\nasync def serve() -> None:\n    pass\n```\n' in path.read_text()
    assert book.main(["--check"]) == 0


def test_what_has_moved_is_named_with_the_chapter_and_its_new_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page(("miniasgi/cycle.py serve", ""), ("miniasgi/cycle.py Cycle.send", ""))
    book.main([])
    (project / "miniasgi/cycle.py").rename(project / "miniasgi/other.py")
    (project / "miniasgi/cycle.py").write_text("def serve(): ...\n")
    assert book.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "docs/book/01-page.md:3: miniasgi/cycle.py serve has changed" in told
    assert "docs/book/01-page.md:8: miniasgi/cycle.py has no Cycle.send; Cycle is in miniasgi/other.py" in told
    (project / "miniasgi/cycle.py").unlink()
    assert book.main([]) == 1
    assert "docs/book/01-page.md:3: there is no miniasgi/cycle.py" in capsys.readouterr().err


def test_what_no_chapter_tells_of_is_an_orphan(capsys: pytest.CaptureFixture[str]) -> None:
    page(("miniasgi/cycle.py Cycle", ""))
    book.main([])
    assert book.main(["--orphans"]) == 1
    assert capsys.readouterr().err == "miniasgi/cycle.py: serve is in no chapter\n"
    page(("miniasgi/cycle.py Cycle.send", ""), prose="The server's `serve` and `Cycle.send`.")
    assert book.main(["--orphans"]) == 0

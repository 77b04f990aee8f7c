"""`python -m tools.book`: fills the book's code from the source, and tells where the two have parted.

Owns what stands between the fences of `docs/book/*.md` whose title names a file and symbols of it:

    ```python title="miniasgi/cycle.py Cycle.send"

A symbol is a class, a function, a method, a constant, or `__doc__`; several are shown one after the other, and
without any it is the whole file. Symbols are found in the syntax tree: never by line number, and nothing in the
source knows of the book. `--check` changes nothing, and fails with page and line. `--orphans` fails when a class
or function of the server appears in no chapter.
"""

import argparse
import ast
import difflib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "book"
SERVER = ROOT / "miniasgi"
FENCE = re.compile(r'^(```python title="(\S+?)((?: [\w.]+)*)"\n)(.*?)(^```$)', re.DOTALL | re.MULTILINE)
# Nobody need read of these: what they do is in their names, and in the classes that they belong to.
UNTOLD: frozenset[str] = frozenset()


class Gone(Exception):
    """A symbol that is not where the book says."""


def names_of(node: ast.AST) -> set[str]:
    """What a statement binds."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.If() | ast.Try():
            return {name for child in ast.iter_child_nodes(node) for name in names_of(child)}
    return set()


def source_of(path: Path, symbol: str) -> str:
    """The lines of a symbol, with its decorators and the comment lines right above it."""
    text = path.read_text()
    lines, found = text.splitlines(), ast.parse(text)
    if symbol == "__doc__":
        return str(ast.get_docstring(found, clean=False)).rstrip()
    node: ast.AST = found
    for name in symbol.split("."):
        inner = [child for child in getattr(node, "body", []) if name in names_of(child)]
        if not inner:
            raise Gone(f"{path.relative_to(ROOT)} has no {symbol}{_elsewhere(path, symbol)}")
        node = inner[-1]
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) - 1  # type: ignore[attr-defined]
    while first and re.match(rf"{' ' * node.col_offset}#", lines[first - 1]):  # type: ignore[attr-defined]
        first -= 1
    return textwrap.dedent("\n".join(lines[first : node.end_lineno]))  # type: ignore[attr-defined]


def _elsewhere(path: Path, symbol: str) -> str:
    """Where else such a name is, if it has moved."""
    name = symbol.partition(".")[0]
    places = [place for place in sorted(SERVER.rglob("*.py")) if place != path and name in _top_level(place)]
    return f"; {name} is in {', '.join(str(place.relative_to(ROOT)) for place in places)}" if places else ""


def _top_level(path: Path) -> set[str]:
    return {name for node in ast.parse(path.read_text()).body for name in names_of(node)}


def shown(file: str, symbols: list[str]) -> str:
    """What belongs into a fence; `Gone` if there is no such thing."""
    path = ROOT / file
    if not path.is_file():
        raise Gone(f"there is no {file}")
    if not symbols:
        return path.read_text()
    texts = [source_of(path, symbol) for symbol in symbols]
    blank = "\n\n\n" if any(re.search(r"^(class|def|async def) ", text, re.MULTILINE) for text in texts) else "\n"
    return blank.join(texts) + "\n"


def pages() -> list[Path]:
    return sorted(PAGES.glob("*.md"))


def faults(page: Path) -> Iterator[str]:
    """What is wrong on a page."""
    text = page.read_text()
    for fence in FENCE.finditer(text):
        where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, fence.start()) + 1}"
        try:
            right = shown(fence[2], fence[3].split())
        except Gone as gone:
            yield f"{where}: {gone}"
            continue
        if right != fence[4]:
            lines = difflib.unified_diff(
                fence[4].splitlines(), right.splitlines(), "the page", "the source", lineterm="", n=1
            )
            yield f"{where}: {fence[2]}{fence[3]} has changed; run python -m tools.book\n" + "\n".join(lines)


def fill(page: Path) -> None:
    text = page.read_text()
    page.write_text(FENCE.sub(lambda fence: fence[1] + shown(fence[2], fence[3].split()) + fence[5], text))


def orphans() -> Iterator[str]:
    """The classes and functions of the server that no chapter shows or names."""
    texts = [page.read_text() for page in pages()]
    told = {name for text in texts for name in re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"`[^`\n]+`", text)))}
    told |= {
        name
        for text in texts
        for fence in FENCE.finditer(text)
        for name in re.findall(r"\b(?:class|def) (\w+)", fence[4])
    }
    for path in sorted(SERVER.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name not in told | UNTOLD
            ):
                yield f"{path.relative_to(ROOT)}: {node.name} is in no chapter"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is not as the source is")
    parser.add_argument("--orphans", action="store_true", help="fail if something of the server is in no chapter")
    asked = parser.parse_args(arguments)
    found = list(orphans()) if asked.orphans else []
    for page in pages():
        try:
            if not (asked.check or asked.orphans):
                fill(page)
        except Gone:
            pass
        found += [] if asked.orphans and not asked.check else faults(page)
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.terminal`: runs what the pages show of a terminal, and takes it down anew where it has changed.

Owns the fences of kind `text` that begin with `$ `: commands whose output is never the same twice, for there are times
and ports in it. `normal` is what must stay. (A fence of kind `console` must be met letter by letter, and is for
tests/test_book.py alone.) `--check` changes nothing, and fails with page and line.

A line `…` stands for lines that are left out: then each line that is shown is looked for by how it begins.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?<=^```text\n)\$ .*?(?=^```$)", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ (.+)\n((?:[^$].*\n|\n)*)", re.MULTILINE)
GAP = "…"

_HOP = re.compile(r" *\d+ +(?:\d+|\.) [ #|]{20,}")  # at, took and the bar
_PLACE = re.compile(r"(\S+\.py):\d+$")


def output_of(command: str) -> str:
    """What a command prints to stdout, in this environment; raises `CalledProcessError` with what it had against it."""
    command = re.sub(r"^(\.venv/bin/)?(?=miniasgi |python )", f"{Path(sys.executable).parent}/", command)
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    return ran.stdout


def normal(output: str) -> list[str]:
    """Its lines without times, ports and ids, and in an order of their own: two programs' hops have none.

    Places in our source stay, those in somebody else's are another release's tomorrow.
    """
    return sorted(plain(line) for line in output.splitlines() if line)


def plain(line: str) -> str:
    """One line without what is another the next time."""
    if _HOP.match(line):  # how wide its columns are depends on the times: only what is never cut off stays
        name = re.split(r"\s{2,}| x \d", _HOP.sub("", line).strip())[0][:20]
        place = _PLACE.search(line)
        return f"{name}  {place[0][-10:]}" if place and _is_ours(place[1]) else name
    if not re.match(r"[=~!] | *\[|\d+ cases", line):  # those of `compare` tell nothing of time
        line = re.sub(r"\b[0-9a-f]{32}\b", "id", line)
        line = re.sub(r"\d+(\.\d+)?( [mun]?sec)?", "0", line)
    return re.sub(r"\s+", " ", line)


def _is_ours(name: str) -> bool:
    """Whether a file's name, maybe without its beginning, is one of this repository."""
    tail = name.removeprefix("…")
    return any(
        str(path).endswith(tail) for folder in ("miniasgi", "examples") for path in (ROOT / folder).rglob("*.py")
    )


def parting(shown: str, seen: str) -> list[str]:
    """Lines of a diff, none if the page shows what has been seen."""
    before, after = normal(shown), normal(seen)
    if _has_gaps(shown):
        before = [line for line in before if line != GAP]
        after = [line for line in after if line in before]
    return list(difflib.unified_diff(before, after, "the page", "the terminal", lineterm="", n=0))


def anew(shown: str, seen: str) -> str:
    """What the page should show: all that has been seen or, where it leaves out lines, the same ones."""
    if not _has_gaps(shown):
        return seen
    left: dict[str, list[str]] = {}
    for line in reversed(seen.splitlines()):
        left.setdefault(plain(line).partition("  ")[0], []).append(line)
    lines = [(left.get(plain(line).partition("  ")[0]) or [line]).pop() for line in shown.splitlines()]
    return "\n".join(lines) + "\n"


def _has_gaps(shown: str) -> bool:
    return GAP in shown.splitlines()


def faults(page: Path, change: bool = False) -> Iterator[str]:
    """What a page shows otherwise than it is; with `change` it is put right, and told of where that cannot be done."""
    text = new = page.read_text()
    for fence in FENCE.finditer(text):
        for command, shown in COMMAND.findall(fence[0]):
            seen = output_of(command)
            lines = parting(shown, seen)
            if lines and change:
                new = new.replace(f"$ {command}\n{shown}", f"$ {command}\n{anew(shown, seen)}")
                lines = parting(anew(shown, seen), seen)
            if lines:
                line = text.count("\n", 0, fence.start())
                yield "\n".join([f"{page.relative_to(ROOT)}:{line}: {command} prints something else", *lines])
    if new != text:
        page.write_text(new)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.terminal", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page shows something else")
    change = not parser.parse_args(arguments).check
    found = [fault for page in PAGES for fault in faults(page, change)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Counts code lines, ours beside uvicorn's, and fails over the ceiling.

A code line has a token of code on it: comments, docstrings and blank lines do not count, so prose
is free and squeezing buys nothing.
"""

import ast
import importlib.util
import io
import sys
import tokenize
from pathlib import Path

GOAL = 2000  # for the whole server, workers and all; not within reach yet
CEILING = 3284  # where we stand: may only fall, but for what an issue adds
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def count(path: Path) -> tuple[int, int]:
    """Code lines, and prose lines (comments and docstrings)."""
    text = path.read_text()
    code: set[int] = set()
    prose: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        lines = range(token.start[0], token.end[0] + 1)
        if token.type == tokenize.COMMENT:
            prose.update(lines)
        elif token.type not in _NO_CODE:
            code.update(lines)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            code.difference_update(lines)
            prose.update(lines)
    return len(code), len(prose - code)


def show(name: str, directory: Path) -> int:
    """Prints the figures of a directory, file by file; gives its code lines."""
    total_code = total_prose = 0
    for path in sorted(directory.glob("*.py")):
        code, prose = count(path)
        total_code, total_prose = total_code + code, total_prose + prose
        print(f"  {path.name:<22} {code:5} code {prose:5} prose")
    print(f"{name:<8} {total_code} code lines ({total_prose * 100 // total_code} prose per 100)")
    return total_code


def main() -> int:
    for name in ("xray", "compare"):  # wrap the server from outside, and count apart
        show(name, Path("miniasgi", name))
    total_code = show("miniasgi", Path("miniasgi"))
    peer = importlib.util.find_spec("uvicorn")
    if peer and peer.submodule_search_locations:
        files = Path(peer.submodule_search_locations[0]).rglob("*.py")
        print(f"uvicorn  {sum(count(path)[0] for path in files)} code lines")
    if total_code > GOAL:
        print(f"over the goal of {GOAL} lines by {total_code - GOAL}; the ceiling is {CEILING}", file=sys.stderr)
    return int(total_code > CEILING)


sys.exit(main())

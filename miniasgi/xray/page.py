"""What a page gets to know, live or saved: a trace with its rows and explanations, and lines of source.

Owns page.html, its Content-Security-Policy, and the shape of what its script reads. Knows neither how a
page reaches the browser nor who may ask for what.
"""

import base64
import contextlib
import hashlib
import inspect
import linecache
import re
import tokenize
from pathlib import Path
from typing import Any

from .explain import explain
from .model import Place, Trace
from .tree import busy, rows

HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

_BEFORE, _AFTER = 12, 24  # lines of a function too long to be shown whole


def trace_json(trace: Trace) -> dict[str, Any]:
    """All of a trace: `hops` as they came, and `rows` that name them by their places in it."""
    found = rows(trace)  # first: hops that come meanwhile, from other threads, are in no row yet
    places = {id(hop): place for place, hop in enumerate(list(trace.hops))}
    return trace.json() | {
        "busy": busy(trace),  # ns of each layer
        "rows": [
            {
                "depth": row.depth,
                "name": row.name,
                "hops": [places[id(hop)] for hop in row.hops],
                "explanation": explain(row.hops[0]),  # of one kind, all of them
            }
            for row in found
        ],
    }


def source_json(place: Place) -> dict[str, Any] | None:
    """The function around a line of source, or as much of it as fits an eye's glance; None if there is no such line."""
    lines = [line.rstrip("\n") for line in linecache.getlines(place.file)]
    if not 0 < place.line <= len(lines):
        return None
    start, end = _function(lines, place.line - 1)
    start, end = max(start, place.line - 1 - _BEFORE), min(end, place.line - 1 + _AFTER)
    return {"first": start + 1, "line": place.line, "lines": lines[start:end]}


def _function(lines: list[str], at: int) -> tuple[int, int]:
    """Where the function around a line begins and ends: the nearest head above that is less indented."""
    start, depth = at, _indent(lines[at])
    while start and not (_is_head(lines[start]) and (start == at or _indent(lines[start]) < depth)):
        start -= 1
    while start and lines[start - 1].lstrip().startswith("@"):
        start -= 1
    end = start
    if _is_head(lines[start]):
        with contextlib.suppress(SyntaxError, tokenize.TokenError):  # no Python
            end += len(inspect.getblock([line + "\n" for line in lines[start:]]))
    return (start, end) if end > at else (0, len(lines))  # a line of no function


def _is_head(line: str) -> bool:
    return line.lstrip().startswith(("def ", "async def ", "class ", "@"))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def policy(*more: str) -> str:
    """The Content-Security-Policy of the page: its own script and style, known by their hashes, and no more."""
    inline = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in re.findall(r"<(style|script) ?(?:type=\"module\")?>(.*?)</\1>", HTML, re.DOTALL)
    }
    rules = [
        "default-src 'none'",
        f"script-src 'sha256-{inline['script']}'",
        f"style-src 'sha256-{inline['style']}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*rules, *more])

"""What came of a comparison, for a terminal, and as JSON.

Owns what is said in which order: a line for each case, the reasons, what has none, and a person's summary
last. Knows how to ask nobody.
"""

import base64
import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from ..xray.waterfall import columns, cut, escaped
from .diff import Difference, plain_name
from .differences import Explanation
from .hops import NOTE, Step, shown, took
from .run import Result
from .wire import Answer

MARKS = {"equal": ("=", "green"), "explained": ("~", "yellow"), "unexplained": ("!", "red")}
_LEVELS = {"bytes": "on the wire", "asgi": "at the app's door"}
_MOST = 3  # differences of a case that are named in its line


@dataclass
class Report:
    """All of it."""

    app: str
    names: tuple[str, str]
    results: list[Result]
    hops: list[Step] = field(default_factory=list)  # of one request

    def counts(self) -> Counter[str]:
        return Counter(result.verdict for result in self.results)

    def reasons(self) -> dict[Explanation, list[str]]:
        """Each explanation that was needed, with the cases; those that hold whatever is asked come last."""
        found: dict[Explanation, list[str]] = {}
        for result in self.results:
            for why in reasons_of(result):
                found.setdefault(why, []).append(result.name)
        return dict(sorted(found.items(), key=lambda item: item[0].general))

    def is_unfair(self) -> bool:
        """Whether the x-ray has taken more time in one of the two."""
        return bool(self.hops) and len({name.partition(":")[0] == "miniasgi" for name in self.names}) == 2

    def summary(self) -> str:
        """In one sentence."""
        counts, silent = self.counts(), sum(is_silent(result) for result in self.results)
        text = f"{len(self.results)} cases: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS)
        if general := sum(why.general for why in self.reasons()):
            text += f"; {general} {'differences' if general > 1 else 'difference'} everywhere, explained"
        return text + (f"; {silent} without a reply from either" if silent else "")

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "app": self.app,
            "left": self.names[0],
            "right": self.names[1],
            "summary": {verdict: self.counts()[verdict] for verdict in MARKS},
            "cases": [_json(result) for result in self.results],
            "hops": [
                {"name": step.row.name, "left": step.left and took(step.left), "right": step.right and took(step.right)}
                for step in self.hops
            ],
        }


def is_silent(result: Result) -> bool:
    return result.answers is not None and not any(answer.raw for answer in result.answers)


def told(result: Result, side: int) -> str:
    """`200, 404, closed`, or `200 x 20`; of the lifespan, `1 call`."""
    if result.answers is None:
        count = len(result.calls[side])
        return "1 call" if count == 1 else f"{count} calls"
    answer = result.answers[side]
    statuses = [str(reply.status or "?") for reply in answer.replies]
    if len(set(statuses)) == 1 and len(statuses) > 2:
        statuses = [f"{statuses[0]} x {len(statuses)}"]
    return (", ".join(statuses) or "nothing") + (", closed" if answer.closed else "")


def pieces(answer: Answer) -> str:
    """How many there were: an indication, as the network has its say."""
    return "in 1 piece" if answer.segments == 1 else f"in {answer.segments} pieces"


def reasons_of(result: Result) -> list[Explanation]:
    """Each once."""
    return list(dict.fromkeys(why for _, why in result.differences if why))


def named(result: Result) -> str:
    """The names of what differs, but for what does everywhere."""
    names = Counter(plain_name(difference) for difference, why in result.differences if not (why and why.general))
    shown = [name + (f" x {count}" if count > 1 else "") for name, count in names.items()]
    return ", ".join(shown[:_MOST]) + (f", and {len(shown) - _MOST} more" if len(shown) > _MOST else "")


def text(report: Report, width: int, colour: bool) -> str:
    """For people, in lines of at most `width` columns."""
    lines = [*_table(report, width), *_reasons(report, width), *_unexplained(report, width)]
    lines += [*_hops(report, width), ("", {})]
    lines.append((report.summary(), {"bold": True, "fg": "red" if report.counts()["unexplained"] else "green"}))
    return "\n".join(click.style(line, **style) if colour and line else line for line, style in lines)


_Line = tuple[str, dict[str, Any]]


def _table(report: Report, width: int) -> Iterator[_Line]:
    """A line for each case."""
    numbers = {why: f"[{number}]" for number, why in enumerate(report.reasons(), 1)}
    rows: list[tuple[str, ...]] = [("", "case", *report.names, "what differs")]
    for result in report.results:
        what = [numbers[why] for why in reasons_of(result) if not why.general] + [named(result)]
        cells = (result.name, told(result, 0), told(result, 1), " ".join(what))
        rows.append((MARKS[result.verdict][0], *map(escaped, cells)))
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    styles: list[dict[str, Any]] = [{"dim": True}, *({"fg": MARKS[result.verdict][1]} for result in report.results)]
    for row, style in zip(rows, styles, strict=True):
        padded = (cell + " " * (most - columns(cell)) for cell, most in zip(row, widths, strict=True))
        yield cut("  ".join(padded).rstrip(), width), style


def _reasons(report: Report, width: int) -> Iterator[_Line]:
    for number, (why, cases) in enumerate(report.reasons().items(), 1):
        if number == 1:
            yield "", {}
        line = f"{f'[{number}]':>4} {where(cases, why)}: {why.because} ({why.section})"
        yield from ((part, {}) for part in textwrap.wrap(line, width, subsequent_indent=" " * 5))


def where(cases: list[str], why: Explanation) -> str:
    if why.general:
        return "everywhere"
    return escaped(cases[0]) if len(cases) == 1 else f"{len(cases)} cases"


def _unexplained(report: Report, width: int) -> Iterator[_Line]:
    """What is the same in several cases is said once, with both values in full."""
    found: dict[Difference, list[str]] = {}
    for result in report.results:
        for difference, why in result.differences:
            if why is None:
                bare = dataclasses.replace(difference, what=plain_name(difference))
                found.setdefault(bare, []).append(result.name)
    most = max(map(len, report.names))
    for difference, cases in found.items():
        yield "", {}
        line = f"!  {difference.what} ({_LEVELS[difference.level]}): {', '.join(dict.fromkeys(cases))}"
        yield cut(escaped(line), width), {"fg": "red", "bold": True}
        for name, value in zip(report.names, (difference.left, difference.right), strict=True):
            line = f"   {name:<{most}}  {'(nothing)' if value is None else escaped(value)}"
            yield from ((part, {}) for part in textwrap.wrap(line, width, subsequent_indent=" " * (most + 5)))


def _hops(report: Report, width: int) -> Iterator[_Line]:
    """Times in microseconds; a mark where the two part."""
    if not report.hops:
        return
    most = [max(len(name), 8) for name in report.names]
    yield "", {}
    heads = [f"{name:>{size}}" for name, size in zip(report.names, most, strict=True)]
    yield cut(f"   {'  '.join(heads)}  hop, in microseconds", width), {"dim": True}
    for step in report.hops:
        times = [f"{shown(row):>{size}}" for row, size in zip((step.left, step.right), most, strict=True)]
        line = f"{'!' if step.parts else ' '}  {'  '.join(times)}  {'  ' * step.row.depth}{escaped(step.row.name)}"
        yield cut(line, width), {"fg": "yellow"} if step.parts else {}
    if report.is_unfair():
        yield from ((f"   {part}", {"dim": True}) for part in textwrap.wrap(NOTE, width - 3))


def _json(result: Result) -> dict[str, Any]:
    sides = []
    for place in (0, 1):
        side: dict[str, Any] = {"calls": len(result.calls[place])}
        if result.answers:
            answer = result.answers[place]
            statuses = [reply.status for reply in answer.replies]
            side |= {
                "statuses": statuses,
                "closed": answer.closed,
                "segments": answer.segments,
                "raw": _base64(answer.raw),
            }
        sides.append(side)
    return {
        "name": result.name,
        "verdict": result.verdict,
        "request": _base64(result.request),
        "left": sides[0],
        "right": sides[1],
        "differences": [
            {
                "level": difference.level,
                "what": difference.what,
                "left": difference.left,
                "right": difference.right,
                "because": why and why.because,
                "section": why and why.section,
            }
            for difference, why in result.differences
        ],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

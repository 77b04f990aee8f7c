"""What came of a comparison, for a terminal, and as JSON.

Owns what is said in which order: a line for each case, the reasons, what has none, and a person's summary
last. Knows how to ask nobody.
"""

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from ..xray.waterfall import columns, cut, escaped
from .differences import Explanation
from .run import Result
from .wire import Answer

_MARKS = {"equal": ("=", "green"), "explained": ("~", "yellow"), "unexplained": ("!", "red")}
_MOST = 3  # differences of a case that are named in its line


@dataclass
class Report:
    """All of it."""

    app: str
    names: tuple[str, str]
    results: list[Result]

    def counts(self) -> Counter[str]:
        return Counter(result.verdict for result in self.results)

    def reasons(self) -> dict[Explanation, list[str]]:
        """Each explanation that was needed, with the cases; those that hold whatever is asked come last."""
        found: dict[Explanation, list[str]] = {}
        for result in self.results:
            for why in dict.fromkeys(why for _, why in result.differences if why):
                found.setdefault(why, []).append(result.name)
        return dict(sorted(found.items(), key=lambda item: item[0].general))

    def summary(self) -> str:
        """In one sentence."""
        counts, silent = self.counts(), sum(is_silent(result) for result in self.results)
        text = f"{len(self.results)} cases: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS)
        if general := sum(why.general for why in self.reasons()):
            text += f"; {general} {'differences' if general > 1 else 'difference'} everywhere, explained"
        return text + (f"; {silent} without a reply from either" if silent else "")

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "app": self.app,
            "left": self.names[0],
            "right": self.names[1],
            "summary": {verdict: self.counts()[verdict] for verdict in _MARKS},
            "cases": [_json(result) for result in self.results],
        }


def is_silent(result: Result) -> bool:
    return result.answers is not None and not any(answer.raw for answer in result.answers)


def told(answer: Answer) -> str:
    """`200, 404 closed`, or `200 x 20`."""
    statuses = [str(reply.status or "?") for reply in answer.replies]
    if len(set(statuses)) == 1 and len(statuses) > 2:
        statuses = [f"{statuses[0]} x {len(statuses)}"]
    return (", ".join(statuses) or "nothing") + (", closed" if answer.closed else "")


def named(result: Result) -> str:
    """The names of what differs, but for what does everywhere."""
    names = Counter(
        difference.what.rpartition(": ")[2] for difference, why in result.differences if not (why and why.general)
    )
    shown = [name + (f" x {count}" if count > 1 else "") for name, count in names.items()]
    return ", ".join(shown[:_MOST]) + (f", and {len(shown) - _MOST} more" if len(shown) > _MOST else "")


def text(report: Report, width: int, colour: bool) -> str:
    """For people; none of its lines is wider than `width`, where that can be."""
    return "\n".join(_styled(cut(line, width), colour, **style) for line, style in _lines(report))


_Line = tuple[str, dict[str, Any]]


def _lines(report: Report) -> Iterator[_Line]:
    reasons = list(report.reasons())
    numbers = {why: f"[{number}]" for number, why in enumerate(reasons, 1)}
    rows = [("", "case", *report.names, "what differs")]
    for result in report.results:
        sides = map(told, result.answers) if result.answers else [_calls(len(calls)) for calls in result.calls]
        whys = dict.fromkeys(numbers[why] for _, why in result.differences if why and not why.general)
        rows.append(
            (_MARKS[result.verdict][0], escaped(result.name), *sides, " ".join([*whys, escaped(named(result))]))
        )
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        line = "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield line, {"dim": True} if not place else {"fg": _MARKS[report.results[place - 1].verdict][1]}
    for why, number in numbers.items():
        if number == "[1]":
            yield "", {}
        yield f"{number:>4} {_where(report.reasons()[why], why)}: {why.because} ({why.section})", {}
    for result in report.results:
        yield from _unexplained(result, report.names)
    yield "", {}
    counts = report.counts()
    yield report.summary(), {"bold": True, "fg": "red" if counts["unexplained"] else "green"}


def _where(cases: list[str], why: Explanation) -> str:
    if why.general:
        return "everywhere"
    return escaped(cases[0]) if len(cases) == 1 else f"{len(cases)} cases"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _unexplained(result: Result, names: tuple[str, str]) -> Iterator[_Line]:
    """Both values, in full."""
    width = max(map(len, names))
    for difference, why in result.differences:
        if why is None:
            yield "", {}
            yield (
                f"! {escaped(result.name)}: {escaped(difference.what)} ({difference.level})",
                {"fg": "red", "bold": True},
            )
            for name, value in zip(names, (difference.left, difference.right), strict=True):
                yield f"  {name:<{width}}  {'(nothing)' if value is None else escaped(value)}", {}


def _styled(line: str, colour: bool, **style: Any) -> str:
    return click.style(line, **style) if colour and line else line


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

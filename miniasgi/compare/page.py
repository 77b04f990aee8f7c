"""A comparison as a page to keep or to send: one file, that needs no server and no script.

Owns how it gets into HTML without becoming HTML: everything passes `_tag`, which escapes. Knows no more
than the report.
"""

import html as markup
from pathlib import Path
from typing import NamedTuple

from .differences import Explanation
from .explain import Explained
from .hops import NOTE, shown
from .peers import Mistake
from .report import MARKS, Report, named, pieces, reasons_of, told, where
from .run import Result

_HEAD = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
_MOST = 2000  # bytes of a conversation that are shown


class _Html(NamedTuple):
    """Text that is HTML already."""

    text: str


def _tag(element: str, /, *inside: "str | _Html", **attributes: str) -> _Html:
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup.escape(value)}"' for key, value in attributes.items()
    )
    content = "".join(part.text if isinstance(part, _Html) else markup.escape(part) for part in inside)
    return _Html(f"<{element}{words}>{content}" + ("" if element == "input" else f"</{element}>"))


def html(report: Report) -> str:
    """The whole file."""
    left, right = report.names
    numbers = {why: str(number) for number, why in enumerate(report.reasons(), 1)}
    parts = [
        _tag(
            "header",
            _tag(
                "h1", left, _tag("span", " and ", class_="vs"), right, _tag("span", " serve ", class_="vs"), report.app
            ),
            _tag("p", report.summary()),
        ),
        _tiles(report),
        _tag(
            "div", _tag("h2", "What was asked"), _tag("label", _radio("all", checked="checked"), "show all"), id="show"
        ),
        _cases(report, numbers),
        *([_tag("h2", "Why they differ"), _reasons(report, numbers)] if numbers else []),
        *([_tag("h2", "One request, hop beside hop"), _hops(report)] if report.hops else []),
    ]
    head = _HEAD.replace("{title}", markup.escape(f"{left} and {right}: {report.app}"), 1)
    return head + "\n".join(part.text for part in parts) + "\n"


def write(path: Path, text: str) -> None:
    """Mistake if that cannot be; to be tried with nothing, before there is something to lose."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"cannot write the page to {path}: {error.strerror}") from None


def _radio(verdict: str, **more: str) -> _Html:
    """One of those that filter the cases, by CSS alone."""
    return _tag("input", type="radio", name="only", id=f"only-{verdict}", **more)


def _tiles(report: Report) -> _Html:
    counts = report.counts()
    tiles, bars = [], []
    for verdict in MARKS:
        number = counts[verdict]
        kind = "tile" if number else "tile none"
        tiles.append(_tag("label", _radio(verdict), _tag("b", str(number)), verdict, class_=kind, data_verdict=verdict))
        bars.append(_tag("i", style=f"flex-grow: {number}", data_verdict=verdict))
    return _tag("div", _tag("div", *tiles, id="tiles"), _tag("div", *bars, id="bar"))


def _cases(report: Report, numbers: dict[Explanation, str]) -> _Html:
    heads = _tag("div", *(_tag("span", word) for word in ("", "case", *report.names, "what differs")), class_="heads")
    return _tag("div", heads, *(_case(report, result, numbers) for result in report.results), class_="box", id="cases")


def _case(report: Report, result: Result, numbers: dict[Explanation, str]) -> _Html:
    sides = [told(result, place) for place in (0, 1)]
    whys = "".join(f"[{numbers[why]}] " for why in reasons_of(result) if not why.general)
    words = (MARKS[result.verdict][0], "mark"), (result.name, "name"), *((side, "side") for side in sides)
    summary = _tag(
        "summary",
        *(_tag("span", word, class_=kind) for word, kind in words),
        _tag("span", whys + named(result), class_="what"),
    )
    inside: list[str | _Html] = []
    if result.differences:
        heads = _tag("tr", *(_tag("th", word) for word in ("", *report.names, "why")))
        inside.append(_tag("table", heads, *(_difference(item, numbers) for item in result.differences)))
    if result.answers:
        inside.append(_tag("div", _tag("h3", "both were asked"), _bytes(result.request)))
        inside.append(
            _tag(
                "div",
                *(
                    _tag("div", _tag("h3", f"{name} answered, {pieces(answer)}"), _bytes(answer.raw))
                    for name, answer in zip(report.names, result.answers, strict=True)
                ),
                class_="two",
            )
        )
    body = _tag("div", *inside, class_="inside")
    return _tag("details", summary, body, class_="case", data_verdict=result.verdict)


def _difference(item: Explained, numbers: dict[Explanation, str]) -> _Html:
    difference, why = item
    values = (
        _tag("td", "nothing", class_="nothing") if value is None else _tag("td", value)
        for value in (difference.left, difference.right)
    )
    reason = _tag("td", "unexplained", class_="bad")
    if why is not None:
        reason = _tag("td", _tag("b", f"[{numbers[why]}] "), f"{why.because} ({why.section})", class_="reason")
    return _tag("tr", _tag("td", difference.what), *values, reason)


def _bytes(data: bytes) -> _Html:
    """As they are, each line on its own; what is no text as Python writes it."""
    lines = data[:_MOST].decode("latin-1").encode("unicode_escape").decode().replace("\\r\\n", "\\r\\n\n")
    more = f"\n... of {len(data)} bytes" if len(data) > _MOST else ""
    return _tag("pre", (lines + more) or "nothing")


def _reasons(report: Report, numbers: dict[Explanation, str]) -> _Html:
    rows = [
        _tag(
            "tr",
            _tag("td", numbers[why], class_="number"),
            _tag("td", why.because),
            _tag("td", why.section, class_="reason"),
            _tag("td", where(cases, why), class_="reason"),
        )
        for why, cases in report.reasons().items()
    ]
    return _tag("div", _tag("table", *rows), class_="box", id="reasons")


def _hops(report: Report) -> _Html:
    heads = _tag(
        "tr",
        *(_tag("th", f"{name}, µs", class_="time") for name in report.names),
        _tag("th", "layer"),
        _tag("th", "hop"),
    )
    rows = [
        _tag(
            "tr",
            _tag("td", shown(step.left), class_="time"),
            _tag("td", shown(step.right), class_="time"),
            _tag("td", step.row.hops[0].layer, class_="layer"),
            _tag("td", step.row.name, style=f"padding-left: {step.row.depth + 1}rem"),
            class_="parts" if step.parts else "",
        )
        for step in report.hops
    ]
    note = [_tag("p", NOTE, class_="note")] if report.is_unfair() else []
    return _tag("div", *note, _tag("div", _tag("table", heads, *rows), class_="box", id="hops"))

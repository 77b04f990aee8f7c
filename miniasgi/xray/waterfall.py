"""A trace as text: the waterfall that `miniasgi xray` prints, and a line for `miniasgi --xray`.

Owns columns, colours, and what is cut where; every character that a client may have sent is made
harmless here. Knows no order and no depth: `tree` does.
"""

import itertools
import re
import unicodedata
from typing import NamedTuple

import click

from .model import Hop, Layer, Trace
from .tree import Row, busy, rows

_COLOURS: dict[Layer, str] = {
    "client": "bright_black",
    "socket": "blue",
    "parser": "cyan",
    "server": "bright_blue",
    "asgi": "bright_cyan",
    "middleware": "bright_magenta",
    "fastapi": "green",
    "pydantic": "magenta",
    "app": "yellow",
    "gpu": "bright_yellow",
}
_LEAST = 40  # columns: nothing can be told in less
_WIDE = 100  # columns from which on there is room for data
_TITLE = 60  # columns of a title that has to share its line
_ERRORS = 5  # that are shown in full
_LASTS = "+"  # beside the time of what is still running


class _Cells(NamedTuple):
    """A line of the table, or the widths of its columns."""

    at: str
    took: str
    bar: str
    hop: str
    data: str
    where: str


class _Picture:
    """Where in the columns of the bar the moments of a trace are."""

    def __init__(self, trace: Trace, columns: int) -> None:
        self.start, self.end = trace.start_ns, trace.end_ns
        self.columns = columns

    def cells(self, row: Row) -> _Cells:
        first, lasts = row.hops[0], _LASTS if any(hop.end_ns is None for hop in row.hops) else ""
        took = sum(self._end(hop) - hop.start_ns for hop in row.hops)
        return _Cells(
            at=str((first.start_ns - self.start) // 1000),
            took="." if all(hop.end_ns == hop.start_ns for hop in row.hops) else f"{took // 1000}{lasts}",
            bar=self._bar(row.hops),
            hop="  " * row.depth + escaped(_name(row)),
            data=escaped(_data(row.hops)),
            where=escaped(str(first.where or "")),
        )

    def _end(self, hop: Hop) -> int:
        return max(hop.start_ns, self.end if hop.end_ns is None else hop.end_ns)

    def _column(self, moment: int) -> int:
        column = (moment - self.start) * self.columns // max(1, self.end - self.start)
        return min(max(column, 0), self.columns - 1)

    def _bar(self, hops: list[Hop]) -> str:
        """`#` while a hop lasts, `|` for an instant; of several, all of them."""
        marks = [" "] * self.columns
        for hop in hops:
            begin, end = self._column(hop.start_ns), self._column(self._end(hop))
            marks[begin : end + 1] = ["|" if hop.end_ns == hop.start_ns else "#"] * (end + 1 - begin)
        return "".join(marks)


def waterfall(trace: Trace, width: int, colour: bool) -> str:
    """The whole trace, a line for each of its rows, none wider than `width`."""
    width = max(width, _LEAST)
    table, picture = rows(trace), _Picture(trace, max(8, min(24, width // 5)))
    lines = [picture.cells(row) for row in table]
    heading = _Cells("at", "took", "", "hop", "data", "where")
    widths = _widths([heading, *lines], picture.columns, width)
    title = f"{_title(trace)}  connection {escaped(trace.connection)}  trace {trace.id}"
    text = [_styled(cut(title, width), colour, bold=True, fg="red" if trace.failed else None)]
    text.append(_styled(_joined(heading, widths, width), colour, dim=True))
    for row, cells in zip(table, lines, strict=True):
        fg = "red" if row.hops[0].failed else _COLOURS[row.hops[0].layer]
        text.append(_styled(_joined(cells, widths, width), colour, fg=fg))
    text += [_styled(cut(sentence, width), colour, fg="red") for sentence in _errors(trace)]
    text += [cut(sentence, width) for sentence in _notes(trace)]
    return "\n".join(text)


def line(trace: Trace, colour: bool) -> str:
    """A request in one line: what came of it, and how many milliseconds each layer was busy."""
    parts = [_styled(_title(trace, _TITLE), colour, bold=True, fg="red" if trace.failed else None)]
    took = busy(trace)
    parts += [_styled(f"{name} {_ms(took[name])}", colour, fg=_COLOURS[name]) for name in _COLOURS if name in took]
    return "  ".join(parts)


def escaped(text: str) -> str:
    """The text with nothing in it that a terminal would obey: controls, escapes, changes of direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):  # marks on the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int, keep_end: bool = False) -> str:
    """At most `width` columns of the text, with an ellipsis for what is missing."""
    if columns(text) <= width:
        return text
    chars = text[::-1] if keep_end else text
    sums = itertools.accumulate(map(_columns_of, chars))
    kept = sum(1 for _ in itertools.takewhile(lambda total: total < width, sums))
    return "…"[:width] + text[len(text) - kept :] if keep_end else text[:kept] + "…"[:width]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _widths(lines: list[_Cells], bar: int, width: int) -> list[int]:
    """Of each column, by what it needs: names come first, then places; data has the rest."""
    at, took, _, hop, data, where = (max(map(columns, cells)) for cells in zip(*lines, strict=True))
    room = width - at - took - bar - 4  # blanks between columns
    if width < _WIDE:  # then the place is worth more: it says where to look for all the rest
        where = min(where, room // 3)
        return [at, took, bar, room - where, 0, where]
    where = min(where, room // 4)
    hop = min(hop, max(room // 2, room - where - data))
    return [at, took, bar, hop, room - hop - where, where]


def _joined(cells: _Cells, widths: list[int], width: int) -> str:
    at, took, bar, hop, data, where = widths
    text = f"{cells.at:>{at}} {cells.took:>{took}} {_padded(cells.bar, bar)} {_padded(cut(cells.hop, hop), hop)} "
    if data:
        text += _padded(cut(cells.data, data - 1), data)
    return (text + cut(cells.where, where, keep_end=True)).rstrip()


def _title(trace: Trace, most: int = 1000) -> str:
    status = trace.status or ("no response" if trace.done else "no response yet")
    took = f"{(trace.end_ns - trace.start_ns) / 1e6:.2f} ms{'' if trace.done else ' so far'}"
    return f"#{trace.number} {cut(escaped(trace.title), most)} -> {status}  {took}"


def _name(row: Row) -> str:
    first = row.hops[0]
    text = f"client: {row.name}" if first.layer == "client" else row.name
    threads = ", ".join(dict.fromkeys(hop.thread for hop in row.hops if hop.thread))
    return ("! " if first.failed else "") + text + (f" -> {threads}" if threads else "")


def _data(hops: list[Hop]) -> str:
    """Bytes, then what has a name; of several hops, all their bytes counted, and the first and last value."""
    parts = []
    raw = next((hop.raw for hop in hops if hop.raw is not None), None)
    if raw is not None:
        parts.append(f"{sum(hop.size for hop in hops)} B {raw!r}")
    # What is wrong comes first, as the column is short.
    for name, value in sorted(hops[0].data.items(), key=lambda item: not item[0].startswith("error")):
        last = hops[-1].data.get(name, value)
        parts.append(f"{name}={value}" + (f"..{last}" if last != value else ""))
    return " ".join(parts)


def _errors(trace: Trace) -> list[str]:
    """What failed, in full: in the table there is little room for that."""
    named = {
        value: hop.name
        for hop in trace.hops
        if hop.failed
        for key, value in hop.data.items()
        if re.fullmatch(r"error( \d+)?", key)
    }
    return [f"! {escaped(name)}: {escaped(error)}" for error, name in itertools.islice(named.items(), _ERRORS)]


def _notes(trace: Trace) -> list[str]:
    notes = [f"{_LASTS} still running"] if any(hop.end_ns is None for hop in trace.hops) else []
    return notes + ([f"and {trace.dropped} hops more, which were not kept"] if trace.dropped else [])


def _ms(nanoseconds: int) -> str:
    ms = nanoseconds / 1e6
    return f"{ms:.2f}" if ms < 1 else f"{ms:.1f}"


def _styled(text: str, colour: bool, **style: object) -> str:
    return click.style(text, **style) if colour else text  # type: ignore[arg-type]

"""Traces as files: a page for a browser, a timeline for ui.perfetto.dev, spans for whatever reads OTLP.

Owns which ending means which, and the two JSON formats:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Chrome's trace events)
and https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. What is in a trace has been cut and freed
from secrets before. Knows no server.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..importer import ConfigError
from .model import Hop, Trace
from .tree import wholes

_INTERNAL, _SERVER, _CLIENT = 1, 2, 3  # kinds of spans
_ERROR = 2  # a span's status code


def save(path: Path, traces: list[Trace]) -> None:
    """Writes the traces in the format that the path's ending names; ConfigError if that fails."""
    text = _format(path)(traces)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot save the x-ray to {path}: {error.strerror}") from None


def check_save_path(path: Path) -> None:
    """ConfigError if `save` could not write there; to be asked before there is something to lose."""
    _format(path)
    where = path if path.exists() else path.absolute().parent
    if not where.exists():
        raise ConfigError(f"cannot save the x-ray to {path}: there is no directory {where}")
    if path.is_dir() or not os.access(where, os.W_OK):
        raise ConfigError(f"cannot save the x-ray to {path}: that cannot be written")


def _format(path: Path) -> Callable[[list[Trace]], str]:
    for ending, function in _FORMATS.items():
        if path.name.endswith(ending):
            return function
    raise ConfigError(f"cannot save the x-ray to {path}: its name must end with {', '.join(_FORMATS)}")


def _html(traces: list[Trace]) -> str:
    from .saved import saved_page

    return saved_page(traces)


# Perfetto:


class _Track:
    """What is drawn in one line: an event begins after the one before it has ended, or ends before that does."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, Hop | None]] = []  # phase, when, of what
        self._ends: list[int] = []  # of what has begun

    def takes(self, hop: Hop, end: int) -> bool:
        """Adds the hop, the next one by its start; False if it overlaps."""
        self.end(hop.start_ns)
        if self._ends and self._ends[-1] < end:
            return False
        self.events.append(("i" if end == hop.start_ns else "B", hop.start_ns, hop))
        if end > hop.start_ns:
            self._ends.append(end)
        return True

    def end(self, moment: float) -> None:
        """What has ended until then ends in the file."""
        while self._ends and self._ends[-1] <= moment:
            self.events.append(("E", self._ends.pop(), None))


def _perfetto(traces: list[Trace]) -> str:
    zero = min((trace.start_ns for trace in traces if trace.hops), default=0)
    events = [event for process, trace in enumerate(traces, 1) for event in _process(trace, process, zero)]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def _process(trace: Trace, process: int, zero: int) -> Iterator[dict[str, Any]]:
    """A trace is a process; each layer, and each thread in it, is a thread, or several if hops overlap."""
    title = _clean(f"#{trace.number} {trace.title}")
    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": title}}
    for number, (name, track) in enumerate(_tracks(trace), 1):
        ids = {"pid": process, "tid": number}
        yield {"ph": "M", "name": "thread_name", "args": {"name": name}, **ids}
        for phase, moment, hop in track.events:
            about = {} if hop is None else {"name": _clean(hop.name), "cat": hop.layer, "args": _told(hop)}
            yield {"ph": phase, "ts": (moment - zero) / 1000, **({"s": "t"} if phase == "i" else {}), **about, **ids}


def _tracks(trace: Trace) -> list[tuple[str, _Track]]:
    groups: dict[str, list[_Track]] = {}
    for hop, end in _in_order(trace):
        tracks = groups.setdefault(f"{hop.layer} {hop.thread}".rstrip(), [])
        if not any(track.takes(hop, end) for track in tracks):
            tracks.append(_Track())
            tracks[-1].takes(hop, end)
    for tracks in groups.values():
        for track in tracks:
            track.end(math.inf)
    return [(name, track) for name, tracks in groups.items() for track in tracks]


def _in_order(trace: Trace) -> list[tuple[Hop, int]]:
    """The hops, each with its end, or that of the trace; the whole before its parts."""
    last = trace.end_ns
    ends = [(hop, max(hop.start_ns, last if hop.end_ns is None else hop.end_ns)) for hop in trace.hops]
    return sorted(ends, key=lambda pair: (pair[0].start_ns, -pair[1]))


# OpenTelemetry:


def _otlp(traces: list[Trace]) -> str:
    scope = {"name": "miniasgi.xray"}
    epoch = time.time_ns() - time.perf_counter_ns()  # our clock began at some other moment
    spans = [span for trace in traces for span in _spans(trace, epoch)]
    resource = {"attributes": _attributes({"service.name": "miniasgi"})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]})


def _spans(trace: Trace, epoch: int) -> Iterator[dict[str, Any]]:
    """One for the request, which has no whole, and one for each hop."""
    ids = {id(hop): _span_id(trace, number) for number, hop in enumerate(trace.hops, 1)}
    last, root = trace.end_ns, _span_id(trace, 0)
    told = {"miniasgi.connection": trace.connection, "http.response.status_code": trace.status}
    whole = Hop("server", trace.title, trace.start_ns, last, failed=trace.failed)
    yield _span(trace, whole, last, epoch) | {"spanId": root, "kind": _SERVER, "attributes": _attributes(told)}
    for hop, outer in wholes(trace):
        parent = root if outer is None else ids[id(outer)]
        yield _span(trace, hop, last, epoch) | {"spanId": ids[id(hop)], "parentSpanId": parent}


def _span(trace: Trace, hop: Hop, last: int, epoch: int) -> dict[str, Any]:
    span = {
        "traceId": trace.id,
        "name": _clean(hop.name),
        "kind": _CLIENT if hop.layer == "client" else _INTERNAL,
        "startTimeUnixNano": str(epoch + hop.start_ns),
        "endTimeUnixNano": str(epoch + max(hop.start_ns, last if hop.end_ns is None else hop.end_ns)),
        "attributes": _attributes({"miniasgi.layer": hop.layer} | _told(hop)),
    }
    if hop.failed:
        span["status"] = {"code": _ERROR, "message": _clean(hop.data.get("error", ""))}
    return span


def _span_id(trace: Trace, number: int) -> str:
    return hashlib.sha256(f"{trace.id} {trace.number} {number}".encode()).hexdigest()[:16]


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """As OTLP has them; numbers of 64 bits are strings in JSON."""
    return [
        {
            "key": _clean(name),
            "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": _clean(value)},
        }
        for name, value in values.items()
        if value is not None
    ]


# Both:


def _told(hop: Hop) -> dict[str, Any]:
    """What there is to say about a hop."""
    told: dict[str, Any] = {name: _clean(value) for name, value in hop.data.items()}
    if hop.raw is not None:
        told |= {"bytes": repr(hop.raw), "size": hop.size}
    if hop.where is not None:
        told |= {"code.file.path": hop.where.file, "code.line.number": hop.where.line}
    if hop.thread:
        told["thread.name"] = hop.thread
    if hop.end_ns is None:
        told["still"] = "running"
    return told


def _clean(text: str) -> str:
    """Text that is UTF-8, as protobuf wants it: half a pair of surrogates is none."""
    return text.encode("utf-8", "backslashreplace").decode()


_FORMATS: dict[str, Callable[[list[Trace]], str]] = {".html": _html, ".perfetto.json": _perfetto, ".otlp.json": _otlp}

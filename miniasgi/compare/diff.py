"""What differs between two servers' answers to one request, and between what they told the app.

Owns the names of differences (`status`, `header content-type`, `scope.raw_path`, ...), and what is no difference:
the time, a server's name, ports, and in how many pieces something came. Pure functions of what was seen;
knows no reason for anything.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from .wire import Answer, Fields, Reply
from .witness import Call

_VARIES = (b"date", b"server")
_ANY = "*"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same; `left` and `right` are None where there is nothing."""

    level: Literal["bytes", "asgi"]
    what: str
    left: str | None
    right: str | None


def plain_name(difference: Difference) -> str:
    """Without which reply or call it is of."""
    return re.sub(r"^(reply|call) \d+: ", "", difference.what)


def diff_answers(left: Answer, right: Answer, answered: int) -> list[Difference]:
    """On the wire. So many of the final replies are the app's; errors after them are the servers' `own`."""
    found: list[Difference] = []
    pairs = list(zip_longest(left.replies, right.replies))
    if len(left.replies) != len(right.replies):
        found.append(_bytes("replies", _statuses(left), _statuses(right)))
        pairs = pairs[: min(len(left.replies), len(right.replies))]
    finals = 0
    for place, (one, other) in enumerate(pairs):
        finals += one.final
        prefix = f"reply {place + 1}: " if len(pairs) > 1 else ""
        kind = "own " if finals > answered and (one.status or 0) >= 400 and one.status == other.status else ""
        found += [_bytes(prefix + kind + what, ours, theirs) for what, ours, theirs in _diff_reply(one, other)]
    if left.closed != right.closed:
        found.append(_bytes("connection", *(("closed", "open") if left.closed else ("open", "closed"))))
    shorter, longer = sorted([_normal(left.raw), _normal(right.raw)], key=len)
    is_cut = bool(pairs) and not pairs[-1][0].whole and longer.startswith(shorter)
    if not found and shorter != longer and not is_cut:
        found.append(_bytes("bytes", repr(left.raw), repr(right.raw)))
    return found


def _bytes(what: str, left: str | None, right: str | None) -> Difference:
    return Difference("bytes", what, left, right)


def _statuses(answer: Answer) -> str:
    return ", ".join(str(reply.status or "none") for reply in answer.replies) or "no reply"


_Found = Iterator[tuple[str, str | None, str | None]]


def _diff_reply(left: Reply, right: Reply) -> _Found:
    if left.status != right.status:
        yield "status", _status(left), _status(right)
        return  # all else follows from that
    if left.line != right.line:
        yield "status line", _text(left.line), _text(right.line)
    yield from _diff_fields("header", left.headers, right.headers)
    if left.framing != right.framing:
        yield "framing", left.framing, right.framing
    if left.whole and right.whole:
        if left.body != right.body:
            yield "body", *_around(left.body, right.body)
        elif left.chunks != right.chunks and left.framing == right.framing:
            yield "chunks", str(left.chunks), str(right.chunks)
    elif left.whole != right.whole:
        yield "end", *(("whole", "unfinished") if left.whole else ("unfinished", "whole"))
    elif not (left.body.startswith(right.body) or right.body.startswith(left.body)):  # both were cut at some moment
        yield "body", *_around(left.body, right.body)
    if left.trailers != right.trailers:
        yield "trailers", _text(left.trailers), _text(right.trailers)


def _status(reply: Reply) -> str:
    return str(reply.status) + ("" if reply.whole else ", unfinished")


def _diff_fields(kind: str, left: Fields, right: Fields) -> _Found:
    """Values name by name, the order of what both have, and the spelling of names."""
    ours, theirs = _by_name(left), _by_name(right)
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            yield f"{kind} {_text(name)}", _values(ours.get(name)), _values(theirs.get(name))
    both = (ours.keys() & theirs.keys()) - set(_VARIES)
    order, other = ([name.lower() for name, _ in fields if name.lower() in both] for fields in (left, right))
    if order != other and sorted(order) == sorted(other):
        yield f"{kind} order", _names(order), _names(other)
    spelt = {name.lower(): name for name, _ in right}
    if odd := [name for name, _ in left if name.lower() in both and spelt[name.lower()] != name]:
        yield f"{kind} case", _names(odd), _names(spelt[name.lower()] for name in odd)


def _by_name(fields: Fields) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(_ANY.encode() if name.lower() in _VARIES else value)
    return found


def _values(values: list[bytes] | None) -> str | None:
    return None if values is None else ", ".join(map(_text, values))


def _names(names: Iterable[bytes]) -> str:
    return ", ".join(map(_text, names))


def _text(data: bytes) -> str:
    """As it is, or as Python writes it if some of that could not be seen."""
    text = data.decode("latin-1")
    return text if text.isprintable() and text == text.strip() else repr(text)


def _around(left: bytes, right: bytes, width: int = 60) -> tuple[str, str]:
    """Both, from a little before where they part."""
    same = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    start = max(0, same - 10) if max(len(left), len(right)) > width else 0
    shown = [("..." if start else "") + repr(data[start : start + width])[2:-1] for data in (left, right)]
    return shown[0], shown[1]


def _normal(raw: bytes) -> bytes:
    """Without what varies, and wherever a server puts it."""
    varies = tuple(name + b":" for name in _VARIES)
    return b"\r\n".join(line for line in raw.split(b"\r\n") if not line.lower().startswith(varies))


# What the app was told:


def diff_calls(left: list[Call], right: list[Call]) -> list[Difference]:
    """At the app's door: the calls of one conversation."""
    found: list[tuple[str, str | None, str | None]] = []
    if len(left) != len(right):
        found.append(("calls", str(len(left)), str(len(right))))
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        prefix = f"call {place + 1}: " if max(len(left), len(right)) > 1 else ""
        found += [(prefix + what, ours, theirs) for what, ours, theirs in _diff_call(one, other)]
    return [Difference("asgi", *difference) for difference in found]


def _diff_call(left: Call, right: Call) -> _Found:
    yield from _diff_fields("scope header", left.scope.get("headers", []), right.scope.get("headers", []))
    yield from _diff_dicts("scope.", _flat(_normal_scope(left.scope)), _flat(_normal_scope(right.scope)))
    for direction in ("receive", "send", "raised"):  # how these interleave is up to the app
        ours, theirs = (joined(call, direction) for call in (left, right))
        if _kinds(ours) != _kinds(theirs):
            yield direction, _kinds(ours), _kinds(theirs)
            continue
        for one, other in zip(ours, theirs, strict=True):
            if one.pop("more_body", False) & other.pop("more_body", False):  # both were cut at some moment
                size = min(len(one["body"]), len(other["body"]))
                one["body"], other["body"] = one["body"][:size], other["body"][:size]
            yield from _diff_dicts(f"{direction} {one.get('type', '')}.", one, other)


def _kinds(messages: list[dict[str, Any]]) -> str:
    return ", ".join(str(message.get("type")) for message in messages) or "nothing"


def _diff_dicts(prefix: str, left: dict[str, Any], right: dict[str, Any]) -> _Found:
    for key in left | right:
        one, other = (repr(side[key]) if key in side else None for side in (left, right))
        if one != other:
            yield prefix + key, *(_around(one.encode(), other.encode()) if one and other else (one, other))


def _normal_scope(scope: dict[str, Any]) -> dict[str, Any]:
    """Without what is compared by itself; of ports, their type is enough, and of the app's state, its names."""
    found = {key: value for key, value in scope.items() if key != "headers"}
    for key in ("client", "server"):
        if isinstance(found.get(key), list) and len(found[key]) == 2:
            found[key] = [found[key][0], type(found[key][1]).__name__]
    if isinstance(found.get("state"), dict):
        found["state"] = sorted(found["state"])
    return found


def _flat(scope: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"asgi": {"version": "3.0"}}` as `{"asgi.version": "3.0"}`."""
    found: dict[str, Any] = {}
    for key, value in scope.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def joined(call: Call, direction: str) -> list[dict[str, Any]]:
    """The messages one way, those with content that came in pieces as one.

    Up to an `http.disconnect`: whether an app still hears of it, and does something, is a race.
    """
    found: list[dict[str, Any]] = []
    for what, message in call.messages:
        kind = message.get("type")
        if kind == "http.disconnect":
            break
        if what != direction:
            continue
        if kind in ("http.request", "http.response.body"):
            message = {"body": b"", **message}
            if found and found[-1].get("type") == kind:
                message["body"] = found.pop()["body"] + message["body"]
        found.append(message)
    return found


def answered(calls: list[Call]) -> int:
    """How many of the calls have begun a response."""
    return sum(any(message.get("type") == "http.response.start" for message in joined(call, "send")) for call in calls)

"""One request under the x-ray in two servers, hop beside hop.

Owns how each is asked, one after the other, and which hop of one is which of the other. In miniasgi all hops
are seen; elsewhere those of client, app and libraries, so only of these a missing one means something.
"""

import asyncio
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from ..xray.client import exchange
from ..xray.command import Question, read_question
from ..xray.model import Hop, Trace
from ..xray.tree import Row, rows
from .peers import Mistake, running
from .target import environment

NOTE = "miniasgi is watched at more places, which takes time: for speed, see benchmarks/"

_EVERYWHERE = ("asgi", "middleware", "fastapi", "pydantic", "app", "gpu")
_WARM_UPS = 2
_START, _LINGER = 60.0, 5.0  # seconds


class Step(NamedTuple):
    """A row of both, or of one of them."""

    left: Row | None
    right: Row | None

    @property
    def row(self) -> Row:
        found = self.left or self.right
        assert found
        return found

    @property
    def parts(self) -> bool:
        """Whether the two part here, as it is a hop that both would show."""
        return (self.left is None or self.right is None) and self.row.hops[0].layer in _EVERYWHERE


def asked(words: str) -> Question:
    """`POST /path content` as a question; Mistake if it is none."""
    method, target, content, *_ = [*words.split(maxsplit=2), "", "", ""]
    return read_question(method, target, [], content.encode() or None, [])


def traces(
    app: str, names: tuple[str, str], directory: Path, factory: bool, words: Question, timeout: float
) -> tuple[Trace, Trace]:
    """The request in both servers, alone in each, so that the times can be compared."""
    left, right = (
        (_own if name.startswith("miniasgi") else _other)(name, app, directory, factory, words, timeout)
        for name in names
    )
    return left, right


def _own(name: str, app: str, directory: Path, factory: bool, words: Question, timeout: float) -> Trace:
    """As `miniasgi xray` shows it."""
    parser = name.partition(":")[2]
    command = [sys.executable, "-m", "miniasgi", "xray", app, words.method, words.target, "--json"]
    command += ["--app-dir", str(directory), "--timeout", str(timeout), *(["--http", parser] if parser else [])]
    command += ["--factory"] if factory else []
    command += [] if words.data is None else ["--data", words.data.decode()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START + 4 * timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Mistake(f"{name} could not be asked: it takes too long") from None
    _, brace, text = f"\n{done.stdout}".rpartition("\n{\n")  # an app may print, too
    if not brace:
        raise Mistake(f"{name} could not be asked: {done.stderr.strip()}")
    return _trace(json.loads(brace + text))


def _other(name: str, app: str, directory: Path, factory: bool, words: Question, timeout: float) -> Trace:
    """As the taps that go with any server see it, and the x-ray's client."""
    with tempfile.TemporaryDirectory() as place:
        file, log = Path(place, "traces"), Path(place, "log")
        with running(name, "miniasgi.compare.xrayed:app", directory, log, **environment(app, factory, file)) as peer:
            asyncio.run(peer.wait(_START))
            for _ in range(_WARM_UPS + 1):
                ident = secrets.token_hex(16)
                seen = asyncio.run(exchange("127.0.0.1", peer.port, words.bytes(peer.port, ident), None, timeout))
            trace = _found(file, ident) or Trace(ident, 0, "", f"{words.method} {words.target}", seen.status, done=True)
            trace.hops = [*seen.hops, *trace.hops]
            return trace


def _found(file: Path, ident: str) -> Trace | None:
    """The trace with this id, as soon as it is over."""
    deadline = time.monotonic() + _LINGER
    while time.monotonic() < deadline:
        for line in file.read_text().splitlines() if file.exists() else ():
            if (seen := json.loads(line))["id"] == ident:
                return _trace(seen)
        time.sleep(0.02)
    return None


def _trace(seen: dict[str, Any]) -> Trace:
    hops = [Hop.from_json(hop) for hop in seen["hops"]]
    return Trace(seen["id"], seen["number"], "", seen["title"], seen["status"], hops=hops, done=True)


def aligned(left: Trace, right: Trace) -> list[Step]:
    """Their rows, in order, those of one name beside each other; the client's first, as it waits for the others."""
    found: list[Step] = []
    for is_client in (True, False):
        ours, theirs = ([row for row in rows(trace) if _is_client(row) is is_client] for trace in (left, right))
        found += _aligned(ours, theirs)
    return found


def _is_client(row: Row) -> bool:
    return row.hops[0].layer == "client"


def _aligned(ours: list[Row], theirs: list[Row]) -> list[Step]:
    found: list[Step] = []
    matcher = SequenceMatcher(None, [_key(row) for row in ours], [_key(row) for row in theirs], autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            found += map(Step, ours[start:end], theirs[other_start:other_end])
        else:
            found += [Step(row, None) for row in ours[start:end]]
            found += [Step(None, row) for row in theirs[other_start:other_end]]
    return found


def _key(row: Row) -> tuple[str, str]:
    """What a hop is, whatever its numbers are."""
    return row.hops[0].layer, re.sub(r"\d+", "0", row.name)


def took(row: Row) -> int:
    """Nanoseconds; 0 for an instant."""
    return sum((hop.end_ns or hop.start_ns) - hop.start_ns for hop in row.hops)


def shown(row: Row | None) -> str:
    """Microseconds; a dot for an instant, and nothing for no hop."""
    if row is None:
        return ""
    return str(took(row) // 1000) if took(row) else "."

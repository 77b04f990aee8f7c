"""Both servers, asked the same at the same time, and what came of it.

Owns the order of things: start, warm up, ask, and ask again where there is a difference that nobody
expects: what differs by chance, or between two answers of one server, is no difference between servers.
Knows no words and no table.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..xray.client import Exchange, ask
from ..xray.command import again
from .cases import Case, from_openapi
from .diff import answered, diff_answers, diff_calls
from .differences import VARIES
from .explain import Explained, explain
from .peers import Peer, running
from .protocol import get
from .target import environment
from .wire import Answer, converse
from .witness import Call, calls

_WITNESSED = "miniasgi.compare.witnessed:app"
_START = 60.0  # seconds
_MORE_PATIENCE = 4  # times, before a difference is believed


@dataclass
class Side:
    """A server, and what the app behind it has seen."""

    peer: Peer
    file: Path

    def calls(self) -> dict[int, list[Call]]:
        """By the port of the client; the lifespan's at 0."""
        found: dict[int, list[Call]] = {}
        for call in calls(self.file):
            found.setdefault(call.port, []).append(call)
        return found


@dataclass
class Result:
    """What became of a case: what differs, each with its explanation, or with None."""

    name: str
    request: bytes
    answers: tuple[Answer, Answer] | None  # None for the lifespan
    calls: tuple[list[Call], list[Call]]
    differences: list[Explained] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """In one word; what holds whatever is asked is no difference of this case."""
        reasons = [why for _, why in self.differences if why is None or not why.general]
        return "unexplained" if None in reasons else "explained" if reasons else "equal"


class Comparison:
    """Two servers that run, and the cases that they are asked."""

    def __init__(self, left: Side, right: Side, silence: float, timeout: float) -> None:
        self.sides = left, right
        self.silence, self.timeout = silence, timeout

    async def run(self, cases: list[Case], openapi: bool) -> list[Result]:
        """The result of each case, in their order, after that of the lifespan."""
        await asyncio.gather(*(self._warm_up(side.peer) for side in self.sides))
        if openapi:
            cases = cases + await asyncio.to_thread(self._openapi)
        answers = await asyncio.gather(*(self._ask(case, self.silence) for case in cases))
        seen = [side.calls() for side in self.sides]
        results = [self._judged(Result("lifespan", b"", None, (seen[0].get(0, []), seen[1].get(0, []))))]
        results += [self._result(case, pair, seen) for case, pair in zip(cases, answers, strict=True)]
        return list(await asyncio.gather(*map(self._confirmed, results)))

    async def _warm_up(self, peer: Peer) -> None:
        """Waits for the server, and for a model that is loading; imports and caches come at first requests."""
        await peer.wait(_START)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START):
                await self._until_ready(peer)

    async def _until_ready(self, peer: Peer) -> None:
        while (wait := again(await asyncio.to_thread(self._get, peer, "/"))) is not None:  # noqa: ASYNC110
            await asyncio.sleep(wait)

    def _get(self, peer: Peer, path: str) -> Exchange:
        return ask("127.0.0.1", peer.port, get(path, "Connection: close"), None, self.timeout)

    def _openapi(self) -> list[Case]:
        answer = self._get(self.sides[0].peer, "/openapi.json")
        with contextlib.suppress(ValueError):
            return from_openapi(json.loads(answer.body)) if answer.status == 200 else []
        return []

    async def _ask(self, case: Case, silence: float) -> tuple[Answer, Answer]:
        left, right = (converse(side.peer.port, case.request, silence, self.timeout) for side in self.sides)
        one, other = await asyncio.gather(left, right)
        return one, other

    def _result(self, case: Case, answers: tuple[Answer, Answer], seen: list[dict[int, list[Call]]]) -> Result:
        left, right = (found.get(answer.port, []) for answer, found in zip(answers, seen, strict=True))
        return self._judged(Result(case.name, case.request, answers, (left, right)))

    def _judged(self, result: Result) -> Result:
        found = diff_calls(*result.calls)
        if result.answers:
            found = diff_answers(*result.answers, min(map(answered, result.calls))) + found
        names = self.sides[0].peer.name, self.sides[1].peer.name
        result.differences = explain(found, result.request, names)
        return result

    async def _confirmed(self, first: Result) -> Result:
        """Itself, but if there is something new in it: then as it is with more patience, and without what varies."""
        if first.verdict != "unexplained" or first.answers is None:
            return first
        answers = await self._ask(Case(first.name, first.request), self.silence * _MORE_PATIENCE)
        second = self._result(Case(first.name, first.request), answers, [side.calls() for side in self.sides])
        varies = set()
        for before, after, one, other in zip(first.answers, answers, first.calls, second.calls, strict=True):
            found = diff_answers(before, after, answered(other)) + diff_calls(one, other)
            varies |= {difference.what for difference in found}
        second.differences = [
            (difference, VARIES if why is None and difference.what in varies else why)
            for difference, why in second.differences
        ]
        return second


@contextlib.contextmanager
def both(app: str, left: str, right: str, directory: Path, factory: bool) -> Iterator[tuple[Side, Side]]:
    """The two servers, with the app behind a witness."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        sides = []
        for place, peer in enumerate((left, right)):
            file, log = Path(name, f"{place}.jsonl"), Path(name, f"{place}.log")
            sides.append(
                Side(
                    stack.enter_context(running(peer, _WITNESSED, directory, log, **environment(app, factory, file))),
                    file,
                )
            )
        for side in sides:
            stack.callback(side.peer.ask_to_stop)  # before anybody is waited for
        yield sides[0], sides[1]

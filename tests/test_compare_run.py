"""Both servers asked, and what is made of it; real processes are in test_compare_command."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from miniasgi.compare.cases import Case
from miniasgi.compare.diff import Difference
from miniasgi.compare.differences import VARIES, Explanation
from miniasgi.compare.protocol import get
from miniasgi.compare.run import Comparison, Result, Side
from miniasgi.compare.witness import Witness

from .vocabulary import Running, serving

WHY = Explanation("because", "RFC 9110 1", "status", whole=True)
EVERYWHERE = WHY._replace(general=True)
STATUS = Difference("bytes", "status", "a", "b")


@pytest.mark.parametrize(
    "reasons, verdict",
    [
        ([], "equal"),
        ([EVERYWHERE], "equal"),
        ([EVERYWHERE, WHY], "explained"),
        ([VARIES], "explained"),
        ([WHY, None], "unexplained"),
        ([EVERYWHERE, None], "unexplained"),
    ],
)
def test_the_verdict_on_a_case(reasons: list[Any], verdict: str) -> None:
    result = Result("x", b"", None, ([], []), [(STATUS, why) for why in reasons])
    assert result.verdict == verdict


@dataclass
class Here:
    """A server of this process, in place of a peer."""

    name: str
    running: Running
    waited: bool = False

    @property
    def port(self) -> int:
        return self.running.port

    async def wait(self, patience: float) -> None:
        self.waited = True


class App:
    """Loads for two requests; some paths are odd."""

    def __init__(self, word: str) -> None:
        self.word, self.asked = word, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        status, headers, body = 200, [], b"ok"
        match scope["path"]:
            case _ if self.asked < 3:
                status, headers = 503, [(b"retry-after", b"0")]
            case "/openapi.json":
                body = json.dumps({"paths": {"/path": {"get": {}}, "/x/{id}": {"get": {}}}}).encode()
            case "/word":
                body = self.word.encode()
            case "/varies":
                headers = [(b"x-varies", os.urandom(4).hex().encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    files = [tmp_path / name for name in ("left", "right")]
    left, right = (Witness(App(file.name), str(file)) for file in files)
    with serving(left) as one, serving(right) as other:
        yield Side(Here("miniasgi", one), files[0]), Side(Here("uvicorn", other), files[1])  # type: ignore[arg-type]


async def test_all_cases_are_asked_when_both_are_ready(sides: tuple[Side, Side]) -> None:
    cases = [Case("plain", get()), Case("word", get("/word")), Case("varies", get("/varies"))]
    results = await Comparison(*sides, 0.05, 5).run(cases, openapi=True)
    assert all(side.peer.waited for side in sides)  # type: ignore[attr-defined]
    found = {result.name: result for result in results}
    verdicts = {name: result.verdict for name, result in found.items()}
    assert verdicts == {
        "lifespan": "equal",
        "plain": "equal",
        "word": "unexplained",
        "varies": "explained",
        "GET /path": "equal",
    }
    named = [difference.what for difference, _ in found["word"].differences]
    assert named == ["header content-length", "body", "send http.response.body.body"]
    assert {why for _, why in found["varies"].differences} == {VARIES}
    answers = found["plain"].answers
    assert answers
    assert [answer.replies[0].body for answer in answers] == [b"ok", b"ok"]
    assert [len(calls) for calls in found["plain"].calls] == [1, 1]


async def test_an_app_without_openapi(sides: tuple[Side, Side]) -> None:
    comparison = Comparison(*sides, 0.05, 5)
    assert comparison._openapi() == []  # a 503
    comparison._get(sides[0].peer, "/")
    assert [case.name for case in comparison._openapi()] == ["GET /path"]

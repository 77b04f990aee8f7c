"""What is said of a comparison, to people and to programs."""

import base64
import json
from typing import Any

import click
import pytest

from miniasgi.compare.diff import Difference
from miniasgi.compare.differences import Explanation
from miniasgi.compare.hops import aligned
from miniasgi.compare.protocol import get
from miniasgi.compare.report import Report, named, pieces, text, told
from miniasgi.compare.run import Result
from miniasgi.compare.wire import Answer, replies
from miniasgi.compare.witness import Call
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.waterfall import columns

from . import xray_samples as samples

WHY = Explanation("it is on purpose", "RFC 9112 3.2", "status")
EVERYWHERE = Explanation("it is always so", "ASGI extensions", "scope.extensions", general=True)
STATUS = Difference("bytes", "status", "400", "200")
ESCAPE = Difference("asgi", "call 1: scope.path", "'/\x1b[31m<b>'", None)
ALWAYS = Difference("asgi", "scope.extensions", "{}", None)


def answer(*statuses: int, closed: bool = False) -> Answer:
    raw = b"".join(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status for status in statuses)
    return Answer(raw, replies(raw, get() * len(statuses), closed), closed, segments=len(statuses))


def result(name: str, *differences: Any, left: Answer | None = None, right: Answer | None = None) -> Result:
    call = Call({"type": "http"})
    return Result(name, get(), (left or answer(200), right or answer(200)), ([call], [call]), [*differences])


def sample(hops: bool = False) -> Report:
    recorder = Recorder()
    traces = samples.refused(recorder), samples.crashed(recorder)
    return Report(
        "main:app",
        ("miniasgi", "uvicorn:h11"),
        [
            Result("lifespan", b"", None, ([], [Call({"type": "lifespan"})])),
            result("fine"),
            result("fine but for what is always so", (ALWAYS, EVERYWHERE)),
            result("refused", (STATUS, WHY), (ALWAYS, EVERYWHERE), left=answer(400, closed=True)),
            result("odd \x1b[31m<b>", (STATUS, WHY), (ESCAPE, None)),
            result("also odd", (ESCAPE, None)),
        ],
        aligned(*traces) if hops else [],
    )


def test_what_people_read() -> None:
    lines = text(sample(), 120, False).splitlines()
    assert lines == [
        "   case                            miniasgi     uvicorn:h11  what differs",
        "=  lifespan                        0 calls      1 call",
        "=  fine                            200          200",
        "=  fine but for what is always so  200          200",
        "~  refused                         400, closed  200          [1] status",
        r"!  odd \x1b[31m<b>                 200          200          [1] status, scope.path",
        "!  also odd                        200          200          scope.path",
        "",
        " [1] 2 cases: it is on purpose (RFC 9112 3.2)",
        " [2] everywhere: it is always so (ASGI extensions)",
        "",
        r"!  scope.path (at the app's door): odd \x1b[31m<b>, also odd",
        r"   miniasgi     '/\x1b[31m<b>'",
        "   uvicorn:h11  (nothing)",
        "",
        "6 cases: 3 equal, 1 explained, 2 unexplained; 1 difference everywhere, explained",
    ]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_too_wide_but_the_summary(width: int) -> None:
    for line in text(sample(hops=True), width, False).splitlines()[:-1]:
        assert columns(line) <= width, line


def test_colours_change_no_words() -> None:
    coloured = text(sample(hops=True), 120, True)
    assert "\x1b[31m" in coloured
    assert click.unstyle(coloured) == text(sample(hops=True), 120, False)


def test_hops_stand_beside_each_other() -> None:
    found = text(sample(hops=True), 120, False)
    assert "   miniasgi  uvicorn:h11  hop, in microseconds\n" in found
    assert "watched at more places" in found


@pytest.mark.parametrize(
    "one, expected",
    [
        (answer(), "nothing"),
        (answer(closed=True), "nothing, closed"),
        (answer(200, 404), "200, 404"),
        (answer(200, 200), "200, 200"),
        (answer(200, 200, 200, closed=True), "200 x 3, closed"),
        (Answer(b"?", replies(b"?", get(), False)), "?"),
    ],
)
def test_an_answer_in_short(one: Answer, expected: str) -> None:
    assert told(result("x", left=one), 0) == expected


def test_differences_in_short() -> None:
    many = [(Difference("bytes", f"reply {n}: header {n % 4}", "a", "b"), None) for n in range(8)]
    assert named(result("x", *many)) == "header 0 x 2, header 1 x 2, header 2 x 2, and 1 more"
    assert (pieces(answer(200)), pieces(answer(200, 200))) == ("in 1 piece", "in 2 pieces")


def test_silence_is_said() -> None:
    report = Report("a:b", ("miniasgi", "uvicorn"), [result("x", left=answer(), right=answer())])
    assert report.summary() == "1 cases: 1 equal, 0 explained, 0 unexplained; 1 without a reply from either"


def test_what_programs_read() -> None:
    found = json.loads(json.dumps(sample(hops=True).json()))
    assert (found["app"], found["left"], found["right"]) == ("main:app", "miniasgi", "uvicorn:h11")
    assert found["summary"] == {"equal": 3, "explained": 1, "unexplained": 2}
    lifespan, _, _, refused, *_ = found["cases"]
    assert (lifespan["left"], lifespan["right"]) == ({"calls": 0}, {"calls": 1})
    assert base64.b64decode(refused["request"]) == get()
    raw = b"HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n"
    left = {"calls": 1, "statuses": [400], "closed": True, "segments": 1, "raw": base64.b64encode(raw).decode()}
    assert refused["left"] == left
    assert refused["differences"][0] == {
        "level": "bytes",
        "what": "status",
        "left": "400",
        "right": "200",
        "because": "it is on purpose",
        "section": "RFC 9112 3.2",
    }
    assert all(hop.keys() == {"name", "left", "right"} for hop in found["hops"])

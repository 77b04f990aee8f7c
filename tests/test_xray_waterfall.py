"""The waterfall in a terminal: what it looks like, that it stays in its columns, and that no client paints there."""

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniasgi.xray import tree
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.waterfall import columns, escaped, line, waterfall

from . import xray_samples as samples
from .xray_samples import hop, trace

PICTURES = Path(__file__).parent / "xray_pictures"  # a missing one is drawn, for a person to look at
HOSTILE = "\x1b[31mred\x1b[0m \x9b2J \r\n\t\0 \u202eevil\u2066 \ud800 日本語 e\u0301 " * 3


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are named from the current directory."""
    monkeypatch.chdir(Path(__file__).parents[1])


def hostile(recorder: Recorder) -> Trace:
    """A client that has sent whatever a terminal might obey."""
    raw = HOSTILE.encode("utf-8", "surrogatepass")
    seen = {"data": {"input": HOSTILE, HOSTILE: "x", "error": HOSTILE}, "raw": raw, "size": len(raw)}
    made = trace(
        recorder,
        f"GET /{HOSTILE}",
        hop("parser", f"event Request({HOSTILE})", 0, 5, **seen),
        hop("app", HOSTILE, 1, 2, thread=HOSTILE, failed=True, **seen),
    )
    made.connection = HOSTILE
    return made


def running(recorder: Recorder) -> Trace:
    made = samples.chat(recorder, done=False)
    made.status = None
    return made


SAMPLES: dict[str, Callable[[Recorder], Trace]] = {
    "chat": samples.chat,
    "refused": samples.refused,
    "crashed": samples.crashed,
    "hostile": hostile,
    "running": running,
}


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("name", ["chat", "refused", "crashed", "hostile"])
def test_the_picture(name: str, width: int) -> None:
    made = SAMPLES[name](Recorder())
    made.id = "b1f03f304b948a3d44fd97cc8e3c728e"
    picture, golden = waterfall(made, width, False) + "\n", PICTURES / f"{name}-{width}.txt"
    if not golden.exists():
        golden.write_text(picture)
        pytest.fail(f"drawn anew: {golden}")
    assert picture == golden.read_text()


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_no_line_is_wider_than_the_terminal_and_columns_are_straight(sample: Callable[[Recorder], Trace]) -> None:
    made = sample(Recorder())
    rows = 2 + len(tree.rows(made))
    for width in range(60, 251):
        lines = waterfall(made, width, False).split("\n")
        assert max(map(columns, lines)) <= width
        heading, *table = lines[1:rows]
        for word in ("hop", "data", "where"):
            if word in heading:
                before = [cut_to(text, heading.index(word))[-1:] for text in table]
                assert set(before) == {" "}, f"{word} at {width}"


def cut_to(text: str, width: int) -> str:
    """As much of the text as stands in that many columns."""
    text += " " * width
    length = min(width, len(text))
    while columns(text[:length]) > width:
        length -= 1
    return text[:length]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_nothing_but_text_reaches_the_terminal(sample: Callable[[Recorder], Trace], colour: bool) -> None:
    made = sample(Recorder())
    for text in (waterfall(made, 200, colour), line(made, colour)):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text) if colour else text
        assert plain.replace("\n", "").isprintable()
        plain.encode()


def test_colours_change_nothing_but_the_colour() -> None:
    made = samples.refused(Recorder())
    for draw in (lambda colour: waterfall(made, 120, colour), lambda colour: line(made, colour)):
        assert "\x1b" not in draw(False)
        assert draw(True) != draw(False) == click.unstyle(draw(True))


def test_what_failed_is_red_and_marked() -> None:
    picture = waterfall(samples.refused(Recorder()), 120, True)
    row = next(text for text in picture.split("\n") if "validate" in text)
    assert row.startswith("\x1b[31m")
    assert "! validate top_k: int" in row


def test_errors_are_told_once_and_in_full() -> None:
    error = {"error": "ValueError('no')"}
    made = trace(
        Recorder(),
        "GET /",
        hop("asgi", "call", 0, 9, failed=True, data=error),
        hop("app", "f()", 1, 2, failed=True, data=error),
        *(hop("app", f"g{n}()", 3, 1, failed=True, data={"error": f"E{n}"}) for n in range(9)),
    )
    told = [text for text in waterfall(made, 160, False).split("\n") if text.startswith("!")]
    assert told == ["! f(): ValueError('no')", "! g0(): E0", "! g1(): E1", "! g2(): E2", "! g3(): E3"]


def test_what_still_runs_is_marked() -> None:
    picture = waterfall(running(Recorder()), 120, False).split("\n")
    assert re.search(r"-> no response yet  [\d.]+ ms so far  connection", picture[0])
    assert any(re.match(r" *\d+ \d+\+ #", text) and "await app" in text for text in picture)
    assert picture[-1] == "+ still running"


def test_hops_that_were_not_kept_are_mentioned() -> None:
    made = trace(Recorder(), "GET /", hop("asgi", "call", 0, 1), status=None)
    made.dropped = 7
    picture = waterfall(made, 80, False).split("\n")
    assert picture[-1] == "and 7 hops more, which were not kept"
    assert "-> no response  0.00 ms" in picture[0]


def test_of_several_hops_all_marks_and_bytes_and_the_first_and_last_value() -> None:
    made = trace(
        Recorder(),
        "GET /",
        hop("asgi", "whole", 0, 24),
        *(hop("socket", "write", n * 6, 1.5, raw=b"hi", size=2, data={"n": str(n), "same": "1"}) for n in range(4)),
    )
    row = waterfall(made, 160, False).split("\n")[-1]
    assert re.sub(" +", " ", row.strip()) == "0 6 ## ## ## ## write x 4 8 B b'hi' n=0..3 same=1"


def test_a_trace_without_hops() -> None:
    made = trace(Recorder(), "GET /", status=404)
    assert waterfall(made, 80, False).split("\n") == [
        f"#1 GET / -> 404  0.00 ms  connection 127.0.0.1:37650  trace {made.id}"[:79] + "…",
        "at took                  hop" + " " * 47 + "where",
    ]


def test_the_line_of_a_request() -> None:
    assert line(samples.chat(Recorder(), 2), False) == (
        "#1 POST /v1/chat/completions -> 200  10.90 ms  client 1.6  socket 0.16  parser 0.04  server 0.06  "
        "asgi 1.2  fastapi 2.1  pydantic 0.09  app 0.70"
    )


def test_a_long_title_leaves_room_on_its_line() -> None:
    assert line(trace(Recorder(), "GET /" + "日" * 100), False) == f"#1 GET /{'日' * 27}… -> 200  0.00 ms"


@pytest.mark.parametrize(
    "text, safe",
    [
        ("plain text", "plain text"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202e\u200b", "\\u202e\\u200b"),
        ("\ud800", "\\ud800"),
        ("日本", "日本"),
    ],
)
def test_escaped(text: str, safe: str) -> None:
    assert escaped(text) == safe


@given(st.text(st.characters(), max_size=40))
def test_escaped_text_is_printable(text: str) -> None:
    assert escaped(text).isprintable()


@pytest.mark.parametrize("text, count", [("abc", 3), ("日本", 4), ("é", 1), ("e\u0301", 1), ("", 0)])
def test_columns(text: str, count: int) -> None:
    assert columns(text) == count


def test_the_whole_chat_fits_on_a_screen() -> None:
    assert waterfall(samples.chat(Recorder()), 120, False).count("\n") < 45

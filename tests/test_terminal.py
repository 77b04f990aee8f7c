"""What pages show of a terminal is what the commands print today, but for times, ports and ids."""

import sys
from pathlib import Path

import pytest

from tools import terminal
from tools.terminal import FENCE, PAGES, anew, normal, parting

SHOWING = [page for page in PAGES if FENCE.search(page.read_text())]

HOPS = """\
#1 GET / -> 200  7.99 ms  connection 127.0.0.1:58556  trace 10bde893f7170eb7091f314613c8a1fd
  at took                      hop                                data             where
   0 7988 #################### client: the whole exchange
1899    .     |                  accepted                         client=127.0.0.… connection.py:80
3504 4333         ############   await app(scope, receive, send)  type=http http_… …ications.py:1205
"""
AGAIN = """\
#1 GET / -> 200  11.4 ms  connection 127.0.0.1:3303  trace 20bde893f7170eb7091f314613c8a1fd
   at  took                      hop                               data              where
    0 11388 #################### client: the whole exchange
 2504  4333    ############        await app(scope, receive, send) type=http http_v… …cations.py:99
 2899     .     |                  accepted                        client=127.0.0.1… …nection.py:80
"""
COMPARED = """\
=  get        200          200
…
~  no Host    400, closed  200  [9] status

2 cases: 1 equal, 1 explained, 0 unexplained
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the pages show what Python 3.11 lets the x-ray see")
@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.stem)
def test_a_page_shows_what_is_printed(page: Path) -> None:
    assert list(terminal.faults(page)) == []


def test_pages_show_something() -> None:
    assert len(SHOWING) >= 5


def test_times_ports_and_ids_are_no_difference_nor_is_the_order() -> None:
    assert parting(HOPS, AGAIN) == []


@pytest.mark.parametrize(
    ("now", "then"), [("accepted", "rejected"), ("connection.py:80", "connection.py:81"), ("-> 200", "-> failed")]
)
def test_a_hop_or_a_place_of_ours_is_one(now: str, then: str) -> None:
    assert parting(HOPS, HOPS.replace(now, then))


def test_a_gap_stands_for_any_lines_but_what_is_shown_must_be_there() -> None:
    assert parting(COMPARED, COMPARED.replace("…", "=  post  200  200")) == []
    assert parting(COMPARED, COMPARED.replace("400, closed", "200"))
    assert parting(COMPARED, COMPARED.replace("2 cases", "3 cases"))
    assert normal("2 cases: 1 equal") != normal("3 cases: 1 equal")


def test_where_lines_are_left_out_the_others_are_taken_down_anew() -> None:
    shown = (
        "…\n1899    .     |                  accepted                         client=127.0.0.… connection.py:70\n…\n"
    )
    assert anew(shown, HOPS) == "…\n" + HOPS.splitlines()[3] + "\n…\n"
    assert parting(anew("…\ngone\n", HOPS), HOPS)


def test_a_page_is_told_of_or_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    text = "A list:\n\n```text\n$ echo one\nzero\n$ echo 'took 3.5 msec'\ntook 1 usec\n```\n\nThe end.\n"
    page.write_text(text)
    [fault] = terminal.faults(page)
    assert fault.splitlines()[0] == "page.md:3: echo one prints something else"
    assert {"-zero", "+one"} <= set(fault.splitlines())
    assert list(terminal.faults(page, change=True)) == []
    assert page.read_text() == text.replace("zero", "one")

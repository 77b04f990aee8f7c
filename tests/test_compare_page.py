"""The page of a comparison, as a person in front of a browser meets it."""

from pathlib import Path

import pytest

from miniasgi.compare.page import html, write
from miniasgi.compare.peers import Mistake
from miniasgi.compare.report import Report

from .browser import Browser
from .test_compare_report import answer, result, sample


def test_all_of_it_is_there_and_nothing_in_it_is_obeyed(browser: Browser, tmp_path: Path) -> None:
    write(tmp_path / "page.html", html(sample(hops=True)))
    window = browser.open((tmp_path / "page.html").as_uri())
    assert window.run("return document.title") == "miniasgi and uvicorn:h11: main:app"
    assert window.texts("h1") == ["miniasgi and uvicorn:h11 serve main:app"]
    assert window.texts(".tile") == ["3\nequal", "1\nexplained", "2\nunexplained"]
    assert window.texts(".case .name")[3:5] == ["refused", "odd \x1b[31m<b>"]
    assert window.texts(".case .what")[3] == "[1] status"
    assert window.texts("#reasons td.number") == ["1", "2"]
    assert len(window.texts("#hops tr")) > 5
    window.find(".case:nth-of-type(6) summary").click()
    window.sees("scope.path", ".case[open]")
    assert window.texts(".case[open] .bad") == ["unexplained"]
    assert window.texts(".case[open] pre")[0] == "GET / HTTP/1.1\\r\\n\nHost: test\\r\\n\n\\r\\n"
    assert window.page.find_elements("css selector", ".name *, pre *, td:not(.reason) *") == []
    assert window.run("return document.scripts.length") == 0
    assert window.run("return document.documentElement.scrollWidth <= innerWidth")
    window.resize(400, 800)
    assert window.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_tile_shows_its_cases_alone(browser: Browser, tmp_path: Path) -> None:
    write(tmp_path / "page.html", html(sample()))
    window = browser.open((tmp_path / "page.html").as_uri())

    def shown() -> int:
        return len([case for case in window.page.find_elements("css selector", ".case") if case.is_displayed()])

    assert shown() == 6
    window.find(".tile[data-verdict=unexplained]").click()
    assert shown() == 2
    window.find(".tile[data-verdict=equal]").click()
    assert shown() == 3
    window.find("#show label").click()
    assert shown() == 6


def test_it_is_read_by_day_and_by_night(browser: Browser, tmp_path: Path) -> None:
    write(tmp_path / "page.html", html(sample()))
    window = browser.open((tmp_path / "page.html").as_uri())
    colours = []
    for scheme in ("light", "dark"):
        window.prefer(scheme)
        colours.append(window.run("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(246, 247, 248)", "rgb(22, 24, 28)"]


def test_long_bytes_are_cut_and_parts_that_are_empty_left_out() -> None:
    long = answer()
    long.raw = b"x" * 5000
    found = html(Report("a:b", ("uvicorn", "uvicorn"), [result("x", left=long)]))
    assert f"{'x' * 2000}\n... of 5000 bytes</pre>" in found
    assert "Why they differ" not in found
    assert "hop beside hop" not in found


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"cannot write the page to .*: No such file or directory"):
        write(tmp_path / "missing" / "x.html", "")

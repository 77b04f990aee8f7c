"""The x-ray's page, as a person in front of a browser meets it; live and saved."""

import json
import linecache
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from miniasgi.xray.model import Hop, Trace
from miniasgi.xray.page import HTML
from miniasgi.xray.recorder import Recorder
from miniasgi.xray.saved import saved_page

from . import xray_samples as samples
from .browser import Browser, Window
from .live_pages import Live, hanging, living
from .vocabulary import eventually

UP, DOWN, LEFT, RIGHT, ESCAPE = "\ue013", "\ue015", "\ue012", "\ue014", "\ue00c"
HOSTILE = "<img src=x onerror=document.title='pwned'>"


class View:
    """The page in a window, in the words of who looks at it."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def press(self, *keys: str) -> None:
        self.window.types("body", "".join(keys))

    def opens(self, number: int) -> None:
        eventually(lambda: self.window.texts(f"#requests [data-key='{number}']"))
        self.window.find(f"#requests [data-key='{number}'] button").click()
        eventually(lambda: self.window.run("return document.title").startswith(f"#{number} "))

    @property
    def requests(self) -> list[str]:
        """What the list says, newest first."""
        return [" ".join(text.split()) for text in self.window.texts("#requests li")]

    @property
    def names(self) -> list[str]:
        """The rows of the waterfall."""
        return [text.lstrip("▼▶✕ ") for text in self.window.texts("#rows .name")]

    @property
    def chosen(self) -> list[str]:
        return [text.lstrip("▼▶✕ ") for text in self.window.texts("#rows [aria-selected=true] .name")]

    def clicks(self, name: str, part: str = ".layer") -> None:
        """A click on the row with that name."""
        place = next(place for place, found in enumerate(self.names) if found.startswith(name))
        self.window.find(f"#rows .row:nth-child({place + 1}) {part}").click()

    def detail(self, text: str) -> None:
        self.window.sees(text, "#detail")


@pytest.fixture
def live() -> Iterator[Live]:
    with living() as live:
        yield live


@pytest.fixture
def view(live: Live, browser: Browser) -> View:
    view = View(browser.open(live.page.address))
    view.window.sees("live", "#state")
    return view


def saved(traces: list[Trace], browser: Browser, directory: Path) -> View:
    file = directory / "saved.html"
    file.write_text(saved_page(traces), encoding="utf-8")
    return View(browser.open(file.as_uri()))


def test_requests_appear_as_they_come(live: Live, view: View) -> None:
    window = view.window
    window.sees("No request yet", "#detail")
    assert window.texts("#count") == ["0 requests"]
    window.sees("Never in production.", "#notice")
    samples.refused(live.recorder)
    window.sees("1 request", "#count")
    window.sees("POST /predict?top_k=x", "#about")  # the first one, by itself
    samples.crashed(live.recorder)
    flying = samples.chat(live.recorder, tokens=4, done=False)
    window.sees("3 requests, 1 in flight", "#count")
    newest, *others = view.requests
    assert re.fullmatch(r"POST /v1/chat/completions #3 200 · in flight [\d.\s]+s", newest)
    assert others == ["GET /boom #2 ✕ 500 300 µs", "POST /predict?top_k=x #1 ✕ 422 400 µs"]
    assert "#1 " in window.run("return document.title")  # nobody likes what jumps away
    flying.status, flying.done = 499, True
    flying.changed(flying)
    window.sees("499", "#requests [data-key='3']")
    assert window.texts("#count") == ["3 requests"]
    window.types("#filter", "BOOM")
    assert view.requests == others[:1]
    view.press(ESCAPE)
    assert len(view.requests) == 3


def test_a_request_in_flight_grows_and_says_where_it_is_stuck(live: Live, view: View) -> None:
    trace = samples.chat(live.recorder, tokens=6, done=False)
    with hanging(live, trace):
        view.window.sees("Where is it stuck now?", "#stuck")
        lines = ["async for _ in _drops(reached):", "yield await _Well(reached)", "await asyncio.Barrier(2).wait()"]
        assert [line.split("\n")[0] for line in view.window.texts("#stuck .own")] == lines
        assert re.fullmatch(r"\d steps in packages and in the server", *view.window.texts("#stuck summary"))
        assert view.window.texts("#stuck li:last-child")[-1].startswith("await fut\nCondition.wait · asyncio/locks.py:")
        assert view.window.texts("#rows .row:has(.open) .sum") == ["≥"] * 2
        trace.instant("app", "one more")
        view.window.sees("one more", "#rows")
    trace.done = True
    trace.changed(trace)
    eventually(lambda: not view.window.find("#stuck").is_displayed())


def test_a_hop_shows_its_bytes_its_data_and_its_source(live: Live, view: View) -> None:
    samples.chat(live.recorder)
    view.window.sees("read", "#rows")
    view.clicks("read")
    view.detail("Bytes came from the client")
    assert view.window.texts("pre.text")[0].startswith(
        "POST /v1/chat/completions HTTP/1.1\\r\\n\nHost: 127.0.0.1\\r\\n\n"
    )
    assert view.window.texts("pre.hex")[0].startswith("0000  50 4f 53 54 20 2f 76 31  POST /v1\n0008  2f 63")
    view.detail("connection.py:80")
    eventually(lambda: len(view.window.texts(".lines .here")) == 2)
    assert view.window.texts(".lines .here")[0] == "80"
    facts = dict(zip(view.window.texts("#detail dt"), view.window.texts("#detail dd"), strict=True))
    assert facts == {
        "began": "after 780 µs",
        "took": "165 µs",
        "thread": "the event loop's",
        "where": "connection.py:80",
    }
    view.clicks("admitted()")
    view.detail("AnyIO worker thread")
    view.clicks("validate body")
    view.detail("{'messages': []}")


def test_bytes_of_all_kinds(live: Live, view: View) -> None:
    at = samples.BASE
    big = Hop("socket", "big", at, at + 9, raw=bytes(range(256)) * 16, size=123456)
    cut = Hop("socket", "cut", at + 10, at + 19, raw="€".encode() * 2 + b"\xe2", size=9)
    samples.trace(live.recorder, "GET /", big, cut)
    view.window.sees("big", "#rows")
    view.clicks("big")
    view.detail("4\u202f096 of 123\u202f456")
    assert view.window.texts("pre.text") == []
    lines = view.window.run("return document.querySelector('pre.hex').textContent").split("\n")
    assert len(lines) == 512
    assert lines[-1] == "0ff8  f8 f9 fa fb fc fd fe ff  ........"
    view.clicks("cut")
    view.detail("7 of 9")
    assert view.window.texts("pre.text") == ["€€"]


def test_keys_go_everywhere(live: Live, view: View) -> None:
    samples.refused(live.recorder)
    samples.chat(live.recorder, tokens=5)
    view.window.sees("2 requests", "#count")
    view.press("k")
    view.window.sees("gpu.forward x 5", "#rows")
    view.press(DOWN)
    assert view.chosen == ["the whole exchange"]
    view.press(LEFT)
    assert "connect()" not in view.names
    assert view.window.find("#rows .row").get_attribute("aria-expanded") == "false"
    view.press(RIGHT, DOWN)
    assert view.chosen == ["connect()"]
    view.press(UP, UP, UP)
    assert view.chosen == ["the whole exchange"]
    view.clicks("gpu.forward x 5")
    view.detail("1 of 5")
    view.press(RIGHT, RIGHT)
    view.detail("3 of 5")
    view.press(LEFT)
    view.detail("2 of 5")
    assert view.window.run("return document.querySelector('.bar.now').dataset.member") == "1"
    view.window.find("#detail [aria-label=Next]").click()
    view.detail("3 of 5")
    view.window.find("#rows [aria-selected=true] .bar:nth-child(5)").click()
    view.detail("5 of 5")
    view.press("z")
    view.window.sees("Whole request", "#about")
    assert view.window.run("return document.querySelector('.bar.now').style.width") == "100%"
    view.press(ESCAPE)
    assert not view.window.find("#whole").is_displayed()
    view.press(ESCAPE)
    assert view.chosen == []
    view.detail("Who worked how long?")
    view.press("j")
    view.window.sees("POST /predict?top_k=x", "#about")
    view.press("[")
    view.window.sees("POST /v1/chat/completions", "#about")
    view.press("/", "jjj")
    assert view.requests == []
    assert view.window.run("return document.activeElement.id") == "filter"


def test_a_click_folds_and_a_layer_can_be_left_out(live: Live, view: View) -> None:
    samples.chat(live.recorder)
    view.window.sees("write x 41", "#rows")
    everything = view.names
    view.clicks("await app", ".twist")
    assert "fastapi.endpoint" not in view.names
    view.clicks("await app", ".twist")
    assert view.names == everything
    asgi = view.window.find("#layers [data-layer=asgi]")
    assert asgi.text == "asgi 46"
    asgi.click()
    assert asgi.get_attribute("aria-pressed") == "false"
    assert view.names == [name for name in everything if not name.startswith(("await", "receive", "send http"))]
    asgi.click()
    assert view.names == everything


def test_what_failed_is_seen_at_once(live: Live, view: View) -> None:
    samples.refused(live.recorder)
    view.window.sees("validate top_k: int", "#rows")
    assert view.chosen == ["validate top_k: int"]
    view.detail("unable to parse string as an integer")
    assert view.window.texts(".row:has(.failed) .name") == ["✕ validate top_k: int"]  # not by its colour alone
    assert "repeating-linear-gradient" in view.window.run(
        "return getComputedStyle(document.querySelector('.bar.failed')).backgroundImage"
    )


def test_the_address_names_the_request(live: Live, browser: Browser) -> None:
    first, second = samples.refused(live.recorder), samples.crashed(live.recorder)
    view = View(browser.open(live.page.url_of(first)))
    view.window.sees("POST /predict?top_k=x", "#about")
    view.opens(second.number)
    assert view.window.run("return location.href") == live.page.url_of(second)
    view.window.run("location.hash = arguments[0]", first.id)
    view.window.sees("POST /predict?top_k=x", "#about")
    view.window.page.refresh()
    view.window.sees("POST /predict?top_k=x", "#about")
    view.window.run("location.hash = '0'.repeat(32)")
    view.window.sees("This request is not kept any more.\nOnly the last 200 are; this trace was 000", "#about")
    assert view.names == []
    live.recorder.traces.remove(second)
    view.window.find("#requests [data-key='2'] button").click()
    view.window.sees("This request is not kept any more.", "#about")
    eventually(lambda: len(view.requests) == 1)
    assert ["404" in line and f"/trace/{second.number} " in line for line in browser.complaints()] == [True]


def test_the_list_forgets_what_the_server_does(live: Live, view: View, browser: Browser) -> None:
    live.recorder.kept = 2
    view.window.page.refresh()
    view.window.sees("live", "#state")
    for number in range(1, 6):
        samples.crashed(live.recorder)
        view.window.sees(f"#{number}", "#requests")
    eventually(lambda: [re.findall(r"#\d", text) for text in view.requests] == [["#5"], ["#4"], ["#1"]])  # 1 is shown
    assert view.names
    view.window.page.get("about:blank")
    browser.complaints()  # it may have asked for 1 again


def test_a_server_that_goes_is_noticed(browser: Browser) -> None:
    with living() as live:
        samples.crashed(live.recorder)
        view = View(browser.open(live.page.address))
        view.window.sees("live", "#state")
        view.window.sees("raised", "#rows")
    view.window.sees("lost, trying again", "#state")
    assert view.chosen == ["raised ZeroDivisionError"]  # what is there stays
    view.window.page.get("about:blank")
    assert browser.complaints() != []


def test_what_is_shown_stays_text(live: Live, view: View, tmp_path: Path, browser: Browser) -> None:
    place = tmp_path / "hostile.py"
    place.write_text(f"def hostile():\n    '{HOSTILE}</script>'\n")
    hop = Hop("app", HOSTILE, samples.BASE, samples.BASE + 5, {HOSTILE: HOSTILE}, HOSTILE.encode(), 42)
    hop.where, hop.thread = samples.Place(str(place), 1), HOSTILE
    trace = samples.trace(live.recorder, f"GET /{HOSTILE}</script><!--\u2028", hop)
    trace.connection = HOSTILE
    for shown in (view, saved([trace], browser, tmp_path)):
        window = shown.window
        window.sees(HOSTILE, "#rows")
        shown.clicks(HOSTILE)
        for selector in ("#requests", "#about h2", "#detail h2", "#detail dd.data", "#detail pre.text"):
            window.sees(HOSTILE, selector)
        window.sees("</script>", ".lines")
        assert window.run("return document.querySelectorAll('img, main script, aside script').length") == 0
        assert window.run("return document.title") != "pwned"


def test_a_saved_page_needs_nobody(browser: Browser, tmp_path: Path) -> None:
    recorder = Recorder()
    traces = [samples.chat(recorder), samples.refused(recorder), samples.chat(recorder, done=False)]
    view = saved(traces, browser, tmp_path)
    view.window.sees("saved", "#state")
    assert len(view.requests) == 3
    view.opens(1)
    view.clicks("read")
    view.detail(linecache.getline(*samples.CONNECTION).strip())
    view.press("k", DOWN)
    view.window.sees("POST /predict?top_k=x", "#about")
    assert view.chosen
    assert view.window.run("return performance.getEntriesByType('resource').length") == 0
    policy = view.window.find("meta[http-equiv]").get_attribute("content")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    view.window.page.get(f"{(tmp_path / 'saved.html').as_uri()}#{traces[0].id}")
    view.window.page.refresh()
    view.window.sees("POST /v1/chat/completions", "#about")
    view.window.run("location.hash = 'another'")
    view.window.sees("This request was not saved.", "#about")


def test_a_saved_page_tells_little_of_who_saved_it() -> None:
    page = saved_page([samples.chat(Recorder())])
    found = json.loads(re.findall(r'id="saved">(.+?)</script>', page)[0])
    assert set(found["sources"]) == {"connection.py:80", "tests/xray_samples.py:10"}
    assert all("place" not in hop for hop in found["traces"][0]["hops"])
    assert samples.HERE.file not in page
    assert page.count("</script>") == HTML.count("</script>")


def test_nothing_saved_is_no_error(browser: Browser, tmp_path: Path) -> None:
    view = saved([], browser, tmp_path)
    view.detail("Nothing was saved.")


SIZES = ((1920, 1080), (1280, 720), (800, 1000), (390, 844))
FITS = (
    "const page = document.documentElement; return page.scrollWidth <= innerWidth && page.scrollHeight <= innerHeight"
)
INSIDE = """
  const box = document.querySelector(arguments[0]).getBoundingClientRect()
  return box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight && box.height > 40
"""
CLIPPED = """
  const numbers = "#rows .at, #rows .took, #head .at, #head .took, #requests small, #layers button, #count, #state"
  return [...document.querySelectorAll(numbers)]
    .filter((element) => element.offsetParent && element.scrollWidth > Math.ceil(element.getBoundingClientRect().width))
    .map((element) => element.textContent)
"""
OVERLAPPING = """
  const boxes = [...document.querySelectorAll("#head .track span")]
    .filter((label) => label.style.visibility !== "hidden").map((label) => label.getBoundingClientRect())
  return boxes.some((box, place) => (place && box.left < boxes[place - 1].right) || box.right > innerWidth)
"""
CONTRAST = """
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true })
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const linear = (part) => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4
  const light = ([r, g, b]) => linear(r) * .2126 + linear(g) * .7152 + linear(b) * .0722
  const paper = (element) => {
    const color = rgb(getComputedStyle(element).backgroundColor)
    return color[3] === 255 ? color : paper(element.parentElement)
  }
  const ratio = (color, element) => {
    const [dim, bright] = [light(rgb(color)), light(paper(element))].sort((a, b) => a - b)
    return (bright + .05) / (dim + .05)
  }
  const all = [...document.body.querySelectorAll("*:not(script)")].filter((element) => element.offsetParent)
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim()
  const texts = all.filter((element) => [...element.childNodes].some(isText))
  const marks = all.filter((element) => element.className === "swatch")
  const faint = texts.filter((one) => ratio(getComputedStyle(one).color, one) < 4.5)
  const dull = marks.filter((one) => ratio(getComputedStyle(one).backgroundColor, one.parentElement) < 3)
  return [texts.length > 100 && marks.length > 30, ...[faint, dull].map((all) => all.map((one) => one.outerHTML))]
"""


def test_the_page_fits(live: Live, view: View) -> None:
    samples.chat(live.recorder)
    samples.trace(live.recorder, "GET /" + "w" * 500, samples.hop("app", "n" * 300, 0, 9e6, where=samples.HERE))
    run = view.window.run
    for number, row in ((1, "read"), (2, "nnn")):
        view.opens(number)
        for width, height in SIZES:
            view.window.resize(width, height)
            eventually(lambda: not run(OVERLAPPING))  # a resize takes a frame
            view.clicks(row)
            assert run(FITS), (width, height)
            assert run(CLIPPED) == []
            for selector in ("#requests", "main", "#rows", "aside"):
                assert run(INSIDE, selector), (selector, width, height)


def test_light_and_dark_can_be_read(live: Live, view: View) -> None:
    samples.refused(live.recorder)
    samples.chat(live.recorder)
    view.opens(2)
    view.clicks("read")
    papers = []
    for scheme in ("light", "dark"):
        view.window.prefer(scheme)
        papers.append(view.window.run("return getComputedStyle(document.body).backgroundColor"))
        assert view.window.run(CONTRAST) == [True, [], []]
    assert papers == ["rgb(246, 247, 248)", "rgb(22, 24, 28)"]

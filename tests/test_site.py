"""The site of docs/: built without a warning, whole without a network, and read by a person in a browser."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tools import site

from .browser import MISSING, Browser, Window
from .vocabulary import eventually

ROOT = Path(__file__).parent.parent
CHAPTERS = ("01-a-socket", "06-protocol", "12-websocket", "18-side-by-side")

pytest.importorskip("zensical")
pytestmark = pytest.mark.xdist_group("site")  # one worker: the site is built once


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the whole site."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "docs", root / "docs")
    shutil.copytree(ROOT / "tools/theme", root / "tools/theme")
    shutil.copy(ROOT / "zensical.toml", root)
    site.build(root)
    return root / "site"


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.references: list[tuple[str, str]] = []  # by which tag
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.references.append((tag, value))
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    pages = {path: Page(path) for path in built.rglob("*.html") if path.name != "404.html"}  # which knows no place
    assert len(pages) > len(CHAPTERS)
    for path, page in pages.items():
        for tag, reference in page.references:
            if re.match(r"(https?|mailto):", reference):
                assert tag == "a", f"{path.name} fetches {reference}"
                continue
            name, anchor = urldefrag(unquote(reference))
            target = (path.parent / name).resolve() if name else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {reference}"
            assert not anchor or target not in pages or anchor in pages[target].anchors, f"{path.name}: {reference}"


def test_each_chapter_is_in_the_menu_and_has_its_neighbours(built: Path) -> None:
    chapters = sorted((ROOT / "docs/book").glob("[0-9][0-9]-*.md"))
    for number, chapter in enumerate(chapters):
        references = {reference for _, reference in Page(built / "book" / f"{chapter.stem}.html").references}
        for neighbour in chapters[max(0, number - 1) : number + 2]:
            assert references & {f"./{neighbour.stem}.html", f"{neighbour.stem}.html"}, (chapter.stem, neighbour.stem)


@pytest.fixture
def reader(built: Path, browser: Browser) -> Iterator[Window]:
    window = browser.open((built / "index.html").as_uri())
    yield window
    assert browser.complaints() == []


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_no_page_is_wider_than_a_screen_or_a_phone_and_code_is_readable_light_and_dark(
    built: Path, reader: Window
) -> None:
    for scheme, width in (("light", 1280), ("dark", 400)):
        reader.prefer(scheme)
        reader.resize(width, 800)
        reader.run("localStorage.clear()")
        for chapter in CHAPTERS:
            reader.page.get((built / "book" / f"{chapter}.html").as_uri())
            assert reader.run("return document.documentElement.scrollWidth <= innerWidth"), (chapter, width)
            assert (
                reader.run("return document.body.dataset.mdColorScheme")
                == {"light": "default", "dark": "slate"}[scheme]
            )
            faint = reader.run(FAINT)
            assert not faint, (chapter, scheme, faint)


# The text of code that has too little contrast to its background (WCAG 2.2, 1.4.3: 3 to 1 is for large text).
FAINT = r"""
const light = (text, under) => {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  const [ur, ug, ub] = under ? under.match(/[\d.]+/g).map(Number) : [0, 0, 0];
  const part = (value, below) => {
    const mixed = (value * a + below * (1 - a)) / 255;
    return mixed <= 0.04045 ? mixed / 12.92 : ((mixed + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(r, ur) + 0.7152 * part(g, ug) + 0.0722 * part(b, ub);
};
const ground = getComputedStyle(document.body).backgroundColor;
const faint = new Set();
for (const code of document.querySelectorAll(".highlight code")) {
  const paper = getComputedStyle(code).backgroundColor;
  for (const part of code.querySelectorAll("span")) {
    if (!part.textContent.trim() || part.children.length) continue;
    const [one, other] = [light(getComputedStyle(part).color, paper), light(paper, ground)];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 3) faint.add(`${part.className} ${part.textContent.slice(0, 20)} ${contrast.toFixed(1)}`);
  }
}
return [...faint];
"""


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_search_works_from_a_disk(reader: Window) -> None:
    script = """
const roots = () => [...document.querySelectorAll("*")].map(each => each.shadowRoot).filter(Boolean);
if (!roots().some(root => root.activeElement)) document.querySelector(".md-search__button").click();
for (const root of roots()) {
  const box = root.querySelector("input");
  if (!box || box.value === "backpressure") continue;
  box.value = "backpressure";
  box.dispatchEvent(new Event("input", { bubbles: true }));
}
return roots().map(root => root.textContent).join("");
"""
    # Until the page listens: a person would click and type once more, too.
    eventually(lambda: "Backpressure, by hand" in reader.run(script))

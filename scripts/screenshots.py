"""Takes the pictures of the live page; see `scripts/screenshots`."""

import sys
from pathlib import Path

from tests.browser import Window, chromium
from tests.vocabulary import eventually

DOCS = Path("docs")
WIDTH, HEIGHT, SCALE = 1280, 720, 2
_CLICK = """
  const rows = [...document.querySelectorAll("#rows .row")]
  rows.find((row) => row.querySelector(".name").lastChild.textContent.startsWith(arguments[0])).click()
"""
_READY = """
  const asked = performance.getEntriesByType("resource").some((entry) => entry.name.includes("/source?"))
  return document.querySelector("#rows .row") && (!asked || document.querySelector(".lines"))
"""


def take(window: Window, hop: str) -> None:
    """One picture in each scheme."""
    metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
    window.page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    eventually(lambda: window.run("return document.querySelector('#rows .row')"))
    if hop:
        window.run(_CLICK, hop)
    eventually(lambda: window.run(_READY))
    for scheme in ("light", "dark"):
        window.prefer(scheme)
        path = DOCS / f"xray-{scheme}.png"
        window.screenshot(path)
        print(path)


def main(address: str, hop: str = "") -> None:
    DOCS.mkdir(exist_ok=True)
    with chromium() as browser:
        take(browser.open(address), hop)


main(*sys.argv[1:])

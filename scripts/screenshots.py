"""Takes the pictures of the live page: the real app, asked a real question. See `scripts/screenshots`."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.browser import Window, chromium
from tests.vocabulary import eventually

DOCS = Path("docs")
WIDTH, HEIGHT, SCALE = 1280, 720, 1.5
QUESTION = {"model": "miniasgi-1m", "messages": [{"role": "user", "content": "What is ASGI?"}], "stream": True}
HOP = "validate body"  # that is shown in detail
LOADING = 120.0  # seconds that the model may take
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


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of the app, under the x-ray, when its model is there."""
    command = [sys.executable, "-m", "miniasgi", "examples.inference.main:app", "--xray", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:

        def said(pattern: str) -> re.Match[str] | None:
            log.seek(0)
            return re.search(pattern, log.read())

        try:
            eventually(lambda: said("is ready, after"), LOADING)
            found = said(r"running on (http://\S+)")
            assert found is not None
            yield found[1]
        finally:
            process.terminate()


def asked(address: str) -> str:
    """Has a few chats, as anybody would, and gives where the last one is shown."""
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        client.get("/")
        client.get("/v1/models")
        client.post("/v1/chat/completions", json={**QUESTION, "temperature": "hot"})
        for _ in range(3):  # the first ones import, and fill caches
            answer = client.post("/v1/chat/completions", json=QUESTION, headers={"Authorization": "Bearer a-secret"})
        client.get("/health")
    return answer.headers["x-ray"]


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with served() as address, chromium() as browser:
        take(browser.open(asked(address)), HOP)


main()

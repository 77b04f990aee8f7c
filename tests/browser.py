"""A person at a page: windows of headless Chromium, driven by selenium.

The fixture `browser` (in `conftest.py`) starts a Chromium of its own for each test, with a profile
of its own, so tests run beside one another. Where no Chromium is installed, they are skipped.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from .vocabulary import eventually

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "needs chromium and chromedriver (Debian: chromium, chromium-driver)"
PATIENCE = 30.0  # seconds: a browser starts many processes, and tests share the machine
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # which root, as in CI, cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",  # it is small in containers
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # no network but the server
    "--disable-component-update",
    "--disable-sync",
)


class Window:
    """One window of the browser: looks for what CSS selectors name, and waits for what must come."""

    def __init__(self, driver: Chrome, handle: str) -> None:
        self.driver, self.handle = driver, handle

    @property
    def page(self) -> Chrome:
        """The driver, at this window."""
        self.driver.switch_to.window(self.handle)
        return self.driver

    def find(self, selector: str) -> WebElement:
        return self.page.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What a person reads in each element, top to bottom."""
        return [element.text for element in self.page.find_elements(By.CSS_SELECTOR, selector)]

    def sees(self, text: str, selector: str = "body") -> None:
        """Waits until the first such element shows the text, maybe among others."""

        def shown() -> bool:
            with contextlib.suppress(StaleElementReferenceException):  # the page has just replaced it
                return any(text in found for found in self.texts(selector)[:1])
            return False

        try:
            eventually(shown, PATIENCE)
        except AssertionError:
            raise AssertionError(f"no {text!r} in {selector}: {self.texts(selector)}") from None

    def types(self, selector: str, text: str) -> None:
        """Types into the element; `"\\n"` is the Enter key."""
        self.find(selector).send_keys(text)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs JavaScript, and gives what it returns."""
        return self.page.execute_script(script, *arguments)

    def resize(self, width: int, height: int) -> None:
        """Sets what the page has for itself, as a screen of that size would give it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def screenshot(self, path: Path) -> None:
        assert self.page.save_screenshot(path)

    def close(self) -> None:
        """As a person closes it: the page gets no chance to say more."""
        self.page.close()


class Browser:
    """A Chromium with a profile of its own."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self._first = True

    def open(self, url: str) -> Window:
        """A new window, 1280 by 720, at that address."""
        if not self._first:
            self.driver.switch_to.new_window("window")
        self._first = False
        window = Window(self.driver, self.driver.current_window_handle)
        window.resize(1280, 720)
        window.page.get(url)
        return window

    def complaints(self) -> list[str]:
        """What went wrong in any window since the last call: errors of scripts, and of loading."""
        self.driver.switch_to.window(self.driver.window_handles[0])  # the current one may be closed
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A `Browser` that ends with the block, its files with it."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = Chrome(options, ChromeService(DRIVER))
        try:
            driver.set_page_load_timeout(PATIENCE)
            yield Browser(driver)
        finally:
            driver.quit()

"""A person at a page: windows of headless Chromium, driven by selenium.

The fixture `browser` (in `conftest.py`) gives each test a Chromium with no window and no memory of the test before;
each process of the test run has one, with a profile of its own. Where no Chromium is installed, they are skipped.
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

# In one question to the browser: selenium asks one for each element, and pages have hundreds.
TEXTS = """
const plain = text => text.trim().replaceAll("\\u00a0", " ").replace(/\\n+/g, "\\n");
const read = element => element.checkVisibility() ? plain(element.innerText) : "";
return [...document.querySelectorAll(arguments[0])].map(read);
"""


class Window:
    """One window of the browser: looks for what CSS selectors name, and waits for what must come."""

    def __init__(self, browser: "Browser", handle: str) -> None:
        self.browser, self.handle = browser, handle

    @property
    def page(self) -> Chrome:
        """The driver, at this window."""
        return self.browser.at(self.handle)

    def find(self, selector: str) -> WebElement:
        return self.page.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What a person reads in each element, top to bottom."""
        found: list[str] = self.run(TEXTS, selector)
        return found

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
        self.browser.closed()


class Browser:
    """A Chromium with a profile of its own; its first window stays empty, so that it has one."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self._empty = self._at = driver.current_window_handle

    def at(self, handle: str) -> Chrome:
        """The driver, at a window; it is asked to go there only if it is not."""
        if handle != self._at:
            self.driver.switch_to.window(handle)
            self._at = handle
        return self.driver

    def closed(self) -> None:
        """The driver's window is gone."""
        self._at = ""

    def open(self, url: str) -> Window:
        """A new window, 1280 by 720, at that address."""
        self.driver.switch_to.new_window("window")
        self._at = self.driver.current_window_handle
        window = Window(self, self._at)
        window.resize(1280, 720)
        window.page.get(url)
        return window

    def complaints(self) -> list[str]:
        """What went wrong in any window since the last call: errors of scripts, and of loading."""
        log = self.at(self._empty).get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def forget(self) -> None:
        """Closes all windows, and drops what their pages have left: cookies, cache and storage, and complaints."""
        for handle in self.driver.window_handles:
            if handle != self._empty:
                Window(self, handle).close()
        self.complaints()
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        # Of servers, each has a port of its own, and so an origin; files share one.
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "file://", "storageTypes": "all"})


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

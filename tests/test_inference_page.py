"""The inference example's page, as a person in front of a browser meets it; the model is a fake."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from examples.inference.engine import Sampling
from examples.inference.main import create_app
from examples.inference.settings import Settings
from miniasgi.types import App, Message, Receive, Scope, Send

from .browser import Browser, Window
from .fake_engine import FakeEngine
from .vocabulary import Gate, Running, eventually, serving

QUESTIONS = ["What is ASGI?", "Explain HTTP status 404.", "What is miniasgi?", "What is Pydantic?"]
FIGURES = r"first token after [\d.]+ ms( · [\d.]+ tokens/s)? · 2 tokens"  # no rate if all came at once


class Parrot(FakeEngine):
    """An engine that says what a test tells it to, and remembers what it was asked."""

    name, context = "parrot", 1000

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[list[str]] = []

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        self.heard.append([f"{message['role']}: {message['content']}" for message in messages])
        return super().encode(messages)

    def say(self, *words: str, then: Any = None, more: tuple[str, ...] = ()) -> None:
        """The next answers: words, then something to wait for, then more."""
        self.words = words + more
        self.pace = None if then is None else partial(self._pause, count(), len(words), then)

    async def _pause(self, passed: Iterator[int], when: int, then: Any) -> None:
        if next(passed) == when:
            await then()


async def melt() -> None:
    raise RuntimeError("no error that the app knows of: the server closes the connection")


class Site:
    """A server with the page, its app and its engine; and the chat that a person has there."""

    def __init__(self, app: FastAPI, server: Running) -> None:
        self.app, self.server = app, server
        self.engine: Parrot = app.state.engine

    def enter(self, browser: Browser) -> Window:
        return browser.open(f"http://127.0.0.1:{self.server.port}/")


def make(**settings: Any) -> FastAPI:
    return create_app(Settings(**settings), Parrot(), SimpleNamespace(name="none", load=lambda: None))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(app := make()) as server:
        yield Site(app, server)


def figures(window: Window, pattern: str) -> None:
    """Waits for what stands under the last answer."""
    eventually(lambda: re.fullmatch(pattern, "".join(window.texts("#log article:last-child small"))))


def typed(window: Window) -> Any:
    return window.run("return document.querySelector('#ask textarea').value")


def complaints(browser: Browser) -> list[str]:
    """The statuses and the errors that the browser has to tell of, each once."""
    found = (re.search(r"status of (\d+)|net::(\w+)", line) for line in browser.complaints())
    return list(dict.fromkeys(match[1] or match[2] for match in found if match))


def test_the_page_comes_whole_and_names_no_other_host(site: Site) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{site.server.port}", trust_env=False) as client:
        page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert page.text.rstrip().endswith("</html>")
    assert re.findall(r"//\S+", page.text) == ["//www.w3.org/2000/svg'"]
    assert "innerHTML" not in page.text


def test_an_answer_comes_in_pieces(site: Site, browser: Browser) -> None:
    window, gate = site.enter(browser), Gate()
    window.sees("parrot", "h1")
    assert window.texts("#questions button") == QUESTIONS
    site.engine.heard.clear()
    site.engine.say("<b>ASGI</b> is", then=gate.wait, more=(" €\n  👋",))
    window.types("#ask textarea", "  What is\ue008\n\ue000ASGI? \n")  # Enter, with Shift held and then without
    window.sees("<b>ASGI</b> is", ".answer")
    assert window.texts(".question") == ["What is\nASGI?"]
    assert not window.find("#questions").is_displayed()
    assert window.find("article").get_attribute("aria-busy") == "true"
    figures(window, r"first token after [\d.]+ ms")
    window.types("#ask textarea", "And WSGI?\n")  # too early
    assert typed(window) == "And WSGI?"
    gate.open()
    figures(window, FIGURES.replace("?", ""))
    assert window.texts(".answer") == ["<b>ASGI</b> is €\n  👋"]
    assert window.find("article").get_attribute("aria-busy") == "false"
    site.engine.say("Older", ".")
    window.find("#send").click()
    figures(window, FIGURES)
    assert window.texts(".answer")[1:] == ["Older."]
    first = "user: What is\nASGI?"
    assert site.engine.heard == [[first], [first, "assistant: <b>ASGI</b> is €\n  👋", "user: And WSGI?"]]
    assert site.engine.asked[-1][1] == Sampling(200, temperature=0)
    assert typed(window) == ""


def test_stop_and_a_new_chat(site: Site, browser: Browser) -> None:
    window, gate = site.enter(browser), Gate()
    site.engine.say("404 means", then=gate.wait, more=(" nothing",))
    window.find("#questions button:nth-of-type(2)").click()
    window.sees("404 means", ".answer")
    window.find("#stop").click()
    eventually(lambda: not site.engine.running)
    figures(window, r"first token after [\d.]+ ms · stopped")
    site.engine.heard.clear()
    site.engine.say(then=gate.wait, more=("Late",))
    window.types("#ask textarea", "Hello?\n")
    eventually(lambda: site.engine.heard)
    assert site.engine.heard == [[f"user: {QUESTIONS[1]}", "assistant: 404 means", "user: Hello?"]]
    window.find("#stop").click()  # before there is anything to keep
    eventually(lambda: typed(window) == "Hello?" and not site.engine.running)
    assert window.texts(".question") == [QUESTIONS[1]]
    window.find("#new").click()
    window.sees(QUESTIONS[0], "#questions")
    assert window.texts("article") == []
    assert typed(window) == "Hello?"
    gate.open()
    site.engine.say("Hi", "!")
    window.types("#ask textarea", "\n")
    figures(window, FIGURES)
    assert site.engine.heard[1:] == [["user: Hello?"]]


def test_an_error_is_shown_and_what_was_typed_stays(site: Site, browser: Browser) -> None:
    window = site.enter(browser)
    window.sees("parrot", "h1")
    site.engine.say("Yes", ".")
    site.engine.trouble, site.engine.loading = "the model is being loaded", True
    window.types("#ask textarea", "Are you there?\n")
    window.sees("Not ready: the model is being loaded. Trying again in 1 s.", "#notice")
    site.engine.trouble = None
    figures(window, FIGURES)  # by itself
    assert window.texts("#notice") == [""]
    limit, site.app.state.house.limit = site.app.state.house.limit, 0
    window.types("#ask textarea", "Still?\n")
    window.sees("The house is full: try again soon.", "#notice")
    window.find("#stop").click()
    eventually(lambda: window.texts("#notice") == [""] and typed(window) == "Still?")
    site.app.state.house.limit = limit
    site.engine.name = "another"
    window.types("#ask textarea", "\n")
    window.sees("The model 'parrot' does not exist", "#notice")
    assert typed(window) == "Still?"
    site.engine.name = "parrot"
    site.engine.say("Y", "<crash>")
    window.types("#ask textarea", "\n")
    window.sees("out of memory", "#notice")
    figures(window, r"first token after [\d.]+ ms · broke off")
    site.engine.say("Ye", then=melt, more=("s",))
    window.types("#ask textarea", "\n")
    window.sees("The connection broke off.", "#notice")
    assert typed(window) == "Still?"
    assert window.texts(".answer") == ["Yes.", "Y", "Ye"]
    site.engine.heard.clear()
    site.engine.say("Yes", "!")
    window.types("#ask textarea", "\n")
    figures(window, FIGURES)
    assert site.engine.heard == [["user: Are you there?", "assistant: Yes.", "user: Still?"]]  # no failure among them
    assert complaints(browser) == ["503", "404", "ERR_INCOMPLETE_CHUNKED_ENCODING"]


def test_a_key_is_asked_for_and_remembered(browser: Browser) -> None:
    with serving(app := make(api_key=SecretStr("sesame"))) as server:
        site = Site(app, server)
        window = site.enter(browser)
        window.sees("Incorrect API key provided.", "#notice")
        window.types("#key input", "guess\n")
        eventually(window.find("#key").is_displayed)  # again
        window.types("#key input", "sesame\n")
        window.sees("parrot", "h1")
        assert not window.find("#key").is_displayed()
        window.page.refresh()
        window.sees("parrot", "h1")
        app.state.settings.api_key = SecretStr("another")
        site.engine.say("Op", "en")
        window.types("#ask textarea", "Open?\n")
        window.sees("Incorrect API key provided.", "#notice")
        window.types("#key input", "another\n")
        figures(window, FIGURES)  # asked again by itself
        assert complaints(browser) == ["401"]


def test_pieces_may_end_anywhere_and_a_server_may_go(browser: Browser) -> None:
    gate, lost = Gate(), list[bytes]()
    with serving(crumbled(app := make(), gate, lost)) as server:
        site = Site(app, server)
        window = site.enter(browser)
        window.sees("parrot", "h1")
        site.engine.say("Op", "en €")
        window.types("#ask textarea", "Open?\n")
        window.sees("Op", ".answer")
        gate.open()
        figures(window, FIGURES)
        assert window.texts(".answer") == ["Open €"]
        lost.append(b"data: [DONE]")
        window.types("#ask textarea", "Open?\n")
        window.sees("The answer broke off.", "#notice")
    window.types("#ask textarea", "\n")
    window.sees("The server does not answer. Is it running?", "#notice")
    assert typed(window) == "Open?"
    assert complaints(browser) == ["ERR_CONNECTION_REFUSED"]


def crumbled(app: App, gate: Gate, lost: list[bytes]) -> App:
    """Events in UTF-8, with the other line end, without what is lost; after half a character comes the gate."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""

        async def crumble(message: Message) -> None:
            nonlocal body
            if message["type"] != "http.response.body" or scope["method"] != "POST":
                await send(message)
                return
            body += message["body"]
            if not message.get("more_body"):
                body = body.replace(rb"\u20ac", "€".encode()).replace(b"\n", b"\r\n")
                for part in lost:
                    body = body.replace(part, b"")
                middle = body.index("€".encode()) + 1
                await send({**message, "body": body[:middle], "more_body": True})
                await gate.wait()
                await send({**message, "body": body[middle:]})

        await app(scope, receive, crumble)

    return wrapped


def test_an_answer_leads_to_its_x_ray_if_that_is_on_this_machine(browser: Browser) -> None:
    addresses = list[str]()
    app = make()

    async def seen(scope: Scope, receive: Receive, send: Send) -> None:
        if addresses and scope["type"] == "http":
            scope["extensions"] = {**scope.get("extensions", {}), "miniasgi.xray": {"url": addresses[-1]}}
        await app(scope, receive, send)

    with serving(seen) as server:
        window = Site(app, server).enter(browser)
        window.sees("parrot", "h1")
        app.state.engine.say("Y", "es")

        def links(address: str) -> list[str | None]:
            """Those under an answer whose X-Ray header has this address."""
            addresses.append(address)
            eventually(window.find("#send").is_displayed)  # the last answer is complete
            window.types("#ask textarea", "Really?\n")
            figures(window, FIGURES + "( · x-ray)?")
            found = window.page.find_elements("css selector", "#log article:last-child small a")
            assert all(link.get_attribute("target") == "_blank" for link in found)
            assert all(link.get_attribute("rel") == "noopener" for link in found)
            return [link.get_attribute("href") for link in found]

        window.types("#ask textarea", "Really?\n")
        figures(window, FIGURES)
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert links(f"http://{host}:8001/secret/#0af7") == [f"http://{host}:8001/secret/#0af7"]
        for other in ("http://example.org/", "https://localhost:8001/", "javascript:alert(1)", "/here", "x"):
            assert links(other) == []
        figures(window, FIGURES)


def test_the_page_fits(site: Site, browser: Browser) -> None:
    """A desktop, a phone, and one with its keyboard open; light and dark."""
    window = site.enter(browser)
    window.sees("parrot", "h1")
    site.engine.say("a line\n" * 20, "w" * 200 + "\nthe end")
    page = "const page = document.documentElement;"
    fits = f"{page} return page.scrollWidth <= page.clientWidth && page.scrollHeight <= innerHeight"
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom - innerHeight"
    sizes = ((1280, 720), (390, 844), (320, 400))
    for width, height in sizes:
        window.resize(width, height)
        assert window.run(fits)
    window.types("#ask textarea", "w" * 200 + "\n")
    figures(window, FIGURES)
    for width, height in sizes:
        window.resize(width, height)
        assert window.run(fits)
        for selector in ("header", "main", "#log article small", "#send", "footer small"):
            eventually(lambda selector=selector: window.run(bottom, selector) <= 0)  # a resize takes a frame
    paper = "return getComputedStyle(document.body).backgroundColor"
    window.prefer("dark")
    dark = window.run(paper)
    window.prefer("light")
    assert (dark, window.run(paper)) == ("rgb(22, 24, 28)", "rgb(251, 251, 250)")

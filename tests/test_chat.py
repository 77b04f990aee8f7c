"""The chat example: over real sockets, with the `websockets` client and with a person's browser."""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import miniasgi
from examples.chat.main import rooms

from .browser import Browser, Window
from .vocabulary import PARSERS, PATIENCE, TEXT, Client, Running, begin, eventually, frame, logged, serving

APP = "examples.chat.main:app"
Join = Callable[..., ClientConnection]


@pytest.fixture(autouse=True)
def empty_rooms() -> None:
    """A server hears a moment later that its clients have left, and the rooms are those of the process."""
    eventually(lambda: not rooms)


@pytest.fixture(scope="module", params=PARSERS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(APP, http=request.param) as running:
        yield running


@pytest.fixture
def join(server: Running) -> Iterator[Join]:
    """`join(name, room)`: a client that has heard itself join. All leave with the test."""
    with ExitStack() as stack:

        def enter(name: str, room: str = "lobby") -> ClientConnection:
            url = f"ws://127.0.0.1:{server.port}/rooms/{room}?name={name}"
            client = stack.enter_context(connect(url, proxy=None))
            assert hear(client)["type"] == "joined"
            return client

        yield enter


def hear(client: ClientConnection) -> Any:
    return json.loads(client.recv(PATIENCE))


def say(client: ClientConnection, text: str) -> None:
    client.send(json.dumps({"text": text}))


def said(name: str, text: str) -> dict[str, str]:
    return {"type": "said", "name": name, "text": text}


def raw(server: Running, name: str) -> Client:
    """A member at the level of bytes, for what no library will do; in the lobby, alone."""
    client = server.connect()
    client.upgrade(f"/rooms/lobby?name={name}")
    assert client.read_frame()[0] == TEXT
    return client


def test_two_talk(join: Join) -> None:
    ada, bo = join("Ada"), join("Bo")
    assert hear(ada) == {"type": "joined", "name": "Bo", "here": ["Ada", "Bo"]}
    say(bo, "  héllo € 👋 ")
    assert hear(ada) == hear(bo) == said("Bo", "héllo € 👋")
    say(ada, "x" * 500)
    assert hear(ada) == hear(bo) == said("Ada", "x" * 500)


def test_a_room_hears_only_itself(join: Join) -> None:
    ada, eve = join("Ada", "tea"), join("Eve", "coffee%20%E2%82%AC")
    for client, name in ((ada, "Ada"), (eve, "Eve")):
        say(client, "here")
        assert hear(client) == said(name, "here")


@pytest.mark.parametrize(
    "wrong, detail",
    [
        ('{"text": ""}', "text: String should have at least 1 character"),
        ('{"text": "   "}', "text: String should have at least 1 character"),
        (json.dumps({"text": "x" * 501}), "text: String should have at most 500 characters"),
        ('{"text": 1}', "text: Input should be a valid string"),
        ("{}", "text: Field required"),
        ("[]", "Input should be an object"),
        ("no JSON", "Invalid JSON: expected"),
        (b"\xff", "Invalid JSON: "),
        ("", "Invalid JSON: "),
    ],
)
def test_an_invalid_message_gets_an_error_and_the_socket_stays(join: Join, wrong: str | bytes, detail: str) -> None:
    ada, bo = join("Ada"), join("Bo")
    hear(ada)
    ada.send(wrong)
    error = hear(ada)
    assert error["type"] == "error"
    assert error["detail"].startswith(detail)
    say(ada, "still here")
    assert hear(ada) == hear(bo) == said("Ada", "still here")  # and Bo has heard of nothing before that


@pytest.mark.parametrize(
    "target", ["/rooms/lobby", "/rooms/lobby?name=%20", f"/rooms/lobby?name={'x' * 33}", "/nowhere"]
)
def test_who_gives_no_proper_name_is_refused(server: Running, target: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}{target}", proxy=None)
    assert refused.value.response.status_code == 403


def test_leaving_is_announced(join: Join) -> None:
    ada, bo = join("Ada"), join("Bo")
    hear(ada)
    bo.close()
    assert hear(ada) == {"type": "left", "name": "Bo", "here": ["Ada"]}


def test_who_vanishes_by_reset_harms_nobody(server: Running, join: Join) -> None:
    with logged() as log:
        vanishing = raw(server, "Bo")
        ada, cy = join("Ada"), join("Cy")
        hear(ada)
        vanishing.send(frame(TEXT, b'{"text": "my last words"}')).abort()
        heard = [hear(ada)]
        if heard == [said("Bo", "my last words")]:  # a reset may overtake what was sent before it
            heard.append(hear(ada))
        assert heard[-1] == {"type": "left", "name": "Bo", "here": ["Ada", "Cy"]}
        assert [hear(cy) for _ in heard] == heard
        say(ada, "where is Bo?")
        assert hear(ada) == hear(cy) == said("Ada", "where is Bo?")
    assert log == []


def test_who_reads_nothing_is_cut_off_and_delays_nobody(server: Running, join: Join) -> None:
    slow = raw(server, "Bo")
    ada = join("Ada")
    for _ in range(100_000):  # until all buffers between here and there are full
        say(ada, "€" * 500)
        heard = hear(ada)
        if heard["type"] == "left":
            break
        assert heard == said("Ada", "€" * 500)
    assert heard == {"type": "left", "name": "Bo", "here": ["Ada"]}
    slow.abort()


def test_a_burst_makes_nobody_look_slow_and_may_meet_who_has_left(
    server: Running, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "miniasgi.error")  # where an app would be named that fails for want of a client
    leaving, talking = raw(server, "Cy"), server.connect()
    ada = join("Ada")
    talking.upgrade("/rooms/lobby?name=Bo")
    assert hear(ada)["name"] == "Bo"
    talking.send(b"".join(frame(TEXT, b'{"text": "%d"}' % number) for number in range(2000)))
    leaving.read_until(b'"said"')
    leaving.abort()
    heard = [hear(ada) for _ in range(2001)]
    heard.remove({"type": "left", "name": "Cy", "here": ["Ada", "Bo"]})
    assert heard == [said("Bo", str(number)) for number in range(2000)]
    talking.close()
    assert hear(ada)["type"] == "left"
    assert caplog.messages == []


def test_a_server_that_stops_says_so_and_nothing_fails(kind: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    http, loop = kind
    with serving(APP, http=http, loop=loop) as server, ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}/rooms/lobby?name="
        clients = [stack.enter_context(connect(url + name, proxy=None)) for name in ("Ada", "Bo")]
        assert hear(clients[0])["here"] == ["Ada"]
        assert hear(clients[0])["here"] == ["Ada", "Bo"] == hear(clients[1])["here"]
        server.server.should_exit = True
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        server.join()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


# The page


def test_the_page_comes_whole_and_names_no_other_host(server: Running) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert page.text.rstrip().endswith("</html>")
    assert "http" not in page.text.replace("http://www.w3.org/2000/svg", "").replace('replace("http", "ws")', "")


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    """A server that outlives the browser, whose pages complain about one that has gone."""
    with serving(APP) as running:
        yield running


def enter(browser: Browser, server: Running, name: str) -> Window:
    window = browser.open(f"http://127.0.0.1:{server.port}/?room=lobby&name={name}")
    window.sees("online", "#status")
    return window


def test_two_windows_talk(site: Running, browser: Browser) -> None:
    ada = browser.open(f"http://127.0.0.1:{site.port}/")
    ada.types("[name=name]", "Ada\n")  # through the door
    ada.sees("1 here: Ada", "#here")
    bo = enter(browser, site, "Bo")
    ada.sees("Bo joined", "#log")
    ada.sees("2 here: Ada, Bo", "#here")
    ada.types("[name=text]", "<b>héllo</b> €\n")
    bo.sees("<b>héllo</b> €", "#log .said:not(.mine) p")
    ada.sees("<b>héllo</b> €", "#log .mine p")
    bo.types("[name=text]", "\n")
    bo.sees("at least 1 character", "#error")
    bo.types("[name=text]", "hello")
    bo.find("#say button").click()
    ada.sees("hello", "#log .said:not(.mine) p")
    assert bo.texts("#error") == [""]
    assert ada.texts("#log .said p") == bo.texts("#log .said p") == ["<b>héllo</b> €", "hello"]
    bo.close()
    ada.sees("Bo left", "#log")


def test_the_page_shows_that_the_server_has_gone_and_finds_it_again(browser: Browser) -> None:
    def serve_again() -> Running:
        config = miniasgi.Config(APP, access_log=False, log_config=None)
        return begin(miniasgi.Server(config), [listener.dup()])

    with socket.create_server(("127.0.0.1", 0)) as listener:  # keeps the port between the two
        server = serve_again()
        eventually(lambda: server.server.started)
        ada = enter(browser, server, "Ada")
        server.stop()
        ada.sees("offline", "#status")
        assert not ada.find("#say button").is_enabled()
        ada.types("[name=text]", "kept\n")
        server = serve_again()
        ada.sees("online", "#status")
        ada.types("[name=text]", "\n")
        ada.sees("kept", "#log .mine p")
        ada.page.get("about:blank")  # it would complain about a server that does not come back
        server.stop()


def test_the_page_fits(site: Running, browser: Browser) -> None:
    """A desktop, a phone, and one with its keyboard open; light and dark."""
    ada = enter(browser, site, "Ada")
    ada.types("[name=text]", "a line\n" * 20 + "w" * 80 + "\n")
    ada.sees("w" * 80, "#log li:last-child")
    page = "const page = document.documentElement;"
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom - innerHeight"
    for width, height in ((1280, 720), (390, 844), (320, 400)):
        ada.resize(width, height)
        assert ada.run(f"{page} return page.scrollWidth <= page.clientWidth && page.scrollHeight <= innerHeight")
        for selector in ("header", "#log", "#log li:last-child", "#say button"):
            eventually(lambda selector=selector: ada.run(bottom, selector) <= 0)  # a resize takes a frame
    paper = "return getComputedStyle(document.body).backgroundColor"
    ada.prefer("dark")
    dark = ada.run(paper)
    ada.prefer("light")
    assert (dark, ada.run(paper)) == ("rgb(22, 24, 28)", "rgb(251, 251, 250)")

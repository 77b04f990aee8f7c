"""X-Forwarded-For and -Proto: believed from trusted peers, in the right order, and from nobody else."""

import socket
from pathlib import Path
from typing import Any

import pytest

from miniasgi.proxy import ProxyHeaders, TrustedPeers
from miniasgi.types import Receive, Scope, Send

from .vocabulary import Client, Recorder, get, serving

PROXY = ("127.0.0.1", 5000)


async def seen_by_app(
    *fields: tuple[str, str], trusted: str = "127.0.0.1", client: Any = PROXY, kind: str = "http"
) -> Scope:
    """The scope that the app gets when a peer sends these fields."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    scheme = {"http": "http", "websocket": "ws"}[kind]
    scope = {"type": kind, "scheme": scheme, "client": client, "headers": headers}
    await ProxyHeaders(app, trusted)(scope, None, None)  # type: ignore[arg-type]
    assert seen[0] is scope
    return seen[0]


async def client_of(*values: str, trusted: str = "127.0.0.1") -> Any:
    """The client that the app sees for these X-Forwarded-For lines."""
    fields = [("X-Forwarded-For", value) for value in values]
    return (await seen_by_app(*fields, trusted=trusted))["client"]


@pytest.mark.parametrize(
    ("text", "host", "is_trusted"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", True, id="address"),
        pytest.param("127.0.0.1", "127.0.0.2", False, id="another address"),
        pytest.param("127.0.0.1,::1", "::1", True, id="second of a list"),
        pytest.param(" 127.0.0.1 , ::1 ,", "::1", True, id="white space and empty members"),
        pytest.param("10.0.0.0/8", "10.255.0.1", True, id="in an IPv4 network"),
        pytest.param("10.0.0.0/8", "11.0.0.1", False, id="outside an IPv4 network"),
        pytest.param("fd00::/8", "fd12::1", True, id="in an IPv6 network"),
        pytest.param("fd00::/8", "fe80::1", False, id="outside an IPv6 network"),
        pytest.param("0.0.0.0/0", "::1", False, id="IPv6 is in no IPv4 network"),
        pytest.param("::1", "0:0:0:0:0:0:0:1", True, id="the same address, spelled otherwise"),
        pytest.param("10.0.0.0/8", "10.0.0.0/8", True, id="a literal is itself"),
        pytest.param("10.0.0.0/8", "10.0.0.0/9", False, id="a network is no address"),
        pytest.param("/run/proxy.sock", "/run/proxy.sock", True, id="a path"),
        pytest.param("proxy", "garbage", False, id="neither address nor literal"),
        pytest.param("*", "anything", True, id="everybody"),
        pytest.param("*", "", True, id="everybody, also without a name"),
        pytest.param("127.0.0.1", "", False, id="no name"),
        pytest.param("", "127.0.0.1", False, id="nobody"),
        pytest.param("", "", False, id="nobody, also without a name"),
    ],
)
def test_the_trust_list_holds_addresses_networks_literals_or_everybody(text: str, host: str, is_trusted: bool) -> None:
    assert (host in TrustedPeers(text)) is is_trusted


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:5", ("1.2.3.4", 5)),
        ("1.2.3.4:65535", ("1.2.3.4", 65535)),
        ("::2", ("::2", 0)),
        ("2001:db8::1:5", ("2001:db8::1:5", 0)),
        ("[::2]", ("::2", 0)),
        ("[::2]:5", ("::2", 5)),
        ("unknown", ("unknown", 0)),
        ("_hidden:5", ("_hidden", 5)),
        # What is malformed stays as it is:
        ("1.2.3.4:", ("1.2.3.4:", 0)),
        ("1.2.3.4:http", ("1.2.3.4:http", 0)),
        ("1.2.3.4:65536", ("1.2.3.4:65536", 0)),
        ("1.2.3.4:" + "9" * 5000, ("1.2.3.4:" + "9" * 5000, 0)),
        ("[::2]5", ("[::2]5", 0)),
        ("[::2", ("[::2", 0)),
        ("[]", ("[]", 0)),
        ("1.2.3.4 5", ("1.2.3.4 5", 0)),
        ("\x9b31m", ("\\x9b31m", 0)),  # a terminal would take it for a command
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_H12_the_client_has_the_name_and_the_port_that_the_proxy_reports(
    value: str, client: tuple[str, int]
) -> None:
    assert await client_of(value) == client


@pytest.mark.parametrize(
    ("values", "trusted", "host"),
    [
        pytest.param(["6.6.6.6, 1.2.3.4"], "127.0.0.1", "1.2.3.4", id="one proxy"),
        pytest.param(["6.6.6.6, 1.2.3.4, 10.0.0.1"], "127.0.0.1,10.0.0.0/8", "1.2.3.4", id="two proxies"),
        pytest.param(["6.6.6.6, 1.2.3.4, 10.0.0.1:80"], "127.0.0.1,10.0.0.1", "1.2.3.4", id="with a port"),
        pytest.param(["6.6.6.6", "1.2.3.4,10.0.0.1"], "127.0.0.1,10.0.0.1", "1.2.3.4", id="lines in order"),
        pytest.param(["1.2.3.4, 10.0.0.1x"], "127.0.0.1,10.0.0.1", "10.0.0.1x", id="not quite trusted"),
        pytest.param(["10.0.0.2, 10.0.0.1"], "127.0.0.1,10.0.0.0/8", "10.0.0.2", id="all are trusted"),
        pytest.param(["1.2.3.4, 5.6.7.8"], "*", "1.2.3.4", id="everybody is trusted"),
        pytest.param([" ,, 1.2.3.4 ,"], "127.0.0.1", "1.2.3.4", id="empty members"),
    ],
)
async def test_the_client_is_the_last_host_that_is_not_trusted(values: list[str], trusted: str, host: str) -> None:
    assert await client_of(*values, trusted=trusted) == (host, 0)


@pytest.mark.parametrize("values", [[], [""], [" , "]], ids=["no field", "empty", "only commas"])
async def test_the_peer_is_the_client_if_nobody_is_reported(values: list[str]) -> None:
    assert await client_of(*values) == PROXY


@pytest.mark.parametrize(
    ("values", "http", "websocket"),
    [
        (["https"], "https", "wss"),
        (["http"], "http", "ws"),
        (["wss"], "https", "wss"),
        (["ws"], "http", "ws"),
        (["HTTPS"], "https", "wss"),
        (["http, https"], "https", "wss"),  # the nearest proxy is the one that we trust
        (["http", "https"], "https", "wss"),
        (["gopher"], "http", "ws"),
        (["https, gopher"], "http", "ws"),
        ([""], "http", "ws"),
        ([], "http", "ws"),
    ],
    ids=lambda value: repr(value) if isinstance(value, list) else "",
)
async def test_the_scheme_is_what_the_nearest_proxy_reports(values: list[str], http: str, websocket: str) -> None:
    fields = [("X-Forwarded-Proto", value) for value in values]
    assert (await seen_by_app(*fields))["scheme"] == http
    assert (await seen_by_app(*fields, kind="websocket"))["scheme"] == websocket


FORWARDED = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")]


async def test_a_peer_that_is_not_trusted_is_not_believed() -> None:
    scope = await seen_by_app(*FORWARDED, client=("10.0.0.1", 5000))
    assert (scope["client"], scope["scheme"]) == (("10.0.0.1", 5000), "http")


async def test_a_peer_without_a_name_is_believed_only_if_everybody_is() -> None:
    scope = await seen_by_app(*FORWARDED, client=None)
    assert (scope["client"], scope["scheme"]) == (None, "http")
    scope = await seen_by_app(*FORWARDED, client=None, trusted="*")
    assert (scope["client"], scope["scheme"]) == (("1.2.3.4", 0), "https")


async def test_a_lifespan_is_handed_on_untouched() -> None:
    seen = []

    async def app(*call: Any) -> None:
        seen.append(call)

    scope, receive, send = {"type": "lifespan"}, object(), object()
    await ProxyHeaders(app, "*")(scope, receive, send)  # type: ignore[arg-type]
    assert seen == [(scope, receive, send)]
    assert scope == {"type": "lifespan"}


# On a real server:

REQUEST = get("/", "X-Forwarded-For: 1.2.3.4:5", "X-Forwarded-Proto: https")


def test_a_proxy_on_this_machine_is_believed_by_default() -> None:
    app = Recorder()
    with serving(app) as server:
        server.ask(REQUEST)
    assert (app.scope["client"], app.scope["scheme"]) == (("1.2.3.4", 5), "https")


@pytest.mark.parametrize(
    "options",
    [{"proxy_headers": False}, {"forwarded_allow_ips": ""}, {"forwarded_allow_ips": "10.0.0.1"}],
    ids=["--no-proxy-headers", "nobody", "somebody else"],
)
def test_a_proxy_on_this_machine_can_be_distrusted(options: dict[str, Any]) -> None:
    app = Recorder()
    with serving(app, **options) as server:
        server.ask(REQUEST)
    assert (app.scope["client"][0], app.scope["scheme"]) == ("127.0.0.1", "http")


def test_the_fields_of_one_request_say_nothing_about_the_next() -> None:
    app = Recorder()
    with serving(app) as server:
        client = server.connect()
        client.ask(REQUEST)
        client.ask(get())
    assert app.scopes[0]["client"] == ("1.2.3.4", 5)
    assert (app.scope["client"][0], app.scope["scheme"]) == ("127.0.0.1", "http")


def test_a_proxy_behind_a_unix_socket_is_believed_if_everybody_is(tmp_path: Path) -> None:
    app, path = Recorder(), str(tmp_path / "s")
    with serving(app, uds=path, forwarded_allow_ips="*"), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        Client(sock).ask(REQUEST)
    assert (app.scope["client"], app.scope["server"]) == (("1.2.3.4", 5), (path, None))

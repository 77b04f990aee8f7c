"""Every option: its default, its checks, and what follows from it. A mistake is one sentence."""

import asyncio
import dataclasses
import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import miniasgi
from miniasgi import Config, ConfigError, logs
from miniasgi.parser_h11 import H11Parser
from miniasgi.parser_httptools import HttptoolsParser
from miniasgi.proxy import ProxyHeaders
from miniasgi.service import WebSocketOptions
from miniasgi.websocket import WebSocket

from .test_importer import APP, importing_from, write
from .test_logs import logging_restored
from .vocabulary import answer, get, serving

app = answer()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory: empty, and to import from; afterwards all is as before."""
    monkeypatch.chdir(tmp_path)
    with importing_from(tmp_path), logging_restored():
        yield tmp_path


def mistake(**options: Any) -> str:
    """What `Config` says about a mistake."""
    with pytest.raises(ConfigError) as caught:
        Config(app, **options)
    return str(caught.value)


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package were not installed."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"miniasgi.parser_{name}", raising=False)  # which has imported it already


# Values:


def test_the_defaults_suit_a_server_that_faces_the_world() -> None:
    config = Config(app)
    assert (config.host, config.port, config.backlog) == ("127.0.0.1", 8000, 2048)
    assert (config.limit_request_line, config.limit_request_head, config.limit_request_fields) == (8192, 65536, 100)
    assert (config.limit_request_body, config.limit_concurrency, config.limit_max_requests) == (None, None, None)
    assert (config.timeout_request_head, config.timeout_request_body) == (10, 60)
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (5, 30)
    assert (config.server_header, config.date_header, config.proxy_headers, config.access_log) == (True,) * 4
    assert (config.factory, config.cancel_on_disconnect, config.limit_max_requests_jitter) == (False, False, 0)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_is_in_range(port: int) -> None:
    assert (Config(app, port=0).port, Config(app, port=65535).port) == (0, 65535)
    assert mistake(port=port) == f"port {port} is out of range: 0 to 65535"


@pytest.mark.parametrize(
    "name",
    [
        "backlog",
        "limit_concurrency",
        "limit_max_requests",
        "limit_request_line",
        "limit_request_head",
        "limit_request_fields",
        "limit_request_body",
        "ws_max_size",
        "ws_max_queue",
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_at_least_1(name: str, value: int) -> None:
    assert mistake(**{name: value}) == f"{name} must be at least 1, not {value}"
    assert getattr(Config(app, **{name: 1}), name) == 1


@pytest.mark.parametrize(
    "name",
    [
        "timeout_request_head",
        "timeout_request_body",
        "timeout_keep_alive",
        "timeout_graceful_shutdown",
        "limit_max_requests_jitter",
        "ws_ping_interval",
        "ws_ping_timeout",
    ],
)
def test_a_time_and_a_jitter_are_at_least_0(name: str) -> None:
    assert mistake(**{name: -1}) == f"{name} must be at least 0, not -1"
    assert getattr(Config(app, **{name: 0}), name) == 0


def test_a_time_is_a_number() -> None:
    assert mistake(timeout_keep_alive=float("nan")) == "timeout_keep_alive must be at least 0, not nan"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("fd", -1, "fd must be at least 0, not -1"),
        ("loop", "trio", "loop must be auto or asyncio or uvloop, not 'trio'"),
        ("http", "zttp", "http must be auto or h11 or httptools, not 'zttp'"),
        ("ws", "websockets", "ws must be auto or wsproto or none, not 'websockets'"),
        ("lifespan", "of", "lifespan must be auto or on or off, not 'of'"),
        ("interface", "rack", "interface must be auto or asgi3 or asgi2 or wsgi, not 'rack'"),
        ("log_format", "xml", "log_format must be text or json, not 'xml'"),
        ("log_level", "loud", "log_level must be critical or error or warning or info or debug or trace, not 'loud'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(name: str, value: Any, sentence: str) -> None:
    assert mistake(**{name: value}) == sentence


@pytest.mark.parametrize("options", [{"port": "8000"}, {"timeout_keep_alive": "5"}], ids=str)
def test_a_number_is_a_number(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="not supported between instances of"):
        Config(app, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_keep_alive": 5},
        {"ws_ping_interval": None, "ws_ping_timeout": 1},
        {"uds": None, "fd": None, "limit_concurrency": None, "use_colors": None},
        {"log_level": logging.DEBUG},
        {"log_config": {"version": 1}},
        {"http": H11Parser, "ws": WebSocket},
        {"http": "main:Mine", "ws": "main:Mine"},
        {"headers": [("A", "b")]},
        {"app_dir": Path(), "env_file": None},
    ],
    ids=lambda options: ",".join(options),
)
def test_a_value_may_be_of_any_kind_that_its_option_has(options: dict[str, Any]) -> None:
    config = Config(app, **options)
    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("a b", "c"), "invalid header name b'a b' (RFC 9110 5.1)"),
        (("", "c"), "invalid header name b'' (RFC 9110 5.1)"),
        (("ü", "c"), "invalid header name b'\\xfc' (RFC 9110 5.1)"),
        (("A", "b\r\nC: d"), "control character in header"),
        (("A", "\x1f"), "control character in header"),
        (("A", "\x7f"), "control character in header"),
        (("A", "€"), "'latin-1' codec can't encode character '\\u20ac' in position 0: ordinal not in range(256)"),
        (("Content-Length", "5"), "the server has to settle that itself"),
        (("transfer-encoding", "chunked"), "the server has to settle that itself"),
        (("Connection", "close"), "the server has to settle that itself"),
        ((b"A", b"b"), "'bytes' object has no attribute 'encode'"),
    ],
)
def test_a_header_that_would_break_responses_is_refused(header: Any, reason: str) -> None:
    assert mistake(headers=[header]).startswith(f"--header {header!r}: {reason}")


@pytest.mark.parametrize(
    "header", [("A", ""), ("A", "b c"), ("A", "b\tc"), ("A", "\xe9"), ("Server", "x"), ("date", "x")], ids=repr
)
def test_any_other_header_is_welcome(header: tuple[str, str]) -> None:
    assert Config(app, headers=[header]).headers == [header]


@pytest.mark.parametrize("header", [3, ("A",), ("A", "b", "c")], ids=repr)
def test_a_header_is_a_name_and_a_value(header: Any) -> None:
    assert mistake(headers=[header]).startswith(f"--header {header!r}: ")


# Files:


def test_an_env_file_that_is_not_there_is_said(folder: Path) -> None:
    assert mistake(env_file="nowhere") == "--env-file nowhere: [Errno 2] No such file or directory: 'nowhere'"
    assert mistake(env_file=folder).startswith(f"--env-file {folder}: [Errno 21] Is a directory")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the environment, which may be changed."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.mark.usefixtures("environment")
def test_an_env_file_fills_the_environment_and_overrides_nothing(folder: Path) -> None:
    os.environ["TEST_SET"] = "before"
    (folder / ".env").write_text("# a comment\nTEST_SET=file\nTEST_UNSET='from the file'\n")
    Config(app, env_file=".env")
    assert (os.environ["TEST_SET"], os.environ["TEST_UNSET"]) == ("before", "from the file")


def test_an_env_file_needs_a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").touch()
    monkeypatch.setitem(sys.modules, "dotenv", None)  # as if it were not installed
    assert mistake(env_file=".env") == "--env-file needs a package: pip install python-dotenv"


def test_an_env_file_that_is_no_text_is_said(folder: Path) -> None:
    (folder / ".env").write_bytes(b"A=\xff")
    assert mistake(env_file=".env").startswith("--env-file .env: 'utf-8' codec can't decode byte 0xff")


# Logging:


def test_logging_is_ours_unless_said_otherwise() -> None:
    Config(app, log_format="json", log_level="debug").setup_logging()
    assert isinstance(logs.error_logger.parent.handlers[0].formatter, logs.JsonFormatter)
    assert logs.access_logger.level == logs.error_logger.getEffectiveLevel() == logging.DEBUG


def test_a_level_may_be_a_number() -> None:
    Config(app, log_level=logging.ERROR).setup_logging()
    assert logs.access_logger.level == logging.ERROR


def test_no_log_config_leaves_logging_to_the_program() -> None:
    handlers = list(logs.access_logger.handlers)
    Config(app, log_config=None, access_log=False).setup_logging()
    assert logs.access_logger.handlers == handlers


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("log.json", None, "[Errno 2] No such file or directory: 'log.json'"),
        ("log.yaml", None, "[Errno 2] No such file or directory: 'log.yaml'"),
        ("log.ini", None, "[Errno 2] No such file or directory: 'log.ini'"),
        ("log.json", "{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("log.json", "[]", "dictionary doesn't specify a version"),
        ("log.yaml", "a: [", "while parsing a flow node expected the node content, but found '<stream end>'"),
        ("log.ini", "[loggers]", "there is no section or key 'formatters'"),
        (
            "log.json",
            '{"version": 1, "handlers": {"a": {"class": "no.Handler"}}}',
            "Unable to configure handler 'a': Cannot resolve 'no.Handler': No module named 'no'",
        ),
    ],
)
def test_a_broken_log_config_is_one_sentence(name: str, text: str | None, reason: str, folder: Path) -> None:
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config(app, log_config=name).setup_logging()
    assert str(caught.value).startswith(f"--log-config {name}: {reason}")
    assert "\n" not in str(caught.value)


# The app:


def test_the_app_is_imported_from_the_app_dir(folder: Path) -> None:
    write(folder, main="1 / 0", src__main=APP)
    Config("main:app", app_dir="src").load_app()
    assert sys.path[0] == str(folder / "src")


def test_the_app_dir_comes_first_and_only_once(folder: Path) -> None:
    write(folder, main=APP)
    sys.path.insert(0, "/elsewhere")
    config = Config("main:app")
    config.load_app()
    config.load_app()
    assert sys.path[:2] == [str(folder), "/elsewhere"]


def test_an_app_dir_that_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Config("nowhere:app", app_dir="src").load_app()
    assert str(caught.value) == f"module 'nowhere' not found (looked in {folder / 'src'})"


def test_an_app_that_nobody_named_is_looked_for_in_the_app_dir(folder: Path) -> None:
    write(folder, app="1 / 0", src__main=APP)
    config = Config("", app_dir="src")
    config.load_app()
    assert config.app == "main:app"


def test_the_app_gets_what_the_options_ask_for() -> None:
    assert Config(app, proxy_headers=False).load_app() is app
    wrapped = Config(app, forwarded_allow_ips="10.0.0.1").load_app()
    assert isinstance(wrapped, ProxyHeaders)
    assert wrapped.app is app
    assert "10.0.0.1" in wrapped.trusted


@pytest.mark.parametrize("level", ["trace", logs.TRACE])
def test_the_app_is_traced_if_asked(level: Any) -> None:
    assert Config(app, proxy_headers=False, log_level=level).load_app() is not app


def test_trusted_peers_come_from_the_option_or_the_environment_or_are_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert Config(app).trusted_peers == "127.0.0.1,::1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    assert Config(app).trusted_peers == "10.0.0.1"
    assert Config(app, forwarded_allow_ips="").trusted_peers == ""


# Parser and event loop:


def test_the_parser_is_httptools_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config(app).parser_class() is HttptoolsParser
    without("httptools", monkeypatch)
    assert Config(app).parser_class() is H11Parser


def test_the_parser_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(H11Parser): ...

    assert Config(app, http="h11").parser_class() is H11Parser
    assert Config(app, http="httptools").parser_class() is HttptoolsParser
    assert Config(app, http=Mine).parser_class() is Mine
    without("httptools", monkeypatch)
    with pytest.raises(ConfigError, match=r"^--http httptools: httptools is not installed; pip install httptools$"):
        Config(app, http="httptools").parser_class()


CLASSES = """
from miniasgi.parser_h11 import H11Parser
from miniasgi.websocket import WebSocket

class Mine(H11Parser): ...

class MyWebSocket(WebSocket): ...

def function(): ...
"""


def test_a_class_of_ones_own_may_be_named(folder: Path) -> None:
    (folder / "lib").mkdir()
    write(folder / "lib", main=CLASSES)
    config = Config(app, http="main:Mine", ws="main:MyWebSocket", app_dir="lib")
    assert (config.parser_class().__name__, issubclass(config.parser_class(), H11Parser)) == ("Mine", True)
    chosen = config.websocket_class()
    assert chosen is not None
    assert (chosen.__name__, issubclass(chosen, WebSocket)) == ("MyWebSocket", True)


async def test_a_class_for_websockets_comes_to_the_connections() -> None:
    class Mine(WebSocket): ...

    for ws, expected in (Mine, Mine), ("auto", None), ("wsproto", None), ("none", None):
        assert Config(app, ws=ws).service(app, {}).websocket_class is expected  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["http", "ws"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere:Mine", "module 'nowhere' not found (looked in {folder})"),
        ("main:Nope", "--{option} 'main:Nope': module 'main' has no attribute 'Nope'"),
        ("main:function", "--{option} main:function is not a class, but of type function"),
        (":Mine", "--{option} ':Mine' must be in the form module:attribute, like main:app"),
    ],
)
def test_a_name_of_no_class_is_one_sentence(option: str, name: str, sentence: str, folder: Path) -> None:
    write(folder, main=CLASSES)
    config = Config(app, **{option: name})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        config.parser_class(), config.websocket_class()
    assert str(caught.value) == sentence.format(option=option, folder=folder)


def module_of_loop(**options: Any) -> str:
    loop = Config(app, **options).loop_factory()()
    loop.close()
    return type(loop).__module__.partition(".")[0]


def test_the_event_loop_is_uvloop_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop")
    assert module_of_loop() == "uvloop"
    without("uvloop", monkeypatch)
    assert module_of_loop() == "asyncio"


def test_the_event_loop_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop")
    assert module_of_loop(loop="asyncio") == "asyncio"
    assert module_of_loop(loop="uvloop") == "uvloop"
    without("uvloop", monkeypatch)
    with pytest.raises(ConfigError, match=r"^--loop uvloop: uvloop is not installed; pip install uvloop$"):
        Config(app, loop="uvloop").loop_factory()


# What connections share:


async def test_connections_get_the_values_of_the_options() -> None:
    state = {"model": 1}
    config = Config(
        app,
        http="h11",
        root_path="/api",
        limit_concurrency=7,
        limit_request_head=1000,
        limit_request_fields=3,
        limit_request_line=100,
        limit_request_body=10,
        timeout_request_head=1,
        timeout_request_body=2,
        timeout_keep_alive=3,
        cancel_on_disconnect=True,
    )
    service = config.service(app, state)
    assert service.app is app
    assert service.loop is asyncio.get_running_loop()
    assert service.parser_class is H11Parser
    assert (service.limits.head, service.limits.fields, service.limits.line, service.limits.body) == (1000, 3, 100, 10)
    assert (service.timeouts.head, service.timeouts.body, service.timeouts.keep_alive) == (1, 2, 3)
    assert (service.root_path, service.state, service.concurrency) == ("/api", state, 7)
    assert service.cancel_on_disconnect


@pytest.mark.parametrize("zero", [0, 0.0])
async def test_a_timeout_of_0_is_no_limit_but_for_an_idle_connection(zero: float) -> None:
    config = Config(app, timeout_request_head=zero, timeout_request_body=zero, timeout_keep_alive=zero)
    timeouts = config.service(app, {}).timeouts
    assert (timeouts.head, timeouts.body, timeouts.keep_alive) == (math.inf, math.inf, 0)


async def test_websockets_get_the_values_of_the_options() -> None:
    config = Config(
        app, ws_max_size=1, ws_max_queue=2, ws_ping_interval=3, ws_ping_timeout=4, ws_per_message_deflate=False
    )
    assert config.service(app, {}).websocket == WebSocketOptions(1, 2, 3, 4, False)


async def test_websockets_are_as_in_uvicorn_unless_said_otherwise() -> None:
    expected = WebSocketOptions(16 * 1024 * 1024, 32, 20, 20, True)
    assert Config(app).service(app, {}).websocket == expected == WebSocketOptions()
    assert Config(app, ws="wsproto").service(app, {}).websocket == expected
    assert Config(app, ws="none").service(app, {}).websocket.enabled is False


@pytest.mark.parametrize("zero", [0, 0.0, None])
async def test_a_ping_time_of_0_or_none_is_no_limit(zero: float | None) -> None:
    websocket = Config(app, ws_ping_interval=zero, ws_ping_timeout=zero).service(app, {}).websocket
    assert (websocket.ping_interval, websocket.ping_timeout) == (math.inf, math.inf)


def test_no_access_log_writes_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for wanted in (True, False):
        with serving(app, access_log=wanted, lifespan="off") as server:
            server.ask(get(f"/{wanted}"))
            server.stop()
    lines = [record.getMessage() for record in caplog.records if record.name == "miniasgi.access"]
    assert len(lines) == 1
    assert '"GET /True HTTP/1.1"' in lines[0]


def test_H10_a_root_path_stands_in_the_scope() -> None:
    scopes = []

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await app(scope, receive, send)

    with serving(keep, root_path="/api", lifespan="off") as server:
        server.ask(get("/x"))
    assert (scopes[0]["root_path"], scopes[0]["path"], scopes[0]["raw_path"]) == ("/api", "/api/x", b"/x")


def test_every_response_has_the_headers_that_were_asked_for() -> None:
    headers = [("X-Frame-Options", "DENY"), ("A", "b"), ("A", "c")]
    with serving(app, headers=headers, server_header=False, date_header=False, lifespan="off") as server:
        reply = server.ask(get())
    assert sorted(reply.headers) == [
        (b"a", b"b"),
        (b"a", b"c"),
        (b"content-length", b"2"),
        (b"x-frame-options", b"DENY"),
    ]


def test_requests_end_at_a_number_with_some_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    thrown = []

    def randint(least: int, most: int) -> int:
        thrown.append((least, most))
        return most

    monkeypatch.setattr("random.randint", randint)
    assert Config(app).max_requests() is None
    assert Config(app, limit_max_requests=10).max_requests() == 10
    assert Config(app, limit_max_requests=10, limit_max_requests_jitter=5).max_requests() == 15
    assert thrown == [(0, 0), (0, 5)]


def test_the_options_are_named_and_the_app_is_not() -> None:
    assert Config(app).app is app
    with pytest.raises(TypeError):
        Config(app, "127.0.0.1")  # type: ignore[misc]
    assert {field.name for field in dataclasses.fields(Config) if not field.metadata} == {"app", "ssl_context_factory"}


def test_the_package_offers_what_a_program_needs() -> None:
    assert set(miniasgi.__all__) == {"ClientDisconnected", "Config", "ConfigError", "Server", "__version__", "run"}
    assert all(hasattr(miniasgi, name) for name in miniasgi.__all__)

"""How our lines look, when access lines are written, and what a trace leaves out."""

import asyncio
import contextlib
import io
import json
import logging
import logging.handlers
import re
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import click
import pytest
from uvicorn.logging import TRACE_LOG_LEVEL

from miniasgi import logs
from miniasgi.types import Message, Receive, Scope, Send

from .vocabulary import START, Gate, answer, body, eventually, get, post, read_body, sends, serving, spawned

_ATTRIBUTES = ("handlers", "filters", "level", "propagate", "disabled")


def settings_of_logging() -> dict[str, Any]:
    """How the loggers that we have to do with are set up."""
    loggers = [logging.getLogger(name) for name in (None, "miniasgi", "miniasgi.error", "miniasgi.access")]
    settings = {(logger, name): getattr(logger, name) for logger in loggers for name in _ATTRIBUTES}
    return {key: list(value) if isinstance(value, list) else value for key, value in settings.items()}


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Loggers may be set up; afterwards they are as before."""
    before = settings_of_logging()
    try:
        yield
    finally:
        for (logger, name), value in before.items():
            setattr(logger, name, value)
        for logger in {logger for logger, _ in before}:
            logger.setLevel(logger.level)  # which forgets what logging has remembered about levels


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with logging_restored():
        yield


class Kept(logging.Handler):
    """Somebody else's handler, which keeps its records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def access() -> Kept:
    """The records of the access log."""
    return _listening(logs.access_logger, logging.INFO)


@pytest.fixture
def errors() -> Kept:
    """The records of the other log, down to trace."""
    return _listening(logs.error_logger, logs.TRACE)


def _listening(logger: logging.Logger, level: int) -> Kept:
    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(level)
    return handler


CLIENT = ("1.2.3.4", 5)
BEGAN, SECONDS = 10.0, 1.23456789


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock, `SECONDS` after what `answered` gives has begun."""
    monkeypatch.setattr("miniasgi.logs.perf_counter", lambda: BEGAN + SECONDS)


def answered(status: int = 200, sent: int = 12, target: bytes = b"/a?b=%20", client: Any = CLIENT) -> Any:
    """As much of a cycle as an access line tells of."""
    return SimpleNamespace(
        scope={"type": "http", "client": client},
        status=status,
        began=BEGAN,
        request=SimpleNamespace(method="GET", target=target, http_version="1.1"),
        sent=sent,
    )


def record(level: int = logging.INFO, message: str = "Hello %s", *args: Any, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("miniasgi.error", level, __file__, 1, message, args or ("you",), None)
    made.__dict__.update(more)
    return made


# Formats:


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.INFO, "INFO:     Hello you"),
        (logging.WARNING, "WARNING:  Hello you"),
        (logging.CRITICAL, "CRITICAL: Hello you"),
    ],
)
def test_text_begins_with_the_level(level: int, line: str) -> None:
    assert logs.TextFormatter().format(record(level)) == line


@pytest.mark.parametrize(
    ("level", "colour"),
    [(logging.INFO, "green"), (logging.WARNING, "yellow"), (logging.ERROR, "red"), (logging.DEBUG, "cyan")],
)
def test_colours_are_for_the_level_alone(level: int, colour: str) -> None:
    line = logs.TextFormatter(use_colors=True).format(record(level))
    name = logging.getLevelName(level)
    assert line.startswith(click.style(name, fg=colour) + ":")
    assert click.unstyle(line) == logs.TextFormatter().format(record(level))


def test_text_shows_an_exception() -> None:
    line = logs.TextFormatter().format(record(exc_info=_exc_info()))
    assert line.startswith("INFO:     Hello you\nTraceback")
    assert line.endswith("ValueError: no")


def _exc_info() -> Any:
    try:
        raise ValueError("no")
    except ValueError:
        return sys.exc_info()


def test_json_is_one_object_a_line() -> None:
    line = logs.JsonFormatter().format(record(message="Hello\n%s", created=1763830861.9375))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2025-11-22T17:01:01.937+00:00",
        "level": "info",
        "logger": "miniasgi.error",
        "message": "Hello\nyou",
    }


def test_json_has_its_exception_in_a_field() -> None:
    entry = json.loads(logs.JsonFormatter().format(record(exc_info=_exc_info())))
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ValueError: no")


# Configuration:


def configure(
    config: logs.LogConfig = "default",
    level: str | int | None = None,
    log_format: logs.LogFormat = "text",
    use_colors: bool | None = None,
) -> None:
    logs.configure(config, level, log_format, use_colors)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_colours_are_for_terminals_unless_said_otherwise(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, SimpleNamespace(isatty=lambda: is_terminal))
    for said, used in ((None, is_terminal), (True, True), (False, False)):
        configure(use_colors=said)
        for logger in (logs.access_logger, logs.error_logger.parent):
            assert logger.handlers[0].formatter.use_colors is used


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_messages_go_to_stderr_and_access_lines_to_stdout(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = _listening(logging.getLogger(), logging.DEBUG)
    configure(log_format=log_format)
    logs.error_logger.info("one")
    logs.error_logger.debug("too low")
    logs.access_logger.info("two")
    assert root.records == [], "or an app that sets up logging would see each line twice"
    out, err = capsys.readouterr()
    if log_format == "json":
        out, err = (json.loads(text)["message"] for text in (out, err))
        assert (out, err) == ("two", "one")
    else:
        assert (out, err) == ("INFO:     two\n", "INFO:     one\n")


@pytest.mark.parametrize("level", ["error", logging.ERROR])
def test_a_level_holds_for_both_logs(level: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure(level=level)
    logs.error_logger.warning("one")
    logs.access_logger.warning("two")
    logs.error_logger.error("three")
    assert capsys.readouterr() == ("", "ERROR:    three\n")


def test_the_level_trace_is_that_of_uvicorn_and_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.TRACE == TRACE_LOG_LEVEL
    configure(level="trace")
    logs.error_logger.log(logs.TRACE, "fine")
    assert capsys.readouterr().err == "TRACE:    fine\n"


def test_no_configuration_leaves_logging_as_it_is() -> None:
    before = settings_of_logging()
    configure(None)
    assert settings_of_logging() == before


TABLE: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"mine": {"format": "mine: %(message)s"}},
    "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stdout"}},
    "loggers": {"miniasgi.error": {"handlers": ["mine"], "level": "INFO", "propagate": False}},
}
INI = """
[loggers]
keys=root,mine
[handlers]
keys=mine
[formatters]
keys=mine
[logger_root]
handlers=
[logger_mine]
qualname=miniasgi.error
handlers=mine
level=INFO
propagate=0
[handler_mine]
class=StreamHandler
formatter=mine
args=(sys.stdout,)
[formatter_mine]
format=mine: %(message)s
"""


@pytest.mark.parametrize("kind", ["dict", "log.json", "log.yaml", "log.yml", "log.ini", "log"])
def test_a_configuration_is_a_dict_or_a_file(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {".json": json.dumps(TABLE), ".yaml": json.dumps(TABLE), ".yml": json.dumps(TABLE)}  # JSON is YAML
    path = tmp_path / kind
    path.write_text(texts.get(path.suffix, INI))
    configure(TABLE if kind == "dict" else str(path))
    logs.error_logger.info("Grüße")
    assert capsys.readouterr().out == "mine: Grüße\n"


@pytest.mark.parametrize("config", ["default", "log.ini"])
def test_the_loggers_that_an_app_has_made_before_go_on(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.ini").write_text(INI)
    logger = logging.getLogger("somebody.else")
    configure(config)
    assert not logger.disabled


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("log.json", "{", "Expecting property name"),
        ("log.json", "[]", "dictionary doesn't specify a version"),
        ("log.json", '{"version": 2}', "Unsupported version: 2"),
        ("log.yaml", "a: [", "while parsing a flow node"),
        ("log.yaml", "", "dictionary doesn't specify a version"),
        ("log.ini", "no sections", "no section headers"),
        ("log.ini", "[loggers]", "there is no section or key 'formatters'"),
    ],
)
def test_a_broken_file_raises_what_is_wrong_with_it(name: str, text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(Exception, match=reason):
        configure(path)


@pytest.mark.parametrize("name", ["log.json", "log.yaml", "log.ini"])
def test_a_file_that_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        configure(tmp_path / name)
    assert caught.value.strerror == "No such file or directory"


def test_a_yaml_file_says_which_package_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.yaml"
    path.touch()
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if it were not installed
    with pytest.raises(ImportError, match="yaml"):
        configure(path)


# Which access log:


def ours(log_format: logs.LogFormat = "text", use_colors: bool = False) -> logging.StreamHandler[Any]:
    """Sets up our own configuration, and gives its handler of the access log.

    No fixture: before a test is called, pytest adds handlers to loggers that do not propagate.
    """
    configure(log_format=log_format, use_colors=use_colors)
    handler = logs.access_logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    return handler


async def kinds_of_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Writes a line, and tells whether it was a record or waited for others."""
    log = logs.access_log()
    assert log is not None
    with mock.patch.object(logs.access_logger, "info") as info:
        log.record(answered())
    log.flush()
    assert bool(capsys.readouterr().out) is not info.called
    return "record" if info.called else "batch"


async def test_lines_are_batched_as_long_as_the_access_logger_is_ours_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for log_format in ("text", "json"):
        ours(log_format)  # type: ignore[arg-type]
        assert await kinds_of_line(capsys) == "batch"


def _reject(record: logging.LogRecord) -> bool:
    return False


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param(lambda handler: logs.access_logger.addFilter(_reject), id="filter on the logger"),
        pytest.param(lambda handler: handler.addFilter(_reject), id="filter on the handler"),
        pytest.param(lambda handler: handler.setFormatter(logging.Formatter()), id="another formatter"),
        pytest.param(lambda handler: handler.setLevel(logging.ERROR), id="a level of the handler"),
        pytest.param(lambda handler: logs.access_logger.addHandler(Kept()), id="one more handler"),
        pytest.param(lambda handler: setattr(logs.access_logger, "handlers", [Kept()]), id="another handler"),
        pytest.param(
            lambda handler: setattr(
                logs.access_logger, "handlers", [logging.handlers.WatchedFileHandler("x", delay=True)]
            ),
            id="a file",
        ),
        pytest.param(lambda handler: setattr(logs.access_logger, "propagate", True), id="propagation"),
    ],
)
async def test_every_line_is_a_record_when_somebody_has_touched_the_access_logger(
    touch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(ours())
    assert await kinds_of_line(capsys) == "record"


@pytest.mark.parametrize(
    "silence",
    [
        pytest.param(lambda: logs.access_logger.setLevel(logging.WARNING), id="level"),
        pytest.param(lambda: setattr(logs.access_logger, "handlers", []), id="no handlers"),
        pytest.param(lambda: setattr(logs.access_logger, "disabled", True), id="disabled"),
    ],
)
def test_there_is_no_access_log_when_nobody_listens(silence: Any) -> None:
    ours()
    silence()
    assert logs.access_log() is None


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_a_handler_of_somebody_else_with_our_format_gets_records(
    log_format: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One that begins a new file every day has to know of each line.
    handler = logging.handlers.TimedRotatingFileHandler(tmp_path / "log", delay=True)
    handler.setFormatter(ours(log_format).formatter)
    logs.access_logger.handlers = [handler]
    assert await kinds_of_line(capsys) == "record"


async def test_an_access_log_without_our_configuration_is_of_records(
    access: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await kinds_of_line(capsys) == "record"


# What a line says:

LINES = [
    pytest.param(answered(), '1.2.3.4:5 - "GET /a?b=%20 HTTP/1.1" 200 OK 1234.6ms 12B', id="200"),
    pytest.param(answered(404, 0), '1.2.3.4:5 - "GET /a?b=%20 HTTP/1.1" 404 Not Found 1234.6ms 0B', id="404"),
    pytest.param(answered(299), '1.2.3.4:5 - "GET /a?b=%20 HTTP/1.1" 299  1234.6ms 12B', id="without a phrase"),
    pytest.param(answered(0, 0), '1.2.3.4:5 - "GET /a?b=%20 HTTP/1.1" 499 Client Left 1234.6ms 0B', id="499"),
]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("cycle", "line"), LINES)
async def test_records_and_batches_are_the_same_text(cycle: Any, line: str, access: Kept) -> None:
    log = logs.AccessLog()
    log.record(cycle)
    log.flush()
    assert access.lines == [line]
    assert await batched(cycle) == f"INFO:     {line}\n"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("cycle", "line"), LINES)
async def test_records_and_batches_are_the_same_json(cycle: Any, line: str, access: Kept) -> None:
    logs.AccessLog().record(cycle)
    one = json.loads(logs.JsonFormatter().format(access.records[0]))
    other = json.loads(await batched(cycle, "json"))
    moments = [datetime.fromisoformat(entry.pop("time")) for entry in (one, other)]
    assert all(abs((datetime.now(UTC) - moment).total_seconds()) < 60 for moment in moments)
    assert one == other
    status = cycle.status or 499
    assert one == {
        "level": "info",
        "logger": "miniasgi.access",
        "client": "1.2.3.4:5",
        "method": "GET",
        "path": "/a?b=%20",
        "http_version": "1.1",
        "status": status,
        "phrase": {200: "OK", 404: "Not Found", 299: "", 499: "Client Left"}[status],
        "ms": 1234.568,
        "bytes": cycle.sent,
    }


async def batched(cycle: Any, log_format: Any = "text", use_colors: bool = False) -> str:
    """What a batch of one line is."""
    ours(log_format, use_colors).stream = stream = io.StringIO()
    log = logs.AccessLog()
    log.record(cycle)
    log.flush()
    return stream.getvalue()


def test_the_first_five_args_of_a_record_are_those_of_uvicorn(access: Kept) -> None:
    # client_addr, method, full_path, http_version, status_code: filters that people have look there.
    logs.AccessLog().record(answered())
    assert access.records[0].args[:5] == ("1.2.3.4:5", "GET", "/a?b=%20", "1.1", 200)


def test_what_a_filter_hides_stays_hidden_in_json(access: Kept) -> None:
    def hide(record: logging.LogRecord) -> bool:
        record.args = (*record.args[:2], "/***", *record.args[3:])  # type: ignore[index]
        return True

    logs.access_logger.addFilter(hide)
    logs.AccessLog().record(answered())
    made = access.records[0]
    assert json.loads(logs.JsonFormatter().format(made))["path"] == "/***"
    made.args = made.args[:5]  # type: ignore[index]  # as a formatter of uvicorn wants them
    assert json.loads(logs.JsonFormatter().format(made))["status"] == 200


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("status", "colour"), [(200, "green"), (399, "green"), (400, "yellow"), (0, "yellow"), (500, "red")]
)
async def test_a_status_has_a_colour_if_asked(status: int, colour: str) -> None:
    line = await batched(answered(status), use_colors=True)
    plain = await batched(answered(status))
    assert click.unstyle(line) == plain
    assert re.search(re.escape(click.style("x", fg=colour).partition("x")[0]) + str(status or 499), line)


async def test_a_client_without_a_name_is_a_dash() -> None:
    assert (await batched(answered(client=None))).startswith("INFO:     - - ")


# When it is written:


async def test_lines_are_written_together_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[tuple[float, Any]] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda delay, function: timers.append((delay, function))
    )
    ours().stream = io.TextIOWrapper(raw := io.BytesIO())
    log = logs.AccessLog()
    log.record(answered(target=b"/1"))
    log.record(answered(target=b"/2"))
    assert (len(timers), raw.getvalue()) == (1, b"")
    delay, flush = timers.pop()
    assert delay == 0.1
    flush()
    assert re.findall(rb"/\d ", raw.getvalue()) == [b"/1 ", b"/2 "]
    log.record(answered(target=b"/3"))
    assert len(timers) == 1, "the next line waits for a timer of its own"


def test_nothing_is_written_when_there_is_nothing_to_write() -> None:
    ours().stream = None
    logs.AccessLog().flush()


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")], ids=repr)
async def test_a_reader_that_went_away_raises_nothing(error: Exception) -> None:
    def write(text: str) -> None:
        raise error

    ours().stream = SimpleNamespace(write=write)
    log = logs.AccessLog()
    log.record(answered())
    log.flush()


# On a real server:


def test_a_request_is_one_line_at_its_end_with_duration_and_bytes(access: Kept) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"some", more=True))
        await gate.wait()
        await send(body(b" more"))

    with serving(app, lifespan="off", access_log=True) as server:
        client = server.connect().send(get("/a?b=%20"))
        name = "{}:{}".format(*client.sock.getsockname())
        gate.reached()
        assert access.lines == []
        gate.open()
        client.read_reply()
        eventually(lambda: access.lines)
        server.stop()
    (line,) = access.lines
    assert re.fullmatch(re.escape(f'{name} - "GET /a?b=%20 HTTP/1.1" 200 OK ') + r"\d+\.\dms 9B", line)


def test_each_request_of_a_connection_has_its_line(access: Kept) -> None:
    with serving(answer(), access_log=True) as server:
        client = server.connect()
        client.ask(get("/1"))
        client.ask(get("/2"))
        server.ask(get("/3"))
        server.stop()
    assert [record.args[2] for record in access.records] == ["/1", "/2", "/3"]
    assert {record.args[0] for record in access.records[:2]} != {access.records[2].args[0]}


def test_a_client_that_left_before_an_answer_is_499(access: Kept) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await gate.wait()
        assert (await receive())["type"] == "http.disconnect"

    with serving(app, lifespan="off", access_log=True) as server:
        client = server.connect().send(get("/slow"))
        gate.reached()
        client.close()
        gate.open()
        eventually(lambda: access.records)
    assert access.records[0].args[2:6] == ("/slow", "1.1", 499, "Client Left")


def test_an_app_that_raises_has_its_500_in_the_access_log(access: Kept) -> None:
    with serving(sends({"type": "nonsense"}), access_log=True) as server:
        assert server.ask(get()).status == 500
        server.stop()
    assert access.records[0].args[4] == 500


@pytest.mark.parametrize("log_config", [None, "default"])
def test_no_access_log_means_none(log_config: Any, access: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(answer(), access_log=False, log_config=log_config) as server:
        server.ask(get("/x"))
        server.stop()
    assert access.records == []
    assert capsys.readouterr().out == ""


def test_waiting_lines_are_written_when_the_server_stops(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(answer(), access_log=True, log_config="default", use_colors=False) as server:
        server.ask(get("/x"))
        server.stop()
    out, err = capsys.readouterr()
    assert re.fullmatch(r'INFO:     127\.0\.0\.1:\d+ - "GET /x HTTP/1\.1" 200 OK \d+\.\dms 2B\n', out)
    assert err.endswith("]\n")
    assert "/x" not in err


def test_a_filter_of_the_app_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            logs.access_logger.addFilter(lambda record: record.args[2] != "/health")
        await answer()(scope, receive, send)

    with serving(app, access_log=True, log_config="default") as server:
        server.ask(get("/health"))
        server.ask(get("/x"))
        server.stop()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "/x" in lines[0]


def test_json_lines_parse_whatever_happens(tmp_path: Path) -> None:
    source = """
async def app(scope, receive, send):
    assert scope["path"] != "/raise"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
"""
    with spawned(tmp_path, source, "--log-format", "json", "--lifespan", "off") as server:
        server.wait_for("running on http")
        client = server.connect()
        client.ask(get('/"x"?%0a'))
        client.ask(get("/raise"))
        server.signal(signal.SIGTERM)
        server.join()
    messages = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in messages)
    failure = next(entry for entry in messages if entry["level"] == "error")
    assert failure["message"] == "GET /raise: the app failed: AssertionError()"
    assert "app.py" in failure["exception"]
    requests = [json.loads(line) for line in server.output.splitlines()]
    assert [(entry["path"], entry["status"]) for entry in requests] == [('/"x"?%0a', 200), ("/raise", 500)]


# Trace:


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads and answers, each with a secret."""
    await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"secret")]})
    await send(body(b"secret"))


def test_a_trace_shows_the_messages_without_content_and_without_header_values(errors: Kept) -> None:
    with serving(talk, log_level="trace", lifespan="off") as server:
        server.ask(post(b"secret", "Authorization: secret", target="/x"))
        server.stop()
    lines = [line.partition(" - ASGI ")[2] for line in errors.lines if " - ASGI " in line]
    assert [line.split()[0] for line in lines] == ["scope", "receive", "send", "send"]
    assert "'path': '/x'" in lines[0]
    assert "'headers': '<length 3>'" in lines[0]
    assert lines[1] == "receive {'type': 'http.request', 'body': '<length 6>', 'more_body': False}"
    assert lines[2] == "send {'type': 'http.response.start', 'status': 200, 'headers': '<length 1>'}"
    assert "secret" not in "\n".join(errors.lines)


async def test_a_trace_changes_nothing_between_the_app_and_the_server(errors: Kept) -> None:
    received = {"type": "websocket.receive", "bytes": None, "text": "secret"}
    scope: Scope = {"type": "websocket", "client": CLIENT}
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() is received
        await send({"type": "mine", "headers": iter([]), "links": [b"a"], "body": 5})
        raise ValueError("no")

    async def receive() -> Message:
        return received

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ValueError, match="no"):
        await logs.trace_app(app)(scope, receive, send)
    assert sent[0]["body"] == 5
    assert errors.lines == [
        "1.2.3.4:5 - ASGI scope {'type': 'websocket', 'client': ('1.2.3.4', 5)}",
        "1.2.3.4:5 - ASGI receive {'type': 'websocket.receive', 'bytes': '<length 0>', 'text': '<length 6>'}",
        "1.2.3.4:5 - ASGI send {'type': 'mine', 'headers': '<length 0>', 'links': '<length 1>', 'body': '<length 0>'}",
    ]


def test_there_is_no_trace_at_any_other_level(errors: Kept) -> None:
    with serving(talk, log_level="debug", lifespan="off") as server:
        server.ask(get())
    assert not any("ASGI" in line for line in errors.lines)


def test_the_clock_of_json_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        line = logs.JsonFormatter().format(record(created=0.0))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert json.loads(line)["time"] == "1970-01-01T00:00:00.000+00:00"

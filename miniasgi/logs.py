"""Two loggers and how their lines look: `miniasgi.error` for us, `miniasgi.access` for requests.

Owns formats, colours, JSON and the access line. Knows no socket and no configuration object.

An access line costs half of a small request if it goes through `logging`'s records. So as long as
nobody has touched the access logger, lines are collected and written together ten times a second;
once it has a filter or a handler of somebody else's, every line is a record, as they expect.
"""

import asyncio
import contextlib
import http
import json
import logging
import logging.config
import sys
import time
from pathlib import Path
from typing import Any, Literal, TextIO, TypeGuard

import click

from .cycle import Cycle
from .scope import client_name
from .types import Address, App, Message, Receive, Scope, Send

LogFormat = Literal["text", "json"]
LogConfig = dict[str, Any] | str | Path | None

TRACE = 5
LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_FLUSH_EVERY = 0.1  # seconds
_LEVEL_COLOURS = {"INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bright_red"}
_CLIENT_LEFT = 499  # nginx's number for a client that left before it was answered
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus} | {_CLIENT_LEFT: "Client Left"}

access_logger = logging.getLogger("miniasgi.access")
error_logger = logging.getLogger("miniasgi.error")


class TextFormatter(logging.Formatter):
    """`INFO:     message`, the level in colour on a terminal."""

    def __init__(self, stream: str, use_colors: bool | None = None) -> None:
        super().__init__()
        self.use_colors = getattr(sys, stream).isatty() if use_colors is None else use_colors

    def format(self, record: logging.LogRecord) -> str:
        return prefix(record.levelname, self.use_colors) + super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `level`, `logger`, then `message`.

    An access line has its fields in place of a message.
    """

    def __init__(self, stream: str, use_colors: bool | None = None) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        entry = _entry(record.created, record.levelname, record.name)
        if fields := getattr(record, "fields", None):
            # The values from `args`: a filter may have hidden a secret there.
            entry.update(zip(fields, record.args or (), strict=False))
        else:
            entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def prefix(level: str, use_colors: bool) -> str:
    """`INFO:     `, nine columns wide, in colour or not."""
    name = click.style(level, fg=_LEVEL_COLOURS.get(level, "cyan")) if use_colors else level
    return f"{name}:{' ' * (9 - len(level))}"


def _entry(created: float, level: str, logger: str) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    moment += f".{int(created % 1 * 1000):03}Z"
    return {"time": moment, "level": level.lower(), "logger": logger}


def default_config(log_format: LogFormat = "text", use_colors: bool | None = None) -> LogConfig:
    """Our own `logging` configuration: messages to stderr, access lines to stdout."""
    formatter = TextFormatter if log_format == "text" else JsonFormatter
    formats = {"stderr": "error", "stdout": "access"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            name: {"()": formatter, "stream": stream, "use_colors": use_colors} for stream, name in formats.items()
        },
        "handlers": {
            name: {"class": "logging.StreamHandler", "formatter": name, "stream": f"ext://sys.{stream}"}
            for stream, name in formats.items()
        },
        "loggers": {
            "miniasgi": {"handlers": ["error"], "level": "INFO", "propagate": False},
            "miniasgi.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        },
    }


def configure(config: LogConfig, level: int | None) -> None:
    """Sets up `logging` from a dict, from a file (.json, .yaml, else INI), or (None) not at all.

    Raises whatever is wrong with the file: `logging.config` has no exception of its own.
    """
    logging.addLevelName(TRACE, "TRACE")
    if isinstance(config, dict):
        logging.config.dictConfig(config)
    elif config is not None:
        _configure_from_file(Path(config))
    if level is not None:
        logging.getLogger("miniasgi").setLevel(level)
        access_logger.setLevel(level)


def _configure_from_file(path: Path) -> None:
    if path.suffix == ".json":
        table = json.loads(path.read_text("utf-8"))
    elif path.suffix in (".yaml", ".yml"):
        try:
            import yaml  # only who has such a file needs it
        except ImportError:
            raise ValueError("this needs a package: pip install pyyaml") from None
        table = yaml.safe_load(path.read_text("utf-8"))
    else:
        try:
            logging.config.fileConfig(str(path), disable_existing_loggers=False, encoding="utf-8")
        except KeyError as error:
            raise ValueError(f"there is no section or key {error}") from None
        return
    if not isinstance(table, dict):
        raise ValueError("there is no table of settings in it")
    logging.config.dictConfig(table)


def access_log() -> "BatchedAccessLog | RecordAccessLog | None":
    """The access log that fits how `logging` is configured *now*; None if nobody listens.

    Ask when the app has been imported: that is when apps add their filters.
    """
    if not access_logger.isEnabledFor(logging.INFO) or not access_logger.hasHandlers():
        return None
    match access_logger.handlers:
        case [handler] if _is_untouched(handler):
            return BatchedAccessLog(handler.stream, handler.formatter)
    return RecordAccessLog()


def _is_untouched(handler: logging.Handler) -> "TypeGuard[logging.StreamHandler[TextIO]]":
    """True if lines written to its stream are what it would write, and all that happens to them."""
    return (
        type(handler) is logging.StreamHandler
        and type(handler.formatter) in (TextFormatter, JsonFormatter)
        and handler.level <= logging.INFO
        and not (handler.filters or access_logger.filters or access_logger.propagate)
    )


class RecordAccessLog:
    """Each line a `logging` record; its first five `args` are those of uvicorn's."""

    def record(self, client: Address | None, cycle: Cycle, seconds: float) -> None:
        fields = access_fields(client, cycle, seconds)
        access_logger.info('%s - "%s %s HTTP/%s" %d %s %.1fms %dB', *fields.values(), extra={"fields": fields})

    def flush(self) -> None:
        """Nothing waits here."""


class BatchedAccessLog:
    """Lines in the same format, written together at most `_FLUSH_EVERY` seconds later."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter | None) -> None:
        self.stream = stream
        self.json = isinstance(formatter, JsonFormatter)
        self.use_colors = isinstance(formatter, TextFormatter) and formatter.use_colors
        self._prefix = prefix("INFO", self.use_colors)
        self._lines: list[str] = []

    def record(self, client: Address | None, cycle: Cycle, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_EVERY, self.flush)
        status = cycle.response.status or _CLIENT_LEFT
        if self.json:
            entry = _entry(time.time(), "info", access_logger.name)
            line = json.dumps(entry | access_fields(client, cycle, seconds))
        else:
            request = cycle.request
            line = (
                f'{self._prefix}{client_name(client)} - "{request.method} '
                f'{request.target.decode()} HTTP/{request.http_version}" '
                f"{self._status(status)} {seconds * 1000:.1f}ms {cycle.sent}B"
            )
        self._lines.append(line)

    def _status(self, status: int) -> str:
        text = f"{status} {_PHRASES.get(status, '')}"
        if not self.use_colors:
            return text
        return click.style(text, fg="green" if status < 400 else "yellow" if status < 500 else "red")

    def flush(self) -> None:
        """Writes what has been collected."""
        lines, self._lines = self._lines, []
        if lines:
            # A reader that went away, as in `miniasgi | head`, is no reason for a traceback.
            with contextlib.suppress(OSError, ValueError):
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()


def access_fields(client: Address | None, cycle: Cycle, seconds: float) -> dict[str, Any]:
    """What an access line tells; `ms` from the end of the head to the last byte handed over."""
    status = cycle.response.status or _CLIENT_LEFT
    return {
        "client": client_name(client),
        "method": cycle.request.method,
        "path": cycle.request.target.decode("ascii"),
        "http_version": cycle.request.http_version,
        "status": status,
        "phrase": _PHRASES.get(status, ""),
        "ms": round(seconds * 1000, 3),
        "bytes": cycle.sent,
    }


def trace_app(app: App) -> App:
    """The same app, with every ASGI message logged at level `trace`; bodies as their sizes."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        name = client_name(scope.get("client"))

        def log(event: str, message: Message | str) -> None:
            error_logger.log(TRACE, "%s - ASGI %s %s", name, event, message)

        async def traced_receive() -> Message:
            message = await receive()
            log("receive", _with_sizes(message))
            return message

        async def traced_send(message: Message) -> None:
            log("send", _with_sizes(message))
            await send(message)

        log("start", _with_sizes(scope))
        try:
            await app(scope, traced_receive, traced_send)
        except BaseException as error:
            log("raised", repr(error))
            raise
        log("end", "")

    return traced


def _with_sizes(message: Message) -> Message:
    """Without content and without header values, which may be secret."""
    hidden = ("body", "bytes", "text", "headers", "links")
    return {key: _size(value) if key in hidden else value for key, value in message.items()}


def _size(value: Any) -> str:
    """`<5 bytes>`; an app's mistake, which has no length, is for others to judge."""
    unit = "bytes" if isinstance(value, bytes) else "characters" if isinstance(value, str) else "fields"
    return f"<{len(value)} {unit}>" if hasattr(value, "__len__") else f"<{type(value).__name__}>"

"""Two loggers and how their lines look: `miniasgi.error` for us, `miniasgi.access` for requests.

Owns formats, colours, JSON and the access line. Knows no socket and no configuration object.

An access line costs half of a small request if it goes through `logging`'s records. So as long as
nobody has touched the access logger, lines are collected and written together ten times a second;
once it has a filter or a handler of somebody else's, every line is a record, as they expect.

A line is written when the exchange is over, with its duration and bytes: these are what one looks for,
and at the start of a response nobody knows them.
"""

import asyncio
import contextlib
import functools
import json
import logging
import logging.config
import operator
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from time import perf_counter, time
from typing import Any, Literal, TextIO

import click

from .scope import client_name
from .service import Exchange
from .types import App, Message, Receive, Scope, Send

LogFormat = Literal["text", "json"]
LogConfig = dict[str, Any] | str | Path | None

TRACE = 5  # as uvicorn's: below DEBUG, for what is too much even there
_FLUSH_EVERY = 0.1  # seconds
_LEVEL_COLOURS = {"INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bright_red"}
_STATUS_COLOURS = {4: "yellow", 5: "red"}  # by the first digit
# Nothing was sent, so there is no status; but a line without a number would break whoever parses them.
_CLIENT_LEFT = 499  # nginx's number for a client that left before it was answered
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {_CLIENT_LEFT: "Client Left"}
_PHRASES |= dict.fromkeys(range(1000, 5000), "Closed")  # the codes of WebSockets, RFC 6455 7.4
# Content may be a prompt, a password or a gigabyte; header fields have cookies and tokens.
_SECRETS = ("body", "bytes", "text", "headers", "links")  # keys of messages whose values a trace must not show

# An access line: what it tells, and how text says it. The first five are those of uvicorn's records.
_FIELDS = ("client", "method", "path", "http_version", "status", "phrase", "ms", "bytes")
_LINE = '%s - "%s %s HTTP/%s" %d %s %.1fms %dB'

_logger = logging.getLogger("miniasgi")  # the parent of both
access_logger = logging.getLogger("miniasgi.access")
error_logger = logging.getLogger("miniasgi.error")


class TextFormatter(logging.Formatter):
    """`INFO:     message`, the level in colour or not: as in uvicorn's lines."""

    def __init__(self, use_colors: bool = False) -> None:
        super().__init__()
        self.use_colors = use_colors

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, with its traceback below, if it has one."""
        return _prefix(record.levelname, self.use_colors) + super().format(record)

    def access_line(self, values: tuple[Any, ...]) -> str:
        """What `format` would make of an access record, without one; `values` are those of `_FIELDS`, in order.

        Both ways give the same text, or a filter added to the logger would change what lines look like.
        """
        return _line_format(values[4] // 100, self.use_colors) % values


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `level`, `logger`, then `message`.

    An access line has its fields in place of a message. Line ends in a value are escaped, as JSON has it: no
    client can forge a line of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record; a traceback is the text of its `exception`."""
        if fields := getattr(record, "fields", None):
            # The values from `args`: a filter may have hidden a secret there.
            details = dict(zip(fields, record.args or (), strict=False))
        else:
            details = {"message": record.getMessage()}
        if record.exc_info:
            details["exception"] = self.formatException(record.exc_info)
        return _json_line(record.created, record.levelname, record.name, details)

    def access_line(self, values: tuple[Any, ...]) -> str:
        """What `format` would make of an access record, without one."""
        return _json_line(time(), "INFO", access_logger.name, dict(zip(_FIELDS, values, strict=True)))


class OwnHandler(logging.StreamHandler[TextIO]):
    """A handler that we have made, so that we know what it does with a record.

    Of `StreamHandler` there are others, such as one that begins a new file every day, and has to see each
    record to know when. A class of our own tells the two apart.
    """


def _prefix(level: str, use_colors: bool) -> str:
    """`INFO:     `, ten columns wide: CRITICAL, the longest, a colon and a space."""
    name = click.style(level, fg=_LEVEL_COLOURS.get(level, "cyan")) if use_colors else level
    return f"{name}:{' ' * (9 - len(level))}"


@functools.cache  # colours cost more than all the rest of a line
def _line_format(hundreds: int, use_colors: bool) -> str:
    """The format of an access line whose status begins with this digit."""
    status = "%d %s"
    if use_colors:
        status = click.style(status, fg=_STATUS_COLOURS.get(hundreds, "green"))
    return _prefix("INFO", use_colors) + _LINE.replace("%d %s", status)


def _json_line(created: float, level: str, logger: str, details: dict[str, Any]) -> str:
    """`created` is in seconds since 1970, as `time()` and records have it; UTC, as servers are anywhere."""
    moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": moment, "level": level.lower(), "logger": logger, **details})


def configure(config: LogConfig, level: str | int | None, log_format: LogFormat, use_colors: bool | None) -> None:
    """Sets up `logging`: as "default" says, from a dict, from a file, or (None) not at all.

    `level` is a name or a number, and wins over what a dict or file says; None leaves it. `log_format` and
    `use_colors` are for "default" alone; None of the latter is "on a terminal".

    Raises whatever is wrong with a file: `logging.config` has no exception of its own, and it calls and
    imports what the file names. OSError if it is not there, ImportError for YAML without its package.
    """
    logging.addLevelName(TRACE, "TRACE")
    if config == "default":
        _configure_ours(log_format, use_colors)
    elif isinstance(config, dict):
        logging.config.dictConfig(config)
    elif config is not None:
        _configure_from_file(Path(config))
    if level is not None:
        for logger in (access_logger, _logger):
            logger.setLevel(level.upper() if isinstance(level, str) else level)


def _configure_ours(log_format: LogFormat, use_colors: bool | None) -> None:
    """Messages to stderr, access lines to stdout; colours on a terminal, unless said otherwise.

    The two streams can be kept apart by any shell. Nothing propagates: an app that calls
    `logging.basicConfig` would have each line twice, in two formats.
    """
    for logger, stream in (_logger, sys.stderr), (access_logger, sys.stdout):
        handler = OwnHandler(stream)
        colors = stream.isatty() if use_colors is None else use_colors
        handler.setFormatter(TextFormatter(colors) if log_format == "text" else JsonFormatter())
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def _configure_from_file(path: Path) -> None:
    """`.json` and `.yaml` hold a table for `dictConfig`; any other file is INI, as uvicorn has it."""
    with path.open(encoding="utf-8") as file:  # fileConfig would not say that there is none
        if path.suffix == ".json":
            logging.config.dictConfig(json.load(file))
        elif path.suffix in (".yaml", ".yml"):
            import yaml  # only who has such a file needs the package

            logging.config.dictConfig(yaml.safe_load(file) or {})
        else:
            # By default fileConfig would silence every logger that there is, those of imported libraries too.
            try:
                logging.config.fileConfig(file, disable_existing_loggers=False)
            except KeyError as error:
                raise ValueError(f"there is no section or key {error}") from None


def access_log() -> "AccessLog | None":
    """The access log that fits how `logging` is configured *now*; None if nobody listens.

    Ask when the app has started: at its import, or its startup, apps add their filters, to keep a token out
    of the log, say. One that comes later is not heard while lines are collected. With None, a request
    pays nothing for lines that nobody reads.
    """
    if access_logger.isEnabledFor(logging.INFO) and access_logger.hasHandlers():
        return AccessLog()
    return None


class AccessLog:
    """A line for each request: in a batch while the access logger is ours alone, else a record.

    For one event loop, in whose thread `record` is called. What waits is lost if the process is killed:
    lines of a tenth of a second. Whoever cannot lose one puts a handler of their own there.
    """

    def __init__(self) -> None:
        # Ours alone: one handler, made by us, of a known format, with no filter, no level, and no logger
        # above that hears of it. Then what it would do with a record is known, and nobody needs one.
        self._lines: list[str] = []
        self._formatter: TextFormatter | JsonFormatter | None = None  # of lines that need no record
        match access_logger.handlers:
            case [
                OwnHandler(filters=[], level=0, formatter=TextFormatter() | JsonFormatter() as formatter, stream=out)
            ]:
                if not (access_logger.filters or access_logger.propagate):
                    self._formatter, self._stream = formatter, out

    def record(self, exchange: Exchange) -> None:
        """Tells of an exchange, a request or a WebSocket; how long it took from the end of its head, too.

        The target is written as it was received, and that is ASCII without control characters, by the
        rules for a head: nothing in a request can begin a line of the log.
        """
        client, request, status = client_name(exchange.scope), exchange.request, exchange.status or _CLIENT_LEFT
        method = request.method if exchange.scope["type"] == "http" else "WebSocket"
        path, phrase = request.target.decode("ascii"), _PHRASES.get(status, "")
        ms = round((perf_counter() - exchange.began) * 1000, 3)
        values = (client, method, path, request.http_version, status, phrase, ms, exchange.sent)
        if self._formatter is None:
            access_logger.info(_LINE, *values, extra={"fields": _FIELDS})
        else:
            if not self._lines:
                asyncio.get_running_loop().call_later(_FLUSH_EVERY, self.flush)
            self._lines.append(self._formatter.access_line(values))

    def flush(self) -> None:
        """Writes the lines that wait, all at once; called by a timer, and by the server at its end."""
        lines, self._lines = self._lines, []
        if lines:
            # A reader that went away, as in `miniasgi | head`, is no reason for a traceback.
            with contextlib.suppress(OSError, ValueError):
                print(*lines, sep="\n", file=self._stream, flush=True)


def trace_app(app: App) -> App:
    """The same app, with its scope and every ASGI message logged at level `trace`, contents left out.

    How a call ends is in the log anyway. The messages themselves are passed on untouched.
    """

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        name = client_name(scope)

        def log(event: str, message: Message) -> None:
            error_logger.log(TRACE, "%s - ASGI %s %s", name, event, _without_secrets(message))

        async def traced_receive() -> Message:
            message = await receive()
            log("receive", message)
            return message

        async def traced_send(message: Message) -> None:
            log("send", message)
            await send(message)

        log("scope", scope)
        await app(scope, traced_receive, traced_send)

    return traced


def _without_secrets(message: Message) -> Message:
    """A message with the length of its content, and of its header fields, in their place."""
    # An iterator has no length, and an app's mistake may be anything: `length_hint` minds neither.
    lengths = {key: f"<length {operator.length_hint(message[key])}>" for key in _SECRETS if key in message}
    return {**message, **lengths}

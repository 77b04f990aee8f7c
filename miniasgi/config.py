"""Every option of the server, once: a field is default, type, flag, environment variable and help.

Owns the options, their checks, and what follows from them: the app, the parser, the event loop
and the `Service` that connections share. Knows no socket. The command line is derived from here.
"""

import asyncio
import dataclasses
import importlib
import math
import os
import random
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from . import logs, proxy
from .importer import ConfigError, Interface, discover, load_app
from .lifespan import Mode
from .response import FRAMING, HeaderLines
from .rules import Limits
from .service import Parser, Service, Timeouts
from .types import App

LoopName = Literal["auto", "asyncio", "uvloop"]
HttpName = Literal["auto", "h11", "httptools"]
LogLevel = Literal["critical", "error", "warning", "info", "debug", "trace"]

_PARSERS = {"h11": "parser_h11:H11Parser", "httptools": "parser_httptools:HttptoolsParser"}
_OWN_LOG_CONFIG = "default"  # stands for `logs.default_config`
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Sequence: "a list of Name:Value headers",
}


def option(default: Any, text: str, flag: str | None = None) -> Any:
    """A field of `Config` that is also an option of the command line."""
    return dataclasses.field(default=default, metadata={"help": text, "flag": flag})


def kinds(field: "dataclasses.Field[Any]") -> tuple[Any, ...]:
    """What the values of an option may be: the members of a union, or the one type."""
    union = get_origin(field.type) in (Union, types.UnionType)
    return get_args(field.type) if union else (field.type,)


def check_kind(field: "dataclasses.Field[Any]", value: Any) -> None:
    """ConfigError if a value is nothing that the option can be."""
    if any(_is_of_kind(value, kind) for kind in kinds(field)):
        return
    words: list[str] = []
    for kind in kinds(field):
        if get_origin(kind) is Literal:
            words += get_args(kind)
        elif word := _WORDS.get(get_origin(kind) or kind):
            words.append(word)
    raise ConfigError(f"{field.name} must be {' or '.join(words)}, not {value!r}")


def _is_of_kind(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is bool or isinstance(value, bool):  # which Python takes for a number
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    if get_origin(kind) is Sequence and isinstance(value, str):
        return False  # a sequence, too, but of letters
    return isinstance(value, get_origin(kind) or kind)


@dataclasses.dataclass(kw_only=True)
class Config:
    """The options of one server, checked when made (`ConfigError`); names as in uvicorn.

    Times are in seconds, sizes in bytes.
    """

    app: App | str = dataclasses.field(kw_only=False)
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for every interface.")
    port: int = option(8000, "Port to listen on; 0 for any free one, which is then printed.")
    uds: str | None = option(None, "Listen on a unix socket at this path instead.")
    fd: int | None = option(None, "Listen on the socket that this file descriptor is.")
    backlog: int = option(2048, "Connections that the kernel may hold until we accept them.")
    loop: LoopName = option("auto", "Event loop: auto takes uvloop if it is installed.")
    http: HttpName | type[Parser] = option("auto", "Parser: auto takes httptools if installed.")
    lifespan: Mode = option("auto", "Startup and shutdown events: auto, if the app knows them.")
    interface: Interface = option("auto", "What the app is; auto looks at its arguments.")
    factory: bool = option(False, "APP is a function without arguments that returns the app.")
    app_dir: str | Path = option("", "Directory to import APP from; default: the current one.")
    env_file: str | Path | None = option(None, "File of NAME=value lines for the environment.")
    root_path: str = option("", "Path under which a proxy mounts the app.")
    proxy_headers: bool = option(True, "Believe X-Forwarded-For and -Proto of trusted peers.")
    forwarded_allow_ips: str | None = option(
        None,
        "Trusted peers: addresses, networks or *, comma-separated. Default: $FORWARDED_ALLOW_IPS, else 127.0.0.1,::1.",
    )
    server_header: bool = option(True, "Send a Server header.")
    date_header: bool = option(True, "Send a Date header.")
    headers: Sequence[tuple[str, str]] = option(
        (), "Name:Value of a header for every response; may be repeated.", flag="--header"
    )
    log_config: logs.LogConfig = option(_OWN_LOG_CONFIG, "Logging configuration file: .json, .yaml, else INI.")
    log_level: LogLevel | int | None = option(None, "Least level to log; default: info.")
    log_format: logs.LogFormat = option("text", "Lines of text, or of JSON.")
    access_log: bool = option(True, "Log a line for each request, when it is answered.")
    use_colors: bool | None = option(None, "Colours in logs; default: on a terminal.")
    limit_concurrency: int | None = option(None, "Requests that may be in the app at one time; more get a 503.")
    limit_max_requests: int | None = option(None, "Stop after this many requests.")
    limit_max_requests_jitter: int = option(0, "Up to this many more, at random.")
    limit_request_line: int = option(8192, "Bytes of a request line; more get a 414.")
    limit_request_head: int = option(65536, "Bytes of a request head; more get a 431.")
    limit_request_fields: int = option(100, "Header fields of a request; more get a 431.")
    limit_request_body: int | None = option(None, "Bytes of a request's content; more get a 413. Default: no limit.")
    timeout_request_head: float = option(10.0, "For a request head to arrive, else 408; 0: no limit.")
    timeout_request_body: float = option(60.0, "Without content while the app waits for some, else 408; 0: no limit.")
    timeout_keep_alive: float = option(5.0, "For the next request on an idle connection.")
    timeout_graceful_shutdown: float = option(
        30.0, "For requests to end when the server stops; their apps hear of it 5 s before."
    )
    cancel_on_disconnect: bool = option(
        False, "Cancel the app's task when its client leaves, instead of only telling it."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata:
                check_kind(field, getattr(self, field.name))
        self._check_numbers()
        self._check_files()
        if self.env_file is not None:
            _load_env_file(self.env_file)
        for header in self.headers:
            try:
                _encoded(*header)
            except (ValueError, TypeError, AttributeError) as error:
                raise ConfigError(f"--header {header!r}: {error}") from None

    def _check_numbers(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is out of range: 0 to 65535")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.name.startswith(("limit_", "timeout_", "backlog")) or value is None:
                continue
            least = 0 if field.name.startswith("timeout_") or field.name.endswith("_jitter") else 1
            if not value >= least:  # nan is not
                raise ConfigError(f"{field.name} must be at least {least}, not {value}")

    def _check_files(self) -> None:
        files = {"--env-file": self.env_file}
        if isinstance(self.log_config, str | Path) and self.log_config != _OWN_LOG_CONFIG:
            files["--log-config"] = self.log_config
        for flag, path in files.items():
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"{flag}: there is no file {str(path)!r}")
        directories = {"--app-dir": self.app_dir}
        if self.uds is not None:
            directories["--uds"] = Path(self.uds).parent
        for flag, directory in directories.items():
            if not Path(directory).is_dir():
                raise ConfigError(f"{flag}: there is no directory {str(directory)!r}")

    # What follows from the options:

    def setup_logging(self) -> None:
        """Configures `logging`; `log_config=None` leaves it to the program."""
        config = self.log_config
        if config == _OWN_LOG_CONFIG:
            config = logs.default_config(self.log_format, self.use_colors)
        level = logs.LEVELS[self.log_level] if isinstance(self.log_level, str) else self.log_level
        try:
            logs.configure(config, level)
        except Exception as error:  # logging.config calls whatever the file names
            reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
            reason = " ".join(reason.split())  # YAML's have five lines
            raise ConfigError(f"--log-config {self.log_config}: {reason}") from None

    def find_app(self) -> None:
        """Chooses the app that nobody has named; see `discover`."""
        self._import_from_app_dir()
        self.app = discover(Path(self.app_dir))

    def _import_from_app_dir(self) -> None:
        directory = str(Path(self.app_dir).absolute())
        if sys.path[:1] != [directory]:
            sys.path.insert(0, directory)

    def load_app(self) -> App:
        """Imports the app, and puts around it what the options ask for."""
        self._import_from_app_dir()
        app = load_app(self.app, self.factory, self.interface)
        if self.log_level in ("trace", logs.TRACE):
            app = logs.trace_app(app)
        return proxy.ProxyHeaders(app, self.trusted_peers) if self.proxy_headers else app

    @property
    def trusted_peers(self) -> str:
        """The text of the trust list; see `proxy.TrustedPeers`."""
        if self.forwarded_allow_ips is not None:
            return self.forwarded_allow_ips
        return os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")

    def parser_class(self) -> type[Parser]:
        """The parser that `http` names; ConfigError if it is not installed."""
        if not isinstance(self.http, str):
            return self.http
        name = self.http
        if name == "auto":
            name = "httptools" if _installed("httptools") else "h11"
        elif not _installed(name):
            raise ConfigError(f"--http {name}: {name} is not installed; pip install {name}")
        module, _, attribute = _PARSERS[name].partition(":")
        parser: type[Parser] = getattr(importlib.import_module(f".{module}", __package__), attribute)
        return parser

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """What makes the event loop; ConfigError if it is not installed."""
        if self.loop == "asyncio" or (self.loop == "auto" and not _installed("uvloop")):
            return asyncio.new_event_loop
        if not _installed("uvloop"):
            raise ConfigError("--loop uvloop: uvloop is not installed; pip install uvloop")
        import uvloop

        return uvloop.new_event_loop

    def service(self, app: App, state: dict[str, Any]) -> Service:
        """What the connections of a server share; call it in the event loop."""
        headers = [_encoded(name, value) for name, value in self.headers]
        return Service(
            app=app,
            loop=asyncio.get_running_loop(),
            parser_class=self.parser_class(),
            limits=Limits(
                head=self.limit_request_head,
                fields=self.limit_request_fields,
                line=self.limit_request_line,
                body=self.limit_request_body or math.inf,
            ),
            timeouts=Timeouts(
                head=self.timeout_request_head or math.inf,
                body=self.timeout_request_body or math.inf,
                keep_alive=self.timeout_keep_alive,
            ),
            header_lines=HeaderLines(self.server_header, self.date_header, headers),
            access_log=logs.access_log() if self.access_log else None,
            root_path=self.root_path,
            state=state,
            concurrency=self.limit_concurrency,
            cancel_on_disconnect=self.cancel_on_disconnect,
        )

    def max_requests(self) -> int | None:
        """After how many requests to stop, the jitter thrown."""
        if self.limit_max_requests is None:
            return None
        return self.limit_max_requests + random.randint(0, self.limit_max_requests_jitter)


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as bytes; ValueError if it would break a response (RFC 9110 5.1, 5.5)."""
    if name.lower().encode("latin-1") in FRAMING:
        raise ValueError("the server has to settle that itself")
    field = name.encode("latin-1"), value.encode("latin-1")
    HeaderLines()[field]  # checks it
    return field


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _load_env_file(path: str | Path) -> None:
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise ConfigError("--env-file needs a package: pip install python-dotenv") from None
    try:
        load_dotenv(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--env-file {path}: {error}") from None

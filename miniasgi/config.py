"""Every option of the server, once: a field is default, type, flag, environment variable and help.

Owns the options, the bounds of their values, and what follows from them: the app, the parser, the
event loop and the `Service` that connections share. Knows no socket, and not how words become
values: the command line is derived from here, and there click turns text into the type of a field.

What is said in six places (parameter, flag, variable, key of pyproject.toml, help, documentation) is
wrong in one of them. So it is said in a field, `options.py` makes the rest of it, and `_check` holds
for all of them: a program that makes a `Config` itself is told of a mistake in the same words.
"""

import asyncio
import dataclasses
import math
import os
import random
import ssl
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from . import logs, proxy
from .importer import ConfigError, Interface, discover, import_string, load_app
from .lifespan import Mode
from .parser_h11 import H11Parser
from .reload import Project
from .response import FRAMING, HeaderLines
from .rules import Limits
from .service import Parser, Service, Timeouts, WebSocketOptions
from .tls import Tls
from .types import App
from .websocket import WebSocket

LoopName = Literal["auto", "asyncio", "uvloop"]
HttpName = Literal["auto", "h11", "httptools"]
WebSocketName = Literal["auto", "wsproto", "none"]
LogLevel = Literal["critical", "error", "warning", "info", "debug", "trace"]


def option(default: Any, text: str, is_flag: bool = True) -> Any:
    """A field of `Config` that is also an option of the command line, with `text` as its help.

    A bool is a flag (`--reload`, `--no-access-log`) or, with `is_flag` False, takes a word (`--x true`).
    A field without this metadata is for programs alone, as no word can stand for its value.
    """
    return dataclasses.field(default=default, metadata={"help": text, "is_flag": is_flag})


def kind(field: "dataclasses.Field[Any]") -> Any:
    """What the value of an option is on the command line: the field's type, or the first of a union.

    Of `int | None` that is `int`: None is what a program says, and on the command line to say nothing.
    Python has two kinds of unions: `X | Y` of plain types is a `UnionType`, with a `Literal` a `Union`.
    """
    is_union = get_origin(field.type) in (Union, types.UnionType)
    return get_args(field.type)[0] if is_union else field.type


def takes_class(field: "dataclasses.Field[Any]") -> bool:
    """True for a field of words that `module:Class` can stand in for."""
    return str in get_args(field.type)


@dataclasses.dataclass(kw_only=True)
class Config:
    """The options of one server, checked when made (`ConfigError`); names as in uvicorn.

    Times are in seconds, sizes in bytes. `app` is an ASGI 3, ASGI 2 or WSGI app, a factory of one, or
    an import string, `module:attribute`; "" looks for one. It alone may be given by its position.

    To make a `Config` opens nothing but `env_file`. Whether an app, a certificate or a directory is
    there, is said by the method that needs it. A number as text is a `TypeError`: a program has types.
    """

    app: App | str = dataclasses.field(kw_only=False)
    # Where to listen. The first of fd, uds, systemd's sockets, and host with port that is there wins.
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for every interface.")
    port: int = option(8000, "Port to listen on; 0 for any free one, which is then printed.")
    uds: str | None = option(None, "Listen on a unix socket at this path instead.")
    fd: int | None = option(None, "Listen on the socket that this file descriptor is.")
    # Reload: paths are relative to the current directory. As its user waits, requests get 1 s to end, at most.
    reload: bool = option(False, "Begin anew when a file of the project changes.")
    reload_dirs: Sequence[str] = option((), "Directory to watch instead of the current one; may be repeated.")
    reload_includes: Sequence[str] = option((), "Pattern of more files to watch than *.py; may be repeated.")
    reload_excludes: Sequence[str] = option((), "Pattern of files not to watch, or a directory; may be repeated.")
    reload_delay: float = option(0.25, "Between two looks at the files, without watchfiles.")
    # Processes. None asks $WEB_CONCURRENCY, which hosting services set to suit the machine.
    workers: int | None = option(None, "Processes that serve; default: $WEB_CONCURRENCY, or 1.")
    # Of the kernel's queue. What Linux grants is bounded by net.core.somaxconn, too: listen(2).
    backlog: int = option(2048, "Connections that the kernel may hold until we accept them.")
    # What runs below: "auto" takes uvloop and httptools, which are in C, if they are installed.
    loop: LoopName = option("auto", "Event loop: auto takes uvloop if it is installed.")
    http: HttpName | type[Parser] | str = option("auto", "Parser: auto takes httptools if installed; or module:Class.")
    ws: WebSocketName | type[WebSocket] | str = option("auto", "WebSockets: auto is wsproto; or module:Class, or none.")
    # WebSockets: uvicorn's values. A message is held whole, so ws_max_size bounds what one client can make
    # us keep. Those that wait for the app are bounded by 64 KiB as well as by ws_max_queue.
    ws_max_size: int = option(16777216, "Bytes of a WebSocket message; more get a close code of 1009.")
    ws_max_queue: int = option(32, "Messages that may wait for the app before reading stops.")
    ws_ping_interval: float | None = option(20.0, "Between a pong and our next ping; 0: no pings.")
    ws_ping_timeout: float | None = option(20.0, "For a pong to arrive; 0: no limit.")
    ws_per_message_deflate: bool = option(True, "Compress messages for clients that can.", is_flag=False)
    # The app: how to call it, and where it is.
    lifespan: Mode = option("auto", "Startup and shutdown events: auto, if the app knows them.")
    interface: Interface = option("auto", "What the app is; auto looks at its arguments.")
    wsgi_threads: int = option(10, "Threads that a WSGI app runs on; more requests wait.")
    factory: bool = option(False, "APP is a function without arguments that returns the app.")
    app_dir: str | Path = option("", "Directory to import APP from; default: the current one.")
    env_file: str | Path | None = option(None, "File of NAME=value lines for the environment.")
    # TLS, as Python's ssl module has it. One of the first two, or the factory, turns it on.
    ssl_certfile: str | Path | None = option(None, "Certificate, and those that it was signed with, as PEM: speak TLS.")
    ssl_keyfile: str | Path | None = option(None, "Its private key, if that is in a file of its own.")
    ssl_keyfile_password: str | None = option(None, "Password of the private key.")
    ssl_version: int = option(ssl.PROTOCOL_TLS_SERVER, "A PROTOCOL_ number of Python's ssl module.")
    ssl_cert_reqs: int = option(ssl.CERT_NONE, "Certificates of clients: 0 none, 1 if they have one, 2 required.")
    ssl_ca_certs: str | Path | None = option(None, "Who may sign the certificates of clients, as PEM.")
    ssl_ciphers: str | None = option(None, "Ciphers, as OpenSSL writes them; default: its safe ones.")
    # For programs: called with this object, and with a function that makes the context of the options
    # above. So a program can change ours, or give one of its own; SIGHUP renews neither.
    ssl_context_factory: Callable[["Config", Callable[[], ssl.SSLContext]], ssl.SSLContext] | None = None
    # A proxy in front. X-Forwarded-For is text that anybody can send: whoever believed it from every
    # peer would let clients choose their own address, in logs and in whatever limits by address. So it
    # counts only from peers in the list, by default this machine.
    root_path: str = option("", "Path under which a proxy mounts the app.")
    proxy_headers: bool = option(True, "Believe X-Forwarded-For and -Proto of trusted peers.")
    forwarded_allow_ips: str | None = option(None, "Those peers: addresses, networks or *; default: 127.0.0.1,::1.")
    # What each response has: a Date as RFC 9110 6.6.1 wants it of whoever has a clock.
    server_header: bool = option(True, "Send a Server header.")
    date_header: bool = option(True, "Send a Date header.")
    headers: Sequence[tuple[str, str]] = option((), "Name:Value of a header for every response; may be repeated.")
    # Logs. "default" is ours; None, from a program, leaves `logging` as the program has set it up.
    log_config: logs.LogConfig = option("default", "Logging configuration file: .json, .yaml, else INI.")
    log_level: LogLevel | int | None = option(None, "Least level to log; default: info.")
    log_format: logs.LogFormat = option("text", "Lines of text, or of JSON.")
    access_log: bool = option(True, "Log a line for each request, when it is answered.")
    use_colors: bool | None = option(None, "Colours in logs; default: on a terminal.")
    # Limits. One of requests counts those in the app, not connections: with uvicorn's count, a limit of
    # 1 refuses every request, as its own connection has used it up.
    limit_concurrency: int | None = option(None, "Requests and WebSockets in the app at one time; more get a 503.")
    limit_max_requests: int | None = option(None, "Stop after this many requests.")
    # Workers that began together would else be worn out together, too.
    limit_max_requests_jitter: int = option(0, "Up to this many more, at random.")
    # How much one client can send. httptools has no limit of its own, and uvicorn took a head of 200 MB
    # through it. The statuses: RFC 9110 15.5.14 and 15.5.15, RFC 6585 5.
    limit_request_line: int = option(8192, "Bytes of a request line; more get a 414.")
    limit_request_head: int = option(65536, "Bytes of a request head; more get a 431.")
    limit_request_fields: int = option(100, "Header fields of a request; more get a 431.")
    limit_request_body: int | None = option(None, "Bytes of a request's content; more get a 413. Default: no limit.")
    # What one client can make us wait. Slowloris sends a byte now and then, and never ends a head: a
    # few thousand such connections cost it nothing, and a server without deadlines all of its sockets.
    timeout_request_head: float = option(10.0, "For a request head to arrive, else 408; 0: no limit.")
    timeout_request_body: float = option(60.0, "Without content while the app waits for some, else 408; 0: no limit.")
    timeout_keep_alive: float = option(5.0, "For the next request on an idle connection.")
    # What we wait for ourselves. 30 s are also all that Kubernetes grants by default before it kills: there,
    # an app that needs time for its own shutdown wants less of it here. To start may take minutes, with a
    # model to load, and to be alive takes no time: one limit for both fits neither.
    timeout_graceful_shutdown: float = option(30.0, "For requests to end at a shutdown; apps hear of it 5 s before.")
    timeout_worker_startup: float = option(600.0, "For a worker's app to start; 0: no limit.")
    timeout_worker_healthcheck: int = option(5, "For a worker to give a sign of life; 0: no limit.")
    # How the app is called, and watched.
    reset_contextvars: bool = option(False, "Call the app in an empty context, not in a copy of the server's.")
    cancel_on_disconnect: bool = option(False, "Cancel the app's task when its client leaves.")
    blocked_loop_warning: float | None = option(
        None, "Log the line that blocks the event loop for longer than this; default: 1 with --reload, else 0: off."
    )

    def __post_init__(self) -> None:
        """Checks every value, then fills the environment from `env_file`; `ConfigError` for the first mistake."""
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is out of range: 0 to 65535")
        for field in dataclasses.fields(self):
            self._check(field, getattr(self, field.name))
        for header in self.headers:
            try:
                _encoded(*header)
            except (ValueError, TypeError, AttributeError) as error:
                raise ConfigError(f"--header {header!r}: {error}") from None
        # Last: whoever made a mistake shall not find the environment changed. And before any method is
        # called, since WEB_CONCURRENCY, FORWARDED_ALLOW_IPS and whatever the app reads may be in it.
        if self.env_file is not None:
            _load_env_file(self.env_file)

    def _check(self, field: "dataclasses.Field[Any]", value: Any) -> None:
        """A word is one of those that there are; a limit is at least 1, any other number at least 0.

        No request fits into a limit of 0, but a time of 0 has a meaning: "at once", or "no limit", as the
        help says. What is a limit is told by its name, so that a new one is checked without a word here.
        """
        name, wanted = field.name, kind(field)
        is_word = get_origin(wanted) is Literal and isinstance(value, str)
        if is_word and value not in get_args(wanted) and not (":" in value and takes_class(field)):
            raise ConfigError(f"{name} must be {' or '.join(get_args(wanted))}, not {value!r}")
        is_limit = name.startswith(("backlog", "limit_", "workers", "ws_max_", "wsgi_"))
        least = 1 if is_limit and not name.endswith("_jitter") else 0
        if wanted in (int, float) and value is not None and not value >= least:  # nan is not
            raise ConfigError(f"{name} must be at least {least}, not {value}")

    # What follows from the options:

    def setup_logging(self) -> None:
        """Configures `logging`; `log_config=None` leaves it to the program.

        `ConfigError` for a file that is not there, or says nonsense, or needs a package that is missing.
        """
        try:
            logs.configure(self.log_config, self.log_level, self.log_format, self.use_colors)
        except Exception as error:  # logging.config calls whatever the file names
            reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
            reason = " ".join(reason.split())  # YAML's have five lines
            raise ConfigError(f"--log-config {self.log_config}: {reason}") from None

    def load_app(self) -> App:
        """Imports the app, and puts around it what the options ask for; looks for one if none is named.

        Gives an ASGI 3 app, whatever it was; what was found stays in `app`, as an import string.
        `ConfigError` if there is none, with the frames of the app's own files if its code has failed.
        The proxy's fields are outermost: a trace, like the app, sees the client that they name.
        """
        directory = self._import_from_app_dir()
        if self.app == "":
            self.app = discover(directory)
            logs.error_logger.info("No app named: running %s", self.app)
        app = load_app(self.app, self.factory, self.interface, self.wsgi_threads)
        if self.log_level in ("trace", logs.TRACE):
            app = logs.trace_app(app)
        return proxy.ProxyHeaders(app, self.trusted_peers) if self.proxy_headers else app

    def _import_from_app_dir(self) -> Path:
        """Puts the app's directory in front of `sys.path`, as `python main.py` does; once, and gives it.

        The command would else not find it: `sys.path` begins with the place of the `miniasgi` script.
        """
        directory = Path(self.app_dir).absolute()
        if sys.path[:1] != [str(directory)]:
            sys.path.insert(0, str(directory))
        return directory

    @property
    def trusted_peers(self) -> str:
        """The text of the trust list; see `proxy.TrustedPeers`. An option of "" trusts nobody.

        $FORWARDED_ALLOW_IPS is uvicorn's and gunicorn's name, and is read when needed: `env_file` may set it.
        """
        default = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
        return default if self.forwarded_allow_ips is None else self.forwarded_allow_ips

    def parser_class(self) -> type[Parser]:
        """The parser that `http` names or is; ConfigError if it is not installed, or is no class.

        Both accept and refuse the same: httptools is llhttp, in C, and h11 needs no compiler anywhere.
        """
        if self.http in ("auto", "httptools"):
            try:
                from .parser_httptools import HttptoolsParser

                return HttptoolsParser
            except ImportError:
                if self.http == "httptools":
                    raise ConfigError("--http httptools: httptools is not installed; pip install httptools") from None
        return H11Parser if self.http in get_args(HttpName) else self._class("http")

    def websocket_class(self) -> type[WebSocket] | None:
        """What takes the place of `WebSocket`, if `ws` names or is a class; ConfigError if it cannot be had.

        None leaves it to the connection, whose own class may be another one: that of the x-ray, say.
        """
        return None if self.ws in get_args(WebSocketName) else self._class("ws")

    def _class(self, name: str) -> Any:
        """The class that an option is, or names as `module:Class`; from the app's directory, as the app is."""
        value = getattr(self, name)
        if isinstance(value, str):
            self._import_from_app_dir()
            value = import_string(value, f"--{name}")
        if not isinstance(value, type):
            raise ConfigError(f"--{name} {getattr(self, name)} is not a class, but of type {type(value).__name__}")
        return value

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """What makes the event loop, for `asyncio.Runner`; ConfigError if it is not installed.

        A factory, and not an event loop policy: it holds for one loop, and changes nothing for others.
        """
        if self.loop in ("auto", "uvloop"):
            try:
                import uvloop

                return uvloop.new_event_loop
            except ImportError:
                if self.loop == "uvloop":
                    raise ConfigError("--loop uvloop: uvloop is not installed; pip install uvloop") from None
        return asyncio.new_event_loop

    @property
    def scheme(self) -> str:
        """`https` if an option asks for TLS, else `http`; that of a scope is its connection's own."""
        return "https" if self.ssl_certfile or self.ssl_keyfile or self.ssl_context_factory else "http"

    def tls(self) -> Tls | None:
        """The TLS that the options ask for, or None; ConfigError if a file or a number cannot be used.

        What `ssl_context_factory` gives has no file that we know of: SIGHUP does not renew its certificate.
        """
        if self.scheme == "http":
            return None
        if self.ssl_context_factory is not None:
            return Tls(self.ssl_context_factory(self, lambda: self._own_tls().context))
        return self._own_tls()

    def _own_tls(self) -> Tls:
        """The context of the options, its certificate loaded."""
        if self.ssl_certfile is None:
            raise ConfigError("TLS needs a certificate: --ssl-certfile")
        try:
            context = ssl.SSLContext(self.ssl_version)
            context.verify_mode = ssl.VerifyMode(self.ssl_cert_reqs)
            if self.ssl_ca_certs is not None:
                context.load_verify_locations(self.ssl_ca_certs)
            if self.ssl_ciphers is not None:
                context.set_ciphers(self.ssl_ciphers)
            tls = Tls(context, self.ssl_certfile, self.ssl_keyfile, self.ssl_keyfile_password)
            tls.load()
        # `ssl.SSLError` is an OSError. OpenSSL's text names no file, so the sentence has all of them.
        except (OSError, ValueError) as error:
            files = ", ".join(str(file) for file in (self.ssl_certfile, self.ssl_keyfile, self.ssl_ca_certs) if file)
            raise ConfigError(f"TLS with {files}: {error}") from None
        return tls

    def service(self, app: App, state: dict[str, Any], tls: Tls | None = None) -> Service:
        """What the connections of a server share; call it in the event loop, which becomes a part of it.

        Options end here: from now on a limit or a time is a number, and `math.inf` if there is none, so
        that no connection has to ask what is meant. ConfigError if a class cannot be had.
        """
        # 0 is for ever with these two, as `--help` says; an idle connection may well be closed at once.
        head, body = self.timeout_request_head or math.inf, self.timeout_request_body or math.inf
        most = math.inf if self.limit_request_body is None else self.limit_request_body
        interval, timeout = self.ws_ping_interval or math.inf, self.ws_ping_timeout or math.inf
        deflate, enabled = self.ws_per_message_deflate, self.ws != "none"
        websocket = WebSocketOptions(self.ws_max_size, self.ws_max_queue, interval, timeout, deflate, enabled)
        headers = [_encoded(name, value) for name, value in self.headers]
        return Service(
            app=app,
            loop=asyncio.get_running_loop(),
            parser_class=self.parser_class(),
            limits=Limits(self.limit_request_head, self.limit_request_fields, self.limit_request_line, most),
            timeouts=Timeouts(head, body, self.timeout_keep_alive),
            websocket=websocket,
            websocket_class=self.websocket_class(),
            header_lines=HeaderLines(self.server_header, self.date_header, headers),
            tls=tls,
            root_path=self.root_path,
            state=state,
            concurrency=self.limit_concurrency,
            reset_contextvars=self.reset_contextvars,
            cancel_on_disconnect=self.cancel_on_disconnect,
        )

    def project(self) -> Project:
        """The files that `reload` watches; ConfigError if a directory of them is not there.

        By default those of the current directory and of `app_dir`. A pattern that is a directory, too,
        means the directory: one to include is watched, and one to exclude is not entered.
        """
        tops: list[str | Path] = [*self.reload_dirs] or [".", self.app_dir]
        tops += [pattern for pattern in self.reload_includes if Path(pattern).is_dir()]
        for top in tops:
            if not Path(top).is_dir():
                raise ConfigError(f"--reload-dir {top}: there is no such directory")
        excludes = [str(Path(text).resolve()) if Path(text).is_dir() else text for text in self.reload_excludes]
        # Absolute: the app may change the current directory, and changes come with absolute paths.
        directories = dict.fromkeys(Path(top).resolve() for top in tops)
        return Project(tuple(directories), tuple(self.reload_includes), tuple(excludes))

    def processes(self) -> int:
        """How many workers there are to be, at least 1; ConfigError if the environment says nonsense.

        Read when asked, and not as a default: `env_file` may set $WEB_CONCURRENCY. Empty is not set.
        """
        if self.workers is not None:
            return self.workers
        text = os.environ.get("WEB_CONCURRENCY") or "1"
        if not (text.isdecimal() and int(text)):
            raise ConfigError(f"WEB_CONCURRENCY must be a number of at least 1, not {text!r}")
        return int(text)

    @property
    def longest_hold(self) -> float:
        """How long a callback may hold the event loop before it is named, in seconds; 0 is for ever.

        On while developing, where somebody reads the log and can mend the line; else only if asked for.
        """
        default = 1.0 if self.reload else 0.0
        return default if self.blocked_loop_warning is None else self.blocked_loop_warning

    def max_requests(self) -> int | None:
        """After how many requests to stop, the jitter thrown: another number at each call. None: never."""
        if self.limit_max_requests is None:
            return None
        return self.limit_max_requests + random.randint(0, self.limit_max_requests_jitter)


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as bytes; ValueError if it would break a response (RFC 9110 5.1, 5.5).

    One with a CR or LF would split it (RFC 9112 11.1). One about framing would contradict what we say
    of each response ourselves, and the client could not tell where it ends.
    """
    if name.lower().encode("latin-1") in FRAMING:
        raise ValueError("the server has to settle that itself")
    field = name.encode("latin-1"), value.encode("latin-1")
    HeaderLines()[field]  # checks it
    return field


def _load_env_file(path: str | Path) -> None:
    """Puts the variables of a file into the environment; those that are set already stay as they are."""
    try:
        from dotenv import load_dotenv

        with open(path, encoding="utf-8") as file:  # load_dotenv would not mind if it is not there
            load_dotenv(stream=file)
    except ImportError:
        raise ConfigError("--env-file needs a package: pip install python-dotenv") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--env-file {path}: {error}") from None

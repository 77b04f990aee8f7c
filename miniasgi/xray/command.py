"""`miniasgi xray APP [METHOD] [TARGET]`: start the app, ask it once, show the way of that request, stop.

Owns the words of this command, and the order of things: warm up, ask, put what the client saw beside
what the server saw, show. Knows no tap and no column.
"""

import asyncio
import base64
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..config import Config
from ..options import OPTIONS, Header, ProjectCommand, click_option
from .client import Exchange, exchange
from .model import Trace
from .recorder import Recorder
from .saves import check_save_path, save
from .server import XrayServer
from .waterfall import waterfall

_SERVER_OPTIONS = (
    *("loop", "http", "ws_max_size", "ws_per_message_deflate", "lifespan", "interface", "wsgi_threads"),
    *("factory", "app_dir", "env_file", "root_path"),
)
_WARM_UPS = 2  # imports at the first request, caches at the second
_LOADING = 60.0  # seconds that an app may answer "try again later" in
_PATIENCE = 2.0  # seconds until a person wants to know why nothing happens
_RETRY = 1.0  # seconds between two tries, at most
_LINGER = 5.0  # seconds for the app to come to its end when the client has its response
_STOP = 2.0  # seconds for everything to end
_WIDTH = 120  # columns, if there is no terminal to ask
_NOT_STARTED, _INTERRUPTED = 3, 130  # exit statuses
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


@dataclass
class Question:
    """What to ask, in the words of the command line."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    data: bytes | None = None
    messages: list[str] | None = None  # of a WebSocket

    def bytes(self, port: int, ident: str) -> bytes:
        """The request; by `ident`, in its traceparent, its trace is found."""
        fields = {"Host": f"127.0.0.1:{port}", "Accept": "*/*", "traceparent": f"00-{ident}-{ident[:16]}-01"}
        if self.messages is not None:
            key = base64.b64encode(secrets.token_bytes(16)).decode()
            fields |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            fields |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
        if self.data is not None:
            fields |= {"Content-Type": _content_type(self.data), "Content-Length": str(len(self.data))}
        given = {name.lower() for name, _ in self.headers}
        lines = [f"{name}: {value}" for name, value in fields.items() if name.lower() not in given]
        lines += [f"{name}: {value}" for name, value in self.headers]
        head = "\r\n".join([f"{self.method} {self.target} HTTP/1.1", *lines, "", ""])
        return head.encode("latin-1") + (self.data or b"")


def _content_type(data: bytes) -> str:
    try:
        json.loads(data)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


class _Server(XrayServer):
    """One without a page, that tells when it accepts."""

    def __init__(self, config: Config, server_timing: bool) -> None:
        super().__init__(config, page=False, server_timing=server_timing)
        self.accepts = asyncio.Event()

    def on_accepting(self, sockets: Any) -> None:
        super().on_accepting(sockets)
        self.accepts.set()


@dataclass
class Answer:
    """What came of it."""

    trace: Trace
    error: str | None
    unseen: str  # taps that are off, and why


class Asking:
    """A server, from its start to its end, and one question for it."""

    def __init__(self, config: Config, question: Question, warm_up: bool, within: float, server_timing: bool) -> None:
        self.server = _Server(config, server_timing)
        self.question, self.warm_up, self.within = question, warm_up, within

    async def run(self, show: Callable[[Answer], None]) -> int:
        """Calls `show` as soon as there is something to see; gives the exit status."""
        serving = asyncio.create_task(self.server.serve())
        asking = asyncio.create_task(self._ask())
        await asyncio.wait([serving, asking], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():  # the server has ended: it could not start, or somebody pressed Ctrl+C
            asking.cancel()
            await asyncio.wait([asking])
            serving.result()
            return _INTERRUPTED if self.server.started else _NOT_STARTED
        try:
            answer = asking.result()
            show(answer)
        finally:
            self.server.should_exit = True
            await serving
        return 1 if answer.error else 0

    async def _ask(self) -> Answer:
        await self.server.accepts.wait()
        if self.warm_up:
            await self._warm_up()
        ident = secrets.token_hex(16)
        request = self._request(ident)
        seen = await self._exchange(request)
        trace = await _over(self.server.recorder, ident)
        if trace is None:  # the server took it for no request
            trace = self.server.recorder.begin("", f"{self.question.method} {self.question.target}")
            trace.id, trace.status, trace.done = ident, seen.status, True
        trace.number, trace.hops = 1, [*seen.hops, *trace.hops]  # those before it are nobody's business
        trace.learn([(name.encode("latin-1"), value.encode("latin-1")) for name, value in seen.headers])
        return Answer(trace, seen.error, self.server.unseen)

    async def _warm_up(self) -> None:
        """Asks beforehand, so that imports and caches are not in the picture, and waits for a model to load."""
        loop = asyncio.get_running_loop()
        told = loop.call_later(_PATIENCE, partial(click.echo, f"Warming up, for up to {_LOADING:g} s ...", err=True))
        with contextlib.suppress(TimeoutError), _silence():
            async with asyncio.timeout(_LOADING):
                for _ in range(_WARM_UPS):
                    await self._until_ready()
        told.cancel()

    async def _until_ready(self) -> None:
        # To the app we are any client, and no event tells those:
        while (wait := again(await self._exchange(self._request(secrets.token_hex(16))))) is not None:  # noqa: ASYNC110
            await asyncio.sleep(wait)

    def _request(self, ident: str) -> bytes:
        return self.question.bytes(self._port, ident)

    async def _exchange(self, request: bytes) -> Exchange:
        return await exchange("127.0.0.1", self._port, request, self.question.messages, self.within)

    @property
    def _port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])


def again(seen: Exchange) -> float | None:
    """After how many seconds to try again, if the app says that it is not ready (RFC 9110 10.2.3)."""
    after = seen.header("retry-after")
    if seen.status != 503 or after is None:
        return None
    return min(float(after), _RETRY) if after.isdecimal() else _RETRY


async def _over(recorder: Recorder, ident: str) -> Trace | None:
    """The trace with this id, when it is over, or has lasted too long."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def listen(trace: Trace) -> None:
        if trace.id == ident and trace.done:
            loop.call_soon_threadsafe(over.set)

    with recorder.listening(listen), contextlib.suppress(TimeoutError):
        trace = recorder.find(ident)
        if trace is not None and not trace.done:
            async with asyncio.timeout(_LINGER):
                await over.wait()
    return recorder.find(ident)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What the server says of a request that is not shown is not shown either."""
    logger = logging.getLogger("miniasgi.error")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


# The words:


def _read(context: click.Context, parameter: click.Parameter, text: str | None) -> bytes | None:
    """Content, or that of a file."""
    if text is None or not text.startswith("@"):
        return None if text is None else text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"cannot read {text[1:]}: {error.strerror}") from None


_own = partial(click.option, allow_from_autoenv=False)  # no $MINIASGI_DATA


@click.command(
    cls=ProjectCommand,
    context_settings={"auto_envvar_prefix": "MINIASGI"},
    params=[click_option(field) for field in OPTIONS if field.name in _SERVER_OPTIONS],
)
@click.argument("app", default="", envvar="MINIASGI_APP")
@click.argument("method", default="")
@click.argument("target", default="")
@_own("-d", "--data", callback=_read, help="Content to send, or @FILE; JSON is declared as such, else it is text.")
@_own("-H", "--header", "request_headers", type=Header(), multiple=True, help="Name: value to send; may be repeated.")
@_own("--ws", "messages", multiple=True, help="Open a WebSocket and send this message; may be repeated.")
@_own("--xray-save", "saves", type=Path, multiple=True, help="FILE.html, .perfetto.json or .otlp.json to save to.")
@_own("--server-timing", is_flag=True, help="Have the response tell where the time went.")
@_own("--json", "as_json", is_flag=True, help="Print what was seen as JSON.")
@_own("--warm-up/--no-warm-up", default=True, help="Ask twice beforehand, to see no imports.", show_default=True)
@_own(
    "--timeout",
    default=60.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds that the exchange may last.",
    show_default=True,
)
@_own("--width", type=click.IntRange(40), help="Columns; default: the terminal's.")
@_own("--color/--no-color", "colour", default=None, help="Colours; default: on a terminal.")
def main(app: str, method: str, target: str, **options: Any) -> None:
    """Start the ASGI application APP, ask it once over a real socket, and print the way of that request
    through client, server, framework and app, with the time that each step took.

    METHOD is GET, or POST with --data; TARGET is a path, and a query. Before, the same is asked
    twice without being shown: if that does harm, say --no-warm-up.
    """
    own = {name: options.pop(name) for name in list(options) if name not in _SERVER_OPTIONS}
    for path in own["saves"]:
        check_save_path(path)
    question = read_question(method, target, own["request_headers"], own["data"], own["messages"])
    config = Config(
        app, port=0, workers=1, log_level="warning", access_log=False, timeout_graceful_shutdown=_STOP, **options
    )
    asking = Asking(config, question, own["warm_up"], own["timeout"], own["server_timing"])
    show = partial(_show, saves=own["saves"], as_json=own["as_json"], width=own["width"], colour=own["colour"])
    with asyncio.Runner(loop_factory=config.loop_factory()) as runner:
        try:
            raise SystemExit(runner.run(asking.run(show)))
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None


def read_question(
    method: str, target: str, headers: Sequence[tuple[str, str]], data: bytes | None, messages: Sequence[str]
) -> Question:
    """What the words mean; click's sentences if they mean nothing."""
    if method.startswith("/") and not target:
        method, target = "", method
    method = method or ("GET" if data is None else "POST")
    if not _TOKEN.fullmatch(method) or method != method.upper():
        raise click.BadParameter(f"{method!r} is no method: those are GET, POST, ...", param_hint="METHOD")
    if target and not target.startswith(("/", "*")):
        raise click.BadParameter(f"{target!r} does not begin with a slash", param_hint="TARGET")
    if messages and (method != "GET" or data is not None):
        raise click.UsageError("a WebSocket begins with a GET without content: --ws goes with no METHOD and no --data")
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or re.search(r"[^\t\x20-\x7e\x80-\xff]", value):
            raise click.BadParameter(f"{name}: {value!r} is no header", param_hint="--header")
    target = urllib.parse.quote(target or "/", safe="/?&=%:@!$'()*+,;[]~")
    return Question(method, target, headers, data, list(messages) or None)


def _show(answer: Answer, saves: Sequence[Path], as_json: bool, width: int | None, colour: bool | None) -> None:
    if as_json:
        click.echo(json.dumps(answer.trace.json(), indent=1))
    else:
        if colour is None:
            colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        picture = waterfall(answer.trace, width or shutil.get_terminal_size((_WIDTH, 0)).columns, colour)
        encoding = sys.stdout.encoding
        click.echo(picture.encode(encoding, "replace").decode(encoding), color=colour)
    notes = ["The x-ray itself takes time, too: a request costs several times the CPU."]
    notes += [f"not seen: {answer.unseen}"] if answer.unseen else []
    for path in saves:
        save(path, [answer.trace])
        notes.append(f"saved to {path}")
    for note in notes:
        click.echo(note, err=as_json)
    if answer.error:
        click.echo(f"Error: {answer.error}", err=True)

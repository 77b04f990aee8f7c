"""The server under the x-ray: puts the taps in, and shows what they see.

Owns the subclass of `Server` that `--xray` runs in its place: the taps that go with any server, and those
in this one.
"""

import dataclasses
import ipaddress
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..config import Config
from ..importer import ConfigError
from ..server import Server
from ..sockets import address, bind, release
from ..types import App, Message, Scope
from ..websocket import WebSocket
from .connection import WatchedConnection
from .live import LivePage
from .model import Trace
from .quiet import quiet
from .recorder import Recorder
from .saves import check_save_path, save
from .taps import tapped
from .tree import busy
from .waterfall import line
from .websocket import WatchedWebSocket

logger = logging.getLogger("miniasgi.error")

EXTENSION = "miniasgi.xray"  # in a scope: {"url": the page, at this very request}


class XrayServer(Server):
    """A server whose requests are seen whole. `recorder` has them; `page` shows them live, to this machine.

    ConfigError for more than one process, for addresses that others can reach unless that is `unsafe`
    on purpose, and for files to save to that cannot be written.
    """

    def __init__(
        self,
        config: Config,
        page: bool = True,
        saves: Sequence[str | Path] = (),
        server_timing: bool = False,
        unsafe: bool = False,
    ) -> None:
        # With a page, a request has a line of ours, which says more.
        super().__init__(dataclasses.replace(config, access_log=False) if page else config)
        if config.reload or config.processes() > 1:
            raise ConfigError("--xray sees a single process: leave out --reload and --workers")
        self.saves = [Path(path) for path in saves]
        for path in self.saves:
            check_save_path(path)
        self.recorder = Recorder()
        self.page = LivePage(self.recorder) if page else None
        self.taps: dict[str, str] = {}  # why those that are off are off
        self._server_timing, self._unsafe = server_timing, unsafe
        self.connection_class = WatchedConnection.for_recorder(self.recorder)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the server's, with the page before it, so that the app can be told its address."""
        if sockets is None:
            self._ours = sockets = bind(self.config)
        if not self._unsafe and (others := [sock for sock in sockets if not _is_local(sock)]):
            where = address(others[0], self.config.scheme)
            release(self._ours, self.config)
            raise ConfigError(f"--xray keeps all data of all requests, so not on {where}; or say --xray-unsafe")
        if self.page is not None:
            await self.page.start()
            self.recorder.listeners.add(self._tell)
        try:
            await super().startup(sockets)
        finally:
            if not self.started:
                await self._end_page()

    def load_app(self) -> App:
        door, self.taps = tapped(super().load_app, self.recorder)
        if self.page is not None and not self._unsafe:
            door.on_enter.append(self._offer_page)
        if self._server_timing:
            door.on_start.append(_with_server_timing)
        return door

    async def _listen(self, sockets: list[socket.socket]) -> None:
        own = self.service.websocket_class
        if isinstance(own, type) and issubclass(own, WebSocket):
            self.service.websocket_class = type("Watched", (WatchedWebSocket, own), {})
        await super()._listen(sockets)

    def on_accepting(self, sockets: list[socket.socket]) -> None:
        super().on_accepting(sockets)
        on = ["socket", "parser", "asgi", *(name for name, why in self.taps.items() if not why)]
        logger.info("x-ray sees: %s%s", ", ".join(on), f"; not: {self.unseen}" if self.unseen else "")
        if self.page is not None:
            logger.warning(
                "x-ray: requests cost several times the CPU, and are kept with their data: not for production"
            )
            logger.info("x-ray is shown on %s", self.page.address)

    @property
    def unseen(self) -> str:
        """The taps that are off, and why; empty if all are on."""
        return ", ".join(f"{name} ({why})" for name, why in self.taps.items() if why)

    async def shutdown(self) -> None:
        await super().shutdown()
        for path in self.saves:
            save(path, list(self.recorder.traces))
            logger.info("x-ray: %d requests saved to %s", len(self.recorder.traces), path)
        await self._end_page()

    async def _end_page(self) -> None:
        if self.page is not None:
            self.recorder.listeners.discard(self._tell)
            await self.page.stop()

    @quiet
    def _tell(self, trace: Trace) -> None:
        """A line for each request that is over, in place of the access log's."""
        if trace.done and not trace.told:
            trace.told = True
            click.echo(line(trace, sys.stdout.isatty()))

    @quiet
    def _offer_page(self, trace: Trace, scope: Scope) -> None:
        assert self.page is not None
        scope.setdefault("extensions", {})[EXTENSION] = {"url": self.page.url_of(trace)}


def _is_local(sock: socket.socket) -> bool:
    name = sock.getsockname()
    return not isinstance(name, tuple) or ipaddress.ip_address(name[0].partition("%")[0]).is_loopback


@quiet
def _with_server_timing(trace: Trace, message: Message) -> Message:
    """With a Server-Timing field (W3C Server Timing): how long each layer was busy so far, in milliseconds."""
    value = ", ".join(f"{layer};dur={ns / 1e6:.3f}" for layer, ns in busy(trace).items())
    return {**message, "headers": [*message.get("headers", ()), (b"server-timing", value.encode())]}

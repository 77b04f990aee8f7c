"""More words, for tests of the x-ray's live page: one in an event loop of its own, as next to a server."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from miniasgi import Config
from miniasgi.xray.live import LivePage
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder

from .vocabulary import PATIENCE, Client, Reply, get


class Live:
    """A live page that is up; the test's thread is not its loop's, as a worker thread of an app is not."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.recorder = Recorder()
        self.page = LivePage(self.recorder)
        self.loop = runner.get_loop()
        self.clients: list[Client] = []

    def run(self, coroutine: Any) -> Any:
        """Runs a coroutine in the page's loop, and gives its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def call(self, function: Callable[[], Any]) -> Any:
        """Calls a function there; the loop does nothing else meanwhile."""

        async def run() -> Any:
            return function()

        return self.run(run())

    @property
    def port(self) -> int:
        return urlsplit(self.page.address).port or 0

    @property
    def path(self) -> str:
        """That of the address, with the token."""
        return urlsplit(self.page.address).path

    def connect(self, **options: int) -> Client:
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.connect(("127.0.0.1", self.port))
        self.clients.append(Client(sock))
        return self.clients[-1]

    def request(self, path: str, method: str = "GET", host: str = "127.0.0.1:{}") -> bytes:
        return get(path, method=method).replace(b"Host: test", f"Host: {host.format(self.port)}".encode())

    def ask(self, path: str = "", **how: str) -> Reply:
        """One request, of what is under the token."""
        client = self.connect().send(self.request(self.path + path, **how))
        reply = client.read_reply(how.get("method", "GET"))
        client.close()
        return reply

    def json(self, path: str) -> Any:
        reply = self.ask(path)
        assert (reply.status, reply.header(b"content-type")) == (200, b"application/json"), reply
        return json.loads(reply.body)

    def stream(self, **options: int) -> "Stream":
        return Stream(self.connect(**options).send(self.request(self.path + "events")))


class Stream:
    """The events of a page, one after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.head = client.read_until(b"\r\n\r\n")

    def next(self) -> tuple[str, Any]:
        """Its name, and what it says."""
        text = b""
        while not text.endswith(b"\n\n"):
            size = int(self.client.read_until(b"\r\n"), 16)
            text += self.client.read_exactly(size + 2)[:-2]
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if line)
        return fields["event"], json.loads(fields["data"])

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> int:
        """How many events it takes until a summary is as it should be."""
        count = 1
        while not any(condition(summary) for summary in self.next()[1]):
            count += 1
        return count


@contextlib.contextmanager
def living(loop: str = "asyncio") -> Iterator[Live]:
    """A `Live` that ends with the block."""
    factory = Config(lambda: None, loop=loop).loop_factory()  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=factory) as runner:
        live = Live(runner)
        stop = asyncio.Event()

        async def serve() -> None:
            await stop.wait()

        thread = threading.Thread(target=runner.run, args=[serve()])
        thread.start()
        try:
            live.run(live.page.start())
            yield live
            live.run(live.page.stop())
        finally:
            live.loop.call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)
            for client in live.clients:
                client.close()


async def stuck(reached: asyncio.Event) -> None:
    """Awaits for ever, through a coroutine, an async generator and an object of its own."""
    async for _ in _drops(reached):
        pass


async def _drops(reached: asyncio.Event) -> Any:
    yield await _Well(reached)


class _Well:
    def __init__(self, reached: asyncio.Event) -> None:
        self.reached = reached

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> None:
        self.reached.set()
        await asyncio.Barrier(2).wait()


@contextlib.contextmanager
def hanging(live: Live, trace: Trace) -> Iterator[None]:
    """A task that works for the trace, and is stuck."""

    async def begin() -> Any:
        reached = asyncio.Event()
        task = asyncio.create_task(stuck(reached))
        await reached.wait()
        trace.tasks.add(task)
        return SimpleNamespace(task=task)  # a future of another loop: not to be waited for

    async def end(task: Any) -> None:
        task.cancel()
        await asyncio.wait([task])

    task = live.run(begin()).task
    try:
        yield
    finally:
        live.run(end(task))

"""watchdog.py: which line is blamed, with made-up frames; that it is told, and when, with real blocks."""

import asyncio
import linecache
import re
import signal
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from miniasgi import Config, Server, watchdog
from miniasgi.types import App, Receive, Scope, Send
from miniasgi.watchdog import Watchdog, described, line_of

from .servers import QUIET
from .vocabulary import PATIENCE, answer, eventually, get, logged, serving, spawned

THRESHOLD = 0.1  # seconds
BLOCK = 0.16  # seconds: longer than the threshold, in every count
HERE = str(Path(__file__).relative_to(Path.cwd()))


# The line to blame

STDLIB = sysconfig.get_path("stdlib") + "/selectors.py"
PACKAGE = "/venv/lib/python3.13/site-packages/pydantic/main.py"
DEBIAN = "/usr/local/lib/dist-packages/torch/nn.py"
OURS = str(Path(watchdog.__file__).parent / "cycle.py")
GENERATED = "<string>"
APP = "/srv/app.py"


def stack(*files: str) -> Any:
    """The innermost frame of a stack, its files from the outside to the inside."""
    frame = None
    for number, file in enumerate(files, 1):
        code = SimpleNamespace(co_filename=file, co_name=f"f{number}")
        frame = SimpleNamespace(f_code=code, f_lineno=number, f_back=frame)
    return frame


@pytest.mark.parametrize(
    "files, number",
    [
        ([OURS, APP], 2),
        ([APP, "/srv/model.py"], 2),  # the innermost of its own files
        ([APP, STDLIB], 1),
        ([APP, PACKAGE, PACKAGE, STDLIB], 1),
        ([APP, DEBIAN], 1),
        ([APP, GENERATED], 1),
        ([APP, PACKAGE, APP, PACKAGE], 3),  # a callback of the app, called by a framework
        ([OURS, PACKAGE, STDLIB], 3),  # none of the app: the innermost
        ([STDLIB], 1),
    ],
)
def test_the_innermost_line_of_the_app_is_blamed(files: list[str], number: int) -> None:
    assert line_of(stack(*files)) == (files[number - 1], number, f"f{number}")


def test_what_started_the_loop_is_not_blamed() -> None:
    frame = stack("/srv/run.py", STDLIB, OURS, PACKAGE)
    assert line_of(frame, end=frame.f_back.f_back.f_code)[0] == PACKAGE
    assert line_of(frame)[0] == "/srv/run.py"  # as it would be


def test_a_frame_that_has_no_line_yet() -> None:
    frame = stack(APP)
    frame.f_lineno = None
    assert line_of(frame) == (APP, 0, "f1")
    assert described(line_of(frame)) == "/srv/app.py:0 in f1"


def test_a_line_is_shown_with_its_source_and_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "app.py"
    file.write_text("def predict(x):\n    return model(x)\n")
    linecache.clearcache()
    assert described((str(file), 2, "predict")) == f"{file}:2 in predict: return model(x)"
    monkeypatch.chdir(tmp_path)
    assert described((str(file), 2, "predict")) == "app.py:2 in predict: return model(x)"
    assert described(("<string>", 2, "predict")) == "<string>:2 in predict"


# Servers


def calling(function: Callable[[], Any]) -> App:
    """An app that calls a function for each request, as handlers do, and awaits what it gives."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (awaitable := function()) is not None:
            await awaitable
        await answer()(scope, receive, send)

    return app


def nap() -> None:
    time.sleep(BLOCK)


def spend(seconds: float) -> None:
    time.sleep(seconds)


def here(function: Callable[..., Any], offset: int = 1) -> str:
    """Where a function's line is, as a warning tells it."""
    return f"{HERE}:{function.__code__.co_firstlineno + offset} in {function.__name__}"


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if "blocked" in line]


def held(line: str) -> float:
    """The seconds that a warning tells."""
    matched = re.match(r"event loop blocked for (?:more than )?(\d+) ms at ", line)
    assert matched, line
    return int(matched[1]) / 1000


@pytest.fixture
def serve(loop: str) -> Iterator[Callable[..., Any]]:
    def start(app: App, **options: Any) -> Any:
        options = {"loop": loop, "blocked_loop_warning": THRESHOLD} | options
        return serving(app, **options)

    return start


def test_the_line_that_blocks_is_told_once_with_the_duration(serve: Any) -> None:
    with logged() as lines, serve(calling(nap)) as server:
        server.ask(get())
        [line] = eventually(lambda: warnings(lines))
        server.ask(get())
        eventually(lambda: len(warnings(lines)) == 2)  # another block
    assert line.endswith(f" at {here(nap)}: time.sleep(BLOCK)")
    assert held(line) >= THRESHOLD
    assert len(warnings(lines)) == 2


def test_whatever_works_with_the_gil_held_is_told_too(serve: Any) -> None:
    numbers = [i * 7919 % 2000003 for i in range(500_000)]

    def work() -> None:
        sorted(numbers)

    began = time.monotonic()
    work()
    once = time.monotonic() - began
    with logged() as lines, serve(calling(work), blocked_loop_warning=once / 3) as server:
        # Once more where the measurement above was of a busier machine.
        line, *_ = eventually(lambda: server.ask(get()) and warnings(lines))
    assert line.endswith(f" at {here(work)}: sorted(numbers)")


def test_a_callback_outside_of_a_task_is_told_too(serve: Any) -> None:
    with logged() as lines, serve(answer()) as server:
        server.service.loop.call_soon_threadsafe(nap)
        [line] = eventually(lambda: warnings(lines))
    assert line.endswith(f" at {here(nap)}: time.sleep(BLOCK)")


def test_one_that_goes_on_is_told_before_its_end_and_not_again(serve: Any) -> None:
    released = threading.Event()

    def hang() -> None:
        released.wait(PATIENCE)

    with logged() as lines, serve(calling(hang), blocked_loop_warning=0.04) as server:
        client = server.connect().send(get())
        [line] = eventually(lambda: warnings(lines))
        assert not released.is_set()
        released.set()
        client.read_reply()
    assert line.startswith("event loop blocked for more than ")
    assert line.endswith(f" at {here(hang)}: released.wait(PATIENCE)")
    assert warnings(lines) == [line]


def test_two_tasks_in_one_turn_of_the_loop_are_two_blocks(serve: Any) -> None:
    async def both() -> None:
        async def one() -> None:
            nap()

        await asyncio.gather(one(), one())

    with logged() as lines, serve(calling(both)) as server:
        server.ask(get())
        eventually(lambda: len(warnings(lines)) == 2)
    for line in warnings(lines):
        assert THRESHOLD <= held(line) < 2 * BLOCK
        assert here(nap) in line


def test_startup_and_shutdown_of_the_app_count(serve: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            nap()
            await send({"type": f"lifespan.{event}.complete"})

    with logged() as lines:
        with serve(app, lifespan="on"):
            [line] = eventually(lambda: warnings(lines))
        assert here(nap) in line
        assert len(warnings(lines)) == 2


def test_an_app_that_awaits_is_healthy_however_busy(serve: Any) -> None:
    async def turns() -> None:
        """Always at work, at the same line, in the same task: but the loop comes round."""
        end = time.monotonic() + 2 * THRESHOLD
        while time.monotonic() < end:
            spend(THRESHOLD / 20)
            await asyncio.sleep(0)

    async def waits() -> None:
        await asyncio.sleep(1.5 * THRESHOLD)

    async def asks_a_thread() -> None:
        await asyncio.to_thread(nap)

    for function in (turns, waits, asks_a_thread):
        with logged() as lines, serve(calling(function)) as server:
            assert server.ask(get()).body == b"ok"
        assert not warnings(lines)


def test_a_turn_of_many_short_callbacks_is_not_one_long(serve: Any) -> None:
    async def many() -> None:
        async def short() -> None:
            spend(THRESHOLD / 4)

        await asyncio.gather(*(short() for _ in range(10)))

    with logged() as lines, serve(calling(many)) as server:
        assert server.ask(get()).body == b"ok"
    assert not warnings(lines)


PLAIN = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""


def test_an_idle_loop_is_neither_woken_nor_told_of_even_after_a_stop(loop: str, tmp_path: Path) -> None:
    flags = ("--loop", loop, "--no-access-log", "--blocked-loop-warning", str(THRESHOLD))
    with spawned(tmp_path, PLAIN, *flags) as server:
        client = server.connect()
        assert client.ask(get()).body == b"ok"

        def naps() -> int:
            """Of the main thread alone."""
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

        before = naps()
        time.sleep(3 * THRESHOLD)  # it is the time itself that is measured: 24 looks
        assert naps() - before <= 2
        server.signal(signal.SIGSTOP)
        time.sleep(2 * THRESHOLD)
        client.send(get())  # so that there is work at the end of the stop
        server.signal(signal.SIGCONT)
        assert client.read_reply().body == b"ok"
        server.signal(signal.SIGTERM)
        assert server.join() == -signal.SIGTERM
        assert "blocked" not in server.log


# Its thread


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "miniasgi-watchdog"]


async def test_servers_in_a_running_loop_watch_each_for_itself_and_leave_no_thread() -> None:
    servers = [Server(Config(answer(), blocked_loop_warning=THRESHOLD, **QUIET)) for _ in range(2)]
    servers.append(Server(Config(answer(), **QUIET)))  # off, as by default
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.001)
    assert len(watchers()) == 2
    assert all(thread.daemon for thread in watchers())
    servers[0].should_exit = servers[2].should_exit = True
    await asyncio.gather(tasks[0], tasks[2])
    assert len(watchers()) == 1
    with logged() as lines:
        nap()
        servers[1].should_exit = True
        await tasks[1]
    assert len(warnings(lines)) == 1
    assert not watchers()


async def test_a_startup_that_fails_leaves_no_thread() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no model")

    server = Server(Config(app, blocked_loop_warning=THRESHOLD, lifespan="on", **QUIET))
    await server.serve()
    assert not server.started
    assert not watchers()


async def test_a_stop_tells_of_a_block_that_was_just_over() -> None:
    dog = Watchdog(THRESHOLD)
    dog.start()
    with logged() as lines:
        await asyncio.sleep(0)
        nap()
        await asyncio.sleep(0.001)  # the loop comes round, and long before the next look
        dog.stop()
    assert len(warnings(lines)) == 1


def test_it_ends_with_its_loop_if_nobody_stops_it() -> None:
    async def forget() -> None:
        Watchdog(THRESHOLD).start()

    asyncio.run(forget())
    eventually(lambda: not watchers())


def test_a_loop_that_is_not_running_is_not_blocked() -> None:
    dog = Watchdog(THRESHOLD)

    async def start() -> None:
        dog.start()

    with logged() as lines, asyncio.Runner() as runner:
        runner.run(start())
        nap()
        dog.stop()
    assert not warnings(lines)


async def test_an_infinite_threshold_is_never_reached() -> None:
    dog = Watchdog(float("inf"))
    dog.start()
    dog.stop()
    assert not watchers()

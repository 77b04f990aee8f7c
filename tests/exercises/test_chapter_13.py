"""Exercises of chapter 13. No clock: time passes when all that runs waits for it."""

import asyncio
import selectors
import signal
from collections.abc import Coroutine
from types import FrameType, ModuleType
from typing import Any

import pytest

BOTH = (signal.SIGINT, signal.SIGTERM)


class Heard:
    """Handlers of whoever started us; they keep what reaches them."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)


@pytest.fixture
def heard() -> Any:
    heard = Heard()
    former = {number: signal.signal(number, heard.handle) for number in BOTH}
    yield heard
    for number, handler in former.items():
        signal.signal(number, handler)


def test_nobody_asks(chapter: ModuleType, heard: Heard) -> None:
    with chapter.stopping() as stop:
        assert not stop.asked
        assert not stop.forced
    assert heard.numbers == []
    signal.raise_signal(signal.SIGTERM)
    assert heard.numbers == [signal.SIGTERM], "the former handler is not back"


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_asks_and_reaches_others_afterwards(chapter: ModuleType, heard: Heard, number: int) -> None:
    with chapter.stopping() as stop:
        signal.raise_signal(number)
        assert stop.asked
        assert not stop.forced
        assert heard.numbers == []
    assert heard.numbers == [number]


def test_a_second_signal_forces(chapter: ModuleType, heard: Heard) -> None:
    with chapter.stopping() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.forced
    assert sorted(heard.numbers) == sorted(BOTH)


def test_handlers_are_put_back_after_a_failure_too(chapter: ModuleType, heard: Heard) -> None:
    with pytest.raises(RuntimeError), chapter.stopping():
        raise RuntimeError("on purpose")
    signal.raise_signal(signal.SIGINT)
    assert heard.numbers == [signal.SIGINT]


class Selector(selectors.DefaultSelector):
    """Never sleeps: instead, it becomes later."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits, and nothing will ever happen"
        self.now += max(timeout, 0)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def timed(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, int]:
    """What a coroutine returns, and how many seconds it would have taken."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        result = runner.run(coroutine)
        return result, round(runner.get_loop().time())


def test_it_waits_for_nobody(chapter: ModuleType) -> None:
    assert timed(chapter.drain(set(), 30, 5, list)) == (0, 0)


def test_it_waits_no_longer_than_the_last_task(chapter: ModuleType) -> None:
    called: list[float] = []

    async def main() -> Any:
        tasks = {asyncio.create_task(asyncio.sleep(seconds)) for seconds in (1, 3)}
        return await chapter.drain(tasks, 30, 5, lambda: called.append(0))

    assert timed(main()) == (0, 3)
    assert called == [], "nobody was left to be told"


def test_who_is_told_to_leave_may_do_so(chapter: ModuleType) -> None:
    called: list[float] = []

    async def main() -> Any:
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        async def stream() -> None:
            await told.wait()
            await asyncio.sleep(2)

        def leave() -> None:
            called.append(round(loop.time()))
            told.set()

        return await chapter.drain({asyncio.create_task(stream()), asyncio.create_task(stream())}, 30, 5, leave)

    assert timed(main()) == (0, 27)
    assert called == [25]


def test_who_does_not_leave_is_cancelled(chapter: ModuleType) -> None:
    ended: list[str] = []

    async def deaf() -> None:
        try:
            await asyncio.sleep(999)
        finally:
            await asyncio.sleep(1)  # it has to clean up
            ended.append("deaf")

    async def main() -> Any:
        return await chapter.drain({asyncio.create_task(deaf()), asyncio.create_task(asyncio.sleep(29))}, 30, 5, list)

    assert timed(main()) == (1, 31)
    assert ended == ["deaf"]

"""deadline.py with a clock that the test winds."""

import asyncio
import math
from collections.abc import Callable

import pytest

from miniasgi.deadline import Deadline


class Clock:
    """The two methods of an event loop that a deadline needs."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []
        self.loop = asyncio.new_event_loop()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, (), self.loop)
        self.timers.append((when, handle))
        return handle

    def wind(self, to: float) -> None:
        """Fires what is due up to a moment, in order."""
        while due := sorted(pair for pair in self.timers if pair[0] <= to and not pair[1].cancelled()):
            self.timers.remove(due[0])
            self.now = due[0][0]
            due[0][1]._run()
        self.now = to


@pytest.fixture
def clock():
    clock = Clock()
    yield clock
    clock.loop.close()


@pytest.fixture
def missed():
    return []


@pytest.fixture
def deadline(clock, missed):
    return Deadline(clock, lambda: missed.append(clock.now))


def test_it_is_missed_once_when_its_time_has_come(deadline, clock, missed):
    deadline.set(5)
    clock.wind(104.9)
    assert not missed
    clock.wind(200)
    assert missed == [105]


def test_moving_it_away_touches_no_timer(deadline, clock, missed):
    deadline.set(5)
    for moment in range(101, 104):
        clock.now = moment
        deadline.set(5)
    assert len(clock.timers) == 1
    clock.wind(200)
    assert missed == [108]


def test_moving_it_closer_does(deadline, clock, missed):
    deadline.set(10)
    deadline.set(2)
    clock.wind(200)
    assert missed == [102]


def test_without_end_it_is_never_missed_but_can_be_set_again(deadline, clock, missed):
    deadline.set(5)
    deadline.set(math.inf)
    clock.wind(150)
    assert not missed
    assert not clock.timers
    deadline.set(5)
    clock.wind(200)
    assert missed == [155]


def test_closed_it_leaves_no_timer(deadline, clock, missed):
    deadline.close()
    deadline.set(5)
    deadline.close()
    clock.wind(200)
    assert not missed

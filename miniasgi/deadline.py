"""A moment by which something must have happened, that is moved often and met seldom.

Owns one timer, which compares when it fires: moving the moment further away, as each request of a connection does,
touches no timer at all. Knows nothing of what is waited for.

A timer of the event loop costs an object, a place in a heap, and as much again to cancel it. With one for each
request, the heap fills with cancelled ones.
"""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls `missed` once `set(seconds)` have gone by, unless it is set anew before.

    Invariant: while a timer runs, it fires at `_timer_at`, which is at `_when` or before. Fires late rather than
    early.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], None]) -> None:
        self._loop = loop
        self._missed = missed
        self._when = self._timer_at = math.inf  # on the loop's clock, in seconds
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Moves the moment to `seconds` from now; `math.inf` is never. Only a nearer one costs a timer."""
        self._when = self._loop.time() + seconds
        if self._when < self._timer_at:
            self.close()
            self._timer_at = self._when
            self._timer = self._loop.call_at(self._when, self._fire)

    def close(self) -> None:
        """There will be none any more: `missed` is not called."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        """The timer's time has come; the moment may have moved on meanwhile, and the timer follows it."""
        self._timer_at = math.inf
        left = self._when - self._loop.time()
        if left > 0:
            self.set(left)
        else:
            self._missed()

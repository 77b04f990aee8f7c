"""A moment by which something must have happened, that is moved often and met seldom.

Owns one timer, which compares when it fires: moving the moment further away, as each request of a
connection does, touches no timer at all. Knows nothing of what is waited for.
"""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls `missed` once `set(seconds)` have gone by, unless it is set anew before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], None]) -> None:
        self._loop = loop
        self._missed = missed
        self._when = self._timer_at = math.inf  # on the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Moves the moment to `seconds` from now; `math.inf` is never."""
        self._when = self._loop.time() + seconds
        if self._when < self._timer_at:
            self.close()
            self._timer_at = self._when
            self._timer = self._loop.call_at(self._when, self._fire)

    def close(self) -> None:
        """There will be none any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._timer_at = math.inf
        left = self._when - self._loop.time()
        if left > 0:
            self.set(left)
        else:
            self._missed()

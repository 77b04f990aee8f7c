"""What the exercises on `asyncio.Protocol` run on: a transport without a network, and a loop without a clock."""

from typing import Any


class Transport:
    """Keeps what a protocol does to it."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True


class Timer:
    def __init__(self, when: float, call: Any, arguments: Any) -> None:
        self.when, self.call, self.arguments = when, call, arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop that has nothing but time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Any, *arguments: Any) -> Timer:
        return self.call_at(self.now + delay, call, *arguments)

    def call_at(self, when: float, call: Any, *arguments: Any) -> Timer:
        self.timers.append(timer := Timer(when, call, arguments))
        return timer

    @property
    def pending(self) -> list[Timer]:
        """Those that have neither fired nor been cancelled."""
        return [timer for timer in self.timers if not timer.cancelled]

    def pass_until(self, now: float) -> None:
        """Calls what is due, in order."""
        while due := [timer for timer in self.pending if timer.when <= now]:
            first = min(due, key=lambda timer: timer.when)
            self.now, first.cancelled = first.when, True
            first.call(*first.arguments)
        self.now = now

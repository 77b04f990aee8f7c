"""Says which line of the app holds the event loop, and with it every request.

Owns one daemon thread that looks at the loop's thread a few times per threshold. Knows no HTTP and
no option: a loop, its thread and its frames are all that it needs.

A look is `sys._current_frames()`. If the loop sleeps, that is all: nothing wakes it. If it is at
work, the look also asks it a question, a callback that the loop comes to after the present one: as
long as there is no answer and the same task is at work, one callback holds the loop. (Frames alone
cannot tell: a coroutine that yields has the same frame, at the same line, after a thousand turns.)

Each block is logged once: when it is over, with its duration; or, if it is not over after
`_HOPELESS` thresholds, then, as "more than" so many ms. None shorter than the threshold is logged;
a longer one may count for up to two looks less than it was, so 1.25 thresholds are never missed.

Cost, measured with a threshold of 1 s: 8 looks a second, of 0.1 ms of CPU time each with the waking
of the thread, so 0.1 % of a CPU, as much under load as idle; and no wake-up of an idle loop.

Not seen: a function written in C that is itself the callback (`loop.call_soon(time.sleep, 9)`), as
it has no frame; and one that sleeps with the GIL held, as this thread sleeps then, too.
"""

import asyncio
import dataclasses
import linecache
import logging
import os
import sys
import sysconfig
import threading
import time
from collections import Counter
from types import CodeType, FrameType

logger = logging.getLogger("miniasgi.error")

_LOOKS = 8  # per threshold: so the error of a duration is a quarter of it at the most
_HOPELESS = 5  # thresholds after which a block is logged without waiting for its end
_PERIODS = 0.005, 1.0  # seconds between two looks, least and most

# Modules that an event loop written in Python sleeps in. One written in C, as uvloop is, sleeps in
# the frame that called it. In a loop that we do not know, we are wrong on the safe side: it is asked.
_BEDROOMS = ("selectors", "asyncio.windows_events")

# Files that the user does not edit: the standard library, generated code, and this server.
_FOREIGN = (sysconfig.get_path("stdlib") + os.sep, os.path.dirname(__file__) + os.sep, "<")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

Line = tuple[str, int, str]  # file, line number, function


def line_of(frame: FrameType, end: CodeType | None = None) -> Line:
    """The line to blame: the innermost of a file that the user can change; if none, the innermost.

    `end` is the code of the frame that the event loop calls its callbacks from: what is outside of
    it started the loop, and cannot be what holds it.
    """
    blamed: FrameType | None = frame
    while blamed is not None and blamed.f_code is not end and not is_apps(blamed.f_code.co_filename):
        blamed = blamed.f_back
    if blamed is None or blamed.f_code is end:
        blamed = frame
    return blamed.f_code.co_filename, blamed.f_lineno or 0, blamed.f_code.co_name  # a frame may have no line yet


def is_apps(file: str) -> bool:
    """True for a file that the user can change: what is blamed must be what can be mended."""
    return not file.startswith(_FOREIGN) and not any(directory in file for directory in _INSTALLED)


def described(line: Line) -> str:
    """`app.py:42 in predict: x = model(x)`, the file relative to the current directory if it is in it."""
    file, number, function = line
    text = f"{file.removeprefix(os.getcwd() + os.sep)}:{number} in {function}"
    source = linecache.getline(file, number).strip()
    return f"{text}: {source}" if source else text


@dataclasses.dataclass(slots=True)
class _Hold:
    """What one callback does to the loop, as far as we have seen; times on the monotonic clock.

    Written by the watching thread, but for `ended`, which the loop's thread sets, and nobody else.
    """

    task: str
    since: float
    seen: float = 0.0
    ended: float | None = None
    told: bool = False
    lines: Counter[Line] = dataclasses.field(default_factory=Counter)  # how often it was seen at which

    def answer(self) -> None:
        """What the loop is asked to call."""
        self.ended = time.monotonic()


class Watchdog:
    """Logs a warning whenever one callback holds the event loop for more than `threshold` seconds.

    With a threshold of 0 it does nothing: there is no thread then, and no cost. For one loop, once.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._period = min(max(threshold / _LOOKS, _PERIODS[0]), _PERIODS[1])
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._caller: CodeType | None = None  # whose frame calls callbacks
        self._hold: _Hold | None = None

    def start(self) -> None:
        """Watches the running loop of this thread from now on; RuntimeError if none is running.

        The thread is a daemon, and ends with its loop if nobody stops it: it keeps no process alive.
        """
        if self._threshold > 0:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._note_caller)
            self._thread = threading.Thread(
                target=self._watch, args=(loop, threading.get_ident()), name="miniasgi-watchdog", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, which is soon, with the last block told. Also without a start."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()

    def _note_caller(self) -> None:
        """Called by the loop: the frame outside of this one is that which it calls all of its callbacks from."""
        self._caller = sys._getframe(1).f_code

    def _watch(self, loop: asyncio.AbstractEventLoop, ident: int) -> None:
        """In a thread: looks at the thread `ident`, in which the loop runs, once per period."""
        now, worked = time.monotonic(), time.process_time()
        while not self._stopping.wait(self._period) and not loop.is_closed():
            due, worked_before = now + self._period, worked
            now, worked = time.monotonic(), time.process_time()
            # We are late if a function in C, such as Pydantic's, did not let go of the GIL: this
            # counts, as nobody else could look. But if nothing has worked meanwhile, then the
            # process was stopped, or its machine was; this does not. (Less is a busy machine's usual
            # lateness: taken off at each look, it would add up and hide a block.)
            stopped = (now - due) - (worked - worked_before)
            stopped = stopped if stopped > self._threshold / 2 else 0.0
            self._look(loop, ident, now, due + stopped, stopped)
        if self._hold is not None and self._hold.ended is not None:
            self._warn(self._hold, self._hold.ended)

    def _look(self, loop: asyncio.AbstractEventLoop, ident: int, now: float, since: float, stopped: float) -> None:
        """`since` is when a callback that we have not seen before was at work already."""
        at_work = asyncio.current_task(loop)
        task = at_work.get_name() if at_work else ""
        frame = sys._current_frames().get(ident)
        hold = self._hold
        if hold is not None:
            hold.since += stopped
            if hold.ended is not None or hold.task != task:
                self._warn(hold, hold.seen if hold.ended is None else hold.ended)
                hold = None
        if frame is None or self._sleeps(frame) or not loop.is_running():
            self._hold = None
            return
        if hold is None:
            hold = self._hold = _Hold(task, since)
            loop.call_soon_threadsafe(hold.answer)
        hold.seen = now
        hold.lines[line_of(frame, self._caller)] += 1
        if now - hold.since > self._threshold * _HOPELESS:
            self._warn(hold, now, "more than ")

    def _sleeps(self, frame: FrameType) -> bool:
        """True if the loop waits for something to happen: to ask it a question would wake it up."""
        return frame.f_code is self._caller or frame.f_globals.get("__name__") in _BEDROOMS

    def _warn(self, hold: _Hold, end: float, more_than: str = "") -> None:
        held = end - hold.since
        if held > self._threshold and not hold.told:
            hold.told = True
            [(line, _)] = hold.lines.most_common(1)
            logger.warning("event loop blocked for %s%d ms at %s", more_than, held * 1000, described(line))

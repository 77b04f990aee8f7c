"""Where a task is stuck now: the chain of awaits from its first coroutine to whatever all of them wait for.

Owns the way from one suspended frame to the next inner one, and from a context to the tasks that have
it. Knows no trace and no page. The chain ends at a future, or at an awaitable written in C: what
happens there is up to somebody else.
"""

import asyncio
import gc
import linecache
from contextvars import Context, ContextVar
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple

from ..watchdog import is_apps
from .model import Place

_SUSPENDABLE = (CoroutineType, AsyncGeneratorType, GeneratorType)
_KINDS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


class Step(NamedTuple):
    """One frame that waits for the next one: where, in which function, and the text of that line."""

    place: Place
    function: str
    source: str

    @property
    def is_apps(self) -> bool:
        """True for a line of the app: of no package, and not of the server."""
        return is_apps(self.place.file)

    def json(self) -> dict[str, str | bool]:
        return {"where": str(self.place), "function": self.function, "line": self.source, "is_apps": self.is_apps}


def heirs(variable: ContextVar[Any], value: Any) -> list["asyncio.Task[Any]"]:
    """The tasks of this loop that were started where the variable had this value, or where they inherited it."""
    tasks = sorted(asyncio.all_tasks(), key=lambda task: (len(task.get_name()), task.get_name()))  # Task-9, Task-10
    return [task for task in tasks if (context := _context(task)) is not None and context.get(variable) is value]


def _context(task: "asyncio.Task[Any]") -> Context | None:
    """`task.get_context()`, which Python 3.11 does not have."""
    return next((found for found in gc.get_referents(task) if isinstance(found, Context)), None)


def await_chain(task: "asyncio.Task[Any]") -> list[Step]:
    """The frames of a task that is suspended, outermost first; none if it is done."""
    steps: list[Step] = []
    awaitable: Any = task.get_coro()
    while awaitable is not None:
        frame, awaited = _look(awaitable)
        if frame is not None:
            steps.append(_step(frame))
        awaitable = awaited if frame is not None else _hidden(awaitable)
    return steps


def _look(awaitable: Any) -> tuple[FrameType | None, Any]:
    """The frame of a coroutine or a generator, and what it waits for; None for anything else."""
    for frame, awaited in _KINDS:
        if hasattr(awaitable, frame):
            return getattr(awaitable, frame), getattr(awaitable, awaited)
    return None, None


def _hidden(awaitable: Any) -> Any:
    """What a helper of the interpreter stands for: `async for` awaits one, and it has no attribute for its generator.

    The garbage collector knows what it refers to. Futures refer to much, but to nothing of this kind.
    """
    if isinstance(awaitable, _SUSPENDABLE):  # over: it has no frame any more
        return None
    return next((found for found in gc.get_referents(awaitable) if isinstance(found, _SUSPENDABLE)), None)


def _step(frame: FrameType) -> Step:
    code, line = frame.f_code, frame.f_lineno
    return Step(Place(code.co_filename, line), code.co_qualname, linecache.getline(code.co_filename, line).strip())

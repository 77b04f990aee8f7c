"""The startup and shutdown conversation with the app (ASGI lifespan 2.0).

Owns the one long call of the app that spans the life of the server, and the `state` it fills.
Knows no socket and no request: the server asks it to start up and to shut down.

One call, and not two functions, since a call has local variables and `async with`: what it opens on
its way in, the same line closes on its way out. All requests are answered while it waits in between.
"""

import asyncio
import logging
from typing import Any, Literal

from .service import log_failure
from .types import App, Message, Scope

logger = logging.getLogger("miniasgi.error")

Mode = Literal["auto", "on", "off"]


class LifespanFailure(Exception):
    """The app said that it cannot start (L5), or would not say under `--lifespan on`. Its text is for the log."""


class Lifespan:
    """`startup(app)`, then `shutdown()`, each once, in the loop of the requests (L1).

    `state` is what the app left for its requests: a request gets a shallow copy (L6), and nobody but the
    app changes the original, which it finds at its shutdown as it left it (L7).

    What comes back for an event is the app's message, or how its call has ended without one:
    "returned" or "raised". Without the latter two, a server would wait for an app that is gone.

    "auto" takes an app that raises before it answers for one that knows no lifespan (L3), as the
    specification says. It may as well have meant that its database is not there: "on" takes it for that.
    """

    def __init__(self, mode: Mode = "auto") -> None:
        self.mode = mode
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message] = asyncio.Queue()  # for the app to receive
        self._answers: asyncio.Queue[tuple[str, str]]  # to the last of them: a type, and a reason
        self._expected: tuple[str, ...] = ()  # the types that the app may send now
        self._said = ""  # the type of the app's last message
        self._task: asyncio.Task[None] | None = None

    async def startup(self, app: App) -> None:
        """Returns when the app is ready (L4); raises `LifespanFailure` if it never will be.

        Nothing here limits its time: a model may take minutes. It can be cancelled; call `shutdown` after that,
        and after a failure, or the app's call would be left behind.
        """
        if self.mode == "off":
            return
        logger.info("Waiting for application startup.")
        self._ask("lifespan.startup")
        self._task = asyncio.create_task(self._run(app), name="lifespan")
        kind, reason = await self._answers.get()
        match kind:
            case "lifespan.startup.complete":
                logger.info("Application startup complete.")
            case "lifespan.startup.failed":
                raise LifespanFailure(reason or "the app reported that its startup failed")
            case _ if self.mode == "on":
                raise LifespanFailure(f"the app does not support lifespan: {reason}")
            case _:  # not an error: L3
                logger.info("The app does not support lifespan (%s); going on without.", reason)

    async def shutdown(self) -> None:
        """Returns when the app has cleaned up (L9); a failure is logged (L10), and the end goes on.

        An app is asked only if its startup was complete and its call still runs. Any other has nothing
        to put away but what its own `finally` does. What never began is nothing.
        """
        if self._task is None:
            return
        if self._said == "lifespan.startup.complete" and not self._task.done():
            logger.info("Waiting for application shutdown.")
            self._ask("lifespan.shutdown")
            kind, reason = await self._answers.get()
            if kind in ("lifespan.shutdown.failed", "raised"):
                logger.error("Application shutdown failed: %s", reason or "no reason given")
            else:  # it said so, or it just returned
                logger.info("Application shutdown complete.")
        # Also one that answered and did not return, so that its `finally` has run when the loop closes.
        # `wait`, as it raises nothing of the task's: that has been logged.
        self._task.cancel()
        await asyncio.wait([self._task])

    def _ask(self, event: str) -> None:
        """Puts a question to the app, and makes a new queue for the answers to it.

        If the server is told to stop in the moment in which the app says that it is ready, nobody takes
        that answer; from an old queue it would be taken for that to the shutdown.
        """
        self._answers = asyncio.Queue()  # without an answer that nobody has waited for
        self._expected = (f"{event}.complete", f"{event}.failed")
        self._events.put_nowait({"type": event})

    async def _run(self, app: App) -> None:
        """The call, as a task beside the server: whatever it ends with is an answer, too."""
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        ending = "returned", "it returned without an answer"
        try:
            await app(scope, self._events.get, self.send)
        except Exception as error:
            ending = "raised", repr(error)
            # Silent if the app has told already, or knows no lifespan (L3).
            if not self._said.endswith(".failed") and (self._said or self.mode == "on"):
                log_failure("The app's lifespan", error)
        finally:
            self._answers.put_nowait(ending)

    async def send(self, message: Message) -> None:
        """Takes the app's answer; RuntimeError for one that nobody asked for (A6).

        It is raised in the app, where it can be seen: a `lifespan.shutdown.complete` at the start, or a
        second answer, is its mistake. `message` in an answer may be left out (L11).
        """
        kind = message.get("type")
        if kind not in self._expected:
            expected = " or ".join(self._expected) or "nothing"
            raise RuntimeError(f"unexpected lifespan message {kind!r}: {expected} is next")
        self._expected, self._said = (), kind
        self._answers.put_nowait((kind, message.get("message", "")))

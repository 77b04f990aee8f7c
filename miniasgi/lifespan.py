"""The startup and shutdown conversation with the app (ASGI lifespan 2.0).

Owns the one long call of the app that spans the life of the server, and the `state` it fills.
Knows no socket and no request: the server asks it to start up and to shut down.
"""

import asyncio
import enum
import logging
from typing import Any, Literal

from .types import App, Message, Scope

logger = logging.getLogger("miniasgi.error")

Mode = Literal["auto", "on", "off"]


class LifespanFailure(Exception):
    """The app said that it cannot start (L5), or would not say under `--lifespan on`."""


class Stage(enum.Enum):
    """How far the conversation is; what the app may send next follows from it."""

    SILENT = "not asked"
    STARTING = "asked to start up"
    RUNNING = "started up"
    STOPPING = "asked to shut down"
    OVER = "nothing more to say"


class Lifespan:
    """`startup()`, then `shutdown()`. `state` is what the app left for its requests (L6)."""

    def __init__(self, app: App, mode: Mode = "auto") -> None:
        self.app = app
        self.mode = mode
        self.state: dict[str, Any] = {}
        self.stage = Stage.SILENT
        self._failure: str | None = None
        self._error: Exception | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()  # for the app to receive
        self._answer: asyncio.Future[bool]  # to the last of them; False: the app ended without
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Lifespan {self.mode}: {self.stage.value}>"

    async def startup(self) -> None:
        """Returns when the app is ready (L4); raises `LifespanFailure` if it never will be."""
        if self.mode == "off":
            return
        logger.info("Waiting for application startup.")
        answer = self._ask("lifespan.startup", Stage.STARTING)
        self._task = asyncio.create_task(self._run(), name="lifespan")
        answered = await answer
        if self._failure is not None:
            raise LifespanFailure(self._failure or "the app reported that its startup failed")
        if answered:
            logger.info("Application startup complete.")
        elif self.mode == "on":
            raise LifespanFailure(f"the app does not support lifespan: {self._ending()}")
        else:  # not an error: L3
            logger.info("The app does not support lifespan (%s); going on without.", self._ending())

    async def shutdown(self) -> None:
        """Returns when the app has cleaned up (L9); a failure is logged (L10)."""
        if self.stage is Stage.RUNNING:
            logger.info("Waiting for application shutdown.")
            answered = await self._ask("lifespan.shutdown", Stage.STOPPING)
            if self._failure is not None:
                logger.error("Application shutdown failed: %s", self._failure or "no reason given")
            elif self._error is not None and not answered:
                logger.error("Application shutdown failed: %r", self._error)
            else:
                logger.info("Application shutdown complete.")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ask(self, event: str, stage: Stage) -> asyncio.Future[bool]:
        self.stage = stage
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": event})
        return self._answer

    def _settle(self, answered: bool) -> None:
        if not self._answer.done():
            self._answer.set_result(answered)

    def _ending(self) -> str:
        return repr(self._error) if self._error else "it returned without an answer"

    async def _run(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self.receive, self.send)
        except Exception as error:
            self._error = error
            self._log(error)
        finally:
            self.stage = Stage.OVER
            self._settle(answered=False)

    def _log(self, error: Exception) -> None:
        if self._failure is not None or (self.stage is Stage.STARTING and self.mode == "auto"):
            return  # the app has told already; or it knows no lifespan (L3)
        frames = error.__traceback__ and error.__traceback__.tb_next  # the app's, not ours
        logger.error("The app's lifespan ended with an exception", exc_info=(type(error), error, frames))

    async def receive(self) -> Message:
        """`lifespan.startup` once, `lifespan.shutdown` once, each when it is time."""
        return await self._events.get()

    async def send(self, message: Message) -> None:
        """Takes the app's answer; RuntimeError for one that nobody asked for (A6)."""
        kind = message.get("type")
        match self.stage, kind:
            case Stage.STARTING, "lifespan.startup.complete":
                self.stage = Stage.RUNNING
            case Stage.STARTING, "lifespan.startup.failed":
                self.stage, self._failure = Stage.OVER, message.get("message", "")
            case Stage.STOPPING, "lifespan.shutdown.complete":
                self.stage = Stage.OVER
            case Stage.STOPPING, "lifespan.shutdown.failed":
                self.stage, self._failure = Stage.OVER, message.get("message", "")
            case _:
                raise RuntimeError(f"unexpected lifespan message {kind!r}: {self.stage.value}")
        self._settle(answered=True)

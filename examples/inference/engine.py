"""Tokens from a language model: transformers' continuous batching as an async generator.

Owns the model, its thread, and the way from there to the event loop. Knows no HTTP and no OpenAI.
All requests are in one batch: at each step the model computes the next token of every one of them.
"""

import asyncio
import contextlib
import gc
import itertools
import queue
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from . import spans
from .background import in_background
from .settings import Settings
from .steps import Steps

Finish = Literal["stop", "length"]

_PAGE = 32  # tokens in a page of the cache, on a CPU


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: greedily with a temperature of 0, else at random."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer, of so many tokens; the last one says why there is no more."""

    text: str
    tokens: int
    finish: Finish | None = None


class EngineError(Exception):
    """The model cannot answer, and it is not the request's fault."""


class Engine(Protocol):
    """What the app needs of a model. The tests have one of fifteen lines."""

    name: str
    context: int  # tokens of prompt and answer together
    trouble: str | None  # why it cannot answer now
    loading: bool  # and will soon

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    def encode(self, messages: list[dict[str, str]]) -> list[int]: ...

    def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Piece, None]: ...


class TransformersEngine:
    """Any causal language model of Hugging Face. Nothing that runs in the event loop touches torch."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = settings.model.rstrip("/").rpartition("/")[2]
        self.context = 0
        self.loading = True
        self._trouble: str | None = "the model is being loaded"
        self._numbers = itertools.count()
        self._manager: Any = None

    @property
    def trouble(self) -> str | None:
        """Also after the thread has died: nobody can ask it for a token then."""
        if self._manager is not None and (error := self._manager.background_thread_status.fatal_error):
            return f"the engine has died: {error!r}"
        return self._trouble

    async def load(self) -> None:
        """Loads the model and lets it say something, so that nobody's first request pays for that."""
        try:
            await in_background(self._load)
            async for _ in self.generate(self.encode([{"role": "user", "content": "Hello"}]), Sampling(2)):
                pass
        except Exception as error:
            self._trouble = f"the model cannot be loaded: {error}"
            raise
        finally:
            self.loading = False
        self._trouble = None
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at by each collection

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig

        settings = self.settings
        self._tokenizer = AutoTokenizer.from_pretrained(settings.model)
        device = settings.device if settings.device != "auto" else _best_device()
        torch.set_num_threads(settings.threads)
        # Few CPUs compute faster in 16 bits; and in 32, an answer does not depend on who else is in the batch.
        dtype = torch.float32 if device == "cpu" else "auto"
        model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype).to(device)
        self.context = model.config.max_position_embeddings
        config = model.generation_config
        # A request can set only what the model's own configuration switches on.
        config.update(do_sample=True, temperature=0.7, top_p=0.9, top_k=50)
        self._ends = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id or ())
        batching = ContinuousBatchingConfig(per_request_processors=True)
        if device != "cuda":  # there, they follow from the memory that is free
            batching.page_size, batching.max_batch_tokens = _PAGE, 512
            batching.num_blocks = settings.max_requests * -(-min(self.context, 2048) // _PAGE)
        self._vocabulary = model.config.vocab_size
        self._manager = model.init_continuous_batching(config, batching)
        self._steps = Steps(self._manager, partial(torch.cuda.Event, enable_timing=True) if device == "cuda" else None)
        self._manager.start()

    async def close(self) -> None:
        """Ends the thread; answers that are not complete fail."""
        if self._manager is not None:
            await asyncio.to_thread(self._manager.stop, timeout=5.0, hard_stop=True)

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        """The conversation as the model wants to read it, up to where its answer begins."""
        with spans.tracer.start_span("tokenizer.encode") as span:
            ids: list[int] = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
            span.set_attribute("prompt.tokens", len(ids))
        return ids

    async def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The answer, piece by piece. Whoever closes it early ends the work: within two steps its memory is free."""
        from tokenizers.decoders import DecodeStream

        number, outputs = f"{next(self._numbers)}", asyncio.Queue[Any]()
        self._manager.register_result_handler(number, outputs.put_nowait)
        decoder, seen, untold = DecodeStream(skip_special_tokens=True), 0, list[int]()
        finish: Finish | None = None
        try:
            self._steps.enter(number, len(prompt))
            if not self._manager.add_request(
                prompt,
                request_id=number,
                max_new_tokens=sampling.max_tokens,
                streaming=True,
                **self._processors(sampling),
            ):
                raise EngineError(self.trouble or "the engine is stopping")
            while finish is None:
                output = await outputs.get()
                while not outputs.empty():  # a slow reader gets several tokens at a time
                    output = outputs.get_nowait()
                if output.error:
                    raise EngineError(output.error)
                tokens, seen = output.generated_tokens[seen:], len(output.generated_tokens)
                if output.is_finished():
                    finish = "stop" if tokens and tokens[-1] in self._ends else "length"
                    tokens = tokens[:-1] if finish == "stop" else tokens
                text = ""
                for token in tokens:
                    untold.append(token)
                    # A character may need several tokens: until it is whole, there is no text.
                    if told := decoder.step(self._tokenizer._tokenizer, token):
                        text += told
                        untold.clear()
                if finish and untold:  # it never was
                    text += self._tokenizer.decode(untold, skip_special_tokens=True)
                yield Piece(text, len(tokens), finish)
        finally:
            self._steps.leave(number)
            if finish is None:
                self._forget(number)

    def _processors(self, sampling: Sampling) -> dict[str, Any]:
        """Types are checked in there: an int is no float."""
        if sampling.temperature == 0:
            return {"top_k": 1}
        return {"temperature": float(sampling.temperature), "top_p": float(sampling.top_p), "top_k": self._vocabulary}

    def _forget(self, number: str) -> None:
        self._manager.cancel_request(number)
        router = self._manager.output_router
        router.result_handlers.pop(number, None)  # nobody else would
        with contextlib.suppress(queue.Empty):
            while True:  # what came for others who left
                router.output_queue.get_nowait()


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

"""How many requests are in the house, and what they cost: admission and metrics.

Owns the limit and the figures for Prometheus. Knows no model.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .engine import Piece

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Full(Exception):
    """There are as many requests in the house as it takes."""


class House:
    """Lets at most `limit` requests in, and counts."""

    def __init__(self, limit: int) -> None:
        self.limit, self.guests = limit, 0
        self.registry = CollectorRegistry()
        Gauge("requests_in_progress", "Admitted requests.", registry=self.registry).set_function(lambda: self.guests)
        self.refused = Counter("requests_refused", "Requests that found the house full.", registry=self.registry)
        self.prompt_tokens = Counter("prompt_tokens", "Tokens of prompts.", registry=self.registry)
        self.answer_tokens = Counter("answer_tokens", "Tokens of answers.", registry=self.registry)
        self.first = Histogram(
            "time_to_first_token_seconds", "From admission.", registry=self.registry, buckets=_SECONDS
        )

    @contextmanager
    def guest(self) -> Iterator[None]:
        """Raises `Full`. Decide this before the first byte: a stream that has begun cannot become a 503."""
        if self.guests >= self.limit:
            self.refused.inc()
            raise Full
        self.guests += 1
        try:
            yield
        finally:
            self.guests -= 1


@dataclass
class Usage:
    """What one answer has cost so far."""

    house: House
    prompt: int
    began: float = field(default_factory=time.perf_counter)
    tokens: int = 0

    def __post_init__(self) -> None:
        self.house.prompt_tokens.inc(self.prompt)

    def add(self, piece: Piece) -> None:
        if not self.tokens and piece.tokens:
            self.house.first.observe(time.perf_counter() - self.began)
        self.tokens += piece.tokens
        self.house.answer_tokens.inc(piece.tokens)

    def json(self) -> dict[str, int]:
        total = self.prompt + self.tokens
        return {"prompt_tokens": self.prompt, "completion_tokens": self.tokens, "total_tokens": total}

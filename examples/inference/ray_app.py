"""The app on many GPUs: Ray Serve starts replicas of it on the machines of a cluster, and shares requests out.

    REPLICAS=4 GPUS=1 serve run examples.inference.ray_app:app

The app is the same. What Ray gets is the function that makes it: each replica calls that for itself, so
nothing is pickled, and the model is loaded where it is used.
"""

import asyncio
import os

from fastapi import FastAPI
from ray import serve

from .main import create_app
from .settings import Settings


@serve.deployment(
    num_replicas=int(os.environ.get("REPLICAS", "1")),
    ray_actor_options={"num_gpus": float(os.environ.get("GPUS", "0"))},  # of each
    # As much as the house takes: unless told, Ray sends a replica 5 requests at a time.
    max_ongoing_requests=Settings().max_requests,
)
@serve.ingress(create_app)
class Chat:
    app: FastAPI  # Ray sets it

    async def check_health(self) -> None:
        """Asked before the first request, which waits for the model so; and again and again: who fails is replaced."""
        await asyncio.wait([self.app.state.loading])
        if trouble := self.app.state.engine.trouble:
            raise RuntimeError(trouble)


app = Chat.bind()  # type: ignore[attr-defined]  # a deployment by now

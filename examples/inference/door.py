"""What stands between a request and the model: the key, the model's health, and a place in the house.

Each is a dependency, so it is settled before the first byte of a response: a stream that has begun
cannot become a 503 any more. (A check inside the generator lets everybody in that comes at once.)
"""

import secrets
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from .engine import Engine
from .errors import Refusal
from .house import House


def authorized(connection: HTTPConnection) -> None:
    key = connection.app.state.settings.api_key
    given = connection.headers.get("authorization", "")
    if key is not None and not secrets.compare_digest(given.encode(), b"Bearer " + key.get_secret_value().encode()):
        raise Refusal(401, "Incorrect API key provided.", "invalid_api_key", WWW_Authenticate="Bearer")


def ready(connection: HTTPConnection) -> Engine:
    engine: Engine = connection.app.state.engine
    if engine.trouble:
        hope = {"Retry_After": "1"} if engine.loading else {}  # who is dead will not come back
        raise Refusal(503, f"Not ready: {engine.trouble}.", "not_ready", **hope)
    return engine


async def admitted(connection: HTTPConnection, _: Annotated[None, Depends(authorized)]) -> AsyncIterator[House]:
    """A place, until the response is out: FastAPI leaves dependencies only then."""
    house: House = connection.app.state.house
    with house.guest():
        yield house


Authorized = Depends(authorized)
Ready = Annotated[Engine, Depends(ready)]
Admitted = Annotated[House, Depends(admitted)]

"""The demo app: one of each thing that people do with FastAPI, small enough to read at once.

Run it with `scripts/demo`, or with `miniasgi examples.hello.main:app`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field


class State(TypedDict):
    greeting: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    """Runs once, around all requests; what it yields is in each request's `state`."""
    yield {"greeting": "Hello"}


class Person(BaseModel):
    """What a client has to send: FastAPI answers 422 to anything else."""

    name: str = Field(min_length=1)
    age: int = Field(ge=0, le=150)


class Greeting(BaseModel):
    message: str
    language: str


app = FastAPI(title="miniasgi says hello", lifespan=lifespan)


def language(accept_language: Annotated[str, Header()] = "en") -> str:
    """A dependency: the client's first choice."""
    return accept_language.partition(",")[0]


@app.get("/")
async def index(request: Request) -> dict[str, str]:
    """An async endpoint runs in the event loop."""
    return {"message": f"{request.state.greeting}, world!", "docs": "/docs"}


@app.get("/thread")
def in_a_thread() -> dict[str, str]:
    """A sync endpoint runs in a worker thread, where it may block."""
    return {"thread": threading.current_thread().name}


@app.post("/greet")
async def greet(person: Person, request: Request, spoken: Annotated[str, Depends(language)]) -> Greeting:
    """Pydantic has checked `person` before this line runs."""
    message = f"{request.state.greeting}, {person.name}! You are {person.age}."
    return Greeting(message=message, language=spoken)


@app.get("/count")
async def count(to: int = 5) -> StreamingResponse:
    """A streaming response: each line leaves when it is ready; ends when the client leaves."""

    async def numbers() -> AsyncIterator[str]:
        for number in range(1, to + 1):
            yield f"{number}\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(numbers(), media_type="text/plain")

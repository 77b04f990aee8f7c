"""The FastAPI app that is served while we measure. Apart from `apps`, whose servers are not to carry FastAPI, too."""

from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


# Both endpoints are `async def`: one that is a plain `def` runs in a thread, and mostly the way there and back would be
# measured, about which no server can do anything.
app = FastAPI()


@app.post("/items")
async def create(item: Item) -> Item:
    return item


@app.get("/items/{number}")
async def read(number: int, q: str | None = None) -> dict[str, object]:
    return {"number": number, "q": q}

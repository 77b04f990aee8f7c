"""The apps that are served while we measure."""

from fastapi import FastAPI
from pydantic import BaseModel

from miniasgi.types import Receive, Scope, Send


async def plaintext(scope: Scope, receive: Receive, send: Send) -> None:
    """The least an app can do."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each WebSocket message back."""
    if scope["type"] == "http":
        return await plaintext(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    return None


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


fastapi = FastAPI()


@fastapi.post("/items")
async def create(item: Item) -> Item:
    return item

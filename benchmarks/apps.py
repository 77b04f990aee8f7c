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


LARGE, CHUNK = bytes(65536), b"data: %b\n\n" % (b"x" * 92)


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """64 KiB in one piece."""
    await start(scope, send, (b"content-length", b"65536"))
    await send({"type": "http.response.body", "body": LARGE})


async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    """100 pieces of 100 bytes, as fast as they are taken."""
    await start(scope, send)
    for _ in range(100):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes a body as it comes."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await start(scope, send, (b"content-length", b"7"))
    await send({"type": "http.response.body", "body": b"%d" % size})


async def start(scope: Scope, send: Send, *headers: tuple[bytes, bytes]) -> None:
    assert scope["type"] == "http"
    headers = ((b"content-type", b"text/plain"), *headers)
    await send({"type": "http.response.start", "status": 200, "headers": headers})


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


fastapi = FastAPI()


@fastapi.post("/items")
async def create(item: Item) -> Item:
    return item


@fastapi.get("/items/{number}")
async def read(number: int, q: str | None = None) -> dict[str, object]:
    return {"number": number, "q": q}

"""A chat: rooms at `/rooms/{room}`, Pydantic at the door, and nobody waits for anybody else.

Run it with `miniasgi examples.chat.main:app`, and open http://127.0.0.1:8000 in two windows.
"""

import asyncio
import contextlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from pydantic import BaseModel, StringConstraints, ValidationError

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Line(BaseModel):
    """What a client has to send: anything else gets an error back, and the socket stays open."""

    text: Text


class Member:
    """Somebody in a room. What waits to be sent is bounded, so a slow client costs little memory and no time."""

    def __init__(self, socket: WebSocket, name: str) -> None:
        self.socket, self.name = socket, name
        self.waiting: asyncio.Queue[str] = asyncio.Queue(maxsize=100)
        self.writing = asyncio.create_task(self._write())

    def tell(self, message: str) -> None:
        """Never blocks: who lets too much wait is cut off."""
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.writing.cancel()

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):  # also what Starlette makes of an OSError of `send`
            while True:
                await self.socket.send_text(await self.waiting.get())


app = FastAPI(title="miniasgi chats")
rooms: defaultdict[str, list[Member]] = defaultdict(list)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.websocket("/rooms/{room}")
async def chat(socket: WebSocket, room: Name, name: Name) -> None:
    """One client, from its joining until it leaves, or is too slow."""
    await socket.accept()
    member = Member(socket, name)
    reading = asyncio.create_task(read(room, member))
    rooms[room].append(member)
    tell_all(room, type="joined", name=name, here=names(room))
    try:
        done, _ = await asyncio.wait((reading, member.writing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        member.writing.cancel()
        rooms[room].remove(member)
        tell_all(room, type="left", name=name, here=names(room))
        if not rooms[room]:
            del rooms[room]
    for task in done:
        if task.cancelled():  # by `tell`
            await socket.close(1008, "too slow")
        else:
            task.result()  # raises what went wrong, if anything did


async def read(room: str, member: Member) -> None:
    """Takes what a client says, until it leaves."""
    while (message := await member.socket.receive())["type"] == "websocket.receive":
        try:
            line = Line.model_validate_json(message.get("text") or message.get("bytes") or "")
        except ValidationError as invalid:
            error = invalid.errors()[0]
            detail = ": ".join([*map(str, error["loc"]), error["msg"]])
            member.tell(json.dumps({"type": "error", "detail": detail}))
        else:
            tell_all(room, type="said", name=member.name, text=line.text)
        await asyncio.sleep(0)  # lets everybody's `_write` run: one client's burst makes no other look slow


def tell_all(room: str, **message: Any) -> None:
    line = json.dumps(message)
    for member in rooms[room]:
        member.tell(line)


def names(room: str) -> list[str]:
    return [member.name for member in rooms[room]]

"""Chat: OpenAI's completions, whole or as a stream, and a WebSocket that can be interrupted."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope, Send

from .answers import answer, unless_gone, whole
from .door import Admitted, Authorized, Ready, authorized, ready
from .engine import Engine, EngineError, Piece, Sampling
from .errors import Refusal, check_model, describe, first_error, respond
from .house import Full, House, Usage
from .schemas import TURN, ChatRequest, Say

logger = logging.getLogger("inference.usage")
router = APIRouter(prefix="/v1")


@router.post("/chat/completions", dependencies=[Authorized])
async def chat(
    body: ChatRequest, request: Request, response: Response, background: BackgroundTasks, engine: Ready, house: Admitted
) -> Any:
    """An answer, whole or as a stream of server-sent events."""
    check_model(body.model, engine.name)
    settings = request.app.state.settings
    prompt = engine.encode([message.model_dump() for message in body.messages])
    wanted = body.max_completion_tokens or body.max_tokens or settings.max_tokens
    sampling = Sampling(room_for(engine, prompt, wanted), body.temperature, body.top_p)
    usage = Usage(house, len(prompt))
    pieces = answer(engine, prompt, sampling, body.stops, settings.request_timeout)
    ident = f"chatcmpl-{secrets.token_hex(12)}"
    head = {"id": ident, "object": "chat.completion", "created": int(time.time()), "model": engine.name}
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        events = completion_events(head, pieces, usage, with_usage)
        return EventStream(events, BackgroundTask(log_usage, ident, usage), xray(request))
    response.headers.update(xray(request))
    background.add_task(log_usage, ident, usage)
    piece = await unless_gone(request, whole(pieces))
    if piece is None:
        return Response(status_code=499)  # nobody will read it
    usage.add(piece)
    message = {"role": "assistant", "content": piece.text}
    choice = {"index": 0, "message": message, "finish_reason": piece.finish, "logprobs": None}
    return {**head, "choices": [choice], "usage": usage.json()}


def xray(request: Request) -> dict[str, str]:
    """A header with the address where what the server does for this request can be seen, if it says so."""
    found = request.scope.get("extensions", {}).get("miniasgi.xray")
    return {"X-Ray": found["url"]} if found else {}


def room_for(engine: Engine, prompt: list[int], wanted: int) -> int:
    """How many tokens the answer may have."""
    room = engine.context - len(prompt)
    if room < 1:
        message = f"The messages have {len(prompt)} tokens; the model holds {engine.context}, with its answer."
        raise Refusal(400, message, "context_length_exceeded")
    return min(wanted, room)


async def completion_events(
    head: dict[str, Any], pieces: AsyncGenerator[Piece, None], usage: Usage, with_usage: bool
) -> AsyncGenerator[str, None]:
    """The pieces as OpenAI's events.

    A template around the text: to validate and serialise a model for each token costs four times as much.
    """
    opening = json.dumps({**head, "object": "chat.completion.chunk"})[:-1]
    none = ', "usage": null' if with_usage else ""

    def event(delta: str, finish: str = "null") -> str:
        choice = f'{{"index": 0, "delta": {delta}, "finish_reason": {finish}}}'
        return f'data: {opening}, "choices": [{choice}]{none}}}\n\n'

    yield event('{"role": "assistant", "content": ""}')
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                usage.add(piece)
                if piece.text:
                    yield event(f'{{"content": {json.dumps(piece.text)}}}')
                if piece.finish:
                    yield event("{}", json.dumps(piece.finish))
    except (EngineError, TimeoutError) as error:  # too late for a status
        yield f"data: {json.dumps(describe(error)[1])}\n\n"
        return
    if with_usage:
        yield f'data: {opening}, "choices": [], "usage": {json.dumps(usage.json())}}}\n\n'
    yield "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Server-sent events. However it ends, the generator is closed at once: the model works for nobody else."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], background: BackgroundTask, more: dict[str, str]) -> None:
        # Proxies like to collect: nginx is told not to, and nobody may compress it.
        headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **more}
        super().__init__(events, headers=headers, background=background)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def log_usage(ident: str, usage: Usage) -> None:
    """In the background, once the response is out."""
    seconds = time.perf_counter() - usage.began
    logger.info("%s: %d + %d tokens in %.2f s", ident, usage.prompt, usage.tokens, seconds)


# The WebSocket:


@router.websocket("/chat/ws")
async def conversation(socket: WebSocket) -> None:
    """The next message, or `{"type": "stop"}`, ends the answer that is still running."""
    try:
        authorized(socket)
        engine = ready(socket)
    except Refusal as refusal:
        await socket.send_denial_response(await respond(socket, refusal))
        return
    await socket.accept()
    messages: list[dict[str, str]] = []
    answering: asyncio.Task[None] | None = None
    try:
        async for text in socket.iter_text():
            try:
                turn = TURN.validate_json(text)
            except ValidationError as error:
                await socket.send_json({"type": "error", "message": first_error(error.errors())[0]})
                continue
            await ended(answering)
            if isinstance(turn, Say):
                messages.append({"role": "user", "content": turn.content})
                answering = asyncio.create_task(answer_on(socket, engine, messages, turn.temperature))
    finally:
        await ended(answering)


async def ended(task: asyncio.Task[None] | None) -> None:
    """Cancels a task, and waits until it has told its client so."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


async def answer_on(socket: WebSocket, engine: Engine, messages: list[dict[str, str]], temperature: float) -> None:
    """Sends one answer; what was sent of it is part of the conversation."""
    house: House = socket.app.state.house
    settings = socket.app.state.settings
    said, finish, usage = "", "interrupted", Usage(house, 0)
    try:
        with house.guest():
            prompt = engine.encode(messages)
            usage = Usage(house, len(prompt))
            sampling = Sampling(room_for(engine, prompt, settings.max_tokens), temperature)
            async with aclosing(answer(engine, prompt, sampling, (), settings.request_timeout)) as pieces:
                async for piece in pieces:
                    usage.add(piece)
                    said, finish = said + piece.text, piece.finish or finish
                    await socket.send_json({"type": "token", "text": piece.text})
    except (EngineError, TimeoutError, Full, Refusal) as error:
        await socket.send_json({"type": "error", **describe(error)[1]["error"]})
    finally:
        messages.append({"role": "assistant", "content": said})
        with contextlib.suppress(Exception):  # it may be gone, which is why we end
            await socket.send_json({"type": "done", "finish_reason": finish, "usage": usage.json()})

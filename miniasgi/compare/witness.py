"""An app around the target, for any server: writes down what the server tells the app, and what it is told.

Owns the file of what it saw, a line of JSON for each: the scope of a call, a message, how the call ended;
and how to read it, in another process. Changes nothing on the way. Knows neither server nor target.
"""

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..types import App, Message, Receive, Scope, Send


class Witness:
    """An app, seen from outside."""

    def __init__(self, app: App, path: str) -> None:
        self.app = app
        # Appended in one write each, so the lines of several processes do not mix.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = secrets.token_hex(8)
        self._note(call, "scope", scope)

        async def noted_receive() -> Message:
            message = await receive()
            self._note(call, "receive", message)
            return message

        async def noted_send(message: Message) -> None:
            self._note(call, "send", message)  # before the client can see any of it
            await send(message)

        try:
            await self.app(scope, noted_receive, noted_send)
        except Exception as error:
            self._note(call, "raised", {"type": type(error).__name__})
            raise

    def _note(self, call: str, what: str, content: Any) -> None:
        os.write(self._file, json.dumps([call, what, plain(content)]).encode() + b"\n")


def plain(value: Any) -> Any:
    """What JSON can say of it: bytes are marked, and of what only an app understands, the type is enough."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": bytes(value).decode("latin-1")}
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Iterable) and not hasattr(value, "__dict__"):  # say, headers that come from Rust
        return [plain(item) for item in value]
    return f"<{type(value).__name__}>"


def _unplain(value: dict[str, Any]) -> Any:
    return value["bytes"].encode("latin-1") if value.keys() == {"bytes"} else value


@dataclass
class Call:
    """One call of the app: its scope, and its messages in their order, each with who sent it."""

    scope: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The client's; 0 for the lifespan."""
        client = self.scope.get("client") or [None, 0]
        return int(client[1])


def calls(path: Path) -> list[Call]:
    """What the file says, in the order in which the calls began."""
    found: dict[str, Call] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        call, what, content = json.loads(line, object_hook=_unplain)
        if what == "scope":
            found[call] = Call(content)
        else:
            found[call].messages.append((what, content))
    return list(found.values())

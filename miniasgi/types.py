"""The ASGI names that every other module speaks in (ASGI 3.0, specs/asgi.rst).

Owns nothing but names. Knows no server, no protocol and no event loop.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Called once per request, WebSocket or lifespan (A1); `scope["type"]` says which (A2)."""

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Lower-case names, values without outer white space, in the order received (ASGI HTTP 2.5)."""
Address: TypeAlias = tuple[str, int | None]
"""`(host, port)`, or `(path, None)` for a unix socket (ASGI HTTP 2.5, `server`)."""

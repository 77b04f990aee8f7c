"""What an app is told of a connection and of a request: the scope (ASGI HTTP 2.5, "HTTP connection scope").

Owns the keys of the scope and the form of addresses. Knows no response, and no order of events.
"""

import asyncio
import copy
from typing import Any
from urllib.parse import unquote

from .events import Request
from .rules import Terms, list_members
from .tls import Tls
from .types import Address, Scope


def scope_of(transport: asyncio.BaseTransport, root_path: str, tls: Tls | None) -> dict[str, Any]:
    """The part of a scope that all requests of a connection share."""
    connection = transport.get_extra_info("ssl_object")
    return {
        "type": "http",
        "scheme": "https" if connection else "http",
        "extensions": {"tls": tls.extension(connection)} if tls and connection else {},
        "root_path": root_path,
        "client": _address(transport.get_extra_info("peername")),
        "server": _address(transport.get_extra_info("sockname")),
    }


def http_scope(shared: dict[str, Any], request: Request, terms: Terms, state: dict[str, Any]) -> Scope:
    """The scope of one request; whatever in it can be changed is its own (A11)."""
    path = terms.raw_path.decode("ascii")
    extensions: dict[str, dict[str, Any]] = {"http.response.early_hint": {}, "http.response.pathsend": {}}
    if shared["extensions"]:
        extensions |= copy.deepcopy(shared["extensions"])
    if terms.accepts_trailers:
        extensions["http.response.trailers"] = {}
    return {
        **shared,
        # Not 2.4: send() after the client has left must not raise, or Starlette would not cancel streams.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        "path": shared["root_path"] + (unquote(path) if "%" in path else path),
        "raw_path": terms.raw_path,
        "query_string": terms.query_string,
        "headers": request.headers,
        "state": state.copy(),
        "extensions": extensions,
    }


def websocket_scope(http: Scope) -> Scope:
    """The scope of a WebSocket, from what would be that of its upgrade request (W4)."""
    del http["method"]
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    if "tls" in http["extensions"]:
        extensions["tls"] = http["extensions"]["tls"]
    return {
        **http,
        "type": "websocket",
        "scheme": "wss" if http["scheme"] == "https" else "ws",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "subprotocols": [name.decode("latin-1") for name in list_members(http["headers"], b"sec-websocket-protocol")],
        "extensions": extensions,
    }


def _address(name: Any) -> Address | None:
    """A socket's name as ASGI has it: `(host, port)`, `(path, None)`, or None for nobody."""
    if isinstance(name, tuple):
        return (name[0], name[1])
    return (name, None) if isinstance(name, str) and name else None


def client_name(scope: Scope) -> str:
    """`host:port`, or `-` for a peer without a name."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else "-"

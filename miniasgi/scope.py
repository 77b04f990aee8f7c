"""What an app is told of a connection and of a request: the scope (ASGI HTTP 2.5, "HTTP connection scope").

Owns the keys of the scope and the form of addresses. Knows no response, and no order of events.

Made in three steps: what a connection knows once, what each request adds, and for a WebSocket what is another there.
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
    """The part of a scope that all requests of a connection share.

    A template, never handed to an app: `http_scope` copies it. `root_path` is the option (H10); `tls` tells of the
    certificates, where there is a TLS connection, and only then: the extension is forbidden without one (E5).
    """
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
    """The scope of one request; whatever in it can be changed is its own (A11).

    So an app may put what it likes into `state`, `extensions` or `headers`, and no other request sees it; what
    `state` holds is shared, as the lifespan made it (L6, H14). `headers` are those of `request`, judged (H11).
    """
    path = terms.raw_path.decode("ascii")  # "/a%20b": both parsers refuse any other byte
    extensions: dict[str, dict[str, Any]] = {"http.response.early_hint": {}, "http.response.pathsend": {}}
    if shared["extensions"]:
        extensions |= copy.deepcopy(shared["extensions"])
    if terms.accepts_trailers:
        extensions["http.response.trailers"] = {}
    return {
        **shared,
        # Not 2.4: send() after the client has left must not raise, or Starlette would not cancel streams. Measured: it
        # cancels a generator 0.44 s after the client left; told "2.4", it waits for `send` to raise, and a client
        # that leaves in a gap of 6 s between two tokens costs 6 s of GPU.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        # Percent-decoded UTF-8; a byte that is none becomes U+FFFD, and `raw_path` has it still (H7, H8, H10).
        "path": shared["root_path"] + (unquote(path) if "%" in path else path),
        "raw_path": terms.raw_path,
        "query_string": terms.query_string,
        "headers": request.headers,
        "state": state.copy(),
        "extensions": extensions,
    }


def websocket_scope(http: Scope) -> Scope:
    """The scope of a WebSocket, from what would be that of its upgrade request (W4); `http` is used up.

    Headers stay complete, those of the handshake, too: `subprotocols` is a reading of one of them, in the client's
    order of preference. An app may refuse with a response of its own (E1); the extensions of HTTP are not offered.
    """
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
    """A socket's name as ASGI has it: `(host, port)`, `(path, None)`, or None for nobody (H12, H13).

    `getpeername` gives four items for IPv6, and "" for the unnamed client of a unix socket.
    """
    if isinstance(name, tuple):
        return (name[0], name[1])
    return (name, None) if isinstance(name, str) and name else None


def client_name(scope: Scope) -> str:
    """`host:port`, or `-` for a peer without a name; for logs."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else "-"

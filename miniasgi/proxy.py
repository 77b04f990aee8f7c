"""X-Forwarded-For and X-Forwarded-Proto, believed only from peers that we trust.

Owns the trust list and the two fields. An ASGI app around an app: knows the scope, nothing else. There is no RFC for
these fields; the meaning is uvicorn's, with the ports and the duplicates right.

Anybody can send these fields. Believed from a stranger, they are a way past any limit or list of addresses, and into
the log under another name. So the peer of the connection must be trusted first.
"""

import contextlib
import ipaddress
import re
from collections.abc import Awaitable

from .rules import list_members
from .types import App, Headers, Receive, Scope, Send

_PROTO, _FOR = b"x-forwarded-proto", b"x-forwarded-for"
_FIELDS = frozenset((_PROTO, _FOR))
_SCHEMES = ("http", "https", "ws", "wss")

# "1.2.3.4:5", "[::1]" or "[::1]:5"
_WITH_PORT = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?|([^:]+):([0-9]{1,5})")


class TrustedPeers:
    """Addresses, networks and literals from a comma-separated text; `*` trusts everybody (`--forwarded-allow-ips`).

    `host in peers` takes an address in any spelling, a path, or "" for a peer without a name, which only `*` trusts.
    A literal is what is neither address nor network, and must be equal.
    """

    def __init__(self, text: str) -> None:
        self._literals = {member.strip() for member in text.split(",") if member.strip()}
        self._networks = []
        for member in self._literals:
            with contextlib.suppress(ValueError):
                self._networks.append(ipaddress.ip_network(member))

    def __contains__(self, host: str) -> bool:
        if "*" in self._literals or host in self._literals:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class ProxyHeaders:
    """Puts the client and the scheme that a trusted proxy reports into the scope.

    `scope` is changed in place: `client` becomes `(host, port)`, port 0 if it is unknown; `scheme` http or https, ws
    or wss (H6, H12). The access log shows the same scope, and so the same client. The headers stay as they came
    (H11).
    """

    def __init__(self, app: App, trusted: str) -> None:
        self.app = app
        self.trusted = TrustedPeers(trusted)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hands the call on, and gives the app's own coroutine back; a lifespan is left alone."""
        if scope["type"] != "lifespan":
            forwarded = [field for field in scope["headers"] if field[0] in _FIELDS]
            client = scope.get("client")
            if forwarded and (client[0] if client else "") in self.trusted:
                self._believe(scope, forwarded)
        return self.app(scope, receive, send)

    def _believe(self, scope: Scope, forwarded: Headers) -> None:
        """Writes what `forwarded`, the two fields in order, say; nothing where they say nothing that we know."""
        schemes = _members(forwarded, _PROTO)  # the last is what the nearest proxy says
        if schemes and (scheme := schemes[-1].lower()) in _SCHEMES:
            is_socket = scope["type"] == "websocket"
            scope["scheme"] = scheme.replace("http", "ws") if is_socket else scheme.replace("ws", "http")
        hosts = _members(forwarded, _FOR)
        if hosts:
            # Every proxy appends the peer it saw: the last that is not one of ours is the client. What stands before it
            # is the client's own word: b"6.6.6.6, 1.2.3.4" is from 1.2.3.4, who would like to be 6.6.6.6. If all are
            # ours, the first one is.
            unknown = (host for host in reversed(hosts) if _split_port(host)[0] not in self.trusted)
            scope["client"] = _split_port(next(unknown, hosts[0]))


def _members(headers: Headers, wanted: bytes) -> list[str]:
    """The members of a list field, in ASCII, whatever was sent: the client's name goes into logs.

    A terminal would take b"\\x9b31m" for a command.
    """
    return [member.decode("ascii", "backslashreplace") for member in list_members(headers, wanted)]


def _split_port(host: str) -> tuple[str, int]:
    """`(host, port)` of `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`; port 0 when it is unknown.

    What is malformed stays whole, so that no part of it can pass for a trusted address.
    """
    if matched := _WITH_PORT.fullmatch(host):
        port = int(matched[2] or matched[4] or 0)
        if port < 65536:
            return matched[1] or matched[3], port
    return host, 0

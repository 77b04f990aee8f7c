"""The sockets that a server listens on: bound early, so that "address in use" comes early.

Owns TCP and unix addresses, and the sentences for what can be wrong with them. Knows no event loop
and no server: a bound socket refuses connections until somebody listens on it.
"""

import contextlib
import errno
import os
import socket
import stat

from .config import Config
from .importer import ConfigError

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # "::1" in a container without IPv6


def bind(config: Config) -> list[socket.socket]:
    """The sockets that the options ask for, bound and not yet listening; ConfigError if busy."""
    if config.fd is not None:
        try:
            return [socket.socket(fileno=os.dup(config.fd))]
        except OSError as error:
            raise ConfigError(f"--fd {config.fd}: {reason(error)}") from None
    if config.uds is not None:
        return [_bind_unix(config.uds)]
    try:
        found = socket.getaddrinfo(config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {config.host}: {reason(error)}") from None
    sockets: list[socket.socket] = []
    port = config.port
    addresses = list(dict.fromkeys((family, name) for family, *_, name in found))
    for family, name in addresses:
        try:
            sockets.append(_bind_tcp(family, (name[0], port, *name[2:])))
        except OSError as error:
            if error.errno in _NO_SUCH_FAMILY and (sockets or (family, name) != addresses[-1]):
                continue  # one of the two families will do
            for sock in sockets:
                sock.close()
            raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason(error)}") from None
        port = sockets[0].getsockname()[1]  # port 0: the same free port for both families
    return sockets


def _bind_tcp(family: int, name: tuple[str | int, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    """A unix socket at `path`; a stale one of a dead server is replaced, nothing else is."""
    mode = 0o666  # as uvicorn: whoever may enter the directory may connect
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise ConfigError(f"--uds: {path!r} exists and is not a socket")
            mode = stat.S_IMODE(os.stat(path).st_mode)
            try:
                sock.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise ConfigError(f"--uds: another server listens on {path!r}")
        sock.bind(path)
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        raise ConfigError(f"--uds {path}: {reason(error)}") from None
    except ConfigError:
        sock.close()
        raise
    return sock


def address(sock: socket.socket) -> str:
    """Where a socket can be reached: `http://127.0.0.1:8000`, `unix:/run/app.sock`."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def reason(error: Exception) -> str:
    """Why the system said no, without its number."""
    return str(getattr(error, "strerror", None) or error).lower()

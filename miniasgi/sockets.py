"""The sockets that a server listens on: bound early, so that "address in use" comes early.

Owns TCP and unix addresses, and the sentences for what can be wrong with them. Knows no event loop
and no server: a bound socket refuses connections until somebody listens on it.
"""

import errno
import os
import socket
import stat
from pathlib import Path

from .config import Config
from .importer import ConfigError
from .systemd import listen_fds

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # "::1" in a container without IPv6


def bind(config: Config) -> list[socket.socket]:
    """The sockets that the options ask for, bound and not yet listening; ConfigError if they cannot be had."""
    sockets: list[socket.socket] = []
    where = f"cannot listen on {config.host}:{config.port}"
    try:
        if config.fd is not None:
            where = f"--fd {config.fd}"
            sockets.append(socket.socket(fileno=os.dup(config.fd)))
        elif config.uds is not None:
            where = f"--uds {config.uds}"
            sockets.append(_bind_unix(config.uds))
        elif passed := listen_fds():  # by systemd, which has the address from its own file
            sockets = passed
        else:
            _bind_tcp(config.host, config.port, sockets)
    except (OSError, UnicodeError) as error:
        for sock in sockets:
            sock.close()
        raise ConfigError(f"{where}: {reason(error)}") from None
    return sockets


def release(sockets: list[socket.socket], config: Config) -> None:
    """Closes what `bind` gave, and removes the path of a unix socket; once, as it may be another server's then."""
    if sockets and config.uds is not None and config.fd is None:
        Path(config.uds).unlink(missing_ok=True)
    while sockets:
        sockets.pop().close()


def _bind_tcp(host: str, port: int, sockets: list[socket.socket]) -> None:
    """Adds a socket for every address of a host: that of `localhost` in IPv4, say, and that in IPv6."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, name in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, (name[0], port, *name[2:])))
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY:
                raise
        else:
            port = sockets[0].getsockname()[1]  # port 0: the same free port for both families
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, "no such address on this machine")


def _bound(family: int, name: tuple[str | int, ...]) -> socket.socket:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        return sock.dup()  # this one is closed, whether all went well or not


def _bind_unix(path: str) -> socket.socket:
    """A unix socket at `path`; a stale one of a dead server is replaced, nothing else is."""
    mode = 0o666  # as uvicorn: whoever may enter the directory may connect
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        if os.path.exists(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISSOCK(mode):
                raise OSError(errno.EEXIST, "it exists and is not a socket")
            if sock.connect_ex(path) != errno.ECONNREFUSED:
                raise OSError(errno.EADDRINUSE, "another server listens on it")
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, stat.S_IMODE(mode))
        return sock.dup()


def address(sock: socket.socket, scheme: str) -> str:
    """Where a socket can be reached: `http://127.0.0.1:8000`, `unix:/run/app.sock`."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"


def reason(error: Exception) -> str:
    """Why the system said no, without its number."""
    return str(getattr(error, "strerror", None) or error).lower()

"""The sockets that a server listens on: bound early, so that "address in use" comes early.

Owns TCP and unix addresses, and the sentences for what can be wrong with them. Knows no event loop
and no server: a bound socket refuses connections until somebody listens on it.

So there are two moments, and the app starts between them. The address is ours from the first; the
kernel accepts clients from the second (listen(2)), and holds up to `backlog` of them for us.
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
    """The sockets that the options ask for, bound and not yet listening; ConfigError if they cannot be had.

    The first of `fd`, `uds`, systemd's sockets, and `host` with `port` that there is. What was passed to us
    may listen already. All are the caller's, to be given to `release`; if one fails, all are closed.
    """
    sockets: list[socket.socket] = []
    where = f"cannot listen on {config.host}:{config.port}"
    try:
        if config.fd is not None:
            where = f"--fd {config.fd}"
            # A duplicate: the descriptor is another's, who may go on with it when we have closed ours.
            sockets.append(socket.socket(fileno=os.dup(config.fd)))
        elif config.uds is not None:
            where = f"--uds {config.uds}"
            sockets.append(_bind_unix(config.uds))
        elif passed := listen_fds():  # by systemd, which has the address from its own file
            sockets = passed
        else:
            _bind_tcp(config.host, config.port, sockets)
    except (OSError, UnicodeError) as error:  # the latter from the IDNA codec, for a host such as "a..b"
        for sock in sockets:
            sock.close()
        raise ConfigError(f"{where}: {reason(error)}") from None
    return sockets


def release(sockets: list[socket.socket], config: Config) -> None:
    """Closes what `bind` gave, and removes the path of a unix socket; once, as it may be another server's then.

    `sockets` is emptied, and that is how a second call knows. (A supervisor calls when it begins to stop,
    and again when its workers have ended: by then the path may be its successor's.) The path goes
    first: who finds one should find somebody there.
    """
    if sockets and config.uds is not None and config.fd is None:
        Path(config.uds).unlink(missing_ok=True)
    while sockets:
        sockets.pop().close()


def _bind_tcp(host: str, port: int, sockets: list[socket.socket]) -> None:
    """Adds a socket for every address of a host: that of `localhost` in IPv4, say, and that in IPv6.

    No host is every interface. OSError if one of the addresses is in use, or if none is this machine's.
    """
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
    """A TCP socket at this very address, and no other.

    SO_REUSEADDR: a new server need not wait until connections of the last are out of TIME-WAIT (RFC 9293
    3.3.2). It also lets two be bound as long as neither listens, so that `listen` may fail as well.
    IPV6_V6ONLY (RFC 3493 5.3): "::" shall not take the port in IPv4 too, which has a socket of its own.
    """
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        return sock.dup()  # this one is closed, whether all went well or not


def _bind_unix(path: str) -> socket.socket:
    """A unix socket at `path`; a stale one of a dead server is replaced, nothing else is.

    A server that was killed leaves its path behind, and bind(2) takes none that exists. Nobody can see
    if it is stale but by connecting: if nobody listens, that is refused. (A server that is bound, and
    whose app still starts, cannot be told from a dead one.) The new socket keeps the former's mode.
    OSError for a file of another kind, whoever put it there, and for a path with a server.
    """
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
    """Where a socket can be reached: `http://127.0.0.1:8000`, `http://[::1]:8000`, `unix:/run/app.sock`."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"


def reason(error: Exception) -> str:
    """Why the system said no, without its number: in small letters, to stand behind a colon."""
    return str(getattr(error, "strerror", None) or error).lower()

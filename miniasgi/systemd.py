"""What systemd gives to a service, and what it wants to hear: sd_listen_fds(3), sd_notify(3).

Owns both protocols: sockets that are there before us, and messages of how we are. Knows no option
and no server. Where there is no systemd, nothing happens.

Both are environment variables and sockets: no library of systemd is needed.
"""

import contextlib
import os
import socket

from .importer import ConfigError

_FIRST = 3  # the number of the first descriptor; those of the others follow


def listen_fds() -> list[socket.socket]:
    """Duplicates of the sockets that are passed to this very process, listening; none if none are.

    The environment stays as it is: with a process id in it, it means nothing to a child. Whoever asks twice
    gets other duplicates, and the originals stay open: systemd's socket outlives every server on it, and
    a client that comes between two of them waits, and is not refused.

    ConfigError if what was passed is no stream socket that listens: `ListenDatagram=` in place of
    `ListenStream=`, say, or `Accept=yes`, which passes a connection. Only for our own process id is a
    word of it believed (LISTEN_PID): a child of ours inherits the variables, and not the sockets.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    sockets: list[socket.socket] = []
    count = os.environ.get("LISTEN_FDS", "")
    try:
        if not count.isdecimal():
            raise ValueError("it is no number of sockets")
        for fd in range(_FIRST, _FIRST + int(count)):
            os.set_inheritable(fd, False)  # what the app starts must not hold on to it
            sockets.append(sock := socket.socket(fileno=os.dup(fd)))
            if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError(f"descriptor {fd} is no stream socket that listens")
    except (OSError, ValueError) as error:
        for sock in sockets:
            sock.close()
        raise ConfigError(f"systemd's LISTEN_FDS={count}: {error}") from None
    return sockets


def notify(state: str) -> None:
    """Says `READY=1`, say, to whoever started us and wants to know (`Type=notify`); never fails.

    One datagram of ASCII, lines of `NAME=value`, to the unix socket in $NOTIFY_SOCKET. That nobody hears
    it is no reason to serve nobody: systemd itself ends what does not get ready in time.
    """
    # "@" stands for the zero byte of an abstract address, as no variable can have one: unix(7).
    if where := os.environ.get("NOTIFY_SOCKET"):
        name = "\0" + where[1:] if where.startswith("@") else where
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), name)

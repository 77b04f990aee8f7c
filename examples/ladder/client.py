r"""A client that speaks bytes: what it sends and reads is what is on the wire.

    python -m examples.ladder.client 8001 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

Owns the reading of one response, strictly (RFC 9112 6.3). Knows nothing of what ought to come.
"""

import argparse
import contextlib
import re
import socket
from dataclasses import dataclass

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*")


@dataclass
class Reply:
    """One response as it stood on the wire."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Client:
    """A connection. Whatever must come has to come within `patience` seconds, or `TimeoutError`."""

    def __init__(self, port: int, patience: float) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each send is a segment
        self.buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> "Client":
        self.sock.sendall(data)
        return self

    def more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read_until(self, mark: bytes) -> bytes:
        """What comes before `mark`."""
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(f"closed before {mark!r}: {self.buffer!r}")
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def read_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not self.more():
                raise EOFError(f"closed after {len(self.buffer)} of {count} bytes")
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def read_all(self) -> bytes:
        """Everything until the server closes; a reset counts as that."""
        with contextlib.suppress(ConnectionError):
            while self.more():
                pass
        found, self.buffer = self.buffer, b""
        return found

    def read_head(self) -> Reply:
        line, *fields = self.read_until(b"\r\n\r\n").split(b"\r\n")
        if not (matched := STATUS_LINE.fullmatch(line)):
            raise ValueError(f"no status line: {line!r}")
        headers = {name.lower(): value for name, _, value in (field.partition(b": ") for field in fields)}
        return Reply(int(matched[1]), headers, b"")

    def read_piece(self) -> bytes:
        """One chunk of chunked content; b"" for the last one (RFC 9112 7.1)."""
        piece = self.read_exactly(int(self.read_until(b"\r\n"), 16))
        if self.read_exactly(2) != b"\r\n":
            raise ValueError("a chunk that does not end, or trailers")
        return piece

    def read_reply(self, method: str = "GET") -> Reply:
        """One final response (RFC 9112 6.3)."""
        reply = self.read_head()
        if method == "HEAD" or reply.status in (204, 304):
            pass
        elif reply.headers.get(b"transfer-encoding") == b"chunked":
            while piece := self.read_piece():
                reply.body += piece
        elif b"content-length" in reply.headers:
            reply.body = self.read_exactly(int(reply.headers[b"content-length"]))
        else:  # a reset in its middle is no end
            while self.more():
                pass
            reply.body, self.buffer = self.buffer, b""
        return reply


def main() -> None:
    """Says all that it was given, then listens; shows every byte."""
    parser = argparse.ArgumentParser(prog="python -m examples.ladder.client", description=main.__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("text", help=r"with \r\n for the end of a line")
    options = parser.parse_args()
    with Client(options.port, patience=10) as client:
        client.send(options.text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
        client.sock.shutdown(socket.SHUT_WR)
        for line in client.read_all().splitlines(keepends=True):
            print(repr(line)[2:-1])


if __name__ == "__main__":
    main()

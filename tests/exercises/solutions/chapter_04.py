"""Chapter 4: chunks, there and back (RFC 9112 7.1)."""

import re
from collections.abc import Iterable

SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?")


def chunk(pieces: Iterable[bytes]) -> bytes:
    # An empty piece would be the last chunk.
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


def unchunk(data: bytes) -> tuple[bytes, bytes] | None:
    content = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not (matched := SIZE.fullmatch(line)):
            raise ValueError(f"no size of a chunk: {line!r}")
        size = int(matched[1], 16)
        if not size:
            return without_trailers(content, data)
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise ValueError("a chunk that is longer than its size")
        content, data = content + data[:size], data[size + 2 :]


def without_trailers(content: bytes, data: bytes) -> tuple[bytes, bytes] | None:
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not line:
            return content, data

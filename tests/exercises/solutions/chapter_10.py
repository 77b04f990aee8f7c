"""Chapter 10: a consumer of events, and what there is to fear."""

from collections.abc import Iterable
from typing import Any

from miniasgi.events import BadRequest, Body, Request
from miniasgi.rules import Limits, judge


def requests(parser: Any, pieces: Iterable[bytes]) -> list[Any]:
    found: list[Any] = []
    target, content = b"", b""
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, Request):
                    judge(event, Limits())
                    target, content = event.target, b""
                elif isinstance(event, Body):
                    content += event.data
                else:
                    found.append((target, content))
    except BadRequest as error:
        found.append(error.status)
    return found


def smuggled(request: bytes) -> bytes:
    content = b"0\r\n\r\n" + request  # the chunks are over at once; by its length, all of it is content
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head % len(content) + content

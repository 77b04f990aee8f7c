"""Chapter 7: a parser that any pieces will do for, and one in front of a parser."""

from collections.abc import Iterator

from miniasgi.events import BadRequest, Body, Event, Request
from miniasgi.service import Parser


class Lines:
    def __init__(self) -> None:
        self.rest = b""  # of a line in the making

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self.rest = (self.rest + data).split(b"\n")  # a cut between \r and \n: the \r is in `rest`
        for line in lines:
            if not line.endswith(b"\r"):
                raise BadRequest(400, "a bare line feed")
            yield line[:-1]


class Bounded:
    def __init__(self, parser: Parser, limit: int) -> None:
        self.parser = parser
        self.limit = limit
        self.size = 0  # of this request's content, so far

    def feed(self, data: bytes) -> Iterator[Event]:
        for event in self.parser.feed(data):
            if isinstance(event, Request):
                self.size = 0
            elif isinstance(event, Body):
                self.size += len(event.data)
                if self.size > self.limit:
                    raise BadRequest(413, f"content over {self.limit} bytes")
            yield event

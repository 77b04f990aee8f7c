"""Chapter 8: the framing of a response, and a wire that is none."""

import asyncio
from typing import BinaryIO

from miniasgi.cycle import Cycle, Wire
from miniasgi.events import Request
from miniasgi.response import HeaderLines, Response
from miniasgi.rules import Limits, judge
from miniasgi.types import App


def framing(method: str, version: str, status: int, has_length: bool, more: bool) -> str:
    if method == "HEAD" or status in (204, 304):
        return "NONE"
    if has_length or not more:  # one piece is counted
        return "LENGTH"
    return "CHUNKED" if version == "1.1" else "CLOSE"


class Paper(Wire):
    """Keeps what is written. Nothing ever waits, and there is nobody to be told."""

    writable = True

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    stream = write

    async def send_file(self, file: BinaryIO, count: int) -> None:
        self.write(file.read(count))


def answer(app: App, request: Request, content: list[bytes]) -> bytes:
    paper = Paper()
    response = Response(request, judge(request, Limits()), HeaderLines(server=False, date=False))
    cycle = Cycle({"type": "http"}, response, paper)
    for piece in content:
        cycle.feed(piece)
    cycle.end()
    asyncio.run(cycle.run(app))
    return paper.written

"""`python -m benchmarks.floor APP PORT [--parse]`: what no server can go below.

A bare uvloop protocol that answers each read with the same bytes; with `--parse`, only after httptools
has found the end of a request. It knows nothing of ASGI, so APP is not looked at.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!"


class Canned(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


class Parsed(Canned):
    """Answers each request that httptools has seen whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(ANSWER)


async def main(port: int, parse: bool) -> None:
    server = await asyncio.get_running_loop().create_server(Parsed if parse else Canned, "127.0.0.1", port)
    await server.serve_forever()


uvloop.run(main(int(sys.argv[2]), "--parse" in sys.argv))

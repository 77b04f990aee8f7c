"""What a parser can say: the words that cross the seam between bytes and requests.

Owns the event classes. Knows neither who parsed the bytes nor who will answer. For one request the order is always
`Request Body* END`; a `BadRequest` is raised after the events before it.

Chunk sizes, chunk extensions and trailer fields do not cross it: nobody behind it can be wrong about them.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from .types import Headers


@dataclass(slots=True)
class Request:
    """A request head, complete and unjudged (RFC 9112 section 2.1); `rules.judge` comes next."""

    method: str
    target: bytes  # as received: b"/a?b", b"http://host/a", b"*"
    http_version: str  # "1.0", "1.1", or whatever the client claimed
    headers: Headers  # `judge` may put the target's authority in, as Host


@dataclass(slots=True)
class Body:
    """Some bytes of the request's content, already freed from chunked framing; never empty, cut as they came."""

    data: bytes


@dataclass(slots=True)
class End:
    """The request is complete; its trailer fields, if any, were dropped (RFC 9110 6.5.1)."""


END: Final = End()

Event: TypeAlias = Request | Body | End


class BadRequest(Exception):
    """The client's mistake: `status` is for the client, `message` for the log alone.

    No event, as nothing can come after it: where one message ends nowhere, no other begins (RFC 9112 2.2). The
    message says what we dislike, and the section that does; an attacker need not be told.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status

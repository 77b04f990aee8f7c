"""Chapter 5: what h11 sees, and what it does not tell."""

import re

import h11

LENGTHS = re.compile(rb"\r\ncontent-length[ \t]*:([^\r]*)", re.IGNORECASE)


def events(data: bytes) -> list[str]:
    us, names = h11.Connection(h11.SERVER), []
    us.receive_data(data)
    try:
        while (event := us.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            names.append(type(event).__name__)
    except h11.RemoteProtocolError as error:
        return [*names, str(error.error_status_hint)]
    return [*names, repr(event)]


def judge(data: bytes) -> int | None:
    us = h11.Connection(h11.SERVER)
    us.receive_data(data)
    try:
        event = us.next_event()
    except h11.RemoteProtocolError as error:
        return error.error_status_hint
    if isinstance(event, h11.Request):
        lengths = LENGTHS.findall(data.partition(b"\r\n\r\n")[0])
        chunked = b"transfer-encoding" in dict(event.headers)
        if len(lengths) > 1 or (lengths and (chunked or b"," in lengths[0])):
            return 400
    return None

"""Chapter 12: frames of a client and of a server (RFC 6455 5.2)."""

import struct

TEXT, CLOSE = 1, 8


def frame(text: str, key: bytes) -> bytes:
    payload = text.encode()
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def messages(data: bytes) -> list[str | bytes]:
    found: list[str | bytes] = []
    is_text, parts = False, b""
    while len(data) > 1:
        first, size, data = data[0], data[1], data[2:]
        if size & 0x80:
            raise ValueError("a server does not mask (RFC 6455 5.1)")
        if size > 125:
            count = 2 if size == 126 else 8
            size, data = int.from_bytes(data[:count], "big"), data[count:]
        if len(data) < size:
            break
        payload, data = data[:size], data[size:]
        opcode = first & 0x0F
        if opcode == CLOSE:
            break
        if opcode > CLOSE:
            continue  # a ping or a pong, maybe between two fragments
        if opcode:  # else it goes on with what came before
            is_text, parts = opcode == TEXT, b""
        parts += payload
        if first & 0x80:  # only now: a fragment may end within a character
            found.append(parts.decode() if is_text else parts)
    return found

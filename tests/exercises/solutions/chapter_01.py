"""Chapter 1: a response of any content, and all that a socket has to say."""

import socket


def response(text: str) -> bytes:
    content = text.encode()  # its length is counted in bytes, not in letters (RFC 9110 8.6)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return head.encode() + content


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)

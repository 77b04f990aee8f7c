"""Rung 1: what is a web server? A program that waits for bytes, and answers with bytes.

    python examples/ladder/01_socket.py --port 8001

It can be asked by curl and by a browser. It cannot yet read: whoever asks, and whatever for, gets the
same answer, even for half a request.
"""

import argparse
import socket

RESPONSE = (
    b"HTTP/1.1 200 OK\r\n"  # the status line (RFC 9112 4)
    b"content-type: text/plain\r\n"
    b"content-length: 14\r\n"  # so many bytes of content follow the head (RFC 9112 6.2)
    b"connection: close\r\n"  # and no other response will (RFC 9112 9.6)
    b"\r\n"  # an empty line ends the head
    b"Hello, world!\n"
)


def answer(client: socket.socket) -> None:
    """Answers one client, once."""
    data = client.recv(65536)  # waits until bytes come; b"" means that none will
    print(data.decode("latin-1"), end="", flush=True)
    client.sendall(RESPONSE)


def serve(port: int) -> None:
    """Takes one client after the other, for ever."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()  # waits until somebody connects
            with client:
                try:
                    answer(client)
                except OSError as error:  # one client that fails must not end us
                    print(error)


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that gives everybody the same answer.")
    parser.add_argument("--port", type=int, default=8001)
    serve(parser.parse_args().port)


if __name__ == "__main__":
    main()

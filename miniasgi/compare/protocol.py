"""What every client may send, and some should not: raw requests to any app, each with what we answer.

Owns these conversations, and the words that they are written in. Each is what a client sends at once. Beside it
stand the statuses that miniasgi gives if the app answers 200 to all of it. Knows no socket.
"""


def get(target: str = "/", *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without content, with a Host."""
    return request(method, target, *lines, version=version)


def post(body: bytes, *lines: str, target: str = "/", version: str = "1.1") -> bytes:
    """A request with content and its length."""
    lines = (*lines, f"Content-Length: {len(body)}")
    return request("POST", target, *lines, version=version) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", target: str = "/") -> bytes:
    """A request with chunked content."""
    head = request("POST", target, "Transfer-Encoding: chunked")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def request(method: str, target: str, *lines: str, version: str = "1.1") -> bytes:
    head = [f"{method} {target} HTTP/{version}", "Host: test", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


LONG = "x" * 9000
PROTOCOL: dict[str, tuple[bytes, list[int]]] = {
    "get": (get("/a/b?c=d"), [200]),
    "two": (get("/1") + get("/2"), [200, 200]),
    "twenty": (b"".join(get(f"/{n}") for n in range(20)), [200] * 20),
    "percent and UTF-8 in the path": (get("/%C3%A9%2F%zz?%C3%A9"), [200]),
    "headers in any case, with white space": (get("/", "X-A:b", "x-a:  c \t", "X-EMPTY:"), [200]),
    "cookies": (get("/", "Cookie: a=b; c=d", "Cookie: e=f"), [200]),
    "bytes over 127 in a value": (get("/", "X: \xe9\xff"), [200]),
    "empty lines before the request": (b"\r\n\r\n" + get(), [200]),
    "HEAD": (get(method="HEAD") + get(), [200, 200]),
    "OPTIONS *": (get("*", method="OPTIONS"), [200]),
    "DELETE with a body": (post(b"x").replace(b"POST", b"DELETE"), [200]),
    "post": (post(b'{"a": 1}'), [200]),
    "post nothing": (post(b""), [200]),
    "post 100 KB": (post(b"x" * 100_000), [200]),
    "chunked": (chunked(b"a", b"bc"), [200]),
    "chunked nothing": (chunked(), [200]),
    "chunked with trailers": (chunked(b"a", end=b"0\r\nA: b\r\nC: d\r\n\r\n") + get(), [200, 200]),
    "chunked with extensions": (request("POST", "/", "Transfer-Encoding: chunked") + b"1;a=b\r\nx\r\n0\r\n\r\n", [200]),
    "posts, one after the other": (post(b"a") + chunked(b"b") + post(b"c"), [200] * 3),
    "expect with the content": (post(b"a", "Expect: 100-continue"), [200]),
    "expect without it": (request("POST", "/", "Expect: 100-continue", "Content-Length: 1"), [100]),
    "close": (get("/", "Connection: close") + get(), [200]),
    "keep-alive, Close": (get("/", "Connection: keep-alive, Close") + get(), [200]),
    "1.0": (b"GET / HTTP/1.0\r\n\r\n" + get(), [200]),
    "1.0 keep-alive": (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, [200, 200]),
    "absolute form": (get("http://other:81/x?y") + get("HTTP://other"), [200, 200]),
    "unknown upgrade": (get("/", "Connection: upgrade", "Upgrade: x") + get(), [200, 200]),
    "unknown upgrade with a body": (post(b"a", "Connection: upgrade", "Upgrade: x") + get(), [200, 200]),
    "CL and TE": (request("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", [400]),
    "TE and CL": (request("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n", [400]),
    "two CL": (request("POST", "/", "Content-Length: 1", "Content-Length: 1") + b"x", [400]),
    "CL +1": (request("POST", "/", "Content-Length: +1") + b"x", [400]),
    "CL 1, 1": (request("POST", "/", "Content-Length: 1, 1") + b"x", [400]),
    "bad chunk size": (request("POST", "/", "Transfer-Encoding: chunked") + b"xyz\r\n", [400]),
    "chunk longer than its size": (request("POST", "/", "Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n", [400]),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", [400]),
    "folded line": (get("/", "X: a\r\n b"), [400]),
    "space before the colon": (get("/", "X : a"), [400]),
    "no colon": (get("/", "X"), [400]),
    "NUL in a value": (get("/", "X: a\0b"), [400]),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two Hosts": (get("/", "Host: b"), [400]),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", [400]),
    "HTTP/9.9": (get(version="9.9"), [505]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "TE on 1.0": (request("POST", "/", "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n", [400]),
    "TE gzip": (request("POST", "/", "Transfer-Encoding: gzip"), [501]),
    "CONNECT": (get("a:80", method="CONNECT"), [501]),
    "no such target": (get("nonsense"), [400]),
    "fragment": (get("/a#b"), [400]),
    "UTF-8 in the target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "lower-case method": (get(method="get"), [400]),
    "line too long": (get("/" + LONG), [414]),
    "head too long": (get("/", *(f"X: {LONG}" for _ in range(8))), [431]),
    "too many fields": (get("/", *("X: y" for _ in range(101))), [431]),
    "fine, then garbage": (get() + b"\x00\x01\x02\r\n\r\n", [200, 400]),
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", [400]),
}

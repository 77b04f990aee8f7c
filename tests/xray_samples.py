"""Traces as the taps make them, for tests of what shows them: no server, no clock."""

import miniasgi.connection
from miniasgi.xray.model import Hop, Layer, Place, Trace
from miniasgi.xray.recorder import Recorder

HERE = Place(__file__, 10)
CONNECTION = Place(miniasgi.connection.__file__, 80)
BASE = 1_000_000_000_000  # ns; no trace begins at zero


def hop(layer: Layer, name: str, at: float, took: float | None = 0.0, **extra: object) -> Hop:
    """Times in microseconds, from the beginning of the trace; `took=None` still lasts."""
    start = BASE + int(at * 1000)
    made = Hop(layer, name, start, None if took is None else start + int(took * 1000))
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def trace(recorder: Recorder, title: str, *hops: Hop, status: int | None = 200, done: bool = True) -> Trace:
    made = recorder.begin("127.0.0.1:37650", title, hops=hops)
    made.status, made.done = status, done
    made.changed(made)
    return made


def chat(recorder: Recorder, tokens: int = 41, done: bool = True) -> Trace:
    """A streamed chat: connect, parse, FastAPI, Pydantic, the queue, batches, tokens."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: *************\r\n\r\n"
    stream = 8000 + tokens * 1000
    hops = [
        hop("client", "the whole exchange", 0, stream + 900),
        hop("client", "connect()", 3, 114, waits=True, data={"local": "127.0.0.1:37650"}),
        hop("client", "send", 160, 30, waits=True, raw=head, size=len(head)),
        hop("socket", "accepted", 659, data={"tcp.rtt_us": "10"}, where=CONNECTION),
        hop("socket", "read", 780, 165, raw=head, size=len(head), where=CONNECTION),
        hop("parser", "event Request(POST, b'/v1/chat/completions')", 800, 40, where=CONNECTION),
        hop("parser", "event Body(55 bytes)", 845, 3, where=CONNECTION, raw=b'{"messages": []}', size=16),
        hop("parser", "event End()", 850, 1, where=CONNECTION),
        hop("server", "judge the head, build the scope", 855, 60, where=CONNECTION, data={"scope": "{'type': 'http'}"}),
        hop("server", "event loop: the task waits its turn", 950, 38, waits=True),
        hop("asgi", "await app(scope, receive, send)", 1000, stream - 1000, where=HERE),
        hop("fastapi", "route matched: /v1/chat/completions", 1200),
        hop("fastapi", "fastapi.dependencies", 1300, 2000, data={"values": "{'body': ChatRequest(...)}"}),
        hop("asgi", "receive http.request", 1350, 20, waits=True, data={"more_body": "False"}),
        hop("app", "admitted()", 1500, 300, where=HERE, thread="AnyIO worker thread"),
        hop("pydantic", "validate body: ChatRequest", 2000, 90, data={"input": "{'messages': []}", "output": "ok"}),
        hop("fastapi", "fastapi.endpoint", 3400, 900, where=HERE),
        hop("app", "tokenizer.encode", 3500, 400, data={"prompt.tokens": "23"}),
        hop("asgi", "send http.response.start", 4500, 20, where=CONNECTION, data={"status": "200"}),
        hop("asgi", "receive http.disconnect", 4600, stream - 5000, waits=True),
        hop("app", "model.queued", 4700, data={"prompt.tokens": "23", "waiting": "0"}),
    ]
    for n in range(tokens):
        at = 6000 + n * 1000
        text = b'7d\r\ndata: {"choices": [{"delta": {"content": "tok%d"}}]}\n\n\r\n' % n
        hops += [
            hop("gpu", "gpu.forward", at, 700, data={"batch.size": "2"}, thread="Thread-3", waits=True),
            hop("asgi", "send http.response.body", at + 750, 90, where=CONNECTION, raw=text, size=len(text)),
            hop("socket", "write", at + 760, 50, where=CONNECTION, raw=text, size=len(text)),
            hop("client", "recv", at + 850, 0, waits=True, raw=text, size=len(text)),
        ]
    hops.append(hop("asgi", "send http.response.body", stream - 200, 60, where=CONNECTION, data={"more_body": "False"}))
    if not done:
        hops = [*hops[1:-8], hop("asgi", "receive http.disconnect", 5000, None, waits=True)]
        for open_hop in hops:
            if open_hop.name.startswith("await app"):
                open_hop.end_ns = None
    return trace(recorder, "POST /v1/chat/completions", *hops, status=200, done=done)


def refused(recorder: Recorder) -> Trace:
    """A 422: one field's validation failed."""
    return trace(
        recorder,
        "POST /predict?top_k=x",
        hop("socket", "read", 0, 400, raw=b"POST /predict?top_k=x HTTP/1.1\r\n\r\n", size=34, where=CONNECTION),
        hop("parser", "event Request(POST, b'/predict?top_k=x')", 20, 30),
        hop("asgi", "await app(scope, receive, send)", 100, 290, where=HERE),
        hop("fastapi", "fastapi.dependencies", 150, 100),
        hop(
            "pydantic",
            "validate top_k: int",
            180,
            9,
            failed=True,
            data={
                "input": "'x'",
                "error": "Input should be a valid integer, unable to parse string as an integer [type=int_parsing]",
            },
        ),
        hop("asgi", "send http.response.start", 300, 10, data={"status": "422"}),
        status=422,
    )


def crashed(recorder: Recorder) -> Trace:
    """The app raised."""
    return trace(
        recorder,
        "GET /boom",
        hop("socket", "read", 0, 300, raw=b"GET /boom HTTP/1.1\r\n\r\n", size=22, where=CONNECTION),
        hop(
            "asgi",
            "await app(scope, receive, send)",
            100,
            150,
            where=HERE,
            failed=True,
            data={"error": "ZeroDivisionError('division by zero')"},
        ),
        hop("app", "raised ZeroDivisionError", 180, where=HERE, failed=True),
        status=500,
    )

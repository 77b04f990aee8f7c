"""What each kind of hop is, in a sentence for somebody who sees it for the first time.

Owns the sentences, and the beginnings of names by which they are found: the first that matches is the
one, and the last of each layer stands for all else. Sections are those of the RFCs, and of the ASGI
specification (asgi.readthedocs.io): 9110 is HTTP, 9112 is HTTP/1.1, 6455 is WebSocket.
"""

import re

from .model import Hop, Layer

_SENTENCES: dict[Layer, dict[str, str]] = {
    "client": {
        r"the whole exchange": "From the first call of connect() to the last byte of the response, on the client's"
        " clock: the time that a user feels.",
        r"connect\(": "The client opens a TCP connection: it is set up by the two kernels, before the server's process"
        " knows of it.",
        r"send": "The client hands the bytes of its request to its kernel; nobody has read them yet.",
        r"recv": "Bytes of the response reach the client; how they are cut into pieces means nothing (RFC 9112 6).",
        r"message sent": "A WebSocket message of the client; the bytes of its frame are masked (RFC 6455 5.3).",
        r"message received": "A WebSocket message has reached the client, whole (RFC 6455 5.4).",
        r"pong sent": "The client answers a ping: it is still there (RFC 6455 5.5.3).",
        r"close \d+ sent": "The client's close frame: it will send no more messages (RFC 6455 5.5.1).",
        r"close \d+ received": "The server's close frame, and its code (RFC 6455 7.4).",
        r"": "Something that the client does; all else here happens in the server.",
    },
    "socket": {
        r"accepted": "The event loop has taken a new connection from the kernel's queue, and made a Connection for it.",
        r"read": "Bytes came from the client: a request, a piece of one, or several, as TCP knows no messages.",
        r"write": "Bytes go to the transport, which hands them to the kernel at once, or keeps what does not fit.",
        r"pause reading": "The app is slow to take the content: the server stops reading, and TCP slows the client"
        " down.",
        r"resume reading": "The app has caught up: the server reads from the client again.",
        r"pause writing": "The client is slow to read: too much is unsent, so from now on send() has to wait.",
        r"resume writing": "The client has caught up: send() may go on.",
        r"client left": "The client has closed its side of the connection; the app hears http.disconnect on receive().",
        r"the client closes": "The client has said that it will send no more; nothing is left to answer.",
        r"closed": "The connection is over; what is still unsent gets a few seconds to reach the client"
        " (RFC 9112 9.6).",
        r"": "Something between the server and the kernel: bytes on their way in or out, or the connection itself.",
    },
    "parser": {
        r"event Request\(": "The request line and all header fields are complete (RFC 9112 2.1); the content may still"
        " be on its way.",
        r"event Body\(": "Some of the request's content, already freed from its framing (RFC 9112 6).",
        r"event End\(": "The request is complete: Content-Length bytes have come, or the last chunk (RFC 9112 6.3).",
        r"event (str|bytes|TextMessage|BytesMessage)": "A WebSocket message, unmasked (RFC 6455 5.3, 5.6).",
        r"event Ping": "A WebSocket ping: the answer is a pong with the same bytes (RFC 6455 5.5.2).",
        r"event Pong": "A WebSocket pong: the client is still there (RFC 6455 5.5.3).",
        r"event CloseConnection": "A WebSocket close frame: each side sends one, then the connection ends (RFC 6455"
        " 5.5.1).",
        r"event BadRequest": "The bytes are no request that the server may guess about: it"
        " answers with an error, and closes (RFC 9112 2.2).",
        r"": "The parser turns bytes into events; it knows neither who sent them nor who will answer.",
    },
    "server": {
        r"judge the head": "The server decides what the head asks for: framing, keep-alive, upgrade (RFC 9112 6, 9);"
        " and builds the scope for the app (ASGI HTTP: Connection Scope).",
        r"event loop": "The request is ready, but a thread runs one task at a time: this one waits until it is its"
        " turn.",
        r"drain": "Too much is unsent, so send() waits until the client has read some: that is flow control.",
        r"refused": "The server answers by itself, without the app: the request breaks a rule or a limit, or there are"
        " too many.",
        r"want_body": "The app asks for content that has not come yet: from now on the client has a deadline; one that"
        " waits for it gets a 100 (RFC 9110 10.1.1).",
        r"sendfile": "The kernel copies a file to the socket; its bytes never pass through Python.",
        r"finished": "The response is complete: the connection waits for the next request, or ends (RFC 9112 9.3).",
        r"client left": "The client is gone, and nobody will take what the app still sends.",
        r"closed": "The WebSocket is closed; the code says why (RFC 6455 7.4).",
        r"": "A step of the server between the bytes and the app.",
    },
    "asgi": {
        r"await app\(": "The server calls the app, once for each request (ASGI: Applications); all that happens inside"
        " is the app's.",
        r"receive http\.request": "The app asks for the request's content, and gets a piece of it (ASGI HTTP: Request -"
        " receive event).",
        r"receive http\.disconnect": "The app listens for the end: its client has left, or has the whole response (ASGI"
        " HTTP: Disconnect - receive event).",
        r"receive lifespan": "The app is told that the server starts or stops (ASGI: Lifespan Protocol).",
        r"receive websocket\.connect": "A client asks for a WebSocket: the app may accept or refuse it (ASGI WebSocket:"
        " Connect - receive event).",
        r"receive websocket\.receive": "The app takes a message from the client (ASGI WebSocket: Receive - receive"
        " event).",
        r"receive websocket\.disconnect": "The WebSocket is over, and this is why (ASGI WebSocket: Disconnect - receive"
        " event).",
        r"receive$": "The app waits for what comes next from its client; the call returns when there is something.",
        r"send http\.response\.start": "Status and headers; the server holds them until the first content comes (ASGI"
        " HTTP: Response Start - send event).",
        r"send http\.response\.body": "A piece of the response's content; more_body says whether more will follow (ASGI"
        " HTTP: Response Body - send event).",
        r"send http\.response\.trailers": "Header fields that come after the content (ASGI HTTP: Response Trailers;"
        " RFC 9110 6.5).",
        r"send http\.response\.early_hint": "Links that the client may load already, while the app still works: a 103"
        " (RFC 8297).",
        r"send http\.response\.pathsend": "The app names a file, and the kernel sends it without a copy through Python"
        " (ASGI: Path Send Extension).",
        r"send http\.response": "A part of the response (ASGI HTTP: Response).",
        r"send websocket\.accept": "The app takes the WebSocket: the client gets a 101 (RFC 6455 4.2.2).",
        r"send websocket\.send": "The app sends a message, and the server makes a frame of it (RFC 6455 5.6).",
        r"send websocket\.close": "The app ends the WebSocket, with a code (RFC 6455 7.4); before accept, it is a 403.",
        r"send websocket\.http\.response": "The app refuses the WebSocket with a response of its own (ASGI: Websocket"
        " Denial Response).",
        r"": "A call across the seam between server and app (ASGI 3.0).",
    },
    "middleware": {
        r"ServerErrorMiddleware": "Starlette's outermost layer: turns an exception that nobody handled into a 500.",
        r"ExceptionMiddleware": "Starlette's innermost layer: turns HTTPException and the like into responses.",
        r"CORSMiddleware": "Tells browsers which other sites may read the response, and answers their preflights.",
        r"GZipMiddleware": "Compresses the content for clients that accept it (RFC 9110 8.4.1.3, 12.5.3).",
        r"": "An app around the app: it may look at, change, or answer all that passes, in both directions.",
    },
    "fastapi": {
        r"route matched": "The router found the first route whose path and method fit; path parameters are known now.",
        r"fastapi\.dependencies": "FastAPI gathers the endpoint's arguments: it reads the content, validates, and calls"
        " each dependency once.",
        r"fastapi\.endpoint": "The function behind the route runs: a coroutine on the event loop, any other function in"
        " a worker thread.",
        r"fastapi\.serialization": "What the endpoint returned becomes the response's content, filtered by its response"
        " model.",
        r"fastapi\.background_task": "Work that begins when the response is out: the client waits no longer, the task"
        " does.",
        r"": "A step of FastAPI between ASGI messages and your function.",
    },
    "pydantic": {
        r"construct": "Your code makes a model, and Pydantic checks its fields; if they do not fit, it raises.",
        r"validate": "Pydantic checks a value against its type and converts it; if it cannot, FastAPI"
        " answers with a 422, unless the app has its own way.",
        r"serialize": "Pydantic turns a value into JSON, or into what JSON can be made of.",
        r"": "Pydantic at work on a value: from outside to your types, or back.",
    },
    "app": {
        r"raised ": "An exception left the app's code here; if nobody handles it, the client gets a 500.",
        r"[^ ]+\(.*-> ?worker thread": "A function without async: it runs in a worker thread, so that the event loop"
        " can go on.",
        r"[^ ]+\(": "A function of the app is called: a dependency, or the endpoint itself.",
        r".*queue": "The app has put its work in a queue, and waits until somebody takes it.",
        r"tokenizer": "Text becomes numbers that a model can work with, or numbers become text again.",
        r"": "A step that the app itself reports, with a span of OpenTelemetry.",
    },
    "gpu": {
        r"gpu\.forward": "One pass through the model for a whole batch: several requests share it, and its time.",
        r"": "Work of the model, on the GPU or in place of one; its thread is not the event loop's.",
    },
}


def explain(hop: Hop) -> str:
    """What this kind of hop is."""
    return next(text for name, text in _SENTENCES[hop.layer].items() if re.match(name, hop.name))

"""The differences from other servers that are on purpose, each with its reason.

Owns these sentences, as data. What stands here is no bug of ours; a bug is repaired instead. Whether it is
one of theirs is not always for us to say.
"""

from typing import NamedTuple


class Explanation(NamedTuple):
    """Why something differs, and what that explains: a difference for which all of these conditions hold."""

    because: str
    section: str
    what: str  # names of differences, like patterns of file names, with | between them
    peer: str = "*"  # names of servers, likewise
    request: bytes = b""  # regular expressions, where case does not matter: of bytes in the request
    ours: str = ""  # of the values, that is nothing where there is none
    theirs: str = ""
    whole: bool = False  # what else differs in the same case follows from it
    general: bool = False  # holds whatever is asked


VARIES = Explanation("the app answers differently each time", "seen twice", "*")

DIFFERENCES = [
    # What is refused here:
    Explanation(
        "a request has one Host, and a valid one, or else it could mean one site here and another one elsewhere",
        "RFC 9112 3.2",
        "status",
        request=rb"\A[^\r\n]* HTTP/1\.1\r\n(?!.*^host:)|^host:.*^host:|^host:[^\r\n]*[/?#@]",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "Content-Length with Transfer-Encoding is how requests get smuggled",
        "RFC 9112 6.3",
        "status",
        request=rb"^content-length:.*^transfer-encoding:|^transfer-encoding:.*^content-length:",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "a Content-Length is one number, said once",
        "RFC 9112 6.3, RFC 9110 8.6",
        "status",
        request=rb"^content-length:(.*^content-length:|[^\r\n]*[+,])",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "a lone LF ends no line, as others may see one line where we see two",
        "RFC 9112 2.2",
        "status",
        request=rb"[^\r]\n",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "a field does not go on in the next line", "RFC 9112 5.2", "status", "*", rb"\r\n[ \t]", "^400", whole=True
    ),
    Explanation(
        "HTTP/1.0 has no Transfer-Encoding, so somebody on the way has misread it",
        "RFC 9112 6.1",
        "status",
        request=rb" HTTP/1\.0\r\n.*^transfer-encoding:",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "chunks are as long as they say",
        "RFC 9112 7.1",
        "status",
        "*",
        rb"^transfer-encoding: *chunked",
        "^400",
        whole=True,
    ),
    Explanation(
        "a transfer coding that we do not know is not implemented",
        "RFC 9112 6.1",
        "status",
        request=rb"^transfer-encoding:",
        ours="^501",
        whole=True,
    ),
    Explanation(
        "a version that we do not know is not supported",
        "RFC 9110 15.6.6",
        "[rs]*",
        request=rb" HTTP/(?!1\.[01])",
        ours="^505",
        whole=True,
    ),
    Explanation("we are no proxy", "RFC 9110 9.3.6", "status", request=rb"\ACONNECT ", ours="^501", whole=True),
    Explanation(
        "a target is a path, an address or *, in ASCII and without a fragment",
        "RFC 9112 3.2, RFC 3986 2",
        "status",
        request=rb"\A\S+ (?![/*]|\w+://)|\A\S+ [^ \r\n]*[#\x80-\xff]",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "methods are case-sensitive, and ASGI has them in upper case only",
        "RFC 9110 9.1, ASGI HTTP 2.5",
        "status",
        request=rb"\A(?-i:[A-Z]*[a-z])",
        ours="^400",
        whole=True,
    ),
    Explanation(
        "a request line has a limit, so that one client cannot fill the memory",
        "RFC 9112 3, RFC 9110 15.5.15",
        "status",
        ours="^414",
        whole=True,
    ),
    Explanation(
        "a request head has a limit, so that one client cannot fill the memory",
        "RFC 6585 5",
        "status",
        ours="^431",
        whole=True,
    ),
    Explanation("what a server answers by itself is in its own words", "RFC 9110 15.5", "own *", general=True),
    Explanation(
        "a client hears that it was refused, and why",
        "RFC 9112 2.2",
        "replies",
        ours=r"^400$",
        theirs="^no reply$",
        whole=True,
    ),
    Explanation(
        "the app is not called for a request that is known to be broken by then",
        "RFC 9112 7.1",
        "calls",
        request=rb"^transfer-encoding: *chunked",
        ours="^0$",
    ),
    # What is understood here:
    Explanation(
        "requests before a broken one have their replies, in their order",
        "RFC 9112 9.3.2",
        "replies",
        ours=r"\d+, 400$",
        theirs="^400$|^no reply$",
        whole=True,
    ),
    Explanation(
        "an empty line before a request is ignored",
        "RFC 9112 2.2",
        "status",
        "*",
        rb"\A\r\n",
        theirs="^400",
        whole=True,
    ),
    Explanation(
        "of a target in absolute form, host and path are taken",
        "RFC 9112 3.2.2",
        "scope header host",
        request=rb"\A\S+ https?://",
        whole=True,
    ),
    Explanation(
        "a client of HTTP/1.0 that asks for it may go on",
        "RFC 9112 9.3",
        "*connection",
        request=rb" HTTP/1\.0\r\n.*^connection: *keep-alive",
        ours="keep-alive|open",
        whole=True,
    ),
    Explanation(
        "an upgrade to what we do not know is ignored, and what comes after it is a request",
        "RFC 9110 7.8",
        "replies",
        request=rb"^upgrade:",
        whole=True,
    ),
    Explanation(
        "who waits for a 100 and gets an answer instead may or may not send the content: closing settles it",
        "RFC 9110 10.1.1",
        "header connection",
        request=rb"^expect: *100-continue",
        ours="close",
        whole=True,
    ),
    Explanation(
        "a 100 is sent when the app asks for content that has not come, and not before",
        "RFC 9110 10.1.1, ASGI HTTP 2.5",
        "[rs]*",
        request=rb"^expect: *100-continue",
        theirs="^100",
        whole=True,
    ),
    Explanation(
        "the white space around a value is no part of it",
        "RFC 9112 5.1",
        "scope header *",
        theirs=r"( |\\t)'(, |$)",
        whole=True,
    ),
    Explanation(
        "trailers are no headers: they came after all checks",
        "RFC 9110 6.5.1",
        "scope header *",
        request=rb"^0[^\r\n]*\r\n[^\r\n]+:",
        ours="^$",
        whole=True,
    ),
    Explanation(
        "an app may use what is offered here alone: early hints, trailers, files by their path",
        "ASGI extensions",
        "send",
        ours="early_hint|trailers|pathsend",
        whole=True,
    ),
    Explanation(
        "the head waits for the first content, so who fails at it is answered with a clean 500",
        "ASGI HTTP 2.5",
        "status",
        ours="^500$",
        theirs="unfinished$",
        whole=True,
    ),
    Explanation(
        "HTTP/1.0 knows no chunks",
        "RFC 9112 6.1",
        "framing|header transfer-encoding",
        request=rb" HTTP/1\.0\r\n",
        ours="^close$|^$",
        theirs="^chunked$",
    ),
    # Whatever is asked:
    Explanation(
        "the head waits for the first content, so the length of a simple response is known",
        "RFC 9112 6.2, ASGI HTTP 2.5",
        "framing|header content-length|header transfer-encoding",
        ours=r"^content-length$|^\d+$|^$",
        theirs="^chunked$|^close$|^$",
        general=True,
    ),
    Explanation(
        "early hints, trailers and files by their path are offered here",
        "ASGI extensions",
        "scope.extensions.http.response.*",
        theirs="^$",
        general=True,
    ),
    Explanation(
        "an extension of WebSockets is in their scopes alone",
        "ASGI extensions",
        "scope.extensions.websocket.*",
        ours="^$",
        general=True,
    ),
    Explanation("names of fields are in lower case here; they have none", "RFC 9110 5.1", "header case", general=True),
    Explanation(
        "a response has a Date and a Server",
        "RFC 9110 6.6.1, 10.2.4",
        "header [ds]*e*",
        ours=r"^\*",
        theirs="^$",
        general=True,
    ),
    Explanation(
        "HTTP 2.3 and WebSocket 2.5 are what apps can rely on here: from 2.4 on, streams would outlive their clients",
        "ASGI HTTP 2.5",
        "scope.asgi.spec_version",
        ours=r"'2\.[35]'",
        general=True,
    ),
    Explanation(
        "the lifespan protocol has a version of its own", "ASGI lifespan 2.0", "scope.asgi.spec_version", ours=r"'2\.0'"
    ),
    Explanation("ports are numbers", "ASGI HTTP 2.5", "scope.[cs]*", theirs="'str'", general=True),
    Explanation("the version is 1.0, 1.1 or 2", "ASGI HTTP 2.5", "scope.http_version", theirs="'1'"),
    Explanation("a server says its own version", "RFC 9110 6.2", "status line", ours="^HTTP/1.1", theirs="^HTTP/1.0"),
    Explanation("no Host is none, not an empty one", "ASGI HTTP 2.5", "scope header host", ours="^$", theirs="^$"),
    Explanation(
        "a reply to HTTP/1.0 ends the connection, unless both said keep-alive",
        "RFC 9112 9.3",
        "*connection",
        request=rb" HTTP/1\.0\r\n",
        ours="close",
    ),
    Explanation(
        "content that the app did not read is read and dropped, and the connection goes on",
        "RFC 9112 9.3",
        "*connection",
        "granian*",
        rb"^(content-length|transfer-encoding):",
        theirs="close",
    ),
    Explanation("it has no lifespan", "ASGI lifespan 2.0", "calls", "daphne*", rb"\A\Z", "^1$", "^0$"),
    Explanation("and so no state", "ASGI lifespan 2.0", "scope.state", "daphne*", theirs="^$", general=True),
    Explanation(
        "an app that needs its state fails without",
        "ASGI lifespan 2.0",
        "raised",
        "daphne*",
        ours="^nothing$",
        whole=True,
    ),
    Explanation(
        "what is empty may as well be absent",
        "ASGI HTTP 2.5",
        "scope.extensions",
        ours="^$",
        theirs="^{}$",
        general=True,
    ),
    Explanation(
        "a status has its phrase, for people",
        "RFC 9112 4",
        "*status line",
        ours=r"\d \S",
        theirs=r"\d ?'?$",
        general=True,
    ),
    Explanation(
        "told of 2.4, Starlette does not listen for the client to leave",
        "ASGI HTTP 2.5",
        "receive",
        "gunicorn*",
        ours="^http.request$",
        theirs="^nothing$",
    ),
    Explanation(
        "a request before the last one has its reply, whatever comes after it",
        "RFC 9112 9.6",
        "status",
        "hypercorn*",
        rb"^connection:.*close|HTTP/1\.0\r\n",
        theirs="^400$",
        whole=True,
    ),
]

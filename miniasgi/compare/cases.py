"""What to ask: the protocol's conversations, a file of requests, or what an x-ray has recorded.

Owns the two formats that are read, and which paths of an OpenAPI document can be asked without knowing
more. Knows no server.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from .peers import Mistake
from .protocol import PROTOCOL, get

_VERSION = re.compile(r" HTTP/\S+$")


class Case(NamedTuple):
    """A conversation: all that the client says."""

    name: str
    request: bytes


def load(words: str) -> list[Case]:
    """`protocol`, or the name of a file; Mistake if it cannot be read."""
    if words == "protocol":
        return [Case(name, request) for name, (request, _) in PROTOCOL.items()]
    try:
        data = Path(words).read_bytes()
    except OSError as error:
        raise Mistake(f"cannot read the cases in {words}: {error.strerror}") from None
    found = from_traces(data, words) if words.endswith(".json") else from_requests(data)
    if not found:
        raise Mistake(f"there is no request in {words}")
    return found


def from_requests(data: bytes) -> list[Case]:
    """Requests with a line `###` between them, which may name the next one.

    One with CR LF in it is sent as it is. Else lines get them, and what people leave out is put in: with
    `GET /path` alone, the version and a Host; and the length of content (RFC 9112 3, 3.2, 6.2).
    """
    found: list[Case] = []
    name = ""
    for part in re.split(rb"^(###.*\n?)", data, flags=re.MULTILINE):
        if part.startswith(b"###"):
            name = part.strip(b"# \t\r\n").decode("utf-8", "replace")
        elif part.strip():
            request = part if b"\r\n" in part else _completed(part)
            found.append(Case(name or _title(request), request))
            name = ""
    return _numbered(found)


def _completed(text: bytes) -> bytes:
    head, _, content = text.strip(b"\n").partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    names = {line.partition(":")[0].strip().lower() for line in lines}
    if not _VERSION.search(first):
        first += " HTTP/1.1"
        lines = lines if "host" in names else ["Host: test", *lines]
    if content and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + content


def from_traces(data: bytes, file: str) -> list[Case]:
    """The requests in what `miniasgi xray --json` has printed, one trace or a list; secrets in them are masked."""
    try:
        seen = json.loads(data)
        traces = seen if isinstance(seen, list) else seen.get("traces", [seen])
        return _numbered([Case(trace["title"], _sent(trace)) for trace in traces])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Mistake(f"{file} is no x-ray: `miniasgi xray --json` prints one") from None


def _sent(trace: dict[str, Any]) -> bytes:
    """What the socket read, or else what the client sent."""
    for layer, name in (("socket", "read"), ("client", "send")):
        hops = [hop for hop in trace["hops"] if (hop["layer"], hop["name"]) == (layer, name) and hop["raw"]]
        pieces = [base64.b64decode(hop["raw"]) for hop in hops]
        if sum(map(len, pieces)) < sum(hop["size"] for hop in hops):
            raise Mistake(f"the x-ray of {trace['title']} has only the beginning of the request")
        if pieces:
            return b"".join(pieces)
    raise KeyError("raw")


def from_openapi(document: Any) -> list[Case]:
    """Each GET that needs no parameters (OpenAPI 3.1, 4.8.8 and 4.8.12)."""
    found: list[Case] = []
    paths = document.get("paths") if isinstance(document, dict) else None
    for path, item in (paths or {}).items():
        operation = item.get("get")
        if operation is None or "{" in path:
            continue
        parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
        if not any(parameter.get("required") for parameter in parameters):
            found.append(Case(f"GET {path}", get(path)))
    return found


def _title(request: bytes) -> str:
    return _VERSION.sub("", request.strip(b"\r\n").partition(b"\r\n")[0].decode("latin-1"))


def _numbered(cases: list[Case]) -> list[Case]:
    """Names that are all different."""
    seen: dict[str, int] = {}
    found: list[Case] = []
    for name, request in cases:
        seen[name] = seen.get(name, 0) + 1
        found.append(Case(name if seen[name] == 1 else f"{name} ({seen[name]})", request))
    return found

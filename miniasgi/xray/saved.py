"""A page to keep or to send: the same as the live one, with its traces and their source lines inside.

Owns how data gets into a file of HTML without becoming HTML. The file needs no server and reaches no
network; what it shows of paths is short, as a file travels.
"""

import json
from typing import Any

from .model import Place, Trace
from .page import HTML, policy, source_json, trace_json

_META = '<meta charset="utf-8">'
_SAVED = '<script type="application/json" id="saved">'


def saved_page(traces: list[Trace]) -> str:
    """The whole file."""
    saved: dict[str, Any] = {"traces": [], "sources": {}}
    for trace in traces:
        shown = trace_json(trace)
        for hop in shown["hops"]:
            place = hop.pop("place")
            if place is not None and hop["where"] not in saved["sources"]:
                saved["sources"][hop["where"]] = source_json(Place(*place))
        saved["traces"].append(shown)
    # ASCII alone, so no U+2028; and no `<`, so nothing in it ends the script, or begins a comment.
    data = json.dumps(saved, separators=(",", ":")).replace("<", "\\u003c")
    guard = f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
    return HTML.replace(_META, f"{_META}\n{guard}", 1).replace(_SAVED, _SAVED + data, 1)

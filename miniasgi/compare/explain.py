"""Whether a difference is on purpose: looks it up among those that are.

Owns what it means that an explanation fits. Only what differs from miniasgi is explained at all.
"""

import re
from fnmatch import fnmatchcase

from .diff import Difference, plain_name
from .differences import DIFFERENCES, Explanation

_FLAGS = re.DOTALL | re.MULTILINE | re.IGNORECASE

Explained = tuple[Difference, Explanation | None]


def explain(found: list[Difference], request: bytes, names: tuple[str, str]) -> list[Explained]:
    """Each difference between two servers of these names, with its explanation, or with None."""
    left, right = (name.partition(":")[0] == "miniasgi" for name in names)
    if left == right:
        return [(difference, None) for difference in found]
    known = [(difference, _explanation(difference, request, names[left], right)) for difference in found]
    whole = next((why for _, why in known if why and why.whole), None)
    return [(difference, why if why and why.general else whole or why) for difference, why in known]


def _explanation(difference: Difference, request: bytes, peer: str, swapped: bool) -> Explanation | None:
    values = (difference.right, difference.left) if swapped else (difference.left, difference.right)
    what = plain_name(difference)
    return next((entry for entry in DIFFERENCES if _fits(entry, what, peer, request, *values)), None)


def _fits(entry: Explanation, what: str, peer: str, request: bytes, ours: str | None, theirs: str | None) -> bool:
    return (
        any(fnmatchcase(what, pattern) for pattern in entry.what.split("|"))
        and fnmatchcase(peer, entry.peer)
        and bool(re.search(entry.request, request, _FLAGS))
        and bool(re.search(entry.ours, ours or ""))
        and bool(re.search(entry.theirs, theirs or ""))
    )

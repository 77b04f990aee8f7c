"""Makes plain sentences of reStructuredText. Knows nothing of where the text comes from.

A tiny model learns each character of an answer, so markup would be learnt, and shown to the reader.
"""

import re

# :func:`join`, :py:meth:`~str.join`, :ref:`the guide <label>`: what the reader of the HTML sees.
_ROLE = re.compile(r":([\w:+-]+):`([^`]+)`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{1,2}")
_TARGET = re.compile(r"^(.*?)\s*<[^>]+>$")
_FOOTNOTE = re.compile(r"\s*\[[#\w-]+\]_")
_SENTENCE_END = re.compile(r"(?<=[.!])\s+(?=\w)")
_NO_END = re.compile(r"\b(e\.g|i\.e|etc|cf|vs|Mr|No|approx)\.$")
# What points elsewhere says nothing when it stands alone; the rest is markup that was missed.
_POINTS_ELSEWHERE = re.compile(
    r"\b(above|below|following|See|see also|this section|as follows|mentioned|previous(ly)?|described|listed)\b"
)
_ODD = re.compile(
    r"[`|\\{}<>*_]{2}|[`|\\]|:$|::|\*|https?:|[^\x20-\x7e]|\$|@|->"
    r"|The arguments|All arguments|[Dd]eprecated|Changed in|New in"
)


def _role(match: re.Match[str]) -> str:
    text = match[2]
    if match[1] in ("pep", "rfc"):
        return f"{match[1].upper()} {text}"
    if target := _TARGET.match(text):
        return target[1]
    return text.lstrip("!~").rpartition(".")[2] if text.startswith("~") else text.lstrip("!")


def plain(text: str) -> str:
    """The words without the markup, on one line."""
    text = _ROLE.sub(_role, " ".join(text.split()))
    text = _FOOTNOTE.sub("", _LINK.sub(r"\1", text))
    text = re.sub(r"``(.+?)``", r"\1", text)
    text = re.sub(r"(?<![\w*])\*{1,2}([^*\s][^*]*?)\*{1,2}(?!\w)", r"\1", text)
    text = re.sub(r"`([^`]+)`_{0,2}", r"\1", text)
    text = re.sub(r"(?<![\w.])([A-Za-z]+)_(?!\w)", r"\1", text)  # a link of one word
    text = re.sub(r"(?<=\w)::$", ".", text).removesuffix(" ::")
    return text.replace("\\ ", "").replace("\\", "").replace("---", "-").strip()


def first_sentence(text: str, longest: int = 170) -> str | None:
    """The first sentence in plain words; None if there is none that stands alone."""
    sentence = ""
    for piece in _SENTENCE_END.split(plain(text)):
        sentence = f"{sentence} {piece}".strip()
        if not _NO_END.search(sentence):
            break
    sentence = re.sub(r"\s*\((see|See)[^)]*\)", "", sentence)
    if len(sentence) > longest or len(sentence.split()) < 3 or _ODD.search(sentence):
        return None
    if _POINTS_ELSEWHERE.search(sentence) or not sentence[0].isalnum() or sentence.count("(") != sentence.count(")"):
        return None
    return sentence if sentence.endswith((".", "!")) else sentence.rstrip(" ;,") + "."

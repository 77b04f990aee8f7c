"""What must never be shown: credentials, wherever they turn up.

Owns the names that secrets go by, and the values that one request has shown to be secret. Knows text
and bytes alone. A secret becomes as many asterisks, so that bytes keep their places: a piece of a
message can be masked together with what came before it, and cut off again.
"""

import base64
import binascii
import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterable

_WORDS: tuple[str, ...] = ("authorization", "cookie", "password", "passwd", "secret", "credential", "session", "token")
_WORDS += ("apikey", "api-key", "api_key")
# `max_tokens` is none, nor is `tokenizer`; `x-csrf-token`, `session_id` and `Set-Cookie` are. A name is looked
# at once, from where it begins, and taken whole: else 8 KiB of `-a-a-a` would take seconds.
_NAME = rf"(?<![\w-])(?=[\w-]*?(?:{'|'.join(_WORDS)})(?<!token(?=[a-z])))[\w-]++"


def _quoted(group: str) -> str:
    """A text in quotes, from behind the first one; there may be others in it, and it may be cut off."""
    return rf"""\\*+(?:"(?P<{group}2>(?:[^"\\]|\\.)*+)|'(?P<{group}1>(?:[^'\\]|\\.)*+))"""


_PATTERNS = re.compile(
    rf"""(?imsx)
    (?: ^[ \t]*+{_NAME}[ \t]*+:[ \t]*+  (?P<line>[^\r\n]++)               # a field line, RFC 9112 5; ours, or none
    | (?:^|[?&"']){_NAME}=            (?P<form>[^&\s"']++)              # a query, or a form
    | {_NAME}=b?                      {_quoted("argument")}             # a repr of an object
    | ["']{_NAME}\\*+["']\s*+:\s*+b?  {_quoted("member")}               # JSON, also in JSON, or a dict
    | [(\[]\s*+b?["']{_NAME}["'],\s*+b?  {_quoted("pair")}              # a header as ASGI has it
    | ;[ ]?name="{_NAME}"[^\r\n]*+\r\n(?:[^\r\n]++\r\n)*+\r\n  (?P<part>(?:(?!\r\n--).)++)  # a form in parts, RFC 7578
    | ://[^\s/:@"']*+:                (?P<userinfo>[^\s/@"']++)(?=@)    # the password in a URL
    )"""
)
_FIELD = re.compile(rf"[ \t]*+{_NAME}[ \t]*+:", re.IGNORECASE)
_MOST_VALUES = 200
_SHORTEST = 6  # characters: whatever is shorter turns up by chance
_LONGEST_FIELD = 65536  # bytes
_NEAR = 8192  # bytes of a piece; nobody keeps more
# What a cookie may say that is in no way its own (RFC 6265 4.1).
_ATTRIBUTES = {"HttpOnly", "Secure", "SameSite=lax", "SameSite=strict", "SameSite=none", "strict"}


def is_secret(name: str) -> bool:
    """True for the name of a header, or of a field, whose value must not be shown; or `http.request.header.cookie`."""
    return re.search(_NAME, name, re.IGNORECASE) is not None


class Secrets:
    """What must not be shown of one request: all that has a telling name, and the values learned."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def learn(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """From now on hides the values of secret headers wherever else they turn up."""
        found = set(self._values)
        for name, value in headers:
            if is_secret(name.decode("latin-1")):
                for part in _parts(value.decode("latin-1")):
                    found.update(form for form in _forms(part) if len(form) >= _SHORTEST)
        # The whole before its parts; a client that sends a thousand cookies must not hold up the others.
        self._values = tuple(sorted(found, key=len, reverse=True)[:_MOST_VALUES])

    def mask(self, text: str) -> str:
        """The text, with asterisks in place of secrets; of the same length."""
        for value in self._values:
            text = text.replace(value, "*" * len(value))
        return _PATTERNS.sub(_starred, text) if _is_suspicious(text) else text

    def mask_field(self, name: str, text: str) -> str:
        """The value of something that has a name."""
        return "*" * len(text) if is_secret(name) else self.mask(text)

    def mask_bytes(self, data: bytes) -> bytes:
        """Bytes, with asterisks in place of secrets; of the same length."""
        return self.mask(data.decode("latin-1")).encode("latin-1")


class Stream:
    """Masks bytes that come in pieces: a secret may begin in one and end in another."""

    def __init__(self) -> None:
        self._line = b""  # what came since the last line end, as far as it matters

    def mask(self, data: bytes) -> bytes:
        """The piece, masked in the light of what came before it; far from its beginning, all of it."""
        near = Secrets().mask_bytes(self._line + data[:_NEAR])[len(self._line) :]
        line = self._line + data
        line = line[line.rfind(b"\n") + 1 :]
        start = line[:_NEAR].decode("latin-1")
        is_field = _is_suspicious(start) and _FIELD.match(start)
        self._line = line[:_LONGEST_FIELD] if is_field else line[-_NEAR:]
        return near + b"*" * (len(data) - len(near))


def _is_suspicious(text: str) -> bool:
    """False for most texts, which have nothing to hide; this tells in a hundredth of the time."""
    lower = text.lower()
    return "://" in lower or any(word in lower for word in _WORDS)


def _starred(match: re.Match[str]) -> str:
    start, end = match.span(match.lastgroup or 0)
    return match[0][: start - match.start()] + "*" * (end - start) + match[0][end - match.start() :]


def _parts(value: str) -> set[str]:
    """A header's value, and what in it is secret by itself: a bearer's token, a cookie, a password."""
    parts = {value, *re.split(r"[ ;,]+", value)}
    parts |= {part.partition("=")[2].strip('"') for part in parts}
    scheme, _, rest = value.partition(" ")
    parts.add(rest)
    parts -= {scheme if rest else ""}
    if scheme.lower() == "basic":  # RFC 7617
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            plain = base64.b64decode(rest).decode()
            parts |= {plain, plain.partition(":")[2]}
    return parts - _ATTRIBUTES


def _forms(part: str) -> set[str]:
    """How a value may be written elsewhere: in a repr, in JSON, in a URL."""
    urls = {urllib.parse.quote(part), urllib.parse.quote(part, safe=""), urllib.parse.quote_plus(part)}
    return {part, repr(part)[1:-1], json.dumps(part)[1:-1], *urls}

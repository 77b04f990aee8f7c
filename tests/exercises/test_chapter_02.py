"""Exercises of chapter 2."""

from types import ModuleType

import pytest


@pytest.mark.parametrize(
    "target, expected",
    [
        (b"/", (None, b"/")),
        (b"/b?c", (None, b"/b?c")),
        (b"http://a:81/b?c", (b"a:81", b"/b?c")),
        (b"http://a/", (b"a", b"/")),
        (b"HTTPS://a/b", (b"a", b"/b")),
        (b"http://a", (b"a", b"/")),
        (b"http://a?b/c", (b"a", b"/?b/c")),
        (b"/login?next=http://b/c", (None, b"/login?next=http://b/c")),
    ],
)
def test_a_target_has_a_host_only_in_absolute_form(
    chapter: ModuleType, target: bytes, expected: tuple[bytes | None, bytes]
) -> None:
    assert chapter.origin_form(target) == expected


HEADERS = [(b"host", b"a"), (b"accept", b"a, b ,"), (b"x-accept", b"no"), (b"accept", b""), (b"accept", b"\tc")]


@pytest.mark.parametrize(
    "name, expected", [(b"accept", [b"a", b"b", b"c"]), (b"Accept", [b"a", b"b", b"c"]), (b"expect", [])]
)
def test_a_list_may_be_spread_over_fields(chapter: ModuleType, name: bytes, expected: list[bytes]) -> None:
    assert chapter.members(HEADERS, name) == expected

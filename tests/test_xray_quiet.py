"""A tap that raises says so once, and is silent."""

import pytest

from miniasgi.xray import quiet

from .vocabulary import logged


@quiet.quiet
def tap(value: int) -> float:
    """The docstring stays."""
    return 1 / value


def test_it_gives_what_the_tap_gives_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_failed", set())
    with logged() as lines:
        assert [tap(2), tap(0), tap(0), tap(4)] == [0.5, None, None, 0.25]
    assert lines == ["x-ray: tap failed, its hops are missing: ZeroDivisionError('division by zero')"]
    assert tap.__doc__ == "The docstring stays."


def test_what_is_no_error_passes() -> None:
    @quiet.quiet
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()

"""The options of uvicorn's command: each is here with the same default, or stands below with the reason.

`python -m tests.test_options` prints the differences as a table.
"""

from typing import Any

import click
import pytest
from uvicorn.main import main as uvicorn

from miniasgi.cli import main as miniasgi

# Options that are not here.
MISSING = {
    "--h11-max-incomplete-event-size": "--limit-request-head does that, for both parsers",
    "--http2": "HTTP/2 comes later",
}

# Options with another default.
DEFAULTS = {
    "--log-config": "a word for our own configuration, as None is for none at all",
    "--timeout-graceful-shutdown": "30 s, or an open stream would keep the server from stopping",
}

# Words that an option does not take.
WORDS = {
    "--http": {"zttp": "two parsers are enough to see that they agree"},
    "--loop": {"zuvloop": "two loops are enough; it can still be had from Python, through `Server.serve()`"},
    "--ws": {
        "websockets": "one implementation is enough; wsproto's is it",
        "websockets-sansio": "one implementation is enough; wsproto's is it",
    },
}


def options(command: click.Command) -> dict[str, Any]:
    return {name: param for param in command.params for name in param.opts if name.startswith("--")}


THEIRS, OURS = options(uvicorn), options(miniasgi)


def test_every_option_of_uvicorn_is_here_or_named() -> None:
    assert THEIRS.keys() - OURS.keys() == MISSING.keys()


@pytest.mark.parametrize("name", sorted((THEIRS.keys() & OURS.keys()) - DEFAULTS.keys()))
def test_an_option_has_the_same_default(name: str) -> None:
    theirs, ours = THEIRS[name], OURS[name]
    if theirs.multiple:
        assert ours.multiple
    elif theirs.default in (None, ""):
        assert ours.default in (None, "", False), "unset, in one way or the other"
    else:
        assert ours.default == theirs.default
    assert bool(ours.is_flag) == bool(theirs.is_flag), "a flag here is a flag there"
    assert ours.secondary_opts == theirs.secondary_opts, "--no-... is there, or not"


@pytest.mark.parametrize("name", sorted(name for name in OURS if isinstance(OURS[name].type, click.Choice)))
def test_an_option_takes_the_same_words(name: str) -> None:
    if name not in THEIRS:
        return
    theirs = THEIRS[name].type
    words = set(theirs.choices) if isinstance(theirs, click.Choice) else _words_of(name)
    assert words - set(OURS[name].type.choices) == WORDS.get(name, {}).keys()


def _words_of(name: str) -> set[str]:
    """What uvicorn's help lists for an option that also takes an import string."""
    from uvicorn import config

    table = {"--http": config.HTTP_PROTOCOLS, "--ws": config.WS_PROTOCOLS, "--loop": config.LOOP_FACTORIES}[name]
    return set(table) - {"none"} if name == "--loop" else set(table)


if __name__ == "__main__":
    for name, reason in MISSING.items():
        print(f"{name:<34} not here      {reason}")
    for name, reason in DEFAULTS.items():
        print(f"{name:<34} {OURS[name].default!s:<13} {reason}")
    for name, words in WORDS.items():
        for word, reason in words.items():
            print(f"{name + ' ' + word:<34} not here      {reason}")

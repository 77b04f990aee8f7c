"""The six rungs of examples/ladder, and two real servers: what each passes and what it does not.

A probe that fails where it has passed is a fault; one that passes where it has failed, too: the book tells
what each rung cannot do yet.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

import pytest

from examples.ladder.probes import PROBES
from examples.ladder.score import COMMANDS, main, name_of, score

#                                             rungs   miniasgi  uvicorn: each with httptools, with h11
PINNED = """
get is answered                               ++++++  ++  ++
close is honoured                             ++++++  ++  ++
http 1.0 is closed                            ++++++  ++  ++
any pieces will do                            .+++++  ++  ++
scope has the request line                    .+++++  ++  ++
path is decoded                               .+++++  ++  ++
headers are told                              .+++++  ++  .+
host is required                              .+++++  ++  .+
failure is a 500                              .+++++  ++  ++
content reaches the app                       ..++++  ++  ++
response flows                                ..++++  ++  ++
slow client delays nobody                     ..++++  ++  ++
lifespan comes first                          ..++++  ++  ++
endless head is refused                       ..++++  ++  .+
connection is kept                            ...+++  ++  ++
pipelined requests are answered in order      ...+++  ++  ++
stream keeps the connection                   ...+++  ++  ++
stream to http 1.0 ends with the connection   .+++++  ++  .+
failure is not an end                         .+.+++  ++  ++
chunked content reaches the app               ...+++  ++  ++
trailers are dropped                          ...+++  ++  .+
unread content is no request                  .+++++  ++  ++
head has no content                           ...+++  ++  ++
no content is none                            .+++++  ++  ++
too little content is noticed                 .++.++  ++  ++
too much content is held back                 ....++  ++  ++
headers cannot be injected                    ....++  ++  ++
space before colon is refused                 ....++  ++  ++
invalid length is refused                     ....++  ++  ++
invalid chunk is refused                      ....++  ++  ++
length and chunks are refused                 ....++  ++  +.
continue is said when content is wanted       ....++  ++  ++
half closed client is answered                ..++++  ++  ..
absolute target is understood                 ......  ++  +.
upload waits for the app                      ..++++  ++  ++
slow reader stops the app                     ..++++  ++  ++
waiting send ends with the client             ..++++  ++  ++
client that leaves is noticed                 ..+..+  ++  ++
end is told                                   ..++++  ++  ++
"""
ROWS = {line[:46].strip(): line[46:].replace(" ", "") for line in PINNED.strip().splitlines()}
PASSES = {server: {name for name, row in ROWS.items() if row[n] == "+"} for n, server in enumerate(COMMANDS)}

LADDER = Path(__file__).parent.parent / "examples" / "ladder"
RUNGS = sorted(LADDER.glob("0*.py"))


@pytest.mark.parametrize("server", COMMANDS)
def test_a_server_passes_what_is_pinned_and_no_more(server: str) -> None:
    """Who ought to pass gets all the time there is: no slow machine makes a failure. Nor a success."""
    results = score(server, lambda probe: 10.0 if probe in PASSES[server] else 0.25)
    wrong = {
        probe: error or "it passes" for probe, error in results.items() if (not error) != (probe in PASSES[server])
    }
    assert wrong == {}
    assert results.keys() == ROWS.keys()


def test_each_probe_says_what_it_asks_for_and_why() -> None:
    for probe in PROBES:
        assert probe.__doc__, probe
        assert "\n" not in probe.__doc__
    assert [name_of(probe) for probe in PROBES] == list(ROWS)


def test_the_command_tells_what_a_rung_fails(capsys: pytest.CaptureFixture[str]) -> None:
    main(["1"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "rung 1: 3/39, fails:"
    assert set(" ".join(map(str.strip, lines)).split(", ")) == ROWS.keys() - PASSES["1"]


def code_lines(source: str) -> int:
    """Lines with code on them: prose is free, as in scripts/lines.py."""
    empty = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in empty]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("path", RUNGS, ids=lambda path: path.stem)
def test_a_rung_is_short_and_needs_little(path: Path) -> None:
    source, number = path.read_text(), int(path.stem[:2])
    assert code_lines(source) < 150
    tree = ast.parse(source)
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    allowed = {"h11"} if number >= 5 else set()
    allowed |= {"examples.ladder.settled"} if number >= 4 else set()
    assert {name for name in modules if name and name.partition(".")[0] not in sys.stdlib_module_names} <= allowed


def symbols(path: Path) -> dict[str, str]:
    source = path.read_text()
    tree = ast.parse(source)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: ast.unparse(node) for node in tree.body if isinstance(node, kinds)}


def test_what_is_settled_is_what_rung_3_shows() -> None:
    shown = symbols(LADDER / "03_receive_send.py")
    settled = symbols(LADDER / "settled.py")
    assert settled == {name: shown[name] for name in settled}

"""`miniasgi compare APP`: the same requests to two servers, and what differs.

Owns the words of this command and its exit status. Knows neither how a server is started nor what is a
difference.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import click

from .cases import load
from .hops import aligned, asked, traces
from .page import html, write
from .peers import Mistake, command
from .report import Report, text
from .run import Comparison, both

_WIDTH = 160  # columns, if there is no terminal to ask
_INTERRUPTED = 130


@click.command()
@click.argument("app")
@click.option("--with", "right", default="uvicorn", show_default=True, help="Server to compare with; see below.")
@click.option("--left", default="miniasgi", show_default=True, help="Server that is compared.")
@click.option(
    "--cases", default="protocol", show_default=True, help="What to ask: `protocol`, or FILE.http, or X-RAY.json."
)
@click.option("--hops", "words", help="Also x-ray this request in both: `POST /path content`.")
@click.option("--json", "as_json", is_flag=True, help="Print what was seen as JSON.")
@click.option("--html", "page", type=Path, help="FILE to write a page to.")
@click.option("--silence", default=0.3, show_default=True, help="Seconds without a byte that end a conversation.")
@click.option("--timeout", default=3.0, show_default=True, help="Seconds that a conversation may last.")
@click.option("--app-dir", default=".", show_default=True, help="Directory to import the app from.")
@click.option("--factory", is_flag=True, help="APP is a function that makes the app.")
@click.option("--color/--no-color", "colour", default=None, help="Colours; default: on a terminal.")
def main(
    app: str,
    right: str,
    left: str,
    cases: str,
    words: str | None,
    as_json: bool,
    page: Path | None,
    silence: float,
    timeout: float,
    app_dir: str,
    factory: bool,
    colour: bool | None,
) -> None:
    """Start the ASGI application APP twice, in miniasgi and in another server, send the same requests to
    both, and tell what differs: on the wire, and in what the app is told.

    A server is uvicorn, hypercorn, granian, daphne, gunicorn or miniasgi, as their users start them;
    uvicorn:h11, miniasgi:h11 or miniasgi:httptools is one with that parser.

    FILE.http has raw requests, with a line ### between them; X-RAY.json is what `miniasgi xray --json`
    printed. Without either, about 60 conversations test the protocol, and each GET of the app's OpenAPI
    document is asked that needs no parameters.

    Exit status: 0 if all is equal, or differs on purpose; 1 if something differs unexplained; 2 for a mistake.
    """
    conversations, question = load(cases), None if words is None else asked(words)
    for name in (left, right):
        command(name, app, 0)
    if page is not None:
        write(page, "")  # mistakes come out before anything is started
    try:
        with both(app, left, right, Path(app_dir), factory) as sides:
            results = asyncio.run(Comparison(*sides, silence, timeout).run(conversations, openapi=cases == "protocol"))
        seen = question and traces(app, (left, right), Path(app_dir), factory, question, timeout)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    report = Report(app, (left, right), results, aligned(*seen) if seen else [])
    if not any(answer.raw for result in results for answer in result.answers or ()):
        raise Mistake(f"neither server has answered anything within {timeout:g} s: try --timeout")
    if page is not None:
        write(page, html(report))
    if as_json:
        click.echo(json.dumps(report.json(), indent=1))
    else:
        if colour is None:
            colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo(text(report, shutil.get_terminal_size((_WIDTH, 0)).columns, colour), color=colour)
    raise SystemExit(1 if report.counts()["unexplained"] else 0)

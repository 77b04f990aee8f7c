"""The `miniasgi` command, whose options are the fields of `Config`: they are said there, once.

Owns nothing but the way from words to a `Config`: flags, environment variables and pyproject.toml.
Words are turned into values by click, and so are mistakes into one sentence: a `ConfigError` is an
exception that click shows. Knows no socket and no protocol.

The exit status tells a supervisor of processes what happened: 0 for a server that was asked to stop,
1 for a mistake that `Config` or its app has found, 2 for one that click has found in the words, and 3 if
the app could not start. (A server that SIGTERM has stopped ends by that signal.)
"""

import contextlib
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from . import __version__
from .config import Config
from .importer import ConfigError
from .options import OPTIONS, ProjectCommand, click_option
from .server import Server
from .supervisor import Supervisor

_OTHERS = ("xray", "compare")


class _Command(ProjectCommand):
    """The server's command, which hands over if its first word is `xray` or `compare`.

    No group of click's: `miniasgi main:app` has no word in front of the app, as `uvicorn main:app` has
    none, and a group would take `main:app` for the name of a command that it does not know.
    """

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Parses `args` (by default the process's) and runs what they ask for; click's `main`, so it exits."""
        args = sys.argv[1:] if args is None else list(args)
        # An app cannot have these names: its import string has a colon.
        if args and args[0] in _OTHERS:  # imported only now: a server pays for neither
            other = importlib.import_module(f".{args[0]}.command", __package__)
            return other.main(args[1:], f"{prog_name or 'miniasgi'} {args[0]}", **extra)
        return super().main(args, prog_name, **extra)


@click.command(cls=_Command, context_settings={"auto_envvar_prefix": "MINIASGI"}, params=[*map(click_option, OPTIONS)])
@click.argument("app", default="", envvar="MINIASGI_APP")
@click.option("--check", is_flag=True, help="Load app and options, say what would run.")
@click.option("--xray", is_flag=True, help="Show each request's way through server and app, live, on a page.")
@click.option("--xray-save", "saves", multiple=True, help="File to save what was seen to, at the end; may be repeated.")
@click.option("--xray-unsafe", "unsafe", is_flag=True, help="The x-ray also for clients on other machines.")
@click.option("--server-timing", is_flag=True, help="Tell clients where the time went, in a Server-Timing header.")
@click.version_option(__version__, prog_name="miniasgi")
def main(
    app: str, check: bool, xray: bool, saves: Sequence[str], unsafe: bool, server_timing: bool, **options: Any
) -> None:
    """Serve the ASGI application APP, like main:app, over HTTP. Without APP, serve the one found in
    main.py, app.py, ...

    `miniasgi xray APP GET /path` asks it once, and shows the way of that request; see
    `miniasgi xray --help`. `miniasgi compare APP` tells what other servers do otherwise.

    Every option is also an environment variable (--log-level: MINIASGI_LOG_LEVEL) and a key of
    [tool.miniasgi] in pyproject.toml.
    """
    config = Config(app, **options)
    if check:
        _describe(config)
    elif xray or saves or server_timing:
        # Imported only now: no other server pays for the x-ray, or knows that there is one.
        from .xray.server import XrayServer

        _serve(XrayServer(config, xray, saves, server_timing, unsafe))
    else:
        _serve(_server(config))


def _describe(config: Config) -> None:
    """Says what would run, for `--check`; `ConfigError` for what would not.

    It imports the app, the parser and the loop. But it binds no socket, as another server may serve on it
    right now, and starts no app: a check is done in the time of an import.
    """
    config.setup_logging()
    config.load_app()
    config.websocket_class()
    rows = {
        "app": config.app,
        "address": config.uds or f"{config.host}:{config.port}",
        "parser": config.parser_class().__name__,
        "loop": config.loop_factory().__module__.partition(".")[0],
    }
    if config.fd is not None:
        rows["address"] = f"fd {config.fd}"
    changed = [field.name for field in OPTIONS if getattr(config, field.name) != field.default]
    for name, value in (rows | {name: getattr(config, name) for name in changed}).items():
        click.echo(f"{name:<26} {value}")


def _server(config: Config) -> Server | Supervisor:
    """A supervisor where there is more than one process to look after, else a server in this very one.

    With a single process there would be nobody to serve while it dies, and one more to pay for.
    """
    return Supervisor(config) if config.reload or config.processes() > 1 else Server(config)


def _serve(server: Server | Supervisor) -> None:
    """Runs it until it ends; SystemExit with 3 if it never came to accept a client.

    SIGTERM does not get here: the server, done, raises it again, and its default action ends us.
    """
    with contextlib.suppress(KeyboardInterrupt):  # how Ctrl+C ends a server that was asked to stop
        server.run()
    if not server.started:
        raise SystemExit(3)  # as uvicorn's; with 0 a container that cannot start would look finished (L5)


def run(app: Any, **options: Any) -> None:
    """Serves `app` with the options of `Config` until stopped: `miniasgi.run("main:app")`.

    `app` is an app or an import string. With `workers` above 1, and with `reload`, it has to be a string,
    and the call stands under `if __name__ == "__main__":`, as workers import the main module again.

    Blocks; returns after Ctrl+C. (SIGTERM ends the process, unless the program handles it.) Exits like
    the command, with `SystemExit`: status 1 for a mistake in the options, 3 if the app cannot start.
    """
    try:
        _serve(_server(Config(app, **options)))
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from None

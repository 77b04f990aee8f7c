"""The `miniasgi` command, derived from `Config`: what is an option is said there, once.

Owns nothing but the way from words to a `Config`. Knows no socket and no protocol.
"""

import contextlib
import dataclasses
import difflib
import platform
import tomllib
import typing
from pathlib import Path
from typing import Any

import click

from . import __version__
from .config import Config, check_kind, kinds
from .importer import ConfigError
from .proxy import ProxyHeaders
from .server import Server

_STARTUP_FAILURE = 3  # exit status, as uvicorn's


def _option(field: "dataclasses.Field[Any]") -> click.Option:
    """A click option for a field of `Config`: flag, type, default and help all come from there."""
    flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    shown = field.default not in ("", "default")
    settings: dict[str, Any] = {"help": field.metadata["help"], "show_default": shown}
    members = kinds(field)
    if bool in members:
        plain = field.default is False
        flag = flag if plain else f"{flag}/--no-{flag.removeprefix('--')}"
        settings["is_flag"] = True
    elif choices := [kind for kind in members if typing.get_origin(kind) is typing.Literal]:
        settings["type"] = click.Choice(typing.get_args(choices[0]))
    elif float in members or int in members:
        settings["type"] = float if float in members else int
    if field.metadata["flag"]:
        settings.update(multiple=True, type=_Header())
    else:
        settings["default"] = field.default
        if str in members:  # as it is: pyproject.toml can hold a table for --log-config
            settings.update(type=click.UNPROCESSED, metavar="TEXT")
    return click.Option([flag, field.name], **settings)


class _Header(click.types.StringParamType):
    name = "name:value"
    envvar_list_splitter = "\n"  # $MINIASGI_HEADERS: one a line, as values have spaces

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        name, colon, text = str(value).partition(":")
        if not colon:
            self.fail(f"{value!r} is not of the form Name:Value", param, ctx)
        return name.strip(), text.strip()


def _project_defaults() -> dict[str, Any]:
    """The table `[tool.miniasgi]` of ./pyproject.toml; a key is the name of an option."""
    path = Path("pyproject.toml")
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
        for name in ("tool", "miniasgi"):
            table = table.get(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{name} must be a table, not {table!r}")
        return _checked(table)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"pyproject.toml: {error}") from None


def _checked(table: dict[str, Any]) -> dict[str, Any]:
    known = {field.name: field for field in dataclasses.fields(Config)}
    defaults = {name.replace("-", "_"): value for name, value in table.items()}
    for name, value in defaults.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"[tool.miniasgi] has no option {name!r}{hint}")
        check_kind(known[name], value)
    return defaults


def _describe(config: Config) -> str:
    """What would run, for `--check`."""
    app = config.load_app()
    inner = app.app if isinstance(app, ProxyHeaders) else app
    parser, loop = config.parser_class(), config.loop_factory()
    fd = None if config.fd is None else f"fd {config.fd}"
    rows: dict[str, Any] = {
        "app": f"{config.app} ({type(inner).__name__})",
        "address": fd or config.uds or f"{config.host}:{config.port}",
        "parser": parser.__name__,
        "loop": f"{loop.__module__.partition('.')[0]}, Python {platform.python_version()}",
    }
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in rows and field.metadata and value != field.default:
            rows[field.name] = value
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _run(app: str | None, check: bool, **options: Any) -> None:
    config = Config(app or "", **options)
    if app is None:
        config.find_app()
        click.echo(f"No app named: running {config.app}", err=True)
    if check:
        config.setup_logging()
        click.echo(_describe(config))
    else:
        _serve(config)


def _serve(config: Config) -> None:
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):  # how Ctrl+C ends a server that was asked to stop
        server.run()
    if not server.started:
        raise SystemExit(_STARTUP_FAILURE)


class _Command(click.Command):
    """A command whose users' mistakes end in one sentence."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra.setdefault("auto_envvar_prefix", "MINIASGI")
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            extra.setdefault("default_map", _project_defaults())
        except ConfigError as error:
            raise click.ClickException(str(error)) from None
        return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise click.ClickException(str(error)) from None


main = _Command(
    "miniasgi",
    callback=_run,
    help="Serve the ASGI application APP, like main:app, over HTTP. "
    "Without APP, serve the one found in main.py, app.py, ...\n\n"
    "Every option is also an environment variable (--log-level: MINIASGI_LOG_LEVEL) "
    "and a key of [tool.miniasgi] in pyproject.toml.",
    params=[
        click.Argument(["app"], required=False, envvar="MINIASGI_APP"),
        *(_option(field) for field in dataclasses.fields(Config) if field.metadata),
        click.Option(["--check"], is_flag=True, help="Load app and options, say what would run."),
    ],
)
main = click.version_option(__version__, prog_name="miniasgi")(main)


def run(app: Any, **options: Any) -> None:
    """Serves `app` with the options of `Config` until stopped: `miniasgi.run("main:app")`.

    Exits like the command: status 1 for a mistake in the options, 3 if the app cannot start.
    """
    try:
        _serve(Config(app, **options))
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from None

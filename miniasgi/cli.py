"""The `miniasgi` command, derived from `Config`: what is an option is said there, once.

Owns nothing but the way from words to a `Config`. Knows no socket and no protocol.
"""

import dataclasses
import platform
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

import click

from . import __version__
from .config import Config
from .importer import ConfigError, discover
from .server import Server

_STARTUP_FAILURE = 3  # exit status, as uvicorn's


def _option(field: "dataclasses.Field[Any]") -> click.Option:
    """A click option for a field of `Config`: flag, type, default and help all come from there."""
    flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    shown = field.default not in ("", "default")
    settings: dict[str, Any] = {"help": field.metadata["help"], "show_default": shown}
    kinds = _kinds(field.type)
    if bool in kinds:
        plain = field.default is False
        flag = flag if plain else f"{flag}/--no-{flag.removeprefix('--')}"
        settings["is_flag"] = True
    elif choices := [kind for kind in kinds if typing.get_origin(kind) is typing.Literal]:
        settings["type"] = click.Choice(typing.get_args(choices[0]))
    elif float in kinds or int in kinds:
        settings["type"] = float if float in kinds else int
    if field.metadata["flag"]:
        settings.update(multiple=True, type=_Header())
    elif isinstance(field.default, str | int | float | None):
        settings["default"] = field.default
    return click.Option([flag, field.name], **settings)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type; None is no choice for a command line."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    return tuple(member for member in members if member is not type(None))


class _Header(click.ParamType):
    name = "name:value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        name, colon, text = value.partition(":")
        if not colon:
            self.fail(f"{value!r} is not of the form Name:Value", param, ctx)
        return name.strip(), text.strip()


def _project_defaults() -> dict[str, Any]:
    """The table `[tool.miniasgi]` of ./pyproject.toml, with names as on the command line."""
    path = Path("pyproject.toml")
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text()).get("tool", {}).get("miniasgi", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"pyproject.toml: {error}") from None
    known = {field.name for field in dataclasses.fields(Config)}
    defaults = {name.replace("-", "_"): value for name, value in table.items()}
    for name in defaults:
        if name not in known:
            raise ConfigError(f"pyproject.toml: [tool.miniasgi] has no option {name!r}")
    return defaults


def _describe(config: Config) -> str:
    """What would run, for `--check`."""
    app = config.load_app()
    inner = getattr(app, "app", app)
    parser, loop = config.parser_class(), config.loop_factory()
    rows = {
        "app": f"{config.app} ({type(inner).__name__})",
        "address": config.uds or (f"fd {config.fd}" if config.fd else f"{config.host}:{config.port}"),
        "parser": parser.__name__,
        "loop": f"{loop.__module__.partition('.')[0]}, Python {platform.python_version()}",
    }
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in rows and field.metadata and value != field.default:
            rows[field.name] = value
    return "\n".join(f"{name:<10} {value}" for name, value in rows.items())


def _run(app: str | None, check: bool, **options: Any) -> None:
    config = Config(app or "", **options)
    if app is None:
        config.app = discover()
        click.echo(f"No app named: running {config.app}", err=True)
    if check:
        click.echo(_describe(config))
        return
    server = Server(config)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
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
        click.Argument(["app"], required=False),
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
        server = Server(Config(app, **options))
        server.run()
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from None
    except KeyboardInterrupt:
        return
    if not server.started:
        raise SystemExit(_STARTUP_FAILURE)

"""The `miniasgi` command, derived from `Config`: what is an option is said there, once.

Owns nothing but the way from words to a `Config`: flags, environment variables and pyproject.toml.
Words are turned into values by click, and so are mistakes into one sentence: a `ConfigError` is an
exception that click shows. Knows no socket and no protocol.
"""

import contextlib
import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from . import __version__
from .config import Config, kind, takes_class
from .importer import ConfigError
from .server import Server
from .supervisor import Supervisor

_OPTIONS = [field for field in dataclasses.fields(Config) if field.metadata]


class _Header(click.types.StringParamType):
    name = "name:value"
    envvar_list_splitter = "\n"  # $MINIASGI_HEADERS: one a line, as values have spaces

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        name, colon, text = str(value).partition(":")
        if not colon:
            self.fail(f"{value!r} is not of the form Name:Value", param, ctx)
        return name.strip(), text.strip()


class _Word(click.Choice):  # type: ignore[type-arg]  # that of click 8.1 takes none
    """One of a few words, or `module:Class` where a class will do."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if ":" in value else super().convert(value, param, ctx)


def _option(field: "dataclasses.Field[Any]") -> click.Option:
    """A click option for a field of `Config`: flag, type, default and help all come from there."""
    flag, origin = f"--{field.name.replace('_', '-')}", get_origin(kind(field))
    value: Any = kind(field)
    is_flag = value is bool and field.metadata["is_flag"]
    if is_flag and field.default is not False:
        flag += f"/--no-{flag.removeprefix('--')}"
    elif origin is Literal:
        value = (_Word if takes_class(field) else click.Choice)(get_args(value))
    elif origin is Sequence:  # one flag for each of its members
        flag, value = flag.removesuffix("s"), str if get_args(value) == (str,) else _Header()
    elif origin is dict:  # a path; in pyproject.toml it may be a table
        value = click.UNPROCESSED
    return click.Option(
        [flag, field.name],
        type=value,
        is_flag=is_flag,
        multiple=origin is Sequence,
        default=field.default,
        show_default=field.default not in ("", "default"),
        help=field.metadata["help"],
    )


def _project_defaults() -> dict[str, Any]:
    """The table `[tool.miniasgi]` of ./pyproject.toml; a key is the name of an option."""
    try:
        project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
        table = project.get("tool", {}).get("miniasgi", {})
        defaults = {name.replace("-", "_"): value for name, value in table.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"pyproject.toml: cannot read the table [tool.miniasgi]: {error}") from None
    for name in defaults:
        if name not in Config.__dataclass_fields__:
            raise ConfigError(f"pyproject.toml: [tool.miniasgi] has no option {name!r}")
    # As text, so that click says the same as of a flag: it would take a number of 9.5 for a port of 9.
    return {name: value if name in ("headers", "log_config") else str(value) for name, value in defaults.items()}


class _Command(click.Command):
    """A command whose options have the defaults of the project in the current directory."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        return super().make_context(*args, default_map=_project_defaults(), **extra)


@click.command(cls=_Command, context_settings={"auto_envvar_prefix": "MINIASGI"}, params=[*map(_option, _OPTIONS)])
@click.argument("app", default="", envvar="MINIASGI_APP")
@click.option("--check", is_flag=True, help="Load app and options, say what would run.")
@click.version_option(__version__, prog_name="miniasgi")
def main(app: str, check: bool, **options: Any) -> None:
    """Serve the ASGI application APP, like main:app, over HTTP. Without APP, serve the one found in
    main.py, app.py, ...

    Every option is also an environment variable (--log-level: MINIASGI_LOG_LEVEL) and a key of
    [tool.miniasgi] in pyproject.toml.
    """
    config = Config(app, **options)
    if check:
        _describe(config)
    else:
        _serve(config)


def _describe(config: Config) -> None:
    """Says what would run, for `--check`."""
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
    changed = [field.name for field in _OPTIONS if getattr(config, field.name) != field.default]
    for name, value in (rows | {name: getattr(config, name) for name in changed}).items():
        click.echo(f"{name:<26} {value}")


def _serve(config: Config) -> None:
    several = config.reload or config.processes() > 1
    server: Server | Supervisor = Supervisor(config) if several else Server(config)
    with contextlib.suppress(KeyboardInterrupt):  # how Ctrl+C ends a server that was asked to stop
        server.run()
    if not server.started:
        raise SystemExit(3)  # as uvicorn's


def run(app: Any, **options: Any) -> None:
    """Serves `app` with the options of `Config` until stopped: `miniasgi.run("main:app")`.

    Exits like the command: status 1 for a mistake in the options, 3 if the app cannot start.
    """
    try:
        _serve(Config(app, **options))
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from None

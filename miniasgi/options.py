"""Click's options for the fields of `Config`: flag, type, default and help all come from there.

Owns the way from a field to an option, what pyproject.toml says it is, and two kinds of values that
click does not know. Knows no command: the server's has all of these options, others have some.
"""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from .config import Config, kind, takes_class
from .importer import ConfigError

OPTIONS = [field for field in dataclasses.fields(Config) if field.metadata]


class Header(click.types.StringParamType):
    """`Name: value` as a pair."""

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


def click_option(field: "dataclasses.Field[Any]") -> click.Option:
    """The option of the command line for a field of `Config`."""
    flag, origin = f"--{field.name.replace('_', '-')}", get_origin(kind(field))
    value: Any = kind(field)
    is_flag = value is bool and field.metadata["is_flag"]
    if is_flag and field.default is not False:
        flag += f"/--no-{flag.removeprefix('--')}"
    elif origin is Literal:
        value = (_Word if takes_class(field) else click.Choice)(get_args(value))
    elif origin is Sequence:  # one flag for each of its members
        flag, value = flag.removesuffix("s"), str if get_args(value) == (str,) else Header()
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


class ProjectCommand(click.Command):
    """A command whose options have the defaults of the project in the current directory."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        return super().make_context(*args, default_map=_project_defaults(), **extra)

"""Click's options for the fields of `Config`: flag, type, default and help all come from there.

Owns the way from a field to an option, what pyproject.toml says it is, and two kinds of values that
click does not know. Knows no command: the server's has all of these options, others have some.

A value is looked for on the command line, then in the environment, then in pyproject.toml, and the
field's default comes last. The order is click's: what was said closest to the start wins.
"""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from .config import Config, kind, takes_class
from .importer import ConfigError

# In the order of the fields, which is also that of `--help`. A field without help is for programs alone.
OPTIONS = [field for field in dataclasses.fields(Config) if field.metadata]


class Header(click.types.StringParamType):
    """`Name: value` as a pair of str, both without the spaces around them; only the first colon counts.

    Whether such a header may be sent is for `Config` to say, as it does to programs.
    """

    name = "name:value"
    envvar_list_splitter = "\n"  # $MINIASGI_HEADERS: one a line, as values have spaces

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Called by click for each value; without a colon, click shows a usage error, with status 2."""
        name, colon, text = str(value).partition(":")
        if not colon:
            self.fail(f"{value!r} is not of the form Name:Value", param, ctx)
        return name.strip(), text.strip()


class _Word(click.Choice):  # type: ignore[type-arg]  # that of click 8.1 takes none
    """One of a few words, or `module:Class` where a class will do.

    A colon decides, as no word has one. The class is imported later: `--help` must not run the app's code.
    """

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if ":" in value else super().convert(value, param, ctx)


def click_option(field: "dataclasses.Field[Any]") -> click.Option:
    """The option of the command line for a field of `Config` that has help.

    Its name is the field's with `-` for `_`, and with `--no-` in front for the opposite of a flag that is on
    by default. A sequence may be repeated, so its flag is in the singular: `headers` is `--header`.
    """
    flag, origin = f"--{field.name.replace('_', '-')}", get_origin(kind(field))
    value: Any = kind(field)
    is_flag = value is bool and field.metadata["is_flag"]
    if is_flag and field.default is not False:
        # `use_colors` too, whose None means "on a terminal": so both answers can be said.
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
    """The table `[tool.miniasgi]` of ./pyproject.toml; a key is the name of an option, with `-` or `_`.

    {} without such a file or table, as most projects have none. `ConfigError` for a file that cannot be
    read, and for a key that is no option: click ignores those, and a `prot = 80` would have no effect.
    """
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
    # But a list of headers and a table for `logging` are no text, and stay what they are.
    return {name: value if name in ("headers", "log_config") else str(value) for name, value in defaults.items()}


class ProjectCommand(click.Command):
    """A command whose options have the defaults of the project in the current directory.

    The file is read when words are parsed, and not on import: so a program that imports us reads none.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        return super().make_context(*args, default_map=_project_defaults(), **extra)

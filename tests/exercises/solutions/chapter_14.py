"""Chapter 14: a command line from a dataclass, and an import with honest mistakes."""

import dataclasses
import importlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any


def parse(cls: type[Any], words: Sequence[str], environ: Mapping[str, str]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {}
    for name, field in fields.items():
        if name.upper() in environ:
            values[name] = convert(field.type, environ[name.upper()], name.upper())
    rest = iter(words)
    for word in rest:
        name = word.removeprefix("--").replace("-", "_")
        positive = name.removeprefix("no_")
        if not word.startswith("--"):
            raise ValueError(f"{word}: no option")
        if name in fields and fields[name].type is bool:
            values[name] = True
        elif positive in fields and fields[positive].type is bool:
            values[positive] = False
        elif name in fields:
            value = next(rest, None)
            if value is None:
                raise ValueError(f"{word} needs a value")
            values[name] = convert(fields[name].type, value, word)
        else:
            raise ValueError(f"{word}: no such option")
    return cls(**values)


def convert(kind: Any, text: str, name: str) -> Any:
    if kind is bool:
        if text not in ("0", "1"):
            raise ValueError(f"{name} must be 0 or 1, not {text!r}")
        return text == "1"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be of type {kind.__name__}, not {text!r}") from None


def load(text: str) -> Any:
    module_name, _, path = text.partition(":")
    if not all(module_name.split(".") + path.split(".")):
        raise ValueError(f"{text!r} is not of the form module:attribute")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # one that it imports
        raise LookupError(f"there is no module {module_name!r}") from None
    try:
        return operator.attrgetter(path)(module)
    except AttributeError as error:
        raise LookupError(str(error)) from None

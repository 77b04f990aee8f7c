"""From the words of a command line to an ASGI app.

Owns import strings, the search for an app when none is named, and the recognition of ASGI 2.
Knows no server. Every mistake of the user is a `ConfigError`: one sentence, and the frames of the
app's own files where its code is what failed.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from .types import App, Receive, Scope, Send

Interface = Literal["auto", "asgi3", "asgi2"]

_MODULES = ("main", "app", "api", "app.main", "app.app", "app.api", "asgi")
_NAMES = ("app", "api", "application")


class ConfigError(Exception):
    """The user's mistake, in one sentence; the command shows it and exits with a status of 1."""


def load_app(app: App | str, factory: bool = False, interface: Interface = "auto") -> App:
    """The ASGI 3 app that `app` names or is; calls it first if it is a factory."""
    name = app if isinstance(app, str) else repr(app)
    found: Any = _import(app) if isinstance(app, str) else app
    if factory:
        if not callable(found):
            raise ConfigError(f"--factory: {name} is not callable, but {_kind(found)}")
        try:
            found = found()
        except Exception as error:
            raise ConfigError(_explain(f"--factory: {name} raised", error)) from error
    return _as_asgi3(found, name, interface)


def discover(directory: Path) -> str:
    """The import string of the app that is to be found in `directory`, for a bare `miniasgi`.

    Looks for `app`, `api` or `application`, else a FastAPI object, in the usual modules.
    """
    for module_name in _MODULES:
        if not (directory / f"{module_name.replace('.', '/')}.py").is_file():
            continue
        module = _import_module(module_name)
        names = [name for name in _NAMES if callable(getattr(module, name, None))]
        names += [name for name, value in vars(module).items() if _is_fastapi(value)]
        if names:
            return f"{module_name}:{names[0]}"
    tried = ", ".join(f"{name.replace('.', '/')}.py" for name in _MODULES)
    raise ConfigError(f"no app named, and none found in {tried}: try `miniasgi module:attribute`")


def _is_fastapi(value: Any) -> bool:
    return any(base.__name__ == "FastAPI" for base in type(value).__mro__)


def _import(text: str) -> Any:
    module_name, _, path = text.partition(":")
    if not all(module_name.split(".") + path.split(".")) or "/" in text:
        raise ConfigError(f"app {text!r} must be in the form module:attribute, like main:app")
    found: Any = _import_module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            where = module_name if isinstance(found, ModuleType) else f"{module_name}:{path}"
            raise ConfigError(f"attribute {name!r} not found in {where!r}")
        found = getattr(found, name)
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is not there; or it is, and imports one that is not.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = "; leave out the .py" if name.endswith(".py") else ""
            where = sys.path[0] or "."
            raise ConfigError(f"module {name!r} not found (looked in {where}){hint}") from None
        raise ConfigError(_explain(f"module {name!r} cannot be imported", error)) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(_explain(f"module {name!r} cannot be imported", error)) from error


def _explain(sentence: str, error: BaseException) -> str:
    """The sentence, then a traceback of the app's frames alone: neither ours nor importlib's."""
    report = traceback.TracebackException.from_exception(error)
    chain = [report]
    for link in chain:
        chain += [other for other in (link.__cause__, link.__context__) if other]
        link.stack[:] = [frame for frame in link.stack if _is_of_app(frame.filename)]
    what = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
    return f"{sentence}: {what}\n" + "".join(report.format()).rstrip()


def _is_of_app(filename: str) -> bool:
    """False for the files that lead to the app: ours, and importlib's frozen and plain ones."""
    others = Path(__file__).parent, Path(importlib.__file__).parent
    frozen = filename.startswith("<frozen importlib")
    return not frozen and not any(Path(filename).is_relative_to(other) for other in others)


def _as_asgi3(app: Any, name: str, interface: Interface) -> App:
    if not callable(app):
        raise ConfigError(f"app {name} is not callable, but {_kind(app)}")
    arguments = {"asgi3": 3, "asgi2": 1}.get(interface) or _arguments(app)
    match arguments:
        case 3:
            return cast(App, app)
        case 1:
            return _from_asgi2(app)
    hints = {0: "; is it a factory? then say --factory", 2: "; is it a WSGI app? those are not supported yet"}
    raise ConfigError(
        f"app {name} takes {arguments} arguments, but ASGI 3 apps take (scope, receive, send)"
        + hints.get(arguments, "")
    )


def _arguments(app: Callable[..., Any]) -> int:
    """How many positional arguments an app takes: 3 for ASGI 3, 1 for ASGI 2."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # written in C, or odd: believe that it knows its business
        return 3
    for count in (3, 1, 2, 0):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count
    return len(signature.parameters)


def _from_asgi2(app: Callable[[Scope], Callable[[Receive, Send], Any]]) -> App:
    """The double callable of ASGI 2 as an ASGI 3 app (A12)."""

    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return asgi3


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"

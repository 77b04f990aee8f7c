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
from typing import Any, Literal

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


def discover() -> str:
    """The import string of the app that is to be found here, for a bare `miniasgi`.

    Looks for `app`, `api` or `application`, else a FastAPI object, in the usual modules.
    """
    for module_name in _MODULES:
        if not (Path.cwd() / f"{module_name.replace('.', '/')}.py").is_file():
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
    if not module_name or not path:
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
            raise ConfigError(f"module {name!r} not found (looked in {sys.path[0] or '.'})") from None
        raise ConfigError(_explain(f"module {name!r} cannot be imported", error)) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(_explain(f"module {name!r} cannot be imported", error)) from error


def _explain(sentence: str, error: BaseException) -> str:
    """The sentence, then a traceback of the app's frames alone: neither ours nor importlib's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    theirs = [f for f in frames if not f.filename.startswith((ours, "<frozen importlib"))]
    theirs = [f for f in theirs if "importlib" not in Path(f.filename).parts[-2:-1]]
    last = "".join(traceback.format_exception_only(error)).rstrip()
    return "\n".join([f"{sentence}: {error!r}", *traceback.format_list(theirs), last])


def _as_asgi3(app: Any, name: str, interface: Interface) -> App:
    if not callable(app):
        raise ConfigError(f"app {name} is not callable, but {_kind(app)}")
    arguments = {"asgi3": 3, "asgi2": 1}.get(interface) or _arguments(app)
    match arguments:
        case 3:
            return app
        case 1:
            return _from_asgi2(app)
    raise ConfigError(
        f"app {name} takes {arguments} arguments, but ASGI 3 apps take (scope, receive, send)"
        + ("; is it a factory? then say --factory" if arguments == 0 else "")
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

"""From the words of a command line to an ASGI app.

Owns import strings, the search for an app when none is named, and the recognition of ASGI 2 and
WSGI. Knows no server. Every mistake of the user is a `ConfigError`: one sentence, and the frames of the
app's own files where its code is what failed.

An import runs the app's code, in this process and before anything is served: with workers, only they
import it, and the supervisor never does.
"""

import contextlib
import importlib
import inspect
import logging
import operator
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import click

from .types import App, Receive, Scope, Send
from .wsgi import WSGI

logger = logging.getLogger("miniasgi.error")

Interface = Literal["auto", "asgi3", "asgi2", "wsgi"]

# Where apps are, by the habits of FastAPI's and Django's documentation; the first file that has one wins.
_FILES = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py", "asgi.py")
_NAMES = ("app", "api", "application")
_ON_THE_WAY = (__file__, importlib.__file__, "<frozen importlib")  # files whose frames lead to the app


class ConfigError(click.ClickException):
    """The user's mistake, in one sentence; click shows it and exits with a status of 1.

    Raised `from None` where the sentence says it all: nobody needs our traceback to see that a file is
    not there. Its text is the same for a program that catches it.
    """


def load_app(app: App | str, factory: bool = False, interface: Interface = "auto", wsgi_threads: int = 10) -> App:
    """The ASGI 3 app that `app` names or is; calls it first if it is a factory.

    A WSGI app runs on `wsgi_threads` threads. ConfigError for what is no app, or cannot be had: at the
    start, where one sentence helps, and not in a 500 for each request.

    `interface` is believed if it is not "auto": what takes `*args` fits everything. An ASGI 3 app is
    given back as it is, so that it costs a request nothing that there are others.
    """
    name = app if isinstance(app, str) else repr(app)
    found: Any = import_string(app) if isinstance(app, str) else app
    if factory:
        # The user's code, which may raise anything; also if it is not callable at all. No guess is made
        # whether a function is a factory, as uvicorn does by calling it: an app would be called in vain.
        try:
            found = found()
        except Exception as error:
            raise ConfigError(_explain(f"--factory: calling {name} failed", error)) from error
    if not callable(found):
        raise ConfigError(f"app {name} is not callable, but of type {type(found).__name__}")
    if interface == "auto":
        interface = _interface_of(found, name)
    if interface == "wsgi":
        logger.info("Serving %s as a WSGI app, on %d threads", name, wsgi_threads)
        return WSGI(found, wsgi_threads)
    return _from_asgi2(found) if interface == "asgi2" else found


def discover(directory: Path) -> str:
    """The import string of the app that is to be found in `directory`, for a bare `miniasgi`.

    Looks for `app`, `api` or `application`, else a FastAPI object, in the usual modules. `directory` has
    to be on `sys.path` already. ConfigError if there is none, or if a module on the way cannot be
    imported: the app of the next file would not be the one that was meant.
    """
    for file in _FILES:
        if not (directory / file).is_file():
            continue
        module_name = file.removesuffix(".py").replace("/", ".")
        module = _import_module(module_name)
        names = [name for name in _NAMES if callable(getattr(module, name, None))]
        names += [name for name, value in vars(module).items() if _is_fastapi(value)]
        if names:
            return f"{module_name}:{names[0]}"
    raise ConfigError(f"no app named, and none found in {', '.join(_FILES)}: try `miniasgi module:attribute`")


def _is_fastapi(value: Any) -> bool:
    """By the name of its class, or of one above it: FastAPI need not be installed to ask."""
    return any(base.__name__ == "FastAPI" for base in type(value).__mro__)


def import_string(text: str, what: str = "app") -> Any:
    """What `module:attribute` names; the attribute may be one of an attribute, `main:holder.app`.

    `what` stands for it in the sentence of a ConfigError: "app", or the option that it comes from.
    """
    module_name, _, path = text.partition(":")
    if not all(module_name.split(".") + path.split(".")) or "/" in text:
        raise ConfigError(f"{what} {text!r} must be in the form module:attribute, like main:app")
    module = _import_module(module_name)
    try:
        return operator.attrgetter(path)(module)
    except AttributeError as error:
        raise ConfigError(f"{what} {text!r}: {error}") from None


def _import_module(name: str) -> ModuleType:
    """Imports a module; ConfigError for whatever its code raises, and for `sys.exit()`, which scripts call."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        # The module itself, or a package that it is in, is not there; or it is, and imports one that is not.
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            hint = "; leave out the .py" if name.endswith(".py") else ""
            raise ConfigError(f"module {name!r} not found (looked in {sys.path[0] or '.'}){hint}") from None
        raise ConfigError(_explain(f"module {name!r} cannot be imported", error)) from error


def _explain(sentence: str, error: BaseException) -> str:
    """The sentence, then a traceback of the app's frames alone: neither ours nor importlib's.

    uvicorn shows a mistake of one line below some forty of click's and importlib's. Only frames *before* the
    app's first are left out: an app that calls importlib itself is shown as it did.
    """
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_ON_THE_WAY):
        frames = frames.tb_next
    what = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
    report = "".join(traceback.format_exception(error.with_traceback(frames))).rstrip()
    return f"{sentence}: {what}\n{report}"


def _interface_of(app: Callable[..., Any], name: str) -> Interface:
    """Three positional arguments are ASGI 3, one is ASGI 2, and two are WSGI if nobody has to await.

    In this order: what takes any number of arguments is ASGI 3, as almost all apps are. Nothing is
    called; `bind` tells whether a call would fit, with defaults, for classes and for bound methods.
    """
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # written in C, or odd: believe that it knows its business
        return "asgi3"
    counts: dict[Interface, int] = {"asgi3": 3, "asgi2": 1}
    if not (inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__)):
        counts["wsgi"] = 2
    for interface, count in counts.items():
        with contextlib.suppress(TypeError):  # it cannot be called like that
            signature.bind(*range(count))
            return interface
    raise ConfigError(
        f"app {name} takes {signature}, but ASGI 3 apps take (scope, receive, send), "
        "and WSGI apps (environ, start_response); a factory needs --factory"
    )


def _from_asgi2(app: Callable[[Scope], Callable[[Receive, Send], Any]]) -> App:
    """The double callable of ASGI 2 as an ASGI 3 app (A12; ASGI core, "Legacy Applications").

    Called with the scope, it gives what is called with `receive` and `send`, and awaited.
    """

    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return asgi3

"""Import strings, factories, discovery and ASGI 2: each mistake is one sentence that helps."""

import contextlib
import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import miniasgi
from miniasgi.importer import ConfigError, discover, load_app
from miniasgi.types import Receive, Scope, Send

APP = "async def app(scope, receive, send): pass\n"


@contextlib.contextmanager
def importing_from(directory: Path) -> Iterator[Path]:
    """Modules come from `directory`, and are forgotten afterwards."""
    before, path = dict(sys.modules), list(sys.path)
    for name in ("main", "app", "api", "asgi"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        yield directory
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - set(before):
            if str(directory) in str(getattr(sys.modules[name], "__path__", "")) + str(
                getattr(sys.modules[name], "__file__", "")
            ):
                del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty directory to import from."""
    with importing_from(tmp_path):
        yield tmp_path


def write(folder: Path, **sources: str) -> None:
    """Files of Python: `main=...` is main.py, `app__main=...` is app/main.py."""
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)


def mistake(*args: Any, **options: Any) -> str:
    """What `load_app` says about a mistake."""
    with pytest.raises(ConfigError) as caught:
        load_app(*args, **options)
    return str(caught.value)


def assert_only_frames_of(folder: Path, text: str) -> None:
    """A traceback without the way to the app: none of miniasgi, click and importlib."""
    files = re.findall(r'File "([^"]+)"', text)
    assert files
    assert all(Path(file).is_relative_to(folder) for file in files), text


# What can be named:


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """An app as it should be."""


def test_an_app_is_itself() -> None:
    assert load_app(plain) is plain


@pytest.mark.parametrize(
    "name", ["main:app", "main:holder.app", "package.main:app", "with-dash:app", "main:Class.method"]
)
def test_an_import_string_names_a_module_and_an_attribute(name: str, folder: Path) -> None:
    more = "class holder: app = app\nclass Class:\n @staticmethod\n def method(a, b, c): pass\n"
    write(folder, main=APP + more, package__main=APP)
    (folder / "with-dash.py").write_text(APP)
    app = load_app(name)
    assert getattr(app, "__name__", None) in ("app", "method")


def test_a_factory_is_called_for_the_app(folder: Path) -> None:
    write(folder, main=APP + "def make(): return app\n")
    assert load_app("main:make", factory=True) is sys.modules["main"].app


# Mistakes in the words:


@pytest.mark.parametrize(
    "text",
    ["main", "main.py", "", ":", ":app", "main:", ".main:app", "main.:app", "main:app.", "./main:app", "app/main:app"],
)
def test_an_import_string_has_a_module_a_colon_and_an_attribute(text: str) -> None:
    assert mistake(text) == f"app {text!r} must be in the form module:attribute, like main:app"


@pytest.mark.parametrize("name", ["nowhere", "package.nowhere", "main.nowhere", "nowhere.at.all"])
def test_a_module_that_is_not_there_is_said_with_where_we_looked(name: str, folder: Path) -> None:
    write(folder, main=APP, package__main=APP)
    assert mistake(f"{name}:app") == f"module {name!r} not found (looked in {folder})"


def test_the_ending_of_a_file_is_no_part_of_its_module(folder: Path) -> None:
    write(folder, main=APP)
    text = mistake("main.py:app")
    assert text == f"module 'main.py' not found (looked in {folder}); leave out the .py"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("main:nothing", "module 'main' has no attribute 'nothing'"),
        ("main:app.nothing", "'function' object has no attribute 'nothing'"),
        ("main:nothing.app", "module 'main' has no attribute 'nothing'"),
        ("package:app", "module 'package' has no attribute 'app'"),
    ],
)
def test_an_attribute_that_is_not_there_is_said_with_its_place(name: str, reason: str, folder: Path) -> None:
    write(folder, main=APP, package__main=APP)
    assert mistake(name) == f"app {name!r}: {reason}"


# Mistakes in the module:


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("import nowhere", "ModuleNotFoundError: No module named 'nowhere'", id="missing module"),
        pytest.param("import broken.more", "ModuleNotFoundError: No module named 'broken.more'", id="own part"),
        pytest.param("from main import nothing", "ImportError: cannot import name 'nothing'", id="missing name"),
        pytest.param("raise ImportError", "ImportError\nTraceback", id="bare ImportError"),
        pytest.param("raise ModuleNotFoundError('x')", "ModuleNotFoundError: x", id="without a name"),
        pytest.param("app = (", "SyntaxError: '(' was never closed (broken.py, line 1)", id="syntax"),
        pytest.param("def f():\n    1 / 0\nf()", "ZeroDivisionError: division by zero", id="exception"),
        pytest.param("raise KeyError('MODEL')", "KeyError: 'MODEL'", id="key"),
        pytest.param("raise ValueError('one\\ntwo')", "ValueError: one", id="several lines"),
        pytest.param("raise SystemExit('no model')", "SystemExit: no model", id="exit"),
    ],
)
def test_a_module_that_raises_is_shown_with_its_own_frames(source: str, reason: str, folder: Path) -> None:
    write(folder, main=APP, broken=source)
    text = mistake("broken:app")
    assert text.startswith(f"module 'broken' cannot be imported: {reason}")
    assert source.splitlines()[-1] in text
    assert_only_frames_of(folder, text)


def test_the_cause_of_an_exception_is_shown_too(folder: Path) -> None:
    write(folder, broken="try:\n    {}['MODEL']\nexcept KeyError as e:\n    raise ValueError('no model') from e")
    text = mistake("broken:app")
    assert text.startswith("module 'broken' cannot be imported: ValueError: no model\n")
    assert "{}['MODEL']" in text
    assert "direct cause" in text
    assert_only_frames_of(folder, text)


def test_a_module_whose_name_begins_like_ours_is_not_ours(folder: Path) -> None:
    neighbour = Path(miniasgi.__file__).parent.name + "_app"
    write(folder, **{neighbour: "1 / 0"})
    assert "1 / 0" in mistake(f"{neighbour}:app")


# Mistakes in what was found:


async def two(scope: Any, receive: Any) -> Any: ...
def four(a: Any, b: Any, c: Any, d: Any) -> Any: ...
def keyword(scope: Any, receive: Any, send: Any, *, model: Any) -> Any: ...
def make(*, model: Any = None) -> Any: ...


@pytest.mark.parametrize(("app", "kind"), [(3, "int"), ([], "list"), (sys, "module")], ids=["int", "list", "module"])
def test_an_app_is_callable(app: Any, kind: str) -> None:
    assert mistake(app) == f"app {app!r} is not callable, but of type {kind}"


@pytest.mark.parametrize(
    ("app", "signature"),
    [
        pytest.param(lambda: plain, "()", id="0"),
        pytest.param(make, "(*, model: Any = None) -> Any", id="0 and an option"),
        pytest.param(two, "(scope: Any, receive: Any) -> Any", id="2 that is awaited"),
        pytest.param(four, "(a: Any, b: Any, c: Any, d: Any) -> Any", id="4"),
        pytest.param(keyword, "(scope: Any, receive: Any, send: Any, *, model: Any) -> Any", id="3 and a keyword"),
    ],
)
def test_an_app_takes_three_arguments_or_two(app: Any, signature: str) -> None:
    assert mistake(app) == (
        f"app {app!r} takes {signature}, but ASGI 3 apps take (scope, receive, send), "
        "and WSGI apps (environ, start_response); a factory needs --factory"
    )


def test_the_sentence_names_an_app_as_the_user_did(folder: Path) -> None:
    write(folder, main="app = 3")
    assert mistake("main:app") == "app main:app is not callable, but of type int"


def test_a_factory_that_is_not_callable_is_one(folder: Path) -> None:
    write(folder, main="app = 3")
    sentence = "--factory: calling main:app failed: TypeError: 'int' object is not callable"
    assert mistake("main:app", factory=True).startswith(sentence)


def test_a_factory_that_raises_is_shown_with_its_own_frames(folder: Path) -> None:
    write(folder, main="def make():\n    raise ValueError('no model')")
    text = mistake("main:make", factory=True)
    assert text.startswith("--factory: calling main:make failed: ValueError: no model\n")
    assert "in make" in text
    assert_only_frames_of(folder, text)


def test_what_a_factory_returns_is_checked_as_well(folder: Path) -> None:
    write(folder, main="def make(): return 3")
    assert mistake("main:make", factory=True) == "app main:make is not callable, but of type int"


# The interface of an app:


class Three:
    """An app as Starlette is one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


async def anything(*args: Any) -> None: ...
async def optional(scope: Scope, receive: Receive, send: Send, model: Any = None) -> None: ...


@pytest.mark.parametrize(
    "app",
    [plain, Three(), Three().__call__, anything, optional, functools.partial(plain), min],
    ids=["function", "object", "method", "any arguments", "optional", "partial", "without a signature"],
)
def test_ASGI_3_is_recognised_by_its_three_arguments(app: Any) -> None:
    assert load_app(app) is app


class Two:
    """An app of ASGI 2, as Django Channels had them."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await send({"scope": self.scope, "received": await receive()})


async def answer_of(app: Any, scope: Scope) -> Any:
    """What an app sends, once."""
    sent: list[Any] = []

    async def receive() -> Any:
        return "hello"

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]


def two_with_an_option(scope: Scope, model: Any = None) -> Two:
    return Two(scope)


@pytest.mark.parametrize("app", [Two, two_with_an_option], ids=["class", "optional argument"])
async def test_A12_ASGI_2_is_recognised_by_its_one_argument(app: Any) -> None:
    scope = {"type": "http"}
    assert await answer_of(load_app(app), scope) == {"scope": scope, "received": "hello"}


async def test_A12_an_app_may_be_said_to_be_ASGI_2() -> None:
    def app(*args: Any) -> Two:
        return Two(*args)

    scope = {"type": "http"}
    adapted = load_app(app, interface="asgi2")
    assert await answer_of(adapted, scope) == {"scope": scope, "received": "hello"}


def test_an_app_may_be_said_to_be_ASGI_3() -> None:
    assert load_app(two, interface="asgi3") is two


# Discovery:

API = "class FastAPI:\n    def __call__(self, scope, receive, send): ...\nclass Mine(FastAPI): ...\n"


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        pytest.param({"main": APP}, "main:app", id="main.py"),
        pytest.param({"app": APP}, "app:app", id="app.py"),
        pytest.param({"api": "def api(a, b, c): pass"}, "api:api", id="api.py"),
        pytest.param({"app__main": APP}, "app.main:app", id="app/main.py"),
        pytest.param({"app__api": "def application(a, b, c): pass"}, "app.api:application", id="app/api.py"),
        pytest.param({"asgi": "def application(a, b, c): pass"}, "asgi:application", id="Django's asgi.py"),
        pytest.param({"app": APP, "main": APP}, "main:app", id="main.py before app.py"),
        pytest.param({"main": "api = app = print"}, "main:app", id="app before api"),
        pytest.param({"main": "app = 3\napi = print"}, "main:api", id="not what cannot be called"),
        pytest.param({"main": "x = 3", "app": APP}, "app:app", id="the next, if there is none"),
        pytest.param({"main": API + "service = FastAPI()"}, "main:service", id="FastAPI by another name"),
        pytest.param({"main": API + "service = Mine()"}, "main:service", id="a kind of FastAPI"),
    ],
)
def test_an_app_that_nobody_named_is_found(sources: dict[str, str], found: str, folder: Path) -> None:
    write(folder, **sources)
    assert discover(folder) == found


def test_a_real_FastAPI_app_is_found_by_any_name(folder: Path) -> None:
    pytest.importorskip("fastapi")
    write(folder, main="from fastapi import FastAPI\nmy_service = FastAPI()")
    assert discover(folder) == "main:my_service"


@pytest.mark.parametrize("sources", [{}, {"main": "x = 3"}, {"other": APP}], ids=["empty", "no app", "other file"])
def test_if_there_is_none_we_say_where_we_looked(sources: dict[str, str], folder: Path) -> None:
    write(folder, **sources)
    with pytest.raises(ConfigError) as caught:
        discover(folder)
    assert str(caught.value) == (
        "no app named, and none found in main.py, app.py, api.py, app/main.py, app/app.py, "
        "app/api.py, asgi.py: try `miniasgi module:attribute`"
    )


def test_a_module_that_raises_while_we_look_is_shown(folder: Path) -> None:
    write(folder, main="1 / 0", app=APP)
    with pytest.raises(ConfigError, match="module 'main' cannot be imported: ZeroDivisionError") as caught:
        discover(folder)
    assert_only_frames_of(folder, str(caught.value))

"""The command: its options, where their values come from, and what a user sees."""

import dataclasses
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import miniasgi
from miniasgi import Config
from miniasgi.cli import main

from .test_config import CLASSES, without
from .test_importer import APP, importing_from, write
from .test_logs import logging_restored
from .vocabulary import PATIENCE, get, spawned

OPTIONS = {parameter.name: parameter for parameter in main.params if isinstance(parameter, click.Option)}
FIELDS = {field.name: field for field in dataclasses.fields(Config) if field.metadata}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with an app in main.py; afterwards all is as before."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("MINIASGI_") or name == "FORWARDED_ALLOW_IPS":
            monkeypatch.delenv(name)
    write(tmp_path, main=APP)
    with importing_from(tmp_path), logging_restored():
        yield tmp_path


def miniasgi_(*words: str) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(main, words, prog_name="miniasgi")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def check(*words: str) -> dict[str, str]:
    """What `--check` says would run."""
    result = miniasgi_("--check", *words)
    assert result.exit_code == 0, result.output
    return dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines())


def mistake(*words: str, status: int = 1) -> str:
    """The last line that a user sees after a mistake."""
    result = miniasgi_(*words)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


# The options:


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_Config_is_an_option_with_its_default_and_help(name: str) -> None:
    field, option = FIELDS[name], OPTIONS[name]
    flag = f"--{name.replace('_', '-')}"
    assert option.opts == [flag.removesuffix("s") if option.multiple else flag], "one flag for each member"
    assert option.help == field.metadata["help"]
    assert option.help.endswith(".")
    assert option.default == field.default
    assert type(option.default) is type(field.default)


def test_there_is_no_other_option() -> None:
    assert OPTIONS.keys() - FIELDS.keys() == {"check", "version", "server_timing", "unsafe", "xray", "saves"}


def test_without_words_an_option_has_its_default() -> None:
    seen: dict[str, Any] = {}
    command = click.Command("x", params=list(OPTIONS.values()), callback=lambda **options: seen.update(options))
    command.main([], standalone_mode=False)
    for name, field in FIELDS.items():
        assert seen[name] == field.default, name


def test_help_and_version_are_there() -> None:
    result = miniasgi_("--help")
    assert result.exit_code == 0
    assert "--limit-request-head INTEGER" in result.stdout
    assert "[default: 65536]" in result.stdout
    assert "--host TEXT" in result.stdout
    assert "[default: default]" not in result.stdout
    assert "--header NAME:VALUE" in result.stdout
    assert miniasgi_("--version").stdout == f"miniasgi, version {miniasgi.__version__}\n"


# --check, and where values come from:


def test_check_says_what_would_run() -> None:
    rows = check("main:app", "--http", "h11", "--loop", "asyncio", "--log-level", "debug")
    assert rows == {
        "app": "main:app",
        "address": "127.0.0.1:8000",
        "parser": "H11Parser",
        "loop": "asyncio",
        "http": "h11",
        "log_level": "debug",
    }


def test_websockets_can_be_told_how_to_be() -> None:
    words = ["--ws", "none", "--ws-per-message-deflate", "false", "--ws-max-size", "1000", "--ws-max-queue", "1"]
    rows = check("main:app", *words, "--ws-ping-interval", "0", "--ws-ping-timeout", "1.5")
    assert {name: value for name, value in rows.items() if name.startswith("ws")} == {
        "ws": "none",
        "ws_max_size": "1000",
        "ws_max_queue": "1",
        "ws_ping_interval": "0.0",
        "ws_ping_timeout": "1.5",
        "ws_per_message_deflate": "False",
    }
    assert "ws_per_message_deflate" not in check("main:app", "--ws-per-message-deflate", "true", "--ws", "auto")


def test_a_class_can_stand_for_the_parser_and_for_websockets(folder: Path) -> None:
    write(folder, main=APP, mine=CLASSES)
    rows = check("main:app", "--http", "mine:Mine", "--ws", "mine:MyWebSocket")
    assert (rows["parser"], rows["http"], rows["ws"]) == ("Mine", "mine:Mine", "mine:MyWebSocket")
    assert mistake("--check", "main:app", "--ws", "mine:Nope").startswith("--ws 'mine:Nope': ")
    assert mistake("main:app", "--port", "0", "--ws", "mine:Nope").startswith("--ws 'mine:Nope': ")
    assert mistake("main:app", "--ws", "websockets", status=2).startswith(
        "Invalid value for '--ws': 'websockets' is not"
    )
    assert mistake("main:app", "--log-level", "mine:Mine", status=2).startswith("Invalid value for '--log-level'")


@pytest.mark.parametrize(
    ("words", "address"),
    [(["--host", "::", "--port", "9000"], ":::9000"), (["--uds", "app.sock"], "app.sock"), (["--fd", "0"], "fd 0")],
    ids=["host and port", "unix socket", "file descriptor"],
)
def test_check_says_where_and_binds_nothing(words: list[str], address: str, folder: Path) -> None:
    assert check("main:app", *words)["address"] == address
    assert not (folder / "app.sock").exists()


def test_check_does_not_mind_a_busy_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert check("main:app", "--port", str(port))["address"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    "words",
    [["nowhere:app"], ["main:app", "--log-config", "log.json"], ["main:app", "--port", "99999"]],
    ids=["app", "log config", "port"],
)
def test_check_finds_mistakes(words: list[str], folder: Path) -> None:
    (folder / "log.json").write_text("{")
    assert mistake("--check", *words)


def project(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)


def test_the_command_line_wins_over_the_environment_over_the_project_over_the_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [check("main:app")["address"]]
    project(folder, "[tool.miniasgi]\nport = 9001")
    addresses.append(check("main:app")["address"])
    monkeypatch.setenv("MINIASGI_PORT", "9002")
    addresses.append(check("main:app")["address"])
    addresses.append(check("main:app", "--port", "9003")["address"])
    assert addresses == ["127.0.0.1:8000", "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]


@pytest.mark.parametrize(
    ("variable", "value", "row", "shown"),
    [
        ("MINIASGI_APP", "main:app", "app", "main:app"),
        ("MINIASGI_HOST", "0.0.0.0", "address", "0.0.0.0:8000"),
        ("MINIASGI_ACCESS_LOG", "false", "access_log", "False"),
        ("MINIASGI_LOG_LEVEL", "warning", "log_level", "warning"),
        ("MINIASGI_TIMEOUT_KEEP_ALIVE", "2.5", "timeout_keep_alive", "2.5"),
        ("MINIASGI_HEADERS", "A: b c\nD: e", "headers", "(('A', 'b c'), ('D', 'e'))"),
    ],
)
def test_every_option_is_an_environment_variable(
    variable: str, value: str, row: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert check()[row] == shown


def test_every_option_is_a_key_of_the_project(folder: Path) -> None:
    project(
        folder,
        """
        [tool.miniasgi]
        app = "main:app"
        log-level = "debug"
        limit_request_head = 100
        timeout-keep-alive = 2
        access-log = false
        headers = ["A: b", "C: d"]
        log-config = { version = 1 }
        """,
    )
    rows = check()
    assert rows.pop("loop")
    assert rows == {
        "app": "main:app",
        "address": "127.0.0.1:8000",
        "parser": "HttptoolsParser",
        "log_level": "debug",
        "limit_request_head": "100",
        "timeout_keep_alive": "2.0",
        "access_log": "False",
        "headers": "(('A', 'b'), ('C', 'd'))",
        "log_config": "{'version': 1}",
    }


@pytest.mark.parametrize("text", ["", "[tool.ruff]\nline-length = 100"], ids=["empty", "of other tools"])
def test_a_project_need_not_know_us(text: str, folder: Path) -> None:
    project(folder, text)
    assert check("main:app")["address"] == "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prot = 1", "[tool.miniasgi] has no option 'prot'"),
        ("header = ['A:b']", "[tool.miniasgi] has no option 'header'"),
        ("port =", "cannot read the table [tool.miniasgi]: Invalid value (at line 2, column 7)"),
    ],
)
def test_a_mistake_in_the_project_is_one_sentence(text: str, sentence: str, folder: Path) -> None:
    project(folder, f"[tool.miniasgi]\n{text}\n")
    assert mistake("main:app") == f"pyproject.toml: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 'x'", "'--port': 'x' is not a valid integer."),
        ("port = [1]", "'--port': '[1]' is not a valid integer."),
        ("port = 9.5", "'--port': '9.5' is not a valid integer."),
        ("port = true", "'--port': 'True' is not a valid integer."),
        ("timeout-keep-alive = {}", "'--timeout-keep-alive': '{}' is not a valid float."),
        ("loop = 'trio'", "'--loop': 'trio' is not one of 'auto', 'asyncio', 'uvloop'."),
        ("access-log = 'maybe'", "'--access-log'"),
        ("factory = 'maybe'", "'--factory': 'maybe' is not a valid boolean."),
        ("headers = 'A:b'", "'--header': Value must be an iterable."),
        ("headers = 3", "'--header': Value must be an iterable."),
    ],
)
def test_a_value_of_the_project_is_as_it_would_be_on_the_command_line(text: str, sentence: str, folder: Path) -> None:
    project(folder, f"[tool.miniasgi]\n{text}\n")
    assert mistake("main:app", status=2).startswith(f"Invalid value for {sentence.removesuffix('.')}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tool = 3", "'int' object has no attribute 'get'"),
        ("[tool]\nminiasgi = 3", "'int' object has no attribute 'items'"),
        ("[tool", "Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_project_without_tables_is_one_sentence(text: str, reason: str, folder: Path) -> None:
    project(folder, text)
    assert mistake("main:app") == f"pyproject.toml: cannot read the table [tool.miniasgi]: {reason}"


def test_a_project_that_is_no_text_is_one_sentence(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b"\xff")
    assert "'utf-8' codec can't decode byte 0xff" in mistake("main:app")


@pytest.mark.parametrize("value", ["[['A', 'b']]", "[1]"])
def test_a_header_of_the_project_is_text(value: str, folder: Path) -> None:
    project(folder, f"[tool.miniasgi]\nheaders = {value}")
    assert "is not of the form Name:Value" in mistake("main:app", status=2)


def test_FORWARDED_ALLOW_IPS_is_heard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    assert "forwarded_allow_ips" not in check("main:app")
    assert Config("main:app").trusted_peers == "10.0.0.1"
    monkeypatch.setenv("MINIASGI_FORWARDED_ALLOW_IPS", "10.0.0.2")
    assert check("main:app")["forwarded_allow_ips"] == "10.0.0.2"


# Discovery:


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"main": APP}, "main:app"),
        ({"app": APP}, "app:app"),
        ({"api": "async def api(scope, receive, send): pass"}, "api:api"),
        ({"app__main": APP}, "app.main:app"),
        ({"main": "from fastapi import FastAPI\nmy_service = FastAPI()"}, "main:my_service"),
    ],
    ids=["main.py", "app.py", "api.py", "app/main.py", "FastAPI by another name"],
)
def test_an_app_that_nobody_named_is_found_and_said(sources: dict[str, str], found: str, folder: Path) -> None:
    (folder / "main.py").unlink()
    write(folder, **sources)
    result = miniasgi_("--check")
    assert result.stderr == f"INFO:     No app named: running {found}\n"
    assert re.match(rf"app +{found}\n", result.stdout)


def test_an_app_that_nobody_named_is_found_in_the_app_dir(folder: Path) -> None:
    (folder / "main.py").unlink()
    write(folder, src__main=APP)
    assert check("--app-dir", "src")["app"] == "main:app"


def test_if_there_is_no_app_we_say_where_we_looked(folder: Path) -> None:
    (folder / "main.py").unlink()
    assert mistake() == (
        "no app named, and none found in main.py, app.py, api.py, app/main.py, app/app.py, "
        "app/api.py, asgi.py: try `miniasgi module:attribute`"
    )


# Mistakes, each with its sentence:

MISTAKES = [
    ("main", "app 'main' must be in the form module:attribute, like main:app"),
    ("nowhere:app", "module 'nowhere' not found (looked in {folder})"),
    ("main:nothing", "app 'main:nothing': module 'main' has no attribute 'nothing'"),
    ("main:app.nothing", "app 'main:app.nothing': 'function' object has no attribute 'nothing'"),
    ("more:number", "app more:number is not callable, but of type int"),
    (
        "more:make",
        "app more:make takes (), but ASGI 3 apps take (scope, receive, send), "
        "and WSGI apps (environ, start_response); a factory needs --factory",
    ),
    ("main:app --port 99999", "port 99999 is out of range: 0 to 65535"),
    ("main:app --env-file nowhere", "--env-file nowhere: [Errno 2] No such file or directory: 'nowhere'"),
    ("main:app --log-config nowhere.json", "--log-config nowhere.json: [Errno 2] No such file *"),
    ("main:app --log-config broken.json", "--log-config broken.json: Expecting property name *"),
    ("main:app --log-config broken.yaml", "--log-config broken.yaml: while parsing *"),
    ("main:app --log-config broken.ini", "--log-config broken.ini: *no section headers*"),
    ("main:app --uds nowhere/app.sock", "--uds nowhere/app.sock: no such file or directory"),
    ("main:app --uds main.py", "--uds main.py: it exists and is not a socket"),
    ("main:app --fd 987", "--fd 987: bad file descriptor"),
    ("other:app --app-dir nowhere", "module 'other' not found (looked in {folder}/nowhere)"),
    ("main:app --header (a):b", "--header ('(a)', 'b'): invalid header name b'(a)' (RFC 9110 5.1)"),
    ("main:app --timeout-keep-alive -1", "timeout_keep_alive must be at least 0, not -1.0"),
    ("main:app --limit-concurrency 0", "limit_concurrency must be at least 1, not 0"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=lambda text: text[:30])
def test_a_mistake_is_one_sentence(words: str, sentence: str, folder: Path) -> None:
    write(folder, more="number = 3\ndef make(): ...")
    for name in ("broken.json", "broken.yaml", "broken.ini"):
        (folder / name).write_text("{")
    pattern = ".*".join(map(re.escape, sentence.format(folder=folder).split("*")))
    assert re.fullmatch(pattern, mistake("--port", "0", *words.split()))  # bound first, so a free one


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nope"], "No such option"),
        (["--port", "x"], "Invalid value for '--port': 'x' is not a valid integer."),
        (["--loop", "trio"], "Invalid value for '--loop': 'trio' is not one of 'auto', 'asyncio', 'uvloop'."),
        (["--ws", "websockets"], "Invalid value for '--ws': 'websockets' is not one of 'auto', 'wsproto', 'none'."),
        (["--header", "nothing"], "Invalid value for '--header': 'nothing' is not of the form Name:Value"),
    ],
    ids=["unknown option", "no number", "no choice", "no WebSockets of that kind", "no header"],
)
def test_a_mistake_in_the_words_themselves_has_status_2(words: list[str], sentence: str) -> None:
    assert mistake("main:app", *words, status=2).startswith(sentence)


@pytest.mark.parametrize(("flag", "name"), [("--loop", "uvloop"), ("--http", "httptools")])
def test_what_is_not_installed_is_said(flag: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(name, monkeypatch)
    assert mistake("main:app", flag, name) == f"{flag} {name}: {name} is not installed; pip install {name}"


def test_an_env_file_without_its_package_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").touch()
    monkeypatch.setitem(sys.modules, "dotenv", None)
    sentence = "--env-file needs a package: pip install python-dotenv"
    assert mistake("main:app", "--env-file", ".env") == sentence


def test_a_host_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    sentence = "cannot listen on nowhere.invalid:0: name or service not known"
    assert mistake("main:app", "--host", "nowhere.invalid", "--port", "0") == sentence


def test_a_busy_port_is_said_before_the_app_is_imported(folder: Path) -> None:
    write(folder, main="print('imported')")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        sentence = f"cannot listen on 127.0.0.1:{port}: address already in use"
        assert mistake("main:app", "--port", str(port)) == sentence


# The command and `run` in this process:


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How `Server.run` ends: raises what is in it, else returns; `started` as the last one says."""
    plan: list[Any] = []

    def run(self: Any) -> None:
        assert self.config.port == 0
        outcome = plan.pop()
        self.started = outcome is not False
        if isinstance(outcome, BaseException):
            raise outcome

    monkeypatch.setattr(miniasgi.Server, "run", run)
    return plan


@pytest.mark.parametrize(
    ("outcome", "status"), [(True, 0), (KeyboardInterrupt(), 0), (False, 3)], ids=["ended", "Ctrl+C", "not started"]
)
def test_the_status_tells_how_the_server_ended(outcome: Any, status: int, ending: list[Any]) -> None:
    ending.append(outcome)
    assert miniasgi_("main:app", "--port", "0").exit_code == status


@pytest.mark.parametrize("outcome", [True, KeyboardInterrupt()], ids=["ended", "Ctrl+C"])
def test_run_returns_when_the_server_has_ended(outcome: Any, ending: list[Any]) -> None:
    ending.append(outcome)
    miniasgi.run("main:app", port=0)


def test_run_exits_with_3_if_the_app_cannot_start(ending: list[Any]) -> None:
    ending.append(False)
    with pytest.raises(SystemExit) as caught:
        miniasgi.run("main:app", port=0)
    assert caught.value.code == 3


def test_run_exits_with_a_sentence_for_a_mistake() -> None:
    with pytest.raises(SystemExit) as caught:
        miniasgi.run("main:app", port=-1)
    assert caught.value.code == "Error: port -1 is out of range: 0 to 65535"


def test_the_package_can_be_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("miniasgi", run_name="__main__", alter_sys=False)
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"miniasgi, version {miniasgi.__version__}\n"


# What a user sees, in processes of their own:


def shell(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


SCRIPT = str(Path(sys.executable).with_name("miniasgi"))


@pytest.mark.parametrize("command", [[sys.executable, "-m", "miniasgi"], [SCRIPT]], ids=["module", "script"])
def test_the_command_finds_the_app_in_the_current_directory(command: list[str]) -> None:
    done = shell(*command, "--check")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "INFO:     No app named: running main:app\n"
    assert re.match(r"app +main:app\n", done.stdout)


@pytest.mark.parametrize(
    ("source", "words", "sentence"),
    [
        ("import nowhere", ["main:app"], "module 'main' cannot be imported: ModuleNotFoundError: No module named"),
        (
            "def make():\n    1 / 0",
            ["main:make", "--factory"],
            "--factory: calling main:make failed: ZeroDivisionError: ",
        ),
    ],
    ids=["import", "factory"],
)
def test_an_error_of_the_app_shows_its_own_frames_alone(
    source: str, words: list[str], sentence: str, folder: Path
) -> None:
    write(folder, main=source)
    done = shell(sys.executable, "-m", "miniasgi", *words, "--port", "0")
    assert done.returncode == 1
    first, *rest = done.stderr.partition("Error: ")[2].splitlines()
    assert first.startswith(sentence)
    assert [line for line in rest if line.startswith("  File ")] == [
        f'  File "{folder / "main.py"}", line {len(source.splitlines())}, in '
        + ("make" if "--factory" in words else "<module>")
    ]


def test_a_mistake_in_a_process_is_the_same_sentence() -> None:
    done = shell(sys.executable, "-m", "miniasgi", "nowhere:app", "--port", "0")
    assert done.returncode == 1
    assert done.stdout == ""
    log, error = done.stderr.splitlines()
    assert re.fullmatch(r"INFO: +Started server process \[\d+\]", log)
    assert error == f"Error: module 'nowhere' not found (looked in {Path.cwd()})"


def test_a_server_says_where_it_runs_and_stops_on_Ctrl_C(folder: Path) -> None:
    source = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
"""
    with spawned(folder, source, "--lifespan", "off") as server:
        client = server.connect()
        assert client.ask(get("/x")).body == b"ok"
        server.signal(signal.SIGINT)
        assert server.join() == 0
    lines = [re.sub(r"\d+", "N", line) for line in server.log.splitlines()]
    assert lines == [
        "INFO:     Started server process [N]",
        "INFO:     miniasgi running on http://N.N.N.N:N (Press CTRL+C to quit)",
        "INFO:     Shutting down",
        "INFO:     Finished server process [N]",
    ]
    assert re.fullmatch(r'INFO: +127\.0\.0\.1:\d+ - "GET /x HTTP/1\.1" 200 OK \d+\.\dms 2B\n', server.output)

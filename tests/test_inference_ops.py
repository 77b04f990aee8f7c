"""What surrounds the inference app: README, Dockerfile and Kubernetes objects agree with app and server."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from examples.inference.main import create_app
from examples.inference.settings import Settings
from miniasgi import Config

from .fake_engine import FakeEngine
from .test_inference import Letters
from .vocabulary import Running, get, serving, spawned

ROOT = Path(__file__).parent.parent
HERE = ROOT / "examples" / "inference"
README = (HERE / "README.md").read_text()
DOCKERFILE = (HERE / "Dockerfile").read_text()
STREAMS = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await receive()
        await receive()
"""
ENGINE_STOP = 5.0  # seconds that engine.close() may take


def fake_app(engine: FakeEngine | None = None) -> Any:
    return create_app(Settings(), engine or FakeEngine(), Letters())


def directive(name: str) -> list[str]:
    """The arguments of a directive in its exec form, which gets signals: no shell is in between."""
    [found] = re.findall(rf"^{name} (?:CMD )?(\[.+\])$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {item["kind"]: item for item in yaml.safe_load_all((HERE / "k8s.yaml").read_text())}


@pytest.fixture(scope="module")
def container(objects: dict[str, Any]) -> Any:
    [found] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_images_command_runs_with_what_is_copied(tmp_path: Path) -> None:
    for *sources, target in (line.split() for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)):
        for source in sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / (target if copy is shutil.copytree else ""))
    program, *arguments = directive("^CMD")
    assert program == "miniasgi"
    command = [sys.executable, "-m", "miniasgi", *arguments, "--check"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    assert "0.0.0.0:8000" in ran.stdout
    assert re.search(r"^EXPOSE 8000$", DOCKERFILE, re.MULTILINE)


def test_the_image_is_run_by_nobody_special(objects: dict[str, Any]) -> None:
    [user] = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0, "a number: with a name, Kubernetes could not tell that it is not root"
    assert objects["Deployment"]["spec"]["template"]["spec"]["securityContext"] == {"runAsNonRoot": True}


def test_the_healthcheck_tells_an_app_from_none() -> None:
    python, flag, code = directive("HEALTHCHECK")
    assert (python, flag) == ("python", "-c")
    with serving(fake_app()) as server:
        command = [sys.executable, "-c", code.replace(":8000", f":{server.port}")]
        subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 1


def test_ports_and_labels_meet(objects: dict[str, Any], container: Any) -> None:
    [port] = [port["containerPort"] for port in container["ports"]]
    service = objects["Service"]["spec"]
    pod = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert port == Config("x:y").port
    assert [entry["targetPort"] for entry in service["ports"]] == [port]
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {port}
    assert service["selector"] == objects["Deployment"]["spec"]["selector"]["matchLabels"] == pod


def test_the_probes_tell_loading_from_dead(container: Any) -> None:
    """While the model is loaded, and when its engine has died, a pod is alive, but gets no requests."""
    engine = FakeEngine()
    with TestClient(fake_app(engine)) as client:
        alive, ready = (container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe"))
        assert [client.get(alive).status_code, client.get(ready).status_code] == [200, 200]
        engine.trouble = "the model is being loaded"
        assert [client.get(alive).status_code, client.get(ready).status_code] == [200, 503]


def test_a_pod_gets_the_time_that_its_server_needs(objects: dict[str, Any], container: Any) -> None:
    grace = objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace > pause + Config("x:y").timeout_graceful_shutdown + ENGINE_STOP


def test_a_server_that_was_told_to_stop_refuses_new_clients(tmp_path: Path) -> None:
    """Why there is a preStop: its pod may get some for a moment after that."""
    with spawned(tmp_path, STREAMS) as server:
        client = server.connect().send(get())
        client.read_until(b"begun")
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for 1 connections")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])))


def test_a_pod_has_one_gpu(container: Any) -> None:
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


# The README:

SHOWN = "".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
COMMANDS = re.findall(r"^\$ (.+)\n((?:[^$].*\n|\n)*)", SHOWN, re.MULTILINE)
SAID = "ASGI is the Asynchronous Server Gateway Interface: and so on."


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    engine = FakeEngine(*re.findall(r"\S+ ?", SAID))
    engine.name = "miniasgi-1m"
    with serving(fake_app(engine)) as server:
        yield server


@pytest.mark.parametrize("command, output", COMMANDS, ids=[command[-40:] for command, _ in COMMANDS])
def test_each_command_prints_what_is_shown(site: Running, command: str, output: str) -> None:
    command = command.replace(":8000", f":{site.port}")
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    shown = ".*".join(map(re.escape, output.rstrip().split("…")))
    assert re.fullmatch(shown, ran.stdout.rstrip(), re.DOTALL), ran.stdout


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_runs(site: Running, code: str) -> None:
    code = code.replace(":8000", f":{site.port}")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == SAID


def test_the_readme_shows_something() -> None:
    assert len(COMMANDS) >= 4
    assert "```python" in README


def test_the_api_table_is_the_api() -> None:
    told = set(re.findall(r"^\| `(\w+) (/\S*)` \|", README, re.MULTILINE))
    app = fake_app()
    served = {(method.upper(), path) for path, found in app.openapi()["paths"].items() for method in found}
    assert told == served | {("GET", "/"), ("WS", "/v1/chat/ws")}


def test_the_settings_table_is_the_settings() -> None:
    told = dict(re.findall(r"^\| `APP_(\w+)` \| `?(.*?)`? \|", README, re.MULTILINE))
    fields = {name.upper(): str(field.default) for name, field in Settings.model_fields.items()}
    assert told.keys() == fields.keys()
    assert fields | {"MODEL": "the shipped one", "API_KEY": "none"} == told


def test_the_readme_leads_through_every_file() -> None:
    linked = {name for name in re.findall(r"\]\(([^)#:]+)\)", README) if "/" not in name}
    missing = {path.name for path in HERE.iterdir() if path.is_file()} - linked
    assert missing == {"README.md", "__init__.py"}
    assert all((HERE / name).exists() for name in linked)


def test_the_commands_of_the_readme_name_apps_that_there_are() -> None:
    for module, name in re.findall(r"(examples\.[\w.]+):(\w+)", README):
        assert re.search(rf"^{name} = ", (ROOT / f"{module.replace('.', '/')}.py").read_text(), re.MULTILINE)

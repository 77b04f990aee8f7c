"""What README.md and docs/usage.md show is run, and must print what they show."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.ladder.probes import PROBES

from .test_ladder import PASSES
from .vocabulary import Running, serving

ROOT = Path(__file__).parent.parent
README, USAGE = (ROOT / "README.md").read_text(), (ROOT / "docs/usage.md").read_text()
SHOWN = re.search(r"```console\n(\$ curl.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", SHOWN[1] if SHOWN else "", re.MULTILINE)


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    with serving("examples.hello.main:app") as server:
        yield server


@pytest.mark.parametrize("command, output", COMMANDS, ids=[command for command, _ in COMMANDS])
def test_each_command_prints_what_is_shown(demo: Running, command: str, output: str) -> None:
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{demo.port}")
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    assert ran.stdout.rstrip() == output.rstrip()


def test_there_are_commands_to_run() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README + USAGE, re.DOTALL))
def test_the_python_runs(code: str) -> None:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, "Hello"), ran.stderr


@pytest.mark.parametrize("app", re.findall(r"miniasgi (examples\.[\w.]+:\w+)", README))
def test_the_examples_it_names_would_run(app: str) -> None:
    command = [sys.executable, "-m", "miniasgi", app, "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert ran.returncode == 0, ran.stderr


def test_the_files_it_names_exist() -> None:
    for name in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / name).exists(), name
    order = re.search(r"In this order .*?: (.*?); then", README, re.DOTALL)
    assert order
    names = iter(re.findall(r"`(\w+)`", order[1]))
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    for layer in reversed(contract):
        if layer not in ("__main__", "xray", "compare"):
            modules = layer.split(" | ")
            assert {next(names) for _ in modules} == set(modules)


def test_it_tells_the_numbers_that_are_kept() -> None:
    """Lines and probes stand in README by hand, and are counted elsewhere."""
    counted = re.search(r"^CEILING = (\d+)", (ROOT / "scripts/lines.py").read_text(), re.MULTILINE)
    assert counted
    assert f"| lines of code, the server alone | {int(counted[1]):,} Python |" in README
    passed = [
        len(PASSES[server]) for server in ("miniasgi-httptools", "miniasgi-h11", "uvicorn-httptools", "uvicorn-h11")
    ]
    assert f"{len(PROBES)} probes: httptools, h11 | {passed[0]}, {passed[1]} | {passed[2]}, {passed[3]} |" in README
    assert len(README.splitlines()) < 200

"""The processes that `benchmarks.inference` measures, and looks at them from outside."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .servers import NAMED, free_ports
from .tree import ROOT, Tree


@contextlib.contextmanager
def served(
    server: str, app: str, *options: str, cpu: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Tree, int]]:
    """A server of an app of `streams`, and its port."""
    [port] = free_ports()
    line = NAMED[server].line(f"benchmarks.streams:{app}", port)
    with Tree([*line, *options], cpu, None, environment) as tree:
        yield tree, port


def look(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
        return json.load(reply)


def wait_until(condition: Callable[[], Any], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise SystemExit("It takes too long.")
        time.sleep(0.002)


@contextlib.contextmanager
def engine_alone(environment: dict[str, str]) -> Iterator[Callable[[int, int, int], float]]:
    """A function that gives the tokens per second of the engine for so many clients, without any server."""
    command, pipe = [sys.executable, "-m", "benchmarks.streams"], subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, text=True, bufsize=1, stdin=pipe, stdout=pipe
    ) as process:
        asking, answering = process.stdin, process.stdout
        assert asking is not None
        assert answering is not None

        def ask(clients: int, answers: int, tokens: int) -> float:
            print(clients, answers, tokens, file=asking)
            return float(answering.readline())

        yield ask
        asking.close()


@contextlib.contextmanager
def gpu_busy(found: list[float]) -> Iterator[None]:
    """Percent of the time in which the GPU did anything, as nvidia-smi samples it."""
    if shutil.which("nvidia-smi") is None:
        yield
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield
        finally:
            process.terminate()
            found += [float(line) for line in process.communicate()[0].split()]

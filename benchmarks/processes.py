"""The processes that `benchmarks.inference` measures, and looks at them from outside."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def served(server: str, app: str, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process of a server, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", server, f"benchmarks.streams:{app}", "--port", str(port), *options]
    command += ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, start_new_session=True)
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def look(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
        return json.load(reply)


def connected(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


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

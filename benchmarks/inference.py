"""`python -m benchmarks.inference`: what the server takes and gives when the work is a language model's.

1. The inference app on miniasgi and on uvicorn (both with httptools and uvloop), side by side: both run, and get the
   same load in turns. 1, 8, 32 connections (--many: 64 and 256 too) that are kept alive ask for streamed answers of
   64 tokens each, one after the other. From the client's side: requests per second; TTFT, from the last byte sent to
   the first text received; the time between events with text. From inside: how late the event loop runs what is due.
   And the tokens per second as a share of what the engine gives alone, without any server, in the same turn.
2. Streams of which the clients hang up after the first text, all at once: the time until the engine has no request
   any more.
3. Without a model: CPU time of the server process per streamed token (200 tokens on 32 connections), for a bare ASGI
   app and for the inference app with an engine that takes no time. In turns against uvicorn, as ratios, turn by turn;
   uvicorn against itself is the noise.

On a machine with CUDA, --cuda-8b takes random weights in the shape of an 8B Llama, and the GPU's busy time is shown.
--write puts it all into benchmarks/results/inference.md.
"""

import argparse
import asyncio
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .load import connect
from .models import FULL_8B, endless, has_cuda, random_model
from .processes import engine_alone, gpu_busy, look, served, wait_until
from .streams import ASKED, TOKENS
from .tree import ROOT, Tree

SERVERS = ("miniasgi", "uvicorn")
LENGTH = 64  # tokens of an answer


# The clients:


def request(**changes: Any) -> bytes:
    """For a streamed answer; always the likeliest token, so that every server has the same work."""
    asked = {"messages": ASKED, "stream": True, "temperature": 0, "max_tokens": LENGTH, **changes}
    body = json.dumps(asked).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Seen:
    """What the clients of one server saw, over all turns. Seconds."""

    rates: list[float] = field(default_factory=list)  # of each turn, requests per second
    shares: list[float] = field(default_factory=list)  # of the engine's tokens per second alone
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # percent of the GPU


def answers(concurrency: int) -> int:
    """That each client asks for in a turn."""
    return max(1, 16 // concurrency)


async def client(port: int, data: bytes, count: int, seen: Seen) -> None:
    """Asks on one connection, again and again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(data)
        last, is_first = time.perf_counter(), True
        while (event := await reader.readuntil(b"\n\n")) and b"data: [DONE]" not in event:
            assert b'"error"' not in event, event
            if b'{"content": "' in event and b'"role"' not in event:
                now = time.perf_counter()
                (seen.first if is_first else seen.between).append(now - last)
                last, is_first = now, False
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def turn(port: int, data: bytes, concurrency: int, seen: Seen) -> None:
    began = time.perf_counter()
    await asyncio.gather(*[client(port, data, answers(concurrency), seen) for _ in range(concurrency)])
    seen.rates.append(concurrency * answers(concurrency) / (time.perf_counter() - began))


# 1 and 2: with a model


def with_model(model: str, levels: Sequence[int], turns: int) -> Iterator[str]:
    """The lines of the tables."""
    environment = {"APP_MODEL": model, "APP_MAX_REQUESTS": str(max(64, *levels))}
    data = request(model=model.rstrip("/").rpartition("/")[2])
    long = request(model=model.rstrip("/").rpartition("/")[2], max_tokens=400)
    yield "| clients | server | req/s (range) | of the engine | TTFT p50 | p99 | between p99 | loop late p99 | GPU |"
    yield "|---|---|---|---|---|---|---|---|---|"
    with contextlib.ExitStack() as stack:
        alone, ports = stack.enter_context(engine_alone(environment)), {}
        for server in SERVERS:
            _, ports[server] = stack.enter_context(served(server, "watched", "--factory", environment=environment))
        for port in ports.values():
            wait_until(partial(look, port, "/ready"), 900)
        for level in levels:
            seen = {server: Seen() for server in SERVERS}
            for number in range(turns + 1):
                most = alone(level, answers(level), LENGTH)
                for server in SERVERS if number % 2 else reversed(SERVERS):
                    one = seen[server] if number else Seen()  # the first is to warm up
                    look(ports[server], "/inside")
                    with gpu_busy(one.busy):
                        asyncio.run(turn(ports[server], data, level, one))
                    one.shares.append(one.rates[-1] * LENGTH / most)
                    one.late += look(ports[server], "/inside")["late"]
            for server in SERVERS:
                yield row(level, server, seen[server])
        yield ""
        yield f"| clients that hang up at once | server | engine free after: median of {turns} (range) |"
        yield "|---|---|---|"
        for level in levels[1:]:
            for server in SERVERS:
                times = [asyncio.run(hang_up(ports[server], long, level)) * 1e3 for _ in range(turns)]
                yield f"| {level} | {server} | {spread(times, '.0f')} ms |"


def row(level: int, server: str, seen: Seen) -> str:
    parts = ((seen.first, 0.5), (seen.first, 0.99), (seen.between, 0.99), (seen.late, 0.99))
    times = [f"{share(values, part) * 1e3:.1f} ms" for values, part in parts]
    busy = f"{statistics.mean(seen.busy):.0f} % busy" if seen.busy else "no CUDA here"
    cells = [str(level), server, spread(seen.rates, ".1f"), spread(seen.shares, ".0%"), *times, busy]
    return f"| {' | '.join(cells)} |"


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def spread(values: Sequence[float], how: str) -> str:
    return f"{statistics.median(values):{how}} ({min(values):{how}} to {max(values):{how}})"


async def hang_up(port: int, data: bytes, count: int) -> float:
    """All clients leave after the first text: seconds until the engine works for nobody."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in streams:
        writer.write(data)
    for reader, _ in streams:
        await reader.readuntil(b'"delta": {"content": "')
    assert look(port, "/inside")["working"] == count
    began = time.perf_counter()
    for _, writer in streams:
        writer.transport.abort()
    await asyncio.sleep(0)
    wait_until(lambda: look(port, "/inside")["working"] == 0, 60)
    return time.perf_counter() - began


# 3: without a model


def without_model(turns: int) -> Iterator[str]:
    yield "| app | server | us/token | uvicorn's | ratio (range) |"
    yield "|---|---|---|---|---|"
    data = request(model="model")
    for app, options in (("bare", ("--lifespan", "off")), ("fake", ("--factory",))):
        for server in SERVERS:
            ours, theirs = [], []
            with served(server, app, *options, cpu=0) as one, served("uvicorn", app, *options, cpu=0) as other:
                for _ in range(turns + 1):
                    ours.append(cpu_of_a_token(*one, data))
                    theirs.append(cpu_of_a_token(*other, data))
            ratios = [a / b for a, b in zip(ours[1:], theirs[1:], strict=True)]
            medians = f"{statistics.median(ours):.1f} | {statistics.median(theirs):.1f}"
            yield f"| {app} | {server} | {medians} | {spread(ratios, '.2f')} |"


def cpu_of_a_token(tree: Tree, port: int, data: bytes, connections: int = 32) -> float:
    """Microseconds of user and system time. Reads late: the answers wait in the kernel."""
    sockets = [connect(port) for _ in range(connections)]
    before = tree.cpu()
    for sock in sockets:
        sock.sendall(data)
    for sock in sockets:
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += (piece := sock.recv(1 << 20))
            assert piece, answer
        assert answer.count(b'"content": " word"') == TOKENS, answer
    taken = tree.cpu() - before
    for sock in sockets:
        sock.close()
    return taken * 1e6 / (TOKENS * connections)


# The report:


def machine() -> Iterator[str]:
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    names = ("miniasgi", "uvicorn", "uvloop", "httptools", "fastapi", "starlette", "torch", "transformers")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    cpus = f"{os.cpu_count()} CPUs ({cpu[1] if cpu else '?'})"
    yield f"- {datetime.date.today()}, {platform.system()} {platform.machine()}, {cpus}"
    yield f"- Python {platform.python_version()}, {versions}"
    yield f"- load of the machine as it began: {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="examples/inference/miniasgi-1m", help="a directory or an id")
    parser.add_argument("--cuda-8b", action="store_true", help="random weights in the shape of an 8B Llama")
    parser.add_argument("--many", action="store_true", help="64 and 256 clients, too")
    parser.add_argument("--turns", type=int, default=10, help="of each measurement (10)")
    parser.add_argument("--note", default="", help="a sentence about the machine, for the report")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/inference.md")
    asked = parser.parse_args()
    levels = (1, 8, 32, 64, 256) if asked.many else (1, 8, 32)
    lines = []

    def tell(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    if asked.cuda_8b and not has_cuda():
        raise SystemExit("No CUDA here.")
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(folder, "cuda", FULL_8B) if asked.cuda_8b else asked.model
        if (ROOT / model).is_dir() and not asked.cuda_8b:
            model = endless(ROOT / model, folder)
        title = "random weights in the shape of an 8B Llama, bf16" if asked.cuda_8b else asked.model
        for line in (f"# The inference app: {title}", "", *machine(), *([f"- {asked.note}"] if asked.note else [])):
            tell(line)
        for heading, part in (
            ("With the model", with_model(model, levels, asked.turns)),
            ("Without a model: server CPU per streamed token", without_model(asked.turns)),
        ):
            tell(f"\n## {heading}\n")
            for line in part:
                tell(line)
    if asked.write:
        target = ROOT / "benchmarks/results/inference.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

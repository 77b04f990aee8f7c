"""Asks a server of the ladder, or a real one, all that `probes.py` knows, and tells how it did.

python -m examples.ladder.score            # the six rungs
python -m examples.ladder.score 4          # one of them, probe by probe
python -m examples.ladder.score miniasgi uvicorn
"""

import argparse
import concurrent.futures
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

from .client import Client
from .probes import PROBES, Probe

HERE = Path(__file__).parent
APP = "examples.ladder.mirror:app"
PATIENCE = 1.0  # seconds: what passes takes milliseconds
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


def commands() -> dict[str, list[str]]:
    """How each server is started, by its name."""
    found = {}
    for path in sorted(HERE.glob("0*_*.py")):
        number = path.name[1]
        found[number] = [str(path.relative_to(HERE.parent.parent)), *([] if number == "1" else [APP]), "--port", "0"]
    for server in ("miniasgi", "uvicorn"):
        for parser in ("httptools", "h11"):
            found[f"{server}-{parser}"] = ["-m", server, APP, "--port", "0", "--http", parser]
    return found


COMMANDS = commands()


class Process:
    """A server that runs until it is told to stop."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *COMMANDS[name]],
            cwd=HERE.parent.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.patience = PATIENCE
        self.lines: list[str] = []
        assert self.process.stdout
        self.output = self.process.stdout
        for line in self.output:
            self.lines.append(line)
            if found := URL.search(line):
                self.port = int(found[1])
                break
        else:
            raise RuntimeError(f"{name} did not start:\n{''.join(self.lines)}")
        self.reader = threading.Thread(target=self.lines.extend, args=(self.output,))
        self.reader.start()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.output.close()

    def connect(self) -> Client:
        return Client(self.port, self.patience)

    def stop(self) -> str:
        self.process.terminate()
        self.process.wait(self.patience)
        self.reader.join()
        return "".join(self.lines)


def name_of(probe: Probe) -> str:
    return probe.__name__.replace("_", " ").replace("1 0", "1.0")


def score(name: str, patience: Callable[[str], float] = lambda probe: PATIENCE) -> dict[str, str]:
    """What is wrong with a server, by probe: "" for one that it passes."""
    results = {}
    with Process(name) as server:
        for probe in PROBES:
            server.patience = patience(name_of(probe))
            results[name_of(probe)] = attempt(probe, server)
    return results


def attempt(probe: Probe, server: Process) -> str:
    try:
        probe(server)
    except (AssertionError, OSError, EOFError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return repr(error)
    return ""


def title(name: str) -> str:
    return f"rung {name}" if name.isdigit() else name


def show(name: str, results: dict[str, str], why: bool) -> None:
    """One server: what it fails, and if asked for, what would be right, and what came instead."""
    failed = [probe for probe in PROBES if results[name_of(probe)]]
    print(f"{title(name)}: {len(results) - len(failed)}/{len(results)}" + (", fails:" if failed else ""))
    if why:
        for probe in failed:
            print(f"  {name_of(probe)}\n    {probe.__doc__}\n    {results[name_of(probe)][:100]}")
    else:
        print(textwrap.fill(", ".join(map(name_of, failed)), 100, initial_indent="  ", subsequent_indent="  "))


def show_table(scores: dict[str, dict[str, str]]) -> None:
    """Several servers: what each of them passes."""
    for place, name in enumerate(scores):
        print(f"{'':<44} {'| ' * place}{title(name)}")
    for probe in map(name_of, PROBES):
        print(f"{probe:<44}", *("." if results[probe] else "+" for results in scores.values()))
    print(f"{f'passed, of {len(PROBES)}':<44}", *(list(results.values()).count("") for results in scores.values()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.ladder.score", description="How do the servers do?")
    parser.add_argument("servers", nargs="*", default=[], help=f"of {', '.join(COMMANDS)}; default: the rungs")
    parser.add_argument("--why", action="store_true", help="of one server: what ought to be, and what came instead")
    options = parser.parse_args(arguments)
    names = options.servers or [name for name in COMMANDS if name.isdigit()]
    if unknown := set(names) - set(COMMANDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        scores = dict(zip(names, pool.map(score, names), strict=True))
    if len(scores) == 1:
        show(names[0], scores[names[0]], options.why)
    else:
        show_table(scores)


if __name__ == "__main__":
    main()

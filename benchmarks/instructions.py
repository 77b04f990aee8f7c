"""How many instructions a request takes in user space, as callgrind counts them.

A noisy machine does not change that number, nor does one that is busy; what the kernel does is not in it, and
instructions differ in time. `perf stat` would count the same at full speed, but few virtual machines let it. Only
for servers of one process.
"""

import re
import shutil
import socket
import subprocess
from dataclasses import dataclass

from .load import connect
from .servers import Server, free_ports
from .tree import Tree
from .workloads import PATIENCE, WORKLOADS, Workload

COUNTED = ("plaintext", "20 headers", "FastAPI POST")
_VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null")
_WARM, _REQUESTS = 100, 200  # to fill caches; to count


@dataclass
class Count:
    """Of one server in one workload."""

    workload: str
    server: str
    reference: str
    instructions: float  # per request


def is_possible() -> bool:
    return bool(shutil.which("valgrind") and shutil.which("callgrind_control"))


def measure(name: str, server: Server) -> Count:
    """Starts the server anew. Strings have the same hashes in each, and so their dictionaries the same collisions."""
    workload, [port] = WORKLOADS[name], free_ports()
    command = [*_VALGRIND, *server.line(f"benchmarks.{workload.app}", port)]
    with Tree(command, environment={"PYTHONHASHSEED": "0"}) as tree, connect(port) as sock:
        _ask(workload, sock, _WARM)
        _control(tree, "--instr=on")
        before = _counted(tree)
        _ask(workload, sock, _REQUESTS)
        spent = _counted(tree) - before
    return Count(name, server.name, server.reference, spent / _REQUESTS)


def _ask(workload: Workload, sock: socket.socket, count: int) -> None:
    for _ in range(count):
        sock.sendall(workload.request)
        workload.read(sock)


def _counted(tree: Tree) -> int:
    """By all threads so far."""
    threads = re.findall(r"Th \d+ +([\d,]+)", _control(tree, "-e"))
    return sum(int(number.replace(",", "")) for number in threads)


def _control(tree: Tree, what: str) -> str:
    command = ["callgrind_control", what, str(tree.process.pid)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def table(counts: list[Count]) -> str:
    """As Markdown."""
    found = {(count.workload, count.server): count.instructions for count in counts}
    lines = ["| workload | server | instructions per request | ratio | to |", "|---|---|---|---|---|"]
    for count in counts:
        reference = found.get((count.workload, count.reference))
        ratio = f"{count.instructions / reference:.2f}" if reference else "-"
        lines.append(f"| {count.workload} | {count.server} | {count.instructions:,.0f} | {ratio} | {count.reference} |")
    return "\n".join(lines)

"""Chapter 15: patience, and a supervisor without processes."""

from collections.abc import Sequence
from typing import Any


def fate(pipe: Any, patience: float) -> str:
    try:
        while pipe.poll(patience):
            if pipe.recv_bytes() == b"worn":
                return "worn"
    except (EOFError, OSError):
        return "gone"
    return "silent"


def step(workers: Sequence[Any], count: int) -> tuple[str, Any] | None:
    staying = [worker for worker in workers if worker.state != "stopping"]
    for worker in staying:
        if worker.replaces in staying and worker.state == "running":
            return "stop", worker.replaces
    coming = [worker for worker in staying if worker.replaces in staying]
    staying = [worker for worker in staying if worker not in coming]
    if len(staying) > count:
        return "stop", staying[-1]
    if len(staying) < count:
        return "start", None
    worn = [worker for worker in staying if worker.worn and worker.state == "running"]
    return ("start", worn[0]) if worn and not coming else None

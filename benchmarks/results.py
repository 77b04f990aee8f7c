"""What was measured, kept as JSON: read, and joined with what was measured before. Knows no table and no plot."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .idle import Idle
from .instructions import Count
from .measure import Row
from .workloads import WORKLOADS

IDLE, INSTRUCTIONS = "idle", "instructions"  # the parts that are no workload
_PACKAGES = (
    *("miniasgi", "uvicorn", "hypercorn", "granian", "daphne", "gunicorn", "fastapi", "pydantic"),
    *("httptools", "h11", "uvloop", "wsproto", "websockets", "zttp"),
)


def circumstances() -> str:
    """Where and when, and of which versions."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    machine = f"{models[0] if models else platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {machine}; {', '.join(versions)}"


@dataclass
class Results:
    """Of one run, or of several: each part has its circumstances."""

    workloads: dict[str, list[Row]] = field(default_factory=dict)
    idles: list[Idle] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """None, if there is no such file."""
        data = json.loads(path.read_text()) if path.exists() else asdict(cls())
        return cls(
            {name: [Row(**row) for row in rows] for name, rows in data["workloads"].items()},
            [Idle(**idle) for idle in data["idles"]],
            [Count(**count) for count in data["counts"]],
            data["where"],
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def after(self, earlier: "Results") -> "Results":
        """Both; of a server that was measured again in a workload, only that counts."""
        rows = {
            name: {row.server: row for found in (earlier, self) for row in found.workloads.get(name, [])}
            for name in WORKLOADS
        }
        return Results(
            {name: list(found.values()) for name, found in rows.items() if found},
            self.idles or earlier.idles,
            self.counts or earlier.counts,
            earlier.where | self.where,
        )

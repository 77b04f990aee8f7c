"""The figures of a run, for people and for programs: Markdown, JSON, a plot."""

import json
import os
import platform
import statistics
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import idle
from .measure import AGAIN, Row

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    *("miniasgi", "uvicorn", "hypercorn", "granian", "daphne", "gunicorn", "fastapi", "pydantic"),
    *("httptools", "h11", "uvloop", "wsproto", "websockets", "zttp"),
)


def circumstances() -> dict[str, Any]:
    """Where and when, and of which versions."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{models[0] if models else platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "versions": versions,
    }


def claim(row: Row) -> str:
    """A ratio with its range, if it is more than noise."""
    if row.server == row.reference:
        return "1"
    spread = f"({min(row.ratios):.2f}-{max(row.ratios):.2f})"
    return f"as {row.reference} {spread}" if row.is_noise else f"**{row.ratio:.2f}** {spread}"


def markdown(where: dict[str, Any], found: dict[str, list[Row]], idles: list[idle.Idle]) -> str:
    """All tables."""
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    text = [
        f"Measured {where['date']}, Python {where['python']}, {where['machine']}.",
        f"{versions}.",
        "",
        "CPU is user and system time of the whole process tree per request. The ratio is to the reference's",
        "neighbouring slices: median, least and most. `noise` is the reference against itself in the same run;",
        "what lies within it is no difference, and is not claimed as one.",
    ]
    for name, rows in found.items():
        text += [
            "",
            f"## {name}",
            "",
            "| server | CPU us/request | ratio | noise | requests/s | p50 ms | p99 ms | MiB |",
        ]
        text.append("|---|---|---|---|---|---|---|---|")
        for row in rows:
            if row.trouble:
                text.append(f"| {row.server} | {row.trouble.replace('|', ' ')} | | | | | | |")
            elif AGAIN not in row.server:
                middle = [statistics.median(values) for values in (row.cpu, row.rate, row.p50, row.p99)]
                noise = f"{row.noise[0]:.2f}-{row.noise[1]:.2f}"
                text.append(
                    f"| {row.server} | {middle[0]:.1f} | {claim(row)} | {noise} | {middle[1]:,.0f} | "
                    f"{middle[2]:.2f} | {middle[3]:.2f} | {row.memory:.1f} |"
                )
    if idles:
        text += ["", "## Idle", "", idle.table(idles)]
    return "\n".join(text) + "\n"


def plot(found: dict[str, list[Row]], path: Path) -> None:
    """CPU per request as a ratio to uvicorn's: a bar for each server and workload."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "miniasgi"  # the same figures give the same file
    from matplotlib import pyplot

    names = [name for name in found if any(row.ratios for row in found[name])]
    servers = list(dict.fromkeys(row.server for name in names for row in found[name] if _is_shown(row)))
    figure, axes = pyplot.subplots(figsize=(9, 0.9 + 0.17 * len(names) * (len(servers) + 1)))
    height = 0.85 / max(1, len(servers))
    for number, server in enumerate(servers):
        at = [index + height * number for index in range(len(names))]
        rows = [next((row for row in found[name] if row.server == server and row.ratios), None) for name in names]
        axes.barh(at, [row.ratio if row else 0 for row in rows], height, label=server)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([index + 0.4 for index in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlim(
        0, min(3, max((row.ratio for name in names for row in found[name] if _is_shown(row)), default=1) + 0.1)
    )
    axes.set_xlabel("server CPU per request, uvicorn = 1 (less is better)")
    axes.legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _is_shown(row: Row) -> bool:
    return bool(row.ratios) and row.server in ("miniasgi", "uvicorn", "hypercorn", "granian", "daphne", "gunicorn")


def write(where: dict[str, Any], found: dict[str, list[Row]], idles: list[idle.Idle]) -> None:
    """All of it to `benchmarks/results/`."""
    RESULTS.mkdir(exist_ok=True)
    workloads = {name: [asdict(row) for row in rows] for name, rows in found.items()}
    data = where | {"workloads": workloads, "idle": [asdict(each) for each in idles]}
    (RESULTS / "servers.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / "servers.md").write_text("# Servers side by side\n\n" + markdown(where, found, idles))
    plot(found, RESULTS / "servers.svg")

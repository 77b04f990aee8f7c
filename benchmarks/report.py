"""The figures of a run for people: Markdown, and the blocks of other pages that are made of them."""

import re
import statistics
from pathlib import Path

from . import idle, instructions, plot
from .measure import AGAIN, Row, interval
from .results import Results
from .servers import NAMED, UVICORN
from .tree import ROOT

RESULTS = Path(__file__).parent / "results"
README, SPEED = ROOT / "README.md", ROOT / "docs" / "speed.md"
BLOCK = re.compile(r"(<!-- (?:speed|goals) -->\n)(.*?)(<!-- /)", re.DOTALL)
# What we want to be, as a ratio to uvicorn; of "miniasgi h11+asyncio", to uvicorn's.
GOALS = {
    "plaintext": 0.50,
    "20 headers": 0.55,
    "FastAPI GET": 0.80,
    "FastAPI POST": 0.82,
    "64 KiB": 0.66,
    "100 chunks": 0.30,
    "1 MiB upload": 0.48,
    "new connection": 0.46,
    "WebSocket echo": 0.60,
    "access log": 0.30,
}
GOAL_H11 = 0.60
_SUMMED = ("miniasgi", "granian", "hypercorn", "gunicorn", "daphne", "uvicorn zttp+uvloop", "miniasgi h11+asyncio")


def claim(row: Row) -> str:
    """A ratio with its range, if it is more than noise."""
    if row.server == row.reference:
        return "1"
    low, high = interval(row.ratios)
    spread = f"({low:.2f}-{high:.2f})"
    return f"as {row.reference} {spread}" if row.is_noise else f"**{row.ratio:.2f}** {spread}"


def noise(row: Row) -> str:
    return f"{row.noise[0]:.2f}-{row.noise[1]:.2f}"


def summary(results: Results) -> str:
    """A line for each workload, and for what else was measured; all are ratios. Bold is what is more than noise."""
    rows = {name: {row.server: row for row in rows if row.ratios} for name, rows in results.workloads.items()}
    servers = [server for server in _SUMMED if any(server in found for found in rows.values())]
    titles = [_title(server) for server in servers]
    lines = [
        f"| CPU per request, {UVICORN} = 1 | {' | '.join(titles)} | noise |",
        "|---|" + "---|" * (len(servers) + 1),
    ]
    for name, found in rows.items():
        cells = [_cell(found[server]) if server in found else "-" for server in servers]
        lines.append(_line([name, *cells, noise(found[UVICORN]) if UVICORN in found else "-"]))
    for title, figures in _without_noise(results).items():
        if UVICORN in figures:
            cells = [_ratio(figures, server) for server in servers]
            lines.append(_line([f"{title} ({UVICORN}: {figures[UVICORN]:.1f})", *cells, "-"]))
    return "\n".join(lines) + "\n"


def goals(results: Results) -> str:
    """What we want to be beside what we are, and beside granian and the floor."""
    lines = ["| CPU per request, uvicorn = 1 | goal | miniasgi | granian | floor: httptools |", "|---|---|---|---|---|"]
    for name, goal in GOALS.items():
        rows = {row.server: row for row in results.workloads.get(name, []) if row.ratios}
        cells = [
            claim(rows[server]) if server in rows else "-" for server in ("miniasgi", "granian", "floor: httptools")
        ]
        lines.append(_line([name, f"{goal:.2f}", *cells]))
    for row in results.workloads.get("plaintext", []):
        if row.server == "miniasgi h11+asyncio" and row.ratios:
            lines.append(
                _line([f"plaintext, {row.server} to {row.reference}", f"{GOAL_H11:.2f}", claim(row), "-", "-"])
            )
    return "\n".join(lines) + "\n"


def _title(server: str) -> str:
    reference = NAMED[server].reference
    return server if reference == UVICORN else f"{server}, to {reference}"


def _cell(row: Row) -> str:
    return f"{row.ratio:.2f}" if row.is_noise else f"**{row.ratio:.2f}**"


def _without_noise(results: Results) -> dict[str, dict[str, float]]:
    """What is measured once: by its title, the figure of each server."""
    after = results.workloads.get("plaintext", [])
    figures = {"MiB, one worker, after plaintext": {row.server: row.memory for row in after if row.ratios}}
    for name, title in idle.TITLES.items():
        values = {each.server: getattr(each, name) for each in results.idles}
        figures[title] = {server: value for server, value in values.items() if value is not None}
    return figures


def _ratio(figures: dict[str, float], server: str) -> str:
    reference = figures.get(NAMED[server].reference)
    return f"{figures[server] / reference:.2f}" if server in figures and reference else "-"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def section(name: str, rows: list[Row]) -> str:
    """The table of a workload."""
    lines = [f"## {name}", "", "| server | CPU us/request | ratio | noise | requests/s | p50 ms | p99 ms | MiB |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if row.trouble:
            trouble = re.sub(r"[|\s]", " ", row.trouble)
            lines.append(f"| {row.server} | {trouble} | | | | | | |")
        elif AGAIN not in row.server:
            cpu, rate, p50, p99 = (statistics.median(values) for values in (row.cpu, row.rate, row.p50, row.p99))
            cells = [row.server, f"{cpu:.1f}", claim(row), noise(row), f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}"]
            lines.append(_line([*cells, f"{row.memory:.1f}"]))
    return "\n".join(lines) + "\n"


def markdown(results: Results) -> str:
    """All tables."""
    parts = [
        "# Servers side by side\n",
        *_measured(results.where),
        "CPU is user and system time of the whole process tree per request. The ratio is to the reference's\n"
        "neighbouring slices: the median, and where it lies with 95 %. `noise` is the reference against itself;\n"
        "what lies within it is no difference, and is not claimed as one.\n",
        summary(results),
        *(section(name, rows) for name, rows in results.workloads.items()),
    ]
    if results.idles:
        parts.append(f"## Idle\n\n{idle.table(results.idles)}\n")
    if results.counts:
        parts.append(f"## Instructions in user space\n\n{instructions.table(results.counts)}\n")
    return "\n".join(parts)


def _measured(where: dict[str, str]) -> list[str]:
    """The circumstances; with the names of the parts, if not all have the same."""
    groups: dict[str, list[str]] = {}
    for part, text in where.items():
        groups.setdefault(text, []).append(part)
    if len(groups) == 1:
        return [f"Measured {text}.\n" for text in groups]
    return [f"{', '.join(names)}: measured {text}.\n" for text, names in groups.items()]


def write(results: Results) -> None:
    """To `benchmarks/results/`, with what is there of earlier runs, and to the pages that show them."""
    RESULTS.mkdir(exist_ok=True)
    results = results.after(Results.read(RESULTS / "servers.json"))
    results.write(RESULTS / "servers.json")
    (RESULTS / "servers.md").write_text(markdown(results))
    plot.draw(results.workloads, RESULTS / "servers.svg")
    _fill(README, summary(results))
    _fill(SPEED, goals(results))


def _fill(page: Path, table: str) -> None:
    """Puts the table into the page's block."""
    text = page.read_text()
    if (shown := BLOCK.sub(lambda block: block[1] + table + block[3], text)) != text:
        page.write_text(shown)

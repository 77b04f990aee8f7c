"""The plot of the figures: a bar for each server and workload."""

from pathlib import Path

from .measure import Row
from .servers import UVICORN

_COLOURS = {
    "miniasgi": "#1a7f37",
    "granian": "#bc4c00",
    "hypercorn": "#8250df",
    "gunicorn": "#0969da",
    "daphne": "#8c959f",
}
_MOST = 2.5  # a longer bar is cut, and its number says so
_WIDTH, _BAR = 8.6, 0.125  # inches: what README shows, and what can be told apart


def draw(workloads: dict[str, list[Row]], path: Path) -> None:
    """CPU per request as a ratio to uvicorn's. White below, so that it can be read on a dark page."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "miniasgi"  # the same figures give the same file
    from matplotlib import pyplot

    ratios = {name: {row.server: row.ratio for row in rows if row.ratios} for name, rows in workloads.items()}
    servers = [server for server in _COLOURS if any(server in found for found in ratios.values())]
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 1.2 + _BAR * len(ratios) * (len(servers) + 1)), facecolor="white")
    height = 0.85 / max(1, len(servers))
    for number, server in enumerate(servers):
        at = [index + height * (number + 0.5) for index, name in enumerate(ratios) if server in ratios[name]]
        values = [found[server] for found in ratios.values() if server in found]
        bars = axes.barh(at, [min(_MOST, value) for value in values], height * 0.9, color=_COLOURS[server])
        labels = axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, fontsize=6.5, color="#424a53")
        for label in labels:  # hides the line at 1
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        bars.set_label(server)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([index + 0.42 for index in range(len(ratios))], list(ratios))
    axes.set_ylim(len(ratios), -0.15)
    axes.set_xlim(0, _MOST + 0.15)
    axes.set_xlabel(f"server CPU per request, {UVICORN} = 1 (less is better)")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(_COLOURS), frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)

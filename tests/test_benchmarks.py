"""The harness, run for a moment: that it measures, compares, and claims nothing within its noise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.idle import Idle
from benchmarks.measure import Row
from benchmarks.servers import NAMED, SERVERS
from benchmarks.tree import Tree
from benchmarks.workloads import WORKLOADS

from .vocabulary import eventually


def row(server: str, *ratios: float, noise: tuple[float, float] = (0.9, 1.1)) -> Row:
    figures = {name: [10.0 * ratio for ratio in ratios] for name in ("cpu", "rate", "p50", "p99")}
    return Row(server, "uvicorn", ratios=list(ratios), noise=noise, memory=30.0, **figures)


@pytest.mark.parametrize(
    "ratios, claim",
    [
        ((0.4, 0.5, 0.6), "**0.50** (0.40-0.60)"),
        ((0.8, 1.05, 1.2), "as uvicorn (0.80-1.20)"),
        ((1.2,), "**1.20** (1.20-1.20)"),
    ],
)
def test_what_lies_within_the_noise_is_not_claimed(ratios: tuple[float, ...], claim: str) -> None:
    assert report.claim(row("miniasgi", *ratios)) == claim


def test_a_table_has_a_line_for_each_server_and_says_what_failed() -> None:
    rows = [
        row("uvicorn", 1.0),
        row("uvicorn again", 1.1),
        row("miniasgi", 0.5),
        Row("daphne", "uvicorn", trouble="no | way"),
    ]
    idles = [Idle("miniasgi", 1.0, 2.0, 0.0, 30.0, 60.0)]
    text = report.markdown(report.circumstances(), {"plaintext": rows}, idles)
    assert "| uvicorn | 10.0 | 1 | 0.90-1.10 |" in text
    assert "| miniasgi | 5.0 | **0.50** (0.50-0.50) |" in text
    assert "| daphne | no   way |" in text
    assert "uvicorn again" not in text
    assert "| miniasgi | 1.0 | 2.0 | 0.0 | 30.0 | 60.0 |" in text


def test_results_are_written_for_people_and_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "plot", lambda found, path: path.write_text("<svg/>"))
    report.write(report.circumstances(), {"plaintext": [row("miniasgi", 0.5)]}, [])
    data = json.loads((tmp_path / "servers.json").read_text())
    assert data["workloads"]["plaintext"][0]["ratios"] == [0.5]
    assert {path.name for path in tmp_path.iterdir()} == {"servers.json", "servers.md", "servers.svg"}


def test_the_plot_is_drawn_the_same_from_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = {"plaintext": [row("uvicorn", 1.0), row("miniasgi", 0.5)]}
    for name in ("a", "b"):
        report.plot(found, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_process_of_a_server_counts() -> None:
    code = "import os, time\nos.fork()\nwhile time.process_time() < 0.3: pass\ntime.sleep(60)"
    with Tree([sys.executable, "-c", code]) as tree:
        eventually(lambda: tree.cpu() > 0.6)
        eventually(lambda: len(tree._pids()) == 2)
        assert tree.memory() > 1


def test_each_server_has_a_reference_and_a_line() -> None:
    for server in SERVERS:
        assert server.reference in NAMED
        assert "benchmarks.apps:plaintext" in server.line("benchmarks.apps:plaintext", 80)
        assert any(server.can(workload) for workload in WORKLOADS.values())


@pytest.mark.parametrize("server", ["miniasgi"])
def test_a_run_of_a_moment(server: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "plaintext", "--servers", server, "uvicorn"]
    command += ["--rounds", "1", "--slices", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = ran.stdout.splitlines()
    assert lines[0] == "plaintext"
    assert [line.split(" | ")[0] for line in lines[4:] if line] == ["| uvicorn", f"| {server}"]


def test_what_there_is_not_is_said() -> None:
    command = [sys.executable, "-m", "benchmarks", "plaintest"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, "python -m benchmarks: error: there is no plaintest")

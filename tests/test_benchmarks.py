"""The harness, run for a moment: that it measures, compares, and claims nothing within its noise."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import instructions, load, plot, report
from benchmarks.idle import Idle
from benchmarks.instructions import Count
from benchmarks.measure import Row, interval, measure
from benchmarks.results import Results, circumstances
from benchmarks.servers import NAMED, SERVERS, Server, free_ports
from benchmarks.tree import ROOT, Tree
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


def test_a_median_is_no_surer_than_its_values_allow() -> None:
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    values = [float(number) for number in range(14)]
    assert interval(values) == (2.0, 11.0)  # more extreme on one side in 1.3 % of all cases; one further in, 5.7 %


def test_a_table_has_a_line_for_each_server_and_says_what_failed() -> None:
    rows = [
        row("uvicorn", 1.0),
        row("uvicorn again", 1.1),
        row("miniasgi", 0.5),
        Row("daphne", "uvicorn", trouble="no | way"),
    ]
    idles = [Idle("miniasgi", 1.0, 2.0, 0.0, 30.0, 60.0)]
    counts = [Count("plaintext", "miniasgi", "uvicorn", 50_000.0), Count("plaintext", "uvicorn", "uvicorn", 100_000.0)]
    text = report.markdown(Results({"plaintext": rows}, idles, counts, {"plaintext": circumstances()}))
    assert "| uvicorn | 10.0 | 1 | 0.90-1.10 |" in text
    assert "| miniasgi | 5.0 | **0.50** (0.50-0.50) |" in text
    assert "| daphne | no   way |" in text
    assert "uvicorn again" not in text
    assert "| miniasgi | 1.0 | 2.0 | 0.0 | 30.0 | 60.0 |" in text
    assert "| plaintext | miniasgi | 50,000 | 0.50 | uvicorn |" in text


def test_the_summary_has_a_line_for_each_workload_and_the_ratios_of_each_server() -> None:
    plaintext = [row("uvicorn", 1.0), row("miniasgi", 0.5), row("granian", 1.05), Row("daphne", "uvicorn")]
    echo = [row("uvicorn", 1.0), row("granian", 1.4)]
    idles = [Idle("miniasgi", 60.0, 2.0, 0.0, 30.0, 60.0), Idle("uvicorn", 120.0, 0.0, 20.0, 30.0, 90.0)]
    assert report.summary(Results({"plaintext": plaintext, "WebSocket echo": echo}, idles)).splitlines() == [
        "| CPU per request, uvicorn = 1 | miniasgi | granian | noise |",
        "|---|---|---|---|",
        "| plaintext | **0.50** | 1.05 | 0.90-1.10 |",
        "| WebSocket echo | - | **1.40** | 0.90-1.10 |",
        "| MiB, one worker, after plaintext (uvicorn: 30.0) | 1.00 | 1.00 | - |",
        "| start, CPU ms (uvicorn: 120.0) | 0.50 | - | - |",
        "| start, ms (uvicorn: 0.0) | - | - | - |",
        "| wake-ups/s (uvicorn: 20.0) | 0.00 | - | - |",
        "| MiB, alone (uvicorn: 30.0) | 1.00 | - | - |",
        "| MiB, 5,000 idle connections (uvicorn: 90.0) | 0.67 | - | - |",
    ]


def test_the_summary_says_what_else_than_uvicorn_is_compared_with() -> None:
    name, reference = "miniasgi h11+asyncio", "uvicorn h11+asyncio"
    rows = [row(reference, 1.0), Row(name, reference, ratios=[0.6], memory=15.0)]
    summary = report.summary(Results({"plaintext": rows}))
    assert f"| {name}, to {reference} |" in summary
    assert "| plaintext | **0.60** | - |" in summary


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a report is written instead."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "SPEED", tmp_path / "speed.md")
    (tmp_path / "speed.md").write_text("<!-- goals -->\n<!-- /goals -->\n")
    monkeypatch.setattr(plot, "draw", lambda workloads, path: path.write_text("<svg/>"))
    (tmp_path / "README.md").write_text("Fast:\n\n<!-- speed -->\nvery\n<!-- /speed -->\n\nMore.\n")
    return tmp_path


def test_results_are_written_for_people_and_programs(written: Path) -> None:
    results = Results({"plaintext": [row("miniasgi", 0.5)]}, where={"plaintext": "today"})
    report.write(results)
    data = json.loads((written / "servers.json").read_text())
    assert data["workloads"]["plaintext"][0]["ratios"] == [0.5]
    assert (written / "servers.md").read_text() == report.markdown(results)
    assert (written / "servers.svg").exists()
    shown = f"Fast:\n\n<!-- speed -->\n{report.summary(results)}<!-- /speed -->\n\nMore.\n"
    assert (written / "README.md").read_text() == shown
    assert (written / "speed.md").read_text() == f"<!-- goals -->\n{report.goals(results)}<!-- /goals -->\n"
    assert "| plaintext | 0.50 | **0.50** (0.50-0.50) | - | - |" in report.goals(results)


def test_a_run_of_some_workloads_keeps_the_others(written: Path) -> None:
    idles = [Idle("miniasgi", 1.0, 2.0, 0.0, 30.0, 60.0)]
    report.write(Results({"64 KiB": [row("miniasgi", 0.5)]}, idles, where={"64 KiB": "then", "idle": "then"}))
    report.write(Results({"plaintext": [row("miniasgi", 0.4)]}, where={"plaintext": "now"}))
    report.write(Results({"plaintext": [row("miniasgi", 0.6)]}, where={"plaintext": "now"}))
    kept = Results.read(written / "servers.json")
    assert [(name, rows[0].ratios) for name, rows in kept.workloads.items()] == [
        ("plaintext", [0.6]),
        ("64 KiB", [0.5]),
    ]
    assert kept.idles == idles
    text = (written / "servers.md").read_text()
    assert "64 KiB, idle: measured then.\n\nplaintext: measured now.\n" in text


@pytest.mark.parametrize("page, table", [(report.README, report.summary), (report.SPEED, report.goals)])
def test_pages_show_the_figures_that_there_are(page: Path, table: Callable[[Results], str]) -> None:
    block = report.BLOCK.search(page.read_text())
    assert block
    assert block[2] == table(Results.read(report.RESULTS / "servers.json"))


def test_the_plot_is_drawn_the_same_from_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = {"plaintext": [row("uvicorn", 1.0), row("miniasgi", 0.5)], "64 KiB": [row("daphne", 3.0)]}
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    for path in (one, other):
        plot.draw(found, path)
    assert one.read_bytes() == other.read_bytes()


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


def test_what_is_left_of_a_server_ends_with_it() -> None:
    code = "import os, time\nif os.fork(): raise SystemExit\ntime.sleep(60)"
    with Tree([sys.executable, "-c", code]) as tree:
        assert tree.process.wait(10) == 0
        assert len(tree._pids()) == 1
    eventually(lambda: not tree._pids())


@pytest.mark.parametrize("has_wrk", [True, False])
@pytest.mark.parametrize("name", ["SSE tokens", "1000 connections"])
def test_many_connections_are_answered(name: str, has_wrk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_wrk and not shutil.which("wrk"):
        pytest.skip("no wrk here")
    if not has_wrk:
        monkeypatch.setattr(shutil, "which", lambda program: None)
    load.allow_files()
    workload, [port] = WORKLOADS[name], free_ports()
    with Tree(NAMED["miniasgi"].line(f"benchmarks.{workload.app}", port)):
        load.check(workload, port)
        assert load.make(workload, port, 1).requests >= workload.connections


def test_a_server_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Server("old", ("http.server", "{port}"))  # answers as HTTP/1.0
    monkeypatch.setitem(NAMED, "old", old)
    rows = measure("plaintext", [old, NAMED["miniasgi"]], rounds=1, slices=1, seconds=1)
    assert {row.server for row in rows if row.cpu} == {"uvicorn", "miniasgi", "uvicorn again"}
    [failed] = [row for row in rows if not row.cpu]
    assert failed.trouble.startswith("AssertionError: b'HTTP/1.0 200 OK")


@pytest.mark.skipif(not instructions.is_possible(), reason="no valgrind here")
def test_instructions_are_counted() -> None:
    assert 10_000 < instructions.measure("plaintext", NAMED["miniasgi"]).instructions < 1_000_000


@pytest.mark.parametrize("server", ["miniasgi"])
def test_a_run_of_a_moment(server: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "plaintext", "--servers", server, "uvicorn"]
    command += ["--rounds", "1", "--slices", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = ran.stdout.splitlines()
    assert lines[0] == "## plaintext"
    assert [line.split(" | ")[0] for line in lines[4:] if line] == ["| uvicorn", f"| {server}"]


def test_what_there_is_not_is_said() -> None:
    command = [sys.executable, "-m", "benchmarks", "plaintest"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, "python -m benchmarks: error: there is no plaintest")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is 3.12+")
def test_bytecodes_are_counted_by_function_and_the_same_each_time() -> None:
    command = [sys.executable, "-m", "benchmarks.bytecodes", "20 headers", "--functions"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    counts = {name: int(count) for count, _, name in (line.split(maxsplit=2) for line in first.splitlines())}
    assert counts["miniasgi.parser_httptools HttptoolsParser.on_header"] == 14 * 20
    assert counts.pop("20 headers") == sum(counts.values())


PROFILE = re.compile(r"^\$ \S*python (-m benchmarks.*)\n((?:.+\n)+?)```", re.MULTILINE)


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="bytecodes are those of Python 3.13")
def test_the_profile_that_is_shown_is_what_the_command_prints() -> None:
    found = PROFILE.findall((ROOT / "docs/speed.md").read_text())
    assert found
    for words, shown in found:
        ran = subprocess.run([sys.executable, *shlex.split(words)], capture_output=True, text=True, check=True)
        assert ran.stdout == shown

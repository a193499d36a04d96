"""Every measure runs and gives its figures. How they turn out on a busy machine decides nothing here."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.__main__ import MEASURES

from support import leftovers, until

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 240
FIGURES = {
    "start": {"start, fresh database", "start, existing database"},
    "ingest": {"ingest", "ingest p50", "ingest p99"},
    "trigger": {
        "delivery to intent p50",
        "clone p50 (small repository)",
        "intent to first instruction, sandboxed, p50",
        "intent to first instruction, no sandbox, p50",
    },
    "decide": {"decide p50", "decide p99"},
    "reconcile": {
        "look at an unchanged task, at most",
        "delivery to decision p99",
        "Plane calls a delivery, mean",
    },
    "faces": {"/api/v1/events p95", "/api/v1/statistics?days=90 p95", "50 idle streams"},
    "status": {"/status p50, large", "/status p99, large"},
}


def test_every_measure_has_a_row_in_the_page() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(MEASURES)


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr. Told to end when it takes too long, so that it can end what it
    started: by SIGTERM, since who is started in the background ignores SIGINT."""
    argv = [sys.executable, "-m", "benchmarks", "--dir", str(folder), *arguments]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, told = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            out, told = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, told


def figures(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    code, out, told = run(folder, "--json", *arguments)
    assert code == 0, told
    found: list[dict[str, Any]] = json.loads(out)["figures"]
    return found


@pytest.mark.timeout(LIMIT_S + 90)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "decide" else pytest.mark.nightly) for name in FIGURES]
)
def test_a_measure_gives_its_figures_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    found = figures(tmp_path, "--tiny", name)
    assert {figure["measure"] for figure in found} >= FIGURES[name]
    may_be_nothing = ("clone", "idle")
    assert all(one["value"] > 0 for one in found if not any(word in one["measure"] for word in may_be_nothing))
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(LIMIT_S + 90)
def test_figures_stand_in_a_table_beside_their_targets(tmp_path: Path) -> None:
    code, out, told = run(tmp_path, "--tiny", "start")
    assert code == 0, told
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["measure", "value"]
    assert all("<= 1" in line for line in lines if line.startswith("start,"))
    assert "cores" in told


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle_it_leaves_neither_processes_nor_files(tmp_path: Path, how: signal.Signals) -> None:
    """`env` lets it hear both: where tests run in the background, SIGINT is ignored by all that they start."""
    heard = ["env", "--default-signal=INT"]
    argv = [*heard, sys.executable, "-m", "benchmarks", "--dir", str(tmp_path), "--tiny", "reconcile"]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            until(lambda: [line for line in leftovers(str(tmp_path)) if "serve" in line], "a service is at work")
            process.send_signal(how)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, told
    assert "Stopped early" in told
    until(lambda: not leftovers(str(tmp_path)), "everything has ended")
    assert not list(tmp_path.iterdir())


def test_an_unknown_measure_is_refused_with_the_names_of_the_known_ones(tmp_path: Path) -> None:
    code, _, told = run(tmp_path, "nonsense")
    assert code == 2
    assert "nonsense" in told
    assert "ingest" in told

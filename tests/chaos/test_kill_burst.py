"""kill -9 in the middle of a burst: what was accepted is neither lost nor done twice."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900


def kill(folder: Path, kills: int) -> dict[str, tuple[float, str]]:
    """Value and note of every count that has to be zero."""
    argv = [sys.executable, "-m", "benchmarks", "crash", "--kills", str(kills), "--json", "--dir", str(folder)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, told = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, told
    return {figure["measure"]: (figure["value"], figure["note"]) for figure in json.loads(out)["figures"]}


def check(found: dict[str, tuple[float, str]]) -> None:
    assert len(found) == 6
    assert {name: note for name, (value, note) in found.items() if value} == {}


@pytest.mark.timeout(LIMIT_S + 90)
def test_a_kill_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    check(kill(tmp_path, 1))


@pytest.mark.nightly
@pytest.mark.timeout(LIMIT_S + 90)
def test_twenty_kills_lose_nothing_and_start_nothing_twice(tmp_path: Path) -> None:
    check(kill(tmp_path, 20))

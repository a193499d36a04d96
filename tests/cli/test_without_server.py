"""No server runs: reading shows how it was left, and what needs a server says so."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from left import KEY, LOG, leave, settings
from orchestrator.cli.app import app
from orchestrator.cli.complete import keys
from orchestrator.dbfile import newest_revision


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No .env of a developer's, and the logs of this process as before."""
    monkeypatch.chdir(tmp_path)
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def orch(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env=settings(folder))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_reading_commands_show_what_was_left_say_so_and_change_nothing(tmp_path: Path) -> None:
    path = leave(tmp_path / "data")
    before = digest(path)
    for command in (("status",), ("task", KEY), ("explain", KEY), ("logs", KEY), ("runs",), ("events",)):
        done = orch(path.parent, *command)
        assert (done.exit_code, done.exception) == (0, None), done.output
        assert done.stderr == "No server runs: this is how it was left. `orch serve` starts it.\n"
        assert done.stdout
    assert digest(path) == before


def test_the_answers_are_those_of_the_api(tmp_path: Path) -> None:
    data = leave(tmp_path / "data").parent
    task = json.loads(orch(data, "task", KEY).stdout)
    assert (task["key"], task["runs"][0]["outcome"]) == (KEY, "denied")
    assert json.loads(orch(data, "status").stdout)["active_tasks"][0]["waiting"][0]["code"] == "approval"
    assert json.loads(orch(data, "explain", KEY).stdout)["stage"] == "analysis"
    [run] = json.loads(orch(data, "runs", "--task", KEY).stdout)["items"]
    assert run == task["runs"][0]
    [event] = json.loads(orch(data, "events", "--source", "plane").stdout)["items"]
    assert (event["task"], event["action"]) == (KEY, "GPX import")
    raw = orch(data, "logs", "1", "--raw")
    assert raw.stdout_bytes == LOG.read_bytes()


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    data = leave(tmp_path / "data").parent
    for command in (("task", "NONE-1"), ("explain", "NONE-1"), ("logs", "NONE-1"), ("logs", "77")):
        done = orch(data, *command)
        assert done.exit_code == 4
        assert "There is no " in done.stderr
        assert "orch status" in done.stderr


def test_what_changes_something_needs_a_server(tmp_path: Path) -> None:
    data = leave(tmp_path / "data").parent
    for command in (("retry", KEY), ("cancel", KEY), ("cancel", "1"), ("replay", "1"), ("approve", KEY)):
        done = orch(data, *command)
        assert done.exit_code == 1
        assert "`orch serve`" in done.stderr
        assert done.stdout == ""


def test_a_pause_is_a_row_that_holds_when_a_server_starts(tmp_path: Path) -> None:
    data = leave(tmp_path / "data").parent
    assert json.loads(orch(data, "pause", "--all").stdout) == {"status": "paused"}
    assert json.loads(orch(data, "status").stdout)["problems"][0]["code"] == "dispatch_paused"
    assert orch(data, "pause", KEY).exit_code == 0
    with sqlite3.connect(data / "orchestrator.db") as database:
        assert json.loads(database.execute("SELECT switches FROM tasks").fetchone()[0])["is_paused"] is True
    database.close()
    assert json.loads(orch(data, "resume", "--all").stdout) == {"status": "running"}
    problems = json.loads(orch(data, "status").stdout)["problems"]
    assert "dispatch_paused" not in {one["code"] for one in problems}
    assert orch(data, "resume", "NONE-1").exit_code == 4
    assert orch(data, "pause").exit_code == 2
    assert orch(data, "pause", KEY, "--all").exit_code == 2


def test_without_a_database_nothing_is_made(tmp_path: Path) -> None:
    for command in (("status",), ("pause", "--all")):
        done = orch(tmp_path / "data", *command)
        assert done.exit_code == 1
        assert f"There is no database at {tmp_path / 'data' / 'orchestrator.db'}" in done.stderr
        assert "`orch serve`" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_version_is_told_apart(tmp_path: Path) -> None:
    path = leave(tmp_path / "data")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    done = orch(path.parent, "status")
    assert done.exit_code == 1
    assert f"has schema 0001, this version reads {newest_revision()}" in done.stderr


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\0" * 100, b"something else"])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orchestrator.db"
    path.write_bytes(content)
    done = orch(tmp_path, "status")
    assert done.exit_code == 1
    assert f"{path} is not one of ours" in done.stderr
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("orchestrator.db", content)]


def test_a_broken_configuration_ends_with_3(tmp_path: Path) -> None:
    data = leave(tmp_path / "data").parent
    (data / "orchestrator.yaml").write_text("projects: x\n")
    assert orch(data, "status").exit_code == 3


def test_a_run_at_work_cannot_be_followed_to_its_end(tmp_path: Path) -> None:
    data = leave(tmp_path / "data", is_over=False).parent
    done = orch(data, "logs", KEY, "--follow")
    assert done.exit_code == 1
    assert "nothing tells when run 1 ends" in done.stderr
    assert "▸ " in done.stdout
    assert orch(data, "logs", KEY).exit_code == 0


def test_keys_are_completed_from_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = leave(tmp_path / "data").parent
    for name, value in settings(data).items():
        monkeypatch.setenv(name, value)
    assert keys("END") == keys("") == [KEY]
    assert keys("X") == []
    monkeypatch.setenv("ORCH_DATA_DIR", str(tmp_path / "none"))
    assert keys("") == []
    monkeypatch.setenv("ORCH_PORT", "x")
    assert keys("") == []

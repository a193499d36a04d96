"""Migrations: one way to the schema, and no half of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from orchestrator.db import Database, newest_revision
from orchestrator.domain.errors import Permanent
from orchestrator.store.schema import metadata

SPECIFIED = {
    "events": {"id", "timestamp", "source", "event_type", "payload", "processed"},
    "tasks": {"id", "plane_id", "repo", "branch", "stage", "agent_running", "created_at", "updated_at"},
    "agent_runs": {"id", "task_id", "agent", "started_at", "finished_at", "exit_code", "output_path"},
}
OPEN = "import sys; from orchestrator.db import Database; d = Database(sys.argv[1]); d.open(); d.close()"


def opened(path: Path) -> Database:
    database = Database(f"sqlite:///{path}")
    database.open()
    return database


def test_the_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    with create_engine(database.url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize("table", SPECIFIED)
def test_the_specified_columns_keep_their_names(table: str) -> None:
    assert SPECIFIED[table] <= set(metadata.tables[table].columns.keys())


def test_the_journal_is_safe_against_power_loss_and_keeps_its_references(database: Database) -> None:
    def pragmas(connection: object) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # type: ignore[attr-defined]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert database.read_now(pragmas) == ["wal", 2, 1]


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        opened(tmp_path / "a.db").close()


def test_a_schema_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    opened(tmp_path / "a.db").close()
    with create_engine(f"sqlite:///{tmp_path / 'a.db'}").begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Permanent, match="9999") as refusal:
        opened(tmp_path / "a.db")
    assert "newer version" in refusal.value.hint


def test_a_kill_in_the_middle_of_a_migration_leaves_a_database_that_opens(tmp_path: Path) -> None:
    """20 kills at moments spread over the time that one migration takes."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", OPEN, f"sqlite:///{tmp_path / 'whole.db'}"], check=True, timeout=60)
    whole_s = time.monotonic() - began
    unfinished = 0
    for number in range(20):
        path = tmp_path / f"{number}.db"
        child = subprocess.Popen([sys.executable, "-c", OPEN, f"sqlite:///{path}"])
        try:
            child.wait(whole_s * (0.5 + 0.5 * number / 20))
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            unfinished += 1
        database = opened(path)
        found = database.read_now(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
        assert found == newest_revision()
        assert database.read_now(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
        database.close()
    print(f"killed in time: {unfinished} of 20")


def test_two_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    children = [subprocess.Popen([sys.executable, "-c", OPEN, url]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]

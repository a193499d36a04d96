"""Migrations: one way to the schema, and no half of it."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

import counted
from orchestrator.db import Database
from orchestrator.dbfile import MIGRATIONS, bring_up_to_date, known_revisions, newest_revision
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


def migrated(path: Path) -> Path:
    """A new database by way of all migrations."""
    bring_up_to_date(path, by_migrations=True)
    return path


def made(path: Path) -> list[tuple[str, str, str]]:
    """All that a schema consists of, in the words that made it, and the revision that it claims."""
    connection = sqlite3.connect(path)
    try:
        parts = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        return [
            *parts,
            ("revision", *connection.execute("SELECT version_num, '' FROM alembic_version").fetchone()),
        ]
    finally:
        connection.close()


def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    with create_engine(f"sqlite:///{migrated(tmp_path / 'a.db')}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_new_database_is_what_the_migrations_make(tmp_path: Path) -> None:
    opened(tmp_path / "new.db").close()
    assert made(tmp_path / "new.db") == made(migrated(tmp_path / "a.db")), "run `make schema`"


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


KILLED = """
import os, pathlib, signal, sqlite3, sys
from alembic import command  # loaded here, so that it is not loaded again for each kill
import sqlalchemy
from orchestrator.dbfile import bring_up_to_date

left = 0

def watch(_frame, event, called):
    global left
    is_ours = isinstance(getattr(called, "__self__", None), (sqlite3.Connection, sqlite3.Cursor))
    if event == "c_call" and is_ours and called.__name__ in {"execute", "commit"}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(watch)
every = int(sys.argv[1])
for number, path in enumerate(sys.argv[2:]):
    if not (child := os.fork()):
        left = 1 + every * number
        bring_up_to_date(pathlib.Path(path))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if code != -signal.SIGKILL:
        break
"""
"""Opens one database after another, killed before its first statement, the next before a later one and so on,
commits included, until one comes through. Prints how each ended.
"""
MOST_KILLS = 100


def killed(folder: Path, first: Path | None = None, *, every: int = 1) -> list[Path]:
    """Databases whose migration, from `first` or from nothing, was killed: each before another statement."""
    paths = [folder / f"killed-{number}.db" for number in range(MOST_KILLS)]
    for path in paths if first else ():
        shutil.copy(first, path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(every), *map(str, paths)],
        check=True, timeout=100, capture_output=True, text=True,
    )  # fmt: skip
    *kills, last = (int(line) for line in done.stdout.split())
    assert kills
    assert set(kills) == {-signal.SIGKILL}
    assert last == 0, "one has to come through, else the last statements were not tried"
    counted.said(f"killed {len(kills)} times")
    return paths[: len(kills)]


def revision(database: Database) -> object:
    return database.read_now(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def test_a_kill_in_the_middle_of_a_migration_leaves_a_database_that_opens(tmp_path: Path) -> None:
    for path in killed(tmp_path, every=4):
        database = opened(path)
        assert revision(database) == newest_revision()
        assert database.read_now(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
        database.close()


OLD_ROWS = {
    "tasks": "INSERT INTO tasks (id, key, title, repo, branch, created_at, updated_at) VALUES "
    "(1, 'OLD-1', 'Old', 'acme/old', 'feature/OLD-1', '2026-11-22 10:00:00', '2026-11-22 10:00:00')",
    "events": "INSERT INTO events (id, timestamp, source, event_type, payload, body_sha256, task_id) VALUES "
    "(1, '2026-11-22 10:00:00', 'plane', 'issue', '{}', 'abc', 1)",
    "agent_runs": "INSERT INTO agent_runs "
    "(id, task_id, agent, stage, attempt, state, intended_at, session_id, base_sha) VALUES "
    "(1, 1, 'analyst', 'analysis', 1, 'ended', '2026-11-22 10:00:00', 's', 'b')",
    "approvals": "INSERT INTO approvals (id, task_id, gate, comment_id, person, digest, approved_at) VALUES "
    "(1, 1, 'QG-1', 'c', 'p', 'd', '2026-11-22 10:00:00')",
    "decisions": "INSERT INTO decisions (id, task_id, decided_at, facts, verdicts, decision, config_digest) "
    "VALUES (1, 1, '2026-11-22 10:00:00', '{}', '[]', '{}', 'd')",
    "effects": "INSERT INTO effects (id, task_id, key, kind, created_at) VALUES "
    "(1, 1, 'k', 'TrackerNote', '2026-11-22 10:00:00')",
    "observations": "INSERT INTO observations (task_id, facts, observed_at) VALUES "
    "(1, '{}', '2026-11-22 10:00:00')",
    "watermarks": "INSERT INTO watermarks (project_id, since, seen_until) VALUES "
    "('p', '2026-11-22 10:00:00', '2026-11-22 10:00:00')",
}
"""One row in each table of the first schema."""


def contents(path: Path) -> dict[str, dict[str, object]]:
    """Of each table its only row."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in OLD_ROWS}
    finally:
        connection.close()
    return {table: dict(row) for table, (row,) in rows.items()}


def at_first_schema(path: Path) -> Path:
    """A database as the first version left it, with a row in each table."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, known_revisions()[0])
        for insert in OLD_ROWS.values():
            connection.execute(text(insert))
    return path


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_kill_in_the_middle_of_an_upgrade_loses_no_row(tmp_path: Path, every: int) -> None:
    first = at_first_schema(tmp_path / "first.db")
    before = contents(first)
    for path in killed(tmp_path, first, every=every):
        database = opened(path)
        assert revision(database) == newest_revision()
        database.close()
        after = contents(path)
        assert {table: before[table].items() <= after[table].items() for table in before} == dict.fromkeys(
            before, True
        )


def test_two_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    children = [subprocess.Popen([sys.executable, "-c", OPEN, url]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]

"""The database's file: made, checked and brought up to date before anything else opens it.

With the driver alone: SQLAlchemy takes a fifth of a start to load, and only an old schema needs it.
"""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.errors import Permanent, Transient

PAGE_SIZE = 4096
"""Bytes. A commit writes each page that it changed as a whole: mostly some 25, with a row or two each."""
MIGRATION_WAIT_S = 30.0
MIGRATIONS = Path(__file__).parent / "store" / "migrations"
FRESH = MIGRATIONS / "sqlite.sql"
"""What all migrations together make of nothing; a test holds it to that. `make schema` writes it."""
PRAGMAS = (
    f"page_size={PAGE_SIZE}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
)


def path_of(url: str) -> Path:
    """Of sqlite:///absolute/path."""
    return Path(url.removeprefix("sqlite:///"))


def bring_up_to_date(path: Path, *, by_migrations: bool = False) -> None:
    """Makes the file, or brings its schema to the newest revision, in one transaction: a kill leaves the old
    schema or the new. `by_migrations`: a new one is made by all migrations too; slower, to the same end.

    Raises Permanent when the file may not be used, Transient when it cannot be now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _translated(path), _lock(path), contextlib.closing(_opened(path)) as connection:
        present = revision_of(connection)
        if present == newest_revision():
            return
        if present is not None and present not in known_revisions():
            raise Permanent(
                "schema_unknown",
                f"{path} has schema {present}, unknown to this version (newest: {newest_revision()}).",
                hint="Start the newer version that wrote it, or restore a backup made by this one.",
            )
        if by_migrations or _has_tables(connection):
            _upgrade(path)
        else:
            _create(connection)


def revision_of(connection: sqlite3.Connection) -> str | None:
    """The schema that the file has; None when it is none of ours. Changes nothing."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def known_revisions() -> list[str]:
    """Revisions in order: the number that begins each file's name."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def newest_revision() -> str:
    return known_revisions()[-1]


def unavailable(error: object) -> Transient:
    """What is said of a database that cannot be used now."""
    return Transient(
        "database_unavailable",
        f"The database cannot be used now: {error}",
        retry_after_s=5,
        hint="Another program may hold its lock, or the disk is full; what was accepted is safe.",
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unavailable(error) from error
    except sqlite3.DatabaseError as error:
        hint = "Restore a backup of it, or move it away: then the next start makes a new one."
        raise Permanent("database_unreadable", f"{path} cannot be used: {error}.", hint=hint) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel gives it back when that process dies."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=MIGRATION_WAIT_S, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    """At once what the migrations would make one after another: that takes as long as the rest of a start."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in FRESH.read_text(encoding="utf-8").split(";\n")[:-1]:
        connection.execute(statement)
    connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (newest_revision(),))
    connection.execute("COMMIT")


def _upgrade(path: Path) -> None:
    # SQLAlchemy and Alembic cost 0.3 s to import, and are needed only when there is something to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine("sqlite://", creator=lambda: _opened(path), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()

"""Statements that SQLite is handed as text say the same as through SQLAlchemy."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.db import Database
from orchestrator.domain.errors import Transient
from orchestrator.store.prepared import Prepared, constant
from orchestrator.store.schema import tasks, watermarks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = ("title", "seen_created", "waiting", "created_at", "updated_at")
INSERT = Prepared(insert(tasks).values(stage="created").returning(tasks.c.id), COLUMNS)
ALL = Prepared(select(tasks).order_by(tasks.c.id))
OF_TITLE = Prepared(select(tasks.c.created_at, tasks.c.seen_created).where(tasks.c.title == bindparam("of")))
RENAME = Prepared(update(tasks).where(tasks.c.title == bindparam("of")), ("title",))


def row(title: str, at: datetime = NOON) -> dict[str, object]:
    return {"title": title, "seen_created": True, "waiting": "[]", "created_at": at, "updated_at": at}


async def test_values_and_columns_are_converted_as_their_types_say(database: Database) -> None:
    there = datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=3)))
    await database.write(lambda connection: INSERT.scalar(connection, row("a", there)))
    found = database.read_now(lambda connection: OF_TITLE.first(connection, {"of": "a"}))
    assert (found.created_at, found.seen_created) == (NOON, True)
    assert isinstance(found.seen_created, bool)


async def test_a_row_has_what_sqlalchemy_gives(database: Database) -> None:
    for title in ("a", "b"):
        await database.write(lambda connection, title=title: INSERT.scalar(connection, row(title)))
    ours = database.read_now(ALL.rows)
    theirs = database.read_now(lambda c: c.execute(select(tasks).order_by(tasks.c.id)).all())
    assert [one._asdict() for one in ours] == [one._asdict() for one in theirs]
    assert [one.title for one in ours] == ["a", "b"]


async def test_without_a_row_there_is_nothing(database: Database) -> None:
    assert database.read_now(lambda connection: OF_TITLE.first(connection, {"of": "a"})) is None
    assert database.read_now(lambda connection: OF_TITLE.scalar(connection, {"of": "a"})) is None
    assert database.read_now(ALL.rows) == []


async def test_it_is_told_how_many_rows_were_changed(database: Database) -> None:
    for _ in range(2):
        await database.write(lambda connection: INSERT.scalar(connection, row("a")))
    assert await database.write(lambda connection: RENAME.run(connection, {"of": "a", "title": "b"})) == 2
    assert await database.write(lambda connection: RENAME.run(connection, {"of": "a", "title": "b"})) == 0


@pytest.mark.parametrize("missing", ["of", "title"])
async def test_a_missing_value_is_no_null(database: Database, missing: str) -> None:
    values = {"of": "a", "title": "b"}
    del values[missing]
    with pytest.raises(KeyError, match=missing):
        await database.write(lambda connection: RENAME.run(connection, values))


async def test_a_text_that_depends_on_its_values_is_refused(database: Database) -> None:
    listed = Prepared(select(tasks.c.id).where(tasks.c.title.in_(["a", "b"])))
    with pytest.raises(ValueError, match="depends on the values"):
        database.read_now(listed.rows)
    of_ours = Prepared(select(tasks.c.id).where(tasks.c.title.in_([constant("a"), constant("b")])))
    assert database.read_now(of_ours.rows) == []


async def test_what_the_database_refuses_is_said_as_elsewhere(database: Database) -> None:
    twice = Prepared(insert(watermarks), ("project_id", "since"))

    def write(connection: Connection) -> None:
        for _ in range(2):
            twice.run(connection, {"project_id": "p", "since": NOON})

    with pytest.raises(IntegrityError):
        await database.write(write)
    with pytest.raises(Transient, match="readonly"):  # a reader cannot write
        database.read_now(lambda connection: RENAME.run(connection, {"of": "a", "title": "b"}))


async def test_what_is_read_in_one_go_is_one_snapshot(database: Database) -> None:
    """The transaction begins with the first statement, though SQLAlchemy has seen none."""
    await database.write(lambda connection: INSERT.scalar(connection, row("a")))
    other = Database(database.url)

    def read(connection: Connection) -> tuple[int, int]:
        before = len(ALL.rows(connection))
        with other._write_engine.begin() as theirs:
            INSERT.scalar(theirs, row("b"))
        return before, len(ALL.rows(connection))

    assert database.read_now(read) == (1, 1)
    assert len(database.read_now(ALL.rows)) == 2
    other.close()

"""The writer: grouped commits, each caller's own fate, and clear words when the file cannot be used."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from orchestrator.db import CROWD, MAX_BATCH, WAL_CHECKPOINT_BYTES, Database
from orchestrator.domain.errors import Transient
from orchestrator.store.schema import watermarks

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def add(name: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(insert(watermarks).values(project_id=name, since=NOW, seen_until=NOW))
        return name

    return work


async def names(database: Database) -> set[str]:
    return await database.read(lambda c: set(c.execute(select(watermarks.c.project_id)).scalars()))


async def test_what_was_answered_is_committed(database: Database) -> None:
    assert await asyncio.gather(*[database.write(add(str(n))) for n in range(100)]) == [str(n) for n in range(100)]
    with sqlite3.connect(database.path) as other:
        assert other.execute("SELECT count(*) FROM watermarks").fetchone() == (100,)


async def test_a_fault_of_one_caller_undoes_only_its_own_work(database: Database) -> None:
    def half(connection: Connection) -> None:
        add("half")(connection)
        raise ValueError("mine")

    good, bad, twice = await asyncio.gather(
        database.write(add("a")), database.write(half), database.write(add("a")), return_exceptions=True
    )
    assert good == "a"
    assert isinstance(bad, ValueError)
    assert isinstance(twice, IntegrityError)
    assert await names(database) == {"a"}


async def test_bulk_callers_that_wait_together_are_served_by_one_call(database: Database) -> None:
    sizes: list[int] = []

    def bulk(_connection: Connection, items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return [item * 2 for item in items]

    answers = await asyncio.gather(*[database.write_bulk(bulk, n) for n in range(200)])
    assert answers == [n * 2 for n in range(200)]
    assert sum(sizes) == 200
    assert len(sizes) < 200


async def test_a_crowd_shares_commits_of_bounded_size(database: Database) -> None:
    calls: list[int] = []

    def record(connection: Connection, items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        return items

    assert await asyncio.gather(*[database.write_bulk(record, n) for n in range(600)]) == list(range(600))
    assert calls == [256, 256, 88]


async def through(database: Database) -> None:
    """The disk is through with a commit, and the loop has not heard of it: it has had no turn since."""
    begun = asyncio.Event()

    def work(connection: Connection) -> None:
        begun.set()
        add("first")(connection)

    first = asyncio.ensure_future(database.write(work))
    await begun.wait()
    under_way = database._writer._under_way
    assert under_way
    under_way.flushed.result(timeout=30)  # the loop is held meanwhile
    assert not first.done()


def crowd(database: Database, size: int, prefix: str = "") -> tuple[list[str], list[asyncio.Future[str]]]:
    """So many come within one turn of the loop: whose statements were run meanwhile, and what they are told. The
    disk is not through with them before all have come.
    """
    begun: list[str] = []
    have_come = threading.Event()

    def work(connection: Connection, items: Sequence[str]) -> Sequence[str]:
        database._writer._disk.submit(have_come.wait, 30)  # the commit comes after it
        begun.extend(items)
        return [add(item)(connection) for item in items]

    told = [database.write_bulk(work, f"{prefix}{n}") for n in range(size)]
    have_come.set()
    return list(begun), told


async def test_a_crowd_goes_on_as_soon_as_the_disk_is_through(database: Database) -> None:
    await through(database)
    begun, told = crowd(database, 2 * CROWD)
    assert begun == [str(n) for n in range(CROWD)]  # the rest waits for the disk, and for no turn of the loop
    assert await asyncio.gather(*told) == [str(n) for n in range(2 * CROWD)]
    with sqlite3.connect(database.path) as other:
        assert other.execute("SELECT count(*) FROM watermarks").fetchone() == (1 + 2 * CROWD,)


async def test_few_wait_for_the_turn_of_the_loop(database: Database) -> None:
    await through(database)
    begun, told = crowd(database, CROWD - 1)
    assert not begun
    assert await asyncio.gather(*told) == [str(n) for n in range(CROWD - 1)]


async def test_what_fails_of_a_crowd_is_told_to_it_alone(database: Database) -> None:
    with sqlite3.connect(database.path) as other:
        other.execute("CREATE TRIGGER odd BEFORE INSERT ON watermarks WHEN new.project_id = 'bad7' "
                      "BEGIN SELECT RAISE(ABORT, 'odd'); END")  # fmt: skip
    await through(database)
    begun, bad = crowd(database, CROWD, "bad")
    _, good = crowd(database, 3)
    assert begun
    assert {type(one) for one in await asyncio.gather(*bad, return_exceptions=True)} == {IntegrityError}
    assert await asyncio.gather(*good) == ["0", "1", "2"]
    assert await names(database) == {"first", "0", "1", "2"}


async def test_a_crowd_waits_for_the_lock_of_another_program(database: Database) -> None:
    await through(database)
    with sqlite3.connect(database.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        begun, told = crowd(database, CROWD)
        assert not begun
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        assert await asyncio.gather(*told) == [str(n) for n in range(CROWD)]


async def test_a_log_that_was_checkpointed_is_cut_or_every_later_commit_would_checkpoint(
    database: Database,
) -> None:
    wal = database.path.with_name(database.path.name + "-wal")
    longest, number = 0, 0
    async with asyncio.timeout(30):
        while longest <= WAL_CHECKPOINT_BYTES or wal.stat().st_size > WAL_CHECKPOINT_BYTES:
            is_short = longest <= WAL_CHECKPOINT_BYTES
            await database.write(add(f"{number}" + "x" * (2**20 if is_short else 0)))
            longest, number = max(longest, wal.stat().st_size), number + 1


async def test_while_another_program_holds_the_lock_writes_fail_soon_and_reads_go_on(database: Database) -> None:
    await database.write(add("before"))
    with sqlite3.connect(database.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient) as refusal:
            await database.write(add("during"))
        assert refusal.value.retry_after_s
        assert await names(database) == {"before"}
        other.execute("ROLLBACK")
    await database.write(add("after"))
    assert await names(database) == {"before", "after"}


async def test_a_crowd_larger_than_a_batch_is_told_of_a_lock_after_one_wait(database: Database) -> None:
    def work(_connection: Connection, items: Sequence[int]) -> Sequence[int]:
        return items

    with sqlite3.connect(database.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        crowd = [database.write_bulk(work, n) for n in range(5 * MAX_BATCH)]
        crowd[0].add_done_callback(lambda _: other.execute("ROLLBACK"))  # who waits any longer is stored after all
        answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(one) for one in answers} == {Transient}
    assert await database.write_bulk(work, 1) == 1


async def test_a_fault_is_told_to_its_callers_and_to_nobody_else(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(database.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient):
            await database.write(add("a"))
        other.execute("ROLLBACK")
    await database.write(add("b"))
    gc.collect()  # a future whose fault nobody took says so when it goes
    assert not caplog.records


async def test_a_full_disk_is_said_and_what_was_answered_stays(database: Database) -> None:
    await database.write(add("before"))
    await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1"))  # SQLite's own "disk full"
    with pytest.raises(Transient, match="full"):
        await asyncio.gather(*[database.write(add("x" * 9_000 + str(n))) for n in range(50)])
    assert "before" in await names(database)
    await database.write(add("room again"))  # the writer took a fresh connection, without the limit
    assert await names(database) >= {"before", "room again"}


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(Transient, match="readonly"):
        await database.read(add("never"))
    assert await names(database) == set()


def test_times_without_a_zone_are_refused(database: Database) -> None:
    naive = datetime(2026, 11, 22)  # noqa: DTZ001 - the point of the test
    with pytest.raises(Exception, match="without a zone"):
        database.read_now(lambda c: c.execute(select(watermarks).where(watermarks.c.since > naive)).all())

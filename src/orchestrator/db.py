"""The only place that opens a database: engine, pragmas, migrations, and one writer with group commit.

All writes of the process go through one thread. What waits when the thread becomes free is committed together,
so that a burst pays one fsync for many rows, and every caller is answered after its own commit.
"""

import asyncio
import contextlib
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from orchestrator.domain.errors import Permanent, Transient

T = TypeVar("T")
Write = Callable[[Connection], Any]
Bulk = Callable[[Connection, Sequence[Any]], Sequence[Any]]

MAX_BATCH = 256
READERS = 4
PAGE_SIZE = 16384
"""Rows of 10 to 30 kB: fewer overflow pages than the default 4096."""
MIGRATIONS = Path(__file__).parent / "store" / "migrations"
_PRAGMAS = (
    f"page_size={PAGE_SIZE}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
)


@dataclass(slots=True)
class _Job:
    """One caller that waits for a commit. `bulk` jobs of one function share a single call."""

    work: Write | Bulk
    item: Any
    is_bulk: bool
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None


class Database:
    """One SQLite file. `url` is sqlite:///absolute/path; `wait_s` bounds the wait for another writer's lock."""

    def __init__(self, url: str, *, wait_s: float = 0.8) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///"))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._thread: threading.Thread | None = None
        self._write_engine = _engine(url, wait_s, writes=True)
        self._read_engine = _engine(url, wait_s, writes=False)

    def open(self) -> None:
        """Creates or upgrades the schema, then starts the writer. Raises Permanent when it may not be used."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _translated():
            _migrate(self._write_engine, self.path)
        self._thread = threading.Thread(target=self._write_forever, name="db-write", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commits what waits, then closes."""
        if self._thread:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        self._reading.shutdown()
        self._read_engine.dispose()
        self._write_engine.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a thread, in a snapshot of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self.read_now, work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """As `read`, in the calling thread."""
        with _translated(), self._read_engine.connect() as connection:
            return work(connection)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in the writer's next transaction; returns after the commit.

        An exception of `work` undoes only what `work` did. Raises Transient when the database is locked or full.
        """
        result: T = await self._submit(work, None, is_bulk=False)
        return result

    async def write_bulk(self, work: Callable[[Connection, Sequence[Any]], Sequence[T]], item: Any) -> T:
        """As `write`, but calls of the same function that share a transaction are made as one."""
        result: T = await self._submit(work, item, is_bulk=True)
        return result

    async def prove_writable(self) -> None:
        """Really writes a page and syncs it; raises Transient when that fails. Changes nothing that counts."""
        await self.write(_touch)

    async def _submit(self, work: Write | Bulk, item: Any, *, is_bulk: bool) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(work, item, is_bulk, loop.create_future(), loop)
        self._jobs.put(job)
        return await job.future

    def _write_forever(self) -> None:
        with contextlib.closing(_WriterConnection(self._write_engine)) as writer:
            while (first := self._jobs.get()) is not None:
                batch = [first, *self._waiting()]
                writer.commit(batch)
                _answer(batch)

    def _waiting(self) -> Iterator[_Job]:
        for _ in range(MAX_BATCH - 1):
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            yield job


class _WriterConnection:
    """The writer's connection; renewed after a fault, since a broken one would fail for ever."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def commit(self, batch: Sequence[_Job]) -> None:
        try:
            with _translated():
                connection = self._connection or self._engine.connect()
                self._connection = connection
                with connection.begin():
                    _run(connection, batch)
        except Exception as error:  # noqa: BLE001 - the outermost loop: recorded in every waiting caller
            for job in batch:
                job.error = job.error or error
            self.close()

    def close(self) -> None:
        if self._connection:
            with contextlib.suppress(DBAPIError):
                self._connection.close()
            self._connection = None


def _run(connection: Connection, batch: Sequence[_Job]) -> None:
    bulks: dict[Any, list[_Job]] = {}
    for job in batch:
        if job.is_bulk:
            bulks.setdefault(job.work, []).append(job)
    for work, jobs in bulks.items():
        for job, result in zip(jobs, work(connection, [job.item for job in jobs]), strict=True):
            job.result = result
    for job in batch:
        if not job.is_bulk:
            _run_alone(connection, job)


def _run_alone(connection: Connection, job: _Job) -> None:
    """A savepoint for each caller. A full or locked file ends the transaction itself, savepoints and all."""
    nested = connection.begin_nested()
    try:
        job.result = job.work(connection)  # type: ignore[call-arg]
        nested.commit()
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - belongs to the caller, and only to it
        nested.rollback()
        job.error = error


def _touch(connection: Connection) -> None:
    """user_version is four bytes of the file's header that SQLite leaves to its users."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar() or 0
    connection.exec_driver_sql(f"PRAGMA user_version = {(int(version) + 1) % 2**31}")


def _answer(batch: Sequence[_Job]) -> None:
    """One wake-up of each event loop for the whole batch."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise Transient(
            "database_unavailable",
            f"The database cannot be used now: {error.orig}",
            retry_after_s=5,
            hint="Another program may hold its lock, or the disk is full; what was accepted is safe.",
        ) from error


def _engine(url: str, wait_s: float, *, writes: bool) -> Engine:
    """Writers take the lock at once, so that no transaction dies by upgrading; readers cannot write at all."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1 if writes else READERS,
        max_overflow=0 if writes else READERS,
        connect_args={"timeout": wait_s, "check_same_thread": False},
    )
    # One multi-row INSERT is one step of SQLite: the writer then fights for the GIL once, not once a row.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    pragmas = [*_PRAGMAS, f"query_only={'OFF' if writes else 'ON'}"]

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _migrate(engine: Engine, path: Path) -> None:
    """Brings the schema to the newest revision, in one transaction: a kill leaves the old schema or the new."""
    with _migration_lock(path):
        with engine.connect() as connection:
            present = _revision(connection)
        if present == newest_revision():
            return
        if present is not None and present not in known_revisions():
            raise Permanent(
                "schema_unknown",
                f"{path} has schema {present}, unknown to this version (newest: {newest_revision()}).",
                hint="Start the newer version that wrote it, or restore a backup made by this one.",
            )
        with engine.begin() as connection:
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Alembic costs 0.1 s to import, and is needed only when there is something to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextlib.contextmanager
def _migration_lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel gives it back when that process dies."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def known_revisions() -> list[str]:
    """Revisions in order: the number that begins each file's name."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def newest_revision() -> str:
    return known_revisions()[-1]

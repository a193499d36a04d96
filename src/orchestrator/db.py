"""A database that is in use: engine, readers, and one writer with group commit. Its file: see dbfile.py.

Statements run in the event loop, where they take microseconds; only the commit, which waits for the disk, runs
in a thread. What arrives meanwhile is committed together next, so a burst pays one flush for many rows, and every
caller is answered after its own commit. (A thread for the statements too would fight the loop for the interpreter
at each of them; measured, that cost more than the statements.)
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import QueuePool

from orchestrator.dbfile import PRAGMAS, bring_up_to_date, path_of, revision_of, unavailable

T = TypeVar("T")
Write = Callable[[Connection], Any]
Bulk = Callable[[Connection, Sequence[Any]], Sequence[Any]]

MAX_BATCH = 256
CROWD = 32
"""So many that wait do not wait for the event loop's next round, once the disk is through with those before them.
The loop reads from every socket that has something before it hears of the disk: without this, most of a burst went
to the disk at once, and meanwhile there was nobody left to be read from.
"""
READERS = 4
LOCK_POLL_S = 0.01
WAL_CHECKPOINT_BYTES = 16 * 1024 * 1024
"""With four times as much, p99 of a burst that met a checkpoint was 90 to 160 ms; now it is 40 to 70."""


class _Job(msgspec.Struct):
    """One caller that waits for a commit. `bulk` jobs of one function share a single call."""

    work: Write | Bulk
    item: Any
    is_bulk: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Transaction:
    """Jobs whose statements were run. `flushed` is done when the disk has them, or something failed."""

    jobs: Sequence[_Job]
    flushed: Future[None]


class Database:
    """One SQLite file. `url` is sqlite:///absolute/path; `wait_s` bounds the wait for another writer's lock."""

    def __init__(self, url: str, *, wait_s: float = 0.8) -> None:
        self.url = url
        self.path = path_of(url)
        self._wait_s = wait_s
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._read_engine = _engine(url, wait_s, writes=False)
        self._write_engine = _engine(url, 0, writes=True)
        self._writer = _Writer(self._write_engine, self.path, wait_s)
        self._watch = _Watch(self.path)

    def open(self) -> None:
        """Creates or upgrades the schema. Raises Permanent when the file may not be used."""
        bring_up_to_date(self.path)

    async def aclose(self) -> None:
        """Commits what waits, then closes."""
        await self._writer.aclose()
        self.close()

    def close(self) -> None:
        """As `aclose`, for when nothing waits to be written."""
        self._watch.close()
        self._writer.close()
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

    def revision_now(self) -> str | None:
        """The schema that the file has; None when it is none of ours. Changes nothing."""
        return self.read_now(lambda connection: revision_of(_driver(connection)))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in the next transaction, in the event loop: it must be quick. Returns after the commit.

        An exception of `work` undoes only what `work` did. Raises Transient when the database is locked or full.
        """
        result: T = await self._writer.submit(work, None, is_bulk=False)
        return result

    def write_bulk(self, work: Callable[[Connection, Sequence[Any]], Sequence[T]], item: Any) -> asyncio.Future[T]:
        """As `write`, but calls of the same function that share a transaction are made as one. A plain future:
        who has hundreds of these under way needs no task for each.
        """
        return self._writer.submit(work, item, is_bulk=True)

    def version(self) -> int:
        """Another number after each commit of anybody; takes microseconds, in the calling thread."""
        return self._watch.version()

    async def prove_writable(self) -> None:
        """Really writes a page and syncs it; raises Transient when that fails. Changes nothing that counts."""
        await self.write(_touch)


class _Watch:
    """A connection of its own that reads no row: SQLite tells each one what others have committed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._last = 0

    def version(self) -> int:
        """A look that fails is no news; the next one may tell."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, timeout=0, check_same_thread=False)
            (self._last,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            self.close()
        return self._last

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Writer:
    """The one writer of this process. Its task lives as long as there is something to write."""

    def __init__(self, engine: Engine, path: Path, wait_s: float) -> None:
        self._engine = engine
        self._wait_s = wait_s
        self._waiting: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._under_way: _Transaction | None = None
        self._connection: Connection | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="db-commit")
        self._wal = _Wal(engine, path.with_name(path.name + "-wal"))

    def submit(self, work: Write | Bulk, item: Any, *, is_bulk: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        job = _Job(work, item, is_bulk, loop.create_future())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._write_all())
        if is_bulk and len(self._waiting) >= CROWD:
            self._go_on()
        return job.future

    async def aclose(self) -> None:
        if self._task:
            await self._task
        await self._wal.aclose()

    def close(self) -> None:
        self._drop()
        self._wal.close()
        self._disk.shutdown()

    async def _write_all(self) -> None:
        while self._under_way or self._waiting:
            under_way = self._under_way or await self._next()
            with contextlib.suppress(Exception):  # _finish tells it to whom it concerns
                await asyncio.wrap_future(under_way.flushed)
            self._finish(under_way)
            await self._wal.keep_short()

    async def _next(self) -> _Transaction:
        jobs = self._taken()
        try:
            connection = self._connection = self._connection or self._engine.connect()
            await self._begin(connection)
        except Exception as error:  # noqa: BLE001 - the outermost loop: told to every caller that waits
            # All of them: whoever came in the meantime would wait as long, one batch after the other.
            self._under_way = _Transaction([*jobs, *self._waiting], _failed(error))
            self._waiting.clear()
            return self._under_way
        return self._run(connection, jobs)

    def _go_on(self) -> None:
        """From a commit that is through to the next, without a turn of the loop; where the log is to be cut, or
        another program has the lock, the task does it, which can wait.
        """
        before = self._under_way
        if before is None or not before.flushed.done() or self._wal.is_long:
            return
        self._finish(before)
        with contextlib.suppress(DBAPIError):  # the task meets it again, and tells it
            if self._connection is not None and _try_begin(self._connection):
                self._run(self._connection, self._taken())

    def _taken(self) -> list[_Job]:
        return [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]

    def _run(self, connection: Connection, jobs: Sequence[_Job]) -> _Transaction:
        try:
            _run(connection, jobs)
            flushed = self._disk.submit(connection.commit)
        except Exception as error:  # noqa: BLE001 - as in _next
            flushed = _failed(error)
        self._under_way = _Transaction(jobs, flushed)
        return self._under_way

    def _finish(self, under_way: _Transaction) -> None:
        """Once: a crowd may have gone on already."""
        if under_way is not self._under_way:
            return
        self._under_way = None
        error = under_way.flushed.exception()
        if error:
            for job in under_way.jobs:
                job.error = job.error or _told(error)
            self._drop()
        _answer(under_way.jobs)

    async def _begin(self, connection: Connection) -> None:
        """Waits for another program's lock without holding up the event loop."""
        until = asyncio.get_running_loop().time() + self._wait_s
        while asyncio.get_running_loop().time() <= until:
            if _try_begin(connection):
                return
            await asyncio.sleep(LOCK_POLL_S)
        connection.begin()

    def _drop(self) -> None:
        """After a fault the connection is renewed: a broken one would fail for ever."""
        if self._connection:
            with contextlib.suppress(DBAPIError):
                self._connection.close()
            self._connection = None


class _Wal:
    """Keeps the write-ahead log short: most of a checkpoint runs beside the writer, its rest between writes."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="db-checkpoint")
        self._running: asyncio.Future[None] | None = None

    @property
    def is_long(self) -> bool:
        """A checkpoint runs; its rest is to be done while nothing is written."""
        return self._running is not None

    async def keep_short(self) -> None:
        loop = asyncio.get_running_loop()
        if self._running is None:
            if _size(self._path) > WAL_CHECKPOINT_BYTES:
                self._running = loop.run_in_executor(self._disk, self._checkpoint)
        elif self._running.done():
            self._running = None
            await loop.run_in_executor(self._disk, self._checkpoint)  # now nothing is left: the log starts anew

    async def aclose(self) -> None:
        if self._running:
            await self._running

    def close(self) -> None:
        self._disk.shutdown()

    def _checkpoint(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._engine.raw_connection()) as connection:
            connection.cursor().execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            )  # a failed one is made up for by the next


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _failed(error: Exception) -> Future[None]:
    failed: Future[None] = Future()
    failed.set_exception(error)
    return failed


def _try_begin(connection: Connection) -> bool:
    """False: another program has the lock. Raises OperationalError for anything else."""
    try:
        connection.begin()
    except OperationalError as error:
        if not _is_lock(error):
            raise
        connection.rollback()
        return False
    return True


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
    say(connection, "SAVEPOINT caller")
    try:
        job.result = job.work(connection)  # type: ignore[call-arg]
        say(connection, "RELEASE caller")
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - belongs to the caller, and only to it
        say(connection, "ROLLBACK TO caller")
        say(connection, "RELEASE caller")
        job.error = error


def say(connection: Connection, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Straight to SQLite, in the connection's transaction: begins it where need be. Raises what SQLAlchemy would.

    SQLAlchemy takes longer to hand over most of our statements than SQLite to run them.
    """
    if not connection.in_transaction():
        connection.begin()
    return _hand_over(connection, statement, values)


def say_for_each(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """As `say`, once for each row of values."""
    if not connection.in_transaction():
        connection.begin()
    try:
        _driver(connection).executemany(statement, rows)
    except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
        raise _as_of_sqlalchemy(statement, error) from error


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - this module opens nothing else
    return driver


def _hand_over(connection: Connection, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    try:
        return _driver(connection).execute(statement, values)
    except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
        raise _as_of_sqlalchemy(statement, error) from error


def _as_of_sqlalchemy(statement: str, error: sqlite3.OperationalError | sqlite3.IntegrityError) -> DBAPIError:
    kind = OperationalError if isinstance(error, sqlite3.OperationalError) else IntegrityError
    return kind(statement, None, error)


def _touch(connection: Connection) -> None:
    """user_version is four bytes of the file's header that SQLite leaves to its users."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar() or 0
    connection.exec_driver_sql(f"PRAGMA user_version = {(int(version) + 1) % 2**31}")


def _answer(batch: Sequence[_Job]) -> None:
    for job in batch:
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
        raise _told(error) from error


def _told(error: BaseException) -> BaseException:
    """What callers are told of it."""
    return unavailable(error.orig) if isinstance(error, OperationalError) else error


def _is_lock(error: OperationalError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) and error.orig.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _engine(url: str, wait_s: float, *, writes: bool) -> Engine:
    """Writers take the lock at once, so that no transaction dies by upgrading; readers cannot write at all."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=2 if writes else READERS,
        max_overflow=0 if writes else READERS,
        connect_args={"timeout": wait_s, "check_same_thread": False},
    )
    engine.dialect.use_insertmanyvalues_wo_returning = True  # one INSERT of many rows is one step of SQLite
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    # A log that begins anew keeps its file, which is cut to this: what is longer holds more than was checkpointed.
    cut = f"journal_size_limit={WAL_CHECKPOINT_BYTES}"
    pragmas = [*PRAGMAS, f"query_only={'OFF' if writes else 'ON'}", "wal_autocheckpoint=0", cut]

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.create_function("folded", 1, str.casefold, deterministic=True)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: _hand_over(connection, begin))
    return engine

"""`orch verify`: makes every stored decision again from what it rested on. Reads the database; needs no server."""

from collections import Counter
from collections.abc import Iterator

from orchestrator.cli.setup import NOT_FOUND, read, say
from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.model import TaskId
from orchestrator.store import decisions, tasks
from orchestrator.store.decisions import Stored
from orchestrator.store.recompute import Same, compared

PAGE = 50
"""Rows that are held in memory at once."""


def run(key: str | None) -> int:
    """0 when all came out the same, 1 when one did not, 4 when there is no such task."""
    settings, _ = read()
    database = Database(settings.database)
    try:
        if not database.path.exists():
            say(f"There is no database at {database.path}.")
            return 1
        return _verify(database, key)
    except OrchestratorError as error:
        say(error.message, error.hint)
        return 1
    finally:
        database.close()


def _verify(database: Database, key: str | None) -> int:
    task = database.read_now(lambda connection: tasks.by_key(connection, key)) if key else None
    if key and task is None:
        say(f"There is no task {key[:60]}.")
        return NOT_FOUND
    counts: Counter[Same] = Counter()
    for row in _rows(database, task.id if task else None):
        same, what = compared(row)
        counts[same] += 1
        if same is Same.NO:
            print(f"decision {row.id} of task {row.task}, {row.decided_at.isoformat()}: {what}")
    print(_summary(counts))
    return 1 if counts[Same.NO] else 0


def _rows(database: Database, task: TaskId | None) -> Iterator[Stored]:
    """In pages, each read in a moment of its own, so that nothing grows and no writer waits."""
    after = 0
    while page := _page(database, after, task):
        yield from page
        after = page[-1].id


def _page(database: Database, after: int, task: TaskId | None) -> list[Stored]:
    return database.read_now(lambda connection: decisions.stored(connection, after, PAGE, task))


def _summary(counts: Counter[Same]) -> str:
    written = f" ({counts[Same.MEANING]} of them written in an older form)" if counts[Same.MEANING] else ""
    fine = counts[Same.BYTES] + counts[Same.MEANING]
    older = f"{counts[Same.OLDER]} by older rules that said something else, " if counts[Same.OLDER] else ""
    return f"{counts.total()} decisions made again: {fine} the same{written}, {older}{counts[Same.NO]} differ"

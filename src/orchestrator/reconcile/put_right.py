"""Writes again what people wrote over, each thing once in a while: they may go on doing so."""

from datetime import UTC, datetime

import structlog

from orchestrator.db import Database
from orchestrator.domain.model import Task
from orchestrator.reconcile.deliver import decoded
from orchestrator.reconcile.observe import MAX_REMEMBERED, Observed
from orchestrator.reconcile.overwritten import is_overwritten, suspects
from orchestrator.store import outbox
from orchestrator.store.outbox import EffectRow

log = structlog.get_logger()
PUT_RIGHT_S = 60.0
"""So long lies between two times that one thing is written again."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class PutRight:
    """Of all tasks. What it remembers is lost with the process: then something is written again once too often."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at: dict[str, datetime] = {}

    async def queue(self, task: Task, seen: Observed, began: datetime) -> float | None:
        """`began`: when the look did, before anything was seen. Returns how long something has to wait for its
        turn, in seconds; None when nothing has.
        """
        left: list[float] = []
        for row in self._overwritten(task, seen, began):
            wait_s = PUT_RIGHT_S - (began - self._at.get(row.key, _NEVER)).total_seconds()
            if wait_s > 0:
                left.append(wait_s)
            else:
                await self._again(task, row, began)
        return min(left, default=None)

    async def _again(self, task: Task, row: EffectRow, now: datetime) -> None:
        await self._database.write(lambda connection: outbox.undone(connection, row))
        log.warning("written_over", task=task.id, effect=row.key)
        if len(self._at) >= MAX_REMEMBERED:
            self._at.clear()
        self._at[row.key] = now

    def _overwritten(self, task: Task, seen: Observed, began: datetime) -> list[EffectRow]:
        """Rows that were carried out before this look began: what it did itself it has not seen."""
        keys = tuple(suspects(task, seen))
        if not keys:
            return []
        rows = self._database.read_now(
            lambda connection: [outbox.done_before(connection, key, began) for key in keys]
        )
        return [row for row in rows if row and is_overwritten(decoded(row), seen)]

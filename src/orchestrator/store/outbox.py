"""Rows of `effects`: writes to the outside that were decided. Queued with the decision, carried out after it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.effect import Again
from orchestrator.domain.forge import ReviewPublished
from orchestrator.domain.model import TaskId
from orchestrator.qg.facts import Unwritten
from orchestrator.store.prepared import Prepared
from orchestrator.store.schema import effects

MAX_UNWRITTEN, MAX_WHY = 5, 300


@dataclass(frozen=True, slots=True)
class EffectRow:
    """An effect that is due. `arguments` is its value, encoded; `error` is why it was refused last."""

    id: int
    key: str
    kind: str
    arguments: str
    error: str = ""


_UPSERT = upsert(effects)
_ONCE = _UPSERT.on_conflict_do_nothing(index_elements=[effects.c.key])
_LATEST = _UPSERT.on_conflict_do_update(
    index_elements=[effects.c.key],
    set_={"arguments": _UPSERT.excluded.arguments, "done_at": None, "error": ""},
    where=effects.c.arguments != _UPSERT.excluded.arguments,
)
_MAY_BE_REDONE = (effects.c.error == "") | (effects.c.error == ReviewPublished.CLOSED_PULL_REQUEST.value)
"""Who wants a review of what was closed has seen that it is open again."""
_REDONE = _UPSERT.on_conflict_do_update(
    index_elements=[effects.c.key],
    set_={"arguments": _UPSERT.excluded.arguments, "done_at": None, "error": ""},
    where=effects.c.done_at.is_not(None) & _MAY_BE_REDONE,
)
_COLUMNS = ("task_id", "key", "kind", "arguments", "created_at")
_QUEUE = {
    Again.NEVER: Prepared(_ONCE, _COLUMNS),
    Again.WHEN_CHANGED: Prepared(_LATEST, _COLUMNS),
    Again.WHEN_WANTED: Prepared(_REDONE, _COLUMNS),
}
_DUE = Prepared(
    select(effects)
    .where(effects.c.task_id == bindparam("task"), effects.c.done_at.is_(None))
    .order_by(effects.c.id)
)


_UNWRITTEN = Prepared(
    select(effects.c.kind, effects.c.error)
    .where(effects.c.task_id == bindparam("task"), effects.c.done_at.is_(None), effects.c.error != "")
    .order_by(effects.c.id)
    .limit(MAX_UNWRITTEN)
)


def queue(  # noqa: PLR0913 - a row has these columns
    connection: Connection,
    task: TaskId,
    key: str,
    kind: str,
    arguments: str,
    now: datetime,
    *,
    again: Again = Again.NEVER,
) -> None:
    """One row a key for ever. What was refused for good is never done again, but a review of a pull request that
    was closed then.
    """
    row = {"task_id": task, "key": key, "kind": kind, "arguments": arguments, "created_at": now}
    _QUEUE[again].run(connection, row)


def due(connection: Connection, task: TaskId) -> list[EffectRow]:
    """In the order in which they were decided first."""
    rows = _DUE.rows(connection, {"task": task})
    return [EffectRow(row.id, row.key, row.kind, row.arguments, row.error) for row in rows]


def unwritten(connection: Connection, task: TaskId) -> tuple[Unwritten, ...]:
    """What was refused, and waits for somebody to mend the reason; some of it."""
    rows = _UNWRITTEN.rows(connection, {"task": task})
    return tuple([Unwritten(row.kind, row.error[:MAX_WHY]) for row in rows])


def done(connection: Connection, effect: EffectRow, now: datetime, refusal: str = "") -> None:
    """Not, when other arguments were queued while it was under way. With a `refusal` it is never redone."""
    is_same = (effects.c.id == effect.id, effects.c.arguments == effect.arguments)
    connection.execute(update(effects).where(*is_same).values(done_at=now, error=refusal))


def done_before(connection: Connection, key: str, moment: datetime) -> EffectRow | None:
    """What was carried out under this key by then, and was not refused."""
    is_it = (effects.c.key == key, effects.c.done_at < moment, effects.c.error == "")
    row = connection.execute(select(effects).where(*is_it)).one_or_none()
    return EffectRow(row.id, row.key, row.kind, row.arguments) if row else None


def undone(connection: Connection, effect: EffectRow) -> None:
    """Others wrote over it: it is to be carried out again."""
    connection.execute(update(effects).where(effects.c.id == effect.id).values(done_at=None))


def failed(connection: Connection, effect: EffectRow, error: str) -> None:
    """Why it was refused."""
    connection.execute(update(effects).where(effects.c.id == effect.id).values(error=error))

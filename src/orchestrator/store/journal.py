"""The journal: every delivery, once. Tasks are found or made in the same transaction as the event."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from orchestrator.domain.events import (
    BranchMoved,
    CommentChanged,
    CommitChecked,
    Delivery,
    Ignored,
    PullRequestChanged,
    WorkItemChanged,
    WorkItemDeleted,
)
from orchestrator.domain.model import TaskId
from orchestrator.store import tasks as task_rows
from orchestrator.store.schema import events

REUSED_ID = "delivery_id_reused"
"""Flag of an event whose delivery id came before with another body: a faulty or a hostile sender."""
NO_TASK = "belongs to no task"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recorded:
    """`task` is whom to wake, if anyone."""

    is_new: bool
    task: TaskId | None


@dataclass(slots=True)
class _Entry:
    """One content: the row that has it (known) or the delivery that will make it (fresh)."""

    source: str
    body_sha256: str
    task: TaskId | None = None
    fresh: Delivery | None = None
    flag: str | None = None
    repeats: int = 0


_Key = tuple[str, str, str]


def record(connection: Connection, deliveries: Sequence[Delivery]) -> list[Recorded]:
    """Stores what is new and counts what is known; one answer per delivery, in order."""
    book = _known(connection, deliveries)
    answers: list[tuple[bool, _Entry]] = []
    for delivery in deliveries:
        keys = _keys(delivery)
        entry = next((book[key] for key in keys if key in book), None)
        is_new = entry is None
        entry = entry or _Entry(*_body(delivery), fresh=delivery)
        answers.append((is_new, entry))
        entry.repeats += 1
        book.update(dict.fromkeys(keys, entry))
    entries = [entry for is_new, entry in answers if is_new]
    if entries:
        _find_tasks(connection, entries)
        _flag_reused_ids(connection, entries)
        connection.execute(insert(events), [_row(entry) for entry in entries])
    _count_repeats(
        connection, [entry for is_new, entry in answers if not is_new and entry.fresh is None], deliveries
    )
    return [Recorded(is_new, entry.task) for is_new, entry in answers]


def _body(delivery: Delivery) -> tuple[str, str]:
    return delivery.source.value, delivery.body_sha256


def _keys(delivery: Delivery) -> list[_Key]:
    """A Plane v2 retry has a new body and the same event_id; every other retry has the same body."""
    source, sha = _body(delivery)
    keys = [(source, "body", sha)]
    if delivery.parsed.event_id:
        keys.append((source, "event", delivery.parsed.event_id))
    return keys


def _known(connection: Connection, deliveries: Sequence[Delivery]) -> dict[_Key, _Entry]:
    book: dict[_Key, _Entry] = {}
    bodies = [delivery.body_sha256 for delivery in deliveries]
    ids = [delivery.parsed.event_id for delivery in deliveries if delivery.parsed.event_id]
    columns = select(events.c.source, events.c.body_sha256, events.c.event_id, events.c.task_id)
    found = connection.execute(
        columns.where(or_(events.c.body_sha256.in_(bodies), events.c.event_id.in_(ids)))
    ).all()
    for row in found:
        entry = _Entry(row.source, row.body_sha256, row.task_id)
        book[row.source, "body", row.body_sha256] = entry
        if row.event_id:
            book[row.source, "event", row.event_id] = entry
    return book


def _find_tasks(connection: Connection, entries: Iterable[_Entry]) -> None:
    """A changed work item makes its task; everything else only finds one."""
    by_item: dict[str, list[_Entry]] = {}
    by_branch: dict[tuple[str, str], list[_Entry]] = {}
    by_head: dict[str, list[_Entry]] = {}
    for entry in entries:
        assert entry.fresh  # noqa: S101 - record passes only fresh ones
        match entry.fresh.parsed.event:
            case WorkItemChanged() as changed:
                entry.task = task_rows.ensure_for_item(connection, changed, entry.fresh.received_at)
            case CommentChanged(item=item) | WorkItemDeleted(item=item):
                by_item.setdefault(item, []).append(entry)
            case BranchMoved(repo=repo, branch=branch) | PullRequestChanged(repo=repo, branch=branch):
                by_branch.setdefault((repo, branch), []).append(entry)
            case CommitChecked(head=head):
                by_head.setdefault(head, []).append(entry)
            case Ignored():
                pass
    _assign(task_rows.ids_by_item(connection, by_item), by_item)
    _assign(task_rows.ids_by_branch(connection, by_branch), by_branch)
    _assign(task_rows.ids_by_head(connection, by_head), by_head)


def _assign(found: Mapping[_T, TaskId], entries: Mapping[_T, Iterable[_Entry]]) -> None:
    for key, task in found.items():
        for entry in entries[key]:
            entry.task = task


def _flag_reused_ids(connection: Connection, entries: Sequence[_Entry]) -> None:
    ids = [entry.fresh.delivery_id for entry in entries if entry.fresh and entry.fresh.delivery_id]
    query = select(events.c.source, events.c.delivery_id).where(events.c.delivery_id.in_(ids))
    used = {(row.source, row.delivery_id) for row in connection.execute(query)}
    for entry in entries:
        assert entry.fresh  # noqa: S101 - record passes only fresh ones
        ident = (entry.source, entry.fresh.delivery_id)
        if ident[1] and ident in used:
            entry.flag = REUSED_ID
        used.add(ident)


def _row(entry: _Entry) -> dict[str, object]:
    delivery = entry.fresh
    assert delivery  # noqa: S101 - record passes only fresh ones
    parsed = delivery.parsed
    ignored = parsed.event.reason if isinstance(parsed.event, Ignored) else None
    if ignored is None and entry.task is None:
        ignored = NO_TASK
    return {
        "timestamp": delivery.received_at,
        "source": entry.source,
        "event_type": parsed.event_type,
        "action": parsed.action,
        "payload": delivery.payload,
        "processed": int(ignored is not None),
        "delivery_id": delivery.delivery_id,
        "body_sha256": entry.body_sha256,
        "event_id": parsed.event_id,
        "task_id": entry.task,
        "headers": msgspec.json.encode(delivery.headers).decode(),
        "ignored": ignored,
        "flag": entry.flag,
        "repeats": entry.repeats - 1,
        "last_repeat_at": delivery.received_at if entry.repeats > 1 else None,
    }


def _count_repeats(connection: Connection, known: Sequence[_Entry], deliveries: Sequence[Delivery]) -> None:
    if not known:
        return
    statement = (
        update(events)
        .where(events.c.source == bindparam("of_source"), events.c.body_sha256 == bindparam("of_body"))
        .values(repeats=events.c.repeats + bindparam("more"), last_repeat_at=bindparam("at"))
    )
    at = max(delivery.received_at for delivery in deliveries)
    counts = {(entry.source, entry.body_sha256): entry.repeats for entry in known}
    rows = [{"of_source": source, "of_body": body, "more": n, "at": at} for (source, body), n in counts.items()]
    connection.execute(statement, rows)


def newest_of_task(connection: Connection, task: TaskId) -> int:
    """The id up to which a look at the task has seen everything; 0 when there is no event."""
    return connection.execute(select(func.max(events.c.id)).where(events.c.task_id == task)).scalar() or 0


def mark_processed(connection: Connection, task: TaskId, up_to: int) -> None:
    unprocessed = (events.c.task_id == task, events.c.processed == 0, events.c.id <= up_to)
    connection.execute(update(events).where(*unprocessed).values(processed=1))


def tasks_with_unprocessed(connection: Connection) -> list[TaskId]:
    """Tasks whose events nobody has looked at: what a killed process left behind."""
    query = select(events.c.task_id).where(events.c.processed == 0, events.c.task_id.is_not(None)).distinct()
    return [TaskId(row.task_id) for row in connection.execute(query)]

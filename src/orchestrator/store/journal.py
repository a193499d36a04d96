"""The journal: every delivery, once. Tasks are found or made in the same transaction as the event."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from orchestrator.db import say, say_for_each
from orchestrator.domain.events import (
    BranchMoved,
    CommentChanged,
    CommitChecked,
    Delivery,
    Ignored,
    Parsed,
    PullRequestChanged,
    WorkItemChanged,
    WorkItemDeleted,
)
from orchestrator.domain.model import Source, TaskId
from orchestrator.store import tasks as task_rows
from orchestrator.store.payload import packed
from orchestrator.store.schema import events

REUSED_ID = "delivery_id_reused"
"""Flag of an event whose delivery id came before with another body: a faulty or a hostile sender."""
NO_TASK = "belongs to no task"
ECHO = "our own doing"
"""Why an event of ours is ignored: nobody is woken for it, so no look would ever mark it."""
_T = TypeVar("_T")


class Entry(NamedTuple):
    """A delivery on its way into the journal: its body packed, since hundreds may wait for the disk at once."""

    source: Source
    received_at: datetime
    delivery_id: str
    body_sha256: str
    payload: str | bytes
    headers: tuple[tuple[str, str], ...]
    parsed: Parsed
    is_echo: bool


def entry(delivery: Delivery, *, is_echo: bool = False) -> Entry:
    """Packed at once, while the body is still in the processor's cache. `is_echo`: it tells what we did."""
    return Entry(
        delivery.source,
        delivery.received_at,
        delivery.delivery_id,
        delivery.body_sha256,
        packed(delivery.payload),
        delivery.headers,
        delivery.parsed,
        is_echo,
    )


class Recorded(msgspec.Struct, frozen=True):
    """`task` is whom to wake, if anyone, and `others` too."""

    is_new: bool
    task: TaskId | None
    others: tuple[TaskId, ...] = ()


class _Content(msgspec.Struct):
    """One content: the row that has it (known) or the entry that will make it (fresh)."""

    source: str
    body_sha256: str
    task: TaskId | None = None
    fresh: Entry | None = None
    flag: str | None = None
    repeats: int = 0
    others: tuple[TaskId, ...] = ()


_Key = tuple[str, str, str]


def record(connection: Connection, deliveries: Sequence[Entry]) -> list[Recorded]:
    """Stores what is new and counts what is known; one answer per delivery, in order."""
    book = _known(connection, deliveries)
    answers: list[tuple[bool, _Content]] = []
    for delivery in deliveries:
        keys = _keys(delivery)
        entry = _first(book, keys)
        is_new = entry is None
        entry = entry or _Content(*_body(delivery), fresh=delivery)
        answers.append((is_new, entry))
        entry.repeats += 1
        for key in keys:
            book[key] = entry
    entries = [entry for is_new, entry in answers if is_new]
    if entries:
        _find_tasks(connection, entries)
        _flag_reused_ids(connection, entries)
        _insert(connection, entries)
    _count_repeats(
        connection, [entry for is_new, entry in answers if not is_new and entry.fresh is None], deliveries
    )
    return [Recorded(is_new, entry.task, entry.others) for is_new, entry in answers]


def _body(delivery: Entry) -> tuple[str, str]:
    return delivery.source.value, delivery.body_sha256


def _keys(delivery: Entry) -> list[_Key]:
    """A Plane v2 retry has a new body and the same event_id; every other retry has the same body."""
    source, sha = _body(delivery)
    keys = [(source, "body", sha)]
    if delivery.parsed.event_id:
        keys.append((source, "event", delivery.parsed.event_id))
    return keys


def _first(book: Mapping[_Key, _Content], keys: Sequence[_Key]) -> _Content | None:
    for key in keys:
        if key in book:
            return book[key]
    return None


_FOUND = "SELECT source, body_sha256, event_id, task_id FROM events WHERE source = ?"
_KEYS = "(SELECT value FROM json_each(?))"
# The driver's own texts: for SQLAlchemy to prepare them took longer than to run them. Each is one index look-up a
# key: an OR, or a missing source, would read the whole journal.
_BY_BODY = f"{_FOUND} AND body_sha256 IN {_KEYS}"
_BY_EVENT_ID = f"{_FOUND} AND event_id IN {_KEYS}"
_USED_IDS = f"SELECT delivery_id FROM events WHERE source = ? AND delivery_id IN {_KEYS}"  # noqa: S608 - constants


def _known(connection: Connection, deliveries: Sequence[Entry]) -> dict[_Key, _Content]:
    book: dict[_Key, _Content] = {}
    for source in {delivery.source for delivery in deliveries}:
        own = [delivery for delivery in deliveries if delivery.source is source]
        _look_up(connection, book, _BY_BODY, source, [one.body_sha256 for one in own])
        ids = [one.parsed.event_id for one in own if one.parsed.event_id]
        if ids:
            _look_up(connection, book, _BY_EVENT_ID, source, ids)
    return book


def _look_up(
    connection: Connection, book: dict[_Key, _Content], query: str, source: Source, keys: Sequence[str]
) -> None:
    for of_source, sha, event_id, task in say(connection, query, (source.value, _json(keys))):
        entry = book.get((of_source, "body", sha)) or _Content(of_source, sha, task)
        book[of_source, "body", sha] = entry
        if event_id:
            book[of_source, "event", event_id] = entry


def _find_tasks(connection: Connection, entries: Iterable[_Content]) -> None:
    """A changed work item makes its task; everything else only finds one."""
    by_item: dict[str, list[_Content]] = {}
    by_branch: dict[tuple[str, str], list[_Content]] = {}
    by_head: dict[tuple[str, str], list[_Content]] = {}
    for entry in entries:
        assert entry.fresh  # noqa: S101 - record passes only fresh ones
        match entry.fresh.parsed.event:
            case WorkItemChanged() as changed:
                entry.task = task_rows.ensure_for_item(connection, changed, entry.fresh.received_at)
            case CommentChanged(item=item) | WorkItemDeleted(item=item):
                by_item.setdefault(item, []).append(entry)
            case BranchMoved(repo=repo, branch=branch) | PullRequestChanged(repo=repo, branch=branch):
                by_branch.setdefault((repo, branch), []).append(entry)
            case CommitChecked(repo=repo, head=head):
                by_head.setdefault((repo, head), []).append(entry)
            case Ignored():
                pass
    _assign(task_rows.ids_by_item(connection, by_item), by_item)
    _assign(task_rows.ids_by_branch(connection, by_branch), by_branch)
    for key, (task, *others) in task_rows.ids_by_head(connection, by_head).items():
        for entry in by_head[key]:
            entry.task, entry.others = task, tuple(others)


def _assign(found: Mapping[_T, TaskId], entries: Mapping[_T, Iterable[_Content]]) -> None:
    for key, task in found.items():
        for entry in entries[key]:
            entry.task = task


def _flag_reused_ids(connection: Connection, entries: Sequence[_Content]) -> None:
    for source in {entry.source for entry in entries}:
        own = [(entry, entry.fresh.delivery_id) for entry in entries if entry.source == source and entry.fresh]
        ids = [ident for _, ident in own if ident]
        used = {used for (used,) in say(connection, _USED_IDS, (source, _json(ids)))}
        for entry, ident in own:
            entry.flag = REUSED_ID if ident in used else None
            used |= {ident} if ident else set()


_COLUMNS = (
    "timestamp, source, event_type, action, payload, processed, delivery_id, body_sha256, "
    "event_id, task_id, headers, ignored, flag, repeats, last_repeat_at"
)


_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(', ')))})"  # noqa: S608 - constants


def _insert(connection: Connection, entries: Sequence[_Content]) -> None:
    say_for_each(connection, _INSERT, [_row(entry) for entry in entries])


def _row(entry: _Content) -> tuple[object, ...]:
    """In the order of _COLUMNS."""
    delivery = entry.fresh
    assert delivery  # noqa: S101 - record passes only fresh ones
    parsed, at = delivery.parsed, _stored(delivery.received_at)
    ignored = parsed.event.reason if isinstance(parsed.event, Ignored) else None
    if ignored is None and entry.task is None:
        ignored = NO_TASK
    if ignored is None and delivery.is_echo:
        ignored = ECHO
    what = (at, entry.source, parsed.event_type, parsed.action, delivery.payload, int(ignored is not None))
    who = (delivery.delivery_id, entry.body_sha256, parsed.event_id, entry.task, _json(delivery.headers))
    repeated_at = at if entry.repeats > 1 else None
    return (*what, *who, ignored, entry.flag, entry.repeats - 1, repeated_at)


def _stored(at: datetime) -> str:
    """As the column's type would write it, without asking it for every row."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _count_repeats(connection: Connection, known: Sequence[_Content], deliveries: Sequence[Entry]) -> None:
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


_PROCESSED = "UPDATE events SET processed = 1 WHERE task_id = ? AND processed = 0 AND id <= ?"


def mark_processed(connection: Connection, task: TaskId, up_to: int) -> None:
    say(connection, _PROCESSED, (task, up_to))


def tasks_with_unprocessed(connection: Connection) -> list[TaskId]:
    """Tasks whose events nobody has looked at: what a killed process left behind."""
    query = select(events.c.task_id).where(events.c.processed == 0, events.c.task_id.is_not(None)).distinct()
    return [TaskId(row.task_id) for row in connection.execute(query)]


_OF_EVENT = select(events.c.task_id).where(events.c.id == bindparam("event"))


def task_of(connection: Connection, event: int) -> tuple[bool, TaskId | None]:
    """Whether there is such an event, and the task that it belongs to."""
    row = connection.execute(_OF_EVENT, {"event": event}).one_or_none()
    return row is not None, TaskId(row.task_id) if row and row.task_id is not None else None

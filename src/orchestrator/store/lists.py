"""Lists for people, newest first, in pages. A page's time does not grow with what lies behind it: it begins at a
key, and looks at a bounded number of rows even when few of them are wanted.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, literal_column, select

from orchestrator.domain.errors import Rejected
from orchestrator.domain.model import Stage, TaskId
from orchestrator.domain.run import RunState
from orchestrator.qg.verdict import LOGIN
from orchestrator.store.decisions import Told, decoded
from orchestrator.store.journal import REUSED_ID
from orchestrator.store.payload import unpacked
from orchestrator.store.schema import agent_runs, decisions, events, tasks
from orchestrator.store.tasks import waiting_items
from orchestrator.store.views import RunView, TaskView, run_view, with_last_run

T = TypeVar("T")
MOST = 200
"""Rows of a page."""
SCANNED = 5_000
"""Events that one page looks at. A page may so be short, or empty, and still have a next one."""
SLACK = 256
"""Events are stored in the order of their times, but for so many of them that arrive at once."""
MOST_LED_TO = 50
PERSONS = frozenset({"operator", "approver", "author", "developer", "reviewer", "maintainer"})
"""Who of those that a task may wait for are people."""
_MAX_CURSOR_CHARS = 60
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next` begins the page of what is older; None when there is none."""

    rows: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """`needs`: a person (`person`), or one kind of them, has to do something. `text`: in key or title."""

    stage: Stage | None = None
    is_open: bool | None = None
    repo: str = ""
    needs: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Empty: all of them. `task` is a key."""

    task: str = ""
    role: str = ""
    state: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Empty: all of them. `task` is a key; `since` is included, `until` is not."""

    source: str = ""
    event_type: str = ""
    task: str = ""
    since: datetime | None = None
    until: datetime | None = None
    is_ignored: bool | None = None
    is_flagged: bool | None = None


@dataclass(frozen=True, slots=True)
class EventView:
    """A delivery without its body. `task` is a key, None when it belongs to none that has one; `has_task` says
    whether it belongs to one at all.
    """

    id: int
    received_at: datetime
    source: str
    event_type: str
    action: str
    task: str | None
    has_task: bool
    delivery_id: str
    event_id: str | None
    body_sha256: str
    is_processed: bool
    ignored: str | None
    flag: str | None
    repeats: int
    last_repeat_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventStory:
    """A delivery as it came, and what it led to: the decisions of its task until its next event, or the one after
    that when there is none; and the runs that these intended.
    """

    event: EventView
    headers: tuple[tuple[str, str], ...]
    body: str
    decisions: tuple[Told, ...]
    runs: tuple[RunView, ...]


@dataclass(frozen=True, slots=True)
class DecisionStory:
    """One decision with all that it rested on, as it is stored. `task` is a key."""

    task: str
    told: Told
    basis_text: str


def tasks_page(
    connection: Connection, wanted: TaskFilter, limit: int = 50, cursor: str | None = None
) -> Page[TaskView]:
    """Each with its last run only. Reads the tasks from the newest on, until it has its page."""
    query = select(tasks).where(*_of_tasks(wanted)).order_by(tasks.c.id.desc())
    rows, following = _page(connection, query, tasks.c.id, "t", limit, cursor)
    return Page(tuple(with_last_run(connection, rows)), following)


def _of_tasks(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.stage is not None:
        found.append(tasks.c.stage == wanted.stage)
    if wanted.is_open is not None:
        found.append((tasks.c.stage != Stage.DONE) if wanted.is_open else (tasks.c.stage == Stage.DONE))
    if wanted.repo:
        found.append(func.lower(tasks.c.repo) == wanted.repo.lower())
    if wanted.text:
        text = wanted.text.casefold()
        found.append(_holds(tasks.c.key, text) | _holds(tasks.c.title, text))
    if wanted.needs:
        whom = sorted(PERSONS) if wanted.needs == "person" else [wanted.needs]
        item = func.json_each(tasks.c.waiting).table_valued("value")
        who = func.json_extract(item.c.value, "$.who")
        is_theirs = (
            who.in_(whom) | (func.substr(who, 1, 1) == LOGIN) if wanted.needs == "person" else who.in_(whom)
        )
        found += [tasks.c.stage != Stage.DONE, select(item.c.value).where(is_theirs).exists()]
    return found


def _holds(column: ColumnElement[Any], folded: str) -> ColumnElement[bool]:
    """SQLite's own functions know the capitals of English alone."""
    return func.instr(func.folded(func.coalesce(column, "")), folded) > 0


def runs_page(
    connection: Connection, wanted: RunFilter, limit: int = 50, cursor: str | None = None
) -> Page[RunView]:
    query: Select[Any] = select(agent_runs, tasks.c.key).join(tasks)
    order: ColumnElement[int] = agent_runs.c.id
    task = task_id(connection, wanted.task)
    if wanted.task and task is None:
        return Page(())
    if task is not None:
        query = query.where(agent_runs.c.task_id == task)
    if wanted.role:
        query = query.where(agent_runs.c.agent == wanted.role)
    if wanted.outcome:
        query = query.where(agent_runs.c.outcome == wanted.outcome)
    if wanted.state:
        query = query.where(agent_runs.c.state == wanted.state)
    if wanted.state and wanted.state != RunState.ENDED:
        # The few open ones have an index of their own, which is not taken where another has the wanted order.
        query, order = query.where(literal_column("agent_runs.state != 'ended'")), agent_runs.c.id + 0
    rows, following = _page(connection, query.order_by(order.desc()), order, "r", limit, cursor)
    return Page(tuple(run_view(row, row.key) for row in rows), following)


def decisions_page(connection: Connection, task: TaskId, limit: int = 50, cursor: str | None = None) -> Page[Told]:
    """Of one task."""
    columns = (decisions.c.id, decisions.c.decided_at, decisions.c.config_digest, decisions.c.decision)
    query = select(*columns).where(decisions.c.task_id == task).order_by(decisions.c.id.desc())
    rows, following = _page(connection, query, decisions.c.id, "d", limit, cursor)
    return Page(tuple(_told(row) for row in rows), following)


def decision(connection: Connection, ident: int) -> DecisionStory | None:
    query = select(decisions, tasks.c.key).join(tasks).where(decisions.c.id == ident)
    row = connection.execute(query).one_or_none()
    return DecisionStory(row.key or "", _told(row), row.facts) if row else None


_EVENT: Select[Any] = select(
    *(column for column in events.c if column.name not in {"payload", "headers"}), tasks.c.key
).outerjoin(tasks)


def events_page(
    connection: Connection,
    wanted: EventFilter,
    limit: int = 50,
    cursor: str | None = None,
    *,
    scanned: int = SCANNED,
) -> Page[EventView]:
    """Looks at no more than `scanned` of those that its index finds."""
    task = task_id(connection, wanted.task)
    if wanted.task and task is None:
        return Page(())
    conditions = _of_events(wanted, task)
    looked = scanned if conditions else limit + 1
    found = _found_by_index(connection, wanted, task, _before("e", cursor)).limit(looked).subquery()
    query: Select[Any] = _EVENT.join(found, found.c.id == events.c.id).where(*conditions)
    rows = connection.execute(query.order_by(found.c.id.desc()).limit(limit + 1)).all()
    if len(rows) > limit:
        return Page(tuple(_event(row) for row in rows[:limit]), _cursor("e", rows[limit - 1].id))
    count, last = connection.execute(select(func.count(), func.min(found.c.id))).one()
    following = _cursor("e", last) if count == looked else None
    return Page(tuple(_event(row) for row in rows), following)


def _found_by_index(
    connection: Connection, wanted: EventFilter, task: TaskId | None, before: int
) -> Select[tuple[int]]:
    """By one index, so that SQLite does not choose one that finds more than are looked at."""
    query = select(events.c.id).order_by(events.c.id.desc())
    if wanted.until is not None:
        before = min(before, _first_at(connection, wanted.until) + SLACK)
    query = query.where(events.c.id < before)
    if wanted.since is not None:
        query = query.where(events.c.id >= _first_at(connection, wanted.since) - SLACK)
    if task is not None:
        return query.where(events.c.task_id == task)
    if wanted.is_flagged:
        return query.where(events.c.flag == REUSED_ID)
    if wanted.event_type:
        return query.where(events.c.event_type == wanted.event_type)
    return query


def _of_events(wanted: EventFilter, task: TaskId | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.source:
        found.append(events.c.source == wanted.source)
    if wanted.event_type:
        found.append(events.c.event_type == wanted.event_type)
    if task is not None:
        found.append(events.c.task_id == task)
    if wanted.since is not None:
        found.append(events.c.timestamp >= wanted.since)
    if wanted.until is not None:
        found.append(events.c.timestamp < wanted.until)
    if wanted.is_ignored is not None:
        found.append(events.c.ignored.is_not(None) if wanted.is_ignored else events.c.ignored.is_(None))
    if wanted.is_flagged is not None:
        found.append(events.c.flag == REUSED_ID if wanted.is_flagged else events.c.flag.is_(None))
    return found


# The driver's own texts: forty of these are asked for one range.
_NEWEST = "SELECT coalesce(max(id), 0) FROM events"
_AT = "SELECT id, timestamp FROM events WHERE id >= ? ORDER BY id LIMIT 1"


def _first_at(connection: Connection, moment: datetime) -> int:
    """The first event at or after a moment, by halving: an index on times would be paid with every delivery."""
    low, high = 1, int(connection.exec_driver_sql(_NEWEST).scalar_one()) + 1
    at = moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    while low < high:
        middle = (low + high) // 2
        ident, stored = connection.exec_driver_sql(_AT, (middle,)).one()
        if stored < at:
            low = ident + 1
        else:
            high = middle
    return low


def event(connection: Connection, ident: int) -> EventStory | None:
    """With its body, byte for byte what was signed."""
    query = _EVENT.add_columns(events.c.payload, events.c.headers).where(events.c.id == ident)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    told = _led_to(connection, row) if row.task_id is not None else []
    return EventStory(
        _event(row),
        tuple((name, value) for name, value in msgspec.json.decode(row.headers, type=list[tuple[str, str]])),
        unpacked(row.payload).decode("utf-8", "replace"),
        tuple(told),
        _intended_at(connection, row, [one.decided_at for one in told]),
    )


def _led_to(connection: Connection, row: Row[Any]) -> list[Told]:
    """Oldest first."""
    following = select(func.min(events.c.id)).where(events.c.task_id == row.task_id, events.c.id > row.id)
    until = select(events.c.timestamp).where(events.c.id == following.scalar_subquery())
    end = connection.execute(until).scalar()
    columns = (decisions.c.id, decisions.c.decided_at, decisions.c.config_digest, decisions.c.decision)
    after = (decisions.c.task_id == row.task_id, decisions.c.decided_at >= row.timestamp)
    query: Select[Any] = select(*columns).where(*after).order_by(decisions.c.id).limit(MOST_LED_TO)
    told = [_told(one) for one in connection.execute(query)]
    within = [one for one in told if end is None or one.decided_at < end]
    return within or told[:1]


def _intended_at(connection: Connection, row: Row[Any], moments: Sequence[datetime]) -> tuple[RunView, ...]:
    """A decision and the runs that it intends have the same moment: they are one transaction."""
    if not moments:
        return ()
    of_task = (agent_runs.c.task_id == row.task_id, agent_runs.c.intended_at.in_(moments))
    query = select(agent_runs).where(*of_task).order_by(agent_runs.c.id)
    return tuple(run_view(one, row.key) for one in connection.execute(query))


def task_id(connection: Connection, key: str) -> TaskId | None:
    """Of the task with this key."""
    found = connection.execute(select(tasks.c.id).where(tasks.c.key == key)).scalar() if key else None
    return TaskId(found) if found is not None else None


def _page(
    connection: Connection,
    query: Select[Any],
    column: ColumnElement[int],
    kind: str,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Row[Any]], str | None]:
    rows = connection.execute(query.where(column < _before(kind, cursor)).limit(limit + 1)).all()
    return rows[:limit], _cursor(kind, rows[limit - 1].id) if len(rows) > limit else None


def _cursor(kind: str, ident: int) -> str:
    return base64.urlsafe_b64encode(f"{kind}{ident}".encode()).decode().rstrip("=")


def _before(kind: str, cursor: str | None) -> int:
    """The id that the page begins below. Rejected when the cursor is not one of this list."""
    if cursor is None:
        return _MAX_ID
    try:
        padded = cursor[:_MAX_CURSOR_CHARS] + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    digits = text.removeprefix(kind)
    if not text.startswith(kind) or not digits.isdecimal() or not 0 < int(digits) <= _MAX_ID:
        raise Rejected(
            "bad_cursor",
            "The cursor is not one that this list gave.",
            status=422,
            hint="Take `next` of an answer as it is, or leave the cursor out to begin anew.",
        )
    return int(digits)


def _told(row: Row[Any]) -> Told:
    return Told(row.id, row.decided_at, row.config_digest, decoded(row.decision))


def _event(row: Row[Any]) -> EventView:
    return EventView(
        id=row.id,
        received_at=row.timestamp,
        source=row.source,
        event_type=row.event_type,
        action=row.action,
        task=row.key,
        has_task=row.task_id is not None,
        delivery_id=row.delivery_id,
        event_id=row.event_id,
        body_sha256=row.body_sha256,
        is_processed=bool(row.processed),
        ignored=row.ignored,
        flag=row.flag,
        repeats=row.repeats,
        last_repeat_at=row.last_repeat_at,
    )


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has read: the last event, and the last change of a task."""

    event: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task as it is now. Whoever reads late gets the newest state once, not each step to it."""

    id: int
    key: str
    title: str
    stage: str
    repo: str | None
    agent_running: bool
    updated_at: datetime
    waits_for: tuple[str, ...]
    revision: int


_POSITION = "SELECT coalesce((SELECT max(id) FROM events), 0), coalesce((SELECT max(revision) FROM tasks), 0)"


def position(connection: Connection) -> Position:
    """Of the newest."""
    event, revision = connection.exec_driver_sql(_POSITION).one()
    return Position(event, revision)


# Built once: every reader asks after every commit.
_NEWS = _EVENT.where(events.c.id > bindparam("since")).order_by(events.c.id).limit(bindparam("limit"))
_CHANGED = (
    select(tasks).where(tasks.c.revision > bindparam("since")).order_by(tasks.c.revision).limit(bindparam("limit"))
)


def news(
    connection: Connection, since: Position, limit: int
) -> tuple[tuple[EventView, ...], tuple[TaskChange, ...]]:
    """The next events and changes after a position, oldest first, at most `limit` of each."""
    told = connection.execute(_NEWS, {"since": since.event, "limit": limit})
    changed = connection.execute(_CHANGED, {"since": since.revision, "limit": limit})
    return tuple(_event(row) for row in told), tuple(_change(row) for row in changed)


def _change(row: Row[Any]) -> TaskChange:
    return TaskChange(
        id=row.id,
        key=row.key or "",
        title=row.title,
        stage=row.stage,
        repo=row.repo,
        agent_running=row.agent_running,
        updated_at=row.updated_at,
        waits_for=tuple(item.code for item in waiting_items(row.waiting)),
        revision=row.revision,
    )

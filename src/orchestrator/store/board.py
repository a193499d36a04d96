"""What the board shows: a bounded column for each stage, what waits for people, and what was done lately."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, or_, select, text
from sqlalchemy.sql.elements import ColumnElement

from orchestrator.domain.model import RunId, Stage, TaskId
from orchestrator.domain.run import RunState
from orchestrator.qg.verdict import Item
from orchestrator.store.runs import OF_RUNS, waits_for
from orchestrator.store.schema import NEEDS_A_PERSON, agent_runs, pauses, stays, tasks
from orchestrator.store.tasks import waiting_items

COLUMN = 20
"""Cards of a stage that are shown."""
NEEDS = 30
LATELY = 8
STAGES = tuple(stage for stage in Stage if stage is not Stage.DONE)
MACHINES = frozenset({"", "agent", "ci", "orchestrator"})
"""Who supplies what nobody has to be told of."""
MAX_TEXT_CHARS = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty is everything. `text` is looked for in keys and titles."""

    repo: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class AtWork:
    """The task's open run. Not `is_live`: it waits to be started."""

    run: RunId
    role: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One task in short. `since` is when it came to its stage."""

    id: TaskId
    key: str
    title: str
    stage: str
    repo: str | None
    since: datetime
    updated_at: datetime
    waiting: tuple[Item, ...]
    at_work: AtWork | None
    turns: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Column:
    """`count` of all, of which the first are shown: those that moved last."""

    stage: Stage
    cards: tuple[Card, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Board:
    """`needs` are those that wait for a person, the longest without a change first, and there may be more."""

    columns: tuple[Column, ...]
    needs: tuple[Card, ...]
    more_needs: bool
    lately: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class _Runs:
    """A task's runs, summed up."""

    turns: int = 0
    cost_usd: float = 0.0
    at_work: AtWork | None = None
    reason: Item | None = None


def board(connection: Connection, wanted: Filter) -> Board:
    """A bounded number of rows, however many tasks there are."""
    here = tuple(_conditions(wanted))
    rows = {stage: _of_stage(connection, stage, COLUMN, here) for stage in STAGES}
    needs = connection.execute(_NEEDS.where(*here)).all()
    lately = _of_stage(connection, Stage.DONE, LATELY, here)
    every = {row.id: row for row in (*needs, *lately, *(row for found in rows.values() for row in found))}
    runs, arrivals = _runs(connection, every), _arrivals(connection, every)
    cards = {
        ident: _card(row, runs.get(ident, _Runs()), arrivals.get(ident, row.created_at))
        for ident, row in every.items()
    }
    columns = (
        Column(stage, _picked(cards, found), _count(connection, stage, len(found), here))
        for stage, found in rows.items()
    )
    return Board(tuple(columns), _picked(cards, needs[:NEEDS]), len(needs) > NEEDS, _picked(cards, lately))


def mark(connection: Connection) -> str:
    """Another text whenever the board may look different."""
    moved = connection.execute(_MOVED).scalar()
    working = connection.execute(_WORKING).one()
    paused = connection.execute(select(pauses.c.kind, pauses.c.until)).all()
    return f"{moved} {tuple(working)} {sorted(map(tuple, paused))}"


_SHOWN: Select[Any] = select(
    tasks.c.id,
    tasks.c.key,
    tasks.c.title,
    tasks.c.stage,
    tasks.c.repo,
    tasks.c.created_at,
    tasks.c.updated_at,
    tasks.c.waiting,
)
# A stage is never looked for by a list: each has its own end of the index.
_OF_STAGE = _SHOWN.where(tasks.c.stage == bindparam("stage")).order_by(tasks.c.updated_at.desc())
_COUNT = select(func.count()).select_from(tasks).where(tasks.c.stage == bindparam("stage"))
# As the indexes say it, letter by letter: with a bound value SQLite would not know that they hold all rows wanted.
_NEEDS = _SHOWN.where(text(NEEDS_A_PERSON)).order_by(tasks.c.updated_at, tasks.c.id).limit(NEEDS + 1)
_IS_OPEN = text("agent_runs.state != 'ended'")
# Columns beside one max() are those of the row that has it: SQLite promises that. Only the newest run can be open.
_RUNS: Select[Any] = (
    select(
        func.max(agent_runs.c.id).label("id"),
        func.sum(agent_runs.c.turns).label("turns"),
        func.sum(agent_runs.c.cost_usd).label("cost_usd"),
        agent_runs.c.task_id,
        agent_runs.c.agent,
        agent_runs.c.state,
        agent_runs.c.waits_for,
    )
    .where(agent_runs.c.task_id.in_(bindparam("of", expanding=True)))
    .group_by(agent_runs.c.task_id)
)
_ARRIVALS = (
    select(stays.c.task_id, func.max(stays.c.left_at).label("since"))
    .where(stays.c.task_id.in_(bindparam("of", expanding=True)))
    .group_by(stays.c.task_id)
)
_MOVED = select(func.max(tasks.c.revision))
_WORKING = select(
    func.count(),
    func.sum(agent_runs.c.turns),
    func.sum(agent_runs.c.started_at.is_not(None)),
    func.max(agent_runs.c.id),
).where(_IS_OPEN)


def _conditions(wanted: Filter) -> Iterable[ColumnElement[bool]]:
    if wanted.repo:
        yield tasks.c.repo == wanted.repo
    if sought := wanted.text.strip()[:MAX_TEXT_CHARS]:
        # SQLite folds ASCII letters only; of others the usual ways to write them are tried.
        others = () if sought.isascii() else (sought.lower(), sought.capitalize(), sought.upper())
        ways = dict.fromkeys((sought, *others))
        yield or_(*(one.contains(way, autoescape=True) for way in ways for one in (tasks.c.title, tasks.c.key)))


def _of_stage(
    connection: Connection, stage: Stage, limit: int, here: Sequence[ColumnElement[bool]]
) -> Sequence[Row[Any]]:
    return connection.execute(_OF_STAGE.where(*here).limit(limit), {"stage": stage}).all()


def _count(connection: Connection, stage: Stage, shown: int, here: Sequence[ColumnElement[bool]]) -> int:
    if shown < COLUMN:
        return shown
    counted: int = connection.execute(_COUNT.where(*here), {"stage": stage}).scalar_one()
    return counted


def _picked(cards: Mapping[int, Card], rows: Iterable[Row[Any]]) -> tuple[Card, ...]:
    return tuple(cards[row.id] for row in rows)


def _runs(connection: Connection, tasks_shown: Iterable[int]) -> dict[int, _Runs]:
    """By task."""
    rows = connection.execute(_RUNS, {"of": list(tasks_shown)})
    return {row.task_id: _Runs(row.turns, row.cost_usd, _at_work(row), waits_for(row.waits_for)) for row in rows}


def _at_work(row: Row[Any]) -> AtWork | None:
    is_open = row.state != RunState.ENDED
    return AtWork(RunId(row.id), row.agent, row.state == RunState.RUNNING) if is_open else None


def _arrivals(connection: Connection, tasks_shown: Iterable[int]) -> dict[int, datetime]:
    """When each came to its stage: when it left the last one. Who never left one is not among them."""
    rows = connection.execute(_ARRIVALS, {"of": list(tasks_shown)})
    return {row.task_id: row.since for row in rows}


def _card(row: Row[Any], runs: _Runs, since: datetime) -> Card:
    """What the newest run waits for is known before the task is looked at again."""
    waiting = waiting_items(row.waiting)
    if runs.reason:
        waiting = (runs.reason, *(one for one in waiting if one.code not in OF_RUNS))
    return Card(
        id=TaskId(row.id),
        key=row.key or "",
        title=row.title,
        stage=row.stage,
        repo=row.repo,
        since=since,
        updated_at=row.updated_at,
        waiting=waiting,
        at_work=runs.at_work,
        turns=runs.turns,
        cost_usd=runs.cost_usd,
    )

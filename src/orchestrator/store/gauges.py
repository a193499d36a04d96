"""What the database counts, for /metrics: totals that outlive a restart, and how long the queues are now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from orchestrator.store.schema import events, pauses, spending, tasks


@dataclass(frozen=True, slots=True)
class Ended:
    """Runs of one role that ended one way, ever."""

    role: str
    outcome: str
    runs: int
    started: int
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Open:
    """Runs of one role that are not over: `is_at_work` with a slot, and else waiting for one."""

    role: str
    is_at_work: bool
    runs: int
    started: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """At one moment. Nothing is ever deleted from journal and decisions, so their newest number counts them."""

    events: int
    last_event_at: datetime | None
    unprocessed: int
    decisions: int
    tasks: tuple[tuple[str, int], ...]
    ended: tuple[Ended, ...]
    open: tuple[Open, ...]
    effects_due: int
    pauses: tuple[str, ...]


_ENDED = select(
    spending.c.role,
    spending.c.outcome,
    *(
        func.sum(spending.c[one]).label(one)
        for one in ("runs", "started", "turns", "input_tokens", "output_tokens", "cost_usd")
    ),
).group_by(spending.c.role, spending.c.outcome)
# Written out, so that SQLite takes the index of the few open ones.
_OPEN = text(
    "SELECT agent, admitted_at IS NOT NULL OR state = 'running' AS is_at_work, count(*) AS runs,"
    " sum(started_at IS NOT NULL) AS started FROM agent_runs WHERE state != 'ended' GROUP BY 1, 2"
)
_UNPROCESSED = text("SELECT count(*) FROM events INDEXED BY events_unprocessed WHERE processed = 0")
_DUE = text("SELECT count(*) FROM effects WHERE done_at IS NULL")

_TASKS = select(tasks.c.stage, func.count().label("tasks")).group_by(tasks.c.stage)


def gauges(connection: Connection) -> Gauges:
    def number(query: Any) -> int:
        return int(connection.execute(query).scalar() or 0)

    newest = select(events.c.timestamp).order_by(events.c.id.desc()).limit(1)
    return Gauges(
        events=number(select(func.max(events.c.id))),
        last_event_at=connection.execute(newest).scalar(),
        unprocessed=number(_UNPROCESSED),
        decisions=number(text("SELECT max(id) FROM decisions")),
        tasks=tuple((row.stage, row.tasks) for row in connection.execute(_TASKS)),
        ended=tuple(Ended(*row) for row in connection.execute(_ENDED)),
        open=tuple(
            Open(row.agent, bool(row.is_at_work), row.runs, row.started) for row in connection.execute(_OPEN)
        ),
        effects_due=number(_DUE),
        pauses=tuple(connection.execute(select(pauses.c.kind)).scalars()),
    )

"""What admission rests on: open runs, what was spent today, and the pauses of all dispatch."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.model import RepoName, RunId, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunState
from orchestrator.qg.verdict import Item
from orchestrator.store.prepared import Prepared, constant
from orchestrator.store.runs import waits_for
from orchestrator.store.schema import agent_runs, pauses, tasks
from orchestrator.store.tasks import switches_of
from orchestrator.workflow.account import AccountPause, account
from orchestrator.workflow.admission import OVERTAKEN_AT_MOST, Day, Situation, StartedRun, WaitingRun


class PauseKind(StrEnum):
    """Why nothing is started."""

    ACCOUNT = "account"
    """The usage limit of the model's account."""
    OPERATOR = "operator"
    """Somebody's order; it lasts until that is taken back."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A waiting run with its task, and the reason that is stored."""

    of: WaitingRun
    task: TaskId
    reason: Item | None


_IS_OPEN = agent_runs.c.state != constant(RunState.ENDED)
_IS_WAITING = (agent_runs.c.state == constant(RunState.INTENDED)) & agent_runs.c.admitted_at.is_(None)
_HAS_SLOT = _IS_OPEN & ~_IS_WAITING
_STARTED = Prepared(select(agent_runs.c.agent, tasks.c.repo).join(tasks).where(_HAS_SLOT))
_OPEN = (
    select(
        agent_runs.c.id,
        agent_runs.c.task_id,
        agent_runs.c.agent,
        agent_runs.c.stage,
        agent_runs.c.waits_for,
        tasks.c.repo,
        tasks.c.switches,
        tasks.c.role,
    )
    .join(tasks)
    .where(_IS_OPEN)
)
_WAITING = Prepared(_OPEN.where(_IS_WAITING).order_by(agent_runs.c.id))
_ONE_WAITING = _OPEN.where(_IS_WAITING, agent_runs.c.id == bindparam("run"))
_ONE_OPEN = Prepared(_OPEN.where(agent_runs.c.id == bindparam("run")))
_COST = select(func.coalesce(func.sum(agent_runs.c.cost_usd), 0.0))
# Each by an index of its own: together they would be looked for in every run there ever was.
_SPENT = _COST.where(agent_runs.c.finished_at >= bindparam("since"))
_BEING_SPENT = _COST.where(_IS_OPEN)
_ADMITTED = select(func.count()).where(agent_runs.c.admitted_at >= bindparam("since"))
_OVERTAKER = (
    select(agent_runs.c.id)
    .where(agent_runs.c.admitted_at.is_not(None))
    .order_by(agent_runs.c.id.desc())
    .offset(OVERTAKEN_AT_MOST - 1)
    .limit(1)
)
_DAY = Prepared(
    select(
        (_SPENT.scalar_subquery() + _BEING_SPENT.scalar_subquery()).label("spent"),
        _ADMITTED.scalar_subquery().label("admitted"),
        _OVERTAKER.scalar_subquery().label("overtaker"),
    )
)
_PAUSES = Prepared(select(pauses))
_OF_RUN = update(agent_runs).where(agent_runs.c.id == bindparam("run"))
_ADMIT = Prepared(_OF_RUN.where(_IS_WAITING).values(waits_for=None), ("admitted_at",))


def situation(
    connection: Connection, now: datetime, paused: Mapping[PauseKind, AccountPause] | None = None
) -> Situation:
    """All that is the same for every waiting run. `paused`: what `pause_rows` says, for who has asked already."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    paused = pause_rows(connection) if paused is None else paused
    row = _DAY.first(connection, {"since": midnight})
    pause = paused.get(PauseKind.ACCOUNT)
    return Situation(
        day=Day(midnight + timedelta(days=1), row.spent, row.admitted),
        started=tuple(StartedRun(RepoName.parse(one.repo), Role(one.agent)) for one in _STARTED.rows(connection)),
        account=account(pause, _probes(connection, pause), now),
        is_dispatch_paused=PauseKind.OPERATOR in paused,
        overdue_before=row.overtaker or 0,
    )


def waiting(connection: Connection) -> list[Waiting]:
    """Intended runs that were not admitted, the oldest first."""
    return [_waiting(row) for row in _WAITING.rows(connection)]


def open_one(connection: Connection, run: RunId) -> Waiting | None:
    """A run that waits or has a slot; None when it is over."""
    row = _ONE_OPEN.first(connection, {"run": run})
    return _waiting(row) if row else None


def with_slots(connection: Connection) -> list[RunId]:
    """Runs that were admitted and are not over."""
    return [RunId(one) for one in connection.execute(select(agent_runs.c.id).where(_HAS_SLOT)).scalars()]


def admitted(connection: Connection, run: RunId, now: datetime) -> None:
    _ADMIT.run(connection, {"run": run, "admitted_at": now})


def set_waits(connection: Connection, reasons: Iterable[tuple[RunId, Item]]) -> None:
    """Of runs that no process was started for. Takes the slot back, if the run had one."""
    for run, reason in reasons:
        stored = msgspec.json.encode(reason).decode()
        values = {"state": RunState.INTENDED, "admitted_at": None, "waits_for": stored}
        connection.execute(_OF_RUN.where(_IS_OPEN).values(values), {"run": run})


def is_anybody_waiting(connection: Connection) -> bool:
    return connection.execute(select(agent_runs.c.id).where(_IS_WAITING).limit(1)).scalar() is not None


def take_back(connection: Connection, left: Collection[RunId], launched: Collection[RunId], now: datetime) -> None:
    """After a restart: of the runs that an earlier process left, those that were launched have their slots, and
    nobody else.
    """
    ours = {run: run in launched for run in left}
    rows = connection.execute(select(agent_runs.c.id, agent_runs.c.admitted_at).where(_IS_OPEN)).all()
    for row in rows:
        has_slot = ours.get(RunId(row.id), row.admitted_at is not None)
        if has_slot is (row.admitted_at is not None):
            continue
        values = (
            {"admitted_at": now, "waits_for": None}
            if has_slot
            else {"admitted_at": None, "state": RunState.INTENDED}
        )
        connection.execute(_OF_RUN.values(values), {"run": row.id})


def task_of_waiting(connection: Connection, run: RunId) -> TaskId | None:
    """None when the run has been admitted, or is over."""
    row = connection.execute(_ONE_WAITING, {"run": run}).one_or_none()
    return TaskId(row.task_id) if row else None


def pause_rows(connection: Connection) -> dict[PauseKind, AccountPause]:
    """An operator's pause has no end: its `until` is when it began."""
    return {
        PauseKind(row.kind): AccountPause(row.since, row.until or row.since, row.guesses)
        for row in _PAUSES.rows(connection)
    }


def set_pause(connection: Connection, kind: PauseKind, since: datetime, pause: AccountPause | None = None) -> None:
    until, guesses = (pause.until, pause.guesses) if pause else (None, 0)
    row = upsert(pauses).values(kind=kind, since=since, until=until, guesses=guesses)
    changed = {"until": row.excluded.until, "guesses": row.excluded.guesses}
    connection.execute(row.on_conflict_do_update(index_elements=[pauses.c.kind], set_=changed))


def end_pause(connection: Connection, kind: PauseKind) -> bool:
    """False when there was none."""
    return connection.execute(delete(pauses).where(pauses.c.kind == kind)).rowcount > 0


def has_answered(connection: Connection, pause: AccountPause) -> bool:
    """A run that was admitted after the reset got an answer of the model, and did not end at the limit again."""
    is_since = agent_runs.c.admitted_at >= pause.until
    is_limited = func.coalesce(agent_runs.c.outcome, "") == Outcome.USAGE_LIMIT
    query = select(agent_runs.c.id).where(is_since, agent_runs.c.turns > 0, ~is_limited).limit(1)
    return connection.execute(query).scalar() is not None


def at_work(connection: Connection, limit: int) -> list[str]:
    """`key (role)` of the runs that have a slot, the oldest first."""
    query = select(tasks.c.key, agent_runs.c.agent).join(tasks).where(_HAS_SLOT).order_by(agent_runs.c.id)
    return [f"{row.key} ({row.agent})" for row in connection.execute(query.limit(limit))]


def _probes(connection: Connection, pause: AccountPause | None) -> int:
    if pause is None:
        return 0
    query = select(func.count()).where(_HAS_SLOT, agent_runs.c.admitted_at >= pause.until)
    probes: int = connection.execute(query).scalar_one()
    return probes


def _waiting(row: Any) -> Waiting:
    switches = switches_of(row.switches)
    run = WaitingRun(
        RunId(row.id),
        RepoName.parse(row.repo),
        Role(row.agent),
        Stage(row.stage),
        is_task_paused=switches.is_paused or switches.is_cancelled,
        is_posted=row.role is not None,
    )
    return Waiting(run, TaskId(row.task_id), waits_for(row.waits_for))

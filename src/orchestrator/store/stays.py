"""Rows of `stays`: how long a task was in a stage, written when it leaves."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select

from orchestrator.domain.model import Stage, TaskId
from orchestrator.store.prepared import Prepared
from orchestrator.store.schema import UtcDateTime, agent_runs, stays, tasks

_LEFT = select(func.max(stays.c.left_at)).where(stays.c.task_id == bindparam("task"))
_CREATED = select(tasks.c.created_at).where(tasks.c.id == bindparam("task"))
_ENTERED = Prepared(
    select(func.coalesce(_LEFT.scalar_subquery(), _CREATED.scalar_subquery(), type_=UtcDateTime).label("since"))
)
_WORKED = Prepared(
    select(agent_runs.c.started_at, agent_runs.c.finished_at).where(
        agent_runs.c.task_id == bindparam("task"),
        agent_runs.c.stage == bindparam("stage"),
        agent_runs.c.started_at >= bindparam("since"),
        agent_runs.c.finished_at.is_not(None),
    )
)
_INSERT = Prepared(insert(stays), ("task_id", "stage", "entered_at", "left_at", "seconds", "worked_s", "cause"))


def left(connection: Connection, task: TaskId, stage: Stage, cause: str, now: datetime) -> None:
    """The task moves on from `stage`, or is sent back for a cause. `worked_s` of it agents were at work."""
    since = _ENTERED.scalar(connection, {"task": task})
    runs = _WORKED.rows(connection, {"task": task, "stage": stage, "since": since})
    row = {
        "task_id": task,
        "stage": stage,
        "entered_at": since,
        "left_at": now,
        "seconds": _seconds(since, now),
        "worked_s": sum(_seconds(run.started_at, run.finished_at) for run in runs),
        "cause": cause,
    }
    _INSERT.run(connection, row)


def _seconds(begin: datetime, end: datetime) -> int:
    """The wall clock may have been set back meanwhile."""
    return max(0, round((end - begin).total_seconds()))

"""Decisions with all that they rested on, so that each can be made again, byte for byte."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.model import Branch, GateOptions, Project, RepoName, Task, TaskId, Trigger, WorkItem
from orchestrator.qg.facts import Absent, Facts, RunFact, Unobserved
from orchestrator.store import canonical
from orchestrator.store.schema import decisions, observations
from orchestrator.workflow.decision import Decision
from orchestrator.workflow.pipeline import STEPS, VERSION


@dataclass(frozen=True, slots=True)
class Basis:
    """Everything that `decide` was given."""

    project: Project | None
    task: Task
    facts: Facts


_IN_A_BASIS = (
    Basis,
    Project,
    Task,
    Facts,
    WorkItem,
    Branch,
    Absent,
    Unobserved,
    RunFact,
    RepoName,
    Trigger,
    GateOptions,
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored decision: its basis, and the bytes of what came of it."""

    basis: Basis
    decision: str
    verdicts: str
    config_digest: str


@cache
def config_digest(project: Project | None) -> str:
    """Digest of what an operator configured and of the pipeline's table."""
    return _sha256(canonical.encode([VERSION, STEPS, project]))


def digest(decision: Decision) -> str:
    return _sha256(canonical.encode(decision))


# Statements are built once: SQLAlchemy takes longer to build most of them than SQLite to run them.
_RECORD = insert(decisions)
_UPSERT = upsert(observations)
_OBSERVE = _UPSERT.on_conflict_do_update(
    index_elements=[observations.c.task_id],
    set_={"facts": _UPSERT.excluded.facts, "observed_at": _UPSERT.excluded.observed_at},
)
_OF_TASK = select(decisions).where(decisions.c.task_id == bindparam("task")).order_by(decisions.c.id)


def record(connection: Connection, basis: Basis, decision: Decision, now: datetime) -> None:
    """Stores the decision, and its facts as the task's latest."""
    row = {
        "task_id": basis.task.id,
        "decided_at": now,
        "facts": canonical.encode(basis),
        "verdicts": canonical.encode(decision.verdicts),
        "decision": canonical.encode(decision),
        "config_digest": config_digest(basis.project),
    }
    connection.execute(_RECORD, row)
    latest = {"task_id": basis.task.id, "facts": canonical.encode(basis.facts), "observed_at": now}
    connection.execute(_OBSERVE, latest)


def of_task(connection: Connection, task: TaskId) -> list[Recorded]:
    """Oldest first."""
    return [
        Recorded(canonical.decode(row.facts, _IN_A_BASIS), row.decision, row.verdicts, row.config_digest)
        for row in connection.execute(_OF_TASK, {"task": task})
    ]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""What happened to one task, newest first and bounded: its events without their bodies. And what was approved."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, func, select

from orchestrator.domain.model import Source, TaskId
from orchestrator.domain.roles import DocumentName
from orchestrator.qg.documents import OF_STAGE, digest_of
from orchestrator.store import approvals
from orchestrator.store.schema import agent_runs, decisions, events, tasks
from orchestrator.store.sightings import DOCUMENT
from orchestrator.workflow.pipeline import step_of_stage


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the journal. `ignored` is why it meant nothing; empty when it did."""

    id: int
    at: datetime
    source: str
    kind: str
    action: str
    ignored: str


@dataclass(frozen=True, slots=True)
class ApprovedPaper:
    """A document as it was when people approved it."""

    blob: str
    digest: str
    by: tuple[str, ...]
    at: datetime


class _Sight(msgspec.Struct):
    """Of a document: its name and its blob."""

    what: str
    digest: str


_NEWEST = (
    select(
        events.c.id, events.c.timestamp, events.c.source, events.c.event_type, events.c.action, events.c.ignored
    )
    .where(events.c.task_id == bindparam("task"))
    .order_by(events.c.id.desc())
    .limit(bindparam("limit"))
)
_SIGHTS = (
    select(events.c.id, events.c.payload)
    .where(
        events.c.task_id == bindparam("task"),
        events.c.source == Source.ORCHESTRATOR,
        events.c.event_type == DOCUMENT,
    )
    .order_by(events.c.id)
)


def of_task(connection: Connection, task: TaskId, limit: int) -> list[Happened]:
    rows = connection.execute(_NEWEST, {"task": task, "limit": limit})
    return [
        Happened(row.id, row.timestamp, row.source, row.event_type, row.action, row.ignored or "") for row in rows
    ]


def approved_papers(connection: Connection, task: TaskId) -> dict[DocumentName, ApprovedPaper]:
    """By the newest approvals of each gate. What was seen last before an approval is what it was about; its digest
    must agree, else nothing is said.
    """
    given = approvals.of_task(connection, task)
    if not given:
        return {}
    rows = connection.execute(_SIGHTS, {"task": task})
    sights = [(row.id, msgspec.json.decode(row.payload, type=_Sight)) for row in rows]
    found: dict[DocumentName, ApprovedPaper] = {}
    for stage, names in OF_STAGE.items():
        of_gate = [one for one in given if one.gate == step_of_stage(stage).gate]
        if not of_gate:
            continue
        newest = of_gate[-1]
        blobs = {one.what: one.digest for ident, one in sights if ident < newest.position}
        known = [(name, blobs[name]) for name in names if name in blobs]
        if digest_of(tuple(known)) == newest.digest:
            by = tuple(dict.fromkeys(one.person for one in of_gate if one.digest == newest.digest))
            found |= {name: ApprovedPaper(blob, newest.digest, by, newest.approved_at) for name, blob in known}
    return found


def mark(connection: Connection, key: str) -> str:
    """Another text whenever the task's page may look different."""
    row = connection.execute(_TASK, {"key": key}).one_or_none()
    if row is None:
        return ""
    of = {"task": row.id}
    runs = connection.execute(_RUNS, of).one()
    last = (connection.execute(_LAST_EVENT, of).scalar(), connection.execute(_LAST_DECISION, of).scalar())
    return f"{row.revision} {tuple(runs)} {last}"


_TASK = select(tasks.c.id, tasks.c.revision).where(tasks.c.key == bindparam("key"))
_OF = agent_runs.c.task_id == bindparam("task")
_RUNS = select(
    func.count(),
    func.sum(agent_runs.c.turns),
    func.count(agent_runs.c.started_at),
    func.count(agent_runs.c.finished_at),
    func.max(agent_runs.c.waits_for),
).where(_OF)
_LAST_EVENT = select(func.max(events.c.id)).where(events.c.task_id == bindparam("task"))
_LAST_DECISION = select(func.max(decisions.c.id)).where(decisions.c.task_id == bindparam("task"))

"""Who approved what: a row for each comment that opened a gate, so that none ever counts for two."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import TaskId
from orchestrator.domain.tracker import CommentId
from orchestrator.qg import documents
from orchestrator.qg.facts import Facts
from orchestrator.qg.verdict import Passed
from orchestrator.store.decisions import Basis
from orchestrator.store.schema import approvals as table
from orchestrator.workflow.decision import Decision
from orchestrator.workflow.pipeline import step_of_stage


@dataclass(frozen=True, slots=True)
class Approval:
    """`digest` is of the stage's documents as they were then, `position` the comment's place in the journal."""

    gate: str
    comment: str
    person: str
    digest: str
    position: int
    approved_at: datetime


def record(connection: Connection, basis: Basis, decision: Decision, now: datetime) -> None:
    """Writes what this decision counted for the first time. Raises Permanent, and so undoes the whole look, when a
    comment that opened one gate is to open another.
    """
    found = list(_counted(basis.facts, decision, now))
    if not found:
        return
    known = {one.comment: one.gate for one in of_task(connection, basis.task.id)}
    rows = [_row(basis.task.id, one) for one in found if one.comment not in known]
    for one in found:
        if known.setdefault(one.comment, one.gate) != one.gate:
            raise Permanent(
                "approval_counted_twice",
                f"Comment {one.comment} opened {known[one.comment]} and is to open {one.gate}.",
                hint="Nothing was decided: this is a fault of the orchestrator.",
            )
    if rows:
        connection.execute(_RECORD, rows)


def of_task(connection: Connection, task: TaskId) -> list[Approval]:
    """Oldest first."""
    rows = connection.execute(_OF_TASK, {"task": task})
    return [
        Approval(row.gate, row.comment_id, row.person, row.digest, row.position, row.approved_at) for row in rows
    ]


_RECORD = insert(table)
_OF_TASK = select(table).where(table.c.task_id == bindparam("task")).order_by(table.c.id)


def _counted(facts: Facts, decision: Decision, now: datetime) -> Iterator[Approval]:
    """Of the documents' gates that are open."""
    said = {one.comment: one for one in facts.remarks} if isinstance(facts.remarks, tuple) else {}
    verdicts = dict(decision.verdicts)
    for stage in documents.OF_STAGE:
        gate = step_of_stage(stage).gate
        verdict = verdicts.get(gate)
        held = verdict.held if isinstance(verdict, Passed) else ()
        for comment in (CommentId(one.evidence[0]) for one in held if one.code == "approved"):
            remark, digest = said[comment], documents.digest(facts, stage)
            yield Approval(gate, comment, remark.person, digest, remark.order, now)


def _row(task: TaskId, one: Approval) -> dict[str, object]:
    return {
        "task_id": task,
        "gate": one.gate,
        "comment_id": one.comment,
        "person": one.person,
        "digest": one.digest,
        "position": one.position,
        "approved_at": one.approved_at,
    }

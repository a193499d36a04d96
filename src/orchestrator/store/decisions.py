"""Decisions with all that they rested on, so that each can be made again, byte for byte."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.forge import BranchRules, Check, PullRequest, Review
from orchestrator.domain.model import (
    Branch,
    DocumentFiles,
    GateOptions,
    Project,
    RepoName,
    Return,
    Switches,
    Task,
    TaskId,
    Trigger,
    WorkItem,
)
from orchestrator.domain.run import RoleVerdict
from orchestrator.qg.facts import (
    Absent,
    Document,
    Facts,
    Remark,
    RunFact,
    SpendingLimits,
    Unobserved,
    Unwritten,
    Us,
)
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.store import canonical
from orchestrator.store.prepared import Prepared
from orchestrator.store.schema import decisions, observations
from orchestrator.workflow.decision import (
    Decision,
    EnsureBranch,
    EnsurePullRequest,
    Identity,
    PublishReport,
    PublishReview,
    Reply,
    StartRun,
    StopRun,
)
from orchestrator.workflow.pipeline import STEPS, VERSION


@dataclass(frozen=True, slots=True)
class Basis:
    """Everything that `decide` was given."""

    project: Project | None
    task: Task
    facts: Facts


@dataclass(frozen=True)
class Made:
    """A decision that is not stored yet, and its text: encoded once, for the digest and for the row."""

    basis: Basis
    decision: Decision
    text: str

    @cached_property
    def digest(self) -> str:
        return _sha256(self.text)

    def encode(self) -> None:
        """Now, so that it need not be done later."""
        _ = self.facts, self.columns

    @cached_property
    def facts(self) -> str:
        """As they are stored by themselves."""
        return canonical.encode(self.basis.facts)

    @cached_property
    def columns(self) -> Mapping[str, object]:
        """As it is stored, but for the time."""
        return {
            "task_id": self.basis.task.id,
            "facts": canonical.encode(self.basis),
            "verdicts": canonical.encode(self.decision.verdicts),
            "decision": self.text,
            "config_digest": config_digest(self.basis.project),
        }


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
    RoleVerdict,
    RepoName,
    Trigger,
    GateOptions,
    DocumentFiles,
    Switches,
    Return,
    Feedback,
    Document,
    Remark,
    PullRequest,
    BranchRules,
    Review,
    Check,
    Us,
    SpendingLimits,
    Unwritten,
    Item,
)
_IN_VERDICTS = (Item, Passed, Waiting, Failed, Unknown)
_IN_A_DECISION = (
    Decision,
    Identity,
    RepoName,
    Switches,
    Return,
    Feedback,
    Item,
    Passed,
    Waiting,
    Failed,
    Unknown,
    EnsureBranch,
    EnsurePullRequest,
    StartRun,
    StopRun,
    PublishReview,
    PublishReport,
    Reply,
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored decision: its basis, and the bytes of what came of it."""

    basis: Basis
    decision: str
    verdicts: str
    config_digest: str


@dataclass(frozen=True, slots=True)
class Told:
    """A stored decision without its basis."""

    id: int
    decided_at: datetime
    config_digest: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it lies there."""

    id: int
    task: TaskId
    decided_at: datetime
    basis: str
    decision: str
    verdicts: str
    config_digest: str


@cache
def config_digest(project: Project | None, version: int = VERSION) -> str:
    """Digest of what an operator configured and of the pipeline's table."""
    return _sha256(canonical.encode([version, STEPS, project]))


def made(basis: Basis, decision: Decision) -> Made:
    return Made(basis, decision, canonical.encode(decision))


def digest(decision: Decision) -> str:
    return _sha256(canonical.encode(decision))


def decoded_basis(text: str) -> Basis:
    """The basis that was stored; fields that came later have their defaults."""
    basis: Basis = canonical.decode(text, _IN_A_BASIS)
    return basis


def decoded(text: str) -> Decision:
    """The decision that was stored."""
    decision: Decision = canonical.decode(text, _IN_A_DECISION)
    return decision


def decoded_verdicts(text: str) -> tuple[tuple[str, Verdict], ...]:
    """The verdicts that were stored; those of closed gates once had no `held`."""
    verdicts: tuple[tuple[str, Verdict], ...] = canonical.decode(text, _IN_VERDICTS)
    return verdicts


_RECORD = Prepared(insert(decisions), ("task_id", "decided_at", "facts", "verdicts", "decision", "config_digest"))
_UPSERT = upsert(observations)
_OBSERVE = Prepared(
    _UPSERT.on_conflict_do_update(
        index_elements=[observations.c.task_id],
        set_={"facts": _UPSERT.excluded.facts, "observed_at": _UPSERT.excluded.observed_at},
    ),
    ("task_id", "facts", "observed_at"),
)
_OBSERVED = Prepared(select(observations.c.facts).where(observations.c.task_id == bindparam("task")))
_OF_TASK = select(decisions).where(decisions.c.task_id == bindparam("task")).order_by(decisions.c.id)
_NEWEST = (
    select(decisions.c.id, decisions.c.decided_at, decisions.c.config_digest, decisions.c.decision)
    .where(decisions.c.task_id == bindparam("task"))
    .order_by(decisions.c.id.desc())
    .limit(bindparam("limit"))
)
_BASIS = (
    select(decisions.c.facts)
    .where(decisions.c.task_id == bindparam("task"))
    .order_by(decisions.c.id.desc())
    .limit(1)
)
_JUDGED = (
    select(decisions.c.verdicts)
    .where(decisions.c.task_id == bindparam("task"), decisions.c.verdicts != canonical.encode(()))
    .order_by(decisions.c.id.desc())
    .limit(bindparam("limit"))
)


def record(connection: Connection, way: Sequence[Made], now: datetime) -> None:
    """Stores each decision with all that it rested on."""
    for one in way:
        _RECORD.run(connection, {**one.columns, "decided_at": now})


def observe(connection: Connection, task: TaskId, facts: str, now: datetime) -> None:
    """Encoded facts as the task's latest, whether or not something new was decided of them."""
    _OBSERVE.run(connection, {"task_id": task, "facts": facts, "observed_at": now})


def observed(connection: Connection, task: TaskId) -> Facts | None:
    """The task's latest facts; None when nothing was decided yet."""
    text = _OBSERVED.scalar(connection, {"task": task})
    facts: Facts | None = canonical.decode(text, _IN_A_BASIS) if text is not None else None
    return facts


def of_task(connection: Connection, task: TaskId) -> list[Recorded]:
    """Oldest first."""
    return [
        Recorded(decoded_basis(row.facts), row.decision, row.verdicts, row.config_digest)
        for row in connection.execute(_OF_TASK, {"task": task})
    ]


def history(connection: Connection, task: TaskId, limit: int) -> list[Told]:
    """Newest first, at most `limit`."""
    rows = connection.execute(_NEWEST, {"task": task, "limit": limit})
    return [Told(row.id, row.decided_at, row.config_digest, decoded(row.decision)) for row in rows]


def newest_basis(connection: Connection, task: TaskId) -> Basis | None:
    """What the newest decision rested on; None when nothing was decided yet."""
    text = connection.execute(_BASIS, {"task": task}).scalar()
    return decoded_basis(text) if text is not None else None


def stored(connection: Connection, after: int, limit: int, task: TaskId | None = None) -> list[Stored]:
    """The next rows after the one with this id, oldest first; of one task, or of all."""
    query = select(decisions).where(decisions.c.id > after).order_by(decisions.c.id).limit(limit)
    if task is not None:
        query = query.where(decisions.c.task_id == task)
    return [
        Stored(
            row.id, TaskId(row.task_id), row.decided_at, row.facts, row.decision, row.verdicts, row.config_digest
        )
        for row in connection.execute(query)
    ]


def verdicts_of(connection: Connection, task: TaskId, limit: int) -> list[tuple[tuple[str, Verdict], ...]]:
    """Of the newest decisions that judged gates, newest first."""
    rows = connection.execute(_JUDGED, {"task": task, "limit": limit})
    return [decoded_verdicts(row.verdicts) for row in rows]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

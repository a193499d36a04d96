"""The snapshot that gates may see."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.model import Branch, Stage, WorkItem
from orchestrator.domain.run import Outcome, RunState


@dataclass(frozen=True, slots=True)
class Unobserved:
    """We could not look: `code` says why (no_plane_token, plane_unreachable, …)."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """We looked, and it is not there."""


@dataclass(frozen=True, slots=True)
class RunFact:
    """One attempt, as our own rows have it."""

    stage: Stage
    attempt: int
    state: RunState
    outcome: Outcome | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """`item` is Absent for a posted task; `since` is when we began to follow the project."""

    item: WorkItem | Absent | Unobserved
    branch: Branch | Absent | Unobserved
    runs: tuple[RunFact, ...] = ()
    since: datetime | None = None
    max_attempts: int = 3

"""What `decide` returns: data, with nothing left to choose for whoever carries it out."""

from dataclasses import dataclass

from orchestrator.domain.model import RepoName, Role, Stage
from orchestrator.qg.verdict import Item, Verdict


@dataclass(frozen=True, slots=True)
class EnsureBranch:
    """Create the task's branch from the base branch, unless it is there."""

    repo: RepoName
    name: str
    base: str


@dataclass(frozen=True, slots=True)
class StartRun:
    """Intend one attempt of a role. Unique by (task, stage, attempt)."""

    role: Role
    stage: Stage
    attempt: int
    base_sha: str


Action = EnsureBranch | StartRun


@dataclass(frozen=True, slots=True)
class Identity:
    """What the task is called and where it lives; fixed by the first decision that knows it."""

    key: str
    title: str
    repo: RepoName
    branch: str
    base_branch: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the task stands after, what to do, and, when there is nothing to do, why it waits."""

    stage: Stage
    actions: tuple[Action, ...] = ()
    waiting: tuple[Item, ...] = ()
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    identity: Identity | None = None

"""Runs: what is launched, how it ended, what it used."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.feedback import Feedback as Feedback  # noqa: PLC0414 - part of this module's words too
from orchestrator.domain.model import DocumentFiles, RepoName, RunId, Seconds, Sha, Stage
from orchestrator.domain.roles import Language, Role


class Outcome(StrEnum):
    """Why an attempt ended. Found by structure (exit code, last record), never from the model's prose."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TURN_CAP = "turn_cap"
    BUDGET = "budget"
    USAGE_LIMIT = "usage_limit"
    UNAVAILABLE = "unavailable"
    """The model's API could not be had, after the CLI's own retries."""
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    LOST = "lost"


class RunState(StrEnum):
    """Where a run's row stands. Only `ended` is final."""

    INTENDED = "intended"
    RUNNING = "running"
    ENDED = "ended"


class Liveness(StrEnum):
    """What the lock and the marker say of an attempt; never a pid."""

    UNSTARTED = "unstarted"
    ALIVE = "alive"
    EXITED = "exited"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of one attempt."""

    timeout_s: Seconds
    max_turns: int
    max_budget_usd: float
    silence_s: Seconds = 1200.0
    """Without a byte of output. A tool that works for long is silent too."""


class VerdictWord(StrEnum):
    """What a reviewer (the first two) or a tester (the others) says of the commit it looked at."""

    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RoleVerdict:
    """A structured verdict. `report` is Markdown for people: bounded, without control characters."""

    word: VerdictWord
    report: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """The attempt that a run goes on from, when what it left is still there."""

    run: RunId
    session_id: str
    base_sha: Sha


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that a launch needs. Holds no secret. `base_sha` is the branch's head when the run was intended."""

    run: RunId
    session_id: str
    task_key: str
    title: str
    role: Role
    stage: Stage
    attempt: int
    repo: RepoName
    branch: str
    base_branch: str
    base_sha: Sha
    language: Language
    brief: str
    limits: RunLimits
    instructions: str = ""
    """What a posted task says should be done; empty: the role's own work."""
    feedback: tuple[Feedback, ...] = ()
    """Why the role works again, newest first; bounded."""
    documents: DocumentFiles = field(default_factory=DocumentFiles)
    earlier: Earlier | None = None
    history: str = ""
    """What an earlier attempt did that cannot be gone on with: the agent's own account, bounded."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run used so far. Cost in US dollars (notional for a subscription)."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an attempt ended. `reason` is a short code, `detail` bounded text for people."""

    outcome: Outcome
    exit_code: int | None
    reason: str = ""
    detail: str = ""
    usage: Usage = field(default_factory=Usage)
    denials: tuple[str, ...] = ()
    cli_version: str = ""
    model: str = ""
    verdict: RoleVerdict | None = None
    """Of a role whose output is a verdict; None when it gave none."""
    resets_at: datetime | None = None
    """When the account may be used again, as the API told; only with `usage_limit`, and not always then."""

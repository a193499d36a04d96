"""The snapshot that gates may see. Whoever builds it has looked; a gate only reads."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from orchestrator.domain.forge import BranchRules, Check, PullRequest, Review
from orchestrator.domain.model import Branch, Sha, Stage, UserId, WorkItem
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.run import Outcome, RoleVerdict, RunState
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.verdict import Item


@dataclass(frozen=True, slots=True)
class Unobserved:
    """We could not look: `code` says why (no_plane_token, plane_unreachable, …)."""

    code: str
    detail: str = ""


NOT_NEEDED = Unobserved("not_needed")


@dataclass(frozen=True, slots=True)
class Absent:
    """We looked, and it is not there."""


@dataclass(frozen=True, slots=True)
class RunFact:
    """One attempt, as our own rows have it. `base` is the commit that it began at, `head` what it published."""

    stage: Stage
    attempt: int
    state: RunState
    outcome: Outcome | None = None
    reason: str = ""
    base: Sha | None = None
    head: Sha | None = None
    verdict: RoleVerdict | None = None
    resumes: int = 0
    """The attempt that it went on from; 0: it began anew."""
    ended_at: datetime | None = None
    resets_at: datetime | None = None
    """When the account's usage window begins anew, as the model's API told."""
    said: str = ""
    """Of a denied one the tools, of a crashed one the end of what it wrote; bounded."""
    waits_for: Item | None = None
    """Why an intended run has not been admitted."""
    cost_usd: float = 0.0
    """Of an attempt that is over."""


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """What a task may cost, in US dollars (notional for a subscription); 0 is no limit."""

    task_usd: float = 0.0
    without_progress_usd: float = 0.0


NO_SPENDING_LIMITS = SpendingLimits()


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the task at the branch's head. `seen` is the journal's number of the look that found this
    blob here and another (or none) before it, so a document that went back to an old text is seen anew. Only what
    was said after it can be about it.
    """

    name: DocumentName
    blob: str
    seen: int
    is_blank: bool
    headings: tuple[str, ...] = ()
    """Its headings, as written, without the marks."""
    is_ready: bool = False
    """It has the line `Status: Ready for dev` (or the Russian one) alone on a line, outside code."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment in the tracker that has a command in it, or a word on our own pages. `order` is the journal's
    number of its first sight.
    """

    comment: CommentId
    person: UserId
    order: int
    is_untouched: bool
    """Never changed since it was written, as far as the tracker tells and we saw."""
    lines: tuple[str, ...]
    """As in domain.tracker.Comment, bounded."""
    about: str = ""
    """The digest of the documents that it was said about, on our own pages; a comment names none."""


def newer(remarks: tuple[Remark, ...], order: int) -> tuple[Remark, ...]:
    """Those that came after this one of the journal; given and returned oldest first."""
    if not remarks or remarks[-1].order <= order:
        return ()
    return remarks[bisect_right(remarks, order, key=_ORDER) :]


_ORDER = attrgetter("order")


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Something of ours that Plane or Gitea refuses. It is tried again and again."""

    kind: str
    """The effect's name."""
    why: str


@dataclass(frozen=True, slots=True)
class Us:
    """Our own identities, which never satisfy a human gate. Empty where there is no such user or token."""

    tracker_user: str = ""
    orchestrator: str = ""
    developer: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """`item` is Absent for a posted task; `since` is when we began to follow the project. What a stage does not
    need is NOT_NEEDED, which no gate takes for an answer.
    """

    item: WorkItem | Absent | Unobserved
    branch: Branch | Absent | Unobserved
    runs: tuple[RunFact, ...] = ()
    since: datetime | None = None
    max_attempts: int = 3
    max_runs_without_progress: int = 40
    resting_until: datetime | None = None
    """No attempt is made before; None when nothing is rested from, or that moment has come."""
    documents: tuple[Document, ...] | Unobserved = NOT_NEEDED
    remarks: tuple[Remark, ...] | Unobserved = NOT_NEEDED
    """Oldest first, by `order`."""
    changed_paths: tuple[str, ...] | Unobserved = NOT_NEEDED
    """Between the base branch and the head, sorted."""
    pull: PullRequest | Absent | Unobserved = NOT_NEEDED
    rules: BranchRules | Unobserved = NOT_NEEDED
    reviews: tuple[Review, ...] | Unobserved = NOT_NEEDED
    checks: tuple[Check, ...] | Unobserved = NOT_NEEDED
    """At the head."""
    us: Us = Us()
    unwritten: tuple[Unwritten, ...] = ()
    spending: SpendingLimits = NO_SPENDING_LIMITS

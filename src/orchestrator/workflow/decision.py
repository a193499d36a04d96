"""What `decide` returns: data, with nothing left to choose for whoever carries it out."""

from dataclasses import dataclass

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.forge import ReviewState
from orchestrator.domain.model import NO_SWITCHES, RepoName, Return, Sha, Stage, Switches
from orchestrator.domain.roles import Role
from orchestrator.domain.run import VerdictWord
from orchestrator.domain.tracker import CommentId
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
    feedback: tuple[Feedback, ...] = ()
    """Why the role works again."""
    resumes: int = 0
    """The attempt whose session and workspace it goes on with, if they are still there; 0: none."""


@dataclass(frozen=True, slots=True)
class StopRun:
    """Stop an attempt that is open. Stopping it twice changes nothing."""

    stage: Stage
    attempt: int


@dataclass(frozen=True, slots=True)
class EnsurePullRequest:
    """Open the pull request from the task's branch onto the base branch, unless there is an open one."""

    repo: RepoName
    head: str
    base: str
    title: str


@dataclass(frozen=True, slots=True)
class PublishReview:
    """Publish a reviewer's verdict on the commit that it looked at: once for each attempt, however often it is
    decided.

    `as_comment`: the reviewer has no user of its own here, so it is a comment on the pull request, not a review.
    """

    repo: RepoName
    pull: int
    at: Sha
    attempt: int
    verdict: ReviewState
    text: str
    as_comment: bool = False


@dataclass(frozen=True, slots=True)
class PublishReport:
    """Publish a tester's verdict on the pull request and the work item: once for each attempt."""

    repo: RepoName
    pull: int
    at: Sha
    attempt: int
    word: VerdictWord
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a comment, once. `about` is what the answer tells of besides."""

    comment: CommentId
    item: Item
    about: tuple[Item, ...] = ()


Action = EnsureBranch | StartRun | StopRun | EnsurePullRequest | PublishReview | PublishReport | Reply


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
    """Where the task stands after, what to do, and why it waits. `switches` and `returns` are the task's then."""

    stage: Stage
    actions: tuple[Action, ...] = ()
    waiting: tuple[Item, ...] = ()
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    identity: Identity | None = None
    switches: Switches = NO_SWITCHES
    returns: tuple[Return, ...] = ()


BESIDE = frozenset({"answers_spent", "not_written"})
"""Items that are told beside what is waited for, and keep nobody from anything when they stand behind it."""


def required(waiting: tuple[Item, ...]) -> tuple[Item, ...]:
    """What a task really waits for, the closest first: without the notes behind it. What is refused stands before
    what we would do ourselves, since that hangs on it.
    """
    last = next((place for place in range(len(waiting), 0, -1) if waiting[place - 1].code not in BESIDE), 0)
    return waiting[:last]


def about_to_start(decision: Decision) -> tuple[Item, ...]:
    """The agents that are on their way, as what is waited for."""
    return tuple(
        Item("run_intended", (("role", one.role), ("attempt", str(one.attempt))), who="agent", action="wait")
        for one in decision.actions
        if isinstance(one, StartRun)
    )

"""What a forge (Gitea, Forgejo) shows: pull requests, reviews, checks and files, as values."""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.model import Sha


@dataclass(frozen=True, slots=True)
class BranchRules:
    """What the forge asks of pull requests onto a branch. Readable without administrator's rights."""

    required_contexts: tuple[str, ...] = ()
    """Globs; each needs a green check. Empty: the forge asks for none."""
    required_approvals: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file at one commit. `path` is from the repository's root, `blob` its git object id."""

    path: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request as it is now. `is_mergeable` says only that there is no conflict and it is no draft; it is
    False too while the forge is still checking.
    """

    number: int
    title: str
    is_open: bool
    is_merged: bool
    is_draft: bool
    is_mergeable: bool
    head_branch: str
    head: Sha
    base_branch: str
    author: str
    url: str


class ReviewState(StrEnum):
    """A review's kind. `pending` and `requested` are no verdicts."""

    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    COMMENTED = "commented"
    PENDING = "pending"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class Review:
    """One row of a pull request's review history; ids grow. `commit` is empty where the forge did not tell it."""

    id: int
    author: str
    state: ReviewState
    commit: str
    is_stale: bool
    is_official: bool
    is_dismissed: bool
    text: str = ""
    comment_count: int = 0
    """How many comments at lines of the code belong to it."""
    comments: str = ""
    """Those as `path:line: text`, bounded; only there for a change request that stands on the newest commit."""
    url: str = ""
    """Its place on the pull request's page, for people and agents to read; never followed."""


class CheckState(StrEnum):
    """A commit status. Anything that the forge says beyond these is read as `pending`."""

    SUCCESS = "success"
    PENDING = "pending"
    FAILURE = "failure"
    ERROR = "error"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """The newest status of one context at one commit. `log_tail` is bounded and only there for a red one."""

    context: str
    state: CheckState
    creator: str
    description: str = ""
    url: str = ""
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class ForgeCapabilities:
    """What this server can do that another cannot."""

    status_events: bool
    """It sends a webhook when a commit status moves; where it does not, checks are polled."""
    pull_head_filter: bool
    """Its list of pull requests can be asked for a head branch."""


class ReviewPublished(StrEnum):
    """What became of a review of ours."""

    PUBLISHED = "published"
    OWN_PULL_REQUEST = "own_pull_request"
    """The forge refused it: nobody approves or rejects the pull request that they opened. Never tried again."""
    CLOSED_PULL_REQUEST = "closed_pull_request"
    """It refused it, since the pull request is closed or merged. Tried again only when it was opened again."""

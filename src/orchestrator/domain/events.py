"""What a delivery may mean to us: one frozen class per event that we act on, `Ignored` for the rest."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.model import ProjectId, Sha, Source, UserId, WorkItemId


@dataclass(frozen=True, slots=True)
class WorkItemChanged:
    """A work item was created or changed in Plane. A hint: the tracker is read before anything is decided."""

    project: ProjectId
    item: WorkItemId
    title: str
    is_new: bool
    actor: UserId | None


@dataclass(frozen=True, slots=True)
class CommentChanged:
    """A comment on a work item was created or edited. Its text is read again from the tracker."""

    item: WorkItemId
    comment: str
    actor: UserId | None


@dataclass(frozen=True, slots=True)
class WorkItemDeleted:
    """Older and commercial Planes announce deletions; the tracker's 404 is what counts."""

    item: WorkItemId


@dataclass(frozen=True, slots=True)
class BranchMoved:
    """A branch was created, pushed to or deleted. `head` is None when it is gone or not told."""

    repo: str
    branch: str
    head: Sha | None
    sender: str


@dataclass(frozen=True, slots=True)
class PullRequestChanged:
    """Anything about a pull request: opened, synchronized, closed, reviewed, commented, labelled."""

    repo: str
    number: int
    branch: str
    head: Sha | None
    sender: str


@dataclass(frozen=True, slots=True)
class CommitChecked:
    """A commit status or a CI run moved. Names no branch, so the task is found by the commit."""

    repo: str
    head: Sha
    sender: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Well-formed and signed, but nothing for us; stored with this reason and answered 200."""

    reason: str


Event = (
    WorkItemChanged | CommentChanged | WorkItemDeleted | BranchMoved | PullRequestChanged | CommitChecked | Ignored
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The meaning of a body. `event_id` is Plane v2's id that is stable over retries."""

    event_type: str
    action: str
    event: Event
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One verified request. `payload` is the signed body itself, JSON in UTF-8; times are UTC."""

    source: Source
    received_at: datetime
    delivery_id: str
    body_sha256: str
    payload: bytes
    headers: tuple[tuple[str, str], ...]
    parsed: Parsed

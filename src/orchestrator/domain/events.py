"""What a delivery may mean to us: one frozen class per event that we act on, `Ignored` for the rest.

Structs, since a burst makes hundreds a second: a frozen dataclass takes several times as long to be made.
"""

from datetime import datetime

import msgspec

from orchestrator.domain.model import ProjectId, Sha, Source, UserId, WorkItemId


class WorkItemChanged(msgspec.Struct, frozen=True):
    """A work item was created or changed in Plane. A hint: the tracker is read before anything is decided."""

    project: ProjectId
    item: WorkItemId
    title: str
    is_new: bool
    actor: UserId | None


class CommentChanged(msgspec.Struct, frozen=True):
    """A comment on a work item was created or edited. Its text is read again from the tracker."""

    item: WorkItemId
    comment: str
    actor: UserId | None


class WorkItemDeleted(msgspec.Struct, frozen=True):
    """Older and commercial Planes announce deletions; the tracker's 404 is what counts."""

    item: WorkItemId


class BranchMoved(msgspec.Struct, frozen=True):
    """A branch was created, pushed to or deleted. `head` is None when it is gone or not told."""

    repo: str
    branch: str
    head: Sha | None
    sender: str


class PullRequestChanged(msgspec.Struct, frozen=True):
    """Anything about a pull request: opened, synchronized, closed, reviewed, commented, labelled."""

    repo: str
    number: int
    branch: str
    head: Sha | None
    sender: str


class CommitChecked(msgspec.Struct, frozen=True):
    """A commit status or a CI run moved. Names no branch, so the task is found by the commit.

    `sender` is empty for a run: whoever triggered it does not tell of it.
    """

    repo: str
    head: Sha
    sender: str


class Ignored(msgspec.Struct, frozen=True):
    """Well-formed and signed, but nothing for us; stored with this reason and answered 200."""

    reason: str


Event = (
    WorkItemChanged | CommentChanged | WorkItemDeleted | BranchMoved | PullRequestChanged | CommitChecked | Ignored
)


class Parsed(msgspec.Struct, frozen=True):
    """The meaning of a body. `event_id` is Plane v2's id that is stable over retries."""

    event_type: str
    action: str
    event: Event
    event_id: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One verified request. `payload` is the signed body itself, JSON in UTF-8; times are UTC."""

    source: Source
    received_at: datetime
    delivery_id: str
    body_sha256: str
    payload: bytes
    headers: tuple[tuple[str, str], ...]
    parsed: Parsed

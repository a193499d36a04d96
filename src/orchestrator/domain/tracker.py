"""What a tracker (Plane) shows: comments and states, as values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType

from orchestrator.domain.model import UserId, WorkItem

CommentId = NewType("CommentId", str)
StateId = NewType("StateId", str)
NO_MARGIN = timedelta()


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as it is now. `author` is Plane's actor, which cannot be forged (its `created_by` can)."""

    id: CommentId
    author: UserId
    is_edited: bool
    """Somebody changed it after it was written, as far as the tracker tells."""
    lines: tuple[str, ...]
    """What was said: the text's lines outside code, preformatted blocks and quotes, without blank ones."""
    digest: str
    """SHA-256 of the markup, so that a change shows itself that the tracker does not tell of."""
    external_id: str
    """The key that we gave to a comment of ours; empty for everybody else's."""
    created_at: datetime
    is_by_another: bool = False
    """Its present text is of somebody else than its author."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Changed work items, newest first, as many as are read at once. `next_page` is where the rest begins; where
    things were deleted meanwhile it begins earlier.
    """

    items: tuple[WorkItem, ...]
    next_page: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A comment of ours. `is_new`: it was written just now, with the text that was given."""

    id: CommentId
    is_new: bool


@dataclass(frozen=True, slots=True)
class TrackerState:
    """A column of the tracker's board. `group` is backlog, unstarted, started, completed, cancelled or triage."""

    id: StateId
    name: str
    group: str

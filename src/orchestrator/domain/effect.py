"""Writes to the outside, as values: what is queued with a decision and carried out after it."""

from dataclasses import dataclass
from enum import Enum

from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import RepoName, Sha


class Again(Enum):
    """When an effect that was done under its key is done again."""

    NEVER = "never"
    WHEN_CHANGED = "when_changed"
    """With other arguments: a comment that is edited in place."""
    WHEN_WANTED = "when_wanted"
    """People may undo it (they delete a review, say), and then a decision wants it again."""


@dataclass(frozen=True, slots=True)
class TrackerNote:
    """A comment of ours on the work item, under a key: written once, then edited in place."""

    key: str
    html: str


@dataclass(frozen=True, slots=True)
class ItemState:
    """The work item stands in the state of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class PullLink:
    """The work item links to its pull request."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class OpenPull:
    """There is an open pull request from `head` onto `base`."""

    repo: RepoName
    head: str
    base: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class PullNote:
    """A comment of ours on the pull request, under a hidden marker: written once, then edited in place."""

    repo: RepoName
    pull: int
    marker: str
    text: str


@dataclass(frozen=True, slots=True)
class PullReview:
    """A review by the reviewer's own user. Its first line is the hidden marker that finds it again."""

    repo: RepoName
    pull: int
    at: Sha
    verdict: ReviewState
    text: str


@dataclass(frozen=True, slots=True)
class GateStatus:
    """The commit status that says what the task waits for."""

    repo: RepoName
    at: Sha
    state: CheckState
    description: str
    url: str


Effect = TrackerNote | ItemState | PullLink | OpenPull | PullNote | PullReview | GateStatus
EFFECTS = (TrackerNote, ItemState, PullLink, OpenPull, PullNote, PullReview, GateStatus)

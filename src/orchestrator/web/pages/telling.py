"""A task's facts as its page tells them: addresses of evidence, and the journal and decisions as one story."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from urllib.parse import quote, urlsplit

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Stage
from orchestrator.qg.verdict import Item
from orchestrator.store.timeline import Happened
from orchestrator.store.views import TaskStory, TaskView
from orchestrator.web.explain import Held, Lacking
from orchestrator.web.services import Services
from orchestrator.words.marks import is_address
from orchestrator.workflow.decision import (
    Decision,
    EnsureBranch,
    EnsurePullRequest,
    PublishReport,
    PublishReview,
    StartRun,
    StopRun,
    required,
)

_HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_BLOBS = frozenset(
    {"document", "approval", "document_blank", "document_not_ready", "section_missing", "too_few_approvers"}
)
_OF_ITEMS = frozenset({"new_work_item", "triggered"})
MOST_EVIDENCE = 4
MOST_ALONE = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """`address` is as a browser takes it; one of our own pages begins with `/` and still needs `url`."""

    kind: str
    text: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the story. `kind` is event, decision or approval; `words` are the catalogue's, with values."""

    kind: str
    at: datetime
    id: int
    words: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    source: str = ""
    raw: str = ""
    waits: Item | None = None
    person: str = ""
    is_bad: bool = False


class Teller:
    """Makes addresses of one task's things, all below those that were configured."""

    def __init__(self, services: Services, task: TaskView, story: TaskStory) -> None:
        self.item = services.item_link(task) or ""
        self._repo = f"{services.forge_address}/{task.repo}" if services.forge_address and task.repo else ""
        self._task = task
        facts = story.basis.facts if story.basis else None
        self._pull = facts.pull if facts and isinstance(facts.pull, PullRequest) else None

    @property
    def repo(self) -> str:
        return self._repo

    @property
    def branch(self) -> str:
        return f"{self._repo}/src/branch/{quote(self._task.branch)}" if self._repo and self._task.branch else ""

    @property
    def pull(self) -> Evidence | None:
        """Its number leads to the configured forge; without one, what the forge said itself."""
        if self._pull is None:
            return None
        said = self._pull.url if is_address(self._pull.url) else ""
        address = f"{self._repo}/pulls/{self._pull.number}" if self._repo else said
        return Evidence("pull", str(self._pull.number), address)

    def commit(self, sha: str) -> str:
        return f"{self._repo}/commit/{sha}" if self._repo and _HEX.fullmatch(sha) else ""

    def item_of(self, found: Held) -> Item:
        """For its words."""
        who, action = (found.who, found.action) if isinstance(found, Lacking) else ("", "")
        return Item(found.code, tuple(found.params.items()), tuple(found.evidence), who, action)

    def evidence(self, item: Item | Held) -> list[Evidence]:
        """What it rests on, with where to look at it."""
        return [self._evidence(one, item.code) for one in dict.fromkeys(item.evidence) if one][:MOST_EVIDENCE]

    def _evidence(self, text: str, code: str) -> Evidence:
        if is_address(text):
            return Evidence("link", urlsplit(text).hostname or text, text)
        if _HEX.fullmatch(text):
            if code in _OF_BLOBS:
                return Evidence("document", text[:10], "#documents")
            return Evidence("commit", text[:10], self.commit(text))
        if text.startswith("remark-") and text[7:].isdigit():
            return Evidence("remark", text[7:], f"/journal/{text[7:]}")
        if _UUID.fullmatch(text):
            return Evidence("item" if code in _OF_ITEMS else "comment", text[:8], self.item)
        return Evidence("text", text[:60])


def told(story: TaskStory, events: Sequence[Happened], most: int) -> list[Sequence[Told]]:
    """Newest first. What was decided stands alone; more than two deliveries in a row are one entry."""
    every = [*_events(events), *_decisions(story), *_approvals(story)]
    newest = sorted(every, key=lambda one: (one.at, one.id), reverse=True)[:most]
    entries = list[Sequence[Told]]()
    for is_event, group in groupby(newest, key=lambda one: one.kind == "event"):
        alike = tuple(group)
        entries += [alike] if is_event and len(alike) > MOST_ALONE else [(one,) for one in alike]
    return entries


def _events(events: Sequence[Happened]) -> Iterator[Told]:
    for one in events:
        raw = f"{one.kind}/{one.action}" if one.action else one.kind
        yield Told("event", one.at, one.id, ((_word_of(one), ()),), one.source, raw)


_WORDS = (
    ("orchestrator", "comment_seen", "task.event_comment_seen"),
    ("orchestrator", "document_seen", "task.event_document_seen"),
    ("operator", "remark", "task.event_remark"),
    ("plane", "issue_comment", "task.event_comment"),
    ("plane", "workitem.comment", "task.event_comment"),
    ("plane", "comment", "task.event_comment"),
    ("plane", "", "task.event_item"),
    ("gitea", "push", "task.event_push"),
    ("gitea", "create", "task.event_branch"),
    ("gitea", "delete", "task.event_branch"),
    ("gitea", "pull_request_review", "task.event_review"),
    ("gitea", "pull_request_comment", "task.event_pull_comment"),
    ("gitea", "pull_request", "task.event_pull"),
    ("gitea", "", "task.event_check"),
)
"""Source and how the type begins; the first that fits."""


def _word_of(one: Happened) -> str:
    fits = (word for source, start, word in _WORDS if one.source == source and one.kind.startswith(start))
    return next(fits, "task.event_other")


def _approvals(story: TaskStory) -> Iterator[Told]:
    for one in story.approvals:
        word = ("task.was_approved", (("gate", one.gate),))
        yield Told("approval", one.approved_at, one.position, (word,), person=one.person)


def _decisions(story: TaskStory) -> Iterator[Told]:
    """Each beside the one before it. Of the oldest that was looked at nobody knows what it changed."""
    ordered = story.decisions[::-1]
    for number, one in enumerate(ordered):
        before = ordered[number - 1].decision if number else None
        waits = next(iter(required(one.decision.waiting)), None)
        bad = bool(before and len(one.decision.returns) > len(before.returns))
        yield Told("decision", one.decided_at, one.id, tuple(said(one.decision, before)), waits=waits, is_bad=bad)


def said(decision: Decision, before: Decision | None) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    stage = before.stage if before else Stage.CREATED
    if before and len(decision.returns) > len(before.returns):
        yield "task.was_sent_back", (("cause", decision.returns[-1].cause),)
    if decision.stage is not stage:
        yield "task.was_moved", (("stage", decision.stage),)
    for action in decision.actions:
        match action:
            case StartRun(role, _, attempt):
                yield "task.did_start", (("role", role), ("attempt", str(attempt)))
            case StopRun():
                yield "task.did_stop", ()
            case EnsureBranch(_, name):
                yield "task.did_branch", (("branch", name),)
            case EnsurePullRequest():
                yield "task.did_pull", ()
            case PublishReview() | PublishReport():
                yield "task.did_publish", ()
            case _:
                yield "task.did_answer", ()

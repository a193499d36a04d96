"""A note on a work item costs as few calls as can be, and lets looks go first. Its tracker only takes comments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.db import Database
from orchestrator.domain.effect import Again, TrackerNote
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.model import ProjectId, Task, WorkItemId
from orchestrator.domain.tracker import CommentId, Written
from orchestrator.loglimit import Complaints
from orchestrator.pace import Urgency, urgency
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.observe import Forges
from orchestrator.store import canonical, outbox, tasks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY, OURS = "SHOP-1:standing", CommentId("ours")


@dataclass
class Notes:
    """`there`: the comments that the tracker has, by key."""

    there: dict[str, CommentId] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    urgencies: set[Urgency] = field(default_factory=set)

    async def comment(self, _project: ProjectId, _item: WorkItemId, key: str, _html: str) -> Written:
        self._note("comment")
        is_new = key not in self.there
        return Written(self.there.setdefault(key, OURS), is_new)

    async def edit_comment(self, _project: ProjectId, _item: WorkItemId, comment: CommentId, _html: str) -> bool:
        self._note("edit")
        return comment in self.there.values()

    def _note(self, what: str) -> None:
        self.asked.append(what)
        self.urgencies.add(urgency())


async def due(database: Database, html: str) -> Task:
    """A task with a note that is to be shown."""
    changed = WorkItemChanged(ProjectId("p"), WorkItemId("w"), "Title", is_new=True, actor=None)

    def queued(connection: Any) -> Task:
        ident = tasks.ensure_for_item(connection, changed, NOW)
        text = canonical.encode(TrackerNote(KEY, html))
        outbox.queue(connection, ident, "1:standing", "TrackerNote", text, NOW, again=Again.WHEN_CHANGED)
        return tasks.get(connection, ident)

    return await database.write(queued)


@pytest.mark.parametrize(
    ("there", "seen", "calls"),
    [
        ({}, {}, ["comment"]),
        ({KEY: OURS}, {KEY: OURS}, ["edit"]),
        ({KEY: OURS}, {}, ["comment", "edit"]),
        ({}, {KEY: OURS}, ["edit", "comment"]),
    ],
    ids=["new", "seen by this look", "there and not seen", "deleted since it was seen"],
)
async def test_a_note_costs_as_few_calls_as_can_be(
    database: Database, clock: Any, there: Mapping[str, CommentId], seen: Mapping[str, CommentId], calls: list[str]
) -> None:
    tracker = Notes(dict(there))
    delivery = Delivery(database, clock, tracker, Forges(), Complaints())  # type: ignore[arg-type]  # it has what is asked here
    await delivery.deliver(await due(database, "<p>one</p>"), seen)
    assert tracker.asked == calls
    await delivery.deliver(await due(database, "<p>two</p>"), {})
    assert tracker.asked[len(calls) :] == ["edit"], "and is known from then on, however it was found"


async def test_what_is_shown_lets_looks_go_first(database: Database, clock: Any) -> None:
    tracker = Notes()
    delivery = Delivery(database, clock, tracker, Forges(), Complaints())  # type: ignore[arg-type]  # as above
    await delivery.deliver(await due(database, "<p>one</p>"), {})
    assert tracker.urgencies == {Urgency.SHOW}
    assert urgency() is Urgency.LOOK

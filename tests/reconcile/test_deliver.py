"""A note on a work item costs as few calls as can be, lets looks go first, and says when it is refused. Its
tracker only takes comments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from orchestrator.db import Database
from orchestrator.domain.effect import Again, TrackerNote
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.model import ProjectId, Stage, Task, WorkItemId
from orchestrator.domain.tracker import CommentId, Written
from orchestrator.loglimit import Complaints
from orchestrator.pace import Urgency, urgency
from orchestrator.qg.facts import Unwritten
from orchestrator.reconcile.deliver import TOLD_IN_S, Delivery
from orchestrator.reconcile.observe import REFUSED_PAUSE_S, Forges
from orchestrator.store import canonical, outbox, tasks
from orchestrator.store.schema import effects

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


@dataclass
class Refusing(Notes):
    """Refuses with this, until it is taken away."""

    error: OrchestratorError | None = None

    async def comment(self, project: ProjectId, item: WorkItemId, key: str, html: str) -> Written:
        if self.error:
            raise self.error
        return await super().comment(project, item, key, html)


async def test_what_is_refused_is_told_by_the_next_look_and_so_is_that_it_is_taken(
    database: Database, clock: Any
) -> None:
    """F30: a text that changes each time makes no haste, and what could only not be tried is no refusal."""
    tracker = Refusing()
    delivery = Delivery(database, clock, tracker, Forges(), Complaints())  # type: ignore[arg-type]  # as above
    task = await due(database, "<p>one</p>")
    steps: list[tuple[OrchestratorError | None, float | None, str]] = [
        (Transient("plane_unreachable", "Down."), 0.0, ""),
        (Permanent("plane_refused", "No.", hint="Ask."), TOLD_IN_S, "plane_refused: No. Ask."),
        (Permanent("plane_refused", "No.", hint="Ask."), REFUSED_PAUSE_S, "plane_refused: No. Ask."),
        (Permanent("plane_refused", "Never."), REFUSED_PAUSE_S, "plane_refused: Never."),
        (Transient("plane_unreachable", "Down."), 0.0, "plane_refused: Never."),
        (None, TOLD_IN_S, ""),
        (None, None, ""),
    ]
    for error, again_in_s, why in steps:
        tracker.error = error
        assert (await delivery.deliver(task, {})).again_in_s == again_in_s
        told = await database.read(lambda connection: outbox.unwritten(connection, task.id))
        assert told == ((Unwritten("TrackerNote", why),) if why else ())


@pytest.mark.parametrize(
    ("error", "again_in_s"),
    [
        (Permanent("plane_no_such_state", "No."), None),
        (Permanent("gitea_unexpected", "404."), None),
        (Permanent("plane_refused", "A wrong token."), TOLD_IN_S),
        (Permanent("no_plane_token", "None."), TOLD_IN_S),
        (Transient("plane_unreachable", "Down."), 0.0),
    ],
)
async def test_of_a_task_that_is_done_only_what_passes_or_is_shown_elsewhere_is_tried_again(
    database: Database, clock: Any, error: OrchestratorError, again_in_s: float | None
) -> None:
    """Nobody looks at it any more. Why it was given up stands in the row and in the log."""
    tracker = Refusing(error=error)
    delivery = Delivery(database, clock, tracker, Forges(), Complaints())  # type: ignore[arg-type]  # as above
    task = replace(await due(database, "<p>one</p>"), stage=Stage.DONE)
    with capture_logs() as said:
        assert (await delivery.deliver(task, {})).again_in_s == again_in_s
    given_up = [one["why"] for one in said if one["event"] == "effect_given_up"]
    assert given_up == ([f"{error.code}: {error.message}"] if again_in_s is None else [])
    rows = await database.read(
        lambda connection: [(row.done_at is not None, row.error) for row in connection.execute(select(effects))]
    )
    why = "" if isinstance(error, Transient) else f"{error.code}: {error.message}"
    assert rows == [(again_in_s is None, why)]
    before = len(tracker.asked)
    tracker.error = None
    await delivery.deliver(task, {})
    assert (len(tracker.asked) == before) is (again_in_s is None)

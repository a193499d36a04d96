"""The journal: once is once, whatever is sent how often."""

import asyncio
import hashlib
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from orchestrator.db import Database
from orchestrator.domain.events import (
    BranchMoved,
    CommentChanged,
    CommitChecked,
    Delivery,
    Event,
    Ignored,
    Parsed,
    PullRequestChanged,
    WorkItemChanged,
    WorkItemDeleted,
)
from orchestrator.domain.model import ProjectId, RepoName, Sha, Source, Stage, WorkItemId
from orchestrator.domain.roles import Role
from orchestrator.store import journal, tasks
from orchestrator.store.schema import events
from orchestrator.store.schema import tasks as task_table
from orchestrator.store.tasks import Posted

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ITEM = WorkItemId("w1")
CREATED = WorkItemChanged(ProjectId("p1"), ITEM, "Title", is_new=True, actor=None)


def delivery(body: str, event: Event = CREATED, *, ident: str = "", event_id: str | None = None) -> Delivery:
    sha = hashlib.sha256(body.encode()).hexdigest()
    parsed = Parsed("issue", "created", event, event_id)
    return Delivery(
        Source.PLANE, NOW, ident or f"id-{body}", sha, body.encode(), (("x-plane-event", "issue"),), parsed
    )


async def record(database: Database, *deliveries: Delivery) -> list[journal.Recorded]:
    return await database.write(
        lambda connection: journal.record(connection, [journal.entry(one) for one in deliveries])
    )


async def rows(database: Database) -> list[dict[str, object]]:
    return await database.read(
        lambda c: [dict(row._mapping) for row in c.execute(select(events).order_by(events.c.id))]
    )


async def test_a_new_delivery_is_stored_with_its_task_and_waits_to_be_looked_at(database: Database) -> None:
    (answer,) = await record(database, delivery("a"))
    (row,) = await rows(database)
    assert answer.is_new
    assert row["task_id"] == answer.task
    assert (row["payload"], row["processed"], row["repeats"], row["ignored"]) == ("a", 0, 0, None)
    assert await database.read(journal.tasks_with_unprocessed) == [answer.task]


async def test_the_same_body_under_a_new_id_is_counted_and_adds_no_row(database: Database) -> None:
    (first,) = await record(database, delivery("a"))
    (again,) = await record(database, delivery("a", ident="another"))
    assert (again.is_new, again.task) == (False, first.task)
    assert [row["repeats"] for row in await rows(database)] == [1]


async def test_repeats_within_one_batch_are_one_row(database: Database) -> None:
    answers = await record(database, *[delivery("a", ident=str(n)) for n in range(50)])
    assert [answer.is_new for answer in answers] == [True] + [False] * 49
    assert len({answer.task for answer in answers}) == 1
    assert [row["repeats"] for row in await rows(database)] == [49]


async def test_a_v2_retry_with_a_new_body_is_known_by_its_event_id(database: Database) -> None:
    await record(database, delivery("a", event_id="e1"))
    (again,) = await record(database, delivery("b", event_id="e1"))
    assert not again.is_new
    assert len(await rows(database)) == 1


async def test_v2_retries_within_one_batch_are_one_row(database: Database) -> None:
    answers = await record(database, delivery("a", event_id="e1"), delivery("b", event_id="e1"))
    assert [answer.is_new for answer in answers] == [True, False]


async def test_one_delivery_id_with_two_bodies_is_stored_twice_and_flagged(database: Database) -> None:
    await record(database, delivery("a", ident="same"))
    answers = await record(database, delivery("b", ident="same"), delivery("c", ident="same"))
    assert all(answer.is_new for answer in answers)
    assert [row["flag"] for row in await rows(database)] == [None, journal.REUSED_ID, journal.REUSED_ID]


async def test_the_same_body_from_the_other_system_is_another_event(database: Database) -> None:
    first = delivery("a", Ignored("x"))
    second = Delivery(Source.GITEA, NOW, "id", first.body_sha256, b"a", (), first.parsed)
    assert [answer.is_new for answer in await record(database, first, second)] == [True, True]


async def test_two_events_of_one_item_share_its_task_and_remember_that_it_was_created(database: Database) -> None:
    changed = WorkItemChanged(ProjectId("p1"), ITEM, "Title", is_new=False, actor=None)
    (early,) = await record(database, delivery("a", changed))
    assert early.task is not None
    assert not (await database.read(lambda c: tasks.get(c, early.task))).seen_created  # type: ignore[arg-type]
    answers = await record(database, delivery("b"), delivery("c", changed))
    assert {answer.task for answer in answers} == {early.task}
    assert (await database.read(lambda c: tasks.get(c, early.task))).seen_created  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event",
    [
        CommentChanged(ITEM, "c1", None),
        WorkItemDeleted(ITEM),
        BranchMoved("acme/enduro-trails", "feature/TASK-2-analyst", None, "bob"),
        PullRequestChanged("acme/enduro-trails", 7, "feature/TASK-2-analyst", None, "bob"),
        CommitChecked("acme/enduro-trails", Sha("a" * 40), "bob"),
    ],
)
async def test_every_kind_of_event_finds_its_task(database: Database, event: Event) -> None:
    (of_item,) = await record(database, delivery("made"))
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "t", "b", "main")
    of_branch = await database.write(lambda c: tasks.post(c, posted, NOW))
    await database.write(lambda c: tasks.run_ended(c, of_branch.id, Sha("a" * 40), NOW))
    (answer,) = await record(database, delivery("found", event))
    expected = of_item.task if isinstance(event, CommentChanged | WorkItemDeleted) else of_branch.id
    assert answer.task == expected


async def test_a_check_is_told_to_all_that_rest_on_it_and_to_nobody_for_another_repository(
    database: Database,
) -> None:
    head, posted = Sha("a" * 40), Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "t", "b", "main")
    made = [(await database.write(lambda c: tasks.post(c, posted, NOW))).id for _ in range(2)]
    await database.write(lambda c: c.execute(task_table.update().values(head_sha=head, stage=Stage.CI)))
    (answer,) = await record(database, delivery("ours", CommitChecked("acme/enduro-trails", head, "bob")))
    assert answer == journal.Recorded(is_new=True, task=made[1], others=(made[0],))
    (answer,) = await record(database, delivery("a fork's", CommitChecked("evil/fork", head, "bob")))
    assert answer == journal.Recorded(is_new=True, task=None)


async def test_an_event_that_belongs_to_nobody_is_stored_and_says_so(database: Database) -> None:
    (answer,) = await record(database, delivery("a", CommentChanged(ITEM, "c1", None)))
    (row,) = await rows(database)
    assert answer == journal.Recorded(is_new=True, task=None)
    assert (row["ignored"], row["processed"]) == (journal.NO_TASK, 1)


async def test_an_ignored_event_keeps_its_reason(database: Database) -> None:
    await record(database, delivery("a", Ignored("test delivery")))
    (row,) = await rows(database)
    assert (row["ignored"], row["processed"], row["task_id"]) == ("test delivery", 1, None)


async def test_only_what_a_look_saw_is_marked_processed(database: Database) -> None:
    (first,) = await record(database, delivery("a"))
    assert first.task is not None
    task = first.task
    seen = await database.read(lambda c: tasks.for_look(c, task).newest_event)
    await record(database, delivery("b"))
    await database.write(lambda c: journal.mark_processed(c, task, seen))
    assert [row["processed"] for row in await rows(database)] == [1, 0]


async def test_parallel_identical_deliveries_make_one_event_and_one_task(database: Database) -> None:
    answers = await asyncio.gather(
        *[database.write_bulk(journal.record, journal.entry(delivery("a", ident=str(n)))) for n in range(50)]
    )
    assert sum(answer.is_new for answer in answers) == 1
    assert len(await rows(database)) == 1
    assert await database.read(lambda c: len(c.execute(select(task_table)).all())) == 1


async def test_the_forge_may_write_a_repositorys_name_in_other_capitals(database: Database) -> None:
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    moves = [
        BranchMoved("ACME/Enduro-Trails", task.branch, None, "x"),
        BranchMoved("acme/enduro-trails", task.branch, None, "x"),
        BranchMoved("acme/enduro_trails", task.branch, None, "x"),
        BranchMoved("acme/enduro-trails", task.branch.upper(), None, "x"),
    ]
    answers = await record(database, *(delivery(str(place), move) for place, move in enumerate(moves)))
    assert [one.task for one in answers] == [task.id, task.id, None, None]

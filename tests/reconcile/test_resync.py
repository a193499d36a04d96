"""Whom a resync names: what went and what came back, and how often it asks. Its tracker only lists."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.db import Database
from orchestrator.domain.errors import Transient
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.model import Project, ProjectId, RepoName, Stage, TaskId, WorkItemId
from orchestrator.domain.tracker import Changes
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.resync import RESTS_OF_IDLE, RESTS_OF_MANY, Resync
from orchestrator.store import tasks
from orchestrator.store.schema import tasks as rows
from orchestrator.store.tasks import MOST_NOT_BEGUN

HERE = ProjectId("p")
PROJECT = Project(HERE, RepoName("acme", "shop"))


@dataclass
class Listing:
    """A tracker that only lists; `items` None: there are too many."""

    items: set[WorkItemId] | None = field(default_factory=set)
    is_down: bool = False
    asked: int = 0

    async def changed_items(self, *_: object) -> Changes:
        return Changes(())

    async def listed_items(self, _project: ProjectId) -> Collection[WorkItemId] | None:
        self.asked += 1
        if self.is_down:
            raise Transient("plane_unreachable", "no")
        return self.items


def resync(database: Database, clock: Any, listing: Listing) -> Resync:
    return Resync(database, clock, listing, lambda: [PROJECT], Complaints())  # type: ignore[arg-type]  # it has what is asked here


async def task(database: Database, item: str, stage: Stage = Stage.ANALYSIS) -> TaskId:
    changed = WorkItemChanged(HERE, WorkItemId(item), item, is_new=True, actor=None)

    def made(connection: Any) -> TaskId:
        ident = tasks.ensure_for_item(connection, changed, datetime(2026, 1, 1, tzinfo=UTC))
        connection.execute(rows.update().where(rows.c.id == ident).values(stage=stage))
        return ident

    return await database.write(made)


async def test_a_work_item_that_went_is_named_once_and_once_when_it_is_back(
    database: Database, clock: Any
) -> None:
    first, second = await task(database, "a"), await task(database, "b")
    listing = Listing({WorkItemId("a"), WorkItemId("b")})
    one = resync(database, clock, listing)
    assert (await one.moved()).tasks == ()
    listing.items = {WorkItemId("a")}
    assert (await one.moved()).tasks == (second,)
    assert (await one.moved()).tasks == ()
    listing.items = {WorkItemId("b")}
    assert (await one.moved()).tasks == (first, second)
    assert set(await one.to_poll()) == {first, second}


async def test_only_tasks_that_are_not_done_need_the_list(database: Database, clock: Any) -> None:
    listing = Listing()
    one = resync(database, clock, listing)
    await one.moved()
    assert listing.asked == 0
    await task(database, "a", Stage.DONE)
    assert (await one.moved()).tasks == ()
    assert listing.asked == 0
    gone = await task(database, "c"), await task(database, "d", Stage.CREATED)
    assert (await one.moved()).tasks == gone


async def test_where_no_task_has_begun_the_list_is_asked_for_less_often_and_the_newest_are_compared(
    database: Database, clock: Any
) -> None:
    made = [await task(database, f"{number}", Stage.CREATED) for number in range(MOST_NOT_BEGUN + 2)]
    listing = Listing()
    one = resync(database, clock, listing)
    for _ in range(RESTS_OF_IDLE - 1):
        assert (await one.moved()).tasks == ()
    assert listing.asked == 0
    assert (await one.moved()).tasks == tuple(made[2:])
    assert (await one.moved()).tasks == ()
    assert listing.asked == 1


@pytest.mark.parametrize(("count", "times"), [(999, 20), (1000, 10), (9999, 2)])
async def test_the_list_of_all_costs_about_a_call_each_time(
    database: Database, clock: Any, count: int, times: int
) -> None:
    await task(database, "a")
    listing = Listing({WorkItemId("a"), *(WorkItemId(f"{number}") for number in range(1, count))})
    one = resync(database, clock, listing)
    for _ in range(20):
        await one.moved()
    assert listing.asked == times


async def test_where_there_are_too_many_nobody_is_taken_for_gone_and_it_is_seldom_asked(
    database: Database, clock: Any
) -> None:
    await task(database, "a")
    listing = Listing(None)
    one = resync(database, clock, listing)
    for _ in range(RESTS_OF_MANY):
        assert (await one.moved()).tasks == ()
    assert listing.asked == 1


async def test_a_list_that_could_not_be_read_takes_nobody_for_gone(database: Database, clock: Any) -> None:
    await task(database, "a")
    listing = Listing({WorkItemId("a")}, is_down=True)
    one = resync(database, clock, listing)
    assert (await one.moved()).tasks == ()
    listing.is_down = False
    assert (await one.moved()).tasks == ()
    assert listing.asked == 2

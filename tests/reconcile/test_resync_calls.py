"""The resync asks Plane as often as it must and no oftener, however many work items there are."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from crossing import Meanwhile
from orchestrator.clock import SystemClock
from orchestrator.db import Database
from orchestrator.domain.model import Project, ProjectId, RepoName
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.resync import Moved, Resync
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import APPROVER, PROJECT
from orchestrator.store import tasks, watermarks
from orchestrator.trackers.plane import MAX_PAGES, PAGE, Plane
from support import FIXTURES

MANY = 2 * PAGE + 50


class Ticking:
    """The simulator's clock: a second passes with everything that happens. It is so much behind ours that none of
    it comes to be in the future.
    """

    def __init__(self) -> None:
        self.at = datetime.now(UTC) - timedelta(minutes=30)

    def is_wrong(self, by: timedelta) -> None:
        """So much before ours; behind it when it is negative."""
        self.at = datetime.now(UTC) + by

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
def theirs() -> Ticking:
    return Ticking()


@pytest.fixture
def sim(theirs: Ticking) -> Iterator[PlaneSim]:
    with PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=6000, now=theirs) as one:
        yield one


HERE = Project(ProjectId(PROJECT), RepoName.parse("acme/enduro-trails"))
Begin = Callable[[], Resync]


async def beginning(
    sim: PlaneSim, database: Database, pages: int, door: Meanwhile | None = None
) -> AsyncIterator[Begin]:
    """Each of them is one of another process, which knows only what is stored."""
    with LoopbackServer(door or sim.app) as server:
        plane = Plane(server.url, sim.key_of("orchestrator"), "acme", calls_per_minute=60_000, changed_pages=pages)
        yield lambda: Resync(database, SystemClock(), plane, lambda: [HERE], Complaints())
        await plane.aclose()


@pytest.fixture
async def resync(sim: PlaneSim, database: Database) -> AsyncIterator[Resync]:
    async for begin in beginning(sim, database, MAX_PAGES):
        yield begin()


@pytest.fixture
async def begin(sim: PlaneSim, database: Database) -> AsyncIterator[Begin]:
    """Of those that read two pages at once."""
    async for begin in beginning(sim, database, 2):
        yield begin


@pytest.fixture
def door(sim: PlaneSim) -> Meanwhile:
    """Something happens before the second page of a list."""
    return Meanwhile(sim.app, lambda _, path: f"/{PROJECT}/work-items/" in path and "cursor=" in path)


@pytest.fixture
async def disturbed(sim: PlaneSim, database: Database, door: Meanwhile) -> AsyncIterator[Resync]:
    """Asks through the door."""
    async for begin in beginning(sim, database, MAX_PAGES, door):
        yield begin()


async def asked(sim: PlaneSim, resync: Resync) -> tuple[int, Moved]:
    """How many calls a look took, and what it found."""
    before = len(sim.calls)
    found = await resync.moved()
    calls = list(sim.calls)[before:]
    assert {(call.method, call.path.rpartition("/projects/")[2]) for call in calls} == {
        ("GET", f"{PROJECT}/work-items/")
    }
    return len(calls), found


def items(sim: PlaneSim, number: int) -> list[str]:
    return [sim.create_work_item(PROJECT, {"name": f"Item {n}"}, APPROVER)["id"] for n in range(number)]


async def test_while_nothing_changes_a_look_at_many_open_tasks_is_one_call(
    sim: PlaneSim, resync: Resync, database: Database
) -> None:
    await resync.moved()
    made = items(sim, MANY)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (3, MANY)
    assert len(await database.read(tasks.open_ids)) == MANY
    for _ in range(3):
        assert await asked(sim, resync) == (1, Moved())
    sim.change_work_item(made[0], {"priority": "high"}, APPROVER)  # the oldest of them
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (1, 1)


async def test_after_a_long_absence_the_calls_grow_with_what_changed_and_have_an_end(
    sim: PlaneSim, resync: Resync
) -> None:
    await resync.moved()
    made = items(sim, PAGE + 1)
    await resync.moved()
    for item in made:
        sim.change_work_item(item, {"priority": "low"}, APPROVER)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (2, PAGE + 1)
    assert calls <= MAX_PAGES


async def known(database: Database) -> int:
    return len(await database.read(tasks.open_ids))


async def seen_until(database: Database) -> datetime:
    now = datetime.now(UTC)
    return (await database.write(lambda connection: watermarks.ensure(connection, HERE.id, now))).seen_until


async def test_of_more_changes_than_are_read_at_once_none_is_lost(
    sim: PlaneSim, begin: Begin, database: Database
) -> None:
    resync = begin()
    await resync.moved()
    mark = await seen_until(database)
    items(sim, 4 * PAGE)
    for read in (2, 3):
        assert (await asked(sim, resync))[0] == 2
        assert (await known(database), await seen_until(database)) == (read * PAGE, mark)
    late = items(sim, 1)  # all others move one place on
    await resync.moved()
    assert (await known(database), await seen_until(database)) == (4 * PAGE - 1, mark)
    await resync.moved()
    assert await known(database) == 4 * PAGE
    assert await seen_until(database) > mark
    _, found = await asked(sim, resync)
    assert (await known(database), len(found.tasks)) == (4 * PAGE + 1, len(late))
    assert await asked(sim, resync) == (1, Moved())


async def test_a_restart_amid_a_list_of_changes_begins_it_anew(
    sim: PlaneSim, begin: Begin, database: Database
) -> None:
    await begin().moved()
    items(sim, 3 * PAGE)
    await begin().moved()
    resync = begin()
    for _ in range(3):
        await resync.moved()
    assert await known(database) == 3 * PAGE
    assert await asked(sim, resync) == (1, Moved())


async def test_a_fault_amid_a_list_of_changes_reads_the_same_part_again(
    sim: PlaneSim, begin: Begin, database: Database
) -> None:
    resync = begin()
    await resync.moved()
    items(sim, 3 * PAGE)
    await resync.moved()
    sim.down = True
    assert not (await resync.moved()).is_whole
    sim.down = False
    await resync.moved()
    assert await known(database) == 3 * PAGE


async def test_where_so_much_was_deleted_that_a_page_may_have_been_missed_the_list_is_read_anew(
    sim: PlaneSim, begin: Begin, database: Database
) -> None:
    resync = begin()
    await resync.moved()
    made = items(sim, 5 * PAGE)
    await resync.moved()
    for item in made[-PAGE - 1 :]:
        sim.delete_work_item(item)
    for _ in range(5):
        await resync.moved()
    assert await known(database) == 5 * PAGE
    assert await asked(sim, resync) == (1, Moved())


async def test_what_is_deleted_between_two_pages_hides_no_change(
    sim: PlaneSim, disturbed: Resync, door: Meanwhile, database: Database
) -> None:
    """All that follows moves one place up, the first of the next page onto the one that was read."""
    await disturbed.moved()
    made = items(sim, MANY)
    mark = await seen_until(database)
    door.then = lambda: sim.delete_work_item(made[-1])
    await disturbed.moved()
    assert (await known(database), await seen_until(database)) == (PAGE, mark)
    assert (await asked(sim, disturbed))[0] == 3, "read on from the page before"
    assert set(await database.read(lambda c: tasks.ids_by_item(c, made))) == set(made)
    assert await seen_until(database) > mark
    assert await asked(sim, disturbed) == (1, Moved())


async def test_a_list_from_which_somebody_deletes_all_the_time_is_read_to_its_end(
    sim: PlaneSim, disturbed: Resync, door: Meanwhile, database: Database
) -> None:
    def delete() -> None:
        if made:
            sim.delete_work_item(made.pop())
        door.then = delete

    await disturbed.moved()
    made = items(sim, MANY)
    kept = made[: MANY // 2]
    door.then = delete
    calls = [(await asked(sim, disturbed))[0] for _ in range(MANY)]
    assert max(calls) <= 3
    assert set(kept) <= set(await database.read(lambda c: tasks.ids_by_item(c, kept)))


async def test_changes_of_one_moment_are_read_to_their_end(
    sim: PlaneSim, begin: Begin, database: Database
) -> None:
    """As an import or a command over the whole database leaves them."""
    resync = begin()
    await resync.moved()
    made = items(sim, 3 * PAGE)
    rows = next(home.projects[PROJECT].items for home in sim.workspaces.values())
    moment = rows[made[-1]]["updated_at"]
    for item in made:
        rows[item]["updated_at"] = moment
    for _ in range(3):
        await resync.moved()
    assert await known(database) == 3 * PAGE
    assert await asked(sim, resync) == (2, Moved())  # their moment is the mark now, so they are listed again
    items(sim, 1)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (2, 1)
    assert await asked(sim, resync) == (1, Moved())


async def test_what_changes_while_planes_clock_is_behind_ours_is_found(
    sim: PlaneSim, resync: Resync, theirs: Ticking
) -> None:
    theirs.is_wrong(-timedelta(minutes=3))
    before = items(sim, 1)
    assert (await asked(sim, resync)) == (1, Moved())  # it was there before we followed the project
    items(sim, 1)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (1, 1)
    sim.change_work_item(before[0], {"priority": "high"}, APPROVER)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (1, 1)
    assert await asked(sim, resync) == (1, Moved())


async def test_a_clock_of_planes_that_was_fast_for_a_moment_hides_nothing(
    sim: PlaneSim, begin: Begin, database: Database, theirs: Ticking
) -> None:
    resync = begin()
    await resync.moved()
    theirs.is_wrong(timedelta(hours=1))
    items(sim, 1)
    assert len((await asked(sim, resync))[1].tasks) == 1
    assert await seen_until(database) <= datetime.now(UTC)
    theirs.is_wrong(-timedelta(seconds=2))  # it was set right
    items(sim, 1)
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks), await known(database)) == (1, 1, 2)
    assert await asked(sim, resync) == (1, Moved())
    items(sim, 1)
    assert len((await asked(sim, begin()))[1].tasks) >= 1, "another process finds it too"
    assert await known(database) == 3


async def test_what_appears_with_a_stamp_a_little_below_the_newest_is_found(
    sim: PlaneSim, resync: Resync, database: Database, theirs: Ticking
) -> None:
    """It was committed a moment later, or another host stamped it. Each is named once."""
    await resync.moved()
    theirs.is_wrong(-timedelta(minutes=2))
    items(sim, 1)
    theirs.is_wrong(-timedelta(seconds=1))
    items(sim, 1)
    await resync.moved()
    mark = await seen_until(database)
    (late,) = items(sim, 1)
    rows = next(home.projects[PROJECT].items for home in sim.workspaces.values())
    rows[late]["updated_at"] = (mark - timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    calls, found = await asked(sim, resync)
    assert (calls, len(found.tasks)) == (1, 1)
    assert await asked(sim, resync) == (1, Moved())

"""The resync asks Plane as often as it must and no oftener, however many work items there are."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.clock import SystemClock
from orchestrator.db import Database
from orchestrator.domain.model import Project, ProjectId, RepoName
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.resync import Moved, Resync
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import APPROVER, PROJECT
from orchestrator.store import tasks
from orchestrator.trackers.plane import MAX_PAGES, PAGE, Plane
from support import FIXTURES

MANY = 2 * PAGE + 50


class Ticking:
    """The simulator's clock: a second passes with everything that happens."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
def sim() -> Iterator[PlaneSim]:
    with PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=6000, now=Ticking()) as one:
        yield one


@pytest.fixture
async def resync(sim: PlaneSim, database: Database) -> AsyncIterator[Resync]:
    with LoopbackServer(sim.app) as server:
        plane = Plane(server.url, sim.key_of("orchestrator"), "acme", calls_per_minute=6000)
        project = Project(ProjectId(PROJECT), RepoName.parse("acme/enduro-trails"))
        yield Resync(database, SystemClock(), plane, lambda: [project], Complaints())
        await plane.aclose()


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

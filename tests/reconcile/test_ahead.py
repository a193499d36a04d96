"""Work items that are read while their deliveries are written to the disk. Plane is a function here."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from green import ITEM
from orchestrator.domain.errors import Transient
from orchestrator.domain.model import ProjectId, WorkItem, WorkItemId
from orchestrator.pace import Urgency, urgency
from orchestrator.reconcile.ahead import MAX_UNDER_WAY, ReadAhead

WHERE = (ProjectId("p"), WorkItemId("i"))


@dataclass
class Plane:
    """Titles say how many reads came before. `gate` is closed while an answer is on its way."""

    reads: int = 0
    is_down: bool = False
    urgencies: list[Urgency] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, _project: ProjectId, _item: WorkItemId) -> WorkItem:
        self.reads += 1
        self.urgencies.append(urgency())
        found = replace(ITEM, title=f"read {self.reads}")
        await self.gate.wait()
        self.urgencies.append(urgency())
        if self.is_down:
            raise Transient("plane_unreachable", "Plane cannot be reached.")
        return found


@pytest.fixture
def plane() -> Plane:
    plane = Plane()
    plane.gate.set()
    return plane


@pytest.fixture
def ahead(plane: Plane) -> ReadAhead:
    return ReadAhead(plane.read)


async def title(ahead: ReadAhead) -> str:
    found = await ahead.take(*WHERE)
    assert found is not None
    return found.title


async def others() -> None:
    """All that can go on does."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_look_takes_what_was_read_since_the_delivery(plane: Plane, ahead: ReadAhead) -> None:
    ahead.news(*WHERE)
    await others()
    assert await title(ahead) == "read 1"
    assert plane.reads == 1


async def test_it_is_taken_once(ahead: ReadAhead) -> None:
    ahead.news(*WHERE)
    await title(ahead)
    assert await title(ahead) == "read 2"


async def test_without_a_delivery_the_look_reads_itself(ahead: ReadAhead) -> None:
    assert await title(ahead) == "read 1"


async def test_what_was_read_before_another_delivery_counts_no_more(plane: Plane, ahead: ReadAhead) -> None:
    plane.gate.clear()
    ahead.news(*WHERE)
    await others()
    ahead.news(*WHERE)
    plane.gate.set()
    assert await title(ahead) == "read 2"


async def test_what_was_read_before_a_deletion_counts_no_more(ahead: ReadAhead) -> None:
    ahead.news(*WHERE)
    await others()
    ahead.gone(WHERE[1])
    assert await title(ahead) == "read 2"


async def test_a_crowd_of_deliveries_of_one_item_is_read_ahead_once(plane: Plane, ahead: ReadAhead) -> None:
    for _ in range(100):
        ahead.news(*WHERE)
        await others()
    assert plane.reads == 1


async def test_so_many_are_under_way_and_no_more(plane: Plane, ahead: ReadAhead) -> None:
    plane.gate.clear()
    for number in range(3 * MAX_UNDER_WAY):
        ahead.news(WHERE[0], WorkItemId(str(number)))
    await others()
    assert plane.reads == MAX_UNDER_WAY


async def test_it_is_urgent_from_the_moment_that_a_look_waits_for_it(plane: Plane, ahead: ReadAhead) -> None:
    """Old deliveries that somebody repeats lead to no look, and must not use up what looks need."""
    plane.gate.clear()
    ahead.news(*WHERE)
    await others()
    found = ahead.take(*WHERE)
    plane.gate.set()
    await found
    assert plane.urgencies == [Urgency.BACKGROUND, Urgency.LOOK]


async def test_what_no_look_takes_is_forgotten(plane: Plane, ahead: ReadAhead) -> None:
    """The next look may begin much later."""
    ahead.news(*WHERE)
    for _ in range(600):
        await asyncio.sleep(0.05 if ahead.under_way else 0)
    assert await title(ahead) == "read 2"


async def test_a_fault_is_met_by_the_look_and_by_nobody_else(
    plane: Plane, ahead: ReadAhead, caplog: pytest.LogCaptureFixture
) -> None:
    plane.is_down = True
    ahead.news(*WHERE)
    ahead.news(WHERE[0], WorkItemId("another"))
    await others()
    with pytest.raises(Transient):
        await ahead.take(*WHERE)
    ahead.gone(WorkItemId("another"))
    await others()
    assert not caplog.records

"""What is read while deliveries are written to the disk. Plane is a function here."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from green import ITEM
from orchestrator.domain.errors import Transient
from orchestrator.domain.model import WorkItem, WorkItemId
from orchestrator.pace import Urgency, urgency
from orchestrator.reconcile.ahead import MAX_UNDER_WAY, ReadAhead

ONE, ANOTHER = WorkItemId("i"), WorkItemId("another")


Ahead = ReadAhead[WorkItemId, WorkItem]


@dataclass
class Plane:
    """Titles say how many reads came before. `gate` is closed while an answer is on its way."""

    reads: int = 0
    is_down: bool = False
    urgencies: list[Urgency] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> WorkItem:
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
def ahead() -> Ahead:
    return ReadAhead()


async def title(ahead: Ahead) -> str | None:
    found = ahead.take(ONE)
    return (await found).title if found else None


async def others() -> None:
    """All that can go on does."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_look_takes_what_was_read_since_the_delivery(plane: Plane, ahead: Ahead) -> None:
    ahead.news(ONE, plane.read)
    await others()
    assert await title(ahead) == "read 1"
    assert plane.reads == 1


async def test_it_is_taken_once(plane: Plane, ahead: Ahead) -> None:
    ahead.news(ONE, plane.read)
    await title(ahead)
    assert await title(ahead) is None


async def test_without_a_delivery_nothing_was_read(ahead: Ahead) -> None:
    assert await title(ahead) is None


async def test_what_was_read_before_another_delivery_counts_no_more(plane: Plane, ahead: Ahead) -> None:
    plane.gate.clear()
    ahead.news(ONE, plane.read)
    await others()
    ahead.news(ONE, plane.read)
    plane.gate.set()
    assert await title(ahead) is None


async def test_what_was_read_before_a_deletion_counts_no_more(plane: Plane, ahead: Ahead) -> None:
    ahead.news(ONE, plane.read)
    await others()
    ahead.forget(lambda key: key == ONE)
    assert await title(ahead) is None


async def test_a_crowd_of_deliveries_of_one_item_is_read_ahead_once(plane: Plane, ahead: Ahead) -> None:
    for _ in range(100):
        ahead.news(ONE, plane.read)
        await others()
    assert plane.reads == 1


async def test_so_many_are_under_way_and_no_more(plane: Plane, ahead: Ahead) -> None:
    plane.gate.clear()
    for number in range(3 * MAX_UNDER_WAY):
        ahead.news(WorkItemId(str(number)), plane.read)
    await others()
    assert plane.reads == MAX_UNDER_WAY


async def test_it_is_urgent_from_the_moment_that_a_look_waits_for_it(plane: Plane, ahead: Ahead) -> None:
    """Old deliveries that somebody repeats lead to no look, and must not use up what looks need."""
    plane.gate.clear()
    ahead.news(ONE, plane.read)
    await others()
    found = ahead.take(ONE)
    assert found is not None
    plane.gate.set()
    await found
    assert plane.urgencies == [Urgency.BACKGROUND, Urgency.LOOK]


async def test_what_no_look_takes_is_forgotten(plane: Plane, ahead: Ahead) -> None:
    """The next look may begin much later."""
    ahead.news(ONE, plane.read)
    for _ in range(600):
        await asyncio.sleep(0.05 if ahead.under_way else 0)
    assert await title(ahead) is None


async def test_a_fault_is_met_by_the_look_and_by_nobody_else(
    plane: Plane, ahead: Ahead, caplog: pytest.LogCaptureFixture
) -> None:
    plane.is_down = True
    ahead.news(ONE, plane.read)
    ahead.news(ANOTHER, plane.read)
    await others()
    with pytest.raises(Transient):
        await title(ahead)
    ahead.forget(lambda key: key == ANOTHER)
    await others()
    assert not caplog.records

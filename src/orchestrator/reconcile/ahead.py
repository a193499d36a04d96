"""Work items are read while the deliveries that tell of them are still being written to the disk.

Such a read was sent after the delivery had come, so it shows what that tells of. A later delivery makes it worth
nothing: what it tells of may be missing in it. Until a look takes it, it is as little urgent as the background:
whoever repeats old deliveries, which lead to no look, must not use up the calls that looks need.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from orchestrator.domain.model import ProjectId, WorkItem, WorkItemId
from orchestrator.pace import Urgency, Work, working

KEPT_S = 0.5
"""The look that a delivery leads to begins as soon as that is on the disk. A later one sees for itself."""
ONCE_IN_S = 2.0
"""Longer than wakes are merged: calls are few, and of several deliveries at once only one is looked at now."""
MAX_UNDER_WAY = 8
"""In a burst the looks have to wait for their turn anyway."""
Read = Callable[[ProjectId, WorkItemId], Awaitable[WorkItem | None]]
_Key = tuple[ProjectId, WorkItemId]


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """A read, and how urgent it is."""

    found: asyncio.Future[WorkItem | None]
    work: Work


@dataclass(slots=True)
class ReadAhead:
    """All methods are called in the event loop's thread. An item is read ahead once in ONCE_IN_S."""

    read: Read
    _reads: dict[_Key, _Reading] = field(default_factory=dict)
    _recent: set[_Key] = field(default_factory=set)

    def news(self, project: ProjectId, item: WorkItemId) -> None:
        """A delivery about the item has come, and its look will follow."""
        key = (project, item)
        self._drop(key)
        if key in self._recent or self.under_way >= MAX_UNDER_WAY:
            return
        loop, work = asyncio.get_running_loop(), Work(Urgency.BACKGROUND)
        self._recent.add(key)
        found = loop.create_task(self._read(key, work), context=contextvars.Context())
        found.add_done_callback(_heard)
        self._reads[key] = reading = _Reading(found, work)
        loop.call_later(KEPT_S, self._drop, key, reading)
        loop.call_later(ONCE_IN_S, self._recent.discard, key)

    def gone(self, item: WorkItemId) -> None:
        """A delivery says that it was deleted."""
        for key in [key for key in self._reads if key[1] == item]:
            self._drop(key)

    def take(self, project: ProjectId, item: WorkItemId) -> Awaitable[WorkItem | None]:
        """The read that is under way or done; else one that begins now. Raises as the adapter does."""
        reading = self._reads.pop((project, item), None)
        if reading is None:
            return self.read(project, item)
        reading.work.hurry()
        return reading.found

    @property
    def under_way(self) -> int:
        """Reads that no look has taken yet."""
        return len(self._reads)

    async def _read(self, key: _Key, work: Work) -> WorkItem | None:
        with working(work):
            return await self.read(*key)

    def _drop(self, key: _Key, only: _Reading | None = None) -> None:
        """Its read, or `only` this one."""
        if only is None or self._reads.get(key) is only:
            reading = self._reads.pop(key, None)
            if reading is not None:
                reading.found.cancel()


def _heard(read: asyncio.Future[WorkItem | None]) -> None:
    """A fault that nobody asked for is nobody's."""
    if not read.cancelled():
        read.exception()

"""What a look will ask for is read while the delivery that it follows is still being written to the disk.

Such a read was sent after the delivery had come, so it shows what that tells of. A later delivery makes it worth
nothing: what it tells of may be missing in it. Until a look takes it, it is as little urgent as the background:
whoever repeats old deliveries, which lead to no look, must not use up the calls that looks need.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.pace import Urgency, Work, working

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
KEPT_S = 0.5
"""The look that a delivery leads to begins as soon as that is on the disk. A later one sees for itself."""
ONCE_IN_S = 2.0
"""Longer than wakes are merged: calls are few, and of several deliveries at once only one is looked at now."""
MAX_UNDER_WAY = 8
"""In a burst the looks have to wait for their turn anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reading(Generic[V]):
    """A read, and how urgent it is."""

    found: asyncio.Future[V]
    work: Work


@dataclass(slots=True)
class ReadAhead(Generic[K, V]):
    """All methods are called in the event loop's thread. One thing is read ahead once in ONCE_IN_S."""

    _reads: dict[K, _Reading[V]] = field(default_factory=dict)
    _recent: set[K] = field(default_factory=set)

    def news(self, key: K, read: Callable[[], Awaitable[V]]) -> None:
        """A delivery about it has come, and its look will follow."""
        self._drop(key)
        if key in self._recent or self.under_way >= MAX_UNDER_WAY:
            return
        loop, work = asyncio.get_running_loop(), Work(Urgency.BACKGROUND)
        self._recent.add(key)
        found = loop.create_task(_read(read, work), context=contextvars.Context())
        found.add_done_callback(_heard)
        self._reads[key] = reading = _Reading(found, work)
        loop.call_later(KEPT_S, self._drop, key, reading)
        loop.call_later(ONCE_IN_S, self._recent.discard, key)

    def forget(self, is_old: Callable[[K], bool]) -> None:
        """A delivery says that these are not as they were."""
        for key in [key for key in self._reads if is_old(key)]:
            self._drop(key)

    def take(self, key: K) -> Awaitable[V] | None:
        """The read that is under way or done, which raises what reading did; None: whoever asks reads."""
        reading = self._reads.pop(key, None)
        if reading is None:
            return None
        reading.work.hurry()
        return reading.found

    @property
    def under_way(self) -> int:
        """Reads that no look has taken yet."""
        return len(self._reads)

    def _drop(self, key: K, only: _Reading[V] | None = None) -> None:
        """Its read, or `only` this one."""
        if only is None or self._reads.get(key) is only:
            reading = self._reads.pop(key, None)
            if reading is not None:
                reading.found.cancel()


async def _read(read: Callable[[], Awaitable[V]], work: Work) -> V:
    with working(work):
        return await read()


def _heard(read: asyncio.Future[V]) -> None:
    """A fault that nobody asked for is nobody's."""
    if not read.cancelled():
        read.exception()

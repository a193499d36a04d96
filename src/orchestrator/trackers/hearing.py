"""What comments and work items say. A long text takes as long to read as many calls, and each look reads all of a
work item's comments: so what a long one says is kept, and everybody else has a turn after each.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
LONG_CHARS = 2_000
MOST_KEPT = 400
"""More than fit into one answer of Plane's, each as long as we read."""


class Hearing(Generic[T]):
    """Keeps what the newest long texts say, by their digests. `read` is what reads one."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._known: dict[str, T] = {}

    async def of(self, html: str, digest: str) -> T:
        """What this text says."""
        if len(html) < LONG_CHARS:
            return self._read(html)
        if digest not in self._known:
            while len(self._known) >= MOST_KEPT:
                del self._known[next(iter(self._known))]
            self._known[digest] = self._read(html)
            await asyncio.sleep(0)
        return self._known[digest]

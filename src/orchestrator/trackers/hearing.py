"""What comments say, line by line. A long one takes as long to read as many calls, and a look reads all of a work
item's comments each time: so what a long one says is kept, and everybody else has a turn after each.
"""

import asyncio

from orchestrator.trackers.html import spoken

LONG_CHARS = 2_000
MOST_KEPT = 400
"""More than fit into one answer of Plane's, each as long as we read."""


class Hearing:
    """Keeps what the newest long comments say, by their digests."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    async def lines(self, html: str, digest: str) -> tuple[str, ...]:
        """As `spoken`."""
        if len(html) < LONG_CHARS:
            return spoken(html)
        if digest not in self._known:
            while len(self._known) >= MOST_KEPT:
                del self._known[next(iter(self._known))]
            self._known[digest] = spoken(html)
            await asyncio.sleep(0)
        return self._known[digest]

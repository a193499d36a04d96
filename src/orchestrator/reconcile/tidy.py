"""Now and then: looks how much the runs' folders hold, and lets go what nobody needs any more."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.model import RunId
from orchestrator.ports import Clock
from orchestrator.store import runs
from orchestrator.workflow.keeping import Keeping, Removal, removals

log = structlog.get_logger()
PAUSE_S = 300.0
SOON_S = 30.0
"""While all hold more than they may, nothing begins: that is looked at more often."""

Sizes = Mapping[RunId, tuple[int, int]]


@dataclass(slots=True)
class Tidy:
    """`sizes` and `discard` block, so they go to threads. `told` gets what is used once all is done."""

    database: Database
    clock: Clock
    keeping: Keeping
    sizes: Callable[[], Sizes]
    discard: Callable[[Removal], None]
    told: Callable[[int], None]

    async def for_ever(self) -> None:
        while True:
            used = 0
            try:
                used = await self.once()
            except Exception:
                log.exception("tidy_broke")
            await asyncio.sleep(SOON_S if 0 < self.keeping.most_bytes < used else PAUSE_S)

    async def once(self) -> int:
        """What the folders hold afterwards, in bytes."""
        sizes = await asyncio.to_thread(self.sizes)
        now = self.clock.now()

        def read(connection: Connection) -> tuple[Removal, ...]:
            return removals(runs.with_folders(connection, sizes), self.keeping, now)

        gone = await self.database.read(read)
        for one in gone:
            await asyncio.to_thread(self.discard, one)
            log.info("run_folder_removed", run=one.run, is_whole=one.is_whole)
        if gone:
            sizes = await asyncio.to_thread(self.sizes)
        used = sum(size for _, size in sizes.values())
        self.told(used)
        return used

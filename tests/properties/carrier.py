"""What becomes of deliveries on their way to us, and how a test plays many sequences in one process."""

import asyncio
import gc
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import counted
from orchestrator.db import Database
from orchestrator.sim.webhook import Outgoing
from properties.place import Violation
from properties.small_world import OneThread, World, again

MAX_ROUNDS = 50


class Fate(StrEnum):
    """What becomes of a delivery."""

    LOST = "lost"
    TOLD = "told"
    TWICE = "twice"
    LATE = "late"


MIXED = st.lists(st.sampled_from((Fate.TOLD, *Fate)), min_size=1, max_size=3).map(tuple)
FATES = st.one_of(MIXED, MIXED, st.just((Fate.LOST,)))
"""Of one delivery after the other, round and round. Often nothing arrives, so that a look finds much at once."""
IN_ORDER = st.lists(st.sampled_from((Fate.TOLD, Fate.TWICE)), min_size=1, max_size=3).map(tuple)


class Carrier:
    """Between the simulators and us."""

    def __init__(self, world: World, counts: Counter[str]) -> None:
        self.world = world
        self.counts = counts
        self.late: list[Outgoing] = []

    async def hand_over(self, fates: Sequence[Fate], *, is_reversed: bool) -> None:
        """All that was sent, and what is sent on account of it."""
        number = 0
        for _ in range(MAX_ROUNDS):
            waiting = self.world.mail.taken()
            if not waiting and not self.world.desk.pending:
                break
            told: list[Outgoing] = []
            for delivery in waiting:
                told += self._fate(delivery, fates[number % len(fates)])
                number += 1
            for delivery in reversed(told) if is_reversed else told:
                await self.world.hand_over(delivery)
            await self.world.desk.settle()
        self.world.check()

    def _fate(self, delivery: Outgoing, fate: Fate) -> list[Outgoing]:
        self.counts[fate] += 1
        self.counts["our own"] += self.world.is_ours(delivery)
        match fate:
            case Fate.LOST:
                return []
            case Fate.TOLD:
                return [delivery]
            case Fate.TWICE:
                return [delivery, again(delivery)]
            case Fate.LATE:
                self.late.append(delivery)
                return []

    async def catch_up(self) -> None:
        """Time passes: what was late comes, newest first, and the resync."""
        late, self.late = self.late, []
        for delivery in reversed(late):
            await self.world.hand_over(delivery)
        await self.world.desk.resync()
        await self.hand_over((Fate.TOLD,), is_reversed=False)

    async def replay(self) -> None:
        """S3: all that ever came comes once more, under its own id and under another. A run that began since the
        last look is seen before, so that only the replay could change something.
        """
        await self.world.desk.resync()
        before, runs = self.world.standing().settled, self.world.started()
        for number, delivery in enumerate(list(self.world.handed)):
            self.counts["replayed"] += 1
            await self.world.hand_over(again(delivery) if number % 2 else delivery)
        await self.world.desk.settle()
        if (self.world.standing().settled, self.world.started()) != (before, runs):
            raise Violation("a replay changed something")


Play = Callable[[Database, Any, Counter[str]], Coroutine[Any, Any, None]]


def played(scripts: st.SearchStrategy[Any], play: Play, *, sequences: int, number: int) -> Counter[str]:
    """Plays so many scripts; `number` is the seed: a second run plays the same. Returns what was counted."""
    counts: Counter[str] = Counter()
    began = time.process_time()
    with _stage() as (runner, database):

        @seed(number)
        @settings(max_examples=sequences, database=None, suppress_health_check=list(HealthCheck))
        @given(scripts)
        def one(script: Any) -> None:
            counts["sequences"] += 1
            runner.run(play(database, script, counts))

        one()
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    counted.said(f"{told}; {time.process_time() - began:.1f} s of a core")
    assert counts["sequences"] >= sequences
    return counts


@contextmanager
def _stage() -> Iterator[tuple[asyncio.Runner, Database]]:
    """One database and one loop for all: to make them costs more than a sequence. In memory where that is a file
    system, since a disk would be waited for most of the time.
    """
    memory = Path("/dev/shm")
    often = gc.get_threshold()  # a world is made and thrown away in a moment
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        asyncio.Runner(loop_factory=OneThread) as runner,
    ):
        database = Database(f"sqlite:///{folder}/one.db")
        database.open()
        before = structlog.get_config()
        structlog.configure(wrapper_class=quiet)
        try:
            gc.set_threshold(20_000, *often[1:])
            yield runner, database
        finally:
            gc.set_threshold(*often)
            structlog.configure(**before)
            runner.run(database.aclose())

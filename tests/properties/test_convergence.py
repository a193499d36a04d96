"""R4: whatever is lost, repeated or late on the way to us, one resync later the task stands where it should."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from orchestrator.db import Database
from orchestrator.domain.model import Stage
from orchestrator.sim.webhook import Outgoing
from orchestrator.workflow.pipeline import place
from properties import acts
from properties.acts import Act
from properties.oracle import Told
from properties.place import HALTS, Violation
from properties.small_world import PATIENT, Standing, World, again, emptied


class Fate(StrEnum):
    """What becomes of a delivery."""

    LOST = "lost"
    TOLD = "told"
    TWICE = "twice"
    LATE = "late"


@dataclass(frozen=True)
class Step:
    """An act (None: the one that the task waits for) and what becomes of the deliveries that follow it."""

    act: Act | None
    fates: tuple[Fate, ...]
    is_reversed: bool

    def __repr__(self) -> str:
        return f"{self.act or 'next'}({' '.join(self.fates)}{' reversed' if self.is_reversed else ''})"


ANY = tuple(
    act for act in acts.BY_NAME.values() if act.name not in {"begin", "write_all", "archive_item", "merge"}
)
FATES = st.lists(st.sampled_from((Fate.TOLD, *Fate)), min_size=1, max_size=3).map(tuple)
STEPS = st.builds(Step, st.none() | st.sampled_from(ANY) | st.none(), FATES, st.booleans())
ENDS = st.none() | st.sampled_from(acts.ENDS)
SCRIPTS = st.tuples(st.booleans(), st.lists(STEPS, min_size=2, max_size=9), FATES, ENDS)


class Carrier:
    """Between the simulators and us."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.late: list[Outgoing] = []
        self.counts: Counter[str] = Counter()

    async def hand_over(self, fates: Sequence[Fate], *, is_reversed: bool) -> None:
        """All that was sent, and what is sent on account of it."""
        number = 0
        for _ in range(50):
            waiting = self.world.mail.taken()
            if not waiting and not self.world.desk.pending:
                break
            told: list[Outgoing] = []
            for delivery in waiting:
                fate = fates[number % len(fates)]
                number += 1
                self.counts[fate] += 1
                self.late += [delivery] if fate is Fate.LATE else []
                told += [delivery] if fate in {Fate.TOLD, Fate.TWICE} else []
                told += [again(delivery)] if fate is Fate.TWICE else []
            for delivery in reversed(told) if is_reversed else told:
                await self.world.hand_over(delivery)
            await self.world.desk.settle()
        self.world.check()

    async def catch_up(self) -> None:
        """Time passes: what was late comes, newest first, and the resync."""
        late, self.late = self.late, []
        for delivery in reversed(late):
            await self.world.hand_over(delivery)
        await self.world.desk.resync()
        await self.hand_over((Fate.TOLD,), is_reversed=False)


async def told(
    project: object, is_written: bool, steps: Sequence[Step], end: Act | None
) -> tuple[list[Act], Told]:
    """The oracle's story, and the acts that could be done in it."""
    here, done = Told(PATIENT), []
    planned: list[Act | None] = [acts.WRITE_ALL] if is_written else []
    planned += [acts.BEGIN, *(step.act for step in steps), *([end] if end else [])]
    for one in planned:
        codes = [item.code for item in here.standing().waiting]
        act = one or next(
            (acts.BY_NAME[acts.NEXT[code]] for code in codes if code in acts.NEXT), acts.BY_NAME["chat"]
        )
        if act.can(here):
            await act.perform(here)
            await here.look()
            done.append(act)
        else:
            done.append(None)
    return done, here


async def sequence(database: Database, script: tuple, counts: Counter[str]) -> None:
    is_written, steps, fates, end = script
    done, oracle = await told(PATIENT, is_written, steps, end)
    note(f"acts: {[act for act in done if act]}")
    all_fates = [*([fates] * (1 + is_written)), *(step.fates for step in steps), fates]
    turned = [*([False] * (1 + is_written)), *(step.is_reversed for step in steps), False]
    world = World(await emptied(database))
    try:
        await world.open()
        carrier = Carrier(world)
        for act, fate, is_reversed in zip(done, all_fates, turned, strict=False):
            if act is None:
                continue
            if not act.can(world) or act.withdraws(world):
                await carrier.catch_up()
            if not act.can(world):
                break
            await act.perform(world)
            await carrier.hand_over(fate, is_reversed=is_reversed)
        await carrier.catch_up()
        compare(world, oracle.standing(), counts)
        await replayed(world)
        counts.update(carrier.counts)
        counts["acts"] += len(done)
        counts["looks"] += world.desk.looks
        counts["runs"] += len(world.started())
        counts[oracle.standing().stage] += 1
    finally:
        await world.close()


def compare(world: World, wanted: Standing, counts: Counter[str]) -> None:
    here = world.standing()
    if (here.stage, here.codes) == (wanted.stage, wanted.codes):
        counts["equal"] += 1
        return
    is_further = place(Stage(here.stage or "created")) > place(Stage(wanted.stage))
    if here.codes == wanted.codes and here.codes & HALTS:
        counts["halted at another stage"] += 1
        return
    if not here.stage and "item_gone" in wanted.codes:
        counts["gone before it was heard of"] += 1
        return
    if is_further or "approval" not in here.codes:
        raise Violation(f"{here.stage} {sorted(here.codes)}, the oracle {wanted.stage} {sorted(wanted.codes)}")
    counts["approve again"] += 1


async def replayed(world: World) -> None:
    """S3: all that ever came comes once more, under its own id and under another."""
    before, runs = world.standing(), world.started()
    for number, delivery in enumerate(list(world.handed)):
        await world.hand_over(again(delivery) if number % 2 else delivery)
    await world.desk.settle()
    if (world.standing(), world.started()) != (before, runs):
        raise Violation("a replay changed something")


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


def test_after_one_resync_the_state_is_the_oracles_or_asks_to_approve_again(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    database.open()
    counts: Counter[str] = Counter()
    n = int(os.environ.get("N", "20"))

    @settings(
        max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(SCRIPTS)
    def play(script: tuple) -> None:
        counts["sequences"] += 1
        runner.run(sequence(database, script, counts))

    try:
        play()
    finally:
        runner.run(database.aclose())
        print(dict(counts))

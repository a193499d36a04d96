"""Whatever happens, in whatever order and while whatever is under way, some things never happen.

`World.check` and `World.check_start` hold them: no run while the task is paused (F31), never two at once, none on
a head that is not the branch's, none and no stage beyond what people, build server and verdicts really said of
what really lies there (S6, `truth.py`), no rest without a reason, an owner and a way out (F30), nothing started by
what we did ourselves (R14), no row for what is known (F4), no merge.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import strategies as st
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.model import TaskId
from orchestrator.store import tasks
from properties import acts
from properties.acts import Act
from properties.carrier import FATES, Carrier, Fate, played
from properties.small_world import CAPPED, World, emptied

SHARDS = 2
SEQUENCES, NIGHTLY_SEQUENCES = 15, 2000
INTERLEAVINGS, NIGHTLY_INTERLEAVINGS = 20, 5000
"""Of each shard."""


class Turn(StrEnum):
    """What happens beside what people do."""

    AGENT_ENDS = "agent_ends"
    AGENT_CRASHES = "agent_crashes"
    RETRY = "operator_retries"
    RESYNC = "resync"


@dataclass(frozen=True)
class Move:
    """`during`: the act happens in the middle of a look, before so many of its calls."""

    what: Act | Turn | None
    fates: tuple[Fate, ...]
    during: int | None = None
    is_reversed: bool = False

    def __repr__(self) -> str:
        when = "" if self.during is None else f" during {self.during}"
        return f"{self.what or 'next'}({' '.join(self.fates)}{' reversed' if self.is_reversed else ''}{when})"


DURING = st.none() | st.integers(0, 12)
TURNS = st.builds(Move, st.sampled_from(Turn), FATES, st.none(), st.booleans())
NEXT = st.builds(Move, st.none(), FATES, st.none(), st.booleans())
HELD_UP = st.builds(Move, st.sampled_from((*acts.SWITCHES[:2], acts.VOTES[0])), FATES, st.none(), st.booleans())
MOVES = st.one_of(NEXT, TURNS, HELD_UP, st.builds(Move, st.sampled_from(acts.ANY), FATES, DURING, st.booleans()))
VOTING = st.one_of(
    NEXT,
    st.builds(Move, st.sampled_from(acts.FORGED), FATES, DURING, st.booleans()),
    st.builds(Move, st.sampled_from(acts.CORE), FATES, st.none(), st.booleans()),
    st.builds(Move, st.sampled_from(acts.CORE), FATES, DURING, st.booleans()),
    st.builds(Move, st.sampled_from(acts.STALE), FATES, DURING, st.booleans()),
)


@dataclass(frozen=True)
class Tale:
    """`is_held`: agents are at work until the tale says that they end."""

    is_written: bool
    is_held: bool
    moves: tuple[Move, ...]


def tales(
    moves: st.SearchStrategy[Move], *, held: st.SearchStrategy[bool], most: int = 12
) -> st.SearchStrategy[Tale]:
    return st.builds(Tale, st.booleans(), held, st.lists(moves, min_size=3, max_size=most).map(tuple))


async def tale(database: Database, told: Tale, counts: Counter[str]) -> None:
    world = World(await emptied(database), CAPPED)
    world.agents.is_held = told.is_held
    carrier = Carrier(world, counts)
    try:
        await world.open()
        if told.is_written:
            await acts.WRITE_ALL.perform(world)
        await acts.BEGIN.perform(world)
        await carrier.hand_over((Fate.TOLD,), is_reversed=False)
        for move in told.moves:
            await _move(world, carrier, move)
        await carrier.catch_up()
        await carrier.replay()
        counts[f"to {world.standing().stage}"] += 1
        counts["runs"] += len(world.started())
        counts["looks"] += world.desk.looks
    finally:
        await world.close()


async def _move(world: World, carrier: Carrier, move: Move) -> None:
    if isinstance(move.what, Turn):
        await _turn(world, move.what)
    else:
        act = move.what or acts.next_of(world.standing().waiting)
        if act.is_possible(world):
            await _act(world, carrier, act, move.during)
    await carrier.hand_over(move.fates, is_reversed=move.is_reversed)


async def _turn(world: World, turn: Turn) -> None:
    match turn:
        case Turn.AGENT_ENDS:
            world.agents.end()
        case Turn.AGENT_CRASHES:
            world.agents.end(well=False)
        case Turn.RETRY:
            await _retry(world, world.task)
        case Turn.RESYNC:
            await world.desk.resync()
    await world.desk.settle()


async def _retry(world: World, task: TaskId | None) -> None:
    """As POST /api/v1/tasks/<key>/retry."""

    def commit(connection: Connection) -> bool:
        return task is not None and tasks.retry(connection, task, world.clock.now())

    if await world.database.write(commit) and task is not None:
        world.retries += 1
        world.desk.wake(task)


async def _act(world: World, carrier: Carrier, act: Act, during: int | None) -> None:
    if during is None or world.task is None:
        await act.perform(world)
        return

    async def happen() -> None:
        """What was read before is not what is now; only the head is asked for once more before a start."""
        if act.is_possible(world):
            await act.perform(world)
            carrier.counts["during a look"] += 1
            world.changed_at = world.version if act not in OF_BRANCH else world.changed_at

    world.meanwhile = (during, happen)
    world.desk.wake(world.task)
    await world.desk.settle()
    if world.meanwhile is not None:  # the look was over before
        world.meanwhile = None
        await happen()


OF_BRANCH = (*acts.EDITS, *acts.BACKWARDS, *acts.CODING)
ALL_TALES = tales(MOVES, held=st.booleans())
VOTING_TALES = tales(VOTING, held=st.just(value=False), most=8)


@pytest.mark.parametrize("call", range(9))
def test_a_push_before_whichever_call_of_a_look_starts_nobody_on_the_old_head(call: int) -> None:
    """Found by night: what people are called was asked for after the head was, and somebody pushed between."""
    pushed = Move(acts.BY_NAME["push_brd"], (Fate.LOST,), call)
    told = Tale(is_written=False, is_held=False, moves=(*[Move(None, (Fate.LOST,))] * 2, pushed))
    assert played(st.just(told), tale, sequences=1, number=0)["runs"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_nothing_starts_rests_or_passes_that_may_not(shard: int) -> None:
    played(ALL_TALES, tale, sequences=SEQUENCES, number=100 + shard)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_stale_approval_passes_a_gate(shard: int) -> None:
    """S6: documents and heads change before, during and after the approval, backwards too."""
    played(VOTING_TALES, tale, sequences=INTERLEAVINGS, number=200 + shard)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_nightly_nothing_starts_rests_or_passes_that_may_not() -> None:
    played(ALL_TALES, tale, sequences=NIGHTLY_SEQUENCES, number=1001)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_nightly_no_stale_approval_passes_a_gate() -> None:
    played(VOTING_TALES, tale, sequences=NIGHTLY_INTERLEAVINGS, number=1002)

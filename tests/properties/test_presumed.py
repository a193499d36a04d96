"""What is decided while the branch is made, before anybody has seen what is there, saves time and changes nothing.

The same happens at the same call in two worlds; in one of them nothing is ever presumed.
"""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.db import Database
from orchestrator.domain.model import TaskId
from orchestrator.reconcile.observe import Observer
from orchestrator.store import decisions
from properties import acts
from properties.carrier import Carrier, Fate
from properties.small_world import World, emptied

CALLS = range(5, 8)
"""The last ones of the look that starts the analyst: it hears of a pause before some of them."""


class Sober(Observer):
    """Presumes nothing."""

    def presumption(self, *_: Any) -> None:
        return None


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'one.db'}")
    made.open()
    yield made
    await made.aclose()


async def story(database: Database, observer: type[Observer], act: acts.Act, during: int) -> list[Any]:
    """A new work item is told of, and before so many calls of ours something happens to it. What was decided until
    its agent was started.
    """
    world = World(await emptied(database), observer=observer)
    await world.open()
    await world.orchestrator.observer.us()  # who has not asked yet who we are presumes nothing
    await acts.BEGIN.perform(world)

    async def happen() -> None:
        if act.is_possible(world):
            await act.perform(world)
        world.changed_at = world.version

    world.meanwhile = (during, happen)
    await Carrier(world, Counter()).hand_over((Fate.TOLD,), is_reversed=False)
    world.check()
    await world.close()
    made = database.read_now(lambda connection: decisions.of_task(connection, TaskId(world.task or 0)))
    first = next((place for place, one in enumerate(made) if "StartRun" in one.decision), len(made))
    return [summary(one) for one in made[: first + 1]]


def summary(recorded: decisions.Recorded) -> Any:
    """Without ids, which are other ones in each world."""
    facts, decision = recorded.basis.facts, decisions.decoded(recorded.decision)
    remarks = [one.lines for one in facts.remarks] if isinstance(facts.remarks, tuple) else facts.remarks
    seen = (type(facts.item), type(facts.branch), type(facts.pull), facts.documents, remarks)
    acted = [type(action).__name__ for action in decision.actions]
    return seen, decision.stage, acted, [item.code for item in decision.waiting]


async def test_what_is_presumed_changes_no_decision_whenever_somebody_pauses(database: Database) -> None:
    outcomes = []
    for during in CALLS:
        with_it = await story(database, Observer, acts.BY_NAME["pause"], during)
        without = await story(database, Sober, acts.BY_NAME["pause"], during)
        assert with_it == without, f"before call {during}"
        outcomes.append(with_it)
    assert any(one != outcomes[-1] for one in outcomes), "it never came in time"

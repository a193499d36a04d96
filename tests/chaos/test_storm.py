"""kill -9 of the orchestrator, of shims and of agents at any time: nothing is lost, doubled, stuck or left."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import counted
from chaos.nursery import Nursery
from chaos.points import Order
from chaos.storm import Storm, Verdict

DAYS_SHARES = 2
"""A nursery, a world and two calms for each: they cost as much as a dozen kills."""
SHARES = 4
TASKS = 32
"""Each is killed about three times on its way."""
LIMIT_S = 600


def told(storm: Storm) -> Verdict:
    """The judge's word, with the counts that it rests on; a failure names the seed that repeats it."""
    verdict = storm.run()
    counted.said(verdict.told())
    return verdict


def another_seed() -> int:
    """Another one every time: what is random is not chosen by us."""
    return random.SystemRandom().randrange(10**9)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("share", range(DAYS_SHARES))
def test_a_hundred_kills_over_thirty_tasks_lose_double_and_leave_nothing(
    tmp_path: Path, nursery: Nursery, share: int
) -> None:
    storm = Storm(tmp_path / "storm", TASKS // DAYS_SHARES, 100 // DAYS_SHARES, another_seed(), nursery)
    verdict = told(storm)
    assert verdict.faults() == {}, verdict.told()


@pytest.mark.nightly
@pytest.mark.timeout(4 * LIMIT_S)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_thousand_kills_over_a_thousand_tasks_do_neither(tmp_path: Path, share: int) -> None:
    storm = Storm(tmp_path / "storm", 1000 // SHARES, 1000 // SHARES, another_seed())
    verdict = told(storm)
    assert verdict.faults() == {}, verdict.told()


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("fault", "aim", "seen"),
    [
        # Whoever is killed while an agent lives starts it again; one of eight such kills is enough.
        ("no_lock", "agent", "launched_twice"),
        ("no_dedupe", "", "stored_twice"),
        # Whoever is killed as it answers has not written yet.
        ("answer_before_commit", "answer", "lost"),
    ],
)
def test_the_judge_sees_each_broken_part(
    tmp_path: Path, nursery: Nursery, fault: str, aim: str, seen: str
) -> None:
    """Each kill is aimed where the fault shows, so that there is something to see whatever the seed."""
    order = Order(fault=fault)
    storm = Storm(tmp_path / "storm", 6, 8, another_seed(), nursery, order, aim, shortest_s=2.0, patience_s=8)
    verdict = told(storm)
    assert seen in verdict.faults(), verdict.told()

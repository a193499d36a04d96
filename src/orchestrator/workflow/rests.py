"""How long a task rests after a run that met a fault which passes by itself. Pure: who asks knows the time.

The account's usage limit is none of these: it stops the runs of all tasks (see account.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from orchestrator.domain.run import Outcome, RunState
from orchestrator.qg.facts import RunFact
from orchestrator.qg.runs import wanted

LONGEST_S = 900.0


def resting_until(runs: Sequence[RunFact], now: datetime, first_s: float) -> datetime | None:
    """When the next attempt may be made; None when it may be made now. `runs` oldest first. What lies further off
    than any rest is no moment to wait for: the date was changed meanwhile.
    """
    found = wanted(runs)
    if not found or found[-1].state is not RunState.ENDED or found[-1].ended_at is None:
        return None
    until = _until(found, found[-1], found[-1].ended_at, first_s)
    return until if until and now < until <= now + timedelta(seconds=2 * LONGEST_S) else None


def _until(runs: Sequence[RunFact], last: RunFact, ended_at: datetime, first_s: float) -> datetime | None:
    streak = streak_of(runs, last)
    if last.outcome is Outcome.UNAVAILABLE:
        return ended_at + _pause(streak, first_s)
    if last.outcome is Outcome.CRASHED and streak > 1:
        return ended_at + _pause(streak - 1, first_s)
    return None


def streak_of(runs: Sequence[RunFact], last: RunFact) -> int:
    """How many runs ended alike at the end, one after another, at one stage."""
    alike = takewhile(lambda run: (run.stage, run.outcome) == (last.stage, last.outcome), reversed(runs))
    return sum(1 for _ in alike)


def _pause(number: int, first_s: float) -> timedelta:
    """Doubling, up to the longest."""
    return timedelta(seconds=min(LONGEST_S, first_s * 2 ** min(number - 1, 20)))

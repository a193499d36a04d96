"""The account's usage limit: until when it pauses everything, and how work begins again after it. Pure.

A pause ends by itself. Then one run alone tries whether the model answers; when it does, all the others follow.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.workflow.admission import IN_USE, Account

MARGIN = timedelta(seconds=10)
"""Added to a reset that was told: two clocks never agree."""
LONGEST = timedelta(days=8)
"""The longest window is a week. What says more is not believed."""
LONGEST_GUESS = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class AccountPause:
    """`guesses`: how many pauses in a row had to be guessed, since no reset was told; each is twice as long."""

    since: datetime
    until: datetime
    guesses: int = 0


def limit_reached(
    pause: AccountPause | None, resets_at: datetime | None, now: datetime, first_guess_s: float
) -> AccountPause:
    """The pause after a run ended at the usage limit. Of many that end together each only prolongs it."""
    since = pause.since if pause else now
    if resets_at is not None and now < resets_at <= now + LONGEST:
        until = resets_at + MARGIN
        return AccountPause(since, max(until, pause.until) if _lasts(pause, now) and pause else until)
    if pause and _lasts(pause, now):
        return pause
    guesses = pause.guesses if pause else 0
    guess = min(timedelta(seconds=first_guess_s) * 2 ** min(guesses, 10), LONGEST_GUESS)
    return AccountPause(since, now + guess, guesses + 1)


def account(pause: AccountPause | None, probes: int, now: datetime) -> Account:
    """What admission sees of it."""
    if pause is None:
        return IN_USE
    if _lasts(pause, now):
        return replace(IN_USE, paused_until=pause.until)
    return Account(is_on_probe=True, probes=probes)


def _lasts(pause: AccountPause | None, now: datetime) -> bool:
    return pause is not None and now < pause.until

"""The pause after the account's usage limit: until when, how often guessed, and what comes after it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workflow.account import LONGEST, LONGEST_GUESS, MARGIN, AccountPause, account, limit_reached
from orchestrator.workflow.admission import IN_USE, Account

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def test_a_told_reset_is_kept_to_with_a_margin() -> None:
    assert limit_reached(None, NOW + HOUR, NOW, 900) == AccountPause(NOW, NOW + HOUR + MARGIN)


def test_of_many_runs_that_end_together_the_latest_reset_counts() -> None:
    first = limit_reached(None, NOW + HOUR, NOW, 900)
    later = limit_reached(first, NOW + 2 * HOUR, NOW + SECOND, 900)
    assert later == AccountPause(NOW, NOW + 2 * HOUR + MARGIN)
    assert limit_reached(later, NOW + HOUR, NOW + 2 * SECOND, 900) == later
    assert limit_reached(later, None, NOW + 2 * SECOND, 900) == later


def test_a_reset_that_is_over_or_too_far_away_is_not_believed() -> None:
    for told in (NOW, NOW - HOUR, NOW + LONGEST + SECOND):
        assert limit_reached(None, told, NOW, 900) == AccountPause(NOW, NOW + timedelta(seconds=900), 1)
    assert limit_reached(None, NOW + LONGEST, NOW, 900).until == NOW + LONGEST + MARGIN


def test_guesses_double_up_to_the_longest_and_begin_anew_after_a_told_reset() -> None:
    pause, now, lengths = None, NOW, []
    for _ in range(7):
        pause = limit_reached(pause, None, now, 900)
        lengths.append((pause.until - now).total_seconds())
        now = pause.until
    assert lengths == [900, 1800, 3600, 7200, 14400, 14400, 14400]
    assert timedelta(seconds=14400) == LONGEST_GUESS
    assert pause is not None
    assert (pause.since, pause.guesses) == (NOW, 7)
    assert limit_reached(pause, now + HOUR, now, 900).guesses == 0
    often = AccountPause(NOW, NOW, 30)
    assert limit_reached(often, None, NOW, 1.0).until == NOW + timedelta(seconds=2**10), (
        "doubled ten times at most"
    )


def test_a_pause_then_a_probe_then_nothing() -> None:
    pause = AccountPause(NOW, NOW + HOUR)
    assert account(None, 3, NOW) == IN_USE
    assert account(pause, 3, NOW + HOUR - SECOND) == Account(paused_until=NOW + HOUR)
    assert account(pause, 0, NOW + HOUR) == Account(is_on_probe=True)
    assert account(pause, 2, NOW + HOUR) == Account(is_on_probe=True, probes=2)


@given(
    st.none() | st.integers(-(10**7), 10**7),
    st.none() | st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 30)),
    st.floats(1, 14400),
)
def test_a_pause_is_never_empty_never_shortened_and_never_longer_than_a_window(
    told_s: int | None, before: tuple[int, int] | None, guess_s: float
) -> None:
    known = AccountPause(NOW - HOUR, NOW + timedelta(seconds=before[0]), before[1]) if before else None
    told = None if told_s is None else NOW + timedelta(seconds=told_s)
    pause = limit_reached(known, told, NOW, guess_s)
    assert pause.until > NOW
    assert pause.until <= max(NOW + LONGEST + MARGIN, known.until if known else NOW)
    assert known is None or pause.until >= known.until or known.until <= NOW

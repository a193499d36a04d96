"""What of old runs goes, and that wanted work never does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.model import RunId, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunState
from orchestrator.workflow.keeping import Keeping, OldRun, Removal, removals, wanted_runs

NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEEP = Keeping(timedelta(days=14), 0)


def old_run(run: int = 1, **changes: object) -> OldRun:
    """Published long ago; 90 of its 100 bytes can go by themselves."""
    made = OldRun(
        run=RunId(run),
        task=TaskId(1),
        role=Role.DEVELOPER,
        stage=Stage.DEVELOPMENT,
        attempt=run,
        state=RunState.ENDED,
        outcome=Outcome.SUCCEEDED,
        is_published=True,
        ended_at=NOW - timedelta(days=20) + timedelta(hours=run),
        task_stage=Stage.DEVELOPMENT,
        bulk_bytes=90,
        all_bytes=100,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def part(*runs: int) -> tuple[Removal, ...]:
    return tuple(Removal(RunId(run), is_whole=False) for run in runs)


def whole(*runs: int) -> tuple[Removal, ...]:
    return tuple(Removal(RunId(run), is_whole=True) for run in runs)


UNPUBLISHED = {"is_published": False, "outcome": Outcome.TURN_CAP}


def test_an_old_published_run_loses_its_workspace_and_keeps_its_logs() -> None:
    assert removals([old_run()], KEEP, NOW) == part(1)


@pytest.mark.parametrize(
    "spoiled",
    [
        old_run(ended_at=NOW - timedelta(days=14) + timedelta(seconds=1)),
        old_run(state=RunState.RUNNING, ended_at=None),
        old_run(state=RunState.INTENDED, ended_at=None),
        old_run(bulk_bytes=0),
        old_run(**UNPUBLISHED),
        old_run(is_published=False, outcome=Outcome.SUCCEEDED),
        old_run(role=Role.REVIEWER, stage=Stage.REVIEW, task_stage=Stage.REVIEW, **UNPUBLISHED),
    ],
)
def test_each_of_these_keeps_it(spoiled: OldRun) -> None:
    assert removals([spoiled], KEEP, NOW) == ()


@pytest.mark.parametrize(
    "freed",
    [
        old_run(**UNPUBLISHED, task_stage=Stage.DONE),
        old_run(**UNPUBLISHED, task_stage=Stage.CI),
        old_run(role=Role.TESTER, stage=Stage.TESTING, task_stage=Stage.TESTING, is_published=False),
        old_run(ended_at=NOW - timedelta(days=14)),
    ],
)
def test_each_of_these_lets_it_go(freed: OldRun) -> None:
    assert removals([freed], KEEP, NOW) == part(1)


def test_unpublished_work_is_wanted_until_a_newer_attempt_of_its_stage_is_made() -> None:
    first, other = old_run(1, **UNPUBLISHED), old_run(2, **UNPUBLISHED, task=TaskId(2), attempt=5)
    assert wanted_runs([first, other]) == {1, 2}
    second = old_run(3, state=RunState.RUNNING, ended_at=None, attempt=2, is_published=False, outcome=None)
    assert wanted_runs([second, first, other]) == {2, 3}
    elsewhere = replace(second, stage=Stage.ANALYSIS)
    assert wanted_runs([elsewhere, first]) == {1, 3}


def test_above_the_limit_the_oldest_go_first_and_workspaces_before_logs() -> None:
    runs = [old_run(number, ended_at=NOW - timedelta(hours=9 - number)) for number in (3, 1, 2)]
    assert removals(runs, Keeping(KEEP.keep, 300), NOW) == ()
    assert removals(runs, Keeping(KEEP.keep, 299), NOW) == part(1)
    assert removals(runs, Keeping(KEEP.keep, 210), NOW) == part(1)
    assert removals(runs, Keeping(KEEP.keep, 209), NOW) == part(1, 2)
    assert removals(runs, Keeping(KEEP.keep, 30), NOW) == part(1, 2, 3)
    assert removals(runs, Keeping(KEEP.keep, 29), NOW) == (*part(2, 3), *whole(1))
    assert removals(runs, Keeping(KEEP.keep, 1), NOW) == whole(1, 2, 3)


def test_the_oldest_is_who_ended_first_whatever_its_number() -> None:
    runs = [old_run(1, ended_at=NOW - timedelta(hours=1)), old_run(2, ended_at=NOW - timedelta(hours=2))]
    most = sum(one.all_bytes for one in runs) - 1
    assert removals(runs, Keeping(timedelta(days=1), most), NOW) == part(2)


def test_what_age_frees_counts_for_the_limit() -> None:
    runs = [old_run(1), old_run(2, ended_at=NOW)]
    assert removals(runs, Keeping(KEEP.keep, 110), NOW) == part(1)
    assert removals(runs, Keeping(KEEP.keep, 109), NOW) == part(1, 2)


def test_a_run_without_a_folder_or_an_end_is_nothing_to_remove() -> None:
    runs = [old_run(1, bulk_bytes=0, all_bytes=0), old_run(2, ended_at=None)]
    assert removals(runs, Keeping(KEEP.keep, 1), NOW) == whole(2)


ANY_RUN = st.builds(
    OldRun,
    run=st.just(RunId(0)),
    task=st.integers(1, 3).map(TaskId),
    role=st.sampled_from(Role),
    stage=st.sampled_from([Stage.ANALYSIS, Stage.DEVELOPMENT, Stage.REVIEW]),
    attempt=st.integers(1, 4),
    state=st.sampled_from(RunState),
    outcome=st.sampled_from(Outcome),
    is_published=st.booleans(),
    ended_at=st.integers(0, 60).map(lambda days: NOW - timedelta(days=days)),
    task_stage=st.sampled_from([Stage.ANALYSIS, Stage.DEVELOPMENT, Stage.REVIEW, Stage.DONE]),
    bulk_bytes=st.integers(0, 100),
    all_bytes=st.integers(100, 200),
)


@given(runs=st.lists(ANY_RUN, max_size=12), most=st.integers(0, 1000))
def test_no_limit_ever_takes_wanted_work(runs: list[OldRun], most: int) -> None:
    numbered = [replace(one, run=RunId(number)) for number, one in enumerate(runs)]
    gone = {one.run for one in removals(numbered, Keeping(timedelta(days=1), most), NOW)}
    assert not gone & wanted_runs(numbered)
    assert not gone & {one.run for one in numbered if one.state is not RunState.ENDED}

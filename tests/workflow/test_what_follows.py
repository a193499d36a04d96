"""What follows the end of a run: rest, go on, begin anew, or stop and say so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from green import ANNA, ASKED, BRANCH, GREEN, HEAD, OLD, PROJECT, TASK, codes, remark, run
from orchestrator.domain.model import Stage, Switches, Task
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome
from orchestrator.qg.facts import Absent, Facts, RunFact, SpendingLimits
from orchestrator.qg.runs import NOT_WANTED
from orchestrator.words.sentences import sentence
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, StartRun, StopRun
from orchestrator.workflow.pipeline import step_of_stage
from orchestrator.workflow.rests import LONGEST_S, resting_until
from orchestrator.workflow.rounds import MAX_UNAVAILABLE, attempts_of_round

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
STAGE = Stage.ANALYSIS
FREE = [Outcome.USAGE_LIMIT, Outcome.UNAVAILABLE]
CONTINUED = [Outcome.TURN_CAP, Outcome.BUDGET, Outcome.STALLED]
POSTED = replace(TASK, stage=Stage.REVIEW, plane_id=None, project=None, role=Role.REVIEWER)


def at(stage: Stage, **changes: Any) -> Task:
    return replace(TASK, stage=stage, **changes)


def tried(*outcomes: Outcome, stage: Stage = STAGE, **changes: Any) -> tuple[RunFact, ...]:
    return tuple(replace(run(stage, number, one), **changes) for number, one in enumerate(outcomes, 1))


def after(*runs: RunFact, **changes: Any) -> Decision:
    """Of the analyst's runs alone, with nothing written yet."""
    return decide(PROJECT, at(STAGE), replace(GREEN, documents=(), **{"runs": runs, **changes}))


def started(decision: Decision) -> StartRun | None:
    return next((one for one in decision.actions if isinstance(one, StartRun)), None)


# Going on


@pytest.mark.parametrize("outcome", [*CONTINUED, *FREE, Outcome.LOST, Outcome.CRASHED])
def test_what_was_cut_short_is_gone_on_with(outcome: Outcome) -> None:
    begun = started(after(*tried(outcome)))
    assert begun is not None
    assert (begun.attempt, begun.resumes) == (2, 1)


@pytest.mark.parametrize("outcome", [*CONTINUED, *FREE, Outcome.LOST, Outcome.CRASHED])
def test_on_another_commit_it_is_begun_anew(outcome: Outcome) -> None:
    begun = started(after(*tried(outcome, base=OLD)))
    assert begun is not None
    assert (begun.attempt, begun.resumes) == (2, 0)


def test_what_crashed_though_it_went_on_is_begun_anew() -> None:
    first, second = tried(Outcome.LOST, Outcome.CRASHED)
    begun = started(after(first, replace(second, resumes=1)))
    assert begun is not None
    assert (begun.attempt, begun.resumes) == (3, 0)
    lost = started(after(first, replace(second, resumes=1, outcome=Outcome.LOST)))
    assert lost is not None
    assert lost.resumes == 2


def test_who_ended_well_without_output_begins_anew() -> None:
    begun = started(after(*tried(Outcome.SUCCEEDED)))
    assert begun is not None
    assert (begun.attempt, begun.resumes) == (2, 0)


@pytest.mark.parametrize("first", CONTINUED)
@pytest.mark.parametrize("second", CONTINUED)
def test_a_limit_of_ours_is_gone_over_once_and_then_a_person_is_asked(first: Outcome, second: Outcome) -> None:
    assert started(after(*tried(first)))
    decision = after(*tried(first, second))
    assert (started(decision), codes(decision)[0]) == (None, "run_not_successful")
    asked = after(*tried(first, second), remarks=(remark(60, ANNA, "/orch retry"),))
    begun = started(asked)
    assert begun is not None
    assert begun.resumes == 2


def test_what_ran_out_of_time_waits_for_a_person_and_then_goes_on() -> None:
    decision = after(*tried(Outcome.TIMED_OUT))
    assert (started(decision), codes(decision)[0]) == (None, "run_not_successful")
    asked = started(after(*tried(Outcome.TIMED_OUT), remarks=(remark(60, ANNA, "/orch retry"),)))
    assert asked is not None
    assert asked.resumes == 1


# What counts for no cap


@pytest.mark.parametrize("outcome", FREE)
def test_that_the_model_could_not_be_had_uses_up_no_attempt(outcome: Outcome) -> None:
    """F9: the account's limit is no failure of the work."""
    runs = tried(*[outcome] * 6)
    assert started(after(*runs))
    assert attempts_of_round(TASK, replace(GREEN, runs=runs), step_of_stage(STAGE)) == 0
    lost = tried(*[outcome] * 6, Outcome.LOST, Outcome.LOST)
    assert started(after(*lost))
    assert not started(after(*lost, *[replace(run(STAGE, 9, Outcome.LOST))]))


def test_an_api_that_stays_away_is_given_up_at_last() -> None:
    assert started(after(*tried(*[Outcome.UNAVAILABLE] * (MAX_UNAVAILABLE - 1))))
    decision = after(*tried(*[Outcome.UNAVAILABLE] * MAX_UNAVAILABLE))
    assert (started(decision), codes(decision)[0]) == (None, "run_not_successful")


def test_a_usage_limit_is_never_given_up_and_is_no_loop() -> None:
    assert started(after(*tried(*[Outcome.USAGE_LIMIT] * 100)))


def test_what_was_called_off_counts_for_nothing() -> None:
    runs = tried(Outcome.LOST, *[Outcome.CANCELLED] * 5)
    called_off = tuple(replace(one, reason=NOT_WANTED) if one.attempt > 1 else one for one in runs)
    begun = started(after(*called_off))
    assert begun is not None
    assert (begun.attempt, begun.resumes) == (7, 1)
    assert attempts_of_round(TASK, replace(GREEN, runs=called_off), step_of_stage(STAGE)) == 1
    cancelled = after(*tried(Outcome.CANCELLED))
    assert (started(cancelled), codes(cancelled)[0]) == (None, "run_not_successful")


def test_a_grant_outlives_an_attempt_that_was_called_off() -> None:
    runs = (run(STAGE, 1, Outcome.FAILED), replace(run(STAGE, 2, Outcome.CANCELLED), reason=NOT_WANTED))
    granted = at(STAGE, switches=Switches(retry_stage=STAGE, retry_after=1))
    begun = started(decide(PROJECT, granted, replace(GREEN, documents=(), runs=runs)))
    assert begun is not None
    assert begun.attempt == 3
    asked = after(*runs, remarks=(remark(60, ANNA, "/orch retry"),))
    assert asked.switches.retry_after == 1


# What people see at once


def test_a_crash_tells_what_the_program_wrote() -> None:
    """F13."""
    decision = after(*tried(*[Outcome.CRASHED] * 3, said="model retired"))
    assert codes(decision)[0] == "run_crashed"
    assert dict(decision.waiting[0].params)["detail"] == "model retired"


def test_denied_tools_are_named() -> None:
    decision = after(*tried(Outcome.DENIED, said="Bash, Write"))
    assert (codes(decision)[0], dict(decision.waiting[0].params)["detail"]) == ("tools_denied", "Bash, Write")
    assert decision.waiting[0].who == "operator"


def test_a_refused_credential_is_for_the_operator_at_once() -> None:
    decision = after(*tried(Outcome.FAILED, reason="authentication_failed"))
    assert (started(decision), codes(decision)[0]) == (None, "model_refuses")
    assert (decision.waiting[0].who, decision.waiting[0].action) == ("operator", "retry")


# Loops


def loop(count: int) -> tuple[RunFact, ...]:
    """F12: each changes one byte, so heads differ, and each ends well."""
    heads = tuple(f"{number:040x}" for number in range(count))
    developed = tuple(
        replace(run(Stage.DEVELOPMENT, number, base=head), head=head) for number, head in enumerate(heads, 1)
    )
    return (run(Stage.ANALYSIS), run(Stage.ARCHITECTURE), *developed)


def test_runs_without_progress_are_cut_whatever_they_write() -> None:
    facts = replace(GREEN, changed_paths=(), max_attempts=1000, max_runs_without_progress=10)
    assert started(decide(PROJECT, at(Stage.DEVELOPMENT), replace(facts, runs=loop(9))))
    decision = decide(PROJECT, at(Stage.DEVELOPMENT), replace(facts, runs=loop(10)))
    assert (started(decision), codes(decision)[0]) == (None, "no_progress")
    assert dict(decision.waiting[0].params)["runs"] == "10"
    assert (decision.waiting[0].who, decision.waiting[0].action) == ("approver", "/orch retry")


def test_only_a_person_reopens_it_and_then_counting_begins_anew() -> None:
    facts = replace(GREEN, changed_paths=(), max_attempts=1000, max_runs_without_progress=10)
    parked = replace(facts, runs=loop(12))
    moved = replace(parked, branch=replace(BRANCH, head=OLD), pull=replace(GREEN.pull, head=OLD))  # type: ignore[type-var]
    assert codes(decide(PROJECT, at(Stage.DEVELOPMENT), moved))[0] == "no_progress"
    asked = decide(
        PROJECT, at(Stage.DEVELOPMENT), replace(parked, remarks=(*GREEN.remarks, remark(60, ANNA, "/orch retry")))
    )  # type: ignore[misc]
    assert started(asked)
    assert asked.switches.retry_runs == 14
    again = at(Stage.DEVELOPMENT, switches=replace(ASKED, retry_runs=14))
    assert started(decide(PROJECT, again, replace(facts, runs=loop(21))))
    assert codes(decide(PROJECT, again, replace(facts, runs=loop(22))))[0] == "no_progress"


def test_a_new_stage_is_progress_and_an_old_one_is_none() -> None:
    runs = (*loop(8), run(Stage.REVIEW), *(run(Stage.DEVELOPMENT, number) for number in range(9, 14)))
    facts = replace(GREEN, changed_paths=(), max_attempts=1000, max_runs_without_progress=7)
    assert started(decide(PROJECT, at(Stage.DEVELOPMENT), replace(facts, runs=runs)))
    one_more = (*runs, run(Stage.DEVELOPMENT, 14))
    assert codes(decide(PROJECT, at(Stage.DEVELOPMENT), replace(facts, runs=one_more)))[0] == "no_progress"


# Rests


def ended(*outcomes: Outcome, **changes: Any) -> tuple[RunFact, ...]:
    return tried(*outcomes, ended_at=NOW, **changes)


def rest_s(*runs: RunFact, now: datetime = NOW) -> float | None:
    until = resting_until(runs, now, 10)
    return (until - NOW).total_seconds() if until else None


def test_a_rest_doubles_up_to_the_longest() -> None:
    rests = [rest_s(*ended(*[Outcome.UNAVAILABLE] * count)) for count in range(1, 10)]
    assert rests == [10, 20, 40, 80, 160, 320, 640, LONGEST_S, LONGEST_S]
    assert rest_s(*ended(*[Outcome.UNAVAILABLE] * 5000)) == LONGEST_S
    tiny = resting_until(ended(*[Outcome.UNAVAILABLE] * 5000), NOW, 0.0005)
    assert tiny == NOW + timedelta(seconds=0.0005 * 2**20)


def test_a_moment_beyond_all_rests_is_none() -> None:
    """The date was set back since the run ended."""
    longest = ended(*[Outcome.UNAVAILABLE] * 9)
    assert rest_s(*longest, now=NOW - timedelta(seconds=LONGEST_S)) == LONGEST_S
    assert rest_s(*longest, now=NOW - timedelta(seconds=LONGEST_S + 1)) is None


def test_the_first_crash_needs_no_rest_and_a_loss_never() -> None:
    """F13: what dies at once does so again; what was killed from outside does not."""
    crashes = [rest_s(*ended(*[Outcome.CRASHED] * count)) for count in (1, 2, 3, 4)]
    assert crashes == [None, 10, 20, 40]
    assert rest_s(*ended(*[Outcome.LOST] * 5)) is None
    assert rest_s(*ended(Outcome.CRASHED, Outcome.LOST, Outcome.CRASHED)) is None


def test_other_stages_and_what_was_called_off_make_no_streak() -> None:
    earlier = tried(Outcome.UNAVAILABLE, Outcome.UNAVAILABLE, stage=Stage.ARCHITECTURE, ended_at=NOW)
    assert rest_s(*earlier, *ended(Outcome.UNAVAILABLE)) == 10
    off = replace(run(STAGE, 3, Outcome.CANCELLED), reason=NOT_WANTED, ended_at=NOW)
    assert rest_s(*ended(Outcome.UNAVAILABLE, Outcome.UNAVAILABLE), off) == 20


def test_a_usage_limit_is_no_rest_of_the_task_since_it_stops_every_run() -> None:
    assert rest_s(*ended(Outcome.USAGE_LIMIT, resets_at=NOW + timedelta(hours=4))) is None


def test_nothing_rests_that_is_at_work_or_has_no_end_or_ended_otherwise() -> None:
    assert rest_s() is None
    assert rest_s(run(STAGE, 1, None)) is None
    assert rest_s(*tried(Outcome.UNAVAILABLE)) is None
    assert rest_s(*ended(Outcome.SUCCEEDED)) is None
    assert resting_until(ended(Outcome.UNAVAILABLE), NOW, 0) is None


@pytest.mark.parametrize("jump", [timedelta(seconds=10), timedelta(days=365), timedelta(days=-365)])
def test_a_rest_is_over_at_its_end_and_after_a_jump_of_the_clock(jump: timedelta) -> None:
    """R8: an end that lies a year off is none."""
    assert rest_s(*ended(Outcome.UNAVAILABLE), now=NOW + jump) is None
    assert rest_s(*ended(Outcome.UNAVAILABLE), now=NOW + timedelta(seconds=9)) == 10


UNTIL = NOW + timedelta(minutes=5)


def test_while_it_rests_nothing_is_started_and_the_moment_is_told() -> None:
    decision = after(*tried(Outcome.UNAVAILABLE), resting_until=UNTIL)
    assert (started(decision), codes(decision)[0]) == (None, "resting")
    params = dict(decision.waiting[0].params)
    assert params == {"outcome": "unavailable", "until": UNTIL.isoformat()}
    assert started(after(*tried(Outcome.UNAVAILABLE)))


def test_a_person_may_end_a_rest() -> None:
    asked = after(*tried(Outcome.UNAVAILABLE), resting_until=UNTIL, remarks=(remark(60, ANNA, "/orch retry"),))
    assert started(asked)


# Posted tasks


def posted(*runs: RunFact, task: Task = POSTED, **changes: Any) -> Decision:
    return decide(None, task, replace(Facts(Absent(), BRANCH), **{"runs": runs, **changes}))


def test_a_posted_task_rests_goes_on_and_is_cut_like_any_other() -> None:
    cut = tried(Outcome.TURN_CAP, stage=Stage.REVIEW)
    begun = started(posted(*cut))
    assert begun is not None
    assert (begun.attempt, begun.resumes, begun.base_sha) == (2, 1, HEAD)
    assert codes(posted(*tried(Outcome.TURN_CAP, Outcome.BUDGET, stage=Stage.REVIEW))) == ["run_not_successful"]
    away = tried(Outcome.UNAVAILABLE, stage=Stage.REVIEW)
    assert codes(posted(*away, resting_until=UNTIL)) == ["resting"]
    assert started(posted(*away, resting_until=UNTIL, task=replace(POSTED, retry_after=1)))
    assert codes(posted(*cut, max_runs_without_progress=1)) == ["no_progress"]
    assert codes(posted(*tried(Outcome.SUCCEEDED, stage=Stage.REVIEW), max_runs_without_progress=1)) == []


COSTLY = (replace(run(Stage.REVIEW, 1, Outcome.CRASHED), cost_usd=20.0),)
PARKED: dict[str, tuple[str, Switches, tuple[RunFact, ...], dict[str, Any]]] = {
    "paused": ("orch resume", Switches(is_paused=True), (), {}),
    "cancelled": ("orch resume", Switches(is_cancelled=True), (), {}),
    "no_progress": (
        "orch retry",
        Switches(),
        tried(Outcome.TURN_CAP, stage=Stage.REVIEW),
        {"max_runs_without_progress": 1},
    ),
    "run_not_successful": ("orch retry", Switches(), tried(Outcome.FAILED, stage=Stage.REVIEW), {}),
    "task_budget_spent": ("orch retry", Switches(), COSTLY, {"spending": SpendingLimits(10.0, 0.0)}),
    "money_without_progress": ("orch retry", Switches(), COSTLY, {"spending": SpendingLimits(0.0, 5.0)}),
}


@pytest.mark.parametrize("code", PARKED)
def test_who_unparks_a_posted_task_is_an_operator_since_nobody_can_comment_on_it(code: str) -> None:
    action, switches, runs, changes = PARKED[code]
    (item,) = posted(*runs, task=replace(POSTED, switches=switches), **changes).waiting
    assert (item.code, item.who, item.action) == (code, "operator", action)
    for language in Language:
        assert f"`{action}`" in sentence(item, language)
        assert "Plane" not in sentence(item, language)


def test_a_posted_task_that_is_cancelled_stops_its_run_and_starts_none() -> None:
    off = replace(POSTED, switches=Switches(is_cancelled=True))
    stopped = posted(run(Stage.REVIEW, 1, None), task=off)
    assert (stopped.actions, codes(stopped)) == ((StopRun(Stage.REVIEW, 1),), ["cancelled", "run_running"])
    idle = posted(task=off)
    assert (idle.actions, codes(idle)) == ((), ["cancelled"])

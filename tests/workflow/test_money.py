"""Money of a task: in all, and without getting any further (F12); and what does not lift it."""

from dataclasses import replace

import pytest

from green import ANNA, GREEN, HEAD, PROJECT, TASK, applied, remark, run
from orchestrator.domain.model import Stage, Switches
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome
from orchestrator.qg.facts import Facts, RunFact, SpendingLimits
from orchestrator.qg.verdict import Item
from orchestrator.words.sentences import sentence
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.money import Spending, spendings
from orchestrator.workflow.progress import since_accepted

HERE = replace(TASK, stage=Stage.ANALYSIS)
LIMITS = SpendingLimits(task_usd=20.0, without_progress_usd=10.0)


def costing(usd: float, stage: Stage = Stage.ANALYSIS, attempt: int = 1) -> RunFact:
    return replace(run(stage, attempt, Outcome.CRASHED), cost_usd=usd)


def waits(
    runs: tuple[RunFact, ...], limits: SpendingLimits = LIMITS, lines: str = "", **switches: int
) -> list[str]:
    """Codes of a task at analysis that lacks its document; empty when a run starts."""
    facts: Facts = replace(GREEN, documents=(), runs=runs, spending=limits, max_attempts=20)
    if lines:
        facts = replace(facts, remarks=(remark(60, ANNA, lines),))
    decision = decide(PROJECT, replace(HERE, switches=Switches(**switches)), facts)
    is_started = any(isinstance(one, StartRun) for one in decision.actions)
    return [] if is_started else [item.code for item in decision.waiting]


@pytest.mark.parametrize(
    ("runs", "codes"),
    [
        ((), []),
        ((costing(9.99),), []),
        ((costing(4), costing(5.99, attempt=2)), []),
        ((costing(4), costing(6, attempt=2)), ["money_without_progress"]),
        ((costing(20),), ["task_budget_spent", "money_without_progress"]),
    ],
)
def test_a_task_is_parked_when_its_money_is_spent(runs: tuple[RunFact, ...], codes: list[str]) -> None:
    assert waits(runs)[:2] == [*codes, "document_missing"][:2] if codes else waits(runs) == []


def test_each_limit_counts_for_itself_and_none_is_no_limit() -> None:
    assert waits((costing(20),), SpendingLimits(20, 0))[0] == "task_budget_spent"
    assert waits((costing(10),), SpendingLimits(0, 10))[0] == "money_without_progress"
    assert waits((costing(0.5),), SpendingLimits(0.5, 0))[0] == "task_budget_spent"
    assert waits((costing(1e6),), SpendingLimits()) == []
    assert waits((costing(1e6),), SpendingLimits(), budget_usd=5) == []


def test_what_is_spent_is_told_whole() -> None:
    facts = replace(GREEN, documents=(), runs=(costing(20.5),), spending=LIMITS, max_attempts=20)
    assert decide(PROJECT, HERE, facts).waiting[:2] == (
        Item("task_budget_spent", (("spent", "20.50"), ("budget", "20.00")), (), "approver", "/orch budget"),
        Item("money_without_progress", (("spent", "20.50"), ("budget", "10.00")), (), "approver", "/orch budget"),
    )


def test_what_was_accepted_is_not_counted_as_in_vain() -> None:
    """The task went on from analysis to review, and was sent back: it is the money since review that counts."""
    before = (costing(9), costing(9, Stage.DEVELOPMENT))
    assert "money_without_progress" not in waits((*before, costing(1, Stage.REVIEW)))
    assert waits((*before, costing(1, Stage.REVIEW), costing(9, attempt=2)), SpendingLimits(0, 10)) == [
        "money_without_progress",
        "document_missing",
    ]


def test_only_a_budget_lifts_it_and_a_retry_or_a_resume_does_not() -> None:
    spent = (costing(25),)
    for line in ("", "/orch retry", "/orch resume", ":approved:"):
        assert waits(spent, lines=line)[0] == "task_budget_spent", line
    assert waits(spent, lines="/orch budget 5") == []


def test_after_a_budget_the_money_is_counted_anew_and_at_least_so_much_may_be_spent() -> None:
    given = {"budget_usd": 15, "budget_after": 1}
    assert waits((costing(25), costing(14, attempt=2)), **given) == []
    assert waits((costing(25), costing(15, attempt=2)), **given)[0] == "money_without_progress"
    assert waits((costing(25), costing(20, attempt=2)), **given)[0] == "task_budget_spent"


@pytest.mark.parametrize("usd", [5, 15])
def test_what_people_are_told_of_a_budget_is_what_it_does(usd: int) -> None:
    facts = replace(GREEN, documents=(), runs=(costing(20.5),), spending=LIMITS, max_attempts=20)
    parked = decide(PROJECT, HERE, facts)
    for item in parked.waiting[:2]:
        assert "the task, counted anew, that or the configured limit, whichever is more" in sentence(
            item, Language.EN
        )
        assert "столько же или предел из настроек, смотря что больше" in sentence(item, Language.RU)
    given = decide(
        PROJECT, applied(HERE, parked), replace(facts, remarks=(remark(60, ANNA, f"/orch budget {usd}"),))
    )
    assert given.switches.budget_usd == usd, "of a single run"
    of_task, in_vain = spendings(applied(HERE, given), facts)
    assert (of_task, in_vain) == (Spending(0.0, 20.0), Spending(0.0, max(10.0, usd)))


def test_what_an_agent_changes_a_byte_at_a_time_is_stopped_though_every_run_ends_well() -> None:
    """F12: developer and reviewer go round; each run succeeds and costs two dollars."""
    rounds = [(Stage.DEVELOPMENT, n) for n in range(1, 30)], [(Stage.REVIEW, n) for n in range(1, 30)]
    runs: list[RunFact] = []
    for (stage, attempt), (review, number) in zip(*rounds, strict=True):
        for one, which in ((stage, attempt), (review, number)):
            runs.append(replace(run(one, which, Outcome.SUCCEEDED), cost_usd=2.0))
        if waits(tuple(runs), SpendingLimits(0, 50)):
            break
    assert sum(one.cost_usd for one in runs) == 52.0


def test_the_runs_since_the_last_accepted_change() -> None:
    order = (Stage.ANALYSIS, Stage.ANALYSIS, Stage.DEVELOPMENT, Stage.REVIEW, Stage.DEVELOPMENT, Stage.REVIEW)
    runs = tuple(run(stage, n, Outcome.SUCCEEDED) for n, stage in enumerate(order))
    assert [len(since_accepted(runs[:n])) for n in range(7)] == [0, 1, 2, 1, 1, 2, 3]


def test_a_posted_task_has_a_budget_too() -> None:
    posted = replace(HERE, role=Role.ANALYST, plane_id=None)
    facts = replace(GREEN, runs=(costing(20),), spending=LIMITS)
    assert decide(None, posted, facts).waiting == (
        Item("task_budget_spent", (("spent", "20.00"), ("budget", "20.00")), (), "operator", "orch retry"),
        Item("money_without_progress", (("spent", "20.00"), ("budget", "10.00")), (), "operator", "orch retry"),
    )
    assert isinstance(decide(None, posted, replace(facts, spending=SpendingLimits())).actions[0], StartRun)


# the account's usage limit costs no attempt


def limited(count: int, *more: Outcome) -> tuple[RunFact, ...]:
    outcomes = (*(Outcome.USAGE_LIMIT,) * count, *more)
    return tuple(replace(run(Stage.ANALYSIS, n, one), base=HEAD) for n, one in enumerate(outcomes, 1))


def test_an_attempt_that_met_the_usage_limit_is_made_again_and_is_not_counted() -> None:
    facts = replace(GREEN, documents=(), runs=limited(7), max_attempts=2)
    first = decide(PROJECT, HERE, facts)
    assert [one.attempt for one in first.actions if isinstance(one, StartRun)] == [8]
    again = decide(PROJECT, HERE, replace(facts, runs=limited(7, Outcome.CRASHED)))
    assert [one.attempt for one in again.actions if isinstance(one, StartRun)] == [9]
    over = decide(PROJECT, HERE, replace(facts, runs=limited(7, Outcome.CRASHED, Outcome.CRASHED)))
    assert over.waiting[0].code == "run_not_successful"


def test_a_posted_task_tries_again_after_the_usage_limit() -> None:
    posted = replace(HERE, role=Role.ANALYST, plane_id=None)
    again = decide(None, posted, replace(GREEN, runs=limited(4, Outcome.CRASHED), max_attempts=2))
    assert isinstance(again.actions[0], StartRun)
    over = decide(None, posted, replace(GREEN, runs=limited(4, Outcome.CRASHED, Outcome.LOST), max_attempts=2))
    assert over.waiting[0].code == "run_not_successful"

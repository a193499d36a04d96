"""Why a task is where it is: made of stored decisions alone, by table and by the core's own decisions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from green import ASKED, GREEN, LINT, PROJECT, REPO, RUNS, STRANGER, TASK, remark, run
from green import CHECK as GREEN_CHECK
from orchestrator.domain.forge import CheckState
from orchestrator.domain.model import Cause, GateOptions, Project, RunId, Stage, Switches, Task
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome
from orchestrator.qg.facts import Absent, Facts, SpendingLimits, Unobserved
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.store.decisions import Basis, Told
from orchestrator.store.views import RunView, TaskStory, TaskView
from orchestrator.web.explain import LOOK_BACK, Explanation, GateState, explain, said_since, same
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision

CHECK = replace(GREEN_CHECK, url="http://ci/1")
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NOW = START + timedelta(hours=10)
MISSING = Item("approval", (("documents", "BRD.md"), ("have", "0")), ("b1",), "approver", ":approved:")
OTHER = Item("document_missing", (("document", "BRD.md"),), (), "agent", "run")
PENDING = replace(LINT, state=CheckState.PENDING)
CLOSED, OPEN = Waiting((MISSING,)), Passed((Item("document", (("document", "BRD.md"),), ("b1",)),))


def view(stage: Stage, waiting: Sequence[Item] = (), **changes: Any) -> TaskView:
    made = TaskView(
        TASK.id, TASK.key, TASK.title, stage.value, str(REPO), TASK.branch, "w1", "p1", None,
        agent_running=False, created_at=START, updated_at=START, waiting=tuple(waiting), runs=(),
    )  # fmt: skip
    return replace(made, **changes)


def told(*decisions: Decision) -> tuple[Told, ...]:
    """Given oldest first, one an hour; newest first as the store gives them."""
    made = [
        Told(number, START + timedelta(hours=number), f"digest{number}", one)
        for number, one in enumerate(decisions)
    ]
    return tuple(reversed(made))


def judged(stage: Stage, verdict: Verdict | None = None, gate: str = "QG-1") -> Decision:
    return Decision(stage, verdicts=((gate, verdict),) if verdict else ())


def explained(
    stage: Stage, *decisions: Decision, waiting: Sequence[Item] = (), basis: Basis | None = None, **changes: Any
) -> Explanation:
    return explain(TaskStory(view(stage, waiting, **changes), told(*decisions), basis), None, NOW, Language.EN)


def states(explanation: Explanation) -> list[str]:
    return [gate.state.value for gate in explanation.gates]


# --- ages


def more(item: Item, have: str) -> Item:
    return structs.replace(item, params=(("documents", "BRD.md"), ("have", have)))


@pytest.mark.parametrize(
    ("verdicts", "since"),
    [
        ([CLOSED], 0),
        ([OPEN, CLOSED], 1),
        ([CLOSED, OPEN, CLOSED, CLOSED], 2),
        ([CLOSED, Waiting((OTHER,)), CLOSED], 2),
        ([CLOSED, None, None, CLOSED], 0),
        ([CLOSED, None], 0),
        ([CLOSED, Waiting((more(MISSING, "1"), OTHER))], 0),
        ([Failed((MISSING,)), CLOSED], 0),
        ([CLOSED, Unknown((OTHER,)), CLOSED], 2),
        ([None, OPEN], None),
        ([], None),
    ],
)
def test_an_item_is_said_since_the_oldest_decision_of_an_unbroken_run(
    verdicts: Sequence[Verdict | None], since: int | None
) -> None:
    decisions = [judged(Stage.ANALYSIS, one) for one in verdicts]
    found = explained(Stage.ANALYSIS, *decisions, waiting=(MISSING,)).unblock[0]
    assert found.since_decision == since
    assert (found.since, found.is_older) == (None if since is None else START + timedelta(hours=since), False)
    assert found.age_s == (None if since is None else 3600 * (10 - since))


def test_what_no_gate_says_is_as_old_as_it_was_waited_for() -> None:
    paused = Item("paused", who="approver", action="/orch resume")
    waits = [(), (paused,), (paused, MISSING), (MISSING, paused)]
    decisions = [Decision(Stage.ANALYSIS, waiting=one) for one in waits]
    found = explained(Stage.ANALYSIS, *decisions, waiting=(paused, MISSING))
    assert [(one.code, one.since_decision) for one in found.unblock] == [("paused", 1), ("approval", 2)]


def test_the_look_back_is_bounded_and_says_so() -> None:
    decisions = told(*(judged(Stage.ANALYSIS, CLOSED) for _ in range(LOOK_BACK)))
    since = said_since(decisions, lambda one: dict(one.verdicts)["QG-1"].missing, MISSING)  # type: ignore[union-attr]
    assert since.told is decisions[-1]
    assert since.is_older
    assert not said_since(decisions[1:], lambda one: (MISSING,), MISSING).is_older
    assert not said_since(decisions, lambda one: None, MISSING).is_older


def test_the_same_thing_may_change_its_counts_but_not_what_it_is_about() -> None:
    red, pending = (Item("check_not_green", (("context", "ci"), ("state", one))) for one in ("error", "pending"))
    assert same(red, pending)
    assert same(MISSING, structs.replace(MISSING, evidence=("other",), who="x"))
    assert not same(red, structs.replace(red, params=(("context", "lint"), ("state", "error"))))
    assert not same(red, structs.replace(red, code="check_red"))


def test_what_another_comment_says_is_another_thing_and_has_its_own_age() -> None:
    """A stranger approves today what a stranger approved yesterday."""
    task = replace(TASK, stage=Stage.ANALYSIS, switches=Switches())
    asked = replace(GREEN, documents=GREEN.documents[:1], runs=())  # type: ignore[index]
    older, newer = remark(11, STRANGER), remark(60, STRANGER)
    first = decide(PROJECT, task, replace(asked, remarks=(older,)))
    then = decide(PROJECT, task, replace(asked, remarks=(older, newer)))
    found = explained(Stage.ANALYSIS, first, then, waiting=then.waiting)
    told_of = [(one.code, one.evidence, one.since_decision) for one in found.unblock[1:]]
    assert told_of == [("approval_not_counted", ["k60"], 1), ("approval_not_counted", ["k11"], 0)]


# --- gates


@pytest.mark.parametrize(
    ("stage", "decisions", "state"),
    [
        (Stage.ANALYSIS, [], GateState.CLOSED),
        (Stage.CREATED, [], GateState.NOT_REACHED),
        (Stage.REVIEW, [], GateState.OPEN),
        (Stage.ANALYSIS, [CLOSED], GateState.CLOSED),
        (Stage.ANALYSIS, [Failed((MISSING,))], GateState.CLOSED),
        (Stage.ANALYSIS, [Unknown((MISSING,))], GateState.UNKNOWN),
        (Stage.REVIEW, [Unknown((MISSING,))], GateState.UNKNOWN),
        (Stage.ARCHITECTURE, [OPEN], GateState.OPEN),
        (Stage.ARCHITECTURE, [CLOSED, OPEN, None], GateState.OPEN),
        (Stage.ANALYSIS, [CLOSED, None], GateState.CLOSED),
        (Stage.ANALYSIS, [Unknown((MISSING,)), None], GateState.UNKNOWN),
        (Stage.DONE, [CLOSED, None], GateState.CLOSED),
        (Stage.DONE, [], GateState.NOT_REACHED),
    ],
)
def test_a_gate_is_what_was_last_said_of_it_or_what_the_stage_says(
    stage: Stage, decisions: Sequence[Verdict | None], state: GateState
) -> None:
    found = explained(stage, *(judged(stage, one) for one in decisions)).gates[1]
    assert found.state is state
    assert bool(found.missing) == (state in {GateState.CLOSED, GateState.UNKNOWN} and bool(decisions))
    assert bool(found.held) == (state is GateState.OPEN and bool(decisions) and OPEN in decisions)


def test_what_was_said_of_a_later_gate_before_a_return_is_over() -> None:
    decisions = judged(Stage.REVIEW, OPEN, "QG-4"), judged(Stage.DEVELOPMENT, CLOSED, "QG-3")
    found = explained(Stage.DEVELOPMENT, *decisions)
    assert states(found) == ["open", "open", "open", "closed", "not_reached", "not_reached", "not_reached"]
    assert (found.gates[4].verdict, found.gates[4].decision) == (None, None)


def test_a_posted_task_has_no_gate_but_its_first() -> None:
    decisions = judged(Stage.DEVELOPMENT, OPEN, "QG-0"), judged(Stage.DEVELOPMENT)
    found = explained(Stage.DEVELOPMENT, *decisions, plane_id=None)
    assert states(found) == ["open", *["not_reached"] * 6]


def decided(task: Task, facts: Facts, project: Project = PROJECT, **changes: Any) -> Explanation:
    """One real decision, explained."""
    decision = decide(project, task, facts)
    story = TaskStory(
        view(decision.stage, decision.waiting, **changes), told(decision), Basis(project, task, facts)
    )
    return explain(story, None, NOW, Language.EN)


def test_at_the_end_every_gate_shows_what_it_rested_on() -> None:
    found = decided(TASK, GREEN)
    assert states(found) == ["open"] * 7
    assert all(gate.held for gate in found.gates[1:])
    assert [(item.code, item.who) for item in found.unblock] == [("merge", "maintainer")]
    assert (found.decision and found.decision.config_digest, found.limits.attempts) == ("digest0", None)


def test_a_red_check_is_told_with_its_return_and_the_attempt_that_answers_it() -> None:
    red = replace(CHECK, state=CheckState.FAILURE, url="http://ci/1")
    found = decided(replace(TASK, stage=Stage.CI), replace(GREEN, checks=(red, LINT)))
    assert found.stage == "development"
    assert states(found)[:5] == ["open", "open", "open", "closed", "closed"]
    assert [(one.code, one.evidence) for one in found.gates[4].missing] == [("check_red", ["http://ci/1"])]
    caps = found.limits.returns
    assert (caps[Cause.CI_RED].used, caps[Cause.CI_RED].left, caps[Cause.TEST_FAILED].used) == (1, 2, 0)
    assert (found.limits.returns_in_all.used, found.limits.returns_in_all.limit) == (1, 8)
    assert found.limits.attempts is not None
    assert (found.limits.attempts.used, found.limits.attempts.left) == (1, 2)


def test_a_closed_gate_shows_what_it_holds_with_evidence_and_age() -> None:
    facts = replace(GREEN, checks=(CHECK,))
    once, later = decide(PROJECT, TASK, facts), decide(PROJECT, TASK, replace(facts, checks=(CHECK, PENDING)))
    waits = told(once, later)
    found = explain(TaskStory(view(Stage.CI, later.waiting), waits, None), None, NOW, Language.EN).gates[4]
    assert found.state is GateState.CLOSED
    assert [(one.code, one.evidence, one.since_decision, one.age_s) for one in found.held] == [
        ("check_green", ["http://ci/1"], 0, 36000)
    ]
    assert [(one.code, one.since_decision, one.age_s) for one in found.missing] == [("check_not_green", 1, 32400)]


def test_a_gate_that_was_not_asked_yet_tells_nothing_though_it_was_asked_before() -> None:
    back = judged(Stage.ANALYSIS, CLOSED)
    found = explained(Stage.ANALYSIS, judged(Stage.CI, OPEN, "QG-3"), back).gates[3]
    assert (found.state, found.held, found.missing) == (GateState.NOT_REACHED, [], [])


def test_what_was_held_before_decisions_said_so_is_as_old_as_the_first_that_did() -> None:
    holds = Waiting((MISSING,), OPEN.held)
    found = explained(Stage.ANALYSIS, judged(Stage.ANALYSIS, CLOSED), judged(Stage.ANALYSIS, holds)).gates[1]
    assert [(one.code, one.since_decision, one.is_older) for one in found.held] == [("document", 1, False)]
    assert [one.since_decision for one in found.missing] == [0]


def test_a_missing_approval_names_who_gives_it_and_how() -> None:
    (item,) = decided(TASK, replace(GREEN, remarks=())).unblock
    assert (item.code, item.who, item.action, item.since_decision) == ("approval", "approver", ":approved:", 0)


def test_attempts_of_the_round_count_and_of_all_rounds_are_told() -> None:
    runs = (*RUNS[:2], *(run(Stage.DEVELOPMENT, number, Outcome.CRASHED) for number in (1, 2)))
    facts = replace(GREEN, runs=runs, pull=Absent(), changed_paths=())
    rows = tuple(run_view("development", number) for number in (1, 2))
    found = decided(replace(TASK, stage=Stage.DEVELOPMENT), facts, runs=(run_view("analysis", 1), *rows))
    assert found.limits.attempts is not None
    assert (found.limits.attempts.used, found.limits.attempts.limit, found.limits.attempts.left) == (3, 3, 0)
    assert found.limits.attempts_made == 2


def test_all_that_parks_or_silences_a_task_is_told_with_what_is_left() -> None:
    spending = SpendingLimits(task_usd=20.0, without_progress_usd=5.0)
    costly = tuple(replace(one, cost_usd=2.0) for one in GREEN.runs)
    task = replace(TASK, switches=replace(ASKED, answered=4))
    limits = decided(task, replace(GREEN, runs=costly, spending=spending)).limits
    assert limits.money is not None
    assert (limits.money.spent_usd, limits.money.limit_usd) == (2.0 * len(costly), 20.0)
    assert limits.money.left_usd == 20.0 - 2.0 * len(costly)
    assert limits.money_without_progress is not None
    assert (limits.money_without_progress.spent_usd, limits.money_without_progress.left_usd) == (2.0, 3.0)
    assert limits.runs_without_progress is not None
    assert (limits.runs_without_progress.used, limits.runs_without_progress.left) == (1, 39)
    assert (limits.answers.used, limits.answers.left) == (4, 26)
    assert decided(TASK, GREEN).limits.money is None


def run_view(stage: str, attempt: int) -> RunView:
    return RunView(
        RunId(attempt), TASK.key, "developer", stage, attempt, "ended", "crashed", "", "", 0, 0, 0, 0.0, None, "",
        "", "", None, None, None, None, None, None, None, None, (),
    )  # fmt: skip


def test_a_posted_tasks_attempts_are_counted_too() -> None:
    task = replace(TASK, plane_id=None, role=Role.ANALYST, stage=Stage.ANALYSIS)
    found = decided(task, replace(GREEN, item=Absent(), runs=(run(Stage.ANALYSIS, 1, Outcome.CRASHED),)))
    assert found.limits.attempts is not None
    assert found.limits.attempts.used == 2


def test_switches_are_told_as_they_were_set() -> None:
    facts = replace(GREEN, remarks=(*(remark(11), remark(21)), remark(31, PROJECT.approvers[0], "/orch pause")))
    found = decided(TASK, facts)
    assert (found.switches.is_paused, found.switches.is_cancelled) == (True, False)
    switches = Switches(is_cancelled=True, budget_usd=7, allowed=("a" * 40,))
    told_of = decided(replace(TASK, switches=switches), GREEN).switches
    assert (told_of.is_cancelled, told_of.budget_usd, told_of.allowed_paths_at) == (True, 7, ["a" * 40])


def test_the_options_of_now_are_stronger_than_those_of_then() -> None:
    then = replace(PROJECT, gates=GateOptions(returns_in_all=2))
    story = TaskStory(view(Stage.READY), told(decide(then, TASK, GREEN)), Basis(then, TASK, GREEN))
    assert explain(story, None, NOW, Language.EN).limits.returns_in_all.limit == 2
    now = explain(story, GateOptions(returns_in_all=5, returns_per_cause=0), NOW, Language.EN).limits
    assert (now.returns_in_all.limit, now.returns[Cause.CI_RED].left) == (5, 0)


def test_before_the_first_decision_there_is_little_to_tell() -> None:
    undecided = Item("to_be_decided", who="orchestrator")
    found = explained(Stage.CREATED, waiting=(undecided,))
    assert states(found) == ["closed", *["not_reached"] * 6]
    assert (found.decision, found.limits.attempts) == (None, None)
    assert (found.unblock[0].since, found.unblock[0].age_s) == (None, None)


def test_what_could_not_be_looked_at_is_unknown() -> None:
    found = decided(TASK, replace(GREEN, checks=Unobserved("gitea_unreachable", "no")))
    assert found.gates[4].state is GateState.UNKNOWN
    assert found.gates[4].missing[0].code == "gitea_unreachable"


def test_sentences_are_in_the_language_of_the_reader() -> None:
    waits = TaskStory(view(Stage.ANALYSIS, (Item("item_is_draft"),)), (), None)
    assert explain(waits, None, NOW, Language.RU).unblock[0].text.startswith("рабочий")
    assert explain(waits, None, NOW, Language.EN).unblock[0].text.startswith("the work item")

"""decide: what happens at each stage, told as sentences."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

import counted
from green import (
    ANNA,
    ARCHITECTURE,
    ASKED,
    BORIS,
    BRANCH,
    BRD,
    CHECK,
    DEV_TASK,
    DOCUMENTS,
    GREEN,
    HEAD,
    ITEM,
    LINT,
    NEW_TASK,
    OLD,
    OURSELF,
    PROJECT,
    PULL,
    REPO,
    REPORT,
    RUNS,
    STRANGER,
    TASK,
    US,
    applied,
    approval_of,
    codes,
    rejection_of,
    remark,
    run,
)
from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import Branch, Cause, Return, ReviewPolicy, Stage, Switches, Task
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, RunState, VerdictWord
from orchestrator.qg.approvals import MAX_NOTED
from orchestrator.qg.facts import NOT_NEEDED, Absent, Facts, Unobserved, Unwritten
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.basis import MAX_REMARKS
from orchestrator.words.marks import Code
from orchestrator.words.sentences import who_can
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import (
    Decision,
    EnsureBranch,
    EnsurePullRequest,
    PublishReport,
    PublishReview,
    Reply,
    StartRun,
    StopRun,
)
from orchestrator.workflow.pipeline import step_of_stage
from orchestrator.workflow.publish import MAX_ANSWERS
from orchestrator.workflow.rounds import attempts_of_round

DOWN = Unobserved("forge_unreachable", "down")


def at(stage: Stage, **changes: Any) -> Task:
    return replace(TASK, stage=stage, **changes)


NEW = at(Stage.ANALYSIS, switches=Switches())
"""People were asked about nothing but the BRD."""


def starts(decision: Decision) -> list[tuple[Role, int]]:
    return [(one.role, one.attempt) for one in decision.actions if isinstance(one, StartRun)]


def replies(decision: Decision) -> list[tuple[str, str, str]]:
    return [
        (one.comment, one.item.code, dict(one.item.params).get("why", ""))
        for one in decision.actions
        if isinstance(one, Reply)
    ]


REMARKS = (remark(11), remark(21))
"""Of GREEN: the approvals of the two gates."""


def without(*kinds: Stage) -> tuple[Any, ...]:
    return tuple(one for one in RUNS if one.stage not in kinds)


# The way forward


def test_a_new_item_without_a_branch_gets_one_first() -> None:
    decision = decide(PROJECT, NEW_TASK, replace(GREEN, branch=Absent()))
    assert decision.stage is Stage.CREATED
    assert decision.actions == (EnsureBranch(REPO, "feature/ENDURO-1-a-title", "develop"),)
    assert codes(decision) == ["branch_missing"]


def test_with_its_branch_a_new_item_moves_to_analysis_where_it_is_looked_at_again() -> None:
    decision = decide(PROJECT, NEW_TASK, Facts(ITEM, BRANCH))
    assert (decision.stage, codes(decision)) == (Stage.ANALYSIS, ["look_due"])
    assert decision.identity is not None
    assert decision.identity.key == "ENDURO-1"
    assert [gate for gate, _ in decision.verdicts] == ["QG-0"]


def test_where_all_was_seen_the_analyst_starts_at_once() -> None:
    decision = decide(PROJECT, NEW_TASK, Facts(ITEM, BRANCH, documents=(), remarks=(), pull=Absent(), us=US))
    assert decision.actions == (StartRun(Role.ANALYST, Stage.ANALYSIS, 1, HEAD),)


@pytest.mark.parametrize("branch", [Unobserved("no_gitea_token"), NOT_NEEDED])
def test_an_unseen_branch_keeps_a_new_item_where_it_is(branch: Unobserved) -> None:
    decision = decide(PROJECT, NEW_TASK, replace(GREEN, branch=branch))
    assert (decision.stage, len(decision.waiting)) == (Stage.CREATED, 1)


def test_a_new_item_of_an_unmapped_project_waits_for_the_operator() -> None:
    assert codes(decide(None, NEW_TASK, GREEN)) == ["project_mapping"]
    assert codes(decide(None, replace(NEW_TASK, plane_id=None), GREEN)) == ["project_mapping"]
    assert codes(decide(None, TASK, GREEN)) == ["project_mapping"]


def test_a_renamed_item_keeps_its_first_branch() -> None:
    decision = decide(PROJECT, at(Stage.CREATED), replace(GREEN, item=replace(ITEM, title="Something else")))
    assert decision.identity is not None
    assert decision.identity.branch == "feature/ENDURO-1-a-title"


STEPS: list[tuple[Stage, Facts, Stage, tuple[Role, int] | None, list[str]]] = [
    (Stage.ANALYSIS, replace(GREEN, documents=(), runs=()), Stage.ANALYSIS, (Role.ANALYST, 1), []),
    (
        Stage.ANALYSIS,
        replace(GREEN, documents=(BRD,), remarks=(), runs=RUNS[:1]),
        Stage.ANALYSIS,
        None,
        ["approval"],
    ),
    (Stage.ANALYSIS, replace(GREEN, documents=(BRD,), runs=RUNS[:1]), Stage.ARCHITECTURE, (Role.ARCHITECT, 1), []),
    (
        Stage.ARCHITECTURE,
        replace(GREEN, documents=DOCUMENTS[:3], remarks=(remark(11),), runs=RUNS[:2]),
        Stage.ARCHITECTURE,
        None,
        ["approval"],
    ),
    (
        Stage.ARCHITECTURE,
        replace(GREEN, documents=DOCUMENTS[:3], runs=RUNS[:2]),
        Stage.DEVELOPMENT,
        (Role.DEVELOPER, 1),
        [],
    ),
    (Stage.ARCHITECTURE, replace(GREEN, changed_paths=NOT_NEEDED), Stage.DEVELOPMENT, None, ["look_due"]),
    (
        Stage.DEVELOPMENT,
        replace(GREEN, pull=Absent(), runs=RUNS[:3]),
        Stage.DEVELOPMENT,
        None,
        ["pull_request_missing"],
    ),
    (
        Stage.DEVELOPMENT,
        replace(GREEN, checks=NOT_NEEDED, rules=NOT_NEEDED, runs=RUNS[:3]),
        Stage.CI,
        None,
        ["look_due"],
    ),
    (Stage.CI, replace(GREEN, checks=(CHECK,), runs=RUNS[:3]), Stage.CI, None, ["check_missing"]),
    (Stage.CI, replace(GREEN, reviews=(), runs=RUNS[:3]), Stage.REVIEW, (Role.REVIEWER, 1), []),
    (Stage.REVIEW, replace(GREEN, runs=RUNS[:4]), Stage.TESTING, (Role.TESTER, 1), []),
    (Stage.TESTING, GREEN, Stage.READY, None, ["merge"]),
]


@pytest.mark.parametrize(("stage", "facts", "to", "start", "waiting"), STEPS)
def test_the_way_of_a_task(
    stage: Stage, facts: Facts, to: Stage, start: tuple[Role, int] | None, waiting: list[str]
) -> None:
    decision = decide(PROJECT, at(stage), facts)
    assert (decision.stage, starts(decision), codes(decision)) == (to, [start] if start else [], waiting)


def test_the_pull_request_is_opened_when_the_work_is_there() -> None:
    decision = decide(PROJECT, at(Stage.DEVELOPMENT), replace(GREEN, pull=Absent()))
    assert decision.actions == (EnsurePullRequest(REPO, TASK.branch, "develop", "ENDURO-1: A title"),)


def test_ready_names_who_merges_and_every_gate_is_told() -> None:
    decision = decide(PROJECT, TASK, GREEN)
    assert [gate for gate, _ in decision.verdicts] == [f"QG-{number}" for number in range(1, 7)]
    assert (decision.waiting[0].who, decision.waiting[0].evidence) == ("maintainer", (PULL.url, HEAD))
    assert not any(isinstance(one, StartRun) for one in decision.actions)


@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.CREATED, Stage.DONE}))
def test_a_merged_pull_request_ends_the_task_and_a_closed_one_parks_it(stage: Stage) -> None:
    merged = replace(PULL, is_merged=True, is_open=False)
    assert decide(PROJECT, at(stage), replace(GREEN, pull=merged)).stage is Stage.DONE
    closed = decide(PROJECT, at(stage), replace(GREEN, pull=replace(PULL, is_open=False)))
    assert (closed.stage, codes(closed), closed.actions) == (stage, ["pull_request_closed"], ())


@pytest.mark.parametrize("item", [Absent(), replace(ITEM, is_archived=True), ITEM])
def test_what_a_person_merged_is_done_though_its_work_item_went_or_it_was_cancelled(item: Any) -> None:
    task = replace(TASK, switches=replace(TASK.switches, is_cancelled=item is ITEM))
    merged = replace(GREEN, item=item, pull=replace(PULL, is_merged=True, is_open=False))
    assert decide(PROJECT, task, merged).stage is Stage.DONE
    at_work = decide(PROJECT, task, replace(merged, runs=(*merged.runs, run(Stage.REVIEW, 9, None))))
    assert (at_work.stage, [type(one) for one in at_work.actions]) == (task.stage, [StopRun])


def test_done_stays_done() -> None:
    assert decide(PROJECT, at(Stage.DONE), GREEN) == Decision(Stage.DONE, switches=ASKED)


# Back


REOPENED: list[tuple[Facts, Stage, str]] = [
    (replace(GREEN, documents=(replace(BRD, blob="b2", seen=50), *DOCUMENTS[1:])), Stage.ANALYSIS, "approval"),
    (
        replace(GREEN, documents=(BRD, replace(ARCHITECTURE, blob="c2", seen=50), DEV_TASK, REPORT)),
        Stage.ARCHITECTURE,
        "approval",
    ),
    (replace(GREEN, remarks=()), Stage.ANALYSIS, "approval"),
    (replace(GREEN, remarks=(remark(11),)), Stage.ARCHITECTURE, "approval"),
    (
        replace(GREEN, remarks=(replace(remark(11), is_untouched=False), remark(21))),
        Stage.ANALYSIS,
        "approval",
    ),
    (replace(GREEN, pull=replace(PULL, is_draft=True)), Stage.DEVELOPMENT, "pull_request_is_draft"),
    (replace(GREEN, checks=(CHECK, replace(LINT, state=CheckState.PENDING))), Stage.CI, "check_not_green"),
    (replace(GREEN, reviews=(replace(approval_of(), is_dismissed=True),)), Stage.REVIEW, "review_dismissed"),
]


@pytest.mark.parametrize(("facts", "to", "code"), REOPENED)
@pytest.mark.parametrize("stage", [Stage.TESTING, Stage.READY])
def test_a_reopened_gate_takes_the_task_back_and_starts_nobody(
    stage: Stage, facts: Facts, to: Stage, code: str
) -> None:
    decision = decide(PROJECT, at(stage), facts)
    assert (decision.stage, codes(decision)[0], starts(decision)) == (to, code, [])


def test_a_withdrawn_approval_reopens_its_own_gate_once_it_was_noted() -> None:
    """S7."""
    ready = applied(TASK, decide(PROJECT, TASK, GREEN))
    assert (ready.switches.of_brd, ready.switches.of_design) == (("k11",), ("k21",))
    decision = decide(PROJECT, ready, replace(GREEN, remarks=(remark(21),)))
    assert (decision.stage, codes(decision)) == (Stage.ANALYSIS, ["approval"])


WITHDRAWN: dict[str, Any] = {
    "deleted": lambda _: (),
    "edited to the same words": lambda one: (replace(one, is_untouched=False, order=one.order + 100),),
    "edited to a rejection": lambda one: (replace(one, is_untouched=False, order=90, lines=(":rejected: no",)),),
    "edited to an order": lambda one: (replace(one, is_untouched=False, order=90, lines=("/orch resume",)),),
}


def test_an_approval_that_is_deleted_or_edited_reopens_its_gate_before_anything_starts() -> None:
    """S7: both gates, from every stage behind them, whatever ran before and whoever reviews."""
    told = 0
    for number, gate_at in enumerate((Stage.ANALYSIS, Stage.ARCHITECTURE)):
        behind = [
            one
            for one in Stage
            if list(Stage).index(gate_at) < list(Stage).index(one) < list(Stage).index(Stage.DONE)
        ]
        for stage, how, ran, policy in itertools.product(behind, WITHDRAWN, ((), RUNS), ReviewPolicy):
            project = replace(PROJECT, gates=replace(PROJECT.gates, review=policy))
            known = replace(at(stage), switches=applied(TASK, decide(PROJECT, TASK, GREEN)).switches)
            kept = [one for place, one in enumerate(REMARKS) if place != number]
            said = sorted((*kept, *WITHDRAWN[how](REMARKS[number])), key=lambda one: one.order)
            decision = decide(project, known, replace(GREEN, remarks=tuple(said), runs=ran))
            code = "rejection_edited" if how == "edited to a rejection" else "approval"
            assert (decision.stage, starts(decision), codes(decision)[0]) == (gate_at, [], code), (stage, how)
            told += 1
    assert told >= 100
    counted.said(f"S7: {told} of {told} reopened before a start")


UNSEEN = ("item", "remarks", "branch", "documents", "pull", "changed_paths", "rules", "reviews", "checks")


@pytest.mark.parametrize("field", UNSEEN)
@pytest.mark.parametrize("unseen", [DOWN, NOT_NEEDED])
def test_what_could_not_be_seen_moves_nothing_and_starts_nothing(field: str, unseen: Unobserved) -> None:
    decision = decide(PROJECT, TASK, replace(GREEN, runs=(), **{field: unseen}))
    assert starts(decision) == []
    whole = decide(PROJECT, TASK, replace(GREEN, **{field: unseen}))
    assert whole.stage is Stage.READY
    assert codes(whole) == [unseen.code if unseen is DOWN else "look_due"]


@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.CREATED, Stage.DONE}))
def test_a_branch_that_is_gone_stops_everything(stage: Stage) -> None:
    decision = decide(PROJECT, at(stage), replace(GREEN, branch=Absent()))
    assert (decision.stage, codes(decision), decision.actions) == (stage, ["branch_gone"], ())


# Rounds


MOVED = replace(GREEN, branch=replace(BRANCH, head=OLD), pull=replace(PULL, head=OLD))
RED = replace(
    CHECK, state=CheckState.FAILURE, description="2 failed", url="http://ci/1", log_tail="E  assert 1 == 2"
)
SENT_BACK: list[tuple[Stage, Facts, Cause, Stage, Role, str]] = [
    (
        Stage.ANALYSIS,
        replace(GREEN, documents=(BRD,), remarks=(remark(11, BORIS, ":rejected: no figures"),)),
        Cause.DOCUMENT_REJECTED,
        Stage.ANALYSIS,
        Role.ANALYST,
        "no figures",
    ),
    (
        Stage.ARCHITECTURE,
        replace(GREEN, remarks=(remark(11), remark(21, BORIS, ":rejected: too big"))),
        Cause.DOCUMENT_REJECTED,
        Stage.ARCHITECTURE,
        Role.ARCHITECT,
        "too big",
    ),
    (
        Stage.CI,
        replace(GREEN, checks=(RED, LINT)),
        Cause.CI_RED,
        Stage.DEVELOPMENT,
        Role.DEVELOPER,
        "assert 1 == 2",
    ),
    (
        Stage.REVIEW,
        replace(GREEN, reviews=(rejection_of(login="vera"),)),
        Cause.REVIEW_REJECTED,
        Stage.DEVELOPMENT,
        Role.DEVELOPER,
        "No.",
    ),
    (
        Stage.REVIEW,
        replace(
            GREEN, reviews=(), runs=(*without(Stage.REVIEW), run(Stage.REVIEW, word=VerdictWord.CHANGES_REQUESTED))
        ),
        Cause.REVIEW_REJECTED,
        Stage.DEVELOPMENT,
        Role.DEVELOPER,
        "A report.",
    ),
    (
        Stage.TESTING,
        replace(GREEN, runs=(*without(Stage.TESTING), run(Stage.TESTING, word=VerdictWord.FAILED))),
        Cause.TEST_FAILED,
        Stage.DEVELOPMENT,
        Role.DEVELOPER,
        "A report.",
    ),
]


def test_the_reviewers_own_words_are_told_once() -> None:
    rejecting = (*without(Stage.REVIEW), run(Stage.REVIEW, word=VerdictWord.CHANGES_REQUESTED))
    decision = decide(PROJECT, at(Stage.REVIEW), replace(GREEN, reviews=(rejection_of(),), runs=rejecting))
    assert [one.text for one in decision.returns[0].feedback] == ["No."]


@pytest.mark.parametrize(("stage", "facts", "cause", "to", "role", "text"), SENT_BACK)
def test_a_failed_gate_sends_the_task_back_with_what_was_said(
    stage: Stage, facts: Facts, cause: Cause, to: Stage, role: Role, text: str
) -> None:
    decision = decide(PROJECT, at(stage), facts)
    assert decision.stage is to
    (start,) = [one for one in decision.actions if isinstance(one, StartRun)]
    assert (start.role, start.attempt) == (role, 2)
    assert text in start.feedback[0].text
    assert [(one.cause, one.stage, one.after_attempt) for one in decision.returns] == [(cause, to, 1)]
    # While it is not answered, the same facts send it back no second time.
    again = decide(PROJECT, applied(at(stage), decision), facts)
    assert (again.stage, again.returns, starts(again)) == (to, decision.returns, starts(decision))


@pytest.mark.parametrize(("stage", "facts", "cause", "to", "role", "text"), SENT_BACK)
def test_a_cap_parks_the_task_where_it_failed_and_a_retry_grants_one_more(
    stage: Stage, facts: Facts, cause: Cause, to: Stage, role: Role, text: str
) -> None:
    old = tuple(Return(cause, to, f"old{number}", 0) for number in range(3))
    capped = decide(PROJECT, at(stage, returns=old), facts)
    assert (capped.stage, codes(capped)[0], starts(capped), capped.returns) == (stage, "cap_reached", [], old)
    assert capped.waiting[0].action == "/orch retry"
    asked = replace(facts, remarks=(*facts.remarks, remark(60, BORIS, "/orch retry")))  # type: ignore[misc]  # a tuple
    granted = decide(PROJECT, at(stage, returns=old), asked)
    assert (granted.stage, len(granted.returns), len(starts(granted))) == (to, 4, 1)
    # Only one: the next failure parks again.
    other = replace(granted.returns[-1], mark="older")
    parked = decide(PROJECT, replace(applied(at(stage), granted), stage=stage, returns=(*old, other)), asked)
    assert codes(parked)[0] == "cap_reached"


def test_the_cap_in_all_counts_every_cause() -> None:
    causes = (Cause.DOCUMENT_REJECTED, Cause.REVIEW_REJECTED, Cause.TEST_FAILED, Cause.CI_RED)
    old = tuple(Return(cause, Stage.DEVELOPMENT, "x", 0) for cause in causes * 2)
    red = replace(GREEN, checks=(RED, LINT))
    assert codes(decide(PROJECT, at(Stage.CI, returns=old), red))[0] == "cap_reached"
    assert starts(decide(PROJECT, at(Stage.CI, returns=old[:7]), red))


def test_a_return_is_answered_by_a_new_head_and_a_push_of_a_human_is_as_good() -> None:
    back = Return(Cause.CI_RED, Stage.DEVELOPMENT, OLD, 1)
    assert decide(PROJECT, at(Stage.DEVELOPMENT, returns=(back,)), GREEN).stage is Stage.READY


def test_only_the_newest_return_keeps_its_feedback() -> None:
    first = decide(PROJECT, at(Stage.CI), replace(GREEN, checks=(RED, LINT)))
    task = replace(applied(TASK, first), returns=(replace(first.returns[0], mark=OLD),))
    second = decide(PROJECT, task, replace(GREEN, checks=(RED, LINT)))
    assert [bool(one.feedback) for one in second.returns] == [False, True]


def test_a_gate_that_asks_for_rework_holds_what_it_held() -> None:
    red = replace(GREEN, checks=(replace(CHECK, state=CheckState.FAILURE), LINT))
    held = {gate: [one.code for one in verdict.held] for gate, verdict in decide(PROJECT, TASK, red).verdicts}
    assert held["QG-3"] == ["changes_made", "document", "pull_request", "paths_untouched"]
    assert held["QG-4"] == ["check_green"]


def test_an_approval_after_a_rejection_stops_the_rework() -> None:
    rejected = replace(GREEN, documents=(BRD,), runs=RUNS[:1], remarks=(remark(11, BORIS, ":rejected: no"),))
    back = applied(TASK, decide(PROJECT, at(Stage.ANALYSIS), rejected))
    boris, anna = (replace(rejected, remarks=(*rejected.remarks, remark(12, who))) for who in (BORIS, ANNA))  # type: ignore[misc]
    decision = decide(PROJECT, back, boris)
    assert (decision.stage, starts(decision)) == (Stage.ARCHITECTURE, [(Role.ARCHITECT, 1)])
    assert decide(PROJECT, back, anna).stage is Stage.ANALYSIS, "nobody else takes it back"


def test_unseen_documents_do_not_answer_a_return() -> None:
    rejected = replace(GREEN, documents=(BRD,), runs=RUNS[:1], remarks=(remark(11, BORIS, ":rejected: no"),))
    back = applied(TASK, decide(PROJECT, at(Stage.ANALYSIS), rejected))
    assert codes(decide(PROJECT, back, replace(rejected, documents=DOWN))) == ["forge_unreachable"]


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.CRASHED])
@pytest.mark.parametrize("stage", [Stage.ANALYSIS, Stage.REVIEW])
def test_an_attempt_that_says_nothing_of_the_work_is_made_again_up_to_the_cap(
    stage: Stage, outcome: Outcome
) -> None:
    def after(count: int) -> Decision:
        tried = tuple(run(stage, number, outcome) for number in range(1, count + 1))
        return decide(
            PROJECT, at(stage), replace(GREEN, runs=tried, documents=DOCUMENTS if stage is Stage.REVIEW else ())
        )

    assert [attempt for _, attempt in starts(after(1))] == [2]
    assert (starts(after(3)), codes(after(3))[0]) == ([], "run_not_successful")


@pytest.mark.parametrize(
    "outcome",
    [Outcome.FAILED, Outcome.DENIED, Outcome.TIMED_OUT, Outcome.CANCELLED],
)
def test_every_other_bad_end_waits_for_a_human(outcome: Outcome) -> None:
    decision = decide(
        PROJECT, at(Stage.ANALYSIS), replace(GREEN, documents=(), runs=(run(Stage.ANALYSIS, 1, outcome),))
    )
    assert not starts(decision)
    assert dict(decision.waiting[0].params)["outcome"] == outcome
    one_more = replace(
        GREEN, documents=(), runs=(run(Stage.ANALYSIS, 1, outcome),), remarks=(remark(60, ANNA, "/orch retry"),)
    )
    granted = decide(PROJECT, at(Stage.ANALYSIS), one_more)
    assert starts(granted) == [(Role.ANALYST, 2)]
    again = replace(one_more, runs=(*one_more.runs, run(Stage.ANALYSIS, 2, outcome)))
    assert not starts(decide(PROJECT, applied(TASK, granted), again))
    by_operator = replace(one_more, remarks=())
    assert starts(decide(PROJECT, at(Stage.ANALYSIS, retry_after=1), by_operator)) == [(Role.ANALYST, 2)]


@pytest.mark.parametrize(("stage", "field"), [(Stage.ANALYSIS, "documents"), (Stage.DEVELOPMENT, "changed_paths")])
def test_a_run_that_lies_is_made_again_is_told_and_then_parked(stage: Stage, field: str) -> None:
    """F28: it said that it succeeded, and what it was to make is not there."""

    def after(count: int, outcome: Outcome = Outcome.SUCCEEDED) -> Decision:
        tried = tuple(replace(run(stage, number, outcome), reason="no_commit") for number in range(1, count + 1))
        return decide(
            PROJECT,
            at(stage),
            replace(GREEN, runs=tried, **{field: ()}, remarks=() if field == "documents" else GREEN.remarks),
        )

    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
        (again,) = after(1, outcome).actions
        assert isinstance(again, StartRun)
        assert again.attempt == 2
        assert again.feedback[0].code == "output_missing"
        assert (starts(after(3, outcome)), codes(after(3, outcome))[0]) == ([], "output_missing")


@pytest.mark.parametrize(("stage", "role"), [(Stage.REVIEW, Role.REVIEWER), (Stage.TESTING, Role.TESTER)])
def test_a_missing_verdict_is_asked_for_again_of_the_same_role_and_then_parked(stage: Stage, role: Role) -> None:
    """F32: never the developer's fault."""
    for word in (None, VerdictWord.PASSED if stage is Stage.REVIEW else VerdictWord.APPROVED):
        for count in (1, 2, 3):
            silent = tuple(run(stage, number, word=word) for number in range(1, count + 1))
            decision = decide(PROJECT, at(stage), replace(GREEN, runs=(*without(stage), *silent)))
            assert decision.returns == ()
            assert starts(decision) == ([(role, count + 1)] if count < 3 else [])
        assert codes(decision)[0] == "output_missing"


@pytest.mark.parametrize(("stage", "role"), [(Stage.REVIEW, Role.REVIEWER), (Stage.TESTING, Role.TESTER)])
def test_a_run_that_the_runtime_failed_for_its_missing_verdict_is_made_again_too(stage: Stage, role: Role) -> None:
    for count in (1, 2, 3):
        silent = tuple(
            replace(run(stage, number, Outcome.FAILED), reason="no_verdict") for number in range(1, count + 1)
        )
        decision = decide(PROJECT, at(stage), replace(GREEN, runs=(*without(stage), *silent)))
        assert starts(decision) == ([(role, count + 1)] if count < 3 else [])
    assert codes(decision)[0] == "output_missing"


@pytest.mark.parametrize(("stage", "role"), [(Stage.REVIEW, Role.REVIEWER), (Stage.TESTING, Role.TESTER)])
def test_a_verdict_on_an_old_head_is_asked_for_anew(stage: Stage, role: Role) -> None:
    old = tuple(replace(one, base=OLD) if one.stage is stage else one for one in RUNS)
    reviews = (approval_of(OLD),) if stage is Stage.REVIEW else GREEN.reviews
    decision = decide(PROJECT, TASK, replace(GREEN, runs=old, reviews=reviews))
    assert (decision.stage, starts(decision)) == (stage, [(role, 2)])


@pytest.mark.parametrize("outcome", [None])
@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.CREATED, Stage.DONE}))
def test_while_a_run_is_open_nothing_else_happens(stage: Stage, outcome: None) -> None:
    decision = decide(PROJECT, at(stage), replace(GREEN, runs=(run(Stage.REVIEW, 1, outcome),), documents=()))
    assert (decision.stage, decision.actions, codes(decision)) == (stage, (), ["run_running"])


# Switches


def said(*lines: str, facts: Facts = GREEN, task: Task = TASK, person: Any = ANNA) -> Decision:
    remarks = (*facts.remarks, remark(60, person, *lines))  # type: ignore[misc]  # a tuple in these tests
    return decide(PROJECT, task, replace(facts, remarks=remarks))


START_DUE = [facts for _, facts, _, start, _ in STEPS if start] + [facts for _, facts, *_ in SENT_BACK]


@pytest.mark.parametrize("facts", START_DUE)
@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.CREATED, Stage.DONE}))
def test_after_pause_nothing_starts_on_any_path_until_resume(stage: Stage, facts: Facts) -> None:
    """F31."""
    for line in ("/orch pause", "/orch cancel"):
        stopped = said(line, facts=facts, task=at(stage))
        assert starts(stopped) == []
        assert codes(stopped)[0] in {"paused", "cancelled"}
        kept = applied(at(stage), stopped)
        assert starts(decide(PROJECT, kept, facts)) == []
        assert starts(said("/orch retry", facts=facts, task=kept)) == []
        resumed = replace(
            facts, remarks=(*facts.remarks, remark(60, ANNA, line), remark(61, BORIS, "/orch resume"))
        )  # type: ignore[misc]
        assert len(starts(decide(PROJECT, kept, resumed))) == 1


def test_cancel_and_a_vanished_item_stop_what_is_at_work() -> None:
    at_work = replace(GREEN, runs=(run(Stage.TESTING, 2, None),))
    assert said("/orch cancel", facts=at_work).actions == (StopRun(Stage.TESTING, 2),)
    for item, code in ((Absent(), "item_gone"), (replace(ITEM, is_archived=True), "item_is_archived")):
        decision = decide(PROJECT, TASK, replace(at_work, item=item))
        assert (decision.actions, codes(decision)) == ((StopRun(Stage.TESTING, 2),), [code, "run_running"])
        assert decide(PROJECT, TASK, replace(GREEN, item=item)).actions == ()


@pytest.mark.parametrize("person", [STRANGER, OURSELF])
def test_commands_of_others_do_nothing(person: Any) -> None:
    assert said("/orch pause", "/orch what", person=person).switches == replace(said("text").switches)
    assert replies(said("/orch what", ":approved:", person=person)) == []


def test_an_edited_command_does_nothing_and_each_is_carried_out_once() -> None:
    edited = (*GREEN.remarks, remark(60, ANNA, "/orch pause", is_untouched=False))  # type: ignore[misc]
    assert not decide(PROJECT, TASK, replace(GREEN, remarks=edited)).switches.is_paused
    once = said("/orch why")
    assert [code for _, code, _ in replies(once)] == ["why"]
    assert replies(said("/orch why", task=applied(TASK, once))) == []


def test_questions_are_answered_with_what_the_task_waits_for() -> None:
    (why,) = [one for one in said("/orch why").actions if isinstance(one, Reply)]
    assert (dict(why.item.params)["stage"], [item.code for item in why.about]) == ("ready", ["merge"])
    (status,) = [one for one in said("/orch STATUS").actions if isinstance(one, Reply)]
    assert len(status.about) == 1


def test_unknown_commands_are_answered_with_the_list() -> None:
    (reply,) = [one for one in said("/orch explode").actions if isinstance(one, Reply)]
    assert "/orch pause" in dict(reply.item.params)["commands"]


def test_a_budget_is_noted() -> None:
    assert said("/orch budget 25").switches.budget_usd == 25


def test_allowed_paths_are_bound_to_the_full_head() -> None:
    """F18."""
    touched = replace(GREEN, changed_paths=("a.py", ".gitea/ci.yml"), runs=RUNS)
    assert codes(decide(PROJECT, TASK, touched)) == ["protected_paths"]
    for name in (HEAD, HEAD[:7]):
        allowed = said(f"/orch allow-paths {name}", facts=touched)
        assert (allowed.stage, allowed.switches.allowed) == (Stage.READY, (HEAD,))
        assert said(f"/orch allow-paths {name}", facts=touched, task=applied(TASK, allowed)).switches.allowed == (
            HEAD,
        )
    moved = replace(touched, branch=Branch("x", OLD), pull=replace(PULL, head=OLD))
    assert codes(decide(PROJECT, applied(TASK, allowed), moved)) == ["protected_paths"]
    wrong = said(f"/orch allow-paths {OLD[:8]}", facts=touched)
    assert (wrong.switches.allowed, replies(wrong)[0][1]) == ((), "not_the_head")
    early = said(f"/orch allow-paths {OLD}", facts=touched)
    assert (early.stage, early.switches.allowed) == (Stage.DEVELOPMENT, (OLD,))
    unseen = said(f"/orch allow-paths {HEAD[:7]}", facts=replace(touched, branch=DOWN))
    assert replies(unseen)[0][1] == "head_unseen"


def test_the_allowed_heads_are_bounded() -> None:
    full = at(Stage.READY, switches=Switches(allowed=tuple(f"{number:040x}" for number in range(20))))
    assert len(said(f"/orch allow-paths {HEAD}", task=full).switches.allowed) == 20


# Late approvals


LATE = [
    (Stage.READY, GREEN, remark(60), "nothing_asked"),
    (Stage.ANALYSIS, replace(GREEN, documents=(), remarks=()), remark(60), "document_missing"),
    (
        Stage.ANALYSIS,
        replace(GREEN, documents=(replace(BRD, seen=70),), remarks=()),
        remark(60),
        "document_is_newer",
    ),
    (Stage.ANALYSIS, replace(GREEN, documents=(BRD,), remarks=()), remark(60, ANNA, is_untouched=False), "edited"),
    (
        Stage.ANALYSIS,
        replace(GREEN, documents=(BRD,), remarks=(remark(11, BORIS, ":rejected: no"), remark(12))),
        remark(60),
        "same_person",
    ),
]


@pytest.mark.parametrize(("stage", "facts", "late", "why"), LATE)
def test_an_approval_that_opens_nothing_is_answered_once(stage: Stage, facts: Facts, late: Any, why: str) -> None:
    """F37."""
    heard = replace(facts, remarks=(*facts.remarks, late))  # type: ignore[misc]
    task = NEW if stage is Stage.ANALYSIS else at(stage)
    decision = decide(PROJECT, task, heard)
    assert replies(decision) == [("k60", "approval_not_counted", why)]
    assert replies(decide(PROJECT, applied(task, decision), heard)) == []


HALTED = [
    (at(Stage.READY), replace(GREEN, pull=replace(PULL, is_open=False))),
    (at(Stage.READY), replace(GREEN, branch=Absent(), pull=Absent())),
    (at(Stage.READY, switches=replace(ASKED, is_cancelled=True)), GREEN),
    (at(Stage.READY), replace(GREEN, item=replace(ITEM, is_archived=True))),
]


@pytest.mark.parametrize(("task", "facts"), HALTED)
def test_an_approval_of_what_stands_still_is_answered_once_too(task: Task, facts: Facts) -> None:
    """F37."""
    heard = replace(facts, remarks=(*facts.remarks, remark(60)))  # type: ignore[misc]
    decision = decide(PROJECT, task, heard)
    assert (decision.stage, replies(decision)) == (task.stage, [("k60", "approval_not_counted", "nothing_asked")])
    assert replies(decide(PROJECT, applied(task, decision), heard)) == []


def test_an_approval_that_counts_when_the_task_goes_on_is_not_answered_meanwhile() -> None:
    facts = replace(GREEN, documents=(BRD,), remarks=(remark(60),))
    halted = decide(PROJECT, at(Stage.ANALYSIS, switches=Switches(is_cancelled=True)), facts)
    assert (replies(halted), codes(halted)) == ([], ["cancelled"])
    assert decide(PROJECT, NEW, facts).stage is Stage.ARCHITECTURE


def test_an_approval_that_counts_is_not_answered_nor_one_of_two() -> None:
    two = replace(PROJECT, gates=replace(PROJECT.gates, approvals=2))
    decision = decide(two, at(Stage.ANALYSIS), replace(GREEN, documents=(BRD,), remarks=(remark(11),)))
    assert (replies(decision), codes(decision)[0]) == ([], "approval")


def test_an_approval_during_a_run_is_answered_after_it() -> None:
    working = replace(
        GREEN, documents=NOT_NEEDED, runs=(run(Stage.ARCHITECTURE, 1, None),), remarks=(remark(11), remark(15))
    )
    during = decide(PROJECT, at(Stage.ARCHITECTURE), working)
    assert replies(during) == []
    after = decide(PROJECT, applied(TASK, during), replace(GREEN, remarks=(remark(11), remark(15))))
    assert replies(after) == [("k15", "approval_not_counted", "document_is_newer")]
    assert (after.stage, codes(after)[0]) == (Stage.ARCHITECTURE, "approval")


LATE_REJECTIONS = [
    (replace(GREEN, documents=()), remark(60, ANNA, ":rejected: no"), "document_missing"),
    (replace(GREEN, documents=(replace(BRD, seen=70),)), remark(60, ANNA, ":rejected: no"), "document_is_newer"),
    (replace(GREEN, documents=(replace(BRD, seen=60),)), remark(60, ANNA, ":rejected: no"), "document_is_newer"),
    (replace(GREEN, documents=(BRD,)), remark(60, ANNA, ":rejected: no", is_untouched=False), "edited"),
]


@pytest.mark.parametrize(("facts", "late", "why"), LATE_REJECTIONS)
def test_a_rejection_that_sends_nothing_back_is_answered_once(facts: Facts, late: Any, why: str) -> None:
    """F37."""
    heard = replace(facts, remarks=(late,))
    decision = decide(PROJECT, at(Stage.ANALYSIS), heard)
    assert (decision.returns, replies(decision)) == ((), [("k60", "rejection_not_counted", why)])
    assert replies(decide(PROJECT, applied(at(Stage.ANALYSIS), decision), heard)) == []
    strange = replace(heard, remarks=(replace(late, person=STRANGER),))
    assert replies(decide(PROJECT, at(Stage.ANALYSIS), strange)) == []


@pytest.mark.parametrize(
    "said",
    [
        (remark(11), remark(60, ANNA, ":rejected: no")),
        (remark(60, BORIS, ":rejected: no"), remark(61, ANNA, ":rejected: no, no")),
        (remark(60, ANNA, ":rejected: no"), remark(61)),
        (remark(60, BORIS, ":rejected: no"), remark(61)),
    ],
    ids=["it counts", "a newer one counts", "its author approves now", "somebody else approves"],
)
def test_a_rejection_of_documents_that_were_there_is_not_answered(said: Any) -> None:
    decision = decide(PROJECT, NEW, replace(GREEN, documents=(BRD,), remarks=said))
    assert replies(decision) == []


@pytest.mark.parametrize("line", ["/orch pause", "/orch cancel", "/orch resume", "/orch status", "/orch paws"])
def test_an_order_in_an_edited_comment_is_answered_once_and_not_carried_out(line: str) -> None:
    """F37."""
    heard = replace(GREEN, remarks=(*GREEN.remarks, remark(60, ANNA, line, is_untouched=False)))  # type: ignore[misc]  # it is a tuple
    decision = decide(PROJECT, TASK, heard)
    assert (decision.stage, decision.switches.is_paused, decision.switches.is_cancelled) == (
        TASK.stage,
        False,
        False,
    )
    assert replies(decision) == [("k60", "command_not_counted", "edited")]
    assert replies(decide(PROJECT, applied(TASK, decision), heard)) == []


def test_one_edited_comment_with_an_order_and_a_vote_gets_one_answer() -> None:
    both = remark(60, ANNA, "/orch pause", ":approved:", is_untouched=False)
    decision = decide(PROJECT, TASK, replace(GREEN, remarks=(*GREEN.remarks, both)))  # type: ignore[misc]  # as above
    assert replies(decision) == [("k60", "approval_not_counted", "edited")]


# Answers are bounded


def asking(count: int, *lines: str) -> Facts:
    """So many comments of one approver, each asking something."""
    asked = tuple(remark(60 + number, ANNA, *(lines or ("/orch status",))) for number in range(count))
    return replace(GREEN, remarks=(*GREEN.remarks, *asked))  # type: ignore[misc]  # as above


@pytest.mark.parametrize("lines", [("/orch status",), ("/orch paws",), (":approved:",), ("/orch why", "/orch x")])
def test_so_many_comments_are_answered_then_one_answer_says_so_then_none(lines: tuple[str, ...]) -> None:
    """F1 and F35: a program that answers each of our answers ends."""
    task, told = TASK, list[str]()
    for count in range(1, MAX_ANSWERS + 10):
        decision = decide(PROJECT, task, asking(count, *lines))
        told += dict.fromkeys(one.comment for one in decision.actions if isinstance(one, Reply))
        assert ("answers_spent" in codes(decision)) == (count > MAX_ANSWERS)
        task = applied(task, decision)
    assert told == [f"k{60 + number}" for number in range(MAX_ANSWERS + 1)]


def test_at_once_or_one_by_one_the_answers_are_as_many_and_the_last_says_that_it_is() -> None:
    decision = decide(PROJECT, TASK, asking(MAX_ANSWERS + 5))
    assert [code for _, code, _ in replies(decision)] == ["status"] * MAX_ANSWERS + ["no_more_answers"]
    assert codes(decision) == ["merge", "answers_spent"]
    assert decision.switches.answered == MAX_ANSWERS + 1, "so that further ones change nothing"
    just = decide(PROJECT, TASK, asking(MAX_ANSWERS))
    assert [code for _, code, _ in replies(just)] == ["status"] * MAX_ANSWERS
    assert codes(just) == ["merge"]


def test_what_is_not_answered_any_more_is_carried_out_all_the_same() -> None:
    spent = replace(TASK, switches=replace(ASKED, answered=MAX_ANSWERS + 1))
    decision = decide(PROJECT, spent, asking(1, "/orch budget 7", "/orch pause"))
    assert (decision.switches.budget_usd, decision.switches.is_paused, replies(decision)) == (7, True, [])
    assert codes(decision) == ["merge", "answers_spent"]
    merged = replace(GREEN, pull=replace(PULL, is_open=False, is_merged=True))
    assert codes(decide(PROJECT, spent, merged)) == []


# Merged while an agent works


@pytest.mark.parametrize("stage", [Stage.DEVELOPMENT, Stage.REVIEW, Stage.TESTING])
def test_a_merge_stops_the_agent_that_is_at_work_and_then_the_task_is_done(stage: Stage) -> None:
    merged = replace(GREEN, pull=replace(PULL, is_open=False, is_merged=True))
    working = replace(merged, runs=(*without(stage), run(stage, 2, None)))
    during = decide(PROJECT, at(stage), working)
    assert (during.stage, during.actions, codes(during)) == (stage, (StopRun(stage, 2),), ["run_running"])
    assert decide(PROJECT, applied(at(stage), during), merged).stage is Stage.DONE
    open_still = decide(PROJECT, at(stage), replace(working, pull=PULL))
    assert (open_still.actions, codes(open_still)) == ((), ["run_running"])


# What goes out


def published(decision: Decision) -> list[Any]:
    return [one for one in decision.actions if isinstance(one, PublishReview | PublishReport)]


def test_the_reviewers_verdict_goes_out_as_a_review_at_the_commit_it_looked_at() -> None:
    (review,) = published(
        decide(PROJECT, at(Stage.REVIEW), replace(GREEN, reviews=(), runs=without(Stage.TESTING)))
    )
    assert review == PublishReview(REPO, 7, HEAD, 1, ReviewState.APPROVED, "A report.")


def test_a_review_that_is_there_is_not_published_again_though_it_was_dismissed() -> None:
    for there in (approval_of(), replace(approval_of(), is_dismissed=True), approval_of(login="Rev-Agent")):
        facts = replace(GREEN, reviews=(there,), runs=without(Stage.TESTING))
        assert not any(
            isinstance(one, PublishReview) for one in published(decide(PROJECT, at(Stage.REVIEW), facts))
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"us": replace(US, reviewer="")},
        {"us": replace(US, reviewer="dev-agent")},
        {"us": replace(US, reviewer="Orchestrator")},
        {"pull": replace(PULL, author="rev-agent")},
    ],
)
def test_with_one_user_the_verdict_is_a_comment_and_a_human_is_asked(changes: Any) -> None:
    """F14 and F15: nobody approves their own pull request, and it is not even tried."""
    facts = replace(GREEN, runs=without(Stage.TESTING), reviews=(), **changes)
    decision = decide(PROJECT, at(Stage.REVIEW), facts)
    assert [one.as_comment for one in published(decision)] == [True]
    assert codes(decision) == ["human_review_no_reviewer_user"]
    assert (
        decide(PROJECT, at(Stage.REVIEW), replace(facts, reviews=(approval_of(login="vera"),))).stage
        is Stage.TESTING
    )


def test_a_rejecting_verdict_goes_out_with_the_return() -> None:
    rejecting = (*without(Stage.REVIEW), run(Stage.REVIEW, word=VerdictWord.CHANGES_REQUESTED))
    decision = decide(PROJECT, at(Stage.REVIEW), replace(GREEN, reviews=(), runs=rejecting))
    assert [one.verdict for one in published(decision)] == [ReviewState.CHANGES_REQUESTED]
    assert [gate for gate, _ in decision.verdicts] == ["QG-1", "QG-2", "QG-3", "QG-4", "QG-5"]


@pytest.mark.parametrize("word", [VerdictWord.PASSED, VerdictWord.FAILED])
def test_the_testers_report_goes_out(word: VerdictWord) -> None:
    facts = replace(GREEN, runs=(*without(Stage.TESTING), run(Stage.TESTING, word=word)))
    assert published(decide(PROJECT, at(Stage.TESTING), facts)) == [
        PublishReport(REPO, 7, HEAD, 1, word, "A report.")
    ]


def test_by_policy_of_people_no_reviewer_works() -> None:
    human = replace(PROJECT, gates=replace(PROJECT.gates, review=ReviewPolicy.HUMAN))
    decision = decide(human, at(Stage.REVIEW), replace(GREEN, reviews=(), runs=RUNS[:3]))
    assert (codes(decision), decision.actions) == (["human_review"], ())


# Posted tasks


POSTED = at(Stage.CREATED, plane_id=None, project=None, role=Role.REVIEWER)


def test_a_posted_task_starts_its_own_role_and_is_done_after_one_success() -> None:
    facts = Facts(Absent(), BRANCH)
    started = decide(None, POSTED, facts)
    assert started.actions == (StartRun(Role.REVIEWER, Stage.REVIEW, 1, HEAD),)
    at_review = replace(POSTED, stage=Stage.REVIEW)
    assert decide(None, at_review, replace(facts, runs=(run(Stage.REVIEW),))).stage is Stage.DONE
    assert codes(decide(None, at_review, replace(facts, runs=(run(Stage.REVIEW, 1, None),)))) == ["run_running"]
    crashed = replace(facts, runs=(run(Stage.REVIEW, 1, Outcome.CRASHED),))
    assert starts(decide(None, at_review, crashed)) == [(Role.REVIEWER, 2)]
    failed = replace(facts, runs=(run(Stage.REVIEW, 1, Outcome.FAILED),))
    assert codes(decide(None, at_review, failed)) == ["run_not_successful"]
    assert starts(decide(None, replace(at_review, retry_after=1), failed)) == [(Role.REVIEWER, 2)]
    for branch, code in ((Absent(), "branch_gone"), (DOWN, "forge_unreachable")):
        assert codes(decide(None, at_review, replace(facts, branch=branch))) == [code]
    assert codes(decide(None, replace(at_review, switches=Switches(is_paused=True)), facts)) == ["paused"]
    assert codes(decide(None, replace(POSTED, stage=Stage.CI), facts)) == ["stage_not_automated"]


def test_the_attempts_that_a_cap_counts_are_those_of_the_round_or_all_of_a_posted_task() -> None:
    runs = tuple(run(Stage.DEVELOPMENT, number, base=HEAD if number > 1 else OLD) for number in (1, 2, 3))
    reviews = tuple(run(Stage.REVIEW, number, base=HEAD if number > 1 else OLD) for number in (1, 2, 3))
    facts = replace(GREEN, runs=(*runs, *reviews))
    sent_back = (Return(Cause.CI_RED, Stage.DEVELOPMENT, HEAD, 2),)
    assert attempts_of_round(TASK, facts, step_of_stage(Stage.DEVELOPMENT)) == 3
    assert attempts_of_round(replace(TASK, returns=sent_back), facts, step_of_stage(Stage.DEVELOPMENT)) == 1
    assert attempts_of_round(TASK, facts, step_of_stage(Stage.REVIEW)) == 2
    assert attempts_of_round(TASK, replace(facts, branch=Absent()), step_of_stage(Stage.REVIEW)) == 0
    posted = replace(TASK, role=Role.REVIEWER)
    assert attempts_of_round(posted, facts, step_of_stage(Stage.REVIEW)) == 3


# What people are asked about


def test_the_question_about_the_architecture_stands_while_the_brd_is_approved() -> None:
    asked = decide(PROJECT, at(Stage.ARCHITECTURE, switches=Switches()), replace(GREEN, remarks=(remark(11),)))
    assert replace(asked.switches, of_brd=(), commands_up_to=0, approvals_up_to=0) == ASKED
    late = replace(GREEN, remarks=(remark(11), remark(25, BORIS, "/orch why")))
    assert decide(PROJECT, at(Stage.ARCHITECTURE, switches=Switches()), late).switches.design_asked_after == 25
    edited = replace(GREEN, documents=(replace(BRD, blob="b2", seen=50), *DOCUMENTS[1:]))
    reopened = decide(PROJECT, TASK, edited)
    assert (reopened.switches.design_asked, reopened.switches.design_open_after) == (ASKED.design_asked, 0)
    approved = replace(edited, remarks=(remark(11), remark(21), remark(60), remark(61, BORIS)))
    again = decide(PROJECT, applied(TASK, reopened), approved)
    open_again = (again.switches.design_asked_after, again.switches.design_open_after)
    assert (again.stage, open_again, again.switches.of_design) == (Stage.READY, (20, 61), ("k21",))
    unseen = replace(GREEN, remarks=DOWN, documents=DOWN)
    assert decide(PROJECT, TASK, unseen).switches == ASKED, "not to be able to look takes nothing back"
    unknown = replace(GREEN, documents=DOWN)
    assert decide(PROJECT, TASK, unknown).switches.design_asked == ASKED.design_asked
    gone = replace(GREEN, documents=(BRD, REPORT))
    assert decide(PROJECT, TASK, gone).switches.design_open_after == 0


def test_a_word_on_the_brd_that_comes_too_late_is_told_that_it_is_about_that() -> None:
    facts = replace(GREEN, remarks=(remark(11), remark(60, BORIS)))
    decision = decide(PROJECT, at(Stage.ARCHITECTURE, switches=Switches()), facts)
    assert replies(decision) == [("k60", "approval_not_counted", "not_for_this_gate")]
    twice = replace(GREEN, remarks=(remark(11), remark(21), remark(22)), documents=DOCUMENTS[:3])
    two = replace(PROJECT, gates=replace(PROJECT.gates, approvals=2))
    asked = decide(
        two, at(Stage.ARCHITECTURE), replace(twice, remarks=(remark(11), remark(12, BORIS), *twice.remarks[1:]))
    )  # type: ignore[index]
    assert replies(asked) == [("k22", "approval_not_counted", "same_person")]


# What is refused


REFUSED = Unwritten("PullReview", "gitea_unexpected: Gitea answered 404")
NOT_WRITTEN = Item(
    "not_written",
    (("what", "PullReview"), ("detail", "gitea_unexpected: Gitea answered 404")),
    who="operator",
    action="orch doctor",
)


def test_what_is_refused_is_told_before_what_we_would_do_and_behind_what_others_can_do() -> None:
    """F30."""
    facts = replace(GREEN, unwritten=(REFUSED,))
    assert decide(PROJECT, TASK, facts).waiting[-1] == NOT_WRITTEN
    assert codes(decide(PROJECT, TASK, facts)) == ["merge", "not_written"]
    unpublished = replace(facts, reviews=())
    assert codes(decide(PROJECT, at(Stage.REVIEW), unpublished)) == ["not_written", "reviewer_approval"]
    merged = replace(facts, pull=replace(PULL, is_open=False, is_merged=True))
    assert codes(decide(PROJECT, TASK, merged)) == []


DESIGN_ONLY = replace(
    GREEN, documents=DOCUMENTS[:3], pull=Absent(), reviews=(), checks=(), changed_paths=(), runs=RUNS[:2]
)
REWRITTEN = (BRD, replace(ARCHITECTURE, blob="c2", seen=50), replace(DEV_TASK, blob="d2", seen=50))
NO, NOT_ME = remark(30, ANNA, ":rejected: no"), remark(40, BORIS, ":rejected: me neither")


def test_a_word_on_the_architecture_stays_one_when_that_is_rewritten_meanwhile() -> None:
    """It is about what was asked when it was said, and that is there no more: it is answered."""
    task = at(Stage.ARCHITECTURE)
    back = decide(PROJECT, task, replace(DESIGN_ONLY, remarks=(remark(11), NO)))
    assert starts(back) == [(Role.ARCHITECT, 2)]
    working = replace(DESIGN_ONLY, documents=NOT_NEEDED, remarks=(remark(11), NO, NOT_ME))
    again = run(Stage.ARCHITECTURE, 2, None)
    during = decide(PROJECT, applied(task, back), replace(working, runs=(*RUNS[:2], again)))
    ended = replace(again, state=RunState.ENDED, outcome=Outcome.SUCCEEDED)
    after = replace(working, documents=REWRITTEN, runs=(*RUNS[:2], ended))
    decision = decide(PROJECT, applied(applied(task, back), during), after)
    assert (decision.stage, starts(decision), codes(decision)[0]) == (Stage.ARCHITECTURE, [], "approval")
    assert replies(decision) == [("k40", "rejection_not_counted", "document_is_newer")]
    at_once = decide(PROJECT, task, replace(DESIGN_ONLY, documents=REWRITTEN, remarks=(remark(11), NOT_ME)))
    assert (at_once.stage, at_once.switches.of_brd, at_once.switches.of_design) == (
        Stage.ARCHITECTURE,
        ("k11",),
        ("k40",),
    )


def test_an_edited_rejection_lets_nothing_past_and_sends_nothing_back() -> None:
    """Nobody knows who edited it; what its author approved before does not stand any more."""
    edited = remark(35, ANNA, ":rejected: no, and that", is_untouched=False)
    facts = replace(DESIGN_ONLY, remarks=(remark(11), remark(21), edited))
    decision = decide(PROJECT, at(Stage.ARCHITECTURE), facts)
    assert (decision.stage, decision.returns, codes(decision)) == (Stage.ARCHITECTURE, (), ["rejection_edited"])
    assert decision.waiting[0].evidence == ("k35",)
    assert replies(decision) == [("k35", "rejection_not_counted", "edited")]
    anew = replace(facts, remarks=(*facts.remarks, remark(36)))  # type: ignore[misc]  # a tuple
    assert decide(PROJECT, at(Stage.ARCHITECTURE), anew).stage is Stage.DEVELOPMENT
    by_other = replace(facts, remarks=(*facts.remarks, remark(36, BORIS)))  # type: ignore[misc]  # as above
    assert codes(decide(PROJECT, at(Stage.ARCHITECTURE), by_other)) == ["rejection_edited"]


def test_notes_that_are_full_stay_as_they_are() -> None:
    many = (remark(11), *(remark(order) for order in range(21, 400)))
    task = at(Stage.ARCHITECTURE)
    first = applied(task, decide(PROJECT, task, replace(DESIGN_ONLY, remarks=many)))
    assert first.switches.of_design == tuple(f"k{order}" for order in range(50, 400))
    assert applied(first, decide(PROJECT, first, replace(DESIGN_ONLY, remarks=many))).switches == first.switches


def test_a_word_on_the_architecture_never_counts_for_the_brd_however_many_there_are() -> None:
    """Whoever takes a word on the BRD back does not put another gate's in its place."""
    assert MAX_NOTED >= MAX_REMARKS
    two = replace(PROJECT, gates=replace(PROJECT.gates, approvals=2))
    words = (remark(11), remark(12, BORIS), *(remark(order) for order in range(21, 21 + MAX_REMARKS - 2)))
    facts = replace(DESIGN_ONLY, runs=(), remarks=words)
    task = at(Stage.ARCHITECTURE)
    task = applied(task, decide(two, task, facts))
    for _ in range(3):
        decision = decide(two, task, replace(facts, remarks=words[1:]))
        task = applied(task, decision)
        held = [one.evidence for one in dict(decision.verdicts)["QG-1"].held if one.code == "approved"]
        assert (decision.stage, held) == (Stage.ANALYSIS, [("k12",)])


def test_while_documents_cannot_be_seen_people_are_still_asked_what_they_were_asked() -> None:
    """Whoever answers meanwhile answers that; a BRD that is not approved takes the question back."""
    task = at(Stage.ARCHITECTURE)
    unseen = decide(PROJECT, task, replace(DESIGN_ONLY, documents=DOWN)).switches
    assert unseen.design_open_after == task.switches.design_open_after > 0
    assert decide(PROJECT, task, replace(DESIGN_ONLY, remarks=())).switches.design_open_after == 0


def test_every_reason_of_a_rejection_reaches_the_agent() -> None:
    """Two people in one look; one person twice; and who approved after it took theirs back."""
    no, nor = remark(12, ANNA, ":rejected: who may see it?"), remark(13, BORIS, ":rejected: no export")
    later = remark(14, BORIS, ":rejected: and no import")
    facts = replace(GREEN, documents=(BRD,), runs=RUNS[:1])
    told = {
        (no, nor): ["no export", "who may see it?"],
        (nor, later): ["and no import", "no export"],
        (no, nor, remark(15, ANNA)): ["no export"],
        (no, replace(nor, is_untouched=False)): ["who may see it?"],
    }
    for remarks, reasons in told.items():
        actions = decide(PROJECT, at(Stage.ANALYSIS), replace(facts, remarks=remarks)).actions
        [start] = [one for one in actions if isinstance(one, StartRun)]
        assert [one.text for one in start.feedback] == reasons


def test_reasons_that_are_given_while_nothing_is_started_reach_the_agent_too() -> None:
    no, nor = remark(12, ANNA, ":rejected: who may see it?"), remark(13, BORIS, ":rejected: no export")
    facts, task = (
        replace(GREEN, documents=(BRD,), runs=RUNS[:1]),
        at(Stage.ANALYSIS, switches=Switches(is_paused=True)),
    )
    for remarks in ((no,), (no, nor)):
        task = applied(task, decide(PROJECT, task, replace(facts, remarks=remarks)))
    assert [one.cause for one in task.returns] == [Cause.DOCUMENT_REJECTED]
    [start] = decide(PROJECT, task, replace(facts, remarks=(no, nor, remark(14, ANNA, "/orch resume")))).actions
    assert isinstance(start, StartRun)
    assert [one.text for one in start.feedback] == ["no export", "who may see it?"]


def test_a_retry_helps_though_a_newer_attempt_looked_at_another_commit() -> None:
    """Attempt 1 ran out of time here, 2 looked at another commit, and then this one was pushed again."""
    early = tuple(one for one in RUNS if one.stage not in {Stage.REVIEW, Stage.TESTING})
    timed_out = run(Stage.REVIEW, 1, Outcome.TIMED_OUT, base=HEAD)
    other = run(Stage.REVIEW, 2, Outcome.SUCCEEDED, VerdictWord.APPROVED, base=OLD)
    facts = replace(GREEN, reviews=(), runs=(*early, timed_out, other))
    parked = decide(PROJECT, at(Stage.REVIEW), facts)
    assert codes(parked)[0] == "run_not_successful"
    asked = replace(facts, remarks=(*facts.remarks, remark(60, ANNA, "/orch retry")))  # type: ignore[misc]  # a tuple
    assert starts(decide(PROJECT, applied(at(Stage.REVIEW), parked), asked)) == [(Role.REVIEWER, 3)]


def test_an_approval_beyond_those_that_are_needed_is_told_that_it_was_not_needed() -> None:
    """And not that the next document is missing, which nobody should approve unread."""
    facts = replace(GREEN, documents=(BRD,), remarks=(remark(11), remark(12, BORIS)), runs=RUNS[:1])
    decision = decide(PROJECT, NEW, facts)
    assert (decision.stage, replies(decision)) == (
        Stage.ARCHITECTURE,
        [("k12", "approval_not_counted", "approved_already")],
    )
    [reply] = [one for one in decision.actions if isinstance(one, Reply)]
    assert reply.item.action == "nothing"


@pytest.mark.parametrize("login", ["vera", "agent", "ci", "orchestrator", "operator"])
def test_who_is_called_as_a_role_is_still_a_person(login: str) -> None:
    """An agent that is waited for is started; a change request of an older commit waits for its author."""
    reviews = (approval_of(HEAD, ident=1), rejection_of(OLD, login, 2))
    decision = decide(PROJECT, replace(TASK, stage=Stage.REVIEW), replace(GREEN, reviews=reviews))
    assert (starts(decision), codes(decision)) == ([], ["change_request"])
    assert decision.waiting[0].who == f"@{login}"
    assert who_can(decision.waiting[0], Language.RU) == Code(login)

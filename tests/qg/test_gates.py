"""Every gate by spoiling: one green basis, then each single fact broken in turn; every one closes the gate."""

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
    OLD,
    OURSELF,
    PROJECT,
    PULL,
    REPORT,
    REVIEWED,
    STRANGER,
    TASK,
    TESTED,
    US,
    approval_of,
    rejection_of,
    remark,
)
from orchestrator.domain.forge import BranchRules, CheckState, Review, ReviewState
from orchestrator.domain.model import Branch, CiPolicy, Project, ReviewPolicy, Sha, Switches, Task
from orchestrator.domain.roles import Language
from orchestrator.domain.run import Outcome, RoleVerdict, RunState, VerdictWord
from orchestrator.qg.checks import GATES
from orchestrator.qg.documents import digest_of
from orchestrator.qg.facts import NOT_NEEDED, Absent, Document, Facts, Remark, Unobserved
from orchestrator.qg.verdict import Failed, Passed, Unknown, Verdict, Waiting, items

DOWN = Unobserved("forge_unreachable", "down")
OTHERS = tuple(one for one in DOCUMENTS if one is not BRD)
HUMAN = replace(PROJECT, gates=replace(PROJECT.gates, review=ReviewPolicy.HUMAN))
BOTH = replace(PROJECT, gates=replace(PROJECT.gates, review=ReviewPolicy.BOTH))
BY_HUMAN = replace(GREEN, reviews=(approval_of(login="vera"),))
BY_BOTH = replace(GREEN, reviews=(approval_of(), approval_of(login="vera", ident=2)))


def gate(name: str, facts: Facts = GREEN, project: Project = PROJECT, task: Task = TASK) -> Verdict:
    return GATES[name](project, task, facts)


def codes(verdict: Verdict) -> list[str]:
    return [item.code for item in items(verdict)]


def gates(**changes: Any) -> Project:
    return replace(PROJECT, gates=replace(PROJECT.gates, **changes))


@pytest.mark.parametrize("name", GATES)
def test_green_facts_open_every_gate_and_say_what_it_rested_on(name: str) -> None:
    verdict = gate(name)
    assert isinstance(verdict, Passed)
    assert verdict.held


SEEN = {
    "QG-0": ("item",),
    "QG-1": ("documents", "remarks"),
    "QG-2": ("documents", "remarks"),
    "QG-3": ("documents", "changed_paths", "pull", "branch"),
    "QG-4": ("branch", "checks", "rules"),
    "QG-5": ("branch", "pull", "reviews", "rules"),
    "QG-6": ("branch", "checks", "rules"),
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in SEEN.items() for field in fields])
@pytest.mark.parametrize("unseen", [DOWN, NOT_NEEDED])
def test_what_was_not_seen_makes_a_gate_unknown(name: str, field: str, unseen: Unobserved) -> None:
    verdict = gate(name, replace(GREEN, **{field: unseen}))
    assert isinstance(verdict, Unknown)
    assert all(item.who and item.action for item in items(verdict))


def documents(*changed: Document, without: Document | None = None) -> Facts:
    kept = {one.name: one for one in (*DOCUMENTS, *changed)}
    return replace(GREEN, documents=tuple(one for one in kept.values() if not without or one.name != without.name))


SPOILED_DOCUMENTS = {
    "QG-1": [
        (documents(without=BRD), "document_missing"),
        (documents(replace(BRD, is_blank=True)), "document_blank"),
        (documents(replace(BRD, headings=BRD.headings[1:2])), "section_missing"),
        (documents(replace(BRD, headings=("Goal", "Requirements"))), "section_missing"),
        (documents(replace(BRD, headings=("Goals?", "Requirement", "Acceptance criteria"))), "section_missing"),
        (
            documents(replace(BRD, headings=("Goalkeeper", "Requirements", "Acceptance criteria"))),
            "section_missing",
        ),
        (documents(replace(BRD, seen=40)), "approval"),
        (replace(GREEN, remarks=()), "approval"),
    ],
    "QG-2": [
        (documents(without=ARCHITECTURE), "document_missing"),
        (documents(without=DEV_TASK), "document_missing"),
        (documents(replace(ARCHITECTURE, is_blank=True)), "document_blank"),
        (documents(replace(DEV_TASK, is_blank=True)), "document_blank"),
        (documents(replace(DEV_TASK, is_ready=False)), "document_not_ready"),
        (documents(replace(ARCHITECTURE, seen=40)), "approval"),
        (documents(replace(DEV_TASK, seen=40)), "approval"),
        (replace(GREEN, remarks=GREEN.remarks[:1]), "approval"),  # type: ignore[index]  # it is a tuple here
    ],
}


@pytest.mark.parametrize(
    ("name", "spoiled", "code"), [(name, *row) for name, rows in SPOILED_DOCUMENTS.items() for row in rows]
)
def test_each_spoiled_document_closes_its_gate(name: str, spoiled: Facts, code: str) -> None:
    verdict = gate(name, spoiled)
    assert isinstance(verdict, Waiting)
    assert codes(verdict)[0] == code


@pytest.mark.parametrize(
    "headings",
    [
        ("1. Цель", "2) Функциональные требования:", "3 — Критерии приёмки (AC)"),
        ("ЦЕЛИ", "Требования", "критерии приемки"),
    ],
)
def test_sections_are_named_in_the_projects_language(headings: tuple[str, ...]) -> None:
    russian = replace(PROJECT, language=Language.RU)
    assert isinstance(gate("QG-1", documents(replace(BRD, headings=headings)), russian), Passed)
    assert isinstance(gate("QG-1", GREEN, russian), Waiting)


SEEN_AT = {"QG-1": 10, "QG-2": 20}
"""What each gate's documents were seen at; the approvals of GREEN came right after."""
NEVER = {
    "our own user": lambda at: remark(at + 1, OURSELF),
    "a stranger": lambda at: remark(at + 1, STRANGER),
    "a removed member": lambda at: remark(at + 1, type(STRANGER)("u-gone")),
    "a look-alike id": lambda at: remark(at + 1, type(STRANGER)("u-аnna")),
    "an id in capitals": lambda at: remark(at + 1, type(STRANGER)("U-ANNA")),
    "nobody": lambda at: remark(at + 1, type(STRANGER)("")),
    "by edit": lambda at: remark(at + 1, ANNA, is_untouched=False),
    "in a sentence": lambda at: remark(at + 1, ANNA, "this is :approved: by me"),
    "in a quote": lambda at: remark(at + 1, ANNA, "> :approved:"),
    "in code": lambda at: remark(at + 1, ANNA, "`:approved:`"),
    "before the document": lambda at: remark(at - 1),
    "in another spelling": lambda at: remark(at + 1, ANNA, ":APPROVED:"),
    "with a rejection": lambda at: remark(at + 1, ANNA, ":approved:", ":rejected: second thoughts"),
}


@pytest.mark.parametrize("name", SEEN_AT)
@pytest.mark.parametrize("case", NEVER)
def test_an_approval_that_must_never_count_does_not(name: str, case: str) -> None:
    """S5."""
    at = SEEN_AT[name]
    others = tuple(one for one in GREEN.remarks if one.order < at)  # type: ignore[union-attr]  # a tuple here
    remarks = tuple(sorted((*others, NEVER[case](at)), key=lambda one: one.order))
    # Our own user and a stranger on the list: the list cannot make an agent's user a person.
    project = replace(PROJECT, approvers=(*PROJECT.approvers, OURSELF, type(OURSELF)("")))
    for facts in (replace(GREEN, remarks=remarks), replace(GREEN, remarks=tuple(reversed(remarks)))):
        assert not isinstance(gate(name, facts, project), Passed)


def test_the_author_of_the_work_item_may_approve_and_an_approval_may_be_among_other_lines() -> None:
    said = replace(GREEN, remarks=(remark(11, ANNA, "Fine.", ":approved:", "Thanks!"), remark(21, BORIS)))
    assert isinstance(gate("QG-1", said), Passed)
    assert isinstance(gate("QG-2", said), Passed)


UNASKED = replace(TASK, switches=Switches())
"""People were asked about nothing yet."""


def test_one_remark_never_counts_for_two_gates() -> None:
    """It is about the architecture when that was asked about before, else about the BRD."""
    facts = replace(GREEN, remarks=(remark(21),))
    for task, open_one, closed_one in ((TASK, "QG-2", "QG-1"), (UNASKED, "QG-1", "QG-2")):
        assert isinstance(gate(open_one, facts, task=task), Passed)
        assert isinstance(gate(closed_one, facts, task=task), Waiting)
    other = replace(TASK, switches=replace(ASKED, design_asked="other documents"))
    assert isinstance(gate("QG-2", facts, task=other), Waiting)
    for late in ({"design_asked_after": 21}, {"design_open_after": 21}, {"design_open_after": 0}):
        assert isinstance(gate("QG-2", facts, task=replace(TASK, switches=replace(ASKED, **late))), Waiting)


def test_what_is_said_of_named_documents_is_about_those_alone() -> None:
    """As on our own pages: whatever was asked about when it is first seen."""
    brd, design = digest_of(((BRD.name, BRD.blob),)), ASKED.design_asked
    for task in (TASK, UNASKED):
        named = (brd, "QG-1"), (design, "QG-2" if task is TASK else ""), ("older documents", "")
        for about, is_open in named:
            facts = replace(GREEN, remarks=(replace(remark(21), about=about),))
            for name in ("QG-1", "QG-2"):
                assert isinstance(gate(name, facts, task=task), Passed) == (name == is_open)


def test_two_approvals_are_two_people() -> None:
    """S8."""
    two = gates(approvals=2)
    alone = replace(GREEN, remarks=(remark(11), remark(12), remark(21), remark(22)))
    assert codes(gate("QG-1", alone, two))[0] == "approval"
    verdict = gate("QG-1", replace(GREEN, remarks=(remark(11), remark(12), remark(13, BORIS))), two)
    assert isinstance(verdict, Passed)
    assert [item.evidence for item in verdict.held if item.code == "approved"] == [("k11",), ("k13",)]


def test_too_few_approvers_is_the_operators_to_mend() -> None:
    verdict = gate("QG-1", replace(GREEN, remarks=()), replace(PROJECT, approvers=(OURSELF,)))
    assert codes(verdict) == ["too_few_approvers"]


def test_each_persons_last_word_counts_and_nobodys_may_be_a_rejection() -> None:
    """As with reviews: who rejected has to say otherwise, or the documents have to change."""

    def said(*remarks: Remark, needed: int = 1) -> Verdict:
        return gate("QG-1", replace(GREEN, remarks=remarks, documents=(BRD,)), gates(approvals=needed))

    no, yes = remark(12, BORIS, ":rejected: no"), remark(12, BORIS)
    rejected = said(remark(11), no)
    assert isinstance(rejected, Failed)
    assert items(rejected)[0].evidence == ("k12",)
    assert isinstance(said(no, remark(13)), Failed), "somebody else's newer approval takes nothing back"
    assert isinstance(said(no, remark(13, BORIS)), Passed)
    assert isinstance(said(remark(11), no, remark(13, BORIS), remark(14)), Passed)
    assert isinstance(said(remark(11), yes, needed=2), Passed)
    taken_back = remark(12, ANNA, ":rejected: I overlooked it")
    assert isinstance(said(remark(11), taken_back, remark(13, BORIS), needed=2), Failed)
    again = said(remark(11, BORIS), no, remark(13, BORIS), remark(14, BORIS), remark(15))
    assert [item.evidence for item in again.held if item.code == "approved"] == [("k13",)]


def test_a_rejection_of_the_architecture_is_none_of_the_brd() -> None:
    facts = replace(GREEN, remarks=(remark(11), remark(21, BORIS, ":rejected: no")))
    assert isinstance(gate("QG-1", facts), Passed)
    assert isinstance(gate("QG-2", facts), Failed)
    # The architecture was rewritten: the old word on it is still none on the BRD, once it was noted.
    rewritten = replace(facts, documents=(BRD, replace(ARCHITECTURE, seen=30), DEV_TASK))
    noted = replace(TASK, switches=replace(ASKED, design_open_after=0, of_design=("k21",)))
    assert isinstance(gate("QG-1", rewritten, task=noted), Passed)
    assert codes(gate("QG-2", rewritten, task=noted)) == ["approval"]
    assert isinstance(gate("QG-1", rewritten, task=UNASKED), Failed)


def test_a_rejection_of_the_architecture_stays_one_when_the_brd_changes_in_the_same_look() -> None:
    said = (remark(11), remark(21), remark(40, BORIS, ":rejected: the design is wrong"))
    facts = replace(GREEN, documents=(replace(BRD, seen=41), ARCHITECTURE, DEV_TASK), remarks=said)
    assert codes(gate("QG-1", facts))[0] == "approval"
    assert isinstance(gate("QG-2", facts), Failed)


def test_what_was_said_before_the_architecture_was_asked_about_is_none_of_it() -> None:
    """Both stages' documents lie there, and the BRD (30) came after the words on it (21, 22)."""
    renewed = replace(GREEN, documents=(replace(BRD, seen=30), ARCHITECTURE, DEV_TASK))
    stale = replace(renewed, remarks=(remark(21), remark(22, BORIS)))
    assert isinstance(gate("QG-2", stale, task=UNASKED), Waiting)
    twice = replace(stale, remarks=(*stale.remarks, remark(31), remark(32, BORIS)))
    assert isinstance(gate("QG-1", twice, task=UNASKED), Passed)
    again = gate("QG-2", twice, task=UNASKED)
    assert codes(again)[0] == "approval"
    assert {dict(item.params)["why"] for item in items(again)[1:]} == {"not_for_this_gate"}
    # What was noted for the architecture when the old BRD was approved goes on to count.
    noted = replace(TASK, switches=replace(ASKED, design_open_after=0, of_design=("k22",)))
    assert isinstance(gate("QG-2", twice, task=noted), Passed)


def test_a_rejection_first_seen_with_the_architecture_is_about_the_brd() -> None:
    facts = replace(GREEN, remarks=(remark(11), remark(20, BORIS, ":rejected: no")))
    assert items(gate("QG-1", facts, task=UNASKED))[0].evidence == ("k20",)
    # Noted once as a word on the architecture, it is not newer than what it was seen with: no word at all.
    noted = replace(TASK, switches=replace(ASKED, of_design=("k20",)))
    assert isinstance(gate("QG-1", facts, task=noted), Passed)
    assert codes(gate("QG-2", facts, task=noted)) == ["approval"]


def test_the_newest_rejection_is_the_one_that_is_told() -> None:
    twice = (remark(11, BORIS, ":rejected: one"), remark(12, ANNA, ":rejected: two"))
    assert items(gate("QG-1", replace(GREEN, remarks=twice)))[0].evidence == ("k12",)


def test_a_gate_rests_on_as_many_approvals_as_are_needed_and_the_earliest() -> None:
    several = replace(GREEN, remarks=(remark(12, BORIS), remark(11), remark(13), remark(21)))
    verdict = gate("QG-1", several)
    assert isinstance(verdict, Passed)
    assert [item.evidence for item in verdict.held if item.code == "approved"] == [("k11",)]


@pytest.mark.parametrize("person", [STRANGER, OURSELF])
def test_a_rejection_by_somebody_else_is_no_word(person: Any) -> None:
    assert isinstance(
        gate("QG-1", replace(GREEN, remarks=(remark(11), remark(12, person, ":rejected: x")))), Passed
    )


def test_what_does_not_count_is_named_with_its_reason() -> None:
    remarks = (
        remark(9),
        remark(10, STRANGER),
        remark(11, BORIS, is_untouched=False),
        remark(12),
        remark(13),
        remark(14, ANNA, "text"),
    )
    verdict = gate("QG-1", replace(GREEN, remarks=remarks), gates(approvals=2))
    reasons = [dict(item.params)["why"] for item in items(verdict)[1:]]
    assert reasons == ["same_person", "edited", "not_an_approver", "document_is_newer"]
    many = replace(GREEN, remarks=tuple(remark(number, STRANGER) for number in range(11, 40)))
    assert len(items(gate("QG-1", many))) == 6
    bound = replace(TASK, switches=replace(ASKED, of_brd=("k21",)))
    spent = gate("QG-2", replace(GREEN, remarks=(remark(11), remark(21))), task=bound)
    assert dict(items(spent)[1].params)["why"] == "not_for_this_gate"


def test_a_remark_that_counted_for_one_gate_never_counts_for_the_other_later() -> None:
    withdrawn = replace(GREEN, remarks=(remark(21),))
    bound = replace(TASK, switches=replace(ASKED, of_brd=("k11",), of_design=("k21",)))
    assert isinstance(gate("QG-1", withdrawn, task=bound), Waiting)
    assert isinstance(gate("QG-2", withdrawn, task=bound), Passed)


PULLS = [
    (Absent(), "pull_request_missing"),
    (replace(PULL, is_open=False), "pull_request_closed"),
    (replace(PULL, is_merged=True), "pull_request_closed"),
    (replace(PULL, is_draft=True), "pull_request_is_draft"),
    (replace(PULL, is_mergeable=False), "pull_request_not_mergeable"),
    (replace(PULL, base_branch="main"), "pull_request_elsewhere"),
    (replace(PULL, head_branch="other"), "pull_request_elsewhere"),
    (replace(PULL, head=OLD), "pull_request_behind"),
]
SPOILED_WORK = [
    *((replace(GREEN, pull=pull), code) for pull, code in PULLS),
    (replace(GREEN, branch=Absent()), "branch_gone"),
    (replace(GREEN, branch=Branch("x", OLD)), "pull_request_behind"),
    (replace(GREEN, changed_paths=()), "changes_missing"),
    (replace(GREEN, changed_paths=("tasks/ENDURO-1/x.py",)), "changes_missing"),
    (documents(without=REPORT), "document_missing"),
    (documents(replace(REPORT, is_blank=True)), "document_blank"),
    (replace(GREEN, changed_paths=("a.py", ".gitea/workflows/ci.yml")), "protected_paths"),
    (replace(GREEN, changed_paths=("a.py", "x/.Claude/settings.json")), "protected_paths"),
]


@pytest.mark.parametrize(("spoiled", "code"), SPOILED_WORK)
def test_each_spoiled_fact_of_the_work_closes_qg3(spoiled: Facts, code: str) -> None:
    verdict = gate("QG-3", spoiled)
    assert isinstance(verdict, Waiting)
    assert codes(verdict) == [code]
    assert all(item.who and item.action for item in items(verdict))


def test_protected_paths_pass_when_an_approver_allowed_them_for_this_very_head() -> None:
    touched = replace(GREEN, changed_paths=("a.py", ".gitea/ci.yml"))
    assert isinstance(gate("QG-3", touched, task=replace(TASK, switches=Switches(allowed=(OLD, HEAD)))), Passed)
    for other in (OLD, HEAD[:7]):
        assert codes(gate("QG-3", touched, task=replace(TASK, switches=Switches(allowed=(other,))))) == [
            "protected_paths"
        ]
    assert items(gate("QG-3", touched))[0].action == f"/orch allow-paths {HEAD}"


def with_checks(*checks: Any) -> Facts:
    return replace(GREEN, checks=checks)


SPOILED_CHECKS = [
    (with_checks(replace(LINT, context="orchestrator/gate"), CHECK), "check_missing", Waiting),
    (with_checks(CHECK), "check_missing", Waiting),
    (with_checks(LINT), "check_missing", Waiting),
    (with_checks(replace(CHECK, context="ci/test2"), LINT), "check_missing", Waiting),
    (with_checks(replace(CHECK, context="CI/test"), LINT), "check_missing", Waiting),
    *(
        (with_checks(replace(CHECK, state=state), LINT), "check_not_green", Waiting)
        for state in (CheckState.PENDING, CheckState.WARNING, CheckState.SKIPPED)
    ),
    *(
        (with_checks(CHECK, replace(LINT, state=state)), "check_red", Failed)
        for state in (CheckState.FAILURE, CheckState.ERROR)
    ),
    (
        with_checks(CHECK, LINT, replace(LINT, context="ci/lint (pull_request)", state=CheckState.FAILURE)),
        "check_red",
        Failed,
    ),
    (with_checks(CHECK, LINT, replace(CHECK, state=CheckState.PENDING)), "check_not_green", Waiting),
    (replace(GREEN, rules=BranchRules()), "no_required_contexts", Waiting),
    (replace(GREEN, rules=BranchRules(("orchestrator/gate",))), "no_required_contexts", Waiting),
]


@pytest.mark.parametrize("name", ["QG-4", "QG-6"])
@pytest.mark.parametrize(("spoiled", "code", "kind"), SPOILED_CHECKS)
def test_each_spoiled_check_closes_qg4_and_qg6(name: str, spoiled: Facts, code: str, kind: type) -> None:
    """S9 and F17."""
    verdict = gate(name, spoiled)
    assert isinstance(verdict, kind)
    assert codes(verdict) == [code]
    assert all(item.who and item.action for item in items(verdict))


def test_a_check_by_the_wrong_creator_is_neither_green_nor_red() -> None:
    pinned = gates(check_creators=("CI", "woodpecker"))
    assert isinstance(gate("QG-4", GREEN, pinned), Passed)
    for state in (CheckState.SUCCESS, CheckState.FAILURE):
        forged = with_checks(replace(CHECK, creator="mallory", state=state), LINT)
        assert codes(gate("QG-4", forged, pinned)) == ["check_of_wrong_creator"]


def test_the_projects_contexts_come_before_the_forges() -> None:
    own = gates(required_contexts=("ci/test",))
    assert isinstance(gate("QG-4", replace(with_checks(CHECK), rules=NOT_NEEDED), own), Passed)
    assert codes(gate("QG-4", with_checks(LINT), own)) == ["check_missing"]


def test_our_own_contexts_are_left_out_of_both_sides() -> None:
    everything = replace(GREEN, rules=BranchRules(("*", "orchestrator/gate")))
    pending = replace(CHECK, context="orchestrator/gate", state=CheckState.PENDING)
    assert isinstance(gate("QG-4", replace(everything, checks=(CHECK, pending))), Passed)
    assert codes(gate("QG-4", replace(everything, checks=(pending,)))) == ["check_missing"]


def test_a_project_without_ci_says_so() -> None:
    verdict = gate("QG-4", replace(GREEN, checks=(), rules=BranchRules()), gates(ci=CiPolicy.NONE))
    assert isinstance(verdict, Passed)
    assert [item.code for item in verdict.held] == ["ci_none"]


def reviews(*every: Review) -> Facts:
    return replace(GREEN, reviews=every)


A = approval_of()
SPOILED_REVIEWS = [
    (reviews(), "reviewer_approval"),
    (reviews(replace(A, commit=OLD)), "reviewer_approval"),
    (reviews(replace(A, commit="")), "reviewer_approval"),
    (reviews(replace(A, state=ReviewState.COMMENTED)), "reviewer_approval"),
    (reviews(replace(A, state=ReviewState.PENDING)), "reviewer_approval"),
    (reviews(replace(A, state=ReviewState.REQUESTED)), "reviewer_approval"),
    (reviews(replace(A, is_stale=True)), "review_stale"),
    (reviews(replace(A, is_dismissed=True)), "review_dismissed"),
    (reviews(replace(A, is_official=False)), "review_not_official"),
    (reviews(replace(A, author="vera")), "reviewer_approval"),
    (reviews(replace(A, author="")), "reviewer_approval"),
    (reviews(replace(A, is_official=False), replace(A, state=ReviewState.REQUESTED, id=2)), "review_asked_again"),
    (
        reviews(replace(A, is_official=False, id=2), replace(A, state=ReviewState.REQUESTED)),
        "review_not_official",
    ),
    (
        reviews(replace(A, is_official=False), replace(A, state=ReviewState.REQUESTED, id=2, author="vera")),
        "review_not_official",
    ),
    (reviews(A, approval_of(OLD, ident=2)), "review_superseded"),
    (reviews(A, rejection_of(OLD, ident=2)), "review_superseded"),
    (reviews(A, rejection_of(ident=2)), "change_request"),
    (reviews(A, rejection_of(login="vera", ident=2)), "change_request"),
    (reviews(A, rejection_of(OLD, "vera", 2)), "change_request"),
    (reviews(A, replace(rejection_of(login="vera", ident=2), is_official=False)), "change_request"),
    (replace(GREEN, branch=Branch("x", OLD)), "review_due"),
    (replace(GREEN, branch=Absent()), "branch_gone"),
    (replace(GREEN, pull=Absent()), "pull_request_missing"),
    (replace(GREEN, pull=replace(PULL, author="rev-agent")), "human_review_no_reviewer_user"),
    (replace(GREEN, pull=replace(PULL, author="Rev-Agent")), "human_review_no_reviewer_user"),
    (replace(GREEN, us=replace(US, developer="rev-agent")), "human_review_no_reviewer_user"),
    (replace(GREEN, us=replace(US, orchestrator="Rev-Agent")), "human_review_no_reviewer_user"),
    (replace(GREEN, us=replace(US, reviewer=""), reviews=()), "human_review_no_reviewer_user"),
    (replace(GREEN, runs=()), "review_due"),
    (replace(GREEN, runs=(replace(REVIEWED, base=OLD),)), "review_due"),
    (replace(GREEN, runs=(replace(REVIEWED, verdict=None),)), "review_due"),
    (replace(GREEN, runs=(replace(REVIEWED, state=RunState.RUNNING),)), "review_due"),
    (replace(GREEN, runs=(replace(REVIEWED, outcome=Outcome.CRASHED),)), "review_due"),
    (replace(GREEN, runs=(replace(REVIEWED, verdict=RoleVerdict(VerdictWord.PASSED, "")),)), "review_due"),
    (
        replace(GREEN, runs=(replace(REVIEWED, verdict=RoleVerdict(VerdictWord.CHANGES_REQUESTED, "")),)),
        "reviewer_requests_changes",
    ),
]


@pytest.mark.parametrize(("spoiled", "code"), SPOILED_REVIEWS)
def test_each_spoiled_review_closes_qg5(spoiled: Facts, code: str) -> None:
    """S9, F14 and F16."""
    verdict = gate("QG-5", spoiled)
    assert not isinstance(verdict, Passed)
    assert code in codes(verdict)
    assert all(item.who and item.action for item in items(verdict))


SPOILED_HUMANS = [
    (reviews(), "human_review"),
    *(
        (reviews(approval_of(login=login)), "human_review")
        for login in ("rev-agent", "dev-agent", "orchestrator", "Orchestrator", "", "Ghost")
    ),
    *(
        (reviews(approval_of(login=login)), "human_review")
        for login in ("gitea-actions", "forgejo-actions", "Renovate[Bot]")
    ),
    (replace(BY_HUMAN, pull=replace(PULL, author="Vera")), "human_review"),
    (reviews(approval_of(OLD, "vera")), "human_review"),
    (reviews(replace(approval_of(login="vera"), is_stale=True)), "human_review"),
    (reviews(replace(approval_of(login="vera"), is_dismissed=True)), "human_review"),
    (reviews(replace(approval_of(login="vera"), is_official=False)), "human_review"),
    (reviews(approval_of(login="vera"), rejection_of(login="vera", ident=2)), "change_request"),
    (reviews(approval_of(login="vera"), rejection_of(OLD, "rev-agent", 2)), "change_request"),
    (replace(BY_HUMAN, rules=replace(BranchRules(), required_approvals=2)), "human_review"),
]


@pytest.mark.parametrize(("spoiled", "code"), SPOILED_HUMANS)
def test_each_spoiled_human_review_closes_qg5(spoiled: Facts, code: str) -> None:
    assert code in codes(gate("QG-5", spoiled, HUMAN))


def test_what_the_branch_demands_beyond_the_agents_approval_people_give() -> None:
    """Else it would be called ready to merge, and the forge would refuse."""
    demanding = replace(GREEN, rules=replace(BranchRules(), required_approvals=2))
    (missing,) = items(gate("QG-5", demanding))
    assert (missing.code, dict(missing.params)["have"], dict(missing.params)["needed"]) == (
        "human_review",
        "0",
        "1",
    )
    both = replace(demanding, reviews=BY_BOTH.reviews)
    verdict = gate("QG-5", both)
    assert isinstance(verdict, Passed)
    assert [dict(one.params)["login"] for one in verdict.held if one.code == "review_approved"] == [
        "rev-agent",
        "vera",
    ]
    one = gate("QG-5", replace(both, rules=replace(BranchRules(), required_approvals=1)))
    assert isinstance(one, Passed)
    assert [dict(item.params)["login"] for item in one.held if item.code == "review_approved"] == ["rev-agent"]
    assert codes(gate("QG-5", replace(demanding, reviews=BY_HUMAN.reviews))) == ["reviewer_approval"]


def test_a_pattern_fits_what_is_no_longer_than_its_beginning() -> None:
    checks = with_checks(CHECK, replace(LINT, context="ci/lint"))
    assert isinstance(gate("QG-4", checks), Passed)


def test_by_policy_people_the_agent_or_both_are_asked() -> None:
    assert isinstance(gate("QG-5", BY_HUMAN, HUMAN), Passed)
    assert isinstance(gate("QG-5", BY_BOTH, BOTH), Passed)
    assert codes(gate("QG-5", GREEN, BOTH)) == ["human_review"]
    assert codes(gate("QG-5", BY_HUMAN, BOTH)) == ["reviewer_approval"]
    assert codes(gate("QG-5", BY_HUMAN)) == ["reviewer_approval"]
    assert codes(gate("QG-5", BY_HUMAN, replace(HUMAN, gates=replace(HUMAN.gates, approvals=2)))) == [
        "human_review"
    ]


def test_without_a_reviewer_of_its_own_a_human_approves_beside_the_agents_verdict() -> None:
    alone = replace(BY_HUMAN, us=replace(US, reviewer=""))
    assert isinstance(gate("QG-5", alone), Passed)
    assert codes(gate("QG-5", replace(alone, runs=()))) == ["review_due"]


@pytest.mark.parametrize(
    "standing",
    [
        (rejection_of(), approval_of(ident=2)),
        (rejection_of(login="vera"), approval_of(login="Vera", ident=2), approval_of(ident=3)),
        (replace(rejection_of(login="vera"), is_dismissed=True), approval_of(ident=2)),
        (approval_of(ident=9), rejection_of(ident=3)),
        (approval_of(), replace(A, id=2, state=ReviewState.COMMENTED)),
    ],
)
def test_the_newest_word_of_each_person_counts_and_a_dismissed_one_is_none(standing: tuple[Review, ...]) -> None:
    assert isinstance(gate("QG-5", reviews(*standing)), Passed)


def test_a_change_request_on_the_head_sends_back_and_an_older_one_waits_for_its_author() -> None:
    assert isinstance(gate("QG-5", reviews(A, rejection_of(login="vera", ident=2))), Failed)
    waiting = gate("QG-5", reviews(A, rejection_of(OLD, "vera", 2)))
    assert isinstance(waiting, Waiting)
    assert items(waiting)[0].who == "@vera"
    ghost = gate("QG-5", reviews(A, rejection_of(OLD, "", 2)))
    assert items(ghost)[0].who == "maintainer"


SPOILED_TESTS = [
    (replace(GREEN, runs=()), "test_due"),
    (replace(GREEN, runs=(replace(TESTED, base=OLD),)), "test_due"),
    (replace(GREEN, branch=Branch("x", OLD)), "test_due"),
    (replace(GREEN, branch=Absent()), "branch_gone"),
    (replace(GREEN, runs=(replace(TESTED, verdict=None),)), "test_due"),
    (replace(GREEN, runs=(replace(TESTED, outcome=Outcome.FAILED),)), "test_due"),
    (replace(GREEN, runs=(replace(TESTED, state=RunState.RUNNING),)), "test_due"),
    (replace(GREEN, runs=(replace(TESTED, verdict=RoleVerdict(VerdictWord.APPROVED, "")),)), "test_due"),
    (replace(GREEN, runs=(replace(TESTED, verdict=RoleVerdict(VerdictWord.FAILED, "")),)), "test_failed"),
    (
        replace(GREEN, runs=(TESTED, replace(TESTED, attempt=2, verdict=RoleVerdict(VerdictWord.FAILED, "")))),
        "test_failed",
    ),
]


@pytest.mark.parametrize(("spoiled", "code"), SPOILED_TESTS)
def test_each_spoiled_fact_of_the_tests_closes_qg6(spoiled: Facts, code: str) -> None:
    assert codes(gate("QG-6", spoiled)) == [code]


@pytest.mark.parametrize("head", [Sha("c" * 40)])
def test_every_gate_of_the_head_closes_when_the_head_moves(head: Sha) -> None:
    moved = replace(GREEN, branch=replace(BRANCH, head=head))
    for name in ("QG-3", "QG-5", "QG-6"):
        assert not isinstance(gate(name, moved), Passed)


# -- what a closed gate holds


def held(verdict: Verdict) -> list[str]:
    return [item.code for item in verdict.held]


EVERY_SPOILED = [
    *((name, GREEN, row[0], PROJECT) for name, rows in SPOILED_DOCUMENTS.items() for row in rows),
    *(("QG-3", GREEN, row[0], PROJECT) for row in SPOILED_WORK),
    *((name, GREEN, row[0], PROJECT) for name in ("QG-4", "QG-6") for row in SPOILED_CHECKS),
    *(("QG-5", GREEN, row[0], PROJECT) for row in SPOILED_REVIEWS),
    *(("QG-5", BY_HUMAN, row[0], HUMAN) for row in SPOILED_HUMANS),
    *(("QG-6", GREEN, row[0], PROJECT) for row in SPOILED_TESTS),
]
ADDED = {"change_request", "check_red", "check_not_green", "human_review"}
"""What may close a gate by something that came beside what it holds."""


@pytest.mark.parametrize(("name", "green", "spoiled", "project"), EVERY_SPOILED)
def test_a_closed_gate_holds_less_than_an_open_one(
    name: str, green: Facts, spoiled: Facts, project: Project
) -> None:
    whole, verdict = gate(name, green, project), gate(name, spoiled, project)
    assert not set(verdict.held) & set(items(verdict))
    assert all(not item.who and not item.action for item in verdict.held)
    if project is PROJECT:
        assert {(one.code, one.params) for one in verdict.held} <= {(one.code, one.params) for one in whole.held}
    if not ADDED & set(codes(verdict)):
        assert len(verdict.held) < len(whole.held)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in SEEN.items() for field in fields])
@pytest.mark.parametrize("unseen", [DOWN, NOT_NEEDED])
def test_what_was_not_seen_is_not_held(name: str, field: str, unseen: Unobserved) -> None:
    verdict = gate(name, replace(GREEN, **{field: unseen}))
    assert set(verdict.held) < set(gate(name).held)


REST = ["check_green", "check_green"]
MINE, CLEAR, OPEN = "changes_made", "paths_untouched", "pull_request"
SEEN_BY, OK = "reviewer_verdict", "review_approved"
DRAFT = replace(ITEM, is_draft=True)
HOLDS: dict[str, tuple[str, Facts, list[str]]] = {
    "a draft": ("QG-0", replace(GREEN, item=DRAFT), ["project_mapped", "new_work_item"]),
    "no item": ("QG-0", replace(GREEN, item=Absent()), ["project_mapped"]),
    "item not seen": ("QG-0", replace(GREEN, item=DOWN), ["project_mapped"]),
    "no section": ("QG-1", documents(replace(BRD, headings=())), ["approved"]),
    "not approved": ("QG-1", replace(GREEN, remarks=()), ["document"]),
    "remarks not seen": ("QG-1", replace(GREEN, remarks=DOWN), ["document"]),
    "rejected": ("QG-1", replace(GREEN, remarks=(remark(12, BORIS, ":rejected: no"),)), ["document"]),
    "not ready": ("QG-2", documents(replace(DEV_TASK, is_ready=False)), ["document", "approved"]),
    "one of two": ("QG-2", documents(without=ARCHITECTURE), ["document"]),
    "no work": ("QG-3", replace(GREEN, changed_paths=()), ["document", OPEN, CLEAR]),
    "no report": ("QG-3", documents(without=REPORT), [MINE, OPEN, CLEAR]),
    "no pull": ("QG-3", replace(GREEN, pull=Absent()), [MINE, "document", CLEAR]),
    "protected": ("QG-3", replace(GREEN, changed_paths=("a", ".gitea/b")), [MINE, "document", OPEN]),
    "documents not seen": ("QG-3", replace(GREEN, documents=DOWN), [MINE, OPEN, CLEAR]),
    "pull not seen": ("QG-3", replace(GREEN, pull=DOWN), [MINE, "document", CLEAR]),
    "paths not seen": ("QG-3", replace(GREEN, changed_paths=DOWN), ["document", OPEN]),
    "one check": ("QG-4", with_checks(CHECK), ["check_green"]),
    "one red": ("QG-4", with_checks(CHECK, replace(LINT, state=CheckState.FAILURE)), ["check_green"]),
    "not reviewed": ("QG-5", replace(GREEN, runs=()), [OK]),
    "not published": ("QG-5", replace(GREEN, reviews=()), [SEEN_BY]),
    "reviews not seen": ("QG-5", replace(GREEN, reviews=DOWN), [SEEN_BY]),
    "objection": ("QG-5", reviews(A, rejection_of(login="vera", ident=2)), [SEEN_BY, OK]),
    "not tested": ("QG-6", replace(GREEN, runs=()), REST),
    "failed": ("QG-6", replace(GREEN, runs=(replace(TESTED, verdict=RoleVerdict(VerdictWord.FAILED, "")),)), REST),
    "red after the test": ("QG-6", with_checks(CHECK), ["tester_verdict", "check_green"]),
    "checks not seen": ("QG-6", replace(GREEN, checks=DOWN), ["tester_verdict"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HOLDS)
def test_what_is_there_already_is_held(case: str) -> None:
    name, facts, there = HOLDS[case]
    verdict = gate(name, facts)
    assert not isinstance(verdict, Passed)
    assert held(verdict) == there


def test_one_approval_of_two_is_held_and_a_rejection_does_not_hide_it() -> None:
    two = gates(approvals=2)
    assert held(gate("QG-1", replace(GREEN, remarks=(remark(11),)), two)) == ["document", "approved"]
    both = replace(GREEN, remarks=(remark(11), remark(12, BORIS, ":rejected: no")), documents=(BRD,))
    assert held(gate("QG-1", both)) == ["document", "approved"]


def test_people_who_approved_are_held_while_others_are_waited_for() -> None:
    two = replace(HUMAN, gates=replace(HUMAN.gates, approvals=2))
    (item,) = gate("QG-5", BY_HUMAN, two).held
    assert (item.code, dict(item.params)["login"], item.evidence) == ("review_approved", "vera", (HEAD,))
    assert held(gate("QG-5", replace(BY_HUMAN, reviews=DOWN), HUMAN)) == []


def test_an_allowed_head_holds_what_was_allowed() -> None:
    touched = replace(GREEN, changed_paths=("a.py", ".gitea/ci.yml"))
    allowed = gate("QG-3", touched, task=replace(TASK, switches=Switches(allowed=(HEAD,))))
    assert [(one.code, one.evidence) for one in allowed.held][-1] == ("paths_allowed", (".gitea/ci.yml",))


OLD_ONE, VERA = approval_of(OLD), approval_of(login="vera", ident=2)
FALSE_FRIENDS: dict[str, tuple[str, Facts]] = {
    "a green status by the wrong creator": ("QG-4", with_checks(replace(CHECK, creator="mallory"), LINT)),
    "a green status by a look-alike creator": ("QG-4", with_checks(replace(CHECK, creator="\u0441i"), LINT)),
    "a green status by nobody": ("QG-4", with_checks(replace(CHECK, creator=""), LINT)),
    "a green status in another context": ("QG-4", with_checks(replace(CHECK, context="ci/test2"), LINT)),
    "in a context of other capitals": ("QG-4", with_checks(replace(CHECK, context="CI/Test"), LINT)),
    "in a context that begins like it": ("QG-4", with_checks(replace(CHECK, context="ci/test "), LINT)),
    "in a context of ours": ("QG-4", with_checks(replace(CHECK, context="orchestrator/ci/test"), LINT)),
    "a context that was renamed": ("QG-4", with_checks(CHECK, replace(LINT, context="lint"))),
    "a green status of an old commit alone": ("QG-4", with_checks()),
    "green, then red": ("QG-4", with_checks(replace(CHECK, state=CheckState.FAILURE), LINT)),
    "green, then started again": ("QG-4", with_checks(replace(CHECK, state=CheckState.PENDING), LINT)),
    "green with a warning": ("QG-4", with_checks(replace(CHECK, state=CheckState.WARNING), LINT)),
    "skipped": ("QG-4", with_checks(replace(CHECK, state=CheckState.SKIPPED), LINT)),
    "one green and one red that the same glob means": (
        "QG-4",
        with_checks(CHECK, LINT, replace(LINT, context="ci/lint (pull)", state=CheckState.ERROR)),
    ),
    "an approval of an old commit": ("QG-5", reviews(OLD_ONE)),
    "an approval of no commit": ("QG-5", reviews(replace(A, commit=""))),
    "an approval that was dismissed": ("QG-5", reviews(replace(A, is_dismissed=True))),
    "an approval that is stale": ("QG-5", reviews(replace(A, is_stale=True))),
    "an old approval after a newer commit's objection": ("QG-5", reviews(A, rejection_of(ident=2))),
    "an approval by somebody else": ("QG-5", reviews(VERA)),
    "a comment that says that it approves": ("QG-5", reviews(replace(A, state=ReviewState.COMMENTED))),
    "green before, red while it was tested": ("QG-6", with_checks(replace(CHECK, state=CheckState.ERROR), LINT)),
}


def test_no_status_and_no_review_that_looks_right_and_is_not_opens_a_gate() -> None:
    """S9."""
    pinned = gates(check_creators=("ci",))
    assert all(isinstance(gate(name, GREEN, pinned), Passed) for name in ("QG-4", "QG-5", "QG-6"))
    for case, (name, facts) in FALSE_FRIENDS.items():
        assert not isinstance(gate(name, facts, pinned), Passed), case
    assert len(FALSE_FRIENDS) >= 20
    counted.said(f"S9: {len(FALSE_FRIENDS)} cases, 0 passes")

"""What the gates say, whole: code, parameters, evidence, who can mend it and how."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from green import (
    ANNA,
    ARCHITECTURE,
    BORIS,
    BRD,
    CHECK,
    DEV_TASK,
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
from orchestrator.domain.forge import BranchRules, CheckState, ReviewState
from orchestrator.domain.model import CiPolicy, Project, ReviewPolicy, Stage, Task, Trigger, TriggerKind
from orchestrator.domain.run import RoleVerdict, VerdictWord
from orchestrator.qg.approvals import Ballots, not_counted
from orchestrator.qg.checks import GATES
from orchestrator.qg.documents import digest, digest_of
from orchestrator.qg.facts import NOT_NEEDED, Absent, Facts, Unobserved
from orchestrator.qg.verdict import Item, Passed, items

DOWN = Unobserved("forge_unreachable", "down")
WORLD = ("documents", "remarks", "changed_paths", "pull", "rules", "reviews", "checks")
NUMBER = (("number", "7"),)
AT_HEAD = (("head", HEAD),)
FIRST = (("attempt", "1"), ("head", HEAD))
BRD_PATH, ARCHITECTURE_PATH, WORK_ORDER_PATH = (
    f"tasks/ENDURO-1/{name}.md" for name in ("BRD", "ARCHITECTURE", "DEV_TASK")
)
RED = replace(CHECK, state=CheckState.FAILURE, url="http://ci/1")


def said(name: str, facts: Facts = GREEN, project: Project = PROJECT, task: Task = TASK) -> tuple[Item, ...]:
    """What an open gate rests on, or what a closed one lacks."""
    verdict = GATES[name](project, task, facts)
    return verdict.held if isinstance(verdict, Passed) else items(verdict)


def with_gates(**changes: Any) -> Project:
    return replace(PROJECT, gates=replace(PROJECT.gates, **changes))


def by_agent(code: str, *params: tuple[str, str], evidence: tuple[str, ...] = ()) -> Item:
    return Item(code, params, evidence, "agent", "run")


OPEN = {
    "QG-0": (
        Item("project_mapped", (("repo", "acme/enduro-trails"),)),
        Item("new_work_item", (), ("w1",)),
    ),
    "QG-1": (
        Item("document", (("document", BRD_PATH),), ("b1",)),
        Item("approved", (("person", ANNA),), ("k11",)),
    ),
    "QG-2": (
        Item("document", (("document", ARCHITECTURE_PATH),), ("c1",)),
        Item("document", (("document", WORK_ORDER_PATH),), ("d1",)),
        Item("approved", (("person", ANNA),), ("k21",)),
    ),
    "QG-3": (
        Item("changes_made", (("folder", "tasks/ENDURO-1/"),), (HEAD,)),
        Item("document", (("document", "tasks/ENDURO-1/DEV_REPORT.md"),), ("e1",)),
        Item("pull_request", NUMBER, ("http://forge/pulls/7", HEAD)),
        Item("paths_untouched", (), (HEAD,)),
    ),
    "QG-4": (
        Item("check_green", (("context", "ci/test"), ("state", "success"))),
        Item("check_green", (("context", "ci/lint (push)"), ("state", "success"))),
    ),
    "QG-5": (
        Item("reviewer_verdict", FIRST),
        Item("review_approved", (("login", "rev-agent"), ("review", "1")), (HEAD,)),
    ),
    "QG-6": (
        Item("tester_verdict", (*FIRST, ("word", "passed"))),
        Item("check_green", (("context", "ci/test"), ("state", "success"))),
        Item("check_green", (("context", "ci/lint (push)"), ("state", "success"))),
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_an_open_gate_names_all_that_it_rests_on(name: str) -> None:
    assert said(name) == OPEN[name]


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(
    ("unseen", "item"),
    [
        (DOWN, Item("forge_unreachable", (("detail", "down"),), (), "operator", "orch doctor")),
        (NOT_NEEDED, Item("look_due", (), (), "orchestrator", "look")),
    ],
)
def test_what_was_not_seen_is_said_once(name: str, unseen: Unobserved, item: Item) -> None:
    blind = Facts(unseen, unseen, us=US, **dict.fromkeys(WORLD, unseen))
    assert said(name, blind) == (item,)


def test_the_intake_names_the_trigger_that_fired_and_the_repository_of_a_posted_task() -> None:
    labelled = replace(PROJECT, trigger=Trigger(TriggerKind.LABEL, "agent:go"))
    assert said("QG-0", project=labelled)[1] == Item(
        "triggered", (("trigger", "label"), ("value", "agent:go")), (ITEM.id,)
    )
    posted = replace(TASK, plane_id=None)
    assert said("QG-0", task=posted) == (Item("posted_through_api", (("repo", "acme/enduro-trails"),)),)


def documents(*changed: Any) -> Facts:
    return replace(GREEN, documents=tuple(one for one in changed if one is not None))


SAID_OF_DOCUMENTS = [
    ("QG-1", documents(), (by_agent("document_missing", ("document", BRD_PATH)),)),
    (
        "QG-1",
        documents(replace(BRD, is_blank=True)),
        (by_agent("document_blank", ("document", BRD_PATH), evidence=("b1",)),),
    ),
    (
        "QG-1",
        documents(replace(BRD, headings=("Goal",))),
        (
            by_agent("section_missing", ("document", BRD_PATH), ("section", "requirements"), evidence=("b1",)),
            by_agent(
                "section_missing", ("document", BRD_PATH), ("section", "acceptance_criteria"), evidence=("b1",)
            ),
        ),
    ),
    (
        "QG-2",
        documents(BRD, DEV_TASK, REPORT),
        (by_agent("document_missing", ("document", ARCHITECTURE_PATH)),),
    ),
    (
        "QG-2",
        documents(BRD, ARCHITECTURE, replace(DEV_TASK, is_ready=False)),
        (by_agent("document_not_ready", ("document", WORK_ORDER_PATH), evidence=("d1",)),),
    ),
    (
        "QG-1",
        replace(GREEN, remarks=()),
        (
            Item(
                "approval",
                (("documents", BRD_PATH), ("have", "0"), ("needed", "1")),
                ("b1",),
                "approver",
                ":approved:",
            ),
        ),
    ),
    (
        "QG-2",
        replace(GREEN, remarks=(remark(11),)),
        (
            Item(
                "approval",
                (("documents", f"{ARCHITECTURE_PATH}, {WORK_ORDER_PATH}"), ("have", "0"), ("needed", "1")),
                ("c1", "d1"),
                "approver",
                ":approved:",
            ),
        ),
    ),
    (
        "QG-1",
        replace(GREEN, remarks=(remark(11, BORIS, ":rejected: no"),)),
        (by_agent("document_rejected", ("stage", "analysis"), ("person", BORIS), evidence=("k11",)),),
    ),
    (
        "QG-2",
        replace(GREEN, remarks=(remark(11), remark(21, BORIS, ":rejected: no"))),
        (by_agent("document_rejected", ("stage", "architecture"), ("person", BORIS), evidence=("k21",)),),
    ),
    (
        "QG-1",
        replace(GREEN, remarks=(remark(11), remark(12, BORIS, ":rejected: no", is_untouched=False))),
        (
            Item(
                "rejection_edited",
                (("stage", "analysis"), ("person", BORIS)),
                ("k12",),
                "approver",
                ":approved:",
            ),
        ),
    ),
]


@pytest.mark.parametrize(("name", "facts", "expected"), SAID_OF_DOCUMENTS)
def test_what_is_said_of_documents(name: str, facts: Facts, expected: tuple[Item, ...]) -> None:
    assert said(name, facts) == expected


def test_a_gate_that_an_edited_rejection_closes_says_what_holds_all_the_same() -> None:
    edited = remark(12, BORIS, ":rejected: no", is_untouched=False)
    held = GATES["QG-1"](PROJECT, TASK, replace(GREEN, remarks=(remark(11), edited))).held
    assert [one.code for one in held] == ["document", "approved"]


def test_how_many_approvals_are_there_and_needed_is_said() -> None:
    two = with_gates(approvals=2)
    (asked,) = said("QG-1", replace(GREEN, documents=(BRD,), remarks=(remark(11),)), two)
    assert asked.params == (("documents", BRD_PATH), ("have", "1"), ("needed", "2"))
    few = replace(two, approvers=(ANNA, OURSELF))
    assert said("QG-1", GREEN, few)[0] == Item(
        "too_few_approvers", (("needed", "2"), ("approvers", "1")), who="operator", action="orchestrator.yaml"
    )


def test_an_approval_in_vain_is_named_with_its_comment_and_what_would_help() -> None:
    (_, vain) = said("QG-1", replace(GREEN, remarks=(remark(11, STRANGER),)))
    assert vain == Item("approval_not_counted", (("why", "not_an_approver"),), ("k11",), "approver", ":approved:")


@pytest.mark.parametrize("name", ["QG-1", "QG-2"])
def test_what_was_first_seen_in_the_same_look_as_its_document_is_not_about_it(name: str) -> None:
    seen = {"QG-1": 10, "QG-2": 20}[name]
    facts = replace(GREEN, remarks=(*(remark(11) for _ in range(name == "QG-2")), remark(seen, BORIS)))
    asked, vain = said(name, facts)
    assert (asked.code, vain.params, vain.evidence) == (
        "approval",
        (("why", "document_is_newer"),),
        (f"k{seen}",),
    )


def test_where_remarks_were_not_seen_none_is_named() -> None:
    assert not_counted(PROJECT, replace(GREEN, remarks=DOWN), Ballots(), Stage.ANALYSIS, 10) == ()


def test_the_mark_of_documents_is_the_same_for_ever_for_it_is_stored() -> None:
    digest_of.cache_clear()  # it is made now, and not by the test before
    text = b"architecture:c1 dev_task:d1"
    assert digest(GREEN, Stage.ARCHITECTURE) == hashlib.sha256(text).hexdigest()
    assert digest(replace(GREEN, documents=DOWN), Stage.ARCHITECTURE) == ""


def work(**changes: Any) -> Facts:
    return replace(GREEN, pull=replace(PULL, **changes))


def of_pull(code: str, who: str, action: str, *params: tuple[str, str]) -> Item:
    return Item(code, (*NUMBER, *params), ("http://forge/pulls/7",), who, action)


GONE = Item("branch_gone", (("branch", "feature/ENDURO-1-a-title"),), (), "operator", "restore_branch")
SAID_OF_WORK = [
    ("QG-3", replace(GREEN, branch=Absent()), (GONE,)),
    ("QG-5", replace(GREEN, branch=Absent()), (GONE,)),
    ("QG-6", replace(GREEN, branch=Absent()), (GONE,)),
    (
        "QG-3",
        replace(GREEN, changed_paths=("tasks/ENDURO-1/BRD.md",)),
        (by_agent("changes_missing", ("folder", "tasks/ENDURO-1/")),),
    ),
    (
        "QG-3",
        replace(GREEN, changed_paths=(), documents=(BRD,)),
        (
            by_agent("changes_missing", ("folder", "tasks/ENDURO-1/")),
            by_agent("document_missing", ("document", "tasks/ENDURO-1/DEV_REPORT.md")),
        ),
    ),
    (
        "QG-3",
        replace(GREEN, pull=Absent()),
        (
            Item(
                "pull_request_missing",
                (("branch", "feature/ENDURO-1-a-title"), ("base", "develop")),
                (),
                "orchestrator",
                "open_pull_request",
            ),
        ),
    ),
    ("QG-3", work(is_open=False), (of_pull("pull_request_closed", "maintainer", "reopen"),)),
    (
        "QG-3",
        work(base_branch="main"),
        (of_pull("pull_request_elsewhere", "developer", "change_base", ("base", "develop")),),
    ),
    (
        "QG-3",
        work(head=OLD),
        (Item("pull_request_behind", NUMBER, (OLD, HEAD), "orchestrator", "look"),),
    ),
    ("QG-3", work(is_draft=True), (of_pull("pull_request_is_draft", "developer", "mark_ready"),)),
    (
        "QG-3",
        work(is_mergeable=False),
        (of_pull("pull_request_not_mergeable", "developer", "resolve_conflicts"),),
    ),
    (
        "QG-3",
        replace(GREEN, changed_paths=(".gitea/a.yml", "src/a.py", "x/CLAUDE.md")),
        (
            Item(
                "protected_paths",
                (("count", "2"), ("head", HEAD)),
                (".gitea/a.yml", "x/CLAUDE.md"),
                "approver",
                f"/orch allow-paths {HEAD}",
            ),
        ),
    ),
]


@pytest.mark.parametrize(("name", "facts", "expected"), SAID_OF_WORK)
def test_what_is_said_of_the_work(name: str, facts: Facts, expected: tuple[Item, ...]) -> None:
    assert said(name, facts) == expected


def test_only_so_many_protected_paths_are_told_and_all_are_counted() -> None:
    many = replace(GREEN, changed_paths=(*(f".gitea/{number:02}.yml" for number in range(30)), "z.py"))
    (item,) = said("QG-3", many)
    assert (dict(item.params)["count"], len(item.evidence), item.evidence[0]) == ("30", 20, ".gitea/00.yml")


def of_check(code: str, context: str, state: str, who: str, action: str) -> Item:
    return Item(code, (("context", context), ("state", state)), (), who, action)


SAID_OF_CHECKS = [
    (
        replace(GREEN, rules=BranchRules()),
        (Item("no_required_contexts", (("branch", "develop"),), (), "operator", "orchestrator.yaml"),),
    ),
    (replace(GREEN, checks=(LINT,)), (Item("check_missing", (("context", "ci/test"),), (), "ci", "run_ci"),)),
    (
        replace(GREEN, checks=(RED, LINT)),
        (
            Item(
                "check_red",
                (("context", "ci/test"), ("state", "failure")),
                ("http://ci/1",),
                "developer",
                "push",
            ),
        ),
    ),
    (
        replace(GREEN, checks=(CHECK, replace(LINT, state=CheckState.PENDING))),
        (of_check("check_not_green", "ci/lint (push)", "pending", "ci", "wait"),),
    ),
    (
        replace(GREEN, checks=(CHECK, replace(LINT, state=CheckState.SKIPPED))),
        (of_check("check_not_green", "ci/lint (push)", "skipped", "ci", "run_ci"),),
    ),
    (
        # What has to be undone comes alone; what is missing waits until then.
        replace(GREEN, checks=(replace(CHECK, state=CheckState.ERROR),)),
        (of_check("check_red", "ci/test", "error", "developer", "push"),),
    ),
]


@pytest.mark.parametrize("name", ["QG-4", "QG-6"])
@pytest.mark.parametrize(("facts", "expected"), SAID_OF_CHECKS)
def test_what_is_said_of_checks(name: str, facts: Facts, expected: tuple[Item, ...]) -> None:
    assert said(name, facts) == expected


@pytest.mark.parametrize("state", CheckState)
def test_a_check_is_shown_by_its_page_where_it_has_one(state: CheckState) -> None:
    alone = with_gates(required_contexts=("ci/test",))
    for url, evidence in (("", ()), ("http://ci/1", ("http://ci/1",))):
        (item,) = said("QG-4", replace(GREEN, checks=(replace(CHECK, state=state, url=url),)), alone)
        assert (item.params, item.evidence) == ((("context", "ci/test"), ("state", state.value)), evidence)


def test_a_check_that_two_patterns_name_is_told_once() -> None:
    twice = replace(GREEN, rules=BranchRules(("ci/test", "ci/*", "ci/test")))
    assert [dict(item.params)["context"] for item in said("QG-4", twice)] == ["ci/test", "ci/lint (push)"]
    red = replace(twice, checks=(RED, LINT))
    assert [item.code for item in said("QG-4", red)] == ["check_red"]
    pending = replace(twice, checks=(replace(CHECK, state=CheckState.PENDING), LINT))
    assert [item.code for item in said("QG-4", pending)] == ["check_not_green"]
    missing = replace(GREEN, rules=BranchRules(("ci/x", "ci/y*")), checks=())
    assert [dict(item.params)["context"] for item in said("QG-4", missing)] == ["ci/x", "ci/y*"]


def test_a_check_of_the_wrong_creator_names_the_creator_and_a_project_without_ci_itself() -> None:
    forged = replace(GREEN, checks=(replace(RED, creator="Mallory"), LINT))
    assert said("QG-4", forged, with_gates(check_creators=("CI",))) == (
        Item(
            "check_of_wrong_creator",
            (("context", "ci/test"), ("state", "failure"), ("creator", "Mallory")),
            ("http://ci/1",),
            "operator",
            "orchestrator.yaml",
        ),
    )
    assert said("QG-4", project=with_gates(ci=CiPolicy.NONE)) == (Item("ci_none", (("project", "p1"),)),)


def reviews(*every: Any) -> Facts:
    return replace(GREEN, reviews=every)


APPROVED = approval_of()
OF_REVIEWER = (("login", "rev-agent"), ("head", HEAD))
REJECTING = replace(REVIEWED, attempt=2, verdict=RoleVerdict(VerdictWord.CHANGES_REQUESTED, "No."))


def objection(login: str, ident: str, commit: str, who: str, action: str) -> Item:
    return Item(
        "change_request", (("login", login), ("review", ident), ("commit", commit)), (commit,), who, action
    )


SAID_OF_REVIEWS = [
    (
        replace(GREEN, pull=Absent()),
        (
            Item(
                "pull_request_missing",
                (("branch", "feature/ENDURO-1-a-title"), ("base", "develop")),
                (),
                "orchestrator",
                "open_pull_request",
            ),
        ),
    ),
    (replace(GREEN, runs=()), (by_agent("review_due", ("head", HEAD)),)),
    (
        replace(GREEN, runs=(), reviews=()),
        (by_agent("review_due", ("head", HEAD)), Item("reviewer_approval", OF_REVIEWER, (), "agent", "run")),
    ),
    (reviews(), (Item("reviewer_approval", OF_REVIEWER, (), "orchestrator", "publish_review"),)),
    (
        reviews(APPROVED, rejection_of(OLD, ident=2)),
        (Item("review_superseded", OF_REVIEWER, (), "developer", "push"),),
    ),
    (
        reviews(replace(APPROVED, is_dismissed=True)),
        (Item("review_dismissed", OF_REVIEWER, ("1",), "developer", "push"),),
    ),
    (
        reviews(replace(APPROVED, is_official=False)),
        (Item("review_not_official", OF_REVIEWER, ("1",), "operator", "grant_code_write"),),
    ),
    (
        reviews(replace(APPROVED, is_official=False), replace(APPROVED, state=ReviewState.REQUESTED, id=2)),
        (Item("review_asked_again", OF_REVIEWER, ("1",), "developer", "push"),),
    ),
    (
        reviews(replace(APPROVED, is_stale=True)),
        (Item("review_stale", OF_REVIEWER, ("1",), "developer", "push"),),
    ),
    (
        reviews(APPROVED, rejection_of(login="Vera", ident=2)),
        (objection("Vera", "2", HEAD, "agent", "run"),),
    ),
    (
        reviews(APPROVED, rejection_of(OLD, "vera", 2)),
        (objection("vera", "2", OLD, "@vera", "review_again"),),
    ),
    (
        reviews(APPROVED, replace(rejection_of(login="vera", ident=2), is_official=False)),
        (objection("vera", "2", HEAD, "@vera", "review_again"),),
    ),
    (
        replace(GREEN, runs=(REVIEWED, REJECTING)),
        (by_agent("reviewer_requests_changes", ("attempt", "2"), ("head", HEAD)),),
    ),
    (
        replace(GREEN, us=replace(US, reviewer=""), reviews=()),
        (
            Item(
                "human_review_no_reviewer_user",
                (("have", "0"), ("needed", "1"), ("head", HEAD)),
                (),
                "reviewer",
                "approve_pull_request",
            ),
        ),
    ),
]


@pytest.mark.parametrize(("facts", "expected"), SAID_OF_REVIEWS)
def test_what_is_said_of_reviews(facts: Facts, expected: tuple[Item, ...]) -> None:
    assert said("QG-5", facts) == expected


def test_an_approval_by_who_may_not_give_one_is_named_while_people_are_waited_for() -> None:
    """To approve again would not help them. Of very many the newest are named."""
    people = with_gates(review=ReviewPolicy.HUMAN)
    many = [replace(approval_of(login=f"u{ident}", ident=ident), is_official=False) for ident in range(1, 8)]
    gone, old = replace(many[6], is_dismissed=True), replace(many[5], commit=OLD)
    asked, *vain = said("QG-5", reviews(*many), people)
    assert (asked.code, [dict(one.params)["login"] for one in vain]) == (
        "human_review",
        ["u3", "u4", "u5", "u6", "u7"],
    )
    assert vain[0] == Item(
        "human_review_not_official", (("login", "u3"), ("head", HEAD)), ("3",), "operator", "grant_code_write"
    )
    assert [one.code for one in said("QG-5", reviews(gone, old), people)] == ["human_review"]
    enough = said("QG-5", reviews(*many, approval_of(login="vera", ident=9)), people)
    assert [one.code for one in enough] == ["review_approved"]


def test_how_many_people_approved_and_are_needed_is_said() -> None:
    people = with_gates(review=ReviewPolicy.HUMAN, approvals=2)
    one = reviews(approval_of(login="vera"))
    assert said("QG-5", one, people) == (
        Item(
            "human_review",
            (("have", "1"), ("needed", "2"), ("head", HEAD)),
            (),
            "reviewer",
            "approve_pull_request",
        ),
    )
    both = reviews(approval_of(login="vera"), approval_of(login="wim", ident=2))
    assert said("QG-5", both, people) == (
        Item("review_approved", (("login", "vera"), ("review", "1")), (HEAD,)),
        Item("review_approved", (("login", "wim"), ("review", "2")), (HEAD,)),
    )
    (third,) = said("QG-5", replace(both, rules=BranchRules(required_approvals=3)), people)
    assert third.params[:2] == (("have", "2"), ("needed", "3"))


def test_one_person_is_needed_though_nobody_asks_for_one() -> None:
    (item,) = said("QG-5", reviews(), with_gates(review=ReviewPolicy.HUMAN, approvals=0))
    assert item.params[:2] == (("have", "0"), ("needed", "1"))


SAID_OF_TESTS = [
    (replace(GREEN, runs=()), (by_agent("test_due", ("head", HEAD)),)),
    (
        replace(GREEN, runs=(replace(TESTED, attempt=3, verdict=RoleVerdict(VerdictWord.FAILED, "")),)),
        (by_agent("test_failed", ("attempt", "3"), ("head", HEAD), ("word", "failed")),),
    ),
]


@pytest.mark.parametrize(("facts", "expected"), SAID_OF_TESTS)
def test_what_is_said_of_the_tests(facts: Facts, expected: tuple[Item, ...]) -> None:
    assert said("QG-6", facts) == expected

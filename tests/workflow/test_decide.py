"""decide: a table of the first stages, and what must hold for any facts."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.model import (
    Branch,
    Project,
    ProjectId,
    RepoName,
    Role,
    Sha,
    Stage,
    Task,
    TaskId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.run import Outcome, RunState
from orchestrator.qg.facts import Absent, Facts, RunFact, Unobserved
from orchestrator.store import canonical
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import EnsureBranch, StartRun

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REPO = RepoName("acme", "enduro-trails")
PROJECT = Project(ProjectId("p1"), REPO, "develop")
TASK = Task(TaskId(1), Stage.CREATED, WorkItemId("w1"), ProjectId("p1"), "", "", None, "", "", seen_created=True)
AT_WORK = replace(
    TASK, stage=Stage.ANALYSIS, key="ENDURO-1", title="A title", repo=REPO,
    branch="feature/ENDURO-1-a-title", base_branch="develop",
)  # fmt: skip
ITEM = WorkItem(
    WorkItemId("w1"), ProjectId("p1"), "ENDURO-1", "A title", "Text", "Todo", (), (),
    is_draft=False, is_archived=False, created_at=NOW, updated_at=NOW,
)  # fmt: skip
BRANCH = Branch("feature/ENDURO-1-a-title", Sha("a" * 40))
GREEN = Facts(item=ITEM, branch=BRANCH)


def run(attempt: int, state: RunState = RunState.ENDED, outcome: Outcome | None = None) -> RunFact:
    return RunFact(Stage.ANALYSIS, attempt, state, outcome, "why")


def test_a_new_item_without_a_branch_gets_one_first() -> None:
    decision = decide(PROJECT, TASK, replace(GREEN, branch=Absent()))
    assert decision.stage is Stage.CREATED
    assert decision.actions == (EnsureBranch(REPO, "feature/ENDURO-1-a-title", "develop"),)


def test_with_its_branch_a_new_item_moves_to_analysis_and_the_analyst_starts_at_its_head() -> None:
    decision = decide(PROJECT, TASK, GREEN)
    assert decision.stage is Stage.ANALYSIS
    assert decision.actions == (StartRun(Role.ANALYST, Stage.ANALYSIS, 1, "a" * 40),)
    assert [gate for gate, _ in decision.verdicts] == ["QG-0"]


def test_a_renamed_item_keeps_its_first_branch() -> None:
    renamed = replace(GREEN, item=replace(ITEM, title="Something else"))
    decision = decide(PROJECT, replace(AT_WORK, stage=Stage.CREATED), renamed)
    assert decision.identity is not None
    assert decision.identity.branch == "feature/ENDURO-1-a-title"


@pytest.mark.parametrize("state", [RunState.INTENDED, RunState.RUNNING])
def test_while_a_run_is_open_no_other_is_started(state: RunState) -> None:
    decision = decide(PROJECT, AT_WORK, replace(GREEN, runs=(run(1, state),)))
    assert not decision.actions
    assert [item.code for item in decision.waiting] == [f"run_{state}"]


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.CRASHED])
def test_an_attempt_that_says_nothing_of_the_work_is_made_again_up_to_the_cap(outcome: Outcome) -> None:
    once = decide(PROJECT, AT_WORK, replace(GREEN, runs=(run(1, outcome=outcome),)))
    assert once.actions == (StartRun(Role.ANALYST, Stage.ANALYSIS, 2, "a" * 40),)
    thrice = decide(PROJECT, AT_WORK, replace(GREEN, runs=tuple(run(n, outcome=outcome) for n in (1, 2, 3))))
    assert not thrice.actions
    assert [item.code for item in thrice.waiting] == ["run_not_successful"]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.LOST, Outcome.CRASHED, Outcome.SUCCEEDED}))
def test_every_other_bad_end_waits_for_a_human(outcome: Outcome) -> None:
    decision = decide(PROJECT, AT_WORK, replace(GREEN, runs=(run(1, outcome=outcome),)))
    assert not decision.actions
    assert dict(decision.waiting[0].params)["outcome"] == outcome


def test_an_operator_grants_one_more_attempt_and_only_one() -> None:
    failed = replace(GREEN, runs=(run(1, outcome=Outcome.FAILED),))
    asked = replace(AT_WORK, retry_after=1)
    assert decide(PROJECT, asked, failed).actions == (StartRun(Role.ANALYST, Stage.ANALYSIS, 2, "a" * 40),)
    again = replace(failed, runs=(*failed.runs, run(2, outcome=Outcome.FAILED)))
    assert not decide(PROJECT, asked, again).actions


def test_after_a_successful_analysis_the_document_waits_for_an_approver() -> None:
    decision = decide(PROJECT, AT_WORK, replace(GREEN, runs=(run(1, outcome=Outcome.SUCCEEDED),)))
    assert decision.stage is Stage.ANALYSIS
    assert decision.waiting[0].who == "approver"
    assert "tasks/ENDURO-1/BRD.md" in dict(decision.waiting[0].params)["documents"]


def test_a_posted_task_starts_its_own_role_and_is_done_after_one_success() -> None:
    posted = replace(AT_WORK, stage=Stage.CREATED, plane_id=None, project=None, role=Role.REVIEWER)
    facts = replace(GREEN, item=Absent())
    started = decide(None, posted, facts)
    assert started.actions == (StartRun(Role.REVIEWER, Stage.REVIEW, 1, "a" * 40),)
    success = RunFact(Stage.REVIEW, 1, RunState.ENDED, Outcome.SUCCEEDED)
    assert decide(None, replace(posted, stage=Stage.REVIEW), replace(facts, runs=(success,))).stage is Stage.DONE


@pytest.mark.parametrize("branch", [Unobserved("gitea_unreachable", "down"), Absent()])
def test_no_run_starts_on_a_branch_that_was_not_seen(branch: Absent | Unobserved) -> None:
    decision = decide(PROJECT, AT_WORK, replace(GREEN, branch=branch))
    assert not decision.actions
    assert decision.waiting[0].code in {"gitea_unreachable", "branch_gone"}


def test_an_unseen_branch_keeps_a_new_item_where_it_is() -> None:
    decision = decide(PROJECT, TASK, replace(GREEN, branch=Unobserved("no_gitea_token")))
    assert decision.stage is Stage.CREATED
    assert [item.code for item in decision.waiting] == ["no_gitea_token"]


@pytest.mark.parametrize("stage", [Stage.CI, Stage.READY])
def test_a_stage_without_a_role_says_so(stage: Stage) -> None:
    assert decide(PROJECT, replace(AT_WORK, stage=stage), GREEN).waiting[0].code == "stage_not_automated"


def test_done_stays_done() -> None:
    decision = decide(PROJECT, replace(AT_WORK, stage=Stage.DONE), GREEN)
    assert decision.stage is Stage.DONE
    assert not decision.actions


RUNS = st.lists(
    st.builds(
        RunFact,
        st.sampled_from(Stage),
        st.integers(1, 4),
        st.sampled_from(RunState),
        st.none() | st.sampled_from(Outcome),
    ),
    max_size=4,
).map(tuple)
SEEN = st.sampled_from([ITEM, replace(ITEM, is_draft=True), Absent(), Unobserved("plane_unreachable")])
BRANCHES = st.sampled_from([BRANCH, Absent(), Unobserved("gitea_unreachable")])
FACTS = st.builds(Facts, SEEN, BRANCHES, RUNS)
TASKS = st.builds(
    lambda stage, role, named: replace(AT_WORK if named else TASK, stage=stage, role=role),
    st.sampled_from(Stage), st.none() | st.sampled_from(Role), st.booleans(),
)  # fmt: skip


@given(st.none() | st.just(PROJECT), TASKS, FACTS)
def test_for_any_facts_a_task_moves_or_acts_or_says_why_it_waits(
    project: Project | None, task: Task, facts: Facts
) -> None:
    decision = decide(project, task, facts)
    assert decision.stage is Stage.DONE or decision.actions or decision.waiting
    assert canonical.encode(decision) == canonical.encode(decide(project, task, facts))


@given(st.none() | st.just(PROJECT), TASKS, FACTS)
def test_for_any_facts_at_most_one_run_starts_and_never_beside_an_open_one(
    project: Project | None, task: Task, facts: Facts
) -> None:
    decision = decide(project, task, facts)
    starts = [action for action in decision.actions if isinstance(action, StartRun)]
    assert len(starts) <= 1
    for start in starts:
        assert all(one.state is RunState.ENDED for one in facts.runs)
        assert start.attempt not in {one.attempt for one in facts.runs if one.stage is start.stage}

"""What holds of `decide` for any task and any facts."""

from hypothesis import given
from hypothesis import strategies as st

from any_facts import ANY_FACTS, PROJECTS, TASKS
from examples import by_day
from green import applied
from orchestrator.domain.model import Project, Stage, Task
from orchestrator.domain.run import RunState
from orchestrator.qg.facts import Facts
from orchestrator.qg.verdict import Passed
from orchestrator.store import canonical
from orchestrator.store.decisions import Basis, decoded, decoded_basis
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, StartRun
from orchestrator.workflow.pipeline import place, step_of_stage

MANY = by_day(150)
MAYBE_PROJECT = st.none() | PROJECTS


def starts(decision: Decision) -> list[StartRun]:
    return [one for one in decision.actions if isinstance(one, StartRun)]


@MANY
@given(MAYBE_PROJECT, TASKS, ANY_FACTS)
def test_an_open_task_without_a_run_says_what_it_waits_for_who_can_give_it_and_how(
    project: Project | None, task: Task, facts: Facts
) -> None:
    """F30."""
    decision = decide(project, task, facts)
    if decision.stage is not Stage.DONE and not starts(decision):
        assert decision.waiting
    assert all(item.code and item.who and item.action for item in decision.waiting)


@MANY
@given(MAYBE_PROJECT, TASKS, ANY_FACTS)
def test_at_most_one_run_starts_never_beside_an_open_one_and_never_paused(
    project: Project | None, task: Task, facts: Facts
) -> None:
    decision = decide(project, task, facts)
    assert len(starts(decision)) <= 1
    for start in starts(decision):
        assert all(one.state is RunState.ENDED for one in facts.runs)
        assert start.attempt not in {one.attempt for one in facts.runs if one.stage is start.stage}
        assert step_of_stage(start.stage).role is start.role
        assert decision.stage is start.stage
        assert not decision.switches.is_paused
        assert task.role or not decision.switches.is_cancelled


@MANY
@given(MAYBE_PROJECT, TASKS, ANY_FACTS)
def test_decided_again_with_its_own_result_it_changes_nothing_more(
    project: Project | None, task: Task, facts: Facts
) -> None:
    first = decide(project, task, facts)
    after = applied(task, first)
    again = decide(project, after, facts)
    assert (again.stage, again.returns, again.switches) == (first.stage, first.returns, first.switches)
    assert set(again.actions) <= set(first.actions)
    assert again.waiting == first.waiting
    assert decide(project, applied(after, again), facts) == again


@MANY
@given(MAYBE_PROJECT, TASKS, ANY_FACTS)
def test_a_decision_and_its_basis_come_back_from_the_store_as_they_were(
    project: Project | None, task: Task, facts: Facts
) -> None:
    basis = Basis(project, task, facts)
    text = canonical.encode(basis)
    restored = decoded_basis(text)
    assert restored == basis
    assert canonical.encode(restored) == text
    decision = decide(project, task, facts)
    told = canonical.encode(decision)
    assert decoded(told) == decision
    assert canonical.encode(decoded(told)) == told
    again = decide(restored.project, restored.task, restored.facts)
    assert canonical.encode(again) == told


@MANY
@given(PROJECTS, TASKS.filter(lambda task: task.role is None), ANY_FACTS)
def test_nothing_goes_forward_past_a_gate_that_is_not_open(project: Project, task: Task, facts: Facts) -> None:
    decision = decide(project, task, facts)
    if decision.stage is Stage.DONE or place(decision.stage) <= place(task.stage):
        return
    passed = {gate for gate, verdict in decision.verdicts if isinstance(verdict, Passed)}
    for stage in Stage:
        if place(task.stage) <= place(stage) < place(decision.stage):
            assert step_of_stage(stage).gate in passed


@MANY
@given(PROJECTS, TASKS, ANY_FACTS)
def test_a_remark_is_never_what_two_gates_rest_on(project: Project, task: Task, facts: Facts) -> None:
    decision = decide(project, task, facts)
    held = [
        comment
        for gate, verdict in decision.verdicts
        if gate in {"QG-1", "QG-2"}
        for item in verdict.held
        if item.code == "approved"
        for comment in item.evidence
    ]
    assert len(held) == len(set(held))
    new = applied(task, decision).switches
    if not set(task.switches.of_brd) & set(task.switches.of_design):
        assert not set(new.of_brd) & set(new.of_design)

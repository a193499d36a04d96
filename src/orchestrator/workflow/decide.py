"""`decide`: facts in, decision out. No clock, no I/O: the same facts give the same bytes for ever."""

from dataclasses import replace

from orchestrator.domain.model import Branch, Project, Stage, Task, WorkItem
from orchestrator.domain.run import Outcome, RunState
from orchestrator.qg import checks
from orchestrator.qg.facts import Absent, Facts, RunFact, Unobserved
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.workflow.decision import Decision, EnsureBranch, Identity, StartRun
from orchestrator.workflow.names import branch_name
from orchestrator.workflow.pipeline import step_of_role, step_of_stage

RETRIED = frozenset({Outcome.LOST, Outcome.CRASHED})
"""Outcomes that say nothing about the work itself: the attempt is made again, up to the cap."""


def decide(project: Project | None, task: Task, facts: Facts) -> Decision:
    """The next decision for a task. Called again with its own result applied, it changes nothing more."""
    match task.stage:
        case Stage.CREATED:
            return _leave_created(project, task, facts)
        case Stage.DONE:
            return Decision(Stage.DONE)
        case _:
            return _work(task, facts)


def _leave_created(project: Project | None, task: Task, facts: Facts) -> Decision:
    verdict = checks.intake(project, task, facts)
    verdicts = (("QG-0", verdict),)
    identity = _identity(project, task, facts)
    if not isinstance(verdict, Passed) or identity is None:
        return Decision(Stage.CREATED, waiting=_why(verdict), verdicts=verdicts)
    named = Decision(Stage.CREATED, verdicts=verdicts, identity=identity)
    match facts.branch:
        case Unobserved(code, detail):
            return replace(named, waiting=(Item(code, (("detail", detail),), who="operator"),))
        case Absent():
            return replace(named, actions=(EnsureBranch(identity.repo, identity.branch, identity.base_branch),))
        case Branch():
            stage = step_of_role(task.role).stage if task.role else Stage.ANALYSIS
            started = _work(replace(task, stage=stage), facts)
            return replace(started, verdicts=verdicts, identity=identity)


def _identity(project: Project | None, task: Task, facts: Facts) -> Identity | None:
    """A task keeps the name that it got first: a renamed work item does not move its branch."""
    if task.repo is not None and task.key and task.branch:
        return Identity(task.key, task.title, task.repo, task.branch, task.base_branch)
    if project is None or not isinstance(facts.item, WorkItem):
        return None
    item = facts.item
    return Identity(item.key, item.title, project.repo, branch_name(item.key, item.title), project.base_branch)


def _work(task: Task, facts: Facts) -> Decision:
    """A stage with a role: one run after another until one succeeds or a human is needed."""
    step = step_of_stage(task.stage)
    if step.role is None:
        return Decision(
            task.stage, waiting=(Item("stage_not_automated", (("stage", task.stage),), who="operator"),)
        )
    for run in facts.runs:
        if run.state is not RunState.ENDED:
            params = (("role", step_of_stage(run.stage).role or ""), ("attempt", str(run.attempt)))
            return Decision(task.stage, waiting=(Item(f"run_{run.state}", params, who="agent"),))
    last = max((run for run in facts.runs if run.stage is task.stage), key=lambda run: run.attempt, default=None)
    if last is None:
        return _start(task, facts, 1)
    if last.outcome is Outcome.SUCCEEDED:
        return _after_success(task)
    is_asked_for = last.attempt == task.retry_after
    if is_asked_for or (last.outcome in RETRIED and last.attempt < facts.max_attempts):
        return _start(task, facts, last.attempt + 1)
    return Decision(task.stage, waiting=(_run_ended(last),))


def _start(task: Task, facts: Facts, attempt: int) -> Decision:
    step = step_of_stage(task.stage)
    assert step.role is not None  # noqa: S101 - _work asked
    match facts.branch:
        case Unobserved(code, detail):
            return Decision(task.stage, waiting=(Item(code, (("detail", detail),), who="operator"),))
        case Absent():
            return Decision(task.stage, waiting=(Item("branch_gone", (("branch", task.branch),), who="operator"),))
        case Branch(head=head):
            return Decision(task.stage, actions=(StartRun(step.role, task.stage, attempt, head),))


def _after_success(task: Task) -> Decision:
    if task.role is not None:
        return Decision(Stage.DONE)
    documents = ", ".join(f"tasks/{task.key}/{name}" for name in step_of_stage(task.stage).documents)
    return Decision(task.stage, waiting=(Item("document_approval", (("documents", documents),), who="approver"),))


def _run_ended(run: RunFact) -> Item:
    outcome = run.outcome.value if run.outcome else ""
    params = (("outcome", outcome), ("reason", run.reason), ("attempt", str(run.attempt)))
    return Item("run_not_successful", params, who="operator")


def _why(verdict: Verdict) -> tuple[Item, ...]:
    match verdict:
        case Passed():
            return ()
        case Waiting(missing):
            return missing
        case Failed(reasons):
            return reasons
        case Unknown(observations):
            return observations

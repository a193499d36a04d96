"""A task that was posted through the API: one role, one run after another until one succeeds."""

from dataclasses import replace

from orchestrator.domain.model import Stage, Task
from orchestrator.domain.run import Outcome
from orchestrator.qg import runs
from orchestrator.qg.facts import Absent, Facts, Unobserved
from orchestrator.qg.pull import branch_gone
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item
from orchestrator.workflow.decision import Decision, StartRun
from orchestrator.workflow.halts import paused, run_items
from orchestrator.workflow.pipeline import step_of_stage
from orchestrator.workflow.rounds import RETRIED, run_ended


def decide_posted(task: Task, facts: Facts) -> Decision:
    """Its gate is the run's own success."""
    here = Decision(task.stage, switches=task.switches, returns=task.returns)
    if waiting := run_items(facts):
        return replace(here, waiting=waiting)
    every = runs.of_stage(facts, task.stage)
    last = every[-1] if every else None
    if last and last.outcome is Outcome.SUCCEEDED:
        return replace(here, stage=Stage.DONE)
    is_granted = last is not None and last.attempt == task.retry_after
    if last and not is_granted and not (last.outcome in RETRIED and last.attempt < facts.max_attempts):
        return replace(here, waiting=(run_ended(last),))
    return _start(here, task, facts, last.attempt + 1 if last else 1)


def _start(here: Decision, task: Task, facts: Facts, attempt: int) -> Decision:
    role = step_of_stage(task.stage).role
    if role is None:
        item = Item("stage_not_automated", (("stage", task.stage),), who="operator", action="cancel")
        return replace(here, waiting=(item,))
    if waiting := paused(task):
        return replace(here, waiting=waiting)
    if isinstance(facts.branch, Unobserved):
        return replace(here, waiting=unseen(facts.branch))
    if isinstance(facts.branch, Absent):
        return replace(here, waiting=(branch_gone(task),))
    return replace(here, actions=(StartRun(role, task.stage, attempt, facts.branch.head),))

"""A task that was posted through the API: one role, one run after another until one succeeds."""

from dataclasses import replace

import msgspec

from orchestrator.domain.model import Stage, Task
from orchestrator.domain.run import Outcome
from orchestrator.qg import runs
from orchestrator.qg.facts import Absent, Facts, RunFact, Unobserved
from orchestrator.qg.pull import branch_gone
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item
from orchestrator.workflow.decision import Decision, StartRun, StopRun
from orchestrator.workflow.halts import cancelled, paused, run_items
from orchestrator.workflow.money import overspent
from orchestrator.workflow.pipeline import step_of_stage
from orchestrator.workflow.rounds import hindered, is_to_repeat, resumed_by_next, run_ended


def decide_posted(task: Task, facts: Facts) -> Decision:
    """Its gate is the run's own success."""
    here = Decision(task.stage, switches=task.switches, returns=task.returns)
    waiting = run_items(facts)
    if halt := cancelled(task):
        stops = tuple(StopRun(run.stage, run.attempt) for run in runs.open_runs(facts))
        return replace(here, actions=stops, waiting=(*halt, *waiting))
    if waiting:
        return replace(here, waiting=waiting)
    made = runs.wanted(runs.of_stage(facts, task.stage))
    if made and made[-1].outcome is Outcome.SUCCEEDED:
        return replace(here, stage=Stage.DONE)
    if parked := hindered(task, facts, task.stage, made):
        return replace(here, waiting=(_by_operator(parked.why),))
    if made and not is_to_repeat(task, facts, task.stage, made):
        return replace(here, waiting=(_by_operator(run_ended(made[-1])),))
    return _start(here, task, facts, made)


def _by_operator(item: Item) -> Item:
    """Nobody can comment `/orch retry` on a task without a work item."""
    if item.action not in {"retry", "/orch retry"}:
        return item
    return msgspec.structs.replace(item, who="operator", action="orch retry")


def _start(here: Decision, task: Task, facts: Facts, made: list[RunFact]) -> Decision:
    role = step_of_stage(task.stage).role
    if role is None:
        item = Item("stage_not_automated", (("stage", task.stage),), who="operator", action="cancel")
        return replace(here, waiting=(item,))
    if waiting := paused(task):
        return replace(here, waiting=waiting)
    if parked := overspent(task, facts):
        return replace(here, waiting=parked)
    if isinstance(facts.branch, Unobserved):
        return replace(here, waiting=unseen(facts.branch))
    if isinstance(facts.branch, Absent):
        return replace(here, waiting=(branch_gone(task),))
    head = facts.branch.head
    number = max((run.attempt for run in runs.of_stage(facts, task.stage)), default=0) + 1
    start = StartRun(role, task.stage, number, head, resumes=resumed_by_next(made, head))
    return replace(here, actions=(start,))

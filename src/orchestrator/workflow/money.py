"""What a task may cost in all, and without getting any further. Pure."""

from orchestrator.domain.model import Task
from orchestrator.qg.facts import Facts, RunFact
from orchestrator.qg.verdict import Item
from orchestrator.workflow.progress import since_accepted


def overspent(task: Task, facts: Facts) -> tuple[Item, ...]:
    """Why no further run is begun; an approver's `/orch budget` alone makes it count anew. Nothing else does: a
    breaker that a retry or a new round closes again is none.
    """
    limits, runs = facts.spending, facts.runs
    counted = runs[task.switches.budget_after :]
    in_vain = since_accepted(runs)
    found: list[Item] = []
    spent, budget = _cost(counted), _budget(limits.task_usd, task)
    if budget and spent >= budget:
        params = (("spent", f"{spent:.2f}"), ("budget", f"{budget:.2f}"))
        found.append(Item("task_budget_spent", params, who="approver", action="/orch budget"))
    spent, budget = min(spent, _cost(in_vain)), _budget(limits.without_progress_usd, task)
    if budget and spent >= budget:
        params = (("spent", f"{spent:.2f}"), ("budget", f"{budget:.2f}"))
        found.append(Item("money_without_progress", params, who="approver", action="/orch budget"))
    return tuple(found)


def _budget(limit: float, task: Task) -> float:
    """0 is none. What an approver lets one run cost, the task may cost too."""
    return max(limit, float(task.switches.budget_usd)) if limit else 0.0


def _cost(runs: tuple[RunFact, ...]) -> float:
    return sum((run.cost_usd for run in runs), 0.0)

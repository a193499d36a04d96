"""What a task may cost in all, and without getting any further. Pure."""

from dataclasses import dataclass

from orchestrator.domain.model import Task
from orchestrator.qg.facts import Facts, RunFact
from orchestrator.qg.verdict import Item
from orchestrator.workflow.progress import since_accepted


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars of runs that are over, and what they may be; 0 is no limit."""

    spent_usd: float
    budget_usd: float


def overspent(task: Task, facts: Facts) -> tuple[Item, ...]:
    """Why no further run is begun; an approver's `/orch budget` alone makes it count anew. Nothing else does: a
    breaker that a retry or a new round closes again is none. On a posted task nobody can comment, so there an
    operator's retry does.
    """
    whose = ("operator", "orch retry") if task.role else ("approver", "/orch budget")
    whole, in_vain = spendings(task, facts)
    found: list[Item] = []
    if _is_used_up(whole):
        params = (("spent", f"{whole.spent_usd:.2f}"), ("budget", f"{whole.budget_usd:.2f}"))
        found.append(Item("task_budget_spent", params, (), *whose))
    if _is_used_up(in_vain):
        params = (("spent", f"{in_vain.spent_usd:.2f}"), ("budget", f"{in_vain.budget_usd:.2f}"))
        found.append(Item("money_without_progress", params, (), *whose))
    return tuple(found)


def spendings(task: Task, facts: Facts) -> tuple[Spending, Spending]:
    """By the task, and since it last got further."""
    limits, runs = facts.spending, facts.runs
    spent = _cost(runs[task.switches.budget_after :])
    in_vain = min(spent, _cost(since_accepted(runs)))
    return Spending(spent, _budget(limits.task_usd, task)), Spending(
        in_vain, _budget(limits.without_progress_usd, task)
    )


def _is_used_up(one: Spending) -> bool:
    return 0 < one.budget_usd <= one.spent_usd


def _budget(limit: float, task: Task) -> float:
    """0 is none. What an approver lets one run cost, the task may cost too."""
    return max(limit, float(task.switches.budget_usd)) if limit else 0.0


def _cost(runs: tuple[RunFact, ...]) -> float:
    return sum((run.cost_usd for run in runs), 0.0)

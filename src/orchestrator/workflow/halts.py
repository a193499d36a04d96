"""Why nothing is started, whatever the gates say."""

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Task, WorkItem
from orchestrator.qg import runs
from orchestrator.qg.facts import Absent, Facts
from orchestrator.qg.intake import archived, gone
from orchestrator.qg.verdict import Item
from orchestrator.workflow.pipeline import step_of_stage


def pause_of_task(*, is_posted: bool = False) -> Item:
    """What a paused task's runs wait for. A posted task has no work item on which anybody could comment."""
    whose = ("operator", "orch resume") if is_posted else ("approver", "/orch resume")
    return Item("paused", (), (), *whose)


def halted(task: Task, facts: Facts) -> tuple[Item, ...]:
    """The work item is gone or archived, or an approver cancelled: open runs are stopped too."""
    if isinstance(facts.item, Absent):
        return (gone(task),)
    if isinstance(facts.item, WorkItem) and facts.item.is_archived:
        return (archived(facts.item),)
    return cancelled(task)


def cancelled(task: Task) -> tuple[Item, ...]:
    whose = ("operator", "orch resume") if task.role else ("approver", "/orch resume")
    return (Item("cancelled", (), (), *whose),) if task.switches.is_cancelled else ()


def paused(task: Task) -> tuple[Item, ...]:
    """No run starts; what is at work goes on."""
    return (pause_of_task(is_posted=task.role is not None),) if task.switches.is_paused else ()


def run_items(facts: Facts) -> tuple[Item, ...]:
    """The runs that are waited for, or what they wait for themselves."""
    return tuple(
        run.waits_for
        or Item(
            f"run_{run.state}",
            (("role", step_of_stage(run.stage).role or ""), ("attempt", str(run.attempt))),
            who="agent",
            action="wait",
        )
        for run in runs.open_runs(facts)
    )


def unwritten(facts: Facts) -> tuple[Item, ...]:
    """What Plane or Gitea refuses to take from us. Usually a user lacks a right."""
    return tuple(
        [
            Item("not_written", (("what", one.kind), ("detail", one.why)), who="operator", action="orch doctor")
            for one in facts.unwritten
        ]
    )


def closed_pull(facts: Facts) -> tuple[Item, ...]:
    """The pull request was closed and not merged."""
    pull = facts.pull
    if not isinstance(pull, PullRequest) or pull.is_open or pull.is_merged:
        return ()
    params = (("number", str(pull.number)),)
    return (Item("pull_request_closed", params, (pull.url,), who="maintainer", action="reopen"),)

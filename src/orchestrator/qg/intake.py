"""QG-0: may the work begin."""

from orchestrator.domain.model import Project, Task, TriggerKind, WorkItem
from orchestrator.qg.facts import Absent, Facts, Unobserved
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting, closed


def intake(project: Project | None, task: Task, facts: Facts) -> Verdict:
    """QG-0: mapped project, the trigger holds, and the item is neither draft nor archived nor gone.

    A posted task names its repository itself, so the token that posted it is its trigger.
    """
    if task.plane_id is None:
        return Passed((Item("posted_through_api", (("repo", str(task.repo)),)),))
    if project is None:
        return Waiting((unmapped(task),))
    mapped = Item("project_mapped", (("repo", str(project.repo)),))
    if isinstance(facts.item, Unobserved):
        return Unknown(unseen(facts.item), (mapped,))
    if isinstance(facts.item, Absent):
        return Failed((gone(task),), (mapped,))
    return _of_item(project, task, facts.item, facts, mapped)


def unmapped(task: Task) -> Item:
    return Item("project_mapping", (("project", str(task.project)),), who="operator", action="orchestrator.yaml")


def gone(task: Task) -> Item:
    return Item("item_gone", (("item", str(task.plane_id)),), who="author", action="restore")


def archived(item: WorkItem) -> Item:
    return Item("item_is_archived", (("item", item.key),), who="author", action="restore")


def _of_item(project: Project, task: Task, item: WorkItem, facts: Facts, mapped: Item) -> Verdict:
    kind, value = project.trigger.kind, project.trigger.value
    params = (("trigger", kind.value), ("value", value))
    is_new = kind is TriggerKind.NEW_ITEM
    held = [mapped]
    missing = []
    if _is_triggered(kind, value, task, item, facts):
        held.append(Item("new_work_item", (), (item.id,)) if is_new else Item("triggered", params, (item.id,)))
    else:
        missing.append(Item("trigger", params, who="author", action=kind.value))
    return closed(_not_workable(item), missing, held)


def _not_workable(item: WorkItem) -> tuple[Item, ...]:
    if item.is_draft:
        return (Item("item_is_draft", (("item", item.key),), who="author", action="publish"),)
    return (archived(item),) if item.is_archived else ()


def _is_triggered(kind: TriggerKind, value: str, task: Task, item: WorkItem, facts: Facts) -> bool:
    if kind is TriggerKind.NEW_ITEM:
        return task.seen_created or (facts.since is not None and item.created_at >= facts.since)
    if kind is TriggerKind.LABEL:
        return value in item.labels
    if kind is TriggerKind.STATE:
        return value == item.state
    return value in item.assignees

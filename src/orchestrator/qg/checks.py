"""One function per gate. QG-0 is here; the others come with the stages behind analysis."""

from orchestrator.domain.model import Project, Task, TriggerKind, WorkItem
from orchestrator.qg.facts import Absent, Facts, Unobserved
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting


def intake(project: Project | None, task: Task, facts: Facts) -> Verdict:
    """QG-0: mapped project, the trigger holds, and the item is neither draft nor archived nor gone.

    A posted task names its repository itself, so the token that posted it is its trigger.
    """
    if task.plane_id is None:
        return Passed((Item("posted_through_api", (("repo", str(task.repo)),)),))
    if project is None:
        return Waiting((Item("project_mapping", (("project", str(task.project)),), who="operator"),))
    match facts.item:
        case Unobserved(code, detail):
            return Unknown((Item(code, (("detail", detail),), who="operator"),))
        case Absent():
            return Failed((Item("item_gone", (("item", task.plane_id),), who="author"),))
        case WorkItem():
            return _item_may_start(project, task, facts.item, facts)


def _item_may_start(project: Project, task: Task, item: WorkItem, facts: Facts) -> Verdict:
    reasons = tuple(
        Item(code, (("item", item.key),), who="author")
        for code, is_so in (("item_is_draft", item.is_draft), ("item_is_archived", item.is_archived))
        if is_so
    )
    if reasons:
        return Failed(reasons)
    kind, value = project.trigger.kind, project.trigger.value
    params = (("trigger", kind.value), ("value", value))
    if not _is_triggered(kind, value, task, item, facts):
        return Waiting((Item("trigger", params, who="author"),))
    return Passed((Item("project_mapped", (("repo", str(project.repo)),)), Item("triggered", params, (item.id,))))


def _is_triggered(kind: TriggerKind, value: str, task: Task, item: WorkItem, facts: Facts) -> bool:
    match kind:
        case TriggerKind.NEW_ITEM:
            return task.seen_created or (facts.since is not None and item.created_at >= facts.since)
        case TriggerKind.LABEL:
            return value in item.labels
        case TriggerKind.STATE:
            return value == item.state
        case TriggerKind.ASSIGNEE:
            return value in item.assignees

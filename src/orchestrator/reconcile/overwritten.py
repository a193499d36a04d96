"""What people wrote over of what we show them: where a look sees it, it is written again. Pure."""

from collections.abc import Iterator

from orchestrator.domain.effect import Effect, GateStatus
from orchestrator.domain.forge import Check
from orchestrator.domain.model import Branch, Task, WorkItem
from orchestrator.qg.facts import Unobserved
from orchestrator.reconcile.deliver import GATE_CONTEXT
from orchestrator.reconcile.observe import Observed


def suspects(task: Task, seen: Observed) -> Iterator[str]:
    """Keys of effects that do not stand there as ours, when they were carried out before this was seen."""
    if _is_comment_lost(f"{task.key}:standing", seen):
        yield f"{task.id}:standing:item"
    if isinstance(seen.branch, Branch) and _other_status(seen):
        yield f"{task.id}:status:{seen.branch.head}"


def is_overwritten(effect: Effect, seen: Observed) -> bool:
    """Of a suspect: a status of somebody else that says the same does no harm."""
    other = _other_status(seen)
    if not isinstance(effect, GateStatus) or other is None:
        return True
    return (other.state, other.description) != (effect.state, effect.description)


def _is_comment_lost(key: str, seen: Observed) -> bool:
    """Plane stores another markup than it is given, so who wrote it last is asked, not what stands there."""
    if isinstance(seen.comments, Unobserved) or not isinstance(seen.item, WorkItem):
        return False
    return key in seen.rewritten or key not in dict(seen.notes)


def _other_status(seen: Observed) -> Check | None:
    """The newest under our name, when it is not ours."""
    if isinstance(seen.checks, Unobserved) or not seen.us.orchestrator:
        return None
    newest = next((check for check in seen.checks if check.context == GATE_CONTEXT), None)
    return newest if newest and newest.creator != seen.us.orchestrator else None

"""Reads the truth through the ports and freezes it as Facts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import Branch, Project, RepoName, Stage, Task, WorkItem
from orchestrator.domain.run import RunState
from orchestrator.ports import Forge, Tracker
from orchestrator.qg.facts import Absent, Unobserved
from orchestrator.workflow.names import branch_name

log = structlog.get_logger()
T = TypeVar("T")
REFUSED_PAUSE_S = 300.0
"""After a refusal (a wrong token, say) nothing changes soon by itself."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen. `retry_in_s` is set when something could not be looked at."""

    item: WorkItem | Absent | Unobserved
    branch: Branch | Absent | Unobserved
    retry_in_s: float | None = None


class Observer:
    """Asks as little as the stage needs: nothing while a run is at work."""

    def __init__(self, tracker: Tracker | None, forge: Forge | None) -> None:
        self._tracker = tracker
        self._forge = forge

    async def look(self, project: Project | None, task: Task, open_run: RunState | None) -> Observed:
        if open_run is not None or task.stage is Stage.DONE:
            return Observed(Unobserved("not_needed"), Unobserved("not_needed"))
        item, item_retry = await self._item(project, task)
        branch, branch_retry = await self._branch(project, task, item)
        retries = [retry for retry in (item_retry, branch_retry) if retry is not None]
        return Observed(item, branch, min(retries, default=None))

    async def _item(
        self, project: Project | None, task: Task
    ) -> tuple[WorkItem | Absent | Unobserved, float | None]:
        if task.plane_id is None or task.project is None:
            return Absent(), None
        if task.stage is not Stage.CREATED or project is None:
            return Unobserved("not_needed"), None
        if self._tracker is None:
            return Unobserved("no_plane_token"), None
        tracker, ident, item = self._tracker, task.project, task.plane_id
        return await _asked(lambda: tracker.work_item(ident, item))

    async def _branch(
        self, project: Project | None, task: Task, item: WorkItem | Absent | Unobserved
    ) -> tuple[Branch | Absent | Unobserved, float | None]:
        where = _where(project, task, item)
        if where is None:
            return Unobserved("not_needed"), None
        if self._forge is None:
            return Unobserved("no_gitea_token"), None
        forge = self._forge
        return await _asked(lambda: forge.branch(*where))


def _where(
    project: Project | None, task: Task, item: WorkItem | Absent | Unobserved
) -> tuple[RepoName, str] | None:
    if task.repo is not None and task.branch:
        return task.repo, task.branch
    if project is not None and isinstance(item, WorkItem):
        return project.repo, branch_name(item.key, item.title)
    return None


async def _asked(ask: Callable[[], Awaitable[T | None]]) -> tuple[T | Absent | Unobserved, float | None]:
    try:
        found = await ask()
    except Transient as error:
        log.warning("look_failed", code=error.code, message=error.message)
        return Unobserved(error.code, error.message), error.retry_after_s or 0.0
    except Permanent as error:
        log.error("look_refused", code=error.code, message=error.message, hint=error.hint)
        return Unobserved(error.code, f"{error.message} {error.hint}".strip()), REFUSED_PAUSE_S
    return (Absent() if found is None else found), None

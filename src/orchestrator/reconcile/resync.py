"""A look at everything, by timer: heals deliveries that were lost. Bounded calls: one list per project."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import Project, TaskId, WorkItem
from orchestrator.loglimit import Complaints
from orchestrator.ports import Clock, Tracker
from orchestrator.store import tasks, watermarks


@dataclass(frozen=True, slots=True)
class Found:
    """`changed`: their work items moved. `to_poll`: what they rest on may have moved and nobody told of it;
    looking is the only way to know. `is_whole`: no project was left for the next time.
    """

    changed: tuple[TaskId, ...] = ()
    to_poll: tuple[TaskId, ...] = ()
    is_whole: bool = True


class Resync:
    """Returns whom to wake; wakes nobody itself."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        tracker: Tracker | None,
        projects: Callable[[], Sequence[Project]],
        complaints: Complaints,
    ) -> None:
        self._database = database
        self._clock = clock
        self._tracker = tracker
        self._projects = projects
        self._complaints = complaints

    async def look(self) -> Found:
        """One call a project, down to what is known; a project that cannot be read is left for the next time."""
        changed: list[TaskId] = []
        is_whole = True
        for project in self._projects():
            try:
                changed += await self._of_project(project)
            except OrchestratorError as error:
                is_whole = is_whole and not isinstance(error, Transient)
                self._complaints.say("resync_failed", error, project=project.id)
        to_poll = await self._database.read(tasks.under_way)
        return Found(tuple(dict.fromkeys(changed)), tuple(to_poll), is_whole)

    async def _of_project(self, project: Project) -> list[TaskId]:
        now = self._clock.now()
        mark = await self._database.write(lambda connection: watermarks.ensure(connection, project.id, now))
        if self._tracker is None:
            return []
        items = await self._tracker.changed_items(project.id, mark.seen_until)
        unseen = [item for item in items if item.updated_at > mark.seen_until]
        if not unseen:
            return []
        return await self._database.write(lambda connection: _ensure(connection, project, unseen, now))


def _ensure(connection: Connection, project: Project, items: Sequence[WorkItem], now: datetime) -> list[TaskId]:
    woken = [tasks.ensure_for_listed(connection, item, now) for item in items]
    watermarks.advance(connection, project.id, max(item.updated_at for item in items))
    return woken

"""A look at everything, by timer: heals deliveries that were lost. Bounded calls: one list per project."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.model import Project, TaskId, WorkItem
from orchestrator.loglimit import LogLimit
from orchestrator.ports import Clock, Tracker
from orchestrator.store import tasks, watermarks

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """`changed`: their work items moved. `to_poll`: what they wait for lies on the forge, which may have
    told of it in vain; looking is the only way to know.
    """

    changed: tuple[TaskId, ...] = ()
    to_poll: tuple[TaskId, ...] = ()


class Resync:
    """Returns whom to wake; wakes nobody itself."""

    def __init__(
        self, database: Database, clock: Clock, tracker: Tracker | None, projects: Callable[[], Sequence[Project]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._tracker = tracker
        self._projects = projects
        self._quiet = LogLimit()

    async def look(self) -> Found:
        """One call a project, down to what is known; a project that cannot be read is left for the next time."""
        changed: list[TaskId] = []
        for project in self._projects():
            try:
                changed += await self._of_project(project)
            except OrchestratorError as error:
                self._complain(project, error)
        to_poll = await self._database.read(tasks.at_the_forge)
        return Found(tuple(dict.fromkeys(changed)), tuple(to_poll))

    def _complain(self, project: Project, error: OrchestratorError) -> None:
        unsaid = self._quiet.unsaid(error.code, self._clock.monotonic())
        if unsaid is not None:
            said = {"code": error.code, "message": error.message, "more_since_last": unsaid}
            log.warning("resync_failed", project=project.id, **said)

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

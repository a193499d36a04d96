"""A look at everything, by timer: heals deliveries that were lost. Bounded calls: one list of changes per project,
and one of all that is there, since nobody tells of what is gone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import Project, ProjectId, TaskId, WorkItem
from orchestrator.domain.tracker import Changes
from orchestrator.loglimit import Complaints
from orchestrator.ports import Clock, Tracker
from orchestrator.store import tasks, watermarks

log = structlog.get_logger()
_IN_PARTS = "More work items changed than are read at once. The next resyncs read the rest; nothing is left out."
ITEMS_A_CALL = 1000
"""A project with more is asked for all its work items less often than for its changes."""
RESTS_OF_MANY = 100
"""Of a project with more than we read: the reading was in vain."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Of a list of changes that was too long for one time: where it goes on, with one page read twice."""

    page: int
    oldest: datetime
    """Of what was read: older is what follows."""
    newest: datetime
    """Of all of it: up to there all is known when the rest was read."""

    def is_followed_by(self, items: Sequence[WorkItem]) -> bool:
        """False when so much was deleted meanwhile that something may lie between."""
        return bool(items) and items[0].updated_at >= self.oldest


@dataclass(frozen=True, slots=True)
class Moved:
    """`tasks`: whose work items changed, went or came back. `is_whole`: no project was left for the next time."""

    tasks: tuple[TaskId, ...] = ()
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
        self._gone: dict[ProjectId, frozenset[TaskId]] = {}
        self._rests: dict[ProjectId, int] = {}
        self._unread: dict[ProjectId, _Rest] = {}

    async def to_poll(self) -> Sequence[TaskId]:
        """What they rest on at the forge may have moved and nobody told of it; looking is the only way to know."""
        return await self._database.read(tasks.under_way)

    async def moved(self) -> Moved:
        """Whose work items changed, went or came back. One call a project, down to what is known, and one for a
        thousand of its work items, at most one such in the mean of many times. A project that cannot be read is
        left for the next time.
        """
        found: list[TaskId] = []
        is_whole = True
        for project in self._projects():
            try:
                found += await self._of_project(project)
                found += await self._gone_or_back(project)
            except OrchestratorError as error:
                is_whole = is_whole and not isinstance(error, Transient)
                self._complaints.say("resync_failed", error, project=project.id)
        return Moved(tuple(dict.fromkeys(found)), is_whole)

    async def _of_project(self, project: Project) -> list[TaskId]:
        now = self._clock.now()
        mark = await self._database.write(lambda connection: watermarks.ensure(connection, project.id, now))
        if self._tracker is None:
            return []
        rest = self._unread.get(project.id)
        changes = await self._tracker.changed_items(project.id, mark.seen_until, rest.page if rest else 0)
        unseen = [item for item in changes.items if item.updated_at > mark.seen_until]
        seen_until = self._known(project.id, rest, changes, mark.seen_until)
        if not unseen and seen_until == mark.seen_until:
            return []
        return await self._database.write(lambda connection: _ensure(connection, project, unseen, seen_until, now))

    def _known(self, project: ProjectId, rest: _Rest | None, changes: Changes, mark: datetime) -> datetime:
        """Up to when all changes have been read. While there is a rest that is as before: newest come first, so
        what lies between would be taken for known. A restart begins such a list anew.
        """
        self._unread.pop(project, None)
        if rest and not rest.is_followed_by(changes.items):
            return mark
        newest = rest.newest if rest else max((item.updated_at for item in changes.items), default=mark)
        if changes.next_page is None or not changes.items or changes.items[-1].updated_at <= mark:
            return max(newest, mark)
        self._unread[project] = _Rest(changes.next_page - 1, changes.items[-1].updated_at, newest)
        log.warning("changes_in_parts", project=project, read=len(changes.items), hint=_IN_PARTS)
        return mark

    async def _gone_or_back(self, project: Project) -> Iterable[TaskId]:
        """A task is named once when its work item is not listed any more, and once when it is again."""
        self._rests[project.id] = self._rests.get(project.id, 0) - 1
        if self._tracker is None or self._rests[project.id] >= 0:
            return ()
        under_way = await self._database.read(lambda connection: tasks.items_under_way(connection, project.id))
        listed = await self._tracker.listed_items(project.id) if under_way else ()
        if listed is None:
            self._rests[project.id] = RESTS_OF_MANY
            log.warning("too_many_items", project=project.id)
            return ()
        self._rests[project.id] = len(listed) // ITEMS_A_CALL
        gone = frozenset(task for item, task in under_way.items() if item not in listed)
        before = self._gone.get(project.id, frozenset())
        self._gone[project.id] = gone
        return sorted(gone ^ before)


def _ensure(
    connection: Connection, project: Project, items: Sequence[WorkItem], seen_until: datetime, now: datetime
) -> list[TaskId]:
    woken = [tasks.ensure_for_listed(connection, item, now) for item in items]
    watermarks.advance(connection, project.id, seen_until)
    return woken

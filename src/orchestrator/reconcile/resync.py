"""A look at everything, by timer: heals deliveries that were lost. Bounded calls: one list of changes per project,
and one of all that is there, since nobody tells of what is gone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import Project, ProjectId, TaskId, WorkItem, WorkItemId
from orchestrator.domain.tracker import NO_MARGIN, Changes
from orchestrator.loglimit import Complaints
from orchestrator.ports import Clock, Tracker
from orchestrator.store import tasks, watermarks
from orchestrator.store.watermarks import Watermark

log = structlog.get_logger()
_IN_PARTS = (
    "More work items changed than are read at once, or some were deleted meanwhile. The next resyncs read the "
    "rest; nothing is left out."
)
ITEMS_A_CALL = 1000
"""A project with more is asked for all its work items less often than for its changes."""
RESTS_OF_MANY = 100
"""Of a project with more than we read: the reading was in vain."""
RESTS_OF_IDLE = 10
"""Of a project of which no task has begun: nothing runs in vain, only a reason is an old one."""
LATE = timedelta(seconds=60)
"""So much later than its stamp says a change may appear: it is committed a moment after, or stamped elsewhere."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Of a list of changes that was not read to its end at once: where it goes on, with one page read twice."""

    page: int
    oldest: datetime
    """Of what was read: older is what follows."""
    newest: datetime
    """Of all of it: up to there all is known when the rest was read."""
    since: datetime
    """Down to where it is read."""

    def is_followed_by(self, items: Sequence[WorkItem]) -> bool:
        """False when so much was deleted meanwhile that something may lie between."""
        return bool(items) and items[0].updated_at >= self.oldest


@dataclass(frozen=True, slots=True)
class _Reading:
    """What came of a list of changes. `is_broken`: what went before does not join on, so it is read anew."""

    changes: Changes
    unseen: tuple[WorkItem, ...]
    seen_until: datetime
    rest: _Rest | None = None
    is_broken: bool = False


@dataclass(slots=True)
class _Known:
    """Of one project: what was read above its mark and a little below, by the stamps that it had; such are listed
    again and again. `is_first`: nothing was read since we follow it, so what lies before that is known anyway.
    """

    stamps: dict[WorkItemId, datetime] = field(default_factory=dict)
    rest: _Rest | None = None
    is_first: bool = False

    def since(self, mark: Watermark) -> datetime:
        """Down to where a list of changes is read, whatever that costs."""
        if self.rest:
            return self.rest.since
        return mark.since if self.is_first else max([mark.seen_until, *self.stamps.values()])

    def margin(self, mark: Watermark) -> timedelta:
        """How far below that items count which are on a page that is read anyway."""
        lowest = mark.seen_until if self.is_first else mark.seen_until - LATE
        return max(self.since(mark) - lowest, NO_MARGIN)

    def reading(self, changes: Changes, mark: Watermark, now: datetime) -> _Reading:
        """While there is a rest the mark stays: newest come first, so what lies between would be taken for known.
        A restart begins such a list anew.
        """
        unseen = tuple(item for item in changes.items if self._is_news(item, mark))
        if self.rest and not self.rest.is_followed_by(changes.items):
            return _Reading(changes, unseen, mark.seen_until, is_broken=True)
        newest, since = _newest(changes, mark, now), self.since(mark)
        newest = max(self.rest.newest, newest) if self.rest else newest
        if changes.next_page is None or not changes.items or changes.items[-1].updated_at <= since:
            return _Reading(changes, unseen, newest)
        rest = _Rest(changes.next_page - 1, changes.items[-1].updated_at, newest, since)
        return _Reading(changes, unseen, mark.seen_until, rest)

    def _is_news(self, item: WorkItem, mark: Watermark) -> bool:
        is_before = self.is_first and item.updated_at <= mark.since
        return not is_before and self.stamps.get(item.id) != item.updated_at

    def keep(self, reading: _Reading) -> None:
        """After what is new was stored."""
        read = {item.id: item.updated_at for item in reading.changes.items}
        known = {} if reading.is_broken else self.stamps | read
        self.stamps = {item: at for item, at in known.items() if at >= reading.seen_until - LATE}
        self.is_first = self.is_first and (reading.is_broken or reading.rest is not None)
        self.rest = reading.rest


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
        self._idle: dict[ProjectId, int] = {}
        self._known: dict[ProjectId, _Known] = {}

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
        known = self._known.setdefault(project.id, _Known())
        known.is_first = known.is_first or mark.is_new
        if self._tracker is None:
            return []
        page = known.rest.page if known.rest else 0
        changes = await self._tracker.changed_items(project.id, known.since(mark), page, known.margin(mark))
        reading = known.reading(changes, mark, now)
        woken: list[TaskId] = []
        if reading.unseen or reading.seen_until != mark.seen_until:
            woken = await self._database.write(lambda connection: _ensure(connection, project, reading, now))
        known.keep(reading)
        if reading.rest:
            log.warning("changes_in_parts", project=project.id, read=len(changes.items), hint=_IN_PARTS)
        return woken

    async def _gone_or_back(self, project: Project) -> Iterable[TaskId]:
        """A task is named once when its work item is not listed any more, and once when it is again."""
        self._rests[project.id] = self._rests.get(project.id, 0) - 1
        if self._tracker is None or self._rests[project.id] >= 0:
            return ()
        ours = await self._that_may_go(project.id)
        if ours is None:
            return ()
        listed = await self._tracker.listed_items(project.id) if ours else ()
        if listed is None:
            self._rests[project.id] = RESTS_OF_MANY
            log.warning("too_many_items", project=project.id)
            return ()
        self._rests[project.id] = len(listed) // ITEMS_A_CALL
        gone = frozenset(task for item, task in ours.items() if item not in listed)
        before = self._gone.get(project.id, frozenset())
        self._gone[project.id] = gone
        return sorted(gone ^ before)

    async def _that_may_go(self, project: ProjectId) -> dict[WorkItemId, TaskId] | None:
        """None while only such are left as have not begun, and they were asked about lately."""
        begun, others = await self._database.read(
            lambda connection: (
                tasks.items_under_way(connection, project),
                tasks.items_not_begun(connection, project),
            )
        )
        idle = self._idle[project] = self._idle.get(project, 0) + 1 if others and not begun else 0
        return None if idle % RESTS_OF_IDLE else begun | others


def _newest(changes: Changes, mark: Watermark, now: datetime) -> datetime:
    """Up to when all is known when all of it has been read. What is stamped later than now does not count: it may
    be the tracker's clock that is wrong, and when that is set right its changes would lie below.
    """
    return max([mark.seen_until, *(item.updated_at for item in changes.items if item.updated_at <= now)])


def _ensure(connection: Connection, project: Project, reading: _Reading, now: datetime) -> list[TaskId]:
    woken = [tasks.ensure_for_listed(connection, item, now) for item in reading.unseen]
    watermarks.advance(connection, project.id, reading.seen_until)
    return woken

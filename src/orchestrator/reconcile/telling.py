"""What people are told: of decisions, and of what keeps a task where no decision can say it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.effect import Again
from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import Task, TaskId
from orchestrator.ports import Clock
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.course import Course, Rows, Step, branches
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.observe import REFUSED_PAUSE_S, Observer
from orchestrator.reconcile.writeback import Addresses, Planned, named_people, planned
from orchestrator.store import canonical, journal, outbox, tasks
from orchestrator.store.decisions import Basis
from orchestrator.workflow.decision import Decision


@dataclass(frozen=True, slots=True)
class Telling:
    """`addresses` begin the links that people get."""

    database: Database
    clock: Clock
    observer: Observer
    delivery: Delivery
    addresses: Addresses

    async def of_step(self, step: Step, *, is_shown: bool) -> tuple[Planned, ...]:
        """People are not shown that a branch is about to be made, but what comes of it: see `branch_not_made`."""
        is_shown = is_shown and not branches(step.decision)
        if is_shown not in step.told:
            step.told[is_shown] = await self._planned(step.basis, step.decision, is_shown=is_shown)
        return step.told[is_shown]

    async def of_way(self, way: Sequence[Step], rows: Rows) -> list[Planned]:
        """All that is told when these steps are committed. What has to be asked for it is asked once."""
        new = [step for step in way if step.is_new]
        return await (self._of_steps(new) if new or not rows.unwritten else self._anew(way[-1]))

    async def _of_steps(self, new: Sequence[Step]) -> list[Planned]:
        """The last is where the way ends, and is shown."""
        return [one for step in new for one in await self.of_step(step, is_shown=step is new[-1])]

    async def _anew(self, step: Step) -> list[Planned]:
        """What was refused may be another thing by now: people corrected the configuration."""
        return [one for one in await self.of_step(step, is_shown=True) if one.again is Again.WHEN_CHANGED]

    async def key_taken(self, course: Course, step: Step, other: Task) -> float:
        """Another task has the key that this one is to get. Returns how long to wait at least."""
        params = (("key", other.key), ("other", other.title))
        item = Item("key_taken", params, who="operator", action="rename_project")
        return await self._told_only(course, step, item, REFUSED_PAUSE_S)

    async def branch_not_made(self, course: Course, error: OrchestratorError) -> float:
        """As above, for the branch that the last step wanted."""
        step = course.steps[-1]
        self.delivery.complaints.say("branch_not_created", error, task=step.basis.task.id)
        detail = f"{error.message} {error.hint}".strip()
        item = Item(error.code, (("detail", detail),), who="operator", action="orch doctor")
        own_s = (error.retry_after_s or 0.0) if isinstance(error, Transient) else REFUSED_PAUSE_S
        return await self._told_only(course, step, item, own_s)

    async def stuck(self, task: TaskId, item: Item) -> None:
        """Records something that no decision knows of as the reason why the task waits."""
        now = self.clock.now()
        await self.database.write(lambda connection: tasks.stuck(connection, task, (item,), now))

    async def _planned(self, basis: Basis, decision: Decision, *, is_shown: bool) -> tuple[Planned, ...]:
        project = basis.project
        people = await self.observer.people(project, named_people(decision)) if project else ()
        return planned(basis, decision, self.addresses, people, is_shown=is_shown)

    async def _told_only(self, course: Course, step: Step, item: Item, pause_s: float) -> float:
        """No decision comes of it, so people are told here: it may last, and be the first that they hear of us."""
        seen, task = course.seen, course.rows.after(step).task
        assert seen is not None  # noqa: S101 - the step rests on it
        shown = await self._planned(step.basis, replace(step.decision, actions=(), waiting=(item,)), is_shown=True)
        await self._stuck_and_shown(course.rows, item, shown)
        delivered = await self.delivery.deliver(task, dict(seen.notes))
        return pause_s if delivered.again_in_s is None else min(pause_s, delivered.again_in_s)

    async def _stuck_and_shown(self, rows: Rows, item: Item, shown: Sequence[Planned]) -> None:
        now, task = self.clock.now(), rows.task.id

        def commit(connection: Connection) -> None:
            tasks.stuck(connection, task, (item,), now, rows.waiting)
            if rows.newest_event:
                journal.mark_processed(connection, task, rows.newest_event)
            queue(connection, task, shown, now)

        await self.database.write(commit)


def queue(connection: Connection, task: TaskId, every: Sequence[Planned], now: datetime) -> None:
    """Into the outbox, in the transaction of what they tell of."""
    for one in every:
        kind, arguments = type(one.effect).__name__, canonical.encode(one.effect)
        outbox.queue(connection, task, one.key, kind, arguments, now, again=one.again)

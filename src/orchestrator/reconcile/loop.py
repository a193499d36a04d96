"""One look at one task: read, decide, apply in one transaction, then carry out what was decided."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import Branch, Project, ProjectId, RunId, Stage, Task, TaskId
from orchestrator.ports import Clock, Engine
from orchestrator.qg.facts import (
    NOT_NEEDED,
    Absent,
    Unobserved,
)
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.basis import as_seen, basis_of, blobs, limits, without_news
from orchestrator.reconcile.course import Course, Rows, Step, branches
from orchestrator.reconcile.deliver import Delivery, makes_a_look_due
from orchestrator.reconcile.dispatch import Dispatch, Round
from orchestrator.reconcile.observe import (
    FIELDS,
    OF_TRACKER,
    PRESUMED,
    Forges,
    Observed,
    Observer,
)
from orchestrator.reconcile.options import Options
from orchestrator.reconcile.put_right import PutRight
from orchestrator.reconcile.telling import Telling, queue
from orchestrator.store import approvals, decisions, journal, outbox, runs, sightings, tasks
from orchestrator.store.sightings import Sightings
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, EnsureBranch, StartRun, StopRun
from orchestrator.workflow.needs import Look, needs
from orchestrator.workflow.rests import resting_until

log = structlog.get_logger()
MAX_STEPS = 16
"""Decisions in one look: one a stage, and one for each thing that had to be made first. More would be a loop."""
SOON_S = 5.0
MAX_REST_S = 3600.0
"""How long a timer runs at most: the date may be changed meanwhile."""
_CHECKED_SOON = "pull_request_not_mergeable"
"""The forge says so too while it is still finding out, and tells nobody when it knows."""
_TURNS_TO_LEAVE = 2
"""Of the event loop, until a request has left over an open connection: one for its head, one for its body."""
_POLLED = frozenset({Stage.CI, Stage.REVIEW, Stage.TESTING, Stage.READY})


@dataclass(frozen=True, slots=True)
class Looked:
    """`again_in_s` is set when something could not be done now: at least so long to wait, 0 to be chosen.
    `poll_in_s`: the forge will not tell of what is waited for.
    """

    again_in_s: float | None = None
    poll_in_s: float | None = None


class Reconciler:
    """Called by the engine, for one task at a time. Calling it twice changes nothing."""

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root names each
        self,
        database: Database,
        clock: Clock,
        observer: Observer,
        delivery: Delivery,
        project_of: Callable[[ProjectId | None], Project | None],
        options: Options,
        dispatch: Dispatch,
    ) -> None:
        self._database = database
        self._clock = clock
        self._observer = observer
        self._delivery = delivery
        self._project_of = project_of
        self._options = options
        self._dispatch = dispatch
        self._put_right = PutRight(database)
        self._telling = Telling(database, clock, observer, delivery, options.addresses)

    @property
    def _forges(self) -> Forges:
        return self._delivery.forges

    async def look(self, task: TaskId, engine: Engine, *, is_kept: bool = False) -> Looked:
        """Decides until nothing is left to do at once. Raises Transient when our own database is unavailable.
        `is_kept`: what was seen is kept for the next poll though nothing new was decided of it.
        """
        course = self._course(task, is_kept=is_kept)
        for _ in range(MAX_STEPS):
            step = await self._decide(course)
            if await self._has_moved(course, step):
                course = self._course(task, is_kept=is_kept)
                continue
            if other := self._namesake(course, step):
                return Looked(await self._telling.key_taken(course, step, other))
            course.steps = (*course.steps, step)
            looked = await self._carry_on(course, step, engine)
            if looked is not None:
                return looked
        raise Permanent(
            "no_rest", f"Task {task} was decided {MAX_STEPS} times in one look without coming to rest."
        )

    def _course(self, task: TaskId, *, is_kept: bool) -> Course:
        return Course(self._rows(task), self._clock.now(), is_kept)

    def _rows(self, task: TaskId) -> Rows:
        """Here and not in a thread: a few look-ups by key take less time than to change threads and back."""
        return self._database.read_now(lambda connection: self._read(connection, task))

    async def _decide(self, course: Course) -> Step:
        rows = course.rows
        wanted = needs(rows.task, is_run_open=rows.open_run() is not None)
        course.seen = await self._observer.look(rows.project, rows.task, wanted, course.seen)
        course.rows = rows = replace(rows, sightings=await self._sighted(rows, course.seen))
        basis = basis_of(rows, course.seen, self._options)
        for known in course.presumed:
            if known.basis == basis:
                return replace(known, is_new=known.digest != rows.decided)
        made = decisions.made(basis, decide(basis.project, basis.task, basis.facts))
        digest = made.digest
        return Step(made, digest, digest != rows.decided)

    async def _carry_on(self, course: Course, step: Step, engine: Engine) -> Looked | None:
        """None: there is more to decide at once."""
        task, seen = course.rows.task, course.seen
        assert seen is not None  # noqa: S101 - the step rests on it
        if step.is_passing:
            course.rows = course.rows.after(step)
            return None
        if wanted := branches(step.decision):
            return await self._branch_out(course, wanted[0], engine)
        await self._apply(course, engine)
        if step.decision.stage in {task.stage, Stage.DONE}:  # what people are told is the end of a way
            left_s = await self._put_right.queue(course.rows.task, seen, course.began)
            is_gone = isinstance(seen.item, Absent)
            here = course.rows.after(step).task
            delivered = await self._delivery.deliver(here, dict(seen.notes), is_item_gone=is_gone)
            if not delivered.changed:
                again_in_s = min((one for one in (delivered.again_in_s, left_s) if one is not None), default=None)
                return await self._rest(course.rows, step.decision, seen, again_in_s)
            course.seen = seen.forgetting(*delivered.changed)
        course.renew(self._rows(task.id))
        return None

    async def _branch_out(self, course: Course, wanted: EnsureBranch, engine: Engine) -> Looked | None:
        """The branch is made while the decision is committed, which begins when that request has left. It is the
        one effect that needs no record before it: its name is its key, made twice it is the same, and one without
        a record is found by the next look.
        """
        step, seen = course.steps[-1], course.seen
        assert seen is not None  # noqa: S101 - the step rests on it
        made, applied, ahead = await asyncio.gather(
            self._ensure(wanted),
            self._apply_meanwhile(course, wanted, engine),
            self._ahead(course.rows.after(step), seen),
            return_exceptions=True,
        )
        if isinstance(applied, BaseException):
            raise applied
        if isinstance(made, OrchestratorError):
            return Looked(await self._telling.branch_not_made(course, made))
        for fault in (made, ahead):
            if isinstance(fault, BaseException):
                raise fault
        assert isinstance(made, Branch)  # noqa: S101 - all else was raised
        assert isinstance(ahead, Observed)  # noqa: S101 - as above
        # The forge's answer is the newest truth: asking for it again would cost a call.
        course.renew(course.rows.after(step).answered())
        course.seen, course.has_made_branch = replace(ahead, branch=made), True
        return None

    async def _apply_meanwhile(self, course: Course, wanted: EnsureBranch, engine: Engine) -> None:
        await _others_leave()
        await self._apply(course, engine)
        course.presumed = await self._presume(course, wanted)

    async def _presume(self, course: Course, wanted: EnsureBranch) -> tuple[Step, ...]:
        """Decides on before the branch is there, and writes nothing: there is time while the forge makes it.
        Where the presumption is wrong, what was decided of it fits no facts, and is forgotten.
        """
        rows, seen = course.rows.after(course.steps[-1]), course.seen
        presumed = self._observer.presumption(rows.project, rows.task, wanted.name, seen) if seen else None
        ahead = Course(rows, course.began, seen=presumed)
        while presumed and len(ahead.steps) < MAX_STEPS and self._is_presumed(ahead.rows):
            step = await self._decide(ahead)
            await self._telling.of_step(step, is_shown=not step.is_passing)
            step.made.encode()
            ahead.steps = (*ahead.steps, step)
            if not step.is_passing:
                break
            ahead.rows = ahead.rows.after(step)
        return ahead.steps

    @staticmethod
    def _is_presumed(rows: Rows) -> bool:
        """All that is wanted is part of the presumption, and none of it would be journaled."""
        return needs(rows.task, is_run_open=False) <= PRESUMED and not rows.sightings.documents

    async def _ahead(self, rows: Rows, seen: Observed) -> Observed:
        """While the branch is made: sees what the next stage wants to know, as long as that is no document."""
        if rows.task.role is not None:
            return seen
        await _others_leave()
        return await self._observer.foresee(rows.project, rows.task, seen)

    async def poll(self, ident: TaskId) -> Looked | None:
        """A look at the forge and our rows alone; None when something moved there, so that a whole look is due.
        The tracker is asked nothing: it lists what changed there.

        That the decision is the stored one is not enough: what moved in the tracker since, and changed nothing
        then, could change something together with what moved on the forge.
        """
        rows, last, due = await self._database.read(
            lambda connection: (
                self._read(connection, ident),
                decisions.observed(connection, ident),
                outbox.due(connection, ident),
            )
        )
        if last is None or isinstance(last.item, Unobserved):
            return None
        is_gone = isinstance(last.item, Absent)
        if any(makes_a_look_due(row, is_item_gone=is_gone) for row in due):
            return None
        wanted = needs(rows.task, is_run_open=rows.open_run() is not None)
        if Look.REMARKS in wanted and isinstance(last.remarks, Unobserved):
            return None
        known = Observed(item=last.item)
        seen = await self._observer.look(rows.project, rows.task, wanted - OF_TRACKER, known)
        last = replace(last, **limits(self._options))
        if as_seen(last, rows, seen, wanted - OF_TRACKER) != last:
            return None
        decision = decide(rows.project, rows.task, last)
        is_same = decisions.digest(decision) == rows.decided
        return await self._rest(rows, decision, seen, None) if is_same else None

    async def is_wanted(self, ident: TaskId, start: StartRun) -> bool:
        """Reads the facts again for a run that waited for its turn: would it be decided now? Writes nothing; a
        document or a command that nobody saw before makes it unwanted, and the look that follows deals with it.
        Transient when it cannot be seen: then nobody knows.
        """
        rows = self._rows(ident)
        wanted = needs(rows.task, is_run_open=False)
        seen = await self._observer.look(rows.project, rows.task, wanted)
        for look in wanted:
            gap = getattr(seen, FIELDS[look])
            if isinstance(gap, Unobserved) and gap != NOT_NEEDED:
                raise Transient(gap.code, f"What the run rests on cannot be seen: {gap.detail}")
        known = without_news(rows, seen)
        if known is None:
            return False
        basis = basis_of(replace(rows, runs=rows.ended()), known, self._options)
        decision = decide(basis.project, basis.task, basis.facts)
        return any(_is_same(one, start) for one in decision.actions if isinstance(one, StartRun))

    async def _has_moved(self, course: Course, step: Step) -> bool:
        """A look takes many calls, and people push meanwhile: an agent is not started on a head of yesterday, and
        nobody is told to merge one. Transient when that cannot be seen: a gate that cannot look is closed.
        Of a start nothing is asked between this and the commit: what people are called is known before.
        """
        branch, task, forge = step.basis.facts.branch, step.basis.task, self._forges.orchestrator
        is_start = any(isinstance(action, StartRun) for action in step.decision.actions)
        is_ready = step.decision.stage is Stage.READY and task.stage is not Stage.READY
        if not (is_start or is_ready) or forge is None or task.repo is None or not isinstance(branch, Branch):
            return False
        if course.has_made_branch:
            return False
        await self._telling.of_way((*course.steps, step), course.rows)
        try:
            now = await forge.branch(task.repo, branch.name)
        except OrchestratorError as error:
            if is_ready and isinstance(error, Transient):
                raise
            return False  # whoever prepares the run meets the fault, and says it
        return now is not None and now.head != branch.head

    async def stuck(self, task: TaskId, item: Item) -> None:
        """Records something that no decision knows of as the reason why the task waits."""
        await self._telling.stuck(task, item)

    async def _rest(self, rows: Rows, decision: Decision, seen: Observed, again_in_s: float | None) -> Looked:
        looked = await self._poll_or_pause(decision, seen, again_in_s)
        if rows.resting_until is None or looked.again_in_s is not None:
            return looked
        left_s = max(0.0, (rows.resting_until - self._clock.now()).total_seconds())
        return Looked(poll_in_s=min(left_s, MAX_REST_S, looked.poll_in_s or left_s))

    async def _poll_or_pause(self, decision: Decision, seen: Observed, again_in_s: float | None) -> Looked:
        pauses = [one for one in (seen.retry_in_s, again_in_s) if one is not None]
        forge = self._forges.orchestrator
        if not pauses and any(item.code == _CHECKED_SOON for item in decision.waiting):
            return Looked(poll_in_s=SOON_S)
        if pauses or forge is None or decision.stage not in _POLLED:
            return Looked(min(pauses, default=None))
        is_told = (await forge.capabilities()).status_events
        return Looked(poll_in_s=None if is_told else self._options.poll_interval_s)

    def _read(self, connection: Connection, ident: TaskId) -> Rows:
        found = tasks.for_look(connection, ident)
        made = runs.facts_of(connection, ident)
        return Rows(
            self._project_of(found.task.project),
            found.task,
            made,
            found.since,
            found.newest_event,
            found.decided,
            sightings.of_task(connection, ident),
            resting_until(made, self._clock.now(), self._options.retry_pause_s),
            outbox.unwritten(connection, ident),
            found.waiting,
        )

    async def _sighted(self, rows: Rows, seen: Observed) -> Sightings:
        """Journals what was never seen before; see store/sightings.py for why in this order."""
        comments = seen.comments if not isinstance(seen.comments, Unobserved) else ()
        documents = blobs(seen, rows.sightings) if not isinstance(seen.documents, Unobserved) else {}
        new, moved = sightings.unseen(rows.sightings, comments, documents)
        if not new and not moved:
            return rows.sightings
        now, task = self._clock.now(), rows.task.id
        return await self._database.write(lambda connection: sightings.record(connection, task, new, moved, now))

    async def _apply(self, course: Course, engine: Engine) -> None:
        """The one transaction of some steps: decisions, stage, effects, runs, and the events that they answer."""
        now, rows, last = self._clock.now(), course.rows, course.steps[-1]
        new = [step for step in course.steps if step.is_new]
        effects = await self._telling.of_way(course.steps, rows)
        starts = [action for action in last.decision.actions if isinstance(action, StartRun)]

        def commit(connection: Connection) -> tuple[list[RunId], list[Round]]:
            for step in new:
                approvals.record(connection, step.basis, step.decision, now)
            if new:
                decisions.record(connection, [step.made for step in new], now)
                tasks.apply(connection, [step.made for step in new], now)
            if new or course.is_kept:
                decisions.observe(connection, rows.task.id, last.made.facts, now)
            queue(connection, rows.task.id, effects, now)
            if rows.newest_event:
                journal.mark_processed(connection, rows.task.id, rows.newest_event)
            begun = [runs.intend(connection, rows.task.id, start, str(uuid.uuid4()), now) for start in starts]
            return begun, [self._dispatch.intended(connection, run, now) for run in begun]

        intended, rounds = await self._database.write(commit)
        if new:
            _tell(new, intended)
        for one in rounds:
            _follow(one, engine, rows.task.id)
        if last.decision.switches.is_paused is not rows.task.switches.is_paused:
            engine.admit()
        await self._stop(rows.task.id, last.decision, engine)

    async def _stop(self, task: TaskId, decision: Decision, engine: Engine) -> None:
        stops = [action for action in decision.actions if isinstance(action, StopRun)]
        if stops:
            for run in await self._database.read(lambda connection: runs.open_of_task(connection, task)):
                await engine.cancel_run(run)

    async def _ensure(self, wanted: EnsureBranch) -> Branch:
        forge = self._forges.orchestrator
        assert forge is not None  # noqa: S101 - decided only after the forge was looked at
        branch = await forge.create_branch(wanted.repo, wanted.name, wanted.base)
        log.info("branch_ensured", repo=str(wanted.repo), branch=wanted.name)
        return branch

    def _namesake(self, course: Course, step: Step) -> Task | None:
        """Another task that has the key which this one is to get: its project was deleted and made anew, say. Both
        would share a folder of documents, and approvals of the one would count for the other.
        """
        who, task = step.decision.identity, course.rows.task
        if who is None or who.key == task.key:
            return None
        return self._database.read_now(lambda connection: tasks.by_key(connection, who.key))


def _follow(admitted: Round, engine: Engine, ourselves: TaskId) -> None:
    """Who waits for a moment is asked about then: the engine learns of it when it asks itself."""
    for run in admitted.starts:
        engine.start_run(run)
    for task in admitted.told:
        if task != ourselves:
            engine.wake(task, is_background=True)
    if admitted.again_in_s is not None:
        engine.admit()


async def _others_leave() -> None:
    """Returns when the requests that were begun before have left: while they wait for answers we are free."""
    for _ in range(_TURNS_TO_LEAVE):
        await asyncio.sleep(0)


def _tell(way: Sequence[Step], intended: list[RunId]) -> None:
    """One line for what was committed together: where it led, and from where."""
    task, reached = way[0].basis.task, way[-1].decision
    moved = {} if reached.stage is task.stage else {"was": task.stage}
    waiting = [item.code for item in reached.waiting]
    log.info("decided", task=task.id, **moved, stage=reached.stage, waiting=waiting, runs=intended)


def _is_same(one: StartRun, other: StartRun) -> bool:
    return (one.role, one.stage, one.base_sha) == (other.role, other.stage, other.base_sha)

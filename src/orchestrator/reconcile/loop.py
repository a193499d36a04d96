"""One look at one task: read, decide, apply in one transaction, then carry out what was decided."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.effect import Again
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import Branch, Project, ProjectId, RunId, Stage, Task, TaskId
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.run import RunState
from orchestrator.domain.tracker import Comment
from orchestrator.ports import Clock, Engine
from orchestrator.qg.commands import MAX_COMMANDS, commands
from orchestrator.qg.facts import (
    NO_SPENDING_LIMITS,
    NOT_NEEDED,
    Absent,
    Document,
    Facts,
    Remark,
    RunFact,
    SpendingLimits,
    Unobserved,
    Unwritten,
)
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.deliver import Delivery, decoded
from orchestrator.reconcile.dispatch import Dispatch, Round
from orchestrator.reconcile.observe import (
    FIELDS,
    MAX_REMEMBERED,
    NOBODY,
    OF_TRACKER,
    PRESUMED,
    REFUSED_PAUSE_S,
    Forges,
    Observed,
    Observer,
)
from orchestrator.reconcile.overwritten import is_overwritten, suspects
from orchestrator.reconcile.writeback import Addresses, Planned, named_people, planned
from orchestrator.store import approvals, canonical, decisions, journal, outbox, runs, sightings, tasks
from orchestrator.store.decisions import Basis, Made
from orchestrator.store.outbox import EffectRow
from orchestrator.store.sightings import Sightings
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, EnsureBranch, StartRun, StopRun
from orchestrator.workflow.needs import Look, needs
from orchestrator.workflow.rests import resting_until

log = structlog.get_logger()
MAX_STEPS = 16
"""Decisions in one look: one a stage, and one for each thing that had to be made first. More would be a loop."""
MAX_LINES = 40
MAX_REMARKS = 300
MAX_STRANGE_REMARKS = 50
"""Of people who are no approvers: only told of, as approvals that do not count."""
NOWHERE = Addresses()
SOON_S = 5.0
MAX_REST_S = 3600.0
"""How long a timer runs at most: the date may be changed meanwhile."""
PUT_RIGHT_S = 60.0
"""So long lies between two times that one thing is written again because others wrote over it."""
_NEVER = datetime.min.replace(tzinfo=UTC)
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """What our own database says, read in one snapshot."""

    project: Project | None
    task: Task
    runs: tuple[RunFact, ...]
    since: datetime | None
    newest_event: int
    decided: str | None
    sightings: Sightings
    resting_until: datetime | None = None
    unwritten: tuple[Unwritten, ...] = ()
    waiting: str = "[]"

    def ended(self) -> tuple[RunFact, ...]:
        return tuple(run for run in self.runs if run.state is RunState.ENDED)

    def open_run(self) -> RunState | None:
        return next((run.state for run in self.runs if run.state is not RunState.ENDED), None)

    def after(self, step: "_Step") -> "_Rows":
        """As they will be when the step is committed; it intends no run."""
        task = tasks.applied(step.basis, step.decision)
        return replace(self, task=task, decided=step.digest)

    def answered(self) -> "_Rows":
        """As they are when the events that were there are marked."""
        return replace(self, newest_event=0)


@dataclass(frozen=True, slots=True)
class _Step:
    """One decision. `is_new`: it differs from the one before. `told`: its effects as the last step of its commit
    and as an earlier one, as far as they are known.
    """

    made: Made
    digest: str
    is_new: bool
    told: dict[bool, tuple[Planned, ...]] = field(default_factory=dict)

    @property
    def basis(self) -> Basis:
        return self.made.basis

    @property
    def decision(self) -> Decision:
        return self.made.decision

    @property
    def is_passing(self) -> bool:
        """It moves to a stage that wants to see more, and nothing is to be done before that: it is committed
        together with what comes of it, since each commit waits for the disk.
        """
        is_moved = self.decision.stage is not self.basis.task.stage and self.decision.stage is not Stage.DONE
        return is_moved and not any(isinstance(one, StartRun | StopRun) for one in self.decision.actions)


@dataclass(slots=True)
class _Course:
    """How far one look is: what the database says, what was seen outside, the steps that are not committed yet."""

    rows: _Rows
    began: datetime
    """Before anything was seen."""
    is_kept: bool = False
    """What was seen is kept for the next poll though nothing new was decided of it."""
    seen: Observed | None = None
    steps: tuple[_Step, ...] = ()
    presumed: tuple[_Step, ...] = ()
    """What is decided if all goes as it mostly does; counts only for the very facts that it was decided of."""
    has_made_branch: bool = False

    def renew(self, rows: _Rows) -> None:
        """After a commit. What a run published is newer than what was seen before it ended."""
        if rows.ended() != self.rows.ended():
            self.seen = None
        self.rows, self.steps = rows, ()


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator sets. `addresses` begin the links that people get."""

    max_attempts: int = 3
    max_runs_without_progress: int = 40
    retry_pause_s: float = 0.0
    """The first rest after a fault that passes; the next ones double."""
    addresses: Addresses = NOWHERE
    poll_interval_s: float = 30.0
    spending: SpendingLimits = NO_SPENDING_LIMITS


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
        self._put_right_at: dict[str, datetime] = {}

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
                return await self._not_named(course, step, other)
            course.steps = (*course.steps, step)
            looked = await self._carry_on(course, step, engine)
            if looked is not None:
                return looked
        raise Permanent(
            "no_rest", f"Task {task} was decided {MAX_STEPS} times in one look without coming to rest."
        )

    def _course(self, task: TaskId, *, is_kept: bool) -> _Course:
        return _Course(self._rows(task), self._clock.now(), is_kept)

    def _rows(self, task: TaskId) -> _Rows:
        """Here and not in a thread: a few look-ups by key take less time than to change threads and back."""
        return self._database.read_now(lambda connection: self._read(connection, task))

    async def _decide(self, course: _Course) -> _Step:
        rows = course.rows
        wanted = needs(rows.task, is_run_open=rows.open_run() is not None)
        course.seen = await self._observer.look(rows.project, rows.task, wanted, course.seen)
        course.rows = rows = replace(rows, sightings=await self._sighted(rows, course.seen))
        basis = self._basis(rows, course.seen)
        for known in course.presumed:
            if known.basis == basis:
                return replace(known, is_new=known.digest != rows.decided)
        made = decisions.made(basis, decide(basis.project, basis.task, basis.facts))
        digest = made.digest
        return _Step(made, digest, digest != rows.decided)

    async def _carry_on(self, course: _Course, step: _Step, engine: Engine) -> Looked | None:
        """None: there is more to decide at once."""
        task, seen = course.rows.task, course.seen
        assert seen is not None  # noqa: S101 - the step rests on it
        if step.is_passing:
            course.rows = course.rows.after(step)
            return None
        if branches := _branches(step.decision):
            return await self._branch_out(course, branches[0], engine)
        await self._apply(course, engine)
        if step.decision.stage in {task.stage, Stage.DONE}:  # what people are told is the end of a way
            left_s = await self._put_right(course)
            is_gone = isinstance(seen.item, Absent)
            delivered = await self._delivery.deliver(task, dict(seen.notes), is_item_gone=is_gone)
            if not delivered.changed:
                again_in_s = min((one for one in (delivered.again_in_s, left_s) if one is not None), default=None)
                return await self._rest(course.rows, step.decision, seen, again_in_s)
            course.seen = seen.forgetting(*delivered.changed)
        course.renew(self._rows(task.id))
        return None

    async def _branch_out(self, course: _Course, wanted: EnsureBranch, engine: Engine) -> Looked | None:
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
            return await self._not_created(course, made)
        for fault in (made, ahead):
            if isinstance(fault, BaseException):
                raise fault
        assert isinstance(made, Branch)  # noqa: S101 - all else was raised
        assert isinstance(ahead, Observed)  # noqa: S101 - as above
        # The forge's answer is the newest truth: asking for it again would cost a call.
        course.renew(course.rows.after(step).answered())
        course.seen, course.has_made_branch = replace(ahead, branch=made), True
        return None

    async def _apply_meanwhile(self, course: _Course, wanted: EnsureBranch, engine: Engine) -> None:
        await _others_leave()
        await self._apply(course, engine)
        course.presumed = await self._presume(course, wanted)

    async def _presume(self, course: _Course, wanted: EnsureBranch) -> tuple[_Step, ...]:
        """Decides on before the branch is there, and writes nothing: there is time while the forge makes it.
        Where the presumption is wrong, what was decided of it fits no facts, and is forgotten.
        """
        rows, seen = course.rows.after(course.steps[-1]), course.seen
        presumed = self._observer.presumption(rows.project, rows.task, wanted.name, seen) if seen else None
        ahead = _Course(rows, course.began, seen=presumed)
        while presumed and len(ahead.steps) < MAX_STEPS and self._is_presumed(ahead.rows):
            step = await self._decide(ahead)
            step.told[not step.is_passing] = await self._effects(step, is_shown=not step.is_passing)
            step.made.encode()
            ahead.steps = (*ahead.steps, step)
            if not step.is_passing:
                break
            ahead.rows = ahead.rows.after(step)
        return ahead.steps

    @staticmethod
    def _is_presumed(rows: _Rows) -> bool:
        """All that is wanted is part of the presumption, and none of it would be journaled."""
        return needs(rows.task, is_run_open=False) <= PRESUMED and not rows.sightings.documents

    async def _ahead(self, rows: _Rows, seen: Observed) -> Observed:
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
        if last is None or due or isinstance(last.item, Unobserved):
            return None
        wanted = needs(rows.task, is_run_open=rows.open_run() is not None)
        if Look.REMARKS in wanted and isinstance(last.remarks, Unobserved):
            return None
        known = Observed(item=last.item)
        seen = await self._observer.look(rows.project, rows.task, wanted - OF_TRACKER, known)
        last = replace(
            last,
            max_attempts=self._options.max_attempts,
            max_runs_without_progress=self._options.max_runs_without_progress,
            spending=self._options.spending,
        )
        if _as_seen(last, rows, seen, wanted - OF_TRACKER) != last:
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
        known = _without_news(rows, seen)
        if known is None:
            return False
        basis = self._basis(replace(rows, runs=rows.ended()), known)
        decision = decide(basis.project, basis.task, basis.facts)
        return any(_is_same(one, start) for one in decision.actions if isinstance(one, StartRun))

    async def _has_moved(self, course: _Course, step: _Step) -> bool:
        """A look takes many calls, and people push meanwhile: an agent is not started on a head of yesterday."""
        branch, task, forge = step.basis.facts.branch, step.basis.task, self._forges.orchestrator
        is_start = any(isinstance(action, StartRun) for action in step.decision.actions)
        if not is_start or forge is None or task.repo is None or not isinstance(branch, Branch):
            return False
        if course.has_made_branch:
            return False
        try:
            now = await forge.branch(task.repo, branch.name)
        except OrchestratorError:
            return False  # whoever prepares the run meets the fault, and says it
        return now is not None and now.head != branch.head

    async def stuck(self, task: TaskId, item: Item) -> None:
        """Records something that no decision knows of as the reason why the task waits."""
        now = self._clock.now()
        await self._database.write(lambda connection: tasks.stuck(connection, task, (item,), now))

    async def _rest(self, rows: _Rows, decision: Decision, seen: Observed, again_in_s: float | None) -> Looked:
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

    def _read(self, connection: Connection, ident: TaskId) -> _Rows:
        found = tasks.for_look(connection, ident)
        made = runs.facts_of(connection, ident)
        return _Rows(
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

    def _basis(self, rows: _Rows, seen: Observed) -> Basis:
        known = rows.sightings
        facts = Facts(
            item=seen.item,
            branch=seen.branch,
            runs=rows.runs,
            since=rows.since,
            max_attempts=self._options.max_attempts,
            max_runs_without_progress=self._options.max_runs_without_progress,
            resting_until=rows.resting_until,
            spending=self._options.spending,
            documents=_documents(seen, known),
            remarks=_remarks(rows.project, seen, known),
            changed_paths=seen.changed_paths,
            pull=seen.pull,
            rules=seen.rules,
            reviews=seen.reviews,
            checks=seen.checks,
            us=seen.us,
            unwritten=rows.unwritten,
        )
        return Basis(rows.project, rows.task, facts)

    async def _sighted(self, rows: _Rows, seen: Observed) -> Sightings:
        """Journals what was never seen before; see store/sightings.py for why in this order."""
        comments = seen.comments if not isinstance(seen.comments, Unobserved) else ()
        documents = _blobs(seen, rows.sightings) if not isinstance(seen.documents, Unobserved) else {}
        new, moved = sightings.unseen(rows.sightings, comments, documents)
        if not new and not moved:
            return rows.sightings
        now, task = self._clock.now(), rows.task.id
        return await self._database.write(lambda connection: sightings.record(connection, task, new, moved, now))

    async def _apply(self, course: _Course, engine: Engine) -> None:
        """The one transaction of some steps: decisions, stage, effects, runs, and the events that they answer."""
        now, rows, last = self._clock.now(), course.rows, course.steps[-1]
        new = [step for step in course.steps if step.is_new]
        effects = await self._all_effects(new) if new or not rows.unwritten else await self._effects_anew(last)
        starts = [action for action in last.decision.actions if isinstance(action, StartRun)]

        def commit(connection: Connection) -> tuple[list[RunId], list[Round]]:
            for step in new:
                approvals.record(connection, step.basis, step.decision, now)
            if new:
                decisions.record(connection, [step.made for step in new], now)
                tasks.apply(connection, [step.made for step in new], now)
            if new or course.is_kept:
                decisions.observe(connection, rows.task.id, last.made.facts, now)
            for one in effects:
                _queue(connection, rows.task.id, one, now)
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

    async def _effects(self, step: _Step, *, is_shown: bool) -> tuple[Planned, ...]:
        """People are not shown that a branch is about to be made, but what comes of it: see `_not_created`."""
        is_shown = is_shown and not _branches(step.decision)
        if is_shown in step.told:
            return step.told[is_shown]
        return await self._planned(step.basis, step.decision, is_shown=is_shown)

    async def _planned(self, basis: Basis, decision: Decision, *, is_shown: bool) -> tuple[Planned, ...]:
        project = basis.project
        people = await self._observer.people(project, named_people(decision)) if project else ()
        return planned(basis, decision, self._options.addresses, people, is_shown=is_shown)

    async def _all_effects(self, new: Sequence[_Step]) -> list[Planned]:
        return [one for step in new for one in await self._effects(step, is_shown=step is new[-1])]

    async def _effects_anew(self, step: _Step) -> list[Planned]:
        """What was refused may be another thing by now: people corrected the configuration."""
        return [one for one in await self._effects(step, is_shown=True) if one.again is Again.WHEN_CHANGED]

    async def _put_right(self, course: _Course) -> float | None:
        """What others wrote over is to be written again, each thing once in a while: they may go on doing so.
        Returns how long something has to wait for that.
        """
        seen, now = course.seen, course.began
        assert seen is not None  # noqa: S101 - a step rests on it
        left: list[float] = []
        for row in self._overwritten(course.rows.task, seen, now):
            wait_s = PUT_RIGHT_S - (now - self._put_right_at.get(row.key, _NEVER)).total_seconds()
            if wait_s > 0:
                left.append(wait_s)
                continue
            await self._database.write(partial(_undone, row))
            log.warning("written_over", task=course.rows.task.id, effect=row.key)
            if len(self._put_right_at) >= MAX_REMEMBERED:
                self._put_right_at.clear()
            self._put_right_at[row.key] = now
        return min(left, default=None)

    def _overwritten(self, task: Task, seen: Observed, now: datetime) -> list[EffectRow]:
        """Rows that were carried out before this look began: what it did itself it has not seen."""
        keys = tuple(suspects(task, seen))
        if not keys:
            return []
        rows = self._database.read_now(
            lambda connection: [outbox.done_before(connection, key, now) for key in keys]
        )
        return [row for row in rows if row and is_overwritten(decoded(row), seen)]

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

    def _namesake(self, course: _Course, step: _Step) -> Task | None:
        """Another task that has the key which this one is to get: its project was deleted and made anew, say. Both
        would share a folder of documents, and approvals of the one would count for the other.
        """
        who, task = step.decision.identity, course.rows.task
        if who is None or who.key == task.key:
            return None
        return self._database.read_now(lambda connection: tasks.by_key(connection, who.key))

    async def _not_named(self, course: _Course, step: _Step, other: Task) -> Looked:
        params = (("key", other.key), ("other", other.title))
        item = Item("key_taken", params, who="operator", action="rename_project")
        return Looked(await self._told_only(course, step, item, REFUSED_PAUSE_S))

    async def _not_created(self, course: _Course, error: OrchestratorError) -> Looked:
        step = course.steps[-1]
        self._delivery.complaints.say("branch_not_created", error, task=step.basis.task.id)
        detail = f"{error.message} {error.hint}".strip()
        item = Item(error.code, (("detail", detail),), who="operator", action="orch doctor")
        own_s = (error.retry_after_s or 0.0) if isinstance(error, Transient) else REFUSED_PAUSE_S
        return Looked(await self._told_only(course, step, item, own_s))

    async def _told_only(self, course: _Course, step: _Step, item: Item, pause_s: float) -> float:
        """No decision comes of it, so people are told here: it may last, and be the first that they hear of us.
        Returns how long to wait at least.
        """
        seen, task = course.seen, course.rows.after(step).task
        assert seen is not None  # noqa: S101 - the step rests on it
        shown = await self._planned(step.basis, replace(step.decision, actions=(), waiting=(item,)), is_shown=True)
        await self._stuck_and_shown(course.rows, item, shown)
        delivered = await self._delivery.deliver(task, dict(seen.notes))
        return pause_s if delivered.again_in_s is None else min(pause_s, delivered.again_in_s)

    async def _stuck_and_shown(self, rows: _Rows, item: Item, shown: Sequence[Planned]) -> None:
        now, task = self._clock.now(), rows.task.id

        def commit(connection: Connection) -> None:
            tasks.stuck(connection, task, (item,), now, rows.waiting)
            if rows.newest_event:
                journal.mark_processed(connection, task, rows.newest_event)
            for one in shown:
                _queue(connection, task, one, now)

        await self._database.write(commit)


def _undone(row: EffectRow, connection: Connection) -> None:
    outbox.undone(connection, row)


def _branches(decision: Decision) -> tuple[EnsureBranch, ...]:
    """That a decision wants to be made: one at most."""
    return tuple(action for action in decision.actions if isinstance(action, EnsureBranch))


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


def _tell(way: Sequence[_Step], intended: list[RunId]) -> None:
    """One line for what was committed together: where it led, and from where."""
    task, reached = way[0].basis.task, way[-1].decision
    moved = {} if reached.stage is task.stage else {"was": task.stage}
    waiting = [item.code for item in reached.waiting]
    log.info("decided", task=task.id, **moved, stage=reached.stage, waiting=waiting, runs=intended)


def _without_news(rows: _Rows, seen: Observed) -> Observed | None:
    """What was seen without comments that say nothing to us; None when there is news that has to be journaled."""
    comments = () if isinstance(seen.comments, Unobserved) else tuple(seen.comments)
    documents = {} if isinstance(seen.documents, Unobserved) else _blobs(seen, rows.sightings)
    new, moved = sightings.unseen(rows.sightings, comments, documents)
    if moved or any(commands(one.lines) for one in new):
        return None
    if isinstance(seen.comments, Unobserved):
        return seen
    return replace(seen, comments=tuple(one for one in comments if one.id in rows.sightings.comments))


def _is_same(one: StartRun, other: StartRun) -> bool:
    return (one.role, one.stage, one.base_sha) == (other.role, other.stage, other.base_sha)


def _as_seen(last: Facts, rows: _Rows, seen: Observed, looked: frozenset[Look]) -> Facts | None:
    """The facts with what our rows and the forge show now; None when a document was never seen before, or a remark
    of our pages never heard.
    """
    if isinstance(last.remarks, tuple) and not set(rows.sightings.remarks[-1:]) <= set(last.remarks):
        return None
    if Look.DOCUMENTS in looked and not isinstance(seen.documents, Unobserved):
        _, moved = sightings.unseen(rows.sightings, (), _blobs(seen, rows.sightings))
        if moved:
            return None
    found: dict[str, Any] = {FIELDS[look]: getattr(seen, FIELDS[look]) for look in looked}
    if Look.DOCUMENTS in looked:
        found["documents"] = _documents(seen, rows.sightings)
    found["us"] = last.us if seen.us == NOBODY else seen.us
    of_rows = ("runs", "since", "resting_until", "unwritten")
    return replace(last, **{name: getattr(rows, name) for name in of_rows}, **found)


def _queue(connection: Connection, task: TaskId, one: Planned, now: datetime) -> None:
    kind, arguments = type(one.effect).__name__, canonical.encode(one.effect)
    outbox.queue(connection, task, one.key, kind, arguments, now, again=one.again)


def _blobs(seen: Observed, known: Sightings) -> dict[DocumentName, str]:
    """What lies on the branch, and "" for what lay there before and does not now."""
    there = {one.name: one.blob for one in seen.documents} if isinstance(seen.documents, tuple) else {}
    return dict.fromkeys(known.documents, "") | there


def _documents(seen: Observed, known: Sightings) -> tuple[Document, ...] | Unobserved:
    if isinstance(seen.documents, Unobserved):
        return seen.documents
    return tuple(replace(one, seen=known.documents[one.name][1]) for one in seen.documents)


def _remarks(project: Project | None, seen: Observed, known: Sightings) -> tuple[Remark, ...] | Unobserved:
    """Comments with a command in them and what was said on our pages, oldest first; the newest when there are very
    many. What strangers write pushes out nothing that an approver said.
    """
    if isinstance(seen.comments, Unobserved):
        return seen.comments
    every = [*known.remarks, *(_remark(one, known) for one in seen.comments if commands(one.lines))]
    every.sort(key=lambda remark: remark.order)
    counted = frozenset(project.approvers) if project else frozenset()
    theirs = [one for one in every if one.person in counted][-MAX_REMARKS:]
    others = [one for one in every if one.person not in counted][-MAX_STRANGE_REMARKS:]
    return tuple(sorted((*theirs, *others), key=lambda remark: remark.order))


def _remark(comment: Comment, known: Sightings) -> Remark:
    """One that was changed has the place of its last change, so that it is answered that it does not count."""
    first = known.comments[comment.id]
    is_untouched = not comment.is_edited and first.is_same and first.digest == comment.digest
    order = first.order if is_untouched else max(first.order, first.last)
    return Remark(comment.id, comment.author, order, is_untouched, _lines(comment.lines))


def _lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The first of very many, and every command below them."""
    below = tuple(line for line in lines[MAX_LINES:] if commands((line,)))
    return (*lines[:MAX_LINES], *below[:MAX_COMMANDS])

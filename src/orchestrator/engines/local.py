"""The default engine: one process, asyncio, no server. One worker a task, so each task has one writer."""

import asyncio
import contextlib
import contextvars
import itertools
import random
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from orchestrator.counters import Counters
from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import RunId, TaskId
from orchestrator.engines.lines import LATER_AT_ONCE, POLLS_AT_ONCE, Line, Rank
from orchestrator.loglimit import Complaints
from orchestrator.pace import Urgency, Work, in_background, working
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.dispatch import Dispatch, Round
from orchestrator.reconcile.execute import Execution, PutBack, Undelivered
from orchestrator.reconcile.loop import Looked, Reconciler
from orchestrator.reconcile.resync import Resync

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """The first wake acts at once; those of the next `merge_s` are one. Faults come back ever more slowly.
    `poll_s` lies between two polls of the few that go on at once: a round of 10,000 tasks takes 20 minutes, and
    their forge gets some 30 calls a second.
    """

    merge_s: float = 1.0
    poll_s: float = 0.5
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    """Below a minute: so soon after its return all is well with a neighbour, the look itself included."""

    def pause(self, faults: int) -> float:
        """Doubling up to the longest, with jitter, so that many tasks do not come back together."""
        longest = min(self.longest_pause_s, self.first_pause_s * float(2 ** min(faults - 1, 10)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


@dataclass(slots=True)
class _Worker:
    """What is under way for one task. `due` is a timer for a look that was asked for but may not begin yet.
    `woken`: the rank of the look that was asked for meanwhile. `work`: the look that is under way. `asked`: how
    urgent the calls of the next one are, if it is of the first rank.
    `may_be_called`: it only waits out a fault that has not been tried early yet.
    """

    is_looking: bool = False
    woken: Rank | None = None
    last_look: float = float("-inf")
    faults: int = 0
    due: asyncio.TimerHandle | None = None
    may_be_called: bool = False
    is_called: bool = False
    due_rank: Rank = Rank.URGENT
    work: Work = field(default_factory=Work)
    asked: Urgency = Urgency.RUN

    def note(self, rank: Rank, urgency: Urgency = Urgency.RUN) -> None:
        """A look is asked for while one is under way."""
        self.woken = rank if self.woken is None else min(self.woken, rank)
        if rank is Rank.URGENT and urgency is Urgency.LOOK:
            self.work.hurry()

    def begin(self, at: float) -> None:
        """What is asked for from now on is asked of the next look."""
        self.is_looking, self.woken, self.last_look = True, None, at

    def will_see(self, rank: Rank, by: float) -> bool:
        """A look that is at least as good is due by then."""
        return self.due is not None and self.due_rank <= rank and self.due.when() <= by


@dataclass(slots=True)
class _Tasks:
    """Keeps asyncio tasks from being collected, and ends them together."""

    running: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """In a context of its own: whoever starts it may work in the background, or have bound ids to logs."""
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def end(self) -> None:
        for task in list(self.running):
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


class LocalEngine:
    """See ports.Engine. All methods are called in the event loop's thread."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        reconciler: Reconciler,
        execution: Execution | None,
        resync: Resync,
        *,
        dispatch: Dispatch,
        resync_interval_s: float,
        complaints: Complaints,
        pace: Pace = Pace(),
        counters: Counters | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._execution = execution
        self._resync = resync
        self._dispatch = dispatch
        self._is_admitting = self._is_asked_to_admit = False
        self._admission_due: asyncio.TimerHandle | None = None
        self._resync_interval_s = resync_interval_s
        self._pace = pace
        self._counters = counters or Counters()
        self._workers: dict[TaskId, _Worker] = {}
        self._runs: dict[RunId, asyncio.Event] = {}
        """Those that are carried out. One that is cancelled does not wait out the pause after a fault."""
        self._complaints = complaints
        self._lines = {
            Rank.LATER: Line(Rank.LATER, LATER_AT_ONCE),
            Rank.POLL: Line(Rank.POLL, POLLS_AT_ONCE),
        }
        self._tasks = _Tasks()
        self._is_open = False
        self._is_unsure = False
        """A commit was reported as failed. It may have been done all the same."""

    def open(self, unprocessed: list[TaskId], open_tasks: list[TaskId], open_runs: list[RunId]) -> None:
        """Takes up what an earlier process left, tasks with news first; then begins to resync."""
        self._is_open = True
        if self._execution is not None:
            self._is_admitting = True
            self._tasks.start(self._take_over(open_runs, self._execution))
        for task in unprocessed:
            self.wake(task)
        self._line_up(Rank.LATER, open_tasks)
        self._tasks.start(self._resync_for_ever())

    async def close(self) -> None:
        """Stops looking. Agents at work live on in their shims, and are taken up by the next process."""
        self._is_open = False
        for worker in self._workers.values():
            if worker.due:
                worker.due.cancel()
        if self._admission_due:
            self._admission_due.cancel()
        await self._tasks.end()

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        self._wake(task, after_s, Rank.LATER if is_background else Rank.URGENT)

    def _wake(self, task: TaskId, after_s: float, rank: Rank, urgency: Urgency = Urgency.LOOK) -> None:
        if not self._is_open:
            return
        if rank is not Rank.URGENT and after_s <= 0:
            self._line_up(rank, [task])
            return
        if rank is Rank.URGENT:
            for line in self._lines.values():
                line.discard(task)
        worker = self._workers.setdefault(task, _Worker())
        worker.asked = min(worker.asked, urgency)
        if worker.is_looking:
            worker.note(rank, urgency)
            return
        now = asyncio.get_running_loop().time()
        wait = max(after_s, worker.last_look + self._pace.merge_s - now)
        if wait <= 0:
            self._begin(task, worker)
        else:
            self._schedule(task, worker, now + wait, rank)

    def start_run(self, run: RunId) -> None:
        if self._execution is None or run in self._runs or not self._is_open:
            return
        self._runs[run] = asyncio.Event()
        self._tasks.start(self._carry_out(run, self._execution))

    async def cancel_run(self, run: RunId) -> None:
        task = await self._dispatch.withdraw(run)
        if task is None and self._execution:
            task = await self._execution.stop(run)
            if run in self._runs:
                self._runs[run].set()
        if task is not None:
            self.wake(task)

    def admit(self) -> None:
        """Asked for often at once, it is done once, or once more when somebody asks meanwhile."""
        if self._execution is None or not self._is_open:
            return
        self._is_asked_to_admit = True
        if not self._is_admitting:
            self._is_admitting = True
            self._tasks.start(self._admit())

    def _schedule(self, task: TaskId, worker: _Worker, at: float, rank: Rank) -> None:
        """The earliest asked-for moment wins, among those of the highest rank."""
        if worker.due:
            is_enough = worker.due_rank < rank or (worker.due_rank is rank and worker.due.when() <= at)
            if is_enough:
                return
            worker.due.cancel()
        worker.due_rank = rank
        worker.due = asyncio.get_running_loop().call_at(at, self._come_due, task, worker)

    def _come_due(self, task: TaskId, worker: _Worker) -> None:
        worker.due = None
        if worker.due_rank is Rank.URGENT:
            self._begin(task, worker)
        else:
            self._wake(task, 0.0, worker.due_rank)

    def _begin(self, task: TaskId, worker: _Worker) -> None:
        if worker.due:
            worker.due.cancel()
            worker.due = None
        if worker.is_looking:
            worker.note(Rank.URGENT, worker.asked)
            return
        worker.work, worker.asked = Work(worker.asked), Urgency.RUN
        self._start(worker, self._look(task, worker, Rank.URGENT))

    def _start(self, worker: _Worker, look: Coroutine[Any, Any, None]) -> None:
        worker.begin(asyncio.get_running_loop().time())
        self._tasks.start(look)

    def _begin_in_line(self, line: Line) -> None:
        """A look that is under way may have begun too early to see why another one is asked for. One that waits
        out a fault is waited for, but not one that was refused for minutes: what moved is named only once.
        """
        by = asyncio.get_running_loop().time() + self._pace.longest_pause_s
        while self._is_open and (task := line.next()) is not None:
            worker = self._workers.setdefault(task, _Worker())
            if worker.is_looking and line.rank is Rank.LATER:
                worker.note(line.rank)
            elif not worker.is_looking and not worker.will_see(line.rank, by):
                line.looking += 1
                worker.work = Work(Urgency.BACKGROUND)
                self._start(worker, self._look_in_line(task, worker, line))

    async def _look_in_line(self, task: TaskId, worker: _Worker, line: Line) -> None:
        try:
            await self._look(task, worker, line.rank)
            if line.rank is Rank.POLL:
                await asyncio.sleep(self._pace.poll_s)
        finally:
            line.looking -= 1
            self._begin_in_line(line)

    async def _look(self, task: TaskId, worker: _Worker, rank: Rank) -> None:
        pause: float | None = None
        poll: float | None = None
        began, how = asyncio.get_running_loop().time(), "done"
        try:
            self._make_sure()
            with working(worker.work):
                looked = await self._looked(task, rank)
            pause, poll = looked.again_in_s, looked.poll_in_s
        except Transient as error:
            self._complaints.say("look_put_off", error, task=task)
            self._is_unsure = True
            pause, how = error.retry_after_s or 0.0, "put_off"
        except Exception as error:
            log.exception("look_broke", task=task)
            how = "broke"
            await self._park(task, error)
        self._counters.looks[how] += 1
        self._counters.look_times.add(asyncio.get_running_loop().time() - began)
        worker.is_looking = False
        if worker.work.is_hurried:
            rank = Rank.URGENT
        if pause is None:
            self._recovered(worker)
        else:
            self._put_off(task, worker, pause, rank)
        if poll is not None:
            self._wake(task, poll, Rank.POLL)
        if worker.woken is Rank.URGENT:
            self._wake(task, 0.0, worker.woken, worker.asked)
        elif worker.woken is not None:
            self._line_up(worker.woken, [task], is_first=True)
        asyncio.get_running_loop().call_later(self._pace.merge_s, self._forget, task, worker)

    async def _looked(self, task: TaskId, rank: Rank) -> Looked:
        """A poll that finds something does not wait for Plane: it has others behind it that need no call."""
        if rank is not Rank.POLL:
            return await self._reconciler.look(task, self, is_kept=rank is Rank.LATER)
        looked = await self._reconciler.poll(task)
        if looked is None:
            self._workers[task].note(Rank.LATER)
        return looked or Looked()

    def _put_off(self, task: TaskId, worker: _Worker, asked_s: float, rank: Rank) -> None:
        """In its old rank: after an outage thousands of looks that failed would come before all deliveries."""
        worker.faults += 1
        own_s = self._pace.pause(worker.faults)
        worker.may_be_called = asked_s <= own_s and not worker.is_called
        worker.is_called = False
        self._wake(task, max(asked_s, own_s), rank, worker.work.urgency)

    def _recovered(self, worker: _Worker) -> None:
        had_faults, worker.faults = worker.faults > 0, 0
        worker.may_be_called = worker.is_called = False
        if had_faults:
            self._call_back()

    def _call_back(self) -> None:
        """A neighbour answers again: who waits out a fault tries it now, though at most once for each pause of its
        own. Pauses that were asked for are kept.
        """
        for task, worker in list(self._workers.items()):
            if worker.may_be_called and worker.due:
                worker.due.cancel()
                worker.due, worker.may_be_called, worker.is_called = None, False, True
                self._wake(task, 0.0, worker.due_rank, worker.asked)

    def _forget(self, task: TaskId, worker: _Worker) -> None:
        """A worker that rests for longer than wakes are merged has nothing to remember."""
        if self._workers.get(task) is worker and not worker.is_looking and worker.due is None:
            del self._workers[task]

    async def _park(self, task: TaskId, error: Exception) -> None:
        code = error.code if isinstance(error, OrchestratorError) else "internal_error"
        said = str(error).partition("\n")[0][:500]  # below it a database's error has its statement
        why = Item(code, (("detail", said),), who="operator", action="orch doctor")
        try:
            await self._reconciler.stuck(task, why)
        except Transient:
            log.warning("park_not_stored", task=task)

    async def _take_over(self, open_runs: Sequence[RunId], execution: Execution) -> None:
        """Agents at work come first and are never refused; then whoever may start does."""
        launched = await asyncio.to_thread(lambda: [run for run in open_runs if execution.was_launched(run)])
        for run in launched:
            self.start_run(run)
        await self._admit(self._dispatch.take_over(open_runs, launched))

    async def _admit(self, first: Awaitable[Round] | None = None) -> None:
        try:
            if first is None:
                self._make_sure()
            while first is not None or self._is_asked_to_admit:
                self._is_asked_to_admit = False
                asked, first = first or self._dispatch.admit(), None
                self._follow(await asked)
        except Transient as error:
            self._complaints.say("admission_put_off", error)
            self._is_unsure = True
            self._admit_in(self._pace.longest_pause_s)
        except Exception:
            log.exception("admission_broke")
            self._admit_in(self._pace.longest_pause_s)
        finally:
            self._is_admitting = False

    def _make_sure(self) -> None:
        """Whoever a commit of unknown fate let start was not told to us: the rows are asked. Transient when they
        cannot be; then it is still not known.
        """
        if self._is_unsure and self._execution is not None:
            for run in self._dispatch.with_slots():
                self.start_run(run)
            self._is_unsure = False
            self.admit()

    def _follow(self, admitted: Round) -> None:
        for run in admitted.starts:
            self.start_run(run)
        for task in admitted.told:
            self.wake(task, is_background=True)
        if admitted.again_in_s is not None:
            self._admit_in(admitted.again_in_s)

    def _admit_in(self, pause_s: float) -> None:
        if self._admission_due:
            self._admission_due.cancel()
        self._admission_due = asyncio.get_running_loop().call_later(pause_s, self.admit)

    async def _carry_out(self, run: RunId, execution: Execution) -> None:
        faults = 0
        while not await self._carried_out(run, execution, faults):
            faults += 1
        del self._runs[run]
        self.admit()

    async def _carried_out(self, run: RunId, execution: Execution, faults: int) -> bool:
        try:
            with working(Work(Urgency.RUN)):
                task = await execution.carry_out(run)
            self._wake(task, 0.0, Rank.URGENT, Urgency.RUN)
        except PutBack:
            return True
        except Transient as error:
            if isinstance(error, Undelivered):
                self.wake(error.task)
            await self._run_put_off(run, error, faults)
            return False
        except Exception as error:  # the other outermost loop: record, then park
            log.exception("run_broke", run=run)
            await self._give_up(run, execution, error)
        return True

    async def _give_up(self, run: RunId, execution: Execution, error: Exception) -> None:
        """Until its row says so: before the next start nobody else would end it."""
        for faults in itertools.count():
            try:
                self.wake(await execution.give_up(run, error))
            except Transient as fault:
                await self._run_put_off(run, fault, faults)
            else:
                return

    async def _run_put_off(self, run: RunId, error: Transient, faults: int) -> None:
        pause = max(error.retry_after_s or 0.0, self._pace.pause(faults + 1))
        self._complaints.say("run_put_off", error, run=run, pause_s=round(pause, 1))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runs[run].wait(), pause)
        self._runs[run].clear()

    async def _resync_once(self) -> bool:
        """False when it has to be done again soon. Polls do not wait for the lists: while Plane is away or busy,
        the forge is looked at.
        """
        self._line_up(Rank.POLL, await self._resync.to_poll())
        with in_background():
            moved = await self._resync.moved()
        # Not even what has changed is urgent: its delivery has mostly woken its task, and each list names what we
        # wrote ourselves. Looked at before deliveries it would use up the calls that are kept for these.
        self._line_up(Rank.LATER, moved.tasks, is_first=True)
        return moved.is_whole

    def _line_up(self, rank: Rank, tasks: Sequence[TaskId], *, is_first: bool = False) -> None:
        self._lines[rank].add(tasks, is_first=is_first)
        self._begin_in_line(self._lines[rank])

    async def _resync_for_ever(self) -> None:
        faults = 0
        while True:
            is_whole = await self._resynced()
            if is_whole and faults:
                self._call_back()
            faults = 0 if is_whole else faults + 1
            pause = self._pace.pause(faults) if faults else self._resync_interval_s
            await asyncio.sleep(min(pause, self._resync_interval_s))

    async def _resynced(self) -> bool:
        """False when it has to be done again soon; after a fault of ours sooner would not help."""
        how = await self._how_it_resynced()
        self._counters.resyncs[how] += 1
        return how != "put_off"

    async def _how_it_resynced(self) -> str:
        try:
            return "done" if await self._resync_once() else "put_off"
        except Transient as error:
            self._complaints.say("resync_put_off", error)
            return "put_off"
        except Exception:
            log.exception("resync_broke")
            return "broke"

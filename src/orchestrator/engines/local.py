"""The default engine: one process, asyncio, no server. One worker a task, so each task has one writer."""

import asyncio
import contextvars
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import RunId, TaskId
from orchestrator.loglimit import Complaints
from orchestrator.pace import in_background
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.execute import Execution
from orchestrator.reconcile.loop import Reconciler
from orchestrator.reconcile.resync import Resync

log = structlog.get_logger()
BACKGROUND_LOOKS = 4
"""Looks that nobody waits for, at once. The others wait here and not at Plane, so that a wake that somebody waits
for finds its task idle.
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """The first wake acts at once; those of the next `merge_s` are one. Faults come back ever more slowly."""

    merge_s: float = 1.0
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
    `may_be_called`: it only waits out a fault that has not been tried early yet.
    """

    is_looking: bool = False
    is_woken: bool = False
    last_look: float = float("-inf")
    faults: int = 0
    due: asyncio.TimerHandle | None = None
    may_be_called: bool = False
    is_called: bool = False


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


@dataclass(slots=True)
class _Background:
    """Tasks to be looked at when there is room, first come first served, and how many are looked at so."""

    waiting: dict[TaskId, None] = field(default_factory=dict)
    looking: int = 0


class LocalEngine:
    """See ports.Engine. All methods are called in the event loop's thread."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        reconciler: Reconciler,
        execution: Execution | None,
        resync: Resync,
        *,
        max_concurrent_runs: int,
        resync_interval_s: float,
        complaints: Complaints,
        pace: Pace = Pace(),
    ) -> None:
        self._reconciler = reconciler
        self._execution = execution
        self._resync = resync
        self._slots = asyncio.Semaphore(max_concurrent_runs)
        self._resync_interval_s = resync_interval_s
        self._pace = pace
        self._workers: dict[TaskId, _Worker] = {}
        self._runs: set[RunId] = set()
        self._background = _Background()
        self._complaints = complaints
        self._tasks = _Tasks()
        self._is_open = False

    def open(self, unprocessed: list[TaskId], open_tasks: list[TaskId], open_runs: list[RunId]) -> None:
        """Takes up what an earlier process left, tasks with news first; then begins to resync."""
        self._is_open = True
        for run in open_runs:
            self.start_run(run)
        for task in unprocessed:
            self.wake(task)
        for task in open_tasks:
            self.wake(task, is_background=True)
        self._tasks.start(self._resync_for_ever())

    async def close(self) -> None:
        """Stops looking. Agents at work live on in their shims, and are taken up by the next process."""
        self._is_open = False
        self._background.waiting.clear()  # or each look that ends would begin the next one
        for worker in self._workers.values():
            if worker.due:
                worker.due.cancel()
        await self._tasks.end()

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        if not self._is_open:
            return
        if is_background:
            self._background.waiting[task] = None
            self._begin_background()
            return
        self._background.waiting.pop(task, None)
        worker = self._workers.setdefault(task, _Worker())
        if worker.is_looking:
            worker.is_woken = True
            return
        now = asyncio.get_running_loop().time()
        wait = max(after_s, worker.last_look + self._pace.merge_s - now)
        if wait <= 0:
            self._begin(task, worker)
        else:
            self._schedule(task, worker, now + wait)

    def start_run(self, run: RunId) -> None:
        if self._execution is None or run in self._runs or not self._is_open:
            return
        self._runs.add(run)
        self._tasks.start(self._carry_out(run, self._execution))

    async def cancel_run(self, run: RunId) -> None:
        if self._execution:
            await self._execution.stop(run)

    def _schedule(self, task: TaskId, worker: _Worker, at: float) -> None:
        """The earliest asked-for moment wins."""
        if worker.due and worker.due.when() <= at:
            return
        if worker.due:
            worker.due.cancel()
        worker.due = asyncio.get_running_loop().call_at(at, self._begin, task, worker)

    def _begin(self, task: TaskId, worker: _Worker) -> None:
        if worker.due:
            worker.due.cancel()
            worker.due = None
        if worker.is_looking:
            worker.is_woken = True
            return
        self._start(worker, self._look(task, worker))

    def _start(self, worker: _Worker, look: Coroutine[Any, Any, None]) -> None:
        worker.is_looking = True
        worker.is_woken = False
        worker.last_look = asyncio.get_running_loop().time()
        self._tasks.start(look)

    def _begin_background(self) -> None:
        """One that is looked at, or will be soon, needs no second look."""
        while self._background.waiting and self._background.looking < BACKGROUND_LOOKS:
            task = next(iter(self._background.waiting))
            del self._background.waiting[task]
            worker = self._workers.setdefault(task, _Worker())
            if not worker.is_looking and worker.due is None:
                self._background.looking += 1
                self._start(worker, self._look_in_background(task, worker))

    async def _look_in_background(self, task: TaskId, worker: _Worker) -> None:
        try:
            with in_background():
                await self._look(task, worker)
        finally:
            self._background.looking -= 1
            self._begin_background()

    async def _look(self, task: TaskId, worker: _Worker) -> None:
        pause: float | None = None
        poll: float | None = None
        try:
            looked = await self._reconciler.look(task, self)
            pause, poll = looked.again_in_s, looked.poll_in_s
        except Transient as error:
            self._complaints.say("look_put_off", error, task=task)
            pause = error.retry_after_s or 0.0
        except Exception as error:
            log.exception("look_broke", task=task)
            await self._park(task, error)
        worker.is_looking = False
        if pause is None:
            self._recovered(worker)
        else:
            self._put_off(task, worker, pause)
        if poll is not None:
            self.wake(task, poll)
        if worker.is_woken:
            self.wake(task)
        asyncio.get_running_loop().call_later(self._pace.merge_s, self._forget, task, worker)

    def _put_off(self, task: TaskId, worker: _Worker, asked_s: float) -> None:
        worker.faults += 1
        own_s = self._pace.pause(worker.faults)
        worker.may_be_called = asked_s <= own_s and not worker.is_called
        worker.is_called = False
        self.wake(task, max(asked_s, own_s))

    def _recovered(self, worker: _Worker) -> None:
        had_faults, worker.faults = worker.faults > 0, 0
        worker.may_be_called = worker.is_called = False
        if had_faults:
            self._call_back()

    def _call_back(self) -> None:
        """A neighbour answers again: who waits out a fault tries it now, though at most once for each pause of its
        own. Pauses that were asked for are kept.
        """
        for task, worker in self._workers.items():
            if worker.may_be_called and worker.due:
                worker.due.cancel()
                worker.due, worker.may_be_called, worker.is_called = None, False, True
                self._background.waiting[task] = None
        self._begin_background()

    def _forget(self, task: TaskId, worker: _Worker) -> None:
        """A worker that rests for longer than wakes are merged has nothing to remember."""
        if self._workers.get(task) is worker and not worker.is_looking and worker.due is None:
            del self._workers[task]

    async def _park(self, task: TaskId, error: Exception) -> None:
        code = error.code if isinstance(error, OrchestratorError) else "internal_error"
        try:
            await self._reconciler.stuck(task, Item(code, (("detail", str(error)[:500]),), who="operator"))
        except Transient:
            log.warning("park_not_stored", task=task)

    async def _carry_out(self, run: RunId, execution: Execution) -> None:
        async with self._slots:
            faults = 0
            while not await self._carried_out(run, execution, faults):
                faults += 1
        self._runs.discard(run)

    async def _carried_out(self, run: RunId, execution: Execution, faults: int) -> bool:
        try:
            self.wake(await execution.carry_out(run))
        except Transient as error:
            pause = max(error.retry_after_s or 0.0, self._pace.pause(faults + 1))
            self._complaints.say("run_put_off", error, run=run, pause_s=round(pause, 1))
            await asyncio.sleep(pause)
            return False
        except Exception as error:  # the other outermost loop: record, then park
            log.exception("run_broke", run=run)
            self.wake(await execution.give_up(run, error))
        return True

    async def _resync_once(self) -> bool:
        """False when it has to be done again soon."""
        with in_background():
            found = await self._resync.look()
        for task in found.changed:
            self.wake(task)
        for task in found.to_poll:
            self.wake(task, is_background=True)
        return found.is_whole

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
        try:
            return await self._resync_once()
        except Transient as error:
            self._complaints.say("resync_put_off", error)
        except Exception:
            log.exception("resync_broke")
            return True  # a fault of ours: sooner would not help
        return False

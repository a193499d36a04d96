"""The default engine: one process, asyncio, no server. One worker a task, so each task has one writer."""

import asyncio
import contextvars
import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from orchestrator.domain.errors import OrchestratorError, Transient
from orchestrator.domain.model import RunId, TaskId
from orchestrator.loglimit import LogLimit
from orchestrator.pace import Background, in_background
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
    longest_pause_s: float = 60.0

    def pause(self, faults: int) -> float:
        """Doubling up to the longest, with jitter, so that many tasks do not come back together."""
        longest = min(self.longest_pause_s, self.first_pause_s * float(2 ** min(faults - 1, 10)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


@dataclass(slots=True)
class _Worker:
    """What is under way for one task. `due` is a timer for a look that was asked for but may not begin yet.
    `rank` is that of a look in the background, where `is_due_there` says that the timer's look belongs, too.
    """

    is_looking: bool = False
    is_woken: bool = False
    last_look: float = float("-inf")
    faults: int = 0
    due: asyncio.TimerHandle | None = None
    is_due_there: bool = False
    rank: Background | None = None

    @property
    def is_in_background(self) -> bool:
        """Nobody waits for the look that is under way."""
        return self.rank is not None and not self.rank.is_urgent


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
    """Tasks to be looked at when there is room, first come first served, and how many are looked at so.
    Those whose work item is known to have moved are `moved`, and come before all others.
    """

    waiting: dict[TaskId, None] = field(default_factory=dict)
    moved: dict[TaskId, None] = field(default_factory=dict)
    looking: int = 0

    def add(self, tasks: Iterable[TaskId], *, have_moved: bool = False) -> None:
        """Who is in line already keeps the place, or gets a better one."""
        for task in tasks:
            if have_moved:
                self.waiting.pop(task, None)
                self.moved[task] = None
            elif task not in self.moved:
                self.waiting[task] = None

    def discard(self, task: TaskId) -> None:
        self.waiting.pop(task, None)
        self.moved.pop(task, None)

    def next(self) -> TaskId | None:
        """The first in line; None when nobody is, or too many are looked at."""
        line = self.moved or self.waiting
        if not line or self.looking >= BACKGROUND_LOOKS:
            return None
        task = next(iter(line))
        del line[task]
        return task


class LocalEngine:
    """See ports.Engine. All methods are called in the event loop's thread."""

    def __init__(
        self,
        reconciler: Reconciler,
        execution: Execution | None,
        resync: Resync,
        *,
        max_concurrent_runs: int,
        resync_interval_s: float,
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
        self._quiet = LogLimit()
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
        for worker in self._workers.values():
            if worker.due:
                worker.due.cancel()
        await self._tasks.end()

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        if not self._is_open:
            return
        if is_background:
            self._wake_in_background(task, after_s)
            return
        self._background.discard(task)
        worker = self._workers.setdefault(task, _Worker())
        if worker.is_looking:
            worker.is_woken = True
            if worker.rank:
                worker.rank.hurry()
            return
        now = asyncio.get_running_loop().time()
        wait = max(after_s, worker.last_look + self._pace.merge_s - now)
        if wait <= 0:
            self._begin(task, worker)
        else:
            self._schedule(task, worker, now + wait, is_background=False)

    def _wake_in_background(self, task: TaskId, after_s: float) -> None:
        worker = self._workers.get(task)
        if after_s <= 0:
            self._background.add([task])
            self._begin_background()
        elif worker is None or not worker.is_looking:
            at = asyncio.get_running_loop().time() + after_s
            self._schedule(task, self._workers.setdefault(task, _Worker()), at, is_background=True)

    def start_run(self, run: RunId) -> None:
        if self._execution is None or run in self._runs or not self._is_open:
            return
        self._runs.add(run)
        self._tasks.start(self._carry_out(run, self._execution))

    async def cancel_run(self, run: RunId) -> None:
        if self._execution:
            await self._execution.stop(run)

    def _schedule(self, task: TaskId, worker: _Worker, at: float, *, is_background: bool) -> None:
        """The earliest asked-for moment wins, among those of the higher rank."""
        if worker.due:
            is_better = worker.is_due_there and not is_background
            if not is_better and (worker.due.when() <= at or is_background != worker.is_due_there):
                return
            worker.due.cancel()
        begin = self._begin_there if is_background else self._begin
        worker.is_due_there = is_background
        worker.due = asyncio.get_running_loop().call_at(at, begin, task, worker)

    def _begin_there(self, task: TaskId, worker: _Worker) -> None:
        worker.due = None
        self._wake_in_background(task, 0.0)

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
        while (task := self._background.next()) is not None:
            worker = self._workers.setdefault(task, _Worker())
            if not worker.is_looking and worker.due is None:
                self._background.looking += 1
                worker.rank = Background()
                self._start(worker, self._look_in_background(task, worker, worker.rank))

    async def _look_in_background(self, task: TaskId, worker: _Worker, rank: Background) -> None:
        try:
            with in_background(rank):
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
            self._complain("look_put_off", error, task=task)
            pause = error.retry_after_s or 0.0
        except Exception as error:
            log.exception("look_broke", task=task)
            await self._park(task, error)
        is_background, worker.rank = worker.is_in_background, None
        worker.is_looking = False
        worker.faults = 0 if pause is None else worker.faults + 1
        if pause is not None:
            # In its old rank: after an outage thousands of looks that failed would come before all deliveries.
            wait = max(pause, self._pace.pause(worker.faults))
            self.wake(task, wait, is_background=is_background)
        if poll is not None:
            self.wake(task, poll, is_background=True)
        if worker.is_woken:
            self.wake(task)
        asyncio.get_running_loop().call_later(self._pace.merge_s, self._forget, task, worker)

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
            self._complain("run_put_off", error, run=run, pause_s=round(pause, 1))
            await asyncio.sleep(pause)
            return False
        except Exception as error:  # the other outermost loop: record, then park
            log.exception("run_broke", run=run)
            self.wake(await execution.give_up(run, error))
        return True

    def _complain(self, what: str, error: Transient, **ids: object) -> None:
        """One line a minute for each fault, however many tasks and runs meet it."""
        unsaid = self._quiet.unsaid(f"{what} {error.code}", asyncio.get_running_loop().time())
        if unsaid is not None:
            log.warning(what, code=error.code, message=error.message, more_since_last=unsaid, **ids)

    async def _resync_once(self) -> None:
        with in_background():
            found = await self._resync.look()
        # Not even what has changed is urgent: its delivery has mostly woken its task, and each list names what we
        # wrote ourselves. Looked at before deliveries it would use up the calls that are kept for these.
        self._background.add(found.changed, have_moved=True)
        self._background.add(found.to_poll)
        self._begin_background()

    async def _resync_for_ever(self) -> None:
        while True:
            try:
                await self._resync_once()
            except Transient as error:
                self._complain("resync_put_off", error)
            except Exception:
                log.exception("resync_broke")
            await asyncio.sleep(self._resync_interval_s)

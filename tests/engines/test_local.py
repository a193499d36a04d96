"""The local engine: the first wake acts at once, later ones are merged, faults come back more and more slowly."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from moved import MovedClock, in_moved_time
from orchestrator.counters import Counters
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RunId, TaskId
from orchestrator.engines.lines import LATER_AT_ONCE, POLLS_AT_ONCE
from orchestrator.engines.local import LocalEngine, Pace
from orchestrator.loglimit import Complaints
from orchestrator.pace import Urgency, urgency
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.dispatch import Round
from orchestrator.reconcile.execute import PutBack, Undelivered
from orchestrator.reconcile.loop import Looked
from orchestrator.reconcile.resync import Moved

TASK = TaskId(1)
PACE = Pace(merge_s=0.05, first_pause_s=0.02, poll_s=0.0)


MOVED = Looked(again_in_s=-1.0)
"""A poll's answer that asks for a whole look."""


class Looks:
    """Stands where the reconciler stands; notes every look, and how many were under way at once."""

    def __init__(self, *answers: Looked | Exception) -> None:
        self.answers = list(answers)
        self.begun: list[float] = []
        self.tasks: list[TaskId] = []
        self.ranks: list[str] = []
        self.rank_at_end: list[str] = []
        self.stuck_codes: list[str] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def look(self, task: TaskId, _engine: LocalEngine, *, is_kept: bool) -> Looked:
        assert is_kept == (rank() == "background")
        return await self._look(task, rank())

    async def poll(self, task: TaskId) -> Looked | None:
        assert rank() == "background"
        looked = await self._look(task, "poll")
        return None if looked == MOVED else looked

    async def _look(self, task: TaskId, how: str) -> Looked:
        self.begun.append(asyncio.get_running_loop().time())
        self.tasks.append(task)
        self.ranks.append(how)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.rank_at_end.append(rank())
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else Looked()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stuck(self, _task: TaskId, item: Item) -> None:
        assert item.action
        self.stuck_codes.append(item.code)


def rank() -> str:
    return {Urgency.BACKGROUND: "background", Urgency.RUN: "run"}.get(urgency(), "urgent")


class Executions:
    def __init__(self, *answers: TaskId | Exception) -> None:
        self.answers = list(answers)
        self.carried: list[RunId] = []
        self.given_up: list[RunId] = []
        self.not_given_up: list[Exception] = []
        self.ranks: list[str] = []
        self.launched: set[RunId] = set()
        self.ended = 0
        self.stopped: list[RunId] = []
        self.at_once = self.most_at_once = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def carry_out(self, run: RunId) -> TaskId:
        self.carried.append(run)
        self.ranks.append(rank())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.hold.wait()
        self.at_once -= 1
        self.ended += 1
        answer = self.answers.pop(0) if self.answers else TASK
        if isinstance(answer, Exception):
            raise answer
        return answer

    def was_launched(self, run: RunId) -> bool:
        return run in self.launched

    async def stop(self, run: RunId) -> None:
        self.stopped.append(run)

    async def give_up(self, run: RunId, _error: Exception) -> TaskId:
        self.given_up.append(run)
        if self.not_given_up:
            raise self.not_given_up.pop(0)
        return TASK


class Admissions:
    """Stands where Dispatch stands: so many slots, first come, first served."""

    def __init__(self, executions: Executions, slots: int = 2) -> None:
        self.executions = executions
        self.slots = slots
        self.waiting: list[RunId] = []
        self.asked = self.given = 0
        self.answers: list[Exception | Round] = []
        self.taken_over: list[list[RunId]] = []
        self.slots_taken: list[RunId] | Transient = []

    def with_slots(self) -> list[RunId]:
        if isinstance(self.slots_taken, Transient):
            raise self.slots_taken
        return self.slots_taken

    async def admit(self) -> Round:
        self.asked += 1
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        free = max(self.slots - self.given + self.executions.ended, 0)
        starts, self.waiting = self.waiting[:free], self.waiting[free:]
        self.given += len(starts)
        return Round(tuple(starts))

    async def take_over(self, left: Sequence[RunId], launched: Sequence[RunId]) -> Round:
        self.taken_over.append(list(launched))
        self.waiting = [run for run in left if run not in launched]
        self.given = len(launched)
        return await self.admit()

    async def withdraw(self, run: RunId) -> TaskId | None:
        if run not in self.waiting:
            return None
        self.waiting.remove(run)
        return TASK


@dataclass(frozen=True)
class Found:
    """What a resync finds."""

    moved: tuple[TaskId, ...] = ()
    to_poll: tuple[TaskId, ...] = ()


NOTHING = Found()


class Resyncs:
    """Finds what it is told to, once."""

    def __init__(self, found: Found) -> None:
        self.found = [found]

    async def to_poll(self) -> Sequence[TaskId]:
        return self.found[-1].to_poll if self.found else ()

    async def moved(self) -> Moved:
        return Moved(self.found.pop().moved if self.found else ())


Made = Callable[..., Awaitable[LocalEngine]]


@pytest.fixture
async def engine() -> object:
    """Opened engines; closed at the end. Pauses are short, since only their order is tested."""
    opened: list[LocalEngine] = []

    async def make(
        looks: Looks,
        executions: Executions | None = None,
        admissions: Admissions | None = None,
        *,
        found: Found = NOTHING,
        resyncs: Resyncs | None = None,
        resync_interval_s: float = 60,
        unprocessed: Sequence[TaskId] = (),
        open_tasks: Sequence[TaskId] = (),
        open_runs: Sequence[RunId] = (),
    ) -> LocalEngine:
        one = LocalEngine(  # type: ignore[arg-type]
            looks,
            executions,
            resyncs or Resyncs(found),
            dispatch=admissions or Admissions(executions or Executions()),
            resync_interval_s=resync_interval_s,
            complaints=Complaints(),
            pace=PACE,
        )
        one.open(list(unprocessed), list(open_tasks), list(open_runs))
        opened.append(one)
        return one

    yield make
    for one in opened:
        await one.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition is of other objects, which know no event
            await asyncio.sleep(0.002)


async def quiet() -> None:
    """Longer than anything that is still due."""
    await asyncio.sleep(0.2)


async def test_the_first_wake_acts_at_once_and_a_burst_after_it_is_one_more_look(engine: Made) -> None:
    looks = Looks()
    one = await engine(looks)
    # Not from the first look: a busy machine begins it later than it was asked for.
    woken = asyncio.get_running_loop().time()
    for _ in range(100):
        one.wake(TASK)
    await until(lambda: len(looks.begun) == 2)
    await quiet()
    assert len(looks.begun) == 2
    assert looks.begun[1] - woken >= 0.05


async def test_a_wake_during_a_look_is_not_lost(engine: Made) -> None:
    looks = Looks()
    looks.gate.clear()
    one = await engine(looks)
    one.wake(TASK)
    await until(lambda: len(looks.begun) == 1)
    one.wake(TASK)
    looks.gate.set()
    await until(lambda: len(looks.begun) == 2)


async def test_a_task_has_one_look_at_a_time_and_tasks_do_not_wait_for_each_other(engine: Made) -> None:
    looks = Looks()
    looks.gate.clear()
    one = await engine(looks)
    for number in range(5):
        one.wake(TaskId(number))
    await until(lambda: looks.at_once == 5)
    one.wake(TaskId(0))
    await quiet()
    assert looks.most_at_once == 5
    looks.gate.set()
    await until(lambda: len(looks.begun) == 6)


@pytest.mark.parametrize("fault", [Looked(0.0), Transient("down", "down")])
async def test_what_could_not_be_done_is_tried_again_by_itself(engine: Made, fault: Looked | Exception) -> None:
    looks = Looks(fault, fault, fault)
    (await engine(looks)).wake(TASK)
    await until(lambda: len(looks.begun) == 4)
    await quiet()
    assert len(looks.begun) == 4


@pytest.mark.parametrize("fault", [Permanent("no_rest", "x"), KeyError("a fault of ours")])
async def test_a_fault_of_ours_parks_the_task_with_a_reason(engine: Made, fault: Exception) -> None:
    looks = Looks(fault)
    (await engine(looks)).wake(TASK)
    await until(lambda: bool(looks.stuck_codes))
    assert looks.stuck_codes == ["no_rest" if isinstance(fault, Permanent) else "internal_error"]


OTHERS = [TaskId(number) for number in range(100, 200)]


async def test_a_start_looks_at_open_tasks_in_the_background_a_few_at_a_time(engine: Made) -> None:
    looks = Looks()
    looks.gate.clear()
    one = await engine(looks, unprocessed=[TASK], open_tasks=[TASK, *OTHERS])
    await until(lambda: looks.at_once == 1 + LATER_AT_ONCE)
    await quiet()
    assert dict(zip(looks.tasks, looks.ranks, strict=True)).pop(TASK) == "urgent", "it has news"
    assert looks.ranks.count("background") == looks.most_at_once - 1 == LATER_AT_ONCE
    one.wake(TaskId(2))
    await until(lambda: TaskId(2) in looks.tasks)
    assert looks.ranks[-1] == "urgent", "and does not wait for the others"
    looks.gate.set()
    await until(lambda: set(OTHERS) <= set(looks.tasks))
    assert looks.most_at_once <= 2 + LATER_AT_ONCE


async def test_what_a_resync_finds_is_looked_at_in_the_background_what_moved_as_a_whole(engine: Made) -> None:
    looks, moved = Looks(), [TaskId(8), TaskId(9)]
    looks.gate.clear()
    await engine(looks, found=Found(tuple(moved), tuple(OTHERS)))
    await until(lambda: looks.at_once == 2 + POLLS_AT_ONCE)
    looks.gate.set()
    await until(lambda: len(looks.tasks) == 2 + len(OTHERS))
    ranks = dict(zip(looks.tasks, looks.ranks, strict=True))
    assert {task: ranks.pop(task) for task in moved} == dict.fromkeys(moved, "background")
    assert ranks == dict.fromkeys(OTHERS, "poll")
    assert looks.most_at_once == 2 + POLLS_AT_ONCE


async def test_what_moved_is_looked_at_before_what_a_start_found(engine: Made) -> None:
    looks, moved = Looks(), [TaskId(8), TaskId(9)]
    looks.gate.clear()
    await engine(looks, found=Found(tuple(moved)), open_tasks=OTHERS)
    await until(lambda: looks.at_once == LATER_AT_ONCE)
    looks.gate.set()
    await until(lambda: len(looks.tasks) == 2 + len(OTHERS))
    assert looks.tasks[LATER_AT_ONCE : LATER_AT_ONCE + 2] == moved
    assert set(looks.ranks) == {"background"}


async def test_a_poll_that_finds_something_asks_for_a_whole_look_and_makes_room_for_others(engine: Made) -> None:
    looks = Looks(MOVED)
    await engine(looks, found=Found(to_poll=(TASK,)))
    await until(lambda: len(looks.ranks) == 2)
    await quiet()
    assert looks.ranks == ["poll", "background"]


async def test_what_moves_while_its_task_is_looked_at_is_looked_at_again(engine: Made) -> None:
    looks, resyncs = Looks(), Resyncs(NOTHING)
    looks.gate.clear()
    one = await engine(looks, resyncs=resyncs, resync_interval_s=0.01)
    one.wake(TASK)
    resyncs.found.append(Found((TASK,)))
    await until(lambda: not resyncs.found)
    looks.gate.set()
    await until(lambda: len(looks.ranks) == 2)
    assert looks.ranks == ["urgent", "background"]


async def test_a_poll_that_is_due_does_not_keep_what_moved_from_a_whole_look(engine: Made) -> None:
    looks, resyncs = Looks(Looked(poll_in_s=3600)), Resyncs(NOTHING)
    one = await engine(looks, resyncs=resyncs, resync_interval_s=0.01)
    one.wake(TASK)
    await until(lambda: len(looks.ranks) == 1)
    resyncs.found.append(Found((TASK,)))
    await until(lambda: len(looks.ranks) == 2)
    assert looks.ranks == ["urgent", "background"]


@pytest.mark.parametrize(("asked_s", "ranks"), [(300, ["urgent", "background"]), (0.9, ["urgent"])])
async def test_what_moved_is_looked_at_though_its_task_waits_out_a_refusal_of_minutes_but_no_short_pause(
    engine: Made, asked_s: float, ranks: list[str]
) -> None:
    """Found by an agent that went on for minutes after its work item was archived, just before a note to it."""
    looks, resyncs = Looks(Looked(asked_s)), Resyncs(NOTHING)
    one = await engine(looks, resyncs=resyncs, resync_interval_s=0.01)
    one.wake(TASK)
    await until(lambda: len(looks.ranks) == 1)
    resyncs.found.append(Found((TASK,)))
    await until(lambda: not resyncs.found)
    await quiet()
    assert looks.ranks == ranks


async def test_a_wake_for_a_task_that_is_looked_at_in_the_background_makes_that_look_urgent(engine: Made) -> None:
    looks = Looks()
    looks.gate.clear()
    one = await engine(looks, open_tasks=[TASK])
    await until(lambda: looks.ranks == ["background"])
    one.wake(TASK)
    looks.gate.set()
    await until(lambda: len(looks.begun) == 2)
    assert looks.rank_at_end[0] == "urgent"
    assert looks.ranks == ["background", "urgent"], "the wake has a look of its own after it"


@pytest.mark.parametrize("answer", [Looked(0.0), Transient("down", "down")])
@pytest.mark.parametrize("where", ["background", "poll"])
async def test_a_look_in_the_background_that_has_to_be_repeated_stays_what_it_was(
    engine: Made, where: str, answer: Looked | Exception
) -> None:
    looks = Looks(answer, answer, answer)
    found, open_tasks = (Found(to_poll=(TASK,)), []) if where == "poll" else (NOTHING, [TASK])
    await engine(looks, found=found, open_tasks=open_tasks)
    await until(lambda: len(looks.begun) == 4)
    assert looks.ranks == [where] * 4


async def test_a_look_that_somebody_waits_for_is_repeated_as_urgent_and_polled_in_the_background(
    engine: Made,
) -> None:
    looks = Looks(Transient("down", "down"), Looked(poll_in_s=0.01))
    (await engine(looks)).wake(TASK)
    await until(lambda: len(looks.begun) == 3)
    assert looks.ranks == ["urgent", "urgent", "poll"]


async def test_a_wake_goes_before_a_look_that_is_due_in_the_background_later(engine: Made) -> None:
    looks = Looks(Looked(poll_in_s=60))
    one = await engine(looks)
    one.wake(TASK)
    await until(lambda: len(looks.begun) == 1)
    one.wake(TASK)
    await until(lambda: len(looks.begun) == 2)
    assert looks.ranks == ["urgent", "urgent"]


async def test_a_run_asked_for_twice_is_carried_out_once_and_wakes_its_task(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    executions.hold.clear()
    one = await engine(looks, executions)
    one.start_run(RunId(1))
    one.start_run(RunId(1))
    await until(lambda: executions.at_once == 1)
    executions.hold.set()
    await until(lambda: len(looks.begun) == 1)
    assert executions.carried == [1]


async def test_what_is_about_a_run_lets_those_go_first_that_somebody_waits_for(engine: Made) -> None:
    looks, executions = Looks(Transient("down", "down")), Executions()
    (await engine(looks, executions)).start_run(RunId(1))
    await until(lambda: len(looks.begun) == 2)
    assert executions.ranks == ["run"]
    assert looks.ranks == ["run", "run"], "the second repeats the first, which could not be done"


async def test_news_of_a_task_whose_run_ended_make_its_look_urgent(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    looks.gate.clear()
    one = await engine(looks, executions)
    one.start_run(RunId(1))
    await until(lambda: looks.ranks == ["run"])
    one.wake(TASK)
    looks.gate.set()
    await until(lambda: len(looks.begun) == 2)
    assert looks.rank_at_end[0] == "urgent"
    assert looks.ranks == ["run", "urgent"], "the news have a look of their own after it"


async def test_a_run_that_ends_while_news_are_waited_for_does_not_make_their_look_less_urgent(
    engine: Made,
) -> None:
    looks, executions = Looks(), Executions()
    one = await engine(looks, executions)
    one.wake(TASK)
    await until(lambda: len(looks.rank_at_end) == 1)
    one.wake(TASK)  # within the time in which wakes are merged
    one.start_run(RunId(1))
    await until(lambda: len(looks.begun) == 2)
    assert executions.ended == 1
    assert looks.ranks == ["urgent", "urgent"]


async def test_at_the_start_launched_runs_go_on_whatever_the_slots_and_the_others_are_asked_for(
    engine: Made,
) -> None:
    executions = Executions()
    executions.hold.clear()
    executions.launched = {RunId(1), RunId(2), RunId(3)}
    admissions = Admissions(executions, slots=2)
    await engine(Looks(), executions, admissions, open_runs=[RunId(number) for number in range(1, 6)])
    await until(lambda: executions.at_once == 3)
    assert admissions.taken_over == [[1, 2, 3]]
    executions.hold.set()
    await until(lambda: len(executions.carried) == 5)
    assert executions.carried[:3] == [1, 2, 3]


async def test_the_end_of_a_run_asks_who_may_start(engine: Made) -> None:
    executions = Executions()
    executions.hold.clear()
    admissions = Admissions(executions, slots=1)
    await engine(Looks(), executions, admissions, open_runs=[RunId(1), RunId(2)])
    await until(lambda: executions.at_once == 1)
    assert executions.carried == [1]
    executions.hold.set()
    await until(lambda: executions.carried == [1, 2])


async def test_a_run_that_was_put_back_wakes_nobody_and_may_be_started_again(engine: Made) -> None:
    looks, executions = Looks(), Executions(PutBack())
    one = await engine(looks, executions)
    one.start_run(RunId(1))
    await until(lambda: executions.carried == [1])
    await quiet()
    assert not looks.begun
    one.start_run(RunId(1))
    await until(lambda: executions.carried == [1, 1])


async def test_an_admission_that_failed_is_asked_for_again(engine: Made) -> None:
    executions = Executions()
    admissions = Admissions(executions)
    one = await engine(Looks(), executions, admissions)
    await until(lambda: admissions.asked == 1)
    admissions.waiting = [RunId(1)]
    admissions.answers = [Transient("db_busy", "busy"), KeyError("a fault of ours"), Round(again_in_s=0.01)]  # type: ignore[list-item]
    one._pace = Pace(longest_pause_s=0.01)
    one.admit()
    await until(lambda: executions.carried == [1])


async def test_a_run_whose_admission_was_done_and_reported_as_failed_is_started_all_the_same(engine: Made) -> None:
    """Whether by a look or by a round of admissions. While the rows cannot be asked it stays unsure."""
    looks, executions = Looks(Transient("database_unavailable", "down")), Executions()
    executions.hold.clear()  # they stay at work
    admissions = Admissions(executions)
    one = await engine(looks, executions, admissions)
    await until(lambda: admissions.asked == 1)
    admissions.slots_taken = Transient("database_unavailable", "still down")
    one.wake(TASK)
    await until(lambda: one._workers[TASK].faults >= 2)
    assert (executions.carried, len(looks.begun)) == ([], 1)
    admissions.slots_taken = [RunId(1)]
    await until(lambda: executions.carried == [1])
    await until(lambda: len(looks.begun) == 2)
    await until(lambda: admissions.asked == 2)  # a pause may have ended, too, without a word to us

    admissions.answers = [Transient("database_unavailable", "down")]
    one._pace = Pace(longest_pause_s=0.01)
    one.admit()
    admissions.slots_taken = [RunId(1), RunId(2)]
    await until(lambda: executions.carried == [1, 2])


async def test_rows_are_asked_for_runs_only_where_a_commit_is_in_doubt(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    admissions = Admissions(executions)
    one = await engine(looks, executions, admissions)
    admissions.slots_taken = [RunId(1)]
    one.wake(TASK)
    one.admit()
    await until(lambda: len(looks.begun) == 1)
    await quiet()
    assert executions.carried == []


async def test_a_run_that_waits_is_withdrawn_and_one_at_work_is_stopped(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    admissions = Admissions(executions, slots=0)
    one = await engine(looks, executions, admissions)
    admissions.waiting = [RunId(1)]
    await one.cancel_run(RunId(1))
    await until(lambda: len(looks.begun) == 1)
    assert (admissions.waiting, executions.stopped) == ([], [])
    await one.cancel_run(RunId(2))
    assert executions.stopped == [2]


async def test_tasks_whose_runs_wait_for_something_else_are_looked_at_in_the_background(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    admissions = Admissions(executions)
    one = await engine(looks, executions, admissions)
    await until(lambda: admissions.asked == 1)
    admissions.answers = [Round(told=(TaskId(7),))]
    one.admit()
    await until(lambda: looks.tasks == [7])
    assert looks.ranks == ["background"]


async def test_a_run_that_could_not_go_on_is_taken_up_again(engine: Made) -> None:
    executions = Executions(Transient("down", "down"), Transient("down", "down"))
    (await engine(Looks(), executions)).start_run(RunId(1))
    await until(lambda: len(executions.carried) == 3)
    assert not executions.given_up


async def test_a_run_whose_work_is_kept_wakes_its_task_and_is_taken_up_again(engine: Made) -> None:
    looks, executions = Looks(), Executions(Undelivered(TaskId(7), Transient("down", "down")))
    (await engine(looks, executions)).start_run(RunId(1))
    await until(lambda: looks.tasks == [7, TASK])
    assert executions.carried == [1, 1]
    assert not executions.given_up


async def test_a_run_that_breaks_us_is_given_up_and_its_task_woken(engine: Made) -> None:
    looks, executions = Looks(), Executions(KeyError("a fault of ours"))
    (await engine(looks, executions)).start_run(RunId(1))
    await until(lambda: len(looks.begun) == 1)
    assert executions.given_up == [1]


async def test_a_run_that_cannot_be_given_up_is_tried_again_until_it_is(engine: Made) -> None:
    """Before the next start nobody else would end it, and its place would be taken."""
    looks, executions = Looks(), Executions(KeyError("a fault of ours"))
    executions.not_given_up = [Transient("down", "down"), Transient("down", "down")]
    (await engine(looks, executions)).start_run(RunId(1))
    await until(lambda: len(looks.begun) == 1)
    assert executions.given_up == [1, 1, 1]


async def test_a_closed_engine_begins_nothing(engine: Made) -> None:
    looks, executions = Looks(), Executions()
    one = await engine(looks, executions)
    await one.close()
    one.wake(TASK)
    one.start_run(RunId(1))
    await quiet()
    assert not looks.begun
    assert not executions.carried


class ByTask(Looks):
    """Answers of its own for each task; the last one stays."""

    def __init__(self, **answers: list[Looked | Exception]) -> None:
        super().__init__()
        self.of = {TaskId(int(name[1:])): list(found) for name, found in answers.items()}
        self.seen: list[tuple[TaskId, float]] = []

    async def look(self, task: TaskId, _engine: LocalEngine, *, is_kept: bool = False) -> Looked:
        self.seen.append((task, asyncio.get_running_loop().time()))
        answers = self.of[task]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def times(self, task: int, since: float = 0.0) -> list[float]:
        return [at for one, at in self.seen if one == task and at >= since]


DOWN, FINE = Looked(0.0), Looked()
FEW = Pace(merge_s=1, first_pause_s=20, longest_pause_s=600)


def moved(
    looks: ByTask,
    story: Callable[[LocalEngine], Awaitable[None]],
    resync: object = None,
    counters: Counters | None = None,
) -> None:
    """The story in moved time, with an engine that is closed at its end, and the same jitter each time."""
    random.seed(7)

    async def told(_clock: MovedClock) -> None:
        one = LocalEngine(
            looks,  # type: ignore[arg-type]
            Executions(),  # type: ignore[arg-type]
            resync or Resyncs(NOTHING),  # type: ignore[arg-type]
            dispatch=Admissions(Executions()),  # type: ignore[arg-type]
            resync_interval_s=6000,
            complaints=Complaints(),
            pace=FEW,
            counters=counters,
        )
        one.open([], [], [])
        await story(one)
        await one.close()

    in_moved_time(told)


def test_when_one_task_finds_a_neighbour_back_the_others_that_waited_for_it_are_looked_at_at_once() -> None:
    looks = ByTask(t1=[DOWN], t2=[DOWN, FINE])

    async def story(engine: LocalEngine) -> None:
        engine.wake(TaskId(1))
        await asyncio.sleep(2000)
        looks.of[TaskId(1)] = [FINE]
        begin = asyncio.get_running_loop().time()
        engine.wake(TaskId(2))
        await asyncio.sleep(25)
        assert len(looks.times(2)) == 2
        assert looks.times(1, begin) == looks.times(2)[1:]
        await asyncio.sleep(2000)
        assert (len(looks.times(1, begin)), len(looks.times(2))) == (1, 2)

    moved(looks, story)


def test_whoever_was_called_back_in_vain_waits_its_own_pause_and_one_that_was_asked_for_is_kept() -> None:
    looks = ByTask(t1=[DOWN], t2=[Looked(5000)], **{f"t{n}": [DOWN, FINE] for n in range(3, 9)})  # type: ignore[arg-type]

    async def story(engine: LocalEngine) -> None:
        engine.wake(TaskId(1))
        engine.wake(TaskId(2))
        await asyncio.sleep(900)
        begin, own = asyncio.get_running_loop().time(), len(looks.times(1))
        for number in range(3, 9):  # six tasks that find it back, one after another
            engine.wake(TaskId(number))
            await asyncio.sleep(21)
        assert own >= 5
        assert len(looks.times(1, begin)) <= 2  # one early look, and perhaps one of its own
        assert len(looks.times(2)) == 1

    moved(looks, story)


class Failing:
    """A resync that fails so often, then breaks once where that is asked for, then is whole."""

    def __init__(self, faults: int, *, breaks: bool = False) -> None:
        self.faults = faults
        self.breaks = breaks
        self.times: list[float] = []

    async def to_poll(self) -> Sequence[TaskId]:
        return ()

    async def moved(self) -> Moved:
        self.times.append(asyncio.get_running_loop().time())
        if self.breaks and len(self.times) == self.faults + 1:
            raise RuntimeError("a fault of ours")
        return Moved(is_whole=len(self.times) > self.faults)


def test_a_resync_that_failed_is_repeated_soon_and_calls_back_who_waits() -> None:
    looks, resyncs = ByTask(t1=[DOWN]), Failing(6)

    async def story(engine: LocalEngine) -> None:
        engine.wake(TaskId(1))
        await asyncio.sleep(2000)
        assert len(resyncs.times) == 7  # six pauses that grow, and now the interval again
        assert resyncs.times[-1] in looks.times(1)

    moved(looks, story, resyncs)


def test_resyncs_are_counted_by_how_they_ended() -> None:
    counters = Counters()

    async def story(_engine: LocalEngine) -> None:
        await asyncio.sleep(2000)
        assert counters.resyncs == {"put_off": 2, "broke": 1}
        await asyncio.sleep(6000)
        assert counters.resyncs == {"put_off": 2, "broke": 1, "done": 1}

    moved(ByTask(), story, Failing(2, breaks=True), counters)


async def test_looks_that_end_with_the_engine_make_no_room_for_others(engine: Made) -> None:
    looks = Looks()
    looks.gate.clear()
    one = await engine(looks, found=Found((), tuple(OTHERS)), open_tasks=OTHERS)
    await until(lambda: looks.at_once == LATER_AT_ONCE + POLLS_AT_ONCE)
    await one.close()
    await quiet()
    assert len(looks.tasks) == LATER_AT_ONCE + POLLS_AT_ONCE


def test_pauses_grow_to_half_a_minute_and_differ() -> None:
    assert all(0.5 <= Pace().pause(1) <= 1 for _ in range(50))
    assert all(15 <= Pace().pause(50) <= 30 for _ in range(50))
    assert len({Pace().pause(3) for _ in range(20)}) > 1

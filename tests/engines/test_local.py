"""The local engine: the first wake acts at once, later ones are merged, faults come back more and more slowly."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from moved import MovedClock, in_moved_time
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RunId, TaskId
from orchestrator.engines.local import LocalEngine, Pace
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.loop import Looked
from orchestrator.reconcile.resync import Found

TASK = TaskId(1)
PACE = Pace(merge_s=0.05, first_pause_s=0.02)


class Looks:
    """Stands where the reconciler stands; notes every look, and how many were under way at once."""

    def __init__(self, *answers: Looked | Exception) -> None:
        self.answers = list(answers)
        self.begun: list[float] = []
        self.stuck_codes: list[str] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def look(self, _task: TaskId, _engine: LocalEngine) -> Looked:
        self.begun.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else Looked()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stuck(self, _task: TaskId, item: object) -> None:
        self.stuck_codes.append(item.code)  # type: ignore[attr-defined]


class Executions:
    def __init__(self, *answers: TaskId | Exception) -> None:
        self.answers = list(answers)
        self.carried: list[RunId] = []
        self.given_up: list[RunId] = []
        self.at_once = self.most_at_once = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def carry_out(self, run: RunId) -> TaskId:
        self.carried.append(run)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.hold.wait()
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else TASK
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def give_up(self, run: RunId, _error: Exception) -> TaskId:
        self.given_up.append(run)
        return TASK


class NoResync:
    async def look(self) -> Found:
        return Found()


Made = Callable[..., Awaitable[LocalEngine]]


@pytest.fixture
async def engine() -> object:
    """Opened engines; closed at the end. Pauses are short, since only their order is tested."""
    opened: list[LocalEngine] = []

    async def make(looks: Looks, executions: Executions | None = None, slots: int = 2) -> LocalEngine:
        one = LocalEngine(
            looks,
            executions,
            NoResync(),
            max_concurrent_runs=slots,
            resync_interval_s=60,
            complaints=Complaints(),
            pace=PACE,
        )  # type: ignore[arg-type]
        one.open([], [], [])
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


async def test_no_more_runs_than_allowed_are_at_work_at_once(engine: Made) -> None:
    executions = Executions()
    executions.hold.clear()
    one = await engine(Looks(), executions, 2)
    for number in range(6):
        one.start_run(RunId(number))
    await until(lambda: executions.at_once == 2)
    executions.hold.set()
    await until(lambda: len(executions.carried) == 6)
    assert executions.most_at_once == 2


async def test_a_run_that_could_not_go_on_is_taken_up_again(engine: Made) -> None:
    executions = Executions(Transient("down", "down"), Transient("down", "down"))
    (await engine(Looks(), executions)).start_run(RunId(1))
    await until(lambda: len(executions.carried) == 3)
    assert not executions.given_up


async def test_a_run_that_breaks_us_is_given_up_and_its_task_woken(engine: Made) -> None:
    looks, executions = Looks(), Executions(KeyError("a fault of ours"))
    (await engine(looks, executions)).start_run(RunId(1))
    await until(lambda: len(looks.begun) == 1)
    assert executions.given_up == [1]


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

    async def look(self, task: TaskId, _engine: LocalEngine) -> Looked:
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


def moved(looks: ByTask, story: Callable[[LocalEngine], Awaitable[None]], resync: object = None) -> None:
    """The story in moved time, with an engine that is closed at its end, and the same jitter each time."""
    random.seed(7)

    async def told(_clock: MovedClock) -> None:
        one = LocalEngine(
            looks,  # type: ignore[arg-type]
            Executions(),  # type: ignore[arg-type]
            resync or NoResync(),  # type: ignore[arg-type]
            max_concurrent_runs=1,
            resync_interval_s=6000,
            complaints=Complaints(),
            pace=FEW,
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


class Resyncs:
    """A resync that fails so often, then is whole."""

    def __init__(self, faults: int) -> None:
        self.faults = faults
        self.times: list[float] = []

    async def look(self) -> Found:
        self.times.append(asyncio.get_running_loop().time())
        return Found(is_whole=len(self.times) > self.faults)


def test_a_resync_that_failed_is_repeated_soon_and_calls_back_who_waits() -> None:
    looks, resyncs = ByTask(t1=[DOWN]), Resyncs(6)

    async def story(engine: LocalEngine) -> None:
        engine.wake(TaskId(1))
        await asyncio.sleep(2000)
        assert len(resyncs.times) == 7  # six pauses that grow, and now the interval again
        assert resyncs.times[-1] in looks.times(1)

    moved(looks, story, resyncs)


def test_a_closed_engine_leaves_what_waited_in_the_background_alone() -> None:
    async def story(_clock: MovedClock) -> None:
        held = Looks()
        held.gate.clear()
        one = LocalEngine(
            held, None, NoResync(), max_concurrent_runs=1, complaints=Complaints(), resync_interval_s=60
        )  # type: ignore[arg-type]
        one.open([], [TaskId(n) for n in range(20)], [])
        await asyncio.sleep(1)
        before = len(held.begun)
        await one.close()
        await asyncio.sleep(1)
        assert before == len(held.begun) == 4

    in_moved_time(story)


def test_pauses_grow_to_half_a_minute_and_differ() -> None:
    assert all(0.5 <= Pace().pause(1) <= 1 for _ in range(50))
    assert all(15 <= Pace().pause(50) <= 30 for _ in range(50))
    assert len({Pace().pause(3) for _ in range(20)}) > 1

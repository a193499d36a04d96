"""The token bucket and the pause after a refusal, in moved time: nothing here sleeps."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.pace import MAX_WAITING, Circuit, Pace, Timing, Urgency, Work, showing, working


class Time:
    """Sleepers wake in order as time is moved; between two of them everything that can go on goes on."""

    def __init__(self) -> None:
        self.at = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.timing = Timing(lambda: self.at, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.at + seconds, self._count, woken))
        await woken

    async def move(self, seconds: float) -> None:
        end = self.at + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.at, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self.at = end


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


class Callers:
    """Starts calls and notes when each had its turn."""

    def __init__(self, pace: Pace, time: Time) -> None:
        self.pace, self.time = pace, time
        self.turns: list[tuple[str, float]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def urgent(self, name: str, check: Callable[[], None] = lambda: None) -> asyncio.Task[None]:
        return self._start(self._call(name, check))

    def background(
        self, name: str, check: Callable[[], None] = lambda: None, work: Work | None = None
    ) -> asyncio.Task[None]:
        with working(work or Work(Urgency.BACKGROUND)):
            return self._start(self._call(name, check))

    def about_a_run(self, name: str) -> asyncio.Task[None]:
        return self.background(name, work=Work(Urgency.RUN))

    def shown(self, name: str, work: Work | None = None) -> asyncio.Task[None]:
        async def show() -> None:
            with showing():
                await self._call(name, lambda: None)

        with working(work or Work()):
            return self._start(show())

    def _start(self, call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(call))
        return self.tasks[-1]

    async def _call(self, name: str, check: Callable[[], None]) -> None:
        await self.pace.turn(check)
        self.turns.append((name, self.time.at))

    def of(self, begin: str) -> list[float]:
        return [at for name, at in self.turns if name.startswith(begin)]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def callers(time: Time) -> AsyncIterator[Callers]:
    one = Callers(Pace("plane", 50, time.timing), time)
    yield one
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)


@pytest.mark.parametrize("rank", ["urgent", "background"])
async def test_no_minute_sees_sixty_calls_and_few_are_wasted(callers: Callers, time: Time, rank: str) -> None:
    await time.move(100)
    for number in range(400):
        getattr(callers, rank)(f"{number}")
    await time.move(300)
    turns = [at for _, at in callers.turns]
    assert max(sum(begin <= at < begin + 60 for at in turns) for begin in turns) < 60
    assert len(turns) >= 250


async def test_calls_of_a_rank_go_in_the_order_in_which_they_came(callers: Callers, time: Time) -> None:
    for number in range(30):
        callers.urgent(f"{number}")
    await time.move(120)
    assert [name for name, _ in callers.turns] == [f"{number}" for number in range(30)]


async def test_before_ten_thousand_in_the_background_an_urgent_call_goes_at_once(
    callers: Callers, time: Time
) -> None:
    for number in range(10_000):
        callers.background(f"b{number}")
    await time.move(60)
    waited = []
    for number in range(60):
        asked = time.at
        for call in range(3):
            callers.urgent(f"u{number}.{call}")
        await time.move(5)
        waited += [at - asked for at in callers.of(f"u{number}.")]
    assert len(waited) == 180
    assert max(waited) <= 2, max(waited)
    assert len(callers.of("b")) > 60, "and what urgent calls leave is used"


async def test_the_background_is_not_starved_by_urgent_calls(callers: Callers, time: Time) -> None:
    for number in range(1000):
        callers.urgent(f"u{number}")
    for number in range(1000):
        callers.background(f"b{number}")
    await time.move(300)
    assert 15 <= len(callers.of("b")) <= 25
    assert len(callers.of("u")) >= 200


async def test_five_calls_are_kept_free_for_who_comes_while_the_background_has_a_backlog(
    callers: Callers, time: Time
) -> None:
    for number in range(1000):
        callers.background(f"b{number}")
    await time.move(60)
    for number in range(5):
        callers.urgent(f"u{number}")
    await time.move(0)
    assert len(callers.of("u")) == 5, "at once, though a thousand came before them"


async def test_a_look_is_not_held_up_while_much_is_to_be_shown(callers: Callers, time: Time) -> None:
    for number in range(100):
        callers.shown(f"s{number}")
        callers.background(f"b{number}")
    waited = []
    for number in range(20):
        await time.move(5)
        asked = time.at
        for call in range(2):
            callers.urgent(f"u{number}.{call}")
        await time.move(2)
        assert len(callers.of(f"u{number}.")) == 2
        waited.append(callers.of(f"u{number}.")[-1] - asked)
    assert sorted(waited)[10] == 0, "two calls are kept free, but for one that has waited for long"


async def test_a_look_is_not_held_up_while_many_runs_end(callers: Callers, time: Time) -> None:
    """Runs that end use up what deliveries leave, never what the next one needs: an item and its comments."""
    for number in range(300):
        callers.about_a_run(f"r{number}")
    for number in range(20):
        await time.move(5)
        for call in range(2):
            callers.urgent(f"u{number}.{call}")
        await time.move(0)
        assert callers.of(f"u{number}.") == [time.at] * 2
    assert len(callers.of("r")) >= 30


async def test_what_is_about_a_run_goes_before_the_background_and_is_not_starved(
    callers: Callers, time: Time
) -> None:
    for number in range(300):
        callers.urgent(f"u{number}")
        callers.background(f"b{number}")
        callers.about_a_run(f"r{number}")
    await time.move(300)
    assert len(callers.of("r")) >= 25 > len(callers.of("b")) >= 15


async def test_what_is_shown_goes_before_the_background_and_is_not_starved(callers: Callers, time: Time) -> None:
    for number in range(300):
        callers.urgent(f"u{number}")
        callers.background(f"b{number}")
        callers.shown(f"s{number}")
    await time.move(300)
    assert len(callers.of("s")) >= 50 > len(callers.of("b")) >= 15


async def test_what_is_shown_of_work_that_somebody_waits_for_leaves_its_line(callers: Callers, time: Time) -> None:
    work = Work()
    for number in range(100):
        callers.shown(f"s{number}")
    mine = callers.shown("mine", work)
    await time.move(0)
    assert not mine.done()
    work.hurry()
    await time.move(0)
    assert callers.of("mine") == [time.at]
    assert work.planned is Urgency.LOOK, "and what is looked at next is looked at as before"


async def test_work_that_somebody_comes_to_wait_for_leaves_the_line_of_the_background(
    callers: Callers, time: Time
) -> None:
    await time.move(1)
    work = Work(Urgency.BACKGROUND)
    for number in range(100):
        callers.background(f"b{number}")
    mine = callers.background("mine", work=work)
    await time.move(0)
    assert not mine.done()
    work.hurry()
    await time.move(0)
    assert callers.of("mine") == [time.at], "it had waited behind a hundred"
    callers.background("mine too", work=work)
    await time.move(0)
    assert len(callers.of("mine")) == 2, "and so is all that it does from now on"
    await time.move(300)
    assert len(callers.of("b")) == 100, "nobody else lost the place"


async def test_who_is_hurried_and_refused_is_told(callers: Callers, time: Time) -> None:
    work = Work(Urgency.BACKGROUND)

    def check() -> None:
        if work.is_hurried:
            raise Permanent("plane_refused", "no")

    for number in range(20):
        callers.background(f"b{number}")
    refused = callers.background("mine", check, work)
    await time.move(0)
    work.hurry()
    await time.move(0)
    assert isinstance(refused.exception(), Permanent)


async def test_a_pause_holds_everybody_for_as_long_as_was_asked(callers: Callers, time: Time) -> None:
    callers.pace.pause(57)
    for number in range(5):
        callers.urgent(f"u{number}")
    callers.background("b")
    await time.move(56.9)
    assert callers.turns == []
    await time.move(0.2)
    assert len(callers.turns) == 1, "one tries; a burst would be refused again"
    await time.move(30)
    assert len(callers.turns) == 6


async def test_a_pause_of_no_stated_length_is_a_short_one(callers: Callers, time: Time) -> None:
    callers.pace.pause(None)
    callers.urgent("u")
    await time.move(10)
    assert callers.turns == []
    await time.move(10)
    assert len(callers.turns) == 1


async def test_a_long_pause_is_told_and_not_waited_for(callers: Callers, time: Time) -> None:
    callers.pace.pause(10**9)
    with pytest.raises(Transient) as busy:
        await callers.pace.turn(lambda: None)
    assert busy.value.retry_after_s is not None
    assert 60 < busy.value.retry_after_s <= 3600
    await time.move(3601)
    await callers.pace.turn(lambda: None)


async def test_what_others_leave_of_the_limit_is_heeded(callers: Callers, time: Time) -> None:
    callers.pace.told(2)
    for number in range(5):
        callers.urgent(f"u{number}")
    await time.move(0.1)
    assert len(callers.turns) == 2
    callers.pace.told(None)
    callers.pace.told(1000)
    await time.move(10)
    assert len(callers.turns) == 5


async def test_too_many_that_wait_are_told_to_come_back(
    callers: Callers, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_WAITING > 10_000
    monkeypatch.setattr("orchestrator.pace.MAX_WAITING", 20)
    for number in range(30):
        callers.urgent(f"{number}")
    await time.move(0)
    busy = [task for task in callers.tasks if task.done() and task.exception()]
    assert len(busy) == 2, "eight went at once"
    assert isinstance(busy[0].exception(), Transient)
    await time.move(120)
    assert len(callers.turns) == 28


async def test_who_gives_up_leaves_the_line(callers: Callers, time: Time) -> None:
    for number in range(20):
        callers.urgent(f"{number}")
    await time.move(0)
    for task in callers.tasks[8:15]:
        task.cancel()
    await time.move(60)
    assert [name for name, _ in callers.turns] == [f"{n}" for n in (*range(8), *range(15, 20))]


async def test_who_waits_is_refused_as_soon_as_the_system_refuses(callers: Callers, time: Time) -> None:
    is_refused = False

    def check() -> None:
        if is_refused:
            raise Permanent("plane_refused", "no")

    for number in range(1000):
        callers.background(f"{number}", check)
    await time.move(1)
    is_refused = True
    await time.move(1)
    for _ in range(1000):
        await settle()
    assert all(task.done() for task in callers.tasks)
    assert len(callers.turns) < 10


@pytest.mark.parametrize("per_minute", [1, 5, 11, 300])
async def test_every_rate_lets_all_ranks_through(time: Time, per_minute: int) -> None:
    callers = Callers(Pace("plane", per_minute, time.timing), time)
    for number in range(3):
        callers.urgent(f"u{number}")
        callers.background(f"b{number}")
        callers.about_a_run(f"r{number}")
        callers.shown(f"s{number}")
    await time.move(1200)
    await asyncio.gather(*callers.tasks)
    assert len(callers.turns) == 12


# -- the pause after a refusal

REFUSED = Permanent("plane_refused", "Plane answered 403.", hint="Check the token.")


def is_open(circuit: Circuit, scope: str = "") -> bool:
    try:
        circuit.enter(scope)
    except Permanent as error:
        said = error.code, error.message, error.hint
    else:
        return True
    assert said == (REFUSED.code, REFUSED.message, REFUSED.hint)
    return False


async def test_after_a_refusal_one_call_tries_every_five_minutes(time: Time) -> None:
    circuit = Circuit("Plane", time.timing)
    assert is_open(circuit)
    circuit.refused("", REFUSED)
    tried = 0
    for _ in range(3600):
        await time.move(1)
        if is_open(circuit, "GET somewhere"):
            tried += 1
            circuit.refused("", REFUSED)
    assert 10 <= tried <= 12


async def test_the_one_that_tries_holds_the_others_back_and_frees_them_all(time: Time) -> None:
    circuit = Circuit("Plane", time.timing)
    circuit.refused("", REFUSED)
    assert [error.code for error in circuit.refusals] == ["plane_refused"]
    await time.move(301)
    assert [is_open(circuit) for _ in range(3)] == [True, False, False]
    circuit.succeeded("")
    assert is_open(circuit, "anything")
    assert circuit.refusals == ()


async def test_a_refused_place_does_not_stop_the_others(time: Time) -> None:
    circuit = Circuit("Plane", time.timing)
    circuit.refused("project a", REFUSED)
    assert not is_open(circuit, "project a")
    assert is_open(circuit, "project b")
    circuit.succeeded("project b")
    assert not is_open(circuit, "project a")


async def test_nobody_goes_while_the_other_side_wants_a_pause_and_it_is_said_how_long(time: Time) -> None:
    circuit = Circuit("gitea", time.timing)
    circuit.pause(90)
    await time.move(30)
    circuit.pause(1)
    for go in (circuit.check, circuit.enter):
        with pytest.raises(Transient) as busy:
            go("anything")
        assert (busy.value.code, busy.value.retry_after_s) == ("gitea_busy", 60)
    await time.move(60)
    assert (is_open(circuit, "anything"), circuit.paused_s) == (True, 0)


async def test_no_pause_is_longer_than_an_hour(time: Time) -> None:
    circuit = Circuit("gitea", time.timing)
    circuit.pause(99_999)
    assert circuit.paused_s == 3600


async def test_many_refused_places_together_are_asked_less_than_twice_a_minute(time: Time) -> None:
    circuit = Circuit("Plane", time.timing)
    places = [f"project {number}" for number in range(50)]
    for place in places:
        circuit.refused(place, REFUSED)
    tried = []
    for _ in range(2 * 3600):
        await time.move(1)
        for place in places:
            if is_open(circuit, place):
                tried.append(time.at)
                circuit.refused(place, REFUSED)
    assert len(tried) / 120 < 2
    assert len(tried) >= 50


async def test_a_full_bucket_makes_nobody_wait_for_a_rounding_error() -> None:
    time = Time()
    time.at, later = 23.46, 96.01
    assert time.at + (later - time.at) > later
    callers = Callers(Pace("plane", 60, time.timing), time)
    time.at = later
    await asyncio.wait_for(callers.urgent("one"), 10)
    assert callers.turns == [("one", later)]

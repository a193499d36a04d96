"""The looks at all runs that are followed."""

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import by_day
from orchestrator.agents.follow import Ending, Log
from orchestrator.agents.launcher import ProcessLimits
from orchestrator.agents.patrol import LATEST_LOOK_S, Patrol, Watch, to_next_look
from orchestrator.agents.rundir import ExitRecord, RunPaths, holding, note_stop
from orchestrator.agents.vigil import Vigil
from orchestrator.domain.model import RunId
from orchestrator.domain.run import RunLimits, RunResult, Usage

LIMITS = RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1, silence_s=300)


@dataclass
class Counting:
    """A reading to which each line is a turn."""

    usage: Usage = field(default_factory=Usage)
    cli_version: str = ""
    model: str = ""
    fault: Exception | None = None

    def feed(self, piece: bytes) -> None:
        if self.fault:
            raise self.fault
        self.usage = Usage(turns=self.usage.turns + piece.count(b"\n"))

    def conclude(self, ended: ExitRecord, stderr: str) -> RunResult:
        raise NotImplementedError


@dataclass
class Followed:
    paths: RunPaths
    watch: Watch
    reading: Counting
    told: list[Usage]

    def says(self, *lines: bytes) -> None:
        with self.paths.log.open("ab") as file:
            file.write(b"".join(lines))


@pytest.fixture
def followed(tmp_path: Path) -> Callable[..., Followed]:
    def one(number: int = 1, now: float = 1000.0) -> Followed:
        paths, reading, told = RunPaths.of(tmp_path, RunId(number)), Counting(), list[Usage]()
        paths.root.mkdir(parents=True)
        vigil = Vigil(paths, LIMITS, ProcessLimits(), heard=now)
        watch = Watch(Log(paths.log, reading, 10**9), vigil, told.append, noted=now)
        return Followed(paths, watch, reading, told)

    return one


@given(st.floats(min_value=0, max_value=1e9))
@by_day(200)
def test_looks_come_together_on_full_seconds(now: float) -> None:
    """A timer that fires a moment early or late does not make two looks of one."""
    pause = to_next_look(now)
    assert 0.5 <= pause <= LATEST_LOOK_S
    assert abs(now + pause - round(now + pause)) < 1e-6


def test_a_look_tells_what_is_used_by_now_and_that_the_agent_says_something(followed: Any) -> None:
    one = followed()
    assert one.watch.look(1001.0)
    assert one.told == []
    one.says(b"a\n", b"b\n")
    assert one.watch.look(1002.0)
    assert one.told == [Usage(turns=2)]
    one.says(b"no whole line")
    assert one.watch.look(1006.0)
    assert one.told == [Usage(turns=2)]
    assert one.watch.look(1008.0)
    assert one.told == [Usage(turns=2)] * 2
    assert one.watch.look(1020.0)
    assert len(one.told) == 2, "nothing came since"


def test_what_is_too_much_for_a_look_is_left_to_who_waits(followed: Any) -> None:
    one = followed()
    one.says(b"x" * 200_000, b"\n")
    assert not one.watch.look(1001.0)
    assert (one.watch.log.position, one.told) == (0, [])


def test_a_look_says_when_the_runs_time_is_nearly_over(followed: Any) -> None:
    one = followed()
    due = 1000.0 + LIMITS.silence_s + one.watch.vigil.grace_s
    assert one.watch.look(due - LATEST_LOOK_S - 0.1)
    assert not one.watch.look(due - LATEST_LOOK_S + 0.1), "the next look might be too late"
    assert not one.watch.look(due + 1)
    assert one.watch.overdue(due + 1) == "stalled"


async def test_all_are_looked_at_and_only_who_is_needed_is_woken(followed: Any) -> None:
    """The second is ordered to stop, whose shim may hang; the third's log cannot be read. None is the others'."""
    now = asyncio.get_running_loop().time()
    runs = [followed(number, now) for number in (1, 2, 3)]
    runs[1].paths.log.touch()
    note_stop(runs[1].paths)
    runs[2].reading.fault = OSError("no disk")
    for run in runs:
        run.says(b"a\n")
    # Ordered long ago: so the run is overdue at the first look.
    runs[1].paths.stop.write_text("1.0")
    patrol = Patrol()

    async def waited(run: Followed) -> bool:
        with holding(run.paths.lock), Ending(run.paths.lock, None) as ending, patrol.of(ending, run.watch):
            return await ending.within(math.inf)

    waits = [asyncio.create_task(waited(run)) for run in runs]
    async with asyncio.timeout(30):
        assert await waits[1] is False
        with pytest.raises(OSError, match="no disk"):
            await waits[2]
    assert not waits[0].done()
    assert [run.told for run in runs[:2]] == [[Usage(turns=1)]] * 2
    waits[0].cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_what_is_told_of_a_run_is_told_where_that_is_waited_for(followed: Any, eventually: Any) -> None:
    """As logs name the run of the task that they come from."""
    whose, patrol, told = ContextVar[int]("whose"), Patrol(), dict[int, int]()

    async def waited(number: int) -> None:
        whose.set(number)
        run = followed(number, asyncio.get_running_loop().time())
        run.watch.on_progress = lambda _: told.update({number: whose.get()})
        run.says(b"a\n")
        with holding(run.paths.lock), Ending(run.paths.lock, None) as ending, patrol.of(ending, run.watch):
            await ending.within(math.inf)

    waits = [asyncio.create_task(waited(number)) for number in (1, 2)]
    await eventually(lambda: len(told) == len(waits), "both are looked at")
    assert told == {1: 1, 2: 2}
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_nobody_is_looked_at_for_who_does_not_wait_any_more(followed: Any) -> None:
    one, patrol = followed(now=asyncio.get_running_loop().time()), Patrol()
    for _ in range(2):
        with Ending(one.paths.lock, None) as ending, patrol.of(ending, one.watch):
            pass
    one.says(b"a\n")
    await asyncio.sleep(LATEST_LOOK_S + 0.1)
    assert one.told == []

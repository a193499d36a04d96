"""Agents that do what they must not: each is stopped at its limit, and nothing of it stays alive.

The stop ladder's pauses are short here; that the real ones are short enough is a sum, not something to be timed.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import gauge, launcher, rundir, shim, supervise
from orchestrator.agents.launcher import ProcessLimits
from orchestrator.agents.patrol import LATEST_LOOK_S
from orchestrator.agents.vigil import Vigil
from orchestrator.domain.run import Outcome, RunLimits, RunResult, RunSpec

MIB = 1024 * 1024
RESULT = (
    "print(json.dumps({'type': 'result', 'subtype': 'success', 'is_error': False,"
    " 'terminal_reason': 'completed', 'num_turns': 1}), flush=True)\n"
)
DEAF = "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
FOR_EVER = "ledger('up')\nwhile True: time.sleep(60)\n"
BOUND = "until = time.monotonic() + 60\n"
"""A bomb that nobody stops goes out by itself."""
BOMB = f"""{DEAF}{BOUND}
ledger('up')
for _ in range(40):
    if os.fork() == 0:
        os.setsid()
        while time.monotonic() < until:
            if os.fork():
                os._exit(0)
        os._exit(0)
time.sleep(60)
"""
"""Forty chains, each link of which lives for a moment: nothing that a list of processes could name for long."""
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 100)
    os.execve('/bin/sleep', ['sleep', '77'], {})
os.wait()
"""
"""A session of its own, no descriptor of ours, and an environment that tells nothing."""


async def run(world: Any, body: str, process: ProcessLimits, **changes: Any) -> tuple[Any, RunSpec]:
    claude, spec = world.runtime(world.agent(body)), world.spec(**changes)
    claude.limits = process
    await claude.prepare(spec)
    await claude.launch(spec)
    return claude, spec


async def ended(claude: Any, spec: RunSpec) -> RunResult:
    result: RunResult = await claude.wait(spec, lambda _usage: None)
    return result


def sleepers() -> list[int]:
    """Whoever runs the daemon's command, whatever it calls its home."""
    found = []
    for pid in supervise.pids():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0077\x00":
                found.append(pid)
        except OSError:
            continue
    return found


QUICK = ProcessLimits(log_max_bytes=200_000, interrupt_s=0.2, terminate_s=0.2)


async def test_a_silent_run_stalls(world: Any) -> None:
    limits = RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1, silence_s=1.0)
    claude, spec = await run(world, DEAF + FOR_EVER, QUICK, limits=limits)
    result = await ended(claude, spec)
    assert (result.outcome, result.reason) == (Outcome.STALLED, "stalled")
    assert world.living() == []


def test_a_byte_in_either_log_ends_a_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meter itself, with a clock of the test's."""
    monkeypatch.chdir(tmp_path)
    limits = RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1, silence_s=50)
    spec = shim.Spec(launcher.spec_bytes(tmp_path, ["agent"], {}, limits, ProcessLimits()))
    meter = supervise._Meter(spec, began=1000.0)
    assert meter.exceeded(1049) is None
    assert meter.left_s(1049) == 1
    (tmp_path / shim.STDERR).write_text("x")
    assert meter.exceeded(1050) is None
    (tmp_path / shim.STDOUT).write_text("x")
    assert meter.exceeded(1099) is None
    assert meter.exceeded(1148) is None
    assert meter.exceeded(1149) == supervise.STALLED
    assert meter.exceeded(1600) == supervise.TIMED_OUT


async def test_a_fork_bomb_is_put_out(world: Any, eventually: Callable[..., Any]) -> None:
    claude, spec = await run(world, BOMB, QUICK)
    await eventually(lambda: world.entries("up"), "the bomb burns")
    await claude.stop(spec.run)
    result = await ended(claude, spec)
    assert result.outcome is Outcome.CANCELLED
    assert world.living() == []


async def test_a_flood_of_output_is_stopped_and_its_log_is_cut(world: Any) -> None:
    """As fast as it can: much more than the limit is written before anybody looks."""
    flood = (
        f"{DEAF}piece = b'x' * {MIB}\nfor _ in range(1024): os.write(1, piece)\nos.write(1, b'end')\n" + FOR_EVER
    )
    claude, spec = await run(world, flood, QUICK)
    result = await ended(claude, spec)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "log_full")
    assert world.paths(spec).log.stat().st_size == QUICK.log_max_bytes
    assert world.living() == []


async def test_a_file_is_never_larger_than_its_limit(world: Any) -> None:
    """Ten gigabytes by seeking, and as many bytes as it can by writing: neither gets through."""
    writes = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "fd = os.open('big', os.O_WRONLY | os.O_CREAT)\n"
        "try: os.truncate('big', 10 << 30)\n"
        "except OSError as fault: print(fault.errno, flush=True)\n"
        f"try:\n    while True: os.write(fd, b'x' * {MIB})\n"
        "except OSError as fault: print(fault.errno, flush=True)\n"
    )
    claude, spec = await run(world, writes + RESULT, replace(QUICK, file_max_bytes=8 * MIB))
    assert (await ended(claude, spec)).outcome is Outcome.SUCCEEDED
    assert (world.paths(spec).workspace / "big").stat().st_size == 8 * MIB
    assert world.paths(spec).log.read_text().splitlines()[:2] == ["27", "27"]


async def test_memory_over_the_limit_ends_the_run(world: Any) -> None:
    """In a child with a session of its own, as the tools of the CLI have."""
    eats = (
        f"if os.fork() == 0:\n    os.setsid()\n    kept = bytearray(os.urandom({MIB}) * 400)\n    time.sleep(60)\n"
        "os.wait()\n"
    )
    claude, spec = await run(world, DEAF + eats, replace(QUICK, memory_max_bytes=200 * MIB))
    result = await ended(claude, spec)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "memory_full")
    assert world.living() == []


async def test_a_lie_about_success_is_no_success(world: Any) -> None:
    claude, spec = await run(world, RESULT, QUICK)
    assert (await ended(claude, spec)).outcome is Outcome.SUCCEEDED
    assert await claude.collect(spec) is None


async def test_a_daemon_that_nothing_ties_to_the_run_is_ended(world: Any) -> None:
    before = sleepers()
    claude, spec = await run(world, DAEMON + RESULT, QUICK)
    await ended(claude, spec)
    assert sleepers() == before


async def test_an_agent_that_stops_its_shim_is_ended_with_all_that_it_started(
    world: Any, eventually: Callable[..., Any]
) -> None:
    """Then nobody below us keeps its word, and what has hidden itself from us is found below the shim."""
    before = sleepers()
    body = f"{DEAF}{DAEMON}os.kill(os.getppid(), signal.SIGSTOP)\n{FOR_EVER}"
    claude, spec = await run(world, body, QUICK)
    await eventually(lambda: world.entries("up") and sleepers() != before, "the shim is stopped")
    await claude.stop(spec.run)
    result = await ended(claude, spec)
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    await eventually(lambda: not world.living() and sleepers() == before, "nothing is left alive")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [({"timeout_s": 0.5}, Outcome.TIMED_OUT), ({"silence_s": 0.5}, Outcome.STALLED)],
)
async def test_a_stopped_shim_does_not_undo_a_limit(
    world: Any, changes: dict[str, float], outcome: Outcome
) -> None:
    limits = replace(RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1), **changes)
    body = f"{DEAF}os.kill(os.getppid(), signal.SIGSTOP)\n{FOR_EVER}"
    claude, spec = await run(world, body, QUICK, limits=limits)
    assert (await ended(claude, spec)).outcome is outcome
    assert world.living() == []


def test_the_whole_ladder_takes_less_than_ten_seconds_and_so_does_the_watch_over_it(world: Any) -> None:
    """By sums, not by a watch: what may pass between a limit and the last kill."""
    process = ProcessLimits()
    ladder = process.interrupt_s + process.terminate_s + supervise.KILL_S
    assert supervise.TICK_S + ladder < 10
    for look_s in (0.0, 0.9, 1.5):  # the last one: 150,000 files and more
        late_s = look_s + gauge.pause_s(look_s) + supervise.TICK_S + look_s  # it grew just behind the first look
        last_s = supervise.terminate_s(process.terminate_s, late_s)
        assert late_s + process.interrupt_s + last_s + supervise.KILL_S < 10
    vigil = Vigil(world.paths(world.spec()), RunLimits(60, 1, 1), process, heard=0.0)
    assert vigil.grace_s > ladder
    assert vigil.grace_s + LATEST_LOOK_S / 2 < 10
    assert vigil.grace_s - LATEST_LOOK_S / 2 > process.interrupt_s + process.terminate_s, "never before its kill"


def test_the_log_is_taken_to_have_grown_and_to_be_full_in_the_middle_between_two_looks(world: Any) -> None:
    limits, process = RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1, silence_s=50), QUICK
    vigil = Vigil(world.paths(world.spec()), limits, replace(process, log_max_bytes=100), heard=1000.0)
    assert vigil.overdue(0, 1001.0) is None
    assert vigil.due == 1000.0 + 50 + vigil.grace_s
    vigil.overdue(9, 1002.0)
    assert vigil.due == 1001.5 + 50 + vigil.grace_s
    vigil.overdue(101, 1003.0)
    vigil.overdue(102, 1004.0)
    assert vigil.due == 1002.5 + vigil.grace_s, "the first sight of it counts"
    assert vigil.overdue(102, 1002.5 + vigil.grace_s) == supervise.LOG_FULL


def test_limits_are_counted_from_moments_that_lie_in_files(world: Any) -> None:
    """So neither a restart of ours nor a change of the date moves them."""
    paths = world.paths(world.spec())
    paths.root.mkdir(parents=True)
    now = float(int(time.monotonic()))  # the file holds no more than millionths
    limits, process = RunLimits(timeout_s=100, max_turns=1, max_budget_usd=1, silence_s=50), QUICK
    paths.started.write_bytes(b"%f" % now)
    vigil = Vigil(paths, limits, process, heard=now)
    over = vigil.grace_s
    assert vigil.overdue(0, now + 50 + over - 0.01) is None
    assert vigil.overdue(0, now + 50 + over) == supervise.STALLED
    assert vigil.overdue(1, now + 60) is None
    assert vigil.overdue(2, now + 100 + over - 0.01) is None
    assert vigil.overdue(3, now + 100 + over) == supervise.TIMED_OUT
    rundir.note_stop(paths)
    first = rundir.stopped_at(paths)
    rundir.note_stop(paths)
    assert rundir.stopped_at(paths) == first
    assert vigil.overdue(4, first + over - 0.01) is None
    assert vigil.due == first + over  # the next look is made then, and not a tick later
    assert vigil.overdue(4, now + 30) == supervise.CANCELLED
    paths.stop.write_bytes(b"%f" % (now + 10_000))
    assert rundir.stopped_at(paths) is None


async def test_a_run_whose_preparation_is_under_way_is_stopped_for_good(world: Any) -> None:
    """The lock is held by whoever prepares it, so nobody can mark it: the order itself forbids the launch."""
    claude, spec = world.runtime(world.agent("ledger('up')\n" + RESULT)), world.spec()
    await claude.prepare(spec)
    with rundir.holding(world.paths(spec).lock) as mine:
        assert mine
        assert await claude.stop(spec.run)
    await claude.launch(spec)
    assert (await ended(claude, spec)).outcome is Outcome.CANCELLED
    assert world.entries("up") == []


async def test_an_agent_takes_the_machine_last(world: Any) -> None:
    shows = "print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), flush=True)\n"
    claude, spec = await run(world, shows + RESULT, QUICK)
    await ended(claude, spec)
    assert world.paths(spec).log.read_text().splitlines()[0] == f"{os.nice(0) + 10} 1000"


async def test_a_stop_during_the_launch_reaches_the_shim_or_forbids_it(world: Any) -> None:
    for number in range(1, 6):
        claude, spec = world.runtime(world.agent(DEAF + FOR_EVER)), world.spec(number)
        claude.limits = QUICK
        await claude.prepare(spec)
        launching = asyncio.create_task(claude.launch(spec))
        for _ in range(number):
            await asyncio.sleep(0)
        await claude.stop(spec.run)
        await launching
        assert (await ended(claude, spec)).outcome is Outcome.CANCELLED
        assert world.living() == []

"""Following a run: its log as it grows, and the end of its shim."""

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import rundir
from orchestrator.agents.follow import Ending, Log
from orchestrator.agents.rundir import ExitRecord
from orchestrator.domain.run import RunResult, Usage

LONG_S = 60.0
"""Nothing here takes that long: who waits it out has failed."""


@dataclass
class Heard:
    """A reading that keeps what it was given."""

    whole: bytes = b""
    pieces: list[int] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cli_version: str = ""
    model: str = ""

    def feed(self, piece: bytes) -> None:
        self.whole += piece
        self.pieces.append(len(piece))

    def conclude(self, ended: ExitRecord, stderr: str) -> RunResult:
        raise NotImplementedError


async def test_each_byte_of_a_log_is_read_once_however_it_grows(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "log"
    log = Log(path, heard, 10**9)
    await log.catch_up()
    assert heard.pieces == []
    # Little, nothing, a line in halves, so much that a thread reads it, more than one piece.
    for size in (10, 0, 7, 300_000, 3_000_000, 1):
        with path.open("ab") as file:
            file.write(bytes([size % 251]) * size)
        await log.catch_up()
        assert log.position == path.stat().st_size
    assert heard.whole == path.read_bytes()
    assert max(heard.pieces) <= 1024 * 1024


async def test_what_was_cut_off_behind_our_back_does_not_hold_us_up(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "log"
    path.write_bytes(b"x" * 100)
    log = Log(path, heard, 10**9)
    await log.catch_up()
    path.write_bytes(b"y" * 10)
    await log.catch_up()
    assert (log.position, heard.whole) == (100, b"x" * 100)


async def test_not_much_is_read_beyond_the_limit(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "log"
    path.write_bytes(b"x" * 5_000_000)
    log = Log(path, heard, 1_500_000)
    for _ in range(3):
        await log.catch_up()
    assert 1_500_000 < log.position <= 1_500_000 + 1024 * 1024


async def test_a_thread_that_nobody_waits_for_any_more_reads_its_own_file(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """Were it handed a file that is closed with the wait, it would read whatever is opened next."""
    path, other = tmp_path / "log", tmp_path / "other"
    path.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"secret" * 500_000)
    going, begun = threading.Event(), threading.Event()

    class Slow(Heard):
        def feed(self, piece: bytes) -> None:
            super().feed(piece)
            begun.set()
            going.wait(LONG_S)

    heard = Slow()
    waiting = asyncio.create_task(Log(path, heard, 10**9).catch_up())
    await asyncio.to_thread(begun.wait, LONG_S)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    with other.open("rb"), other.open("rb"):
        going.set()
        await eventually(lambda: len(heard.whole) >= 3_000_000, "all is read")
    assert set(heard.whole) == set(b"x")


@contextmanager
def _child(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(argv, stdin=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdin
        child.stdin.close()


async def test_the_end_of_our_own_child_is_told_at_once(tmp_path: Path) -> None:
    with _child("cat") as child, Ending(tmp_path / "lock", child) as ending:
        assert not await ending.within(0.01)
        assert not await ending.within(0)
        assert child.stdin
        asyncio.get_running_loop().call_later(0.05, child.stdin.close)
        async with asyncio.timeout(LONG_S / 2):
            assert await ending.within(LONG_S)


async def test_a_child_that_ended_before_anybody_waited_is_found_so(tmp_path: Path) -> None:
    with _child("true") as child, Ending(tmp_path / "lock", child) as ending:
        async with asyncio.timeout(LONG_S / 2):
            assert await ending.within(LONG_S)
    with _child("true") as child:
        child.wait()
        with Ending(tmp_path / "lock", child) as ending:
            assert await ending.within(LONG_S)


async def test_a_run_has_not_ended_while_somebody_holds_its_lock(tmp_path: Path) -> None:
    """As after a restart of ours, or when our shim died and left one behind that goes on."""
    lock = tmp_path / "lock"
    with rundir.holding(lock) as mine, _child("true") as child, Ending(lock, child) as ending:
        assert mine
        assert not await ending.within(LONG_S)  # the child's end is told, and the lock asked for
        assert not await ending.within(0)
        with Ending(lock, None) as foreign:
            assert not await foreign.within(0)
    with Ending(lock, None) as foreign:
        assert await foreign.within(LONG_S)


@pytest.mark.parametrize("is_ours", [True, False])
async def test_who_waits_is_woken_or_told_what_failed(tmp_path: Path, *, is_ours: bool) -> None:
    lock = tmp_path / "lock"
    with rundir.holding(lock), _child("cat") as child, Ending(lock, child if is_ours else None) as ending:
        ending.wake()  # nobody waits: it is for nobody
        for call in (ending.wake, lambda: ending.fail(OSError("no disk"))):
            waiting = asyncio.create_task(ending.within(LONG_S))
            await asyncio.sleep(0)
            call()
            async with asyncio.timeout(LONG_S / 2):
                (found,) = await asyncio.gather(waiting, return_exceptions=True)
            assert found is False or str(found) == "no disk"
        assert isinstance(found, OSError)


async def test_who_gives_up_waiting_leaves_nothing_behind(tmp_path: Path) -> None:
    with _child("cat") as child:
        handles = set(_handles())
        with pytest.raises(TimeoutError), Ending(tmp_path / "lock", child) as ending:
            async with asyncio.timeout(0.01):
                await ending.within(LONG_S)
        assert set(_handles()) == handles


def _handles() -> list[str]:
    return [name.name for name in Path("/proc/self/fd").iterdir() if name.exists()]

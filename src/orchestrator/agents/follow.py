"""A run that goes on, as seen by who waits for it: what its log says by now, and that its shim has ended.

A hundred runs may be followed at once, so a look at one of them takes some tens of microseconds.
"""

import asyncio
import contextlib
import math
import os
import subprocess  # noqa: TID251  # the type of a shim's handle only
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.agents import rundir
from orchestrator.agents.cli import Reading

_PIECE_BYTES = 1024 * 1024
_AT_ONCE_BYTES = 128 * 1024
"""Less than a millisecond's work: to ask a thread for it would cost ten times as much."""
_POLL_S = 0.2
_TICK_S = 1.0
LATEST_LOOK_S = 1.5 * _TICK_S
"""Between two looks lies so much at most."""


def to_next_look(now: float) -> float:
    """Seconds from `now` (monotonic) to the full second that is half to one and a half of them away: so all runs
    are looked at together, with the code in the processor's caches.
    """
    return LATEST_LOOK_S - (now + 0.5 * _TICK_S) % _TICK_S


class Log:
    """The agent's log, which is only ever appended to. `reading` is given each byte once."""

    def __init__(self, path: Path, reading: Reading, max_bytes: int) -> None:
        self.reading = reading
        self.position = 0
        """How much was read."""
        self._path = str(path)
        self._max_bytes = max_bytes
        self._handle: int | None = None

    async def catch_up(self) -> None:
        """Reads what came since, in a thread where it is much."""
        if not self._read_on(at_most=_AT_ONCE_BYTES):
            await asyncio.to_thread(self._read_on)

    def _read_on(self, at_most: float = math.inf) -> bool:
        """False: there is more than that, and nothing was read."""
        handle = self._opened()
        if handle is None:
            return True
        if os.fstat(handle).st_size - self.position > at_most:
            return False
        self._read(handle)
        return True

    def _opened(self) -> int | None:
        """Closed when nobody knows this object any more, and not with the wait: a thread goes on reading when
        nobody waits for it, and must not read from what is opened next in its place.
        """
        if self._handle is None:
            with contextlib.suppress(FileNotFoundError):
                self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, self._handle)
        return self._handle

    def _read(self, handle: int) -> None:
        """Not much beyond the limit: that run is over."""
        while self.position <= self._max_bytes and (new := os.fstat(handle).st_size - self.position) > 0:
            piece = os.pread(handle, min(new, _PIECE_BYTES), self.position)
            self.reading.feed(piece)
            self.position += len(piece)


class Ending:
    """Whether a run's shim has ended. Of our own child the kernel tells it, once; another's lock is asked for."""

    def __init__(self, lock: Path, shim: subprocess.Popen[bytes] | None) -> None:
        self._lock = lock
        self._shim = shim if shim is not None and shim.returncode is None else None
        self._handle: int | None = None
        self._turn: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        if self._shim is not None:
            # A child that was not waited for keeps its pid, so the handle is surely its own.
            self._handle = os.pidfd_open(self._shim.pid)
            asyncio.get_running_loop().add_reader(self._handle, self._rung)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    async def within(self, pause_s: float) -> bool:
        """Waits so long at most."""
        if self._shim is None:
            return await self._is_free_within(pause_s)
        await self._rest(pause_s)
        if self._handle is not None:
            return False
        shim, self._shim = self._shim, None
        return shim.poll() is not None and not rundir.is_held(self._lock)

    async def _rest(self, pause_s: float) -> None:
        """Until the kernel rings. By a bare future and a timer: a timeout would have to cancel and be caught."""
        if self._handle is None:
            return
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        timer = loop.call_later(pause_s, self._wake)
        try:
            await self._turn
        finally:
            timer.cancel()

    def _rung(self) -> None:
        self._let_go()
        self._wake()

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _let_go(self) -> None:
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None

    async def _is_free_within(self, pause_s: float) -> bool:
        until = time.monotonic() + pause_s
        while rundir.is_held(self._lock):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_S)
        return True

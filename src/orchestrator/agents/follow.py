"""A run that goes on, as seen by who waits for it: what its log says by now, and that its shim has ended.

A hundred runs may be followed at once, so to read on takes some tens of microseconds.
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


class Log:
    """The agent's log, which is only ever appended to. `reading` is given each byte once."""

    def __init__(self, path: Path, reading: Reading, max_bytes: int) -> None:
        self.reading = reading
        self.position = 0
        """How much was read."""
        self._path = str(path)
        self._max_bytes = max_bytes
        self._handle: int | None = None

    def read_on(self, at_most: float = _AT_ONCE_BYTES) -> bool:
        """What came since. False: that is more, and nothing was read."""
        handle = self._opened()
        if handle is None:
            return True
        end = os.fstat(handle).st_size
        if end - self.position > at_most:
            return False
        self._read(handle, end)
        return True

    async def catch_up(self) -> None:
        """Reads what came since, in a thread where it is much."""
        if not self.read_on():
            await asyncio.to_thread(self.read_on, math.inf)

    def _opened(self) -> int | None:
        """Closed when nobody knows this object any more, and not with the wait: a thread goes on reading when
        nobody waits for it, and must not read from what is opened next in its place.
        """
        if self._handle is None:
            with contextlib.suppress(FileNotFoundError):
                self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, self._handle)
        return self._handle

    def _read(self, handle: int, end: int) -> None:
        """Not much beyond the limit: that run is over."""
        while self.position <= self._max_bytes and (new := end - self.position) > 0:
            piece = os.pread(handle, min(new, _PIECE_BYTES), self.position)
            if not piece:
                break
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
        """Waits so long at most, or until it is woken."""
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
        timer = loop.call_later(pause_s, self.wake)
        try:
            await self._turn
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Who waits does so no longer."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def fail(self, fault: Exception) -> None:
        """Who waits gets this."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_exception(fault)

    def _rung(self) -> None:
        self._let_go()
        self.wake()

    def _let_go(self) -> None:
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None

    async def _is_free_within(self, pause_s: float) -> bool:
        until = time.monotonic() + pause_s
        turn = self._turn = asyncio.get_running_loop().create_future()
        while rundir.is_held(self._lock):
            if turn.done():
                turn.result()
            if turn.done() or time.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_S)
        return True

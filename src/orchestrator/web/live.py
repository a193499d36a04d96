"""Whether anything was stored: one look for all who follow, and none while nobody does."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from orchestrator.domain.errors import Transient
from orchestrator.pace import REAL_TIME, Timing

T = TypeVar("T")
LOOK_S = 0.25
"""Between two looks; nobody sees a difference below that."""
MOST = 200
"""Streams at once. The next one is told to come back: a browser does so by itself."""
BEAT_S = 15.0
"""A stream that says nothing for longer looks dead to the proxies in between."""


class Over(Exception):
    """The service stops, and so does what follows it."""


class Common(Generic[T]):
    """What all who follow want to know of a change: asked once, however many they are."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._number = 0
        self._answer: asyncio.Task[T] | None = None

    async def at(self, number: int) -> T:
        """The answer of that change, or of a newer one. What could not be answered is asked again."""
        known = self._answer
        if known is None or number > self._number or (known.done() and known.exception()):
            self._number = number
            # Of its own: who asked first may be gone before the answer comes.
            known = asyncio.get_running_loop().create_task(self._ask(), context=contextvars.Context())
            self._answer = known
        return await asyncio.shield(known)


class Changes:
    """Numbers what was committed, by us or by another process. `look` tells a version: another one after each
    commit. A stream asks for a `place` before its answer begins, and then waits again and again.
    """

    def __init__(self, look: Callable[[], int], *, most: int = MOST, timing: Timing = REAL_TIME) -> None:
        self._look = look
        self._most = most
        self._timing = timing
        self._places = 0
        self._waiting: set[asyncio.Future[int]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._version: int | None = None
        self._number = 0
        self._next_look = float("-inf")
        self._is_over = False

    @property
    def followers(self) -> int:
        """Streams that have a place now."""
        return self._places

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held as long as the stream lasts. Transient when all are taken."""
        if self._places >= self._most:
            raise Transient(
                "live_full",
                f"{self._most} streams follow already, which is as many as are served.",
                retry_after_s=5,
                hint="Close some, or ask for the page without following it.",
            )
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def wait(self, since: int) -> int:
        """The number of the newest change, as soon as it is another one than `since`. Begin with 0, which returns
        at once. Nothing is lost between two calls. Raises Over at the end of the service.
        """
        if self._is_over:
            raise Over
        if not self._waiting:
            self._look_if_due()
        if since != self._number:
            return self._number
        news: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        self._poll()
        try:
            return await news
        finally:
            self._waiting.discard(news)

    async def wait_at_most(self, since: int, seconds: float = BEAT_S) -> int:
        """As `wait`, but `since` itself when nothing was stored for so long."""
        try:
            return await asyncio.wait_for(self.wait(since), seconds)
        except TimeoutError:
            return since

    def close(self) -> None:
        """Ends every wait, those under way and those to come."""
        self._is_over = True
        for news in self._taken():
            news.set_exception(Over())

    def _poll(self) -> None:
        if self._polling is None or self._polling.done():
            work = self._look_while_awaited()
            self._polling = asyncio.get_running_loop().create_task(work, context=contextvars.Context())

    async def _look_while_awaited(self) -> None:
        while self._waiting:
            await self._timing.sleep(max(0.0, self._next_look - self._timing.monotonic()))
            if self._waiting:
                self._look_if_due()

    def _look_if_due(self) -> None:
        now = self._timing.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        version = self._look()
        if version == self._version:
            return
        self._version = version
        self._number += 1
        for news in self._taken():
            news.set_result(self._number)

    def _taken(self) -> list[asyncio.Future[int]]:
        """Those who are still there; who waits next is new."""
        waiting, self._waiting = self._waiting, set()
        return [news for news in waiting if not news.done()]

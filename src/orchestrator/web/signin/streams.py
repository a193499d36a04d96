"""Answers that go on for long end when whoever asked may not ask any more: signed out, revoked, off the list."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

RECHECK_S: Final = 5.0
"""How long a stream may go on at most after that."""

Send = Callable[[Any], Awaitable[None]]


class Stream:
    """`send` for one answer. A piece of it is held back, and the answer ended, once `may_go_on` says no."""

    def __init__(self, send: Send, may_go_on: Callable[[], bool], recheck_s: float = RECHECK_S) -> None:
        self._send = send
        self._may_go_on = may_go_on
        self._recheck_s = recheck_s
        self._limit = asyncio.timeout(None)
        self._asked_at = asyncio.get_running_loop().time()
        self._is_begun = False

    async def run(self, app: Any, scope: Mapping[str, Any], receive: Any) -> None:
        """The app is cancelled when its answer ends here, as it is when nobody reads it any more."""
        try:
            async with self._limit:
                await app(scope, receive, self._passed)
        except TimeoutError:
            if not (self._limit.expired() and self._is_begun):
                raise
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _passed(self, message: Any) -> None:
        if self._is_begun and message.get("more_body") and self._is_time() and not self._may_go_on():
            self._limit.reschedule(self._asked_at)
            await asyncio.Event().wait()  # until the cancellation, which is on its way, comes
        self._is_begun = True
        await self._send(message)

    def _is_time(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < self._recheck_s:
            return False
        self._asked_at = now
        return True

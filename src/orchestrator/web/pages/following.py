"""Pages that stay fresh: a stream that says "changed" whenever what a page shows may look different.

The page then fetches its part anew, so that there is one way to render it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from orchestrator.web.live import Over
from orchestrator.web.services import Services

LEAST_S = 1.0
"""Between two words to the same page, however much happens."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_BEAT = b": still here\n\n"


class _Stream(StreamingResponse):
    """Gives its place back however it ends, even before its first word."""

    def __init__(self, content: AsyncIterator[bytes], place: ExitStack) -> None:
        super().__init__(content, headers=_HEADERS, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def marked(services: Services, mark: Callable[[Connection], str]) -> str:
    """What the page is told when it is rendered, and gives back when it follows."""
    return hashlib.sha256((await services.database.read(mark)).encode()).hexdigest()[:16]


def following(services: Services, seen: str, mark: Callable[[Connection], str]) -> StreamingResponse:
    """`seen` is the mark of what the page shows. Transient when too many follow already."""
    place = ExitStack()
    place.enter_context(services.changes.place())
    return _Stream(_told(services, seen, lambda: marked(services, mark)), place)


async def _told(services: Services, seen: str, look: Callable[[], Awaitable[str]]) -> AsyncIterator[bytes]:
    number = 0
    yield b"retry: 3000\n\n"
    try:
        while True:
            before, number = number, await services.changes.wait_at_most(number)
            if before == number:
                yield _BEAT
            elif (now := await look()) != seen:
                seen = now
                yield b"event: changed\ndata: " + now.encode() + b"\n\n"
                await asyncio.sleep(LEAST_S)
    except Over:
        return

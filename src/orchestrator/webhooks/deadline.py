"""A deadline for requests that never get finished. uvicorn has none: a half-open socket would be held for ever."""

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

KEEP_ALIVE_S: Final = 15
"""For uvicorn: so long an idle connection stays open."""
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


def protocol_with_deadline(
    seconds: float, *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> type[asyncio.Protocol]:
    """For uvicorn's `http=`. Headers must be complete in `seconds`, the whole request in twice that."""

    class WithDeadline(DeadlineProtocol):
        receive_timeout_s = seconds
        message_bytes = max_message_bytes

    return WithDeadline


class DeadlineProtocol(HttpToolsProtocol):
    """Drops a connection whose request is late or too long; waiting for a next one is uvicorn's keep-alive."""

    receive_timeout_s: ClassVar[float]
    message_bytes: ClassVar[int]
    _due: float | None = None
    _in_headers = True
    _received = 0
    _watch: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._due is None:
            # Before the parser sees it: it swallows empty lines in front of a request without a word.
            self._expect_headers()
        self._received += len(data)
        super().data_received(data)
        if self._due is not None and self._received > (
            MAX_HEADER_BYTES if self._in_headers else self.message_bytes
        ):
            self.transport.abort()

    def on_message_begin(self) -> None:
        if self._due is None:
            self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # The receiver has its own, shorter deadline and answers; this one is for routes that never read the body.
        self._in_headers = False
        self._due = self.loop.time() + 2 * self.receive_timeout_s
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._due = None
        super().on_message_complete()

    def _expect_headers(self) -> None:
        self._in_headers = True
        self._received = 0
        self._due = self.loop.time() + self.receive_timeout_s

    def _look(self) -> None:
        """One timer for the life of the connection: arming one per request would cost more than the check."""
        wait = self.receive_timeout_s
        if self._due is not None and not self._answering():
            wait = self._due - self.loop.time()
            if wait <= 0:
                self.transport.abort()
                return
        self._watch = self.loop.call_later(wait, self._look)

    def _answering(self) -> bool:
        """A request was received and its answer is on the way, so the late bytes belong to a next request."""
        # uvicorn's types hide that there is no cycle before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        received = cycle is not None and not cycle.more_body and not cycle.response_complete
        return received or bool(self.pipeline)

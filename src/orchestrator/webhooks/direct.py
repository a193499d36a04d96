"""The short way for a delivery that arrived whole: no task, no ASGI messages, one write for the answer.

Most deliveries come in one piece, and a task with its messages costs as much as two hashes of the body (ADR 12).
Whatever is not simply taken goes the ordinary way through ASGI, from its first byte: bodies in pieces, refusals,
faults of the store. So there is one place that refuses, and nothing is answered here but 200.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from orchestrator.domain.errors import Rejected, Transient
from orchestrator.webhooks.deadline import MAX_MESSAGE_BYTES, DeadlineProtocol
from orchestrator.webhooks.receiver import Scope, Stored, answer_to

App = Callable[..., Awaitable[None]]


class Taker(Protocol):
    """A receiver, as it is seen from here."""

    def take(self, scope: Scope, body: bytes) -> "asyncio.Future[Stored]": ...

    def refusing(self, error: BaseException) -> App: ...


Find = Callable[[str], Taker | None]
"""Who takes what is sent to this path; None: the short way does not lead there."""


@dataclass(frozen=True, slots=True)
class _Takers:
    find: Find


def direct_protocol(
    seconds: float, find: Find, *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> type[asyncio.Protocol]:
    """For uvicorn's `http=`. `seconds` as for protocol_with_deadline."""

    class Direct(_DirectProtocol):
        receive_timeout_s = seconds
        message_bytes = max_message_bytes

        takers = _Takers(find)

    return Direct


class _DirectProtocol(DeadlineProtocol):
    """A request begins while bytes are fed to the parser; it is held until these are through, to see whether it is
    whole by then.
    """

    takers: ClassVar[_Takers]
    _is_feeding = False
    _held: tuple[RequestResponseCycle, Any, Taker] | None = None
    _whole = b""
    """The held request's body as it came, as long as that was in one piece: the cycle would copy it twice."""

    def data_received(self, data: bytes) -> None:
        self._is_feeding = True
        try:
            super().data_received(data)
        finally:
            self._is_feeding = False
            if self._held is not None:
                (cycle, app, taker), self._held = self._held, None
                whole, self._whole = self._whole, b""
                if not self._took(cycle, taker, whole):
                    _give(cycle, whole)
                    super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if self._held is None or self._held[0] is not self.cycle:
            super().on_body(body)
        elif not self._whole and not self.cycle.body:
            self._whole = body
        else:
            whole, self._whole = self._whole, b""
            _give(self.cycle, whole)
            super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        taker = self.takers.find(cycle.scope["path"]) if self._is_feeding else None
        if taker is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._held = (cycle, app, taker)

    def _took(self, cycle: RequestResponseCycle, taker: Taker, whole: bytes) -> bool:
        """False: it goes the ordinary way, with its body where it was."""
        if cycle.more_body or self.transport.is_closing():
            return False
        try:
            stored = taker.take(cast("Scope", cycle.scope), whole or bytes(cycle.body))
        except (Rejected, Transient):
            return False
        cycle.body = bytearray()
        stored.add_done_callback(partial(self._answer, cycle, taker))
        return True

    def _answer(self, cycle: RequestResponseCycle, taker: Taker, stored: "asyncio.Future[Stored]") -> None:
        error = None if stored.cancelled() else stored.exception()
        if stored.cancelled() or cycle.disconnected:  # the loop ends, or nobody is there to be answered
            return
        if error is None:
            self._write(cycle, answer_to(stored.result()))
        else:
            super()._start_asgi_task(cycle, taker.refusing(error))

    def _write(self, cycle: RequestResponseCycle, body: bytes) -> None:
        """What the cycle's `send` would write for the same answer, and what it would do after."""
        parts = [STATUS_LINE[200]]
        for name, value in cycle.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


def _give(cycle: RequestResponseCycle, body: bytes) -> None:
    """As uvicorn's `on_body`, for a cycle that need not be the connection's last any more."""
    if body:
        cycle.body += body
        cycle.message_event.set()

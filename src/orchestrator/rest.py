"""One HTTP API as the adapters call it: bounded answers, and faults in our three kinds."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog

from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.pace import MAX_PAUSE_S, Circuit, Pace
from orchestrator.wire import MAX_ANSWER_BYTES, OpenWire, Reply, TooLargeError, UnreachableError, Wire

log = structlog.get_logger()
T = TypeVar("T")
MAX_QUOTED_CHARS = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class System:
    """How faults of this system are named: `plane` begins the codes, `Plane` the sentences."""

    code: str
    name: str
    url_setting: str
    refused_hint: str
    bad_key: bytes = b""
    """What a 403 says whose reason is the key, and not the place that was asked for."""
    moved_hint: str = ""
    """What to do about a redirect. Without one it is as odd as any other answer."""
    archived_hint: str = ""
    """What to do about a 423. Without one as above."""
    is_own_404: Callable[[bytes], bool] | None = None
    """Tells its own 404, which says what is not there, from a proxy's. Without it every 404 is its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that the caller said it understands, and the bounded body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class RestClient:
    """Follows no redirect and no proxy of the environment: an address is what the operator configured."""

    def __init__(  # noqa: PLR0913 - all but the first four are rare and by name
        self,
        system: System,
        base_url: str,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        pace: Pace | None = None,
        circuit: Circuit | None = None,
        scope_of: Callable[[str, str], str] | None = None,
        wire: OpenWire = Wire,
    ) -> None:
        self._system = system
        self.answers: Counter[str] = Counter()
        """By status; `unreachable` and `too_large` where there was none. Since the process began."""
        self.pace = pace
        self._circuit = circuit
        self._scope_of = scope_of
        self.wire = wire(base_url, headers, timeout_s)

    async def aclose(self) -> None:
        await self.wire.aclose()

    async def call(  # noqa: PLR0913 - all but the first two are rare and by name
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        order: object = None,
        understood: frozenset[int] = frozenset(),
        enough_bytes: int | None = None,
        scope: str = "",
    ) -> Answer:
        """A 2xx or a status in `understood`; raises Transient or Permanent for everything else, also for a 404
        that is not the system's own.

        With `enough_bytes` no more than these are read: the answer may be cut there.
        `scope` is what a 403 would speak of; see Circuit. Without one the client's `scope_of` tells.
        """
        scope = scope or (self._scope_of(method, path) if self._scope_of else "")
        await self._admitted(scope)
        reply = await self._asked(method, path, query, order, enough_bytes)
        is_fine = 200 <= reply.status < 300 or (reply.status in understood and not self._is_foreign(reply))
        fault = None if is_fine else self.fault(reply, path)
        self._learn(reply, scope, fault)
        if fault is not None:
            raise fault
        return Answer(reply.status, reply.body, reply.headers)

    async def _asked(self, method: str, path: str, *what: Any) -> Reply:
        system = self._system
        try:
            reply = await self.wire.ask(method, path, *what)
        except UnreachableError as error:
            self.answers["unreachable"] += 1
            raise Transient(
                f"{system.code}_unreachable",
                f"{system.name} cannot be reached ({error}).",
                hint=f"Check {system.url_setting} and whether {system.name} is up; tried again by itself.",
            ) from error
        except TooLargeError as error:
            self.answers["too_large"] += 1
            too_large = f"{system.name} answered more than {MAX_ANSWER_BYTES} bytes."
            raise Permanent(f"{system.code}_answer_too_large", too_large) from error
        self.answers[str(reply.status)] += 1
        log.debug("called", system=system.code, path=path, status=reply.status, waited_s=reply.waited_s)
        return reply

    async def _admitted(self, scope: str) -> None:
        """Waits for a turn, unless nothing is to be sent at present."""
        circuit = self._circuit
        if self.pace:
            await self.pace.turn(partial(circuit.check, scope) if circuit else _nothing)
        if circuit:
            circuit.enter(scope)

    def _learn(self, reply: Reply, scope: str, fault: OrchestratorError | None) -> None:
        """What the answer says about the next calls."""
        if self.pace:
            self.pace.told(_whole(reply.headers.get("X-RateLimit-Remaining", "")))
        if reply.status == 429:
            self._pause(_seconds(reply.headers.get("Retry-After", "")))
        if self._circuit and reply.status in {401, 403} and isinstance(fault, Permanent):
            is_key = reply.status == 401 or (self._system.bad_key and self._system.bad_key in reply.body)
            self._circuit.refused("" if is_key else scope, fault)
        elif self._circuit and fault is None and reply.status not in {401, 403} and reply.status < 500:
            self._circuit.succeeded(scope)

    def _pause(self, seconds: float | None) -> None:
        """Of the whole client: every other call would be refused as well. Without a pace nobody says how long."""
        if self.pace:
            self.pace.pause(seconds)
        elif self._circuit and seconds:
            self._circuit.pause(seconds)

    def decoded(self, body: bytes, wanted: type[T]) -> T:
        """Garbage with a good status comes from a proxy or a restart: worth another try."""
        try:
            return msgspec.json.decode(body, type=wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            code, name = self._system.code, self._system.name
            raise Transient(f"{code}_odd_answer", f"{name} answered something unexpected: {error}") from error

    def _is_foreign(self, reply: Reply | Answer) -> bool:
        """A proxy says 404 too while what is behind it restarts."""
        is_own = self._system.is_own_404
        return reply.status == 404 and is_own is not None and not is_own(reply.body)

    def fault(self, reply: Reply | Answer, path: str) -> OrchestratorError:
        """What an answer means that is not understood; also of one that was, and explains nothing after all."""
        code, said = self._system.code, f"{self._system.name} answered {reply.status} for {path}."
        if reply.status in {401, 403}:
            return Permanent(f"{code}_refused", said, hint=self._system.refused_hint)
        if reply.status in {408, 429} or reply.status >= 500:
            return Transient(f"{code}_busy", said, retry_after_s=_seconds(reply.headers.get("Retry-After", "")))
        if self._is_foreign(reply):
            return Transient(
                f"{code}_odd_answer",
                f"{said} The words are not {self._system.name}'s own, so it says nothing about what is there.",
                hint=f"Tried again by itself; when it stays, check {self._system.url_setting} and any proxy.",
            )
        if reply.status in REDIRECTS and self._system.moved_hint:
            where = f"{said} What was asked for lies elsewhere now, and redirects are not followed."
            return Permanent(f"{code}_moved", where, hint=self._system.moved_hint)
        if reply.status == 423 and self._system.archived_hint:
            archived = f"{said} It is archived, so nothing can be changed in it."
            return Permanent(f"{code}_archived", archived, hint=self._system.archived_hint)
        return Permanent(f"{code}_unexpected", f"{said} {_quoted(reply.body)}".strip())


def _nothing() -> None:
    """No circuit, nothing to check."""


def _quoted(body: bytes) -> str:
    """The beginning of what they said, in one line that can be shown."""
    text = body[: 4 * MAX_QUOTED_CHARS].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_QUOTED_CHARS].strip()


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _seconds(text: str) -> float | None:
    """At most an hour: nobody is forgotten for a day because of one answer."""
    return min(float(text), MAX_PAUSE_S) if text.isascii() and text.isdigit() and len(text) < 6 else None


Json = dict[str, Any]

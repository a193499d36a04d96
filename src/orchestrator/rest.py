"""One HTTP API as the adapters call it: bounded answers, and faults in our three kinds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import httpx
import msgspec
import structlog

from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.pace import Circuit, Pace

log = structlog.get_logger()
T = TypeVar("T")
Transport = httpx.AsyncBaseTransport
"""How requests travel. Given only where server and client live in one process."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_QUOTED_CHARS = 200


@dataclass(frozen=True, slots=True)
class System:
    """How faults of this system are named: `plane` begins the codes, `Plane` the sentences."""

    code: str
    name: str
    url_setting: str
    refused_hint: str
    bad_key: bytes = b""
    """What a 403 says whose reason is the key, and not the place that was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that the caller said it understands, and the bounded body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _Wait:
    """Time between our last byte and their first: what the other side took, and nothing of ours."""

    def __init__(self) -> None:
        self._sent = self.seconds = 0.0

    async def trace(self, name: str, _info: object) -> None:
        if name == "http11.send_request_body.complete":
            self._sent = time.monotonic()
        elif name == "http11.receive_response_headers.complete":
            self.seconds = time.monotonic() - self._sent


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
        transport: Transport | None = None,
    ) -> None:
        self._system = system
        self._pace = pace
        self._circuit = circuit
        self._scope_of = scope_of
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def aclose(self) -> None:
        await self._http.aclose()

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
        """A 2xx or a status in `understood`; raises Transient or Permanent for everything else.

        With `enough_bytes` no more than these are read: the answer may be cut there.
        `scope` is what a 403 would speak of; see Circuit. Without one the client's `scope_of` tells.
        """
        scope = scope or (self._scope_of(method, path) if self._scope_of else "")
        await self._admitted(scope)
        wait = _Wait()
        try:
            async with self._http.stream(
                method, path, params=query, json=order, extensions={"trace": wait.trace}
            ) as answer:
                body = await self._read(answer, enough_bytes)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        log.debug("called", system=self._system.code, path=path, status=answer.status_code, waited_s=wait.seconds)
        fault = None if answer.is_success or answer.status_code in understood else self._fault(answer, path, body)
        self._learn(answer, body, scope, fault)
        if fault is not None:
            raise fault
        return Answer(answer.status_code, body, answer.headers)

    async def _admitted(self, scope: str) -> None:
        """Waits for a turn, unless nothing is to be sent at present."""
        circuit = self._circuit
        if self._pace:
            await self._pace.turn(partial(circuit.check, scope) if circuit else _nothing)
        if circuit:
            circuit.enter(scope)

    def _learn(self, answer: httpx.Response, body: bytes, scope: str, fault: OrchestratorError | None) -> None:
        """What the answer says about the next calls."""
        if self._pace:
            self._pace.told(_whole(answer.headers.get("X-RateLimit-Remaining", "")))
        if self._pace and answer.status_code == 429:
            self._pace.pause(_seconds(answer.headers.get("Retry-After", "")))
        if self._circuit and answer.status_code in {401, 403} and isinstance(fault, Permanent):
            is_key = answer.status_code == 401 or (self._system.bad_key and self._system.bad_key in body)
            self._circuit.refused("" if is_key else scope, fault)
        elif self._circuit and fault is None and answer.status_code not in {401, 403}:
            self._circuit.succeeded(scope)

    def decoded(self, body: bytes, wanted: type[T]) -> T:
        """Garbage with a good status comes from a proxy or a restart: worth another try."""
        try:
            return msgspec.json.decode(body, type=wanted)
        except msgspec.DecodeError as error:
            code, name = self._system.code, self._system.name
            raise Transient(f"{code}_odd_answer", f"{name} answered something unexpected: {error}") from error

    async def _read(self, answer: httpx.Response, enough_bytes: int | None) -> bytes:
        body = b""
        async for part in answer.aiter_bytes():
            body += part
            if enough_bytes is not None and len(body) >= enough_bytes:
                return body[:enough_bytes]
            if len(body) > MAX_ANSWER_BYTES:
                code, name = self._system.code, self._system.name
                raise Permanent(f"{code}_answer_too_large", f"{name} answered more than {MAX_ANSWER_BYTES} bytes.")
        return body

    def _unreachable(self, error: httpx.HTTPError) -> Transient:
        system = self._system
        return Transient(
            f"{system.code}_unreachable",
            f"{system.name} cannot be reached ({type(error).__name__}).",
            hint=f"Check {system.url_setting} and whether {system.name} is up; tried again by itself.",
        )

    def _fault(self, answer: httpx.Response, path: str, body: bytes) -> OrchestratorError:
        code, said = self._system.code, f"{self._system.name} answered {answer.status_code} for {path}."
        if answer.status_code in {401, 403}:
            return Permanent(f"{code}_refused", said, hint=self._system.refused_hint)
        if answer.status_code in {408, 429} or answer.status_code >= 500:
            return Transient(f"{code}_busy", said, retry_after_s=_seconds(answer.headers.get("Retry-After", "")))
        return Permanent(f"{code}_unexpected", f"{said} {_quoted(body)}".strip())


def _nothing() -> None:
    """No circuit, nothing to check."""


def _quoted(body: bytes) -> str:
    """The beginning of what they said, in one line that can be shown."""
    text = body[: 4 * MAX_QUOTED_CHARS].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_QUOTED_CHARS].strip()


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


Json = dict[str, Any]

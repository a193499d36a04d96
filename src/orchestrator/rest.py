"""One HTTP API as the adapters call it: bounded answers, and faults in our three kinds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import msgspec
import structlog

from orchestrator.domain.errors import OrchestratorError, Permanent, Transient

log = structlog.get_logger()
T = TypeVar("T")
MAX_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class System:
    """How faults of this system are named: `plane` begins the codes, `Plane` the sentences."""

    code: str
    name: str
    url_setting: str
    refused_hint: str


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

    def __init__(self, system: System, base_url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._system = system
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_s, follow_redirects=False, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        order: object = None,
        understood: frozenset[int] = frozenset(),
        enough_bytes: int | None = None,
    ) -> Answer:
        """A 2xx or a status in `understood`; raises Transient or Permanent for everything else.

        With `enough_bytes` no more than these are read: the answer may be cut there.
        """
        wait = _Wait()
        try:
            async with self._http.stream(
                method, path, params=query, json=order, extensions={"trace": wait.trace}
            ) as answer:
                body = await self._read(answer, enough_bytes)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        log.debug("called", system=self._system.code, path=path, status=answer.status_code, waited_s=wait.seconds)
        if answer.is_success or answer.status_code in understood:
            return Answer(answer.status_code, body, answer.headers)
        raise self._refused(answer, path)

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

    def _refused(self, answer: httpx.Response, path: str) -> OrchestratorError:
        code, said = self._system.code, f"{self._system.name} answered {answer.status_code} for {path}."
        if answer.status_code in {401, 403}:
            return Permanent(f"{code}_refused", said, hint=self._system.refused_hint)
        if answer.status_code in {408, 429} or answer.status_code >= 500:
            return Transient(f"{code}_busy", said, retry_after_s=_seconds(answer.headers.get("Retry-After", "")))
        return Permanent(f"{code}_unexpected", said)


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


Json = dict[str, Any]

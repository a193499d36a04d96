"""One HTTP exchange with a neighbour: bounded and timed, without redirects, cookies or proxies of the environment.

aiohttp, and not httpx as elsewhere: its parser is in C, and a call costs us a sixth of the time (ADR 10). It is
loaded with the first call, and beside the event loop, since the service should listen before that.
"""

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import msgspec

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES = 16 * 1024 * 1024
KEEP_ALIVE_S = 5.0
MAX_CONNECTIONS = 100
WHOLE_TIMEOUTS = 4
"""A whole exchange may take so many timeouts; each wait in it (to connect, for the next bytes) may take one."""


class UnreachableError(Exception):
    """No whole answer came. The text is the kind of fault alone, so that no secret can be in it."""


class TooLargeError(Exception):
    """The answer is over MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True)
class Form:
    """An order that travels as a form, encoded already, and not as JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """`waited_s`: from our last byte to the end of their headers, so what they took and nothing of ours."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    waited_s: float


class Exchange(Protocol):
    """How requests travel, to one address; see Wire. Another one only where both sides live in one process."""

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        order: object = None,
        enough_bytes: int | None = None,
    ) -> Reply: ...

    async def aclose(self) -> None: ...


OpenWire = Callable[[str, Mapping[str, str], float], Exchange]
"""Given the address, the headers of every request, and the timeout in seconds."""


@dataclass(slots=True)
class _Sent:
    """When the last byte of a request left, in the monotonic clock."""

    at: float = 0.0


class Wire:
    """`base_url` ends in a slash; the paths below it are quoted already. Belongs to the loop of its first call."""

    def __init__(self, base_url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._base_url = base_url
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._opening = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        order: object = None,
        enough_bytes: int | None = None,
    ) -> Reply:
        """The answer, whatever its status. `order` goes as JSON, or is a Form; with `enough_bytes` no more
        than these are read.

        Raises UnreachableError when no whole answer came in time, TooLargeError for an endless one.
        """
        session, sent = await self.session(), _Sent()
        from aiohttp import ClientError  # noqa: PLC0415 - `session` has loaded it

        body, headers = _sent(order)
        try:
            async with session.request(
                method,
                self._url(path, query),
                data=body,
                headers=headers,
                trace_request_ctx=sent,
                allow_redirects=False,
            ) as answer:
                waited_s = time.monotonic() - sent.at
                return Reply(answer.status, answer.headers, await _read(answer, enough_bytes), waited_s)
        except (ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(type(error).__name__) from error

    async def session(self) -> "aiohttp.ClientSession":
        """Opened once; what is called first waits for the library."""
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is None:
                self._session = self._open(await asyncio.to_thread(importlib.import_module, "aiohttp"))
        return self._session

    def _open(self, library: Any) -> "aiohttp.ClientSession":
        watch = library.TraceConfig()
        watch.on_request_headers_sent.append(_note)
        watch.on_request_chunk_sent.append(_note)
        each, whole = self._timeout_s, WHOLE_TIMEOUTS * self._timeout_s
        opened: aiohttp.ClientSession = library.ClientSession(
            connector=library.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
            headers=self._headers,
            timeout=library.ClientTimeout(total=whole, connect=each, sock_connect=each, sock_read=each),
            cookie_jar=library.DummyCookieJar(),
            trace_configs=[watch],
            trust_env=False,
        )
        return opened

    def _url(self, path: str, query: Mapping[str, str] | None) -> Any:
        from yarl import URL  # noqa: PLC0415 - aiohttp's, loaded with it

        url = f"{self._base_url}{path}"
        return URL(f"{url}?{urlencode(query)}" if query else url, encoded=True)


_NOTHING: Mapping[str, str] = {}
_IS_JSON: Mapping[str, str] = {"Content-Type": "application/json"}
_IS_FORM: Mapping[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}


def _sent(order: object) -> tuple[bytes | None, Mapping[str, str]]:
    match order:
        case None:
            return None, _NOTHING
        case Form(text):
            return text.encode(), _IS_FORM
        case _:
            return msgspec.json.encode(order), _IS_JSON


async def _note(_session: object, context: Any, _what: object) -> None:
    context.trace_request_ctx.at = time.monotonic()


async def _read(answer: "aiohttp.ClientResponse", enough_bytes: int | None) -> bytes:
    """What is read of a body that is cut short is not read again: its connection is closed."""
    parts, size = list[bytes](), 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if enough_bytes is not None and size >= enough_bytes:
            return b"".join(parts)[:enough_bytes]
        if size > MAX_ANSWER_BYTES:
            raise TooLargeError
    return b"".join(parts)

"""A running orchestrator over HTTP, by the standard library: other clients load longer than a command runs."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 40.0
MAX_ANSWER_BYTES = 256 * 1024 * 1024


class Gone(Exception):
    """Nobody answers at the address. `is_there`: somebody listens, and says nothing; `is_lost`: they hung up, so
    what was ordered may have been done.
    """

    def __init__(self, words: str, *, is_there: bool = False, is_lost: bool = False) -> None:
        super().__init__(words)
        self.is_there, self.is_lost = is_there, is_lost


class BadAddress(ValueError):
    """Not the address of a server."""


@dataclass(frozen=True, slots=True)
class Answer:
    """As it came. Names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def decoded(self) -> Any:
        """Raises ValueError for what is no JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Server:
    """One address, one connection. `url` may hold a path prefix."""

    url: str
    token: str = ""
    timeout_s: float = TIMEOUT_S
    _connection: HTTPConnection | None = None

    def ask(self, method: str, path: str, order: object = None, order_key: str = "") -> Answer:
        """Raises Gone. What changes nothing is asked again when a connection that we kept was closed meanwhile."""
        was_open = self._connection is not None
        try:
            return self._ask(method, path, order, order_key)
        except (RemoteDisconnected, ConnectionError) as error:
            self.close()
            if not (was_open and method == "GET"):
                is_lost = not isinstance(error, ConnectionRefusedError)
                raise Gone(_words(error), is_lost=is_lost) from error
        except (OSError, HTTPException) as error:
            self.close()
            raise Gone(_words(error), is_there=isinstance(error, TimeoutError)) from error
        return self.ask(method, path, order, order_key)

    def _ask(self, method: str, path: str, order: object, order_key: str) -> Answer:
        prefix = urlsplit(self.url).path.rstrip("/")
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if order_key:
            headers["Idempotency-Key"] = order_key
        body = None
        if order is not None:
            body, headers["Content-Type"] = json.dumps(order).encode(), "application/json"
        if self._connection is None:
            self._connection = _connection(self.url, self.timeout_s)
        self._connection.request(method, f"{prefix}{path}", body, headers)
        response = self._connection.getresponse()
        found = response.read(MAX_ANSWER_BYTES)
        return Answer(response.status, found, {name.lower(): value for name, value in response.getheaders()})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def checked(url: str) -> str:
    """The address without what is not part of it. Raises BadAddress with what is wrong."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise BadAddress(
            "The server's address must be like http://127.0.0.1:8500 or https://your.host/orchestrator."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadAddress(
            "The server's address must hold no user, password, query or fragment; the token has a setting."
        )
    return url.rstrip("/")


def _connection(url: str, timeout_s: float) -> HTTPConnection:
    """Without proxies of the environment: who sets an address means it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=timeout_s, context=ssl.create_default_context())
    return HTTPConnection(host, parts.port, timeout=timeout_s)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

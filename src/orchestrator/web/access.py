"""Who may ask what: the webhooks and /health are open, everything else needs the token, or loopback."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

Scope = Mapping[str, Any]
LOOPBACK_PEERS = frozenset({"127.0.0.1", "::1"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDING = frozenset({b"forwarded", b"x-real-ip"})
_UNSIGNED = "Send the API token: 'Authorization: Bearer <ORCH_API_TOKEN>'."
_LOOPBACK_ONLY = (
    "No ORCH_API_TOKEN is set, so only unforwarded requests from this machine are answered. "
    "Set it, restart, and send 'Authorization: Bearer <token>'."
)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


def is_direct_loopback(scope: Scope) -> bool:
    """From this machine, through no proxy, and asking for this machine by name (no DNS rebinding)."""
    peer = (scope.get("client") or ("",))[0]
    headers = headers_of(scope)
    is_forwarded = any(name in FORWARDING or name.startswith(b"x-forwarded") for name in headers)
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return peer in LOOPBACK_PEERS and not is_forwarded and name in LOOPBACK_NAMES


class Access:
    """The judge of one configuration. `tokens` may be several, so that they can be rotated."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens: Sequence[bytes] = [token.encode() for token in tokens if token]

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """None when the request may go on; else the status and what to do."""
        if not self._tokens:
            return None if is_direct_loopback(scope) else (403, _LOOPBACK_ONLY)
        scheme, _, token = headers_of(scope).get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else b""
        # Every token is compared, in constant time and as bytes: a str with odd characters would raise.
        matches = [hmac.compare_digest(given, one) for one in self._tokens]
        return None if any(matches) else (401, _UNSIGNED)


async def send_problem(send: Any, status: int, detail: str) -> None:
    """RFC 9457."""
    title = {401: "Unauthorized", 403: "Forbidden"}.get(status, "Refused")
    body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

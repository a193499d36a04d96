"""Who may ask what: the webhooks and /health are open, everything else needs the token, or loopback."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.loopback import is_direct, is_from_page

Scope = Mapping[str, Any]
_UNSIGNED = "Send the API token: 'Authorization: Bearer <ORCH_API_TOKEN>'."
_LOOPBACK_ONLY = (
    "No ORCH_API_TOKEN is set, so only unforwarded requests from this machine are answered. "
    "Set it, restart, and send 'Authorization: Bearer <token>'."
)


def _may_without_token(scope: Scope) -> bool:
    """Our own machine may; a page in a browser on it may only read, since it may be anybody's page."""
    return is_direct(scope) and (scope["method"] in {"GET", "HEAD"} or not is_from_page(scope))


class Access:
    """The judge of one configuration. `tokens` may be several, so that they can be rotated."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens: Sequence[bytes] = [token.encode() for token in tokens if token]

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """None when the request may go on; else the status and what to do."""
        if not self._tokens:
            return None if _may_without_token(scope) else (403, _LOOPBACK_ONLY)
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
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

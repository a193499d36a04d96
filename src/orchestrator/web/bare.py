"""Answers that need no framework and hardly a library: /health, and problems."""

from typing import Any, Final

import msgspec

HEALTH: Final = "/health"
_HEALTHY = b'{"status":"ok","service":"orchestrator"}'
_HEALTH_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_HEALTHY)).encode())]


def without_prefix(path: str, prefix: str) -> str:
    """Works whether the proxy in front strips the prefix or not. The prefix ends without a slash."""
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


async def send_health(scope: Any, send: Any) -> None:
    is_read = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
    if not is_read:
        await send_problem(send, 405, "Only GET and HEAD are answered here.")
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEALTH_HEADERS})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _HEALTHY})


async def send_problem(send: Any, status: int, detail: str) -> None:
    """RFC 9457."""
    title = {401: "Unauthorized", 403: "Forbidden", 503: "Unavailable"}.get(status, "Refused")
    body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

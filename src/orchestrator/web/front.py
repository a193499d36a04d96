"""The outermost ASGI app: /health and the webhooks without any framework, the rest behind Access."""

from collections.abc import Mapping
from typing import Any

from orchestrator.web.access import Access, send_problem

_HEALTHY = b'{"status":"ok","service":"orchestrator"}'
_HEALTH_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_HEALTHY)).encode())]


class Front:
    """`open_routes` are answered to anyone; `app` gets what Access lets through, and the lifespan."""

    def __init__(self, app: Any, open_routes: Mapping[str, Any], access: Access, path_prefix: str = "") -> None:
        self._app = app
        self._open_routes = open_routes
        self._access = access
        self._prefix = path_prefix.rstrip("/")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = self._path(scope["path"])
        route = self._open_routes.get(path)
        if route is not None:
            await route(scope, receive, send)
        elif path == "/health":
            await _health(scope, send)
        elif scope["type"] == "http":
            await self._guarded({**scope, "path": path, "raw_path": None, "root_path": ""}, receive, send)

    def _path(self, path: str) -> str:
        """Works whether the proxy in front strips the prefix or not."""
        if self._prefix and path.startswith(f"{self._prefix}/"):
            return path[len(self._prefix) :]
        return path

    async def _guarded(self, scope: Any, receive: Any, send: Any) -> None:
        refusal = self._access.refusal(scope)
        if refusal:
            await send_problem(send, *refusal)
        else:
            await self._app(scope, receive, send)


async def _health(scope: Any, send: Any) -> None:
    is_read = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
    if not is_read:
        await send_problem(send, 405, "Only GET and HEAD are answered here.")
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEALTH_HEADERS})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _HEALTHY})

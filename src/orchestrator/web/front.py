"""The ASGI app of everything: /health and the webhooks without any framework, the rest behind Access."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from orchestrator.domain.errors import OrchestratorError
from orchestrator.web.access import Access, Refusal, send_refusal
from orchestrator.web.bare import HEALTH, send_health, send_problem, without_prefix
from orchestrator.web.caller import KEY, NOBODY
from orchestrator.web.signin.streams import RECHECK_S, Stream

REFUSED: Final = "orchestrator.refused"
"""Where the ASGI scope has the Refusal that a page is to tell of."""
REFUSED_PATH: Final = "/refused"


class Front:
    """`open_routes` are answered to anyone; the app that `make_app` makes gets what Access lets through.

    It is made beside the first requests, since its framework takes longest to load, and /health and the webhooks
    do not need it. `lifespan` is entered before the first request and left after the last.
    """

    def __init__(
        self,
        make_app: Callable[[], Any],
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
        open_routes: Mapping[str, Any],
        access: Access,
        path_prefix: str = "",
        recheck_s: float = RECHECK_S,
    ) -> None:
        self._make_app = make_app
        self._lifespan = lifespan
        self._open_routes = open_routes
        self._access = access
        self._prefix = path_prefix.rstrip("/")
        self._recheck_s = recheck_s
        self._making: asyncio.Task[Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = self._path(scope["path"])
        route = self._open_routes.get(path)
        if route is not None:
            await route(scope, receive, send)
        elif path == HEALTH:
            await send_health(scope, send)
        elif scope["type"] == "http":
            await self._guarded({**scope, "path": path, "raw_path": None, "root_path": ""}, receive, send)

    def open_route(self, path: str) -> Any:
        """What is answered to anyone at this path of the server; None when that is nothing."""
        return self._open_routes.get(self._path(path))

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """The time in which requests may come. The app is begun at once, so that it is there when one needs it."""
        async with self._lifespan():
            self._app()
            yield

    def _app(self) -> asyncio.Task[Any]:
        """Made once, in a thread; whoever needs it awaits it."""
        self._making = self._making or asyncio.create_task(asyncio.to_thread(self._make_app))
        return self._making

    async def _live(self, receive: Any, send: Any) -> None:
        """ASGI's lifespan protocol. A failed start is told to the server and raised for its log."""
        await receive()
        phase = "startup"
        try:
            async with self.living():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except BaseException as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def _path(self, path: str) -> str:
        return without_prefix(path, self._prefix)

    async def _guarded(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            found = await self._access.judge(scope, receive)
        except OrchestratorError as error:  # the database cannot be asked who this is
            await send_problem(send, 503, f"{error.message} {error.hint}".strip())
            return
        if isinstance(found, Refusal):
            await self._refuse(scope, receive, send, found)
            return
        caller, again = found
        app = await asyncio.shield(self._app())  # a request that is given up must not take the app with it
        stream = Stream(send, lambda: self._access.may_still(scope, caller), self._recheck_s)
        await stream.run(app, {**scope, KEY: caller}, again)

    async def _refuse(self, scope: Any, receive: Any, send: Any, refusal: Refusal) -> None:
        """A person gets a page; it is asked for in nobody's name, whatever was asked for."""
        if refusal.location or not _is_page(scope):
            await send_refusal(send, refusal)
            return
        app = await asyncio.shield(self._app())
        there = {"method": "GET", "path": REFUSED_PATH, "query_string": b"", KEY: NOBODY, REFUSED: refusal}
        await app({**scope, **there}, receive, send)


def _is_page(scope: Any) -> bool:
    headers = dict(scope["headers"])
    is_asked = b"text/html" in headers.get(b"accept", b"") and b"hx-request" not in headers
    return is_asked and not scope["path"].startswith("/api/")

"""What a server runs that listens before most of it is loaded: /health is answered at once, all else waits."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.web.bare import HEALTH, send_health, send_problem, without_prefix

if TYPE_CHECKING:
    from orchestrator.web.front import Front


class Early:
    """`prepare` runs before it listens: what it raises is why this cannot start. `load` takes longer, so it runs
    in a thread, once. Whatever is asked meanwhile is held until the Front has begun to live: nobody is told that
    something is missing which only comes later. `give_up` gets what keeps the Front from living.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        load: "Callable[[], Front]",
        give_up: Callable[[Exception], None],
        path_prefix: str = "",
    ) -> None:
        self._prepare = prepare
        self._load = load
        self._give_up = give_up
        self._prefix = path_prefix.rstrip("/")
        self._front: Front | None = None
        self._is_settled = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._front is None and without_prefix(scope["path"], self._prefix) == HEALTH:
            await send_health(scope, send)
        else:
            await self._is_settled.wait()
            await self._pass_on(scope, receive, send)

    def open_route(self, path: str) -> Any:
        """As the Front's. Until that is there the short way leads nowhere, and the ordinary one waits."""
        return self._front and self._front.open_route(path)

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        if self._front is None:
            await send_problem(send, 503, "The orchestrator could not start.")
        else:
            await self._front(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        """ASGI's lifespan protocol."""
        await receive()
        try:
            self._prepare()
        except BaseException as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        try:
            await self._live_on(receive)
        except Exception as error:  # noqa: BLE001 - the outermost place: the server ends with it
            self._give_up(error)
        finally:
            self._is_settled.set()
        await send({"type": "lifespan.shutdown.complete"})

    async def _live_on(self, receive: Any) -> None:
        front = await asyncio.to_thread(self._load)
        async with front.living():
            self._front = front
            self._is_settled.set()
            await receive()

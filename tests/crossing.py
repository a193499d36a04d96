"""Where the road to a neighbour can be cut: before an order is carried out, or between that and its answer."""

from collections.abc import Callable
from typing import Any, Literal

How = Literal["before", "after"]
"""The order is not carried out; or it is, and nobody is told."""


class Crossing:
    """An ASGI app in front of a simulator's. `cut` is asked for each request whether it is the one, and how.

    At the cut `end` is called (it ends whoever asked), and no answer is ever given.
    """

    def __init__(self, app: Any, cut: Callable[[str, str], How | None], end: Callable[[], None]) -> None:
        self._app = app
        self._cut = cut
        self._end = end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        how = self._cut(scope["method"], scope["path"])
        if how is None:
            await self._app(scope, receive, send)
            return
        if how == "after":
            await self._app(scope, receive, _unsaid)
        self._end()
        while (await receive())["type"] != "http.disconnect":
            pass


async def _unsaid(_message: Any) -> None:
    """Nobody hears the answer."""

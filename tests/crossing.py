"""Where the road to a neighbour can be cut: before an order is carried out, or between that and its answer."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import Response

from orchestrator.domain.errors import OrchestratorError
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import World

MOST_REQUESTS = 20
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


@dataclass(slots=True)
class Door:
    """An ASGI app in front of a simulator's, like a proxy that may answer in its place.

    `says` has answers by method and a pattern for the path's end; they are given while they are there.
    """

    app: Any
    says: dict[tuple[str, str], list[Response]] = field(default_factory=dict)
    told: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and status of everything that was answered, in order."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.told.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        await (self._instead(scope["method"], scope["path"]) or self.app)(scope, receive, noted)

    def _instead(self, method: str, path: str) -> Response | None:
        for (of, pattern), answers in self.says.items():
            if of == method and answers and re.search(f"{pattern}$", path):
                return answers.pop(0)
        return None


@dataclass(slots=True)
class Meanwhile:
    """An ASGI app in front of a simulator's. What `then` does happens once, just before the first request that
    `is_it` knows by its method and its path with the query.
    """

    app: Any
    is_it: Callable[[str, str], bool]
    then: Callable[[], object] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.then and self.is_it(scope["method"], f"{scope['path']}?{scope['query_string'].decode()}"):
            then, self.then = self.then, None
            then()
        await self.app(scope, receive, send)


def plane_behind_a_door(world: World) -> AbstractContextManager[Door]:
    """Whoever asks Plane goes through it; the address is the same."""
    return _behind_a_door(world, "plane", world.plane.app)


def gitea_behind_a_door(world: World) -> AbstractContextManager[Door]:
    """As above."""
    return _behind_a_door(world, "gitea", world.gitea.app)


@contextmanager
def gitea_meanwhile(world: World, is_it: Callable[[str, str], bool]) -> Iterator[Meanwhile]:
    """As above, and something happens there once."""
    meanwhile = Meanwhile(world.gitea.app, is_it)
    with _behind_a_door(world, "gitea", meanwhile):
        yield meanwhile


@contextmanager
def _behind_a_door(world: World, name: str, app: Any) -> Iterator[Door]:
    server = world.servers[name]
    server.stop()
    door = Door(app)
    with LoopbackServer(door, server.port):
        yield door


@dataclass(slots=True)
class Garbler:
    """An ASGI app in front of a simulator's. After `garble` one request has another's words as its answer.

    Such a request is not carried out, as when a proxy answers in the server's place.
    """

    app: Any
    says: bytes
    status: int = 200
    left: int = -1
    """Requests that are answered well before that one; less than none: it was, or is none."""

    def garble(self, after: int) -> None:
        self.left = after

    async def faults(self, call: Callable[[], Awaitable[object]]) -> set[str]:
        """Codes with which `call` fails while each of its requests in turn is answered so; then it ends well.

        It may remember nothing from one time to the next, or it would not send the same requests again.
        """
        codes = set[str]()
        for after in range(MOST_REQUESTS):
            self.garble(after)
            try:
                await call()
            except OrchestratorError as fault:
                codes.add(fault.code)
                continue
            assert self.left >= 0, "garbage was believed"
            return codes
        raise AssertionError("it never ends well")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_this = self.left == 0
        self.left -= self.left >= 0
        await (Response(self.says, self.status) if is_this else self.app)(scope, receive, send)


GARBAGE = {
    "html": b"<html>Welcome to nginx!</html>",
    "nothing": b"",
    "other-json": b'{"message": "maintenance"}',
    "part-of-a-list": b'[{"id": 1, "na',
    "part-of-a-row": b'{"id": 1, "na',
    "no-text": b'{"id": "\xff"}',
}
"""What a proxy, or a server that starts, may answer with a good status."""

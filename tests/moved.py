"""Hours in seconds: an event loop whose clock stands still while anything is at work, then jumps to what is due.

Simulators are served inside the loop, real HTTP over real sockets, so that it knows when nobody waits for them.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import uvicorn
from starlette.responses import PlainTextResponse

from orchestrator.pace import Timing
from orchestrator.sim.server import CLOSING_ROUNDS, listening

T = TypeVar("T")
BEGIN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTLE_S = 0.002
"""Real time in which bytes that were sent to a socket of this machine are seen at its other end."""
BUSY_S = 5.0


class _Selector(selectors.DefaultSelector):
    """Says what is ready; when nothing is, nobody is at work and something is due later, the clock jumps there."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1000.0
        self.at_work = 0
        self.settle_s = SETTLE_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.at_work:
            return super().select(BUSY_S if timeout is None or timeout > 0 else 0)
        if ready := super().select(0 if timeout is not None and timeout <= 0 else self.settle_s):
            return ready
        if timeout is None:
            return super().select(BUSY_S)
        self.at += max(timeout, 0)
        return []


class MovedLoop(asyncio.SelectorEventLoop):
    """See above. Its `time()` is what all timers and waits go by."""

    def __init__(self) -> None:
        self._moved = _Selector()
        super().__init__(self._moved)

    def time(self) -> float:
        return self._moved.at

    def settles_in(self, seconds: float) -> None:
        """Of real time, where nobody tells the loop that he is at work: on a busy machine bytes take long."""
        self._moved.settle_s = seconds

    def begins(self) -> None:
        """Something works outside of the loop: a thread, or a server's thread for a request."""
        self._moved.at_work += 1

    def ends(self) -> None:
        self._moved.at_work -= 1

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        self.begins()
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: self.ends())
        return future


class ToldPool(ThreadPoolExecutor):
    """One thread whose work the loop knows of, though it is handed over past it: a commit may take seconds."""

    def __init__(self, loop: MovedLoop) -> None:
        super().__init__(1)
        self._loop = loop

    def submit(self, func: Callable[..., T], /, *args: Any, **more: Any) -> "Future[T]":
        self._loop.begins()
        future = super().submit(func, *args, **more)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.ends))
        return future


class MovedClock:
    """ports.Clock in the running loop's time; `now` is asked from other threads too."""

    def __init__(self, loop: MovedLoop) -> None:
        self.loop = loop

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.loop.time())

    def monotonic(self) -> float:
        return self.loop.time()

    @property
    def timing(self) -> Timing:
        return Timing(self.loop.time, asyncio.sleep)


def in_moved_time(story: Callable[[MovedClock], Coroutine[Any, Any, T]], settle_s: float = SETTLE_S) -> T:
    """Runs the story in a loop of its own."""
    with asyncio.Runner(loop_factory=MovedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MovedLoop)
        loop.settles_in(settle_s)
        return runner.run(story(MovedClock(loop)))


_SHUT = PlainTextResponse("shut", status_code=503)


class Served:
    """An ASGI app on a port of loopback, in the running loop. Stopped it refuses; `start` takes its port again.

    `requests` are moment, method, path of each that arrived. What `is_shut` says of a path is answered with 503.
    `instead` answers in place of the app while there is one.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.is_shut: Callable[[str], bool] = lambda _: False
        self.instead: Any = None
        self._server: uvicorn.Server | None = None
        self.port = 0
        self.requests: list[tuple[float, str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Nothing when it runs."""
        if self._server:
            return
        listener = listening(self.port)  # without delay, or bytes would lie about while the clock jumps
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._watched, lifespan="off", log_config=None, access_log=False, ws="none", interface="asgi3"
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[listener])

    async def stop(self) -> None:
        """Nothing when it does not run."""
        if self._server:
            await self._server.shutdown()
            for _ in range(CLOSING_ROUNDS):
                self.abort()
                await asyncio.sleep(0)
            self._server = None

    def abort(self) -> None:
        """Whoever waits for an answer gets none."""
        for connection in list(self._server.server_state.connections) if self._server else ():
            connection.transport.abort()

    async def _watched(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovedLoop)
        self.requests.append((loop.time(), scope["method"], scope["path"]))
        loop.begins()
        try:
            app: Any = _SHUT if self.is_shut(scope["path"]) else self.instead or self._app
            await app(scope, receive, send)
        finally:
            loop.ends()


@asynccontextmanager
async def served(*apps: Any) -> AsyncIterator[list[Served]]:
    servers = [Served(app) for app in apps]
    for one in servers:
        await one.start()
    try:
        yield servers
    finally:
        for one in servers:
            await one.stop()


async def until(look: Callable[[], T], what: str, limit_s: float, step_s: float = 0.5) -> T:
    """The first true answer of `look`, within so much of the moved time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while not (seen := look()):
        assert loop.time() < end, f"{what}: not within {limit_s} s; last seen: {seen!r}"
        await asyncio.sleep(step_s)
    return seen

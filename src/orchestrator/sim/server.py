"""Runs a simulator's ASGI app on a loopback port, with faults to switch on and a log of the calls it got."""

import asyncio
import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.sim.webhook import Courier, Outgoing

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
MAX_CALLS_KEPT = 10_000
CLOSING_ROUNDS = 5  # turns of the loop: accepted, made known, aborted, lost


def utc_now() -> datetime:
    """The simulators play other machines, so they bring a clock of their own; tests pass another."""
    return datetime.now(UTC)  # noqa: TID251 - not our service's time: that of the system we stand in for


class Call(NamedTuple):
    """One API call as the simulator saw it."""

    method: str
    path: str
    status: int
    seconds: float


class Simulator:
    """What all simulators share: fault switches, a bounded call log, the time spent inside, a courier.

    Use it as a block, or call `close`: the courier's thread ends with it.
    """

    def __init__(self, webhook_timeout_s: float, now: Callable[[], datetime] = utc_now) -> None:
        self.now = now
        self.courier = Courier(webhook_timeout_s)
        self.down = False  # every call is answered 503; stop the LoopbackServer for a refused connection
        self.latency_s = 0.0
        self.answer_delay_s = 0.0  # it is done, and whoever ordered it does not know yet
        self.lose_deliveries = False
        self._lost_share, self._chance = 0.0, Random(0)  # noqa: S311 - a test wants to lose the same ones again
        self.calls: deque[Call] = deque(maxlen=MAX_CALLS_KEPT)
        self.seconds_inside = 0.0
        self.lock = threading.RLock()

    def post(self, delivery: Outgoing) -> Outgoing:
        """Hands a delivery to the courier, or loses it when that fault is on."""
        is_lost = self.lose_deliveries or self._chance.random() < self._lost_share
        (self.courier.lose if is_lost else self.courier.send)(delivery)
        return delivery

    def lose(self, share: float, seed: int) -> None:
        """From here on about this share of the deliveries is lost."""
        self._lost_share, self._chance = share, Random(seed)  # noqa: S311 - as above

    def close(self) -> None:
        self.courier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The app behind the fault switches and the call log."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            started, is_noted = time.perf_counter(), False

            async def note_first(message: Message) -> None:
                """Noted before it is answered: whoever has the answer finds the call here."""
                nonlocal is_noted
                if message["type"] == "http.response.start":
                    if self.answer_delay_s:
                        await asyncio.sleep(self.answer_delay_s)
                    self._note(scope, message["status"], time.perf_counter() - started)
                    is_noted = True
                await send(message)

            try:
                await self._answer(app, scope, receive, note_first)
            finally:
                if not is_noted:
                    self._note(scope, 500, time.perf_counter() - started)

        return watched

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.down:
            app = PlainTextResponse("the simulator is switched off", status_code=503)
        await app(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        with self.lock:
            self.calls.append(Call(scope["method"], scope["path"], status, seconds))
            self.seconds_inside += seconds


class PromptServer(uvicorn.Server):
    """Says when it serves, and ends when it is told to: uvicorn looks every 0.1 s, and rests twice at its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    def end(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._over.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self.serving.set()

    async def main_loop(self) -> None:
        """Once a second for the date in the answers' headers."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._close(sockets or ())
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await self._wait_for_the_rest()
        for task in state.tasks:
            task.cancel()
        await self._cut()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _close(self, listeners: Sequence[socket.socket]) -> None:
        """A connection that is accepted already gets its transport first: a closed server could not make one."""
        for listener in listeners:
            asyncio.get_running_loop().remove_reader(listener)
        for _ in range(CLOSING_ROUNDS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()

    async def _wait_for_the_rest(self) -> None:
        state, until = self.server_state, time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while time.monotonic() < until and not self.force_exit:
            if not (state.connections or state.tasks):
                return
            await asyncio.sleep(0.002)

    async def _cut(self) -> None:
        """Leaves no connection behind: who connects in this very moment is not among those told to end."""
        for _ in range(CLOSING_ROUNDS):
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)


def listening(port: int) -> socket.socket:
    """On 127.0.0.1; 0 is any port. A port that was ours may be taken by somebody's connection for a moment."""
    give_up = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it only on its own
            return listener


class LoopbackServer:
    """An ASGI app on 127.0.0.1, in a thread of its own. After `stop`, `start` takes the same port again."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._running: tuple[PromptServer, threading.Thread] | None = None
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        listener = listening(self.port)
        self.port = listener.getsockname()[1]
        server = PromptServer(_config(self._app))
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name=f"loopback-{self.port}", daemon=True
        )
        self._running = (server, thread)
        thread.start()
        if not server.serving.wait(START_TIMEOUT_S):
            self.stop()
            raise TimeoutError(f"The loopback server on port {self.port} did not start in {START_TIMEOUT_S} s.")
        return self

    def stop(self) -> None:
        """New connections are refused from here on; requests still running get a moment, then are cut."""
        if self._running is None:
            return
        (server, thread), self._running = self._running, None
        server.end()
        thread.join(STOP_TIMEOUT_S / 2)
        server.force_exit = True
        thread.join(STOP_TIMEOUT_S / 2)
        if thread.is_alive():
            raise TimeoutError(f"The loopback server on port {self.port} did not stop in {STOP_TIMEOUT_S} s.")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        loop="asyncio",
        timeout_graceful_shutdown=1,
    )

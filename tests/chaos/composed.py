"""`orch serve` with another composition root: one part is broken on purpose, or fails at one point.

Started as `python -m chaos.composed` with the service's own settings and an Order. All but the part in question is
the product's, and no code of it is patched: its objects are wired to ours where they are wired to each other.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import uvicorn
from sqlalchemy import Connection

from chaos.points import Order, Points, name_of, place_of
from orchestrator import logs, main
from orchestrator.agents.git import Answer, Git
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.cli import serve
from orchestrator.cli.setup import read
from orchestrator.clock import SystemClock
from orchestrator.config import secret_values
from orchestrator.db import Database
from orchestrator.domain.errors import Transient
from orchestrator.domain.events import Delivery
from orchestrator.domain.model import RunId
from orchestrator.domain.run import Liveness, RunSpec
from orchestrator.engines.local import LocalEngine
from orchestrator.main import Orchestrator
from orchestrator.store import journal
from orchestrator.store.journal import Recorded
from orchestrator.webhooks.direct import direct_protocol
from orchestrator.wire import Exchange, Reply, UnreachableError

T = TypeVar("T")
WRITES_BEHIND_S = 0.05
DATABASE_FAULT = Transient("database_unavailable", "A failure was ordered.", retry_after_s=0.0)
GIT_FAULT = Transient("git_failed", "A failure was ordered.")
SPAWN_FAULT = Transient("shim_failed", "A failure was ordered.")
RUNTIME = ("prepare", "launch", "wait", "collect", "publish", "stop")


class Shifted(SystemClock):
    """The wall clock stands as many seconds away as a file says now; what never jumps is left alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._path.read_text(encoding="ascii")))


class PointedDatabase(Database):
    """Every read and every commit is a point, named by the function that is to be run."""

    def __init__(self, url: str, wait_s: float, points: Points) -> None:
        super().__init__(url, wait_s=wait_s)
        self._points = points

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Not by way of `read_now`, which would make two points of one read."""
        inner = partial(super().read_now, work)
        call = partial(asyncio.get_running_loop().run_in_executor, self._reading, inner)
        return await self._points.soon(f"read {name_of(work)}", call, DATABASE_FAULT)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        return self._points.now(f"read {name_of(work)}", partial(super().read_now, work), DATABASE_FAULT)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._points.soon(f"write {name_of(work)}", partial(super().write, work), DATABASE_FAULT)

    def write_bulk(
        self, work: Callable[[Connection, Sequence[Any]], Sequence[T]], item: Any
    ) -> "asyncio.Future[T]":
        call = partial(super().write_bulk, work, item)
        return asyncio.ensure_future(self._points.soon(f"write {name_of(work)}", call, DATABASE_FAULT))


@dataclass(frozen=True, slots=True)
class PointedWire:
    """Every request to a neighbour is a point."""

    inner: Exchange
    system: str
    points: Points

    async def ask(self, method: str, path: str, *more: Any) -> Reply:
        call = partial(self.inner.ask, method, path, *more)
        fault = UnreachableError("ordered")
        return await self.points.soon(f"{self.system} {method} {place_of(path)}", call, fault)

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass(frozen=True, slots=True)
class PointedGit:
    """Every start of git is a point."""

    inner: Git
    points: Points

    def __call__(self, *args: Any, **more: Any) -> Answer:
        action = next(str(arg) for arg in args if not str(arg).startswith("-"))
        where = "forge" if more.get("remote") else "here"
        return self.points.now(f"git {action} {where}", partial(self.inner, *args, **more), GIT_FAULT)


class PointedRuntime:
    """Every call of the port that does something is a point; the rest is passed on."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return partial(self._pointed, name, call) if name in RUNTIME else call

    async def _pointed(self, name: str, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return await self._points.soon(f"runtime {name}", partial(call, *args), SPAWN_FAULT)


class UnlockedRuntime:
    """The fault "no lock": nobody asks whether a run lives, and neither lock nor marker holds up a second shim."""

    def __init__(self, inner: ClaudeRuntime) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def liveness(self, run: RunId) -> Liveness:
        del run
        return Liveness.UNSTARTED

    async def launch(self, spec: RunSpec) -> None:
        paths = RunPaths.of(self._inner.data_dir, spec.run)
        for path in (paths.lock, paths.tether, paths.started):
            path.unlink(missing_ok=True)
        for path in (paths.lock, paths.tether):
            path.touch(0o600)
        await self._inner.launch(spec)


class TokenInAddress:
    """The fault "leaks": git gets the forge's token in the address, as many a script does."""

    def __init__(self, inner: Git) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **more: Any) -> Answer:
        if (remote := more.get("remote")) is not None:
            scheme, _, rest = remote.url.partition("://")
            address = f"{scheme}://{remote.user}:{quote(remote.token, safe='')}@{rest}"
            args = tuple(address if arg == remote.url else arg for arg in args)
        return self._inner(*args, **more)


class Composed(Orchestrator):
    """As the product's own root puts it together, but for what `order` says."""

    order: Order
    points: Points

    def accept(self, delivery: Delivery) -> "asyncio.Future[Recorded]":
        if self.order.fault == "no_dedupe":
            parsed = msgspec.structs.replace(delivery.parsed, event_id=None)
            delivery = msgspec.structs.replace(delivery, body_sha256=secrets.token_hex(32), parsed=parsed)
        if self.order.fault == "answer_before_commit":
            loop = asyncio.get_running_loop()
            loop.call_later(WRITES_BEHIND_S, super().accept, delivery)
            answered: asyncio.Future[Recorded] = loop.create_future()
            answered.set_result(journal.Recorded(is_new=True, task=None))
            return answered
        return super().accept(delivery)

    def _engine(self) -> LocalEngine:
        engine = super()._engine()
        if self.order.is_quick:
            engine._pace = replace(engine._pace, first_pause_s=0.05, longest_pause_s=0.2)
        execution = engine._execution
        if execution is not None:
            runtime: Any = execution._runtime
            execution._runtime = _dressed(runtime, self.order, self.points)
        return engine


def _dressed(runtime: Any, order: Order, points: Points) -> Any:
    """The observer asks the inner runtime, so what it does with git is dressed there."""
    if order.trace:
        runtime.workspaces = replace(runtime.workspaces, git=PointedGit(runtime.workspaces.git, points))
        return PointedRuntime(runtime, points)
    if order.fault == "token_in_address":
        runtime.workspaces = replace(runtime.workspaces, git=TokenInAddress(runtime.workspaces.git))
    if order.fault == "no_lock":
        return UnlockedRuntime(runtime)
    return runtime


def composed(made: Orchestrator, order: Order) -> Composed:
    found = Composed(**{one.name: getattr(made, one.name) for one in fields(Orchestrator) if one.init})
    found.order, found.points = order, order.points()
    if order.trace:
        found.database = PointedDatabase(made.settings.database, made.settings.db_wait_s, found.points)
        found.dispatch._database = found.identity.tokens._database = found.database
        for system, rest in _neighbours(made).items():
            rest.wire = PointedWire(rest.wire, system, found.points)
    return found


def _neighbours(made: Orchestrator) -> dict[str, Any]:
    """Each adapter's client, by the name of whom it asks and as whom."""
    forges = made.forges
    found: dict[str, Any] = {"plane": made.tracker and made.tracker._rest}
    for name, one in (
        ("gitea", forges.orchestrator),
        ("developer", forges.developer),
        ("reviewer", forges.reviewer),
    ):
        found[name] = one and one._api._rest  # type: ignore[attr-defined]
    return {name: rest for name, rest in found.items() if rest}


def run(environ: Mapping[str, str]) -> int:
    order = Order.read(environ)
    settings, directory = read()
    logs.set_up(settings.log_level, secret_values(settings))
    clock = Shifted(Path(order.clock)) if order.clock else None
    orchestrator = composed(main.build(settings, directory, clock), order)
    app = main.asgi(orchestrator)
    if order.fault == "leaks_in_the_log":
        print(f"token {secret_values(settings)[-1]}", flush=True)
    protocol = direct_protocol(settings.receive_timeout_s, app.open_route)
    server = serve._Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        ),
        orchestrator.changes.close,
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    raise SystemExit(run(os.environ))

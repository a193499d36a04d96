"""A server that listens before most of it is loaded: what is asked meanwhile, and what if that fails."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from conftest import FakeClock
from doors import identity
from orchestrator.db import Database
from orchestrator.domain.errors import Permanent
from orchestrator.web.access import Access
from orchestrator.web.early import Early
from orchestrator.web.front import Front

FAULT = Permanent("broken", "It is broken.")


async def show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


APP = Starlette(routes=[Route("/{rest:path}", show, methods=["GET", "POST"])])


class Start:
    """Of a server: what it is told, and a front that is loaded when the test lets it be."""

    def __init__(self, access: Access, prepare: Callable[[], None] = lambda: None) -> None:
        self.told: list[str] = []
        self.lived: list[str] = []
        self.faults: list[Exception] = []
        self.loads = 0
        self.fault: Exception | None = None
        self.may_load = threading.Event()
        self.may_live = asyncio.Event()
        self._access = access
        self._orders: asyncio.Queue[Any] = asyncio.Queue()
        self.app = Early(prepare, self._load, self.faults.append, "/orchestrator/")

    def begin(self) -> "asyncio.Task[None]":
        self._orders.put_nowait({"type": "lifespan.startup"})
        return asyncio.create_task(self.app({"type": "lifespan"}, self._orders.get, self._send))

    def end(self) -> None:
        self._orders.put_nowait({"type": "lifespan.shutdown"})

    async def _send(self, message: Any) -> None:
        self.told.append(message["type"])

    def _load(self) -> Front:
        self.loads += 1
        assert self.may_load.wait(20)
        if self.fault:
            raise self.fault
        return Front(lambda: APP, self._living, {"/webhook/plane": APP}, self._access, "/orchestrator")

    @contextlib.asynccontextmanager
    async def _living(self) -> AsyncIterator[None]:
        await self.may_live.wait()
        self.lived.append("began")
        yield
        self.lived.append("ended")


@pytest.fixture
def access(database: Database, clock: FakeClock) -> Access:
    return Access(identity(database, clock, ["token"], prefix="/orchestrator"))


@pytest.fixture
async def start(access: Access) -> AsyncIterator[Start]:
    one = Start(access)
    living = one.begin()
    try:
        yield one
    finally:
        one.may_load.set()
        one.may_live.set()
        one.end()
        await living


@pytest.fixture
async def client(start: Start) -> AsyncIterator[httpx.AsyncClient]:
    transport, headers = httpx.ASGITransport(start.app), {"Authorization": "Bearer token"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as one:
        yield one


@pytest.mark.parametrize("prefix", ["", "/orchestrator"])
async def test_health_is_the_same_before_and_after_the_rest_is_loaded(
    start: Start, client: httpx.AsyncClient, prefix: str
) -> None:
    before = await client.get(f"{prefix}/health")
    assert (await client.post(f"{prefix}/health")).status_code == 405
    assert not start.may_load.is_set()
    start.may_load.set()
    start.may_live.set()
    await client.get("/status")
    after = await client.get(f"{prefix}/health")
    assert (after.status_code, after.text, after.headers) == (before.status_code, before.text, before.headers)
    assert before.json() == {"status": "ok", "service": "orchestrator"}


async def test_what_is_asked_while_the_rest_is_loaded_is_held_and_answered_when_it_lives(
    start: Start, client: httpx.AsyncClient
) -> None:
    asked = [
        asyncio.create_task(one)
        for one in (client.get("/status"), client.get("/status"), client.post("/webhook/plane"))
    ]
    given_up = asyncio.create_task(client.get("/status"))
    await client.get("/health")
    assert start.app.open_route("/webhook/plane") is None
    given_up.cancel()
    start.may_load.set()
    await client.get("/health")
    assert not any(one.done() for one in asked)
    start.may_live.set()
    answers = await asyncio.gather(*asked)
    assert [(one.status_code, one.text) for one in answers] == [
        (200, "/status"),
        (200, "/status"),
        (200, "/webhook/plane"),
    ]
    assert start.loads == 1
    assert start.app.open_route("/webhook/plane") is APP


async def test_it_lives_from_its_start_to_its_end(access: Access) -> None:
    start = Start(access)
    start.may_load.set()
    start.may_live.set()
    living = start.begin()
    start.end()  # sooner than it is loaded
    await living
    assert start.told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (start.lived, start.faults) == (["began", "ended"], [])


async def test_what_cannot_be_prepared_is_never_said_to_have_started(access: Access) -> None:
    def prepare() -> None:
        raise FAULT

    start = Start(access, prepare)
    with pytest.raises(Permanent):
        await start.begin()
    assert (start.told, start.loads) == (["lifespan.startup.failed"], 0)


async def test_what_cannot_be_loaded_is_given_up_and_holds_nobody(start: Start, client: httpx.AsyncClient) -> None:
    asked = asyncio.create_task(client.get("/status"))
    await client.get("/health")
    start.fault = FAULT
    start.may_load.set()
    assert (await asked).status_code == 503
    assert start.faults == [FAULT]

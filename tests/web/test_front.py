"""The outermost app: open routes, the guard, and a path prefix with or without a proxy that strips it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from conftest import FakeClock
from doors import identity
from orchestrator.db import Database
from orchestrator.store import tokens as rows
from orchestrator.web.access import Access
from orchestrator.web.front import Front
from orchestrator.web.signin.tokens import digest, new


async def show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


INNER = Starlette(routes=[Route("/status", show)])
HOOK = Starlette(routes=[Route("/{rest:path}", show, methods=["POST"])])


@pytest.fixture
def access(database: Database, clock: FakeClock) -> Access:
    return Access(identity(database, clock, ["token"], prefix="/orchestrator"))


@pytest.fixture
async def client(access: Access) -> AsyncIterator[httpx.AsyncClient]:
    front = Front(lambda: INNER, contextlib.nullcontext, {"/webhook/plane": HOOK}, access, "/orchestrator")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://localhost") as one:
        yield one


@pytest.mark.parametrize("prefix", ["", "/orchestrator"])
async def test_health_and_webhooks_are_open_the_rest_is_guarded(client: httpx.AsyncClient, prefix: str) -> None:
    assert (await client.get(f"{prefix}/health")).json() == {"status": "ok", "service": "orchestrator"}
    assert (await client.head(f"{prefix}/health")).content == b""
    assert (await client.post(f"{prefix}/webhook/plane")).status_code == 200
    refused = await client.get(f"{prefix}/status")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await client.get(f"{prefix}/status", headers={"Authorization": "Bearer token"})).text == "/status"


@pytest.mark.parametrize(
    "path", ["/health/", "/HEALTH", "/webhook/plane/", "/webhook/other", "//health", "/orchestratorhealth"]
)
async def test_only_the_exact_paths_are_open(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 401


async def test_a_request_that_is_given_up_while_the_app_is_made_does_not_take_the_app_with_it(
    access: Access,
) -> None:
    going_on = threading.Event()

    def slowly() -> Starlette:
        going_on.wait(20)
        return INNER

    front = Front(slowly, contextlib.nullcontext, {}, access)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(front),
        base_url="http://localhost",
        headers={"Authorization": "Bearer token"},
    ) as one:
        given_up = asyncio.create_task(one.get("/status"))
        await asyncio.sleep(0)
        while front._making is None:  # noqa: ASYNC110 - the app knows no event for it
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        going_on.set()
        assert (await one.get("/status")).text == "/status"


@pytest.mark.parametrize("recheck_s", [0.0, 1000.0])
async def test_a_stream_ends_when_whoever_reads_it_is_revoked(
    database: Database, clock: FakeClock, recheck_s: float
) -> None:
    door, token, told = identity(database, clock), new(), list[str]()
    now = clock.now()
    await database.write(lambda connection: rows.create(connection, "tv", "read", digest(token), now))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"before "
        await database.write(lambda connection: rows.revoke(connection, "tv", now))
        yield b"after"
        told.append("went on")

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    app = Starlette(routes=[Route("/status", stream)])
    front = Front(lambda: app, contextlib.nullcontext, {}, Access(door), recheck_s=recheck_s)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://localhost") as one:
        answer = await one.get("/status", headers={"Authorization": f"Bearer {token}"})
    is_asked = recheck_s == 0
    assert (answer.status_code, answer.text) == (200, "before " if is_asked else "before after")
    assert told == ([] if is_asked else ["went on"])


async def test_health_answers_only_reading(client: httpx.AsyncClient) -> None:
    assert (await client.post("/health")).status_code == 405

"""The outermost app: open routes, the guard, and a path prefix with or without a proxy that strips it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from orchestrator.web.access import Access
from orchestrator.web.front import Front


async def show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


INNER = Starlette(routes=[Route("/status", show)])
HOOK = Starlette(routes=[Route("/{rest:path}", show, methods=["POST"])])


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    front = Front(
        lambda: INNER, contextlib.nullcontext, {"/webhook/plane": HOOK}, Access(["token"]), "/orchestrator"
    )
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


async def test_a_request_that_is_given_up_while_the_app_is_made_does_not_take_the_app_with_it() -> None:
    going_on = threading.Event()

    def slowly() -> Starlette:
        going_on.wait(20)
        return INNER

    front = Front(slowly, contextlib.nullcontext, {}, Access(["token"]))
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


async def test_health_answers_only_reading(client: httpx.AsyncClient) -> None:
    assert (await client.post("/health")).status_code == 405

"""The whole app in this process, without neighbours: real database, real front, no server in between."""

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from desk import resynced
from orchestrator import config, main
from orchestrator.configfile import Directory
from orchestrator.main import Orchestrator

SECRET = "a-secret"


@contextlib.asynccontextmanager
async def house(folder: Path, **more: str) -> AsyncIterator[tuple[Orchestrator, httpx.AsyncClient]]:
    """A running orchestrator, and a client on the same machine."""
    environ = {
        "ORCH_DATA_DIR": str(folder / "data"),
        "ORCH_PLANE_WEBHOOK_SECRET": SECRET,
        "ORCH_GITEA_WEBHOOK_SECRET": SECRET,
        **more,
    }
    orchestrator = main.build(config.load(environ, None), Directory())
    front = main.asgi(orchestrator)
    async with (
        orchestrator.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://localhost") as client,
    ):
        await resynced(orchestrator)
        yield orchestrator, client


async def deliver(client: httpx.AsyncClient, event: str, body: bytes, delivery: str = "d-1") -> httpx.Response:
    """A signed delivery of Gitea."""
    headers = {
        "Content-Type": "application/json",
        "X-Gitea-Event": event,
        "X-Gitea-Delivery": delivery,
        "X-Gitea-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }
    return await client.post("/webhook/gitea", content=body, headers=headers)

"""Replay: it wakes the task of an event, and adds nothing."""

import asyncio
from pathlib import Path

import httpx
from sqlalchemy import Connection, func, select, update

from orchestrator.main import Orchestrator
from orchestrator.sim.webhook import load_recorded
from orchestrator.store.schema import events, tasks
from support import FIXTURES
from web.house import deliver, house

RECORDED = load_recorded(FIXTURES / "plane" / "issue__created__rest.json")
PUSH = b'{"ref": "refs/heads/feature/A-1", "repository": {"full_name": "acme/trails"}, "sender": {"login": "x"}}'


def _waiting(connection: Connection) -> str:
    return connection.execute(select(tasks.c.waiting)).scalar_one()


def _forget(connection: Connection) -> None:
    connection.execute(update(tasks).values(waiting="[]", decided=None))


async def _events(orchestrator: Orchestrator) -> int:
    return await orchestrator.database.read(lambda c: c.execute(select(func.count(events.c.id))).scalar_one())


async def _until_it_waits(orchestrator: Orchestrator, for_what: str) -> None:
    seen = 0
    async with asyncio.timeout(20):
        while for_what not in await orchestrator.database.read(_waiting):
            seen = await orchestrator.changes.wait(seen)


async def _plane(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/webhook/plane", content=RECORDED.body, headers=dict(RECORDED.headers))


async def test_a_replay_looks_at_the_task_again_and_adds_no_event(tmp_path: Path) -> None:
    async with house(tmp_path, ORCH_PLANE_WEBHOOK_SECRET=RECORDED.secret) as (orchestrator, client):
        assert (await _plane(client)).json() == {"status": "accepted"}
        await _until_it_waits(orchestrator, "operator")
        await orchestrator.database.write(_forget)
        answer = await client.post("/api/v1/events/1/replay")
        assert (answer.status_code, answer.json()) == (202, {"status": "looking"})
        await _until_it_waits(orchestrator, "operator")
        assert await _events(orchestrator) == 1


async def test_an_event_without_a_task_cannot_be_replayed(tmp_path: Path) -> None:
    async with house(tmp_path) as (orchestrator, client):
        assert (await deliver(client, "push", PUSH)).json() == {"status": "accepted"}
        refused = await client.post("/api/v1/events/1/replay")
        assert refused.status_code == 409
        assert refused.headers["content-type"] == "application/problem+json"
        assert "belongs to no task" in refused.json()["detail"]
        assert (await client.post("/api/v1/events/2/replay")).status_code == 404
        assert await _events(orchestrator) == 1

"""Metrics: what is counted, and that totals outlive a restart."""

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection

from green import NOW
from orchestrator.counters import Counters, Durations
from orchestrator.domain.model import RepoName, Sha, Stage
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunResult, Usage
from orchestrator.sim.webhook import load_recorded
from orchestrator.store import runs, tasks
from orchestrator.store.runs import Launch
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decision import StartRun
from support import FIXTURES
from web.house import deliver, house

RECORDED = load_recorded(FIXTURES / "plane" / "issue__created__rest.json")
PUSH = b'{"ref": "refs/heads/feature/A-1", "repository": {"full_name": "acme/trails"}, "sender": {"login": "x"}}'


async def _sample(client: httpx.AsyncClient, name: str, **labels: str) -> float | None:
    text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


async def test_deliveries_are_counted_by_what_their_sender_was_told(tmp_path: Path) -> None:
    async with house(tmp_path) as (_, client):
        for _ in range(3):
            await deliver(client, "push", PUSH)
        await client.post("/webhook/gitea", content=PUSH, headers={"Content-Type": "application/json"})
        name = "orchestrator_deliveries_total"
        assert await _sample(client, name, source="gitea", result="accepted") == 1
        assert await _sample(client, name, source="gitea", result="duplicate") == 2
        refused = {"source": "gitea", "status": "401", "code": "bad_signature"}
        assert await _sample(client, "orchestrator_deliveries_refused_total", **refused) == 1
        assert await _sample(client, "orchestrator_events_total") == 1


async def test_looks_and_decisions_are_counted(tmp_path: Path) -> None:
    async with house(tmp_path, ORCH_PLANE_WEBHOOK_SECRET=RECORDED.secret) as (orchestrator, client):
        await client.post("/webhook/plane", content=RECORDED.body, headers=dict(RECORDED.headers))
        seen = 0
        while not await _sample(client, "orchestrator_looks_total", result="done"):
            seen = await orchestrator.changes.wait_at_most(seen, 1)
        assert await _sample(client, "orchestrator_decisions_total") == 1
        assert await _sample(client, "orchestrator_tasks", stage="created") == 1
        assert await _sample(client, "orchestrator_events_unprocessed") == 0
        bucket = await _sample(client, "orchestrator_look_duration_seconds_bucket", le="+Inf")
        assert bucket == await _sample(client, "orchestrator_look_duration_seconds_count")


def _ran(connection: Connection) -> None:
    posted = Posted(Role.DEVELOPER, RepoName("acme", "trails"), "Title", "Text", "main")
    first, second = (tasks.post(connection, posted, NOW).id for _ in range(2))
    for task, session in ((first, "1"), (second, "2")):
        start = StartRun(Role.DEVELOPER, Stage.DEVELOPMENT, 1, Sha("a" * 40))
        run = runs.intend(connection, task, start, session, NOW)
        if task == first:
            runs.started(connection, run, Launch("log"), NOW)
            usage = Usage(turns=3, input_tokens=100, output_tokens=10, cost_usd=0.5)
            runs.ended(connection, run, RunResult(Outcome.TURN_CAP, 0, usage=usage), None, NOW)


async def test_runs_and_money_outlive_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as (orchestrator, _):
        await orchestrator.database.write(_ran)
    async with house(tmp_path) as (_, client):
        role = {"role": "developer"}
        assert await _sample(client, "orchestrator_runs_started_total", **role) == 1
        assert await _sample(client, "orchestrator_runs_ended_total", **role, outcome="turn_cap") == 1
        assert await _sample(client, "orchestrator_run_tokens_total", **role, kind="input") == 100
        assert await _sample(client, "orchestrator_run_cost_usd_total", **role) == 0.5
        assert await _sample(client, "orchestrator_runs_waiting", **role) == 1
        assert await _sample(client, "orchestrator_runs_at_work", **role) == 0


async def test_a_pause_is_shown(tmp_path: Path) -> None:
    async with house(tmp_path) as (_, client):
        assert await _sample(client, "orchestrator_dispatch_paused", kind="operator") == 0
        await client.post("/api/v1/pause")
        assert await _sample(client, "orchestrator_dispatch_paused", kind="operator") == 1


async def test_openmetrics_is_served_when_it_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as (_, client):
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")


def test_a_duration_falls_into_the_first_bound_that_it_does_not_exceed() -> None:
    times = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.2, 5.0):
        times.add(seconds)
    assert (times.counts, times.seconds) == ([2, 1, 1], 5.35)


def test_counters_are_nobodys_but_their_owners() -> None:
    one, other = Counters(), Counters()
    one.looks["done"] += 1
    one.look_times.add(1)
    assert (other.looks, sum(other.look_times.counts)) == ({}, 0)

"""The API as a program sees it: pages, problems, and a description that is whole."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert

from green import NOW
from orchestrator.domain.model import RepoName, Stage
from orchestrator.domain.roles import Role
from orchestrator.main import Orchestrator
from orchestrator.store import schema as table
from orchestrator.store import tasks
from orchestrator.store.tasks import Posted
from web.house import deliver, house

PUSH: dict[str, object] = {
    "ref": "refs/heads/feature/A-1",
    "after": "a" * 40,
    "repository": {"full_name": "acme/trails"},
    "sender": {"login": "x"},
}
BASIS = '{"type":"Basis","project":null}'
DECISION = '{"type":"Decision","stage":"analysis","actions":[{"type":"EnsureBranch","repo":{"type":"RepoName",\
"owner":"acme","name":"trails"},"name":"b","base":"main"}],"waiting":[{"type":"Item","code":"approval"}],\
"verdicts":[["QG-1",{"type":"Unknown","observations":[]}]]}'


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[tuple[Orchestrator, httpx.AsyncClient]]:
    async with house(tmp_path) as both:
        yield both


@pytest.fixture
def client(at: tuple[Orchestrator, httpx.AsyncClient]) -> httpx.AsyncClient:
    return at[1]


def _fill(connection: Connection) -> None:
    for number in (1, 2, 3):
        task = tasks.post(
            connection, Posted(Role.ANALYST, RepoName("acme", "trails"), f"Work {number}", "Text", "main"), NOW
        )
        row = {"task_id": task.id, "decided_at": NOW + timedelta(seconds=number), "config_digest": "c" * 64}
        row |= {"facts": BASIS, "verdicts": "[]", "decision": DECISION}
        connection.execute(insert(table.decisions).values(row))
        made: dict[str, Any] = {
            "task_id": task.id,
            "agent": "analyst",
            "stage": "analysis",
            "attempt": 1,
            "state": "ended",
            "intended_at": NOW + timedelta(seconds=number),
            "session_id": str(number),
            "base_sha": "a" * 40,
            "outcome": "succeeded",
        }
        connection.execute(insert(table.agent_runs).values(made))
        event = {
            "timestamp": NOW,
            "source": "gitea",
            "event_type": "push",
            "payload": "{}",
            "body_sha256": str(number),
            "task_id": task.id,
            "headers": '[["x-gitea-event","push"]]',
            "processed": 1,
        }
        connection.execute(insert(table.events).values(event))


@pytest.fixture
async def filled(at: tuple[Orchestrator, httpx.AsyncClient]) -> httpx.AsyncClient:
    orchestrator, client = at
    await orchestrator.database.write(_fill)
    return client


@pytest.mark.parametrize("path", ["tasks", "runs", "events", "events?source=gitea"])
async def test_a_list_is_walked_by_its_cursors_and_by_its_links(filled: httpx.AsyncClient, path: str) -> None:
    sign = "&" if "?" in path else "?"
    address: str | None = f"/api/v1/{path}{sign}limit=2"
    found, seen = list[int](), 0
    while address:
        answer = await filled.get(address)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [one["id"] for one in body["items"]]
        link = answer.links.get("next", {}).get("url")
        assert (link is None) == (body["next"] is None)
        address = str(answer.url.join(link)) if link else None
        assert address is None or body["next"] in address
        seen += 1
    assert (found, seen) == ([3, 2, 1], 2)


async def test_one_of_each_is_whole(filled: httpx.AsyncClient) -> None:
    task = (await filled.get("/api/v1/tasks/TASK-1")).json()
    assert [one["task"] for one in task["runs"]] == ["TASK-1"]
    decisions = (await filled.get("/api/v1/tasks/TASK-1/decisions")).json()["items"]
    assert [one["actions"] for one in decisions] == [["EnsureBranch"]]
    assert decisions[0]["gates"] == [{"gate": "QG-1", "state": "unknown"}]
    decision = (await filled.get("/api/v1/decisions/1")).json()
    assert (decision["task"], decision["basis"]["type"]) == ("TASK-1", "Basis")
    event = (await filled.get("/api/v1/events/1")).json()
    assert event["headers"] == [{"name": "x-gitea-event", "value": "push"}]
    assert event["body"] == "{}"
    assert [one["id"] for one in event["decisions"]] == [1]
    assert [one["id"] for one in event["runs"]] == [1]
    assert [one["id"] for one in (await filled.get("/api/v1/tasks/TASK-2/events")).json()["items"]] == [2]
    assert (await filled.get("/api/v1/statistics?days=7")).json()["total"]["runs"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("DELETE", "/api/v1/tasks", 405, "method_not_allowed"),
        ("GET", "/api/v1/tasks/NONE-1", 404, "not_found"),
        ("GET", "/api/v1/tasks/NONE-1/decisions", 404, "not_found"),
        ("GET", "/api/v1/tasks/NONE-1/events", 404, "not_found"),
        ("GET", "/api/v1/runs/99", 404, "not_found"),
        ("GET", "/api/v1/decisions/99", 404, "not_found"),
        ("GET", "/api/v1/events/99", 404, "not_found"),
        ("GET", "/api/v1/events/0", 422, "invalid"),
        ("GET", f"/api/v1/runs/{2**63}", 422, "invalid"),
        ("GET", "/api/v1/tasks?limit=0", 422, "invalid"),
        ("GET", "/api/v1/tasks?cursor=nonsense", 422, "bad_cursor"),
        ("GET", "/api/v1/runs?cursor=dDE", 422, "bad_cursor"),
        ("GET", "/api/v1/events?since=2026-11-22T12:00:00", 422, "invalid"),
        ("GET", "/api/v1/statistics?days=91", 422, "invalid"),
        ("POST", "/api/v1/tasks", 422, "invalid"),
    ],
)
async def test_every_error_is_a_problem_that_says_what_to_do(
    client: httpx.AsyncClient, method: str, path: str, status: int, title: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"], problem["type"]) == (status, title, "about:blank")
    assert problem["detail"]
    if title == "invalid":
        assert all(set(one) == {"where", "message"} for one in problem["errors"])
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) >= {"GET"}


async def test_a_problem_repeats_nothing_that_was_sent(client: httpx.AsyncClient) -> None:
    secret = "canary-5b1f"
    answer = await client.post("/api/v1/tasks", json={"repository": 1, "role": secret, "task": {"a": secret}})
    assert answer.status_code == 422
    assert secret not in answer.text


async def test_a_task_of_blanks_is_no_fault_of_ours(client: httpx.AsyncClient) -> None:
    order = {"repository": "acme/unmapped", "role": "analyst", "task": " \n "}
    assert (await client.post("/api/v1/tasks", json=order)).status_code == 422


async def test_a_deflated_body_comes_out_as_it_came_in(client: httpx.AsyncClient) -> None:
    body = json.dumps(PUSH | {"filler": "я" * 9000}, ensure_ascii=False).encode()
    assert (await deliver(client, "push", body)).status_code == 200
    event = (await client.get("/api/v1/events/1")).json()
    assert event["body"].encode() == body
    assert (event["task"], event["has_task"], event["ignored"]) == (None, False, "belongs to no task")


async def test_tasks_are_filtered_by_what_the_address_says(filled: httpx.AsyncClient) -> None:
    async def ids(query: str) -> list[int]:
        return [one["id"] for one in (await filled.get(f"/api/v1/tasks?{query}")).json()["items"]]

    assert await ids("text=WORK%202") == [2]
    assert await ids("open=false") == []
    assert await ids(f"stage={Stage.CREATED}&repo=ACME/TRAILS") == [3, 2, 1]


async def test_the_description_is_whole(client: httpx.AsyncClient) -> None:
    """Every operation says what it is for, how it can fail and what it returns; every parameter what it means."""
    document = (await client.get("/openapi.json")).json()
    assert document["security"] == [{"token": []}, {"session": []}]
    assert {"Problem", "Fault"} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]
    tags = {tag["name"] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            assert set(operation["tags"]) <= tags, where
            assert {"401", "403", "422", "503"} <= set(operation["responses"]), where
            for status, response in operation["responses"].items():
                assert response["description"], f"{where} {status}"
                if status[0] in "45" and (path, status) != ("/ready", "503"):
                    assert set(response["content"]) == {"application/problem+json"}, f"{where} {status}"
            for one in operation.get("parameters", ()):
                assert one.get("description"), f"{where} {one['name']}"
            if "{" in path:
                assert "404" in operation["responses"], where

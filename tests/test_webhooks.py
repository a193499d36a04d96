"""The original specification's acceptance, against a real process over HTTP."""

import json
from pathlib import Path

import httpx
import pytest

import warm
from orchestrator.sim.webhook import load_recorded, post_recorded
from orchestrator.sim.world import API_TOKEN, REPO, Service, World
from support import FIXTURES, at_rest, query, starts, until
from warm import orch


def test_health_says_ok(service: Service) -> None:
    answer = httpx.get(f"{service.url}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "orchestrator"})


def test_a_plane_post_is_accepted_and_stands_in_events(world: World, service: Service) -> None:
    answer = world.post_recorded(service, "issue__created__rest")
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    recorded = load_recorded(FIXTURES / "plane" / "issue__created__rest.json")
    stored = query(service, "SELECT source, event_type, payload FROM events")
    assert ("plane", "issue", recorded.body.decode()) in stored


def test_a_gitea_push_is_accepted_and_stands_in_events(world: World, scripted: Path) -> None:
    environ = {**world.settings(scripted), "ORCH_GITEA_WEBHOOK_SECRET": "s3cret"}
    del environ["ORCH_GITEA_WEBHOOK_SECRET_FILE"]
    with Service(world.root, environ, starter=warm.started) as service:
        answer = post_recorded(f"{service.url}/webhook/gitea", FIXTURES / "gitea" / "push.json")
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        assert query(service, "SELECT source, event_type FROM events") == [("gitea", "push")]


def test_status_lists_active_tasks(world: World, service: Service) -> None:
    with service.client() as client:
        assert client.get("/status").json()["active_tasks"] == []
        world.post_recorded(service, "issue__created__rest")
        assert at_rest(client)["key"] == "ENDURO-1"


def test_status_needs_the_token(service: Service) -> None:
    assert httpx.get(f"{service.url}/status").status_code == 401
    assert httpx.get(f"{service.url}/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx.get(f"{service.url}/status", headers={"Authorization": "Bearer ключ".encode()}).status_code == 401


ORDER = {"repository": REPO, "role": "analyst", "task": "Write down what the routes are for."}


def test_posting_a_task_starts_the_agent_once(service: Service, ledger: Path) -> None:
    with service.client() as client:
        answer = client.post("/api/v1/tasks", json=ORDER)
        assert answer.status_code == 201
        url = answer.json()["url"]
        done = until(lambda: (task := client.get(url).json())["stage"] == "done" and task, "the task was done")
    assert [run["outcome"] for run in done["runs"]] == ["succeeded"]
    assert done["item_link"] is None
    assert len(starts(ledger)) == 1


def test_an_order_that_is_sent_again_under_its_key_is_the_same_task(service: Service, ledger: Path) -> None:
    """The answer to the first may have been lost."""
    with service.client() as client:

        def post(key: str, **other: str) -> httpx.Response:
            return client.post(
                "/api/v1/tasks", json=ORDER | other, headers={"Idempotency-Key": key.encode("latin-1")}
            )

        answers = [post(key) for key in ("order-1", '"order-1"', "order-1")]
        assert [one.status_code for one in answers] == [201] * 3
        assert {one.json()["key"] for one in answers} == {"TASK-1"}
        for other in ({"role": "tester"}, {"task": "Something else."}, {"title": "Another"}):
            refused = post("order-1", **other)
            assert (refused.status_code, refused.json()["title"]) == (422, "key_reused")
        assert post("order-2").json()["key"] == "TASK-2"
        for bad in ("", '""', 'a"b', "a b", "a" * 256, "\xe4"):
            assert post(bad).status_code == 422
        until(lambda: not client.get("/status").json()["active_tasks"], "both were done")
    assert len(starts(ledger)) == 2


def test_posting_a_task_needs_the_token(service: Service, ledger: Path) -> None:
    assert httpx.post(f"{service.url}/api/v1/tasks", json=ORDER).status_code == 401
    assert not starts(ledger)


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        ({"role": "wizard"}, "role"),
        ({"repository": "acme/other"}, "orchestrator.yaml"),
        ({"repository": "../x"}, "owner/name"),
        ({"task": ""}, "task"),
    ],
)
def test_an_unknown_role_or_repository_is_an_error_that_says_so(
    service: Service, spoiled: dict[str, str], says: str
) -> None:
    with service.client() as client:
        answer = client.post("/api/v1/tasks", json=ORDER | spoiled)
        assert answer.status_code == 422
        assert says in answer.text
        assert client.get("/status").json()["active_tasks"] == []


def test_orch_launch_starts_the_agent(service: Service, ledger: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.md"
    task.write_text("Write down what the routes are for.\n")
    environ = {**service.environ, "PATH": "/usr/bin:/bin", "ORCH_PORT": service.url.rpartition(":")[2]}
    done = orch("launch", "analyst", REPO, "--task", str(task), cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["key"]
    until(lambda: len(starts(ledger)) == 1, "the agent was started")


def test_orch_launch_says_when_nobody_answers(service: Service, tmp_path: Path) -> None:
    service.stop()
    (tmp_path / "task.md").write_text("x")
    environ = {**service.environ, "PATH": "/usr/bin:/bin", "ORCH_PORT": service.url.rpartition(":")[2]}
    done = orch("launch", "analyst", REPO, "--task", str(tmp_path / "task.md"), cwd=tmp_path, environ=environ)
    assert done.returncode == 1
    assert "orch serve" in done.stderr
    assert API_TOKEN not in done.stderr
    service.start()

"""Forgejo, which tells nobody of a status; and both languages the whole way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse

from crossing import gitea_behind_a_door
from orchestrator.sim.webhook import GiteaEvent, gitea_headers
from orchestrator.sim.world import GITEA_SECRET, REPO, USERS, World
from orchestrator.store.payload import unpacked
from stories.acts import asked, at, document, green_until, pull_comments
from stories.team import PERSON, Team, at_work
from support import FIXTURES, query, until

FIRST_SIGN_S = 10.0
"""After the delivery, as it is promised."""
CALM = {"ORCH_RESYNC_INTERVAL_S": "3600", "ORCH_POLL_INTERVAL_S": "3600"}
"""Nothing is found but by a delivery."""


@pytest.fixture
def forgejo(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", FIXTURES, forge="forgejo") as one:
        yield one


def test_on_forgejo_checks_are_polled_and_the_way_is_the_same(forgejo: World, scripted: Path) -> None:
    with at_work(forgejo, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        told = forgejo.gitea.deliveries
        assert forgejo.gitea.version == "15.0.3+gitea-1.22.0"
        assert told
        assert all("X-Forgejo-Event" in one.headers for one in told)
        assert "status" not in {one.event for one in told}
        assert team.reviews() == [("reviewer", "APPROVED")]
        team.check("failure")
        until(lambda: team.started().count("developer") == 2, "a check that turns red is seen, too")
        green_until(team, at("ready", "merge"))
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")


def test_on_forgejo_a_check_is_found_by_polling_alone(forgejo: World, scripted: Path) -> None:
    """No delivery tells of it, and no resync comes for an hour."""
    apart = {"ORCH_RESYNC_INTERVAL_S": "3600", "ORCH_POLL_INTERVAL_S": "5"}
    with at_work(forgejo, scripted, **apart) as team:
        team.begin_written("ci")
        team.heard()
        told = deliveries(team)
        team.check("pending")
        team.waits_for("check_not_green", "ci")
        team.check()
        until(lambda: team.task()["stage"] != "ci", "the green check was found")
        assert deliveries(team) == told
        team.waits_for("merge", "ready")


def test_what_forgejos_own_ci_tells_wakes_the_task_though_our_developer_triggered_it(
    forgejo: World, scripted: Path
) -> None:
    with at_work(forgejo, scripted, **CALM) as team:
        team.begin_written("ci")
        team.heard()
        team.check()  # nobody is told of a status there
        told = _recorded("forgejo_action_run_success")
        told["run"]["commit_sha"] = team.head
        told["run"]["repository"]["full_name"] = REPO
        told["run"]["trigger_user"]["login"] = "developer"
        _tell(team, GiteaEvent("action_run_success", "action_run_success"), told, is_forgejo=True)
        until(lambda: team.task()["stage"] != "ci", "the green check was found", FIRST_SIGN_S)


def test_what_giteas_own_ci_tells_wakes_the_task_though_our_developer_triggered_it(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, **CALM) as team:
        team.begin_written("ci")
        team.heard()
        world.gitea.lose_deliveries = True
        team.check()
        told = _recorded("workflow_run_completed")
        told["workflow_run"]["head_sha"] = team.head
        told["repository"]["full_name"] = REPO
        told["sender"]["login"] = "developer"
        _tell(team, GiteaEvent("workflow_run", "workflow_run"), told)
        until(lambda: team.task()["stage"] != "ci", "the green check was found", FIRST_SIGN_S)


def _recorded(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / "gitea" / f"{name}.body").read_bytes())
    return body


def _tell(team: Team, event: GiteaEvent, body: dict[str, Any], *, is_forgejo: bool = False) -> None:
    raw = json.dumps(body).encode()
    headers = gitea_headers(event, str(uuid4()), GITEA_SECRET, raw, forgejo=is_forgejo)
    headers |= {"Content-Type": "application/json"}
    assert team.client.post("/webhook/gitea", content=raw, headers=headers).status_code == 200


def test_a_base_branch_that_is_not_there_waits_for_an_operator_who_is_told_so(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, config="base_branch: maim") as team:
        team.begin()
        task = team.waits_for("gitea_not_found", "created")
        (why,) = task["waiting"]
        assert why["who"] == "operator"
        assert "maim" in why["text"]
        assert "orchestrator.yaml" in why["text"]
        until(lambda: "maim" in team.sticky(), "who made the work item is told, too", FIRST_SIGN_S)
        (told,) = team.client.get(f"/api/v1/tasks/{task['key']}/explain").json()["unblock"]
        assert (told["code"], told["who"], told["action"]) == ("gitea_not_found", "operator", "orch doctor")
        assert told["age_s"] is not None


def test_that_we_may_not_make_the_branch_is_told_at_once(world: World, scripted: Path) -> None:
    with gitea_behind_a_door(world) as door, at_work(world, scripted) as team:
        door.says["POST", "/branches"] = [JSONResponse({"message": "no"}, 403) for _ in range(100)]
        team.begin()
        team.waits_for("gitea_refused", "created")
        until(lambda: "Gitea" in team.sticky(), "a first sign of life", FIRST_SIGN_S)


def test_while_the_branch_cannot_be_made_that_is_told_once_and_then_how_it_goes_on(
    world: World, scripted: Path
) -> None:
    with gitea_behind_a_door(world) as door, at_work(world, scripted) as team:
        faults = [JSONResponse({"message": "no"}, 500) for _ in range(100)]
        door.says["POST", "/branches"] = faults
        team.begin()
        until(lambda: "Gitea" in team.sticky(), "a first sign of life", FIRST_SIGN_S)
        until(lambda: len(faults) < 98, "other looks")
        written = asked(team, "POST", "/comments/", of="plane"), asked(team, "PATCH", "/comments/.*", of="plane")
        assert written == (1, 0)
        faults.clear()
        team.waits_for("approval", "analysis")
        until(lambda: "BRD.md" in team.sticky(), "how it goes on")
        assert asked(team, "POST", "/comments/", of="plane") == 1


def deliveries(team: Team) -> int:
    """Of others' doing: what we do ourselves comes back, too, and wakes nobody."""
    rows = query(team.service, "SELECT payload FROM events WHERE source = 'gitea'")
    senders = [json.loads(unpacked(row[0]))["sender"]["login"] for row in rows]
    plane = query(team.service, "SELECT count(*) FROM events WHERE source = 'plane' AND event_type = 'issue'")
    return sum(one not in USERS or one == PERSON for one in senders) + int(plane[0][0])


def is_russian(text: str) -> bool:
    return sum("а" <= char <= "я" for char in text.lower()) > 20


@pytest.mark.parametrize(
    ("language", "title", "heading"),
    [
        ("ru", "Маршрут: импорт GPX «с кавычками» — ёжик", "## Цель"),
        pytest.param("en", "Import routes as GPX", "## Goal", marks=pytest.mark.nightly),
    ],
)
def test_the_whole_way_is_in_the_projects_language(
    world: World, scripted: Path, language: str, title: str, heading: str
) -> None:
    with at_work(world, scripted, config=f"language: {language}") as team:
        team.begin(title)
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        assert heading in document(team, "BRD.md")
        assert title.split()[1] in document(team, "BRD.md")
        assert title in team.pull.title
        assert team.branch.isascii()
        until(lambda: team.gate_status()["status"] == "success", "the status is green")
        shown = [*team.comments(), *pull_comments(team), team.pull.body, team.pull.reviews[0]["body"]]
        shown += [document(team, name) for name in ("ARCHITECTURE.md", "DEV_TASK.md", "DEV_REPORT.md")]
        wanted = language == "ru"
        assert [is_russian(text) for text in shown] == [wanted] * len(shown), shown
        assert any("а" <= char <= "я" for char in team.gate_status()["description"].lower()) is wanted

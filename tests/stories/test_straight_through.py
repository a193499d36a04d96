"""From a work item to "ready to merge", and a human merges."""

from pathlib import Path

from orchestrator.sim.world import REPO, World
from stories.team import PERSON, Team, at_work
from support import until

ITEM_LINK = "https://plane.example/acme/browse/ENDURO-1/"


def linked_from(team: Team) -> set[str]:
    """Where the work item's address is told."""
    one = f"/api/v1/tasks/{team.key}"
    (listed,) = team.client.get("/status").json()["active_tasks"]
    places = {
        "task": team.client.get(one).json()["item_link"],
        "explanation": team.client.get(f"{one}/explain").json()["item_link"],
        "status": listed["item_link"],
        "pull request": team.pull.body,
        "its comment": "".join(row["body"] for row in team.pull.comments),
        "work item's comment": team.sticky(),
    }
    return {place for place, text in places.items() if ITEM_LINK in text}


def test_a_work_item_becomes_a_pull_request_that_a_person_merges(world: World, scripted: Path) -> None:
    with at_work(world, scripted, ORCH_PLANE_PUBLIC_URL="https://plane.example") as team:
        team.begin()
        team.approved_until("ready")
        task = team.waits_for("merge", "ready")
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "tester"]
        assert {run["outcome"] for run in task["runs"]} == {"succeeded"}
        assert (team.pull.user.login, team.pull.state) == ("developer", "open")
        assert team.reviews() == [("reviewer", "APPROVED")]
        linked = {"task", "explanation", "status", "pull request", "its comment"}
        until(lambda: linked_from(team) == linked, f"{linked} link to the work item")
        until(lambda: team.gate_status().get("status") == "success", "the status is green")
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")

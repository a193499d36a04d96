"""From a work item to "ready to merge", and a human merges."""

from pathlib import Path

from orchestrator.sim.world import REPO, World
from stories.team import PERSON, at_work
from support import until


def test_a_work_item_becomes_a_pull_request_that_a_person_merges(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        task = team.waits_for("merge", "ready")
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "tester"]
        assert {run["outcome"] for run in task["runs"]} == {"succeeded"}
        assert (team.pull.user.login, team.pull.state) == ("developer", "open")
        assert team.reviews() == [("reviewer", "APPROVED")]
        until(lambda: team.gate_status().get("status") == "success", "the status is green")
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")

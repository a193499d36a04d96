"""What the tester says, and what a developer claims."""

from pathlib import Path

from orchestrator.sim.world import REPO, World
from stories.acts import at, bases, green_until, pull_comments, task_file, waiting
from stories.acts import work_item as begin
from stories.team import at_work
from support import until


def test_a_failed_test_sends_the_developer_back_with_the_report_and_then_passes(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: test_fails_once")
        team.approved_until("ci")
        task = green_until(team, at("ready", "merge"))
        assert [run["role"] for run in task["runs"]][2:] == [
            "developer", "reviewer", "tester", "developer", "reviewer", "tester",
        ]  # fmt: skip
        told = task_file(team, "developer", ".task-dev.md")
        assert "test_failed" in told
        assert f"/{REPO}/pulls/{team.pull.number}" in told
        assert bases(team, "tester")[-1] == team.head
        until(lambda: sum(":report:" in one for one in pull_comments(team)) == 2, "both reports are shown")


def test_a_developer_that_claims_success_without_a_commit_gets_nowhere(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: developer no_commit")
        team.approved_until("development")
        task = team.waits_for("output_missing", "development")
        assert waiting(task, "output_missing")["who"] == "approver"
        assert team.started()[2:] == ["developer"] * 3
        assert {run["reason"] for run in task["runs"] if run["role"] == "developer"} == {"no_commit"}
        assert team.pull is None
        until(lambda: "/orch retry" in "".join(team.comments()), "people are told")
        team.push({"src/by_hand.py": "DONE = True\n", f"tasks/{team.key}/DEV_REPORT.md": "# Report\n\nBy hand.\n"})
        green_until(team, at("ready", "merge"))
        assert team.started()[2:] == ["developer"] * 3 + ["reviewer", "tester"]


def test_a_tester_that_gives_no_verdict_tests_again_and_then_a_person_decides(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: tester bad_verdict")
        team.approved_until("testing")
        team.waits_for("output_missing", "testing")
        assert team.started()[3:] == ["reviewer", "tester", "tester", "tester"]
        assert world.gitea.repos[REPO].pulls[team.pull.number].state == "open"

"""What decides how an agent's work is judged is changed only with an approver's word, for one commit."""

from pathlib import Path

from orchestrator.sim.world import World
from stories.acts import at, green_until, waiting
from stories.acts import work_item as begin
from stories.team import STRANGER, at_work
from support import until


def test_a_developer_that_changes_ci_waits_for_an_approver_who_allows_this_commit_and_no_other(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: developer protected_path")
        team.approved_until("development")
        task = team.waits_for("protected_paths", "development")
        head = team.head
        assert waiting(task, "protected_paths")["who"] == "approver"
        assert head in waiting(task, "protected_paths")["text"]
        answers = len(team.comments())

        team.say(f"<p>/orch allow-paths {head}</p>", STRANGER)
        team.say(f"<p>/orch allow-paths {'0' * 12}</p>")
        until(lambda: len(team.comments()) == answers + 1, "the approver's slip is answered, the stranger is not")
        team.waits_for("protected_paths", "development")

        team.say(f"<p>/orch allow-paths {head[:10]}</p>")
        green_until(team, at("ready", "merge"))
        assert team.head == head

        team.push({".gitea/workflows/ci.yml": "jobs: {}\n"})
        task = team.waits_for("protected_paths", "development")
        assert team.head in waiting(task, "protected_paths")["text"]
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "tester"]

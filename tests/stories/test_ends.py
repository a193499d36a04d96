"""How a task ends, or stands still, by a person's hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.sim.world import PROJECT, REPO, World
from orchestrator.sim.wrapper import write_wrapper
from stories.acts import asked, codes, green_until, waiting
from stories.team import PERSON, Team, at_work
from support import starts, until


def test_a_closed_pull_request_parks_the_task_and_reopened_it_goes_on(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ci")
        team.people.close(REPO, team.pull.number, PERSON)
        task = team.waits_for("pull_request_closed")
        assert waiting(task, "pull_request_closed")["who"] == "maintainer"
        team.check()
        team.waits_for("pull_request_closed")
        assert len(world.gitea.repos[REPO].pulls) == 1
        assert team.started() == ["analyst", "architect", "developer"]
        team.people.reopen(REPO, team.pull.number, PERSON)
        team.waits_for("merge", "ready")


def test_a_pull_request_that_a_person_merges_early_ends_the_task(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ci")
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")
        team.say("<p>/orch retry</p>")
        team.check()
        assert team.started() == ["analyst", "architect", "developer"]


def test_nobody_but_a_person_merges(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        assert asked(team, "POST", "/merge") == 0
        assert {call.method for call in list(world.gitea.calls)} <= {"GET", "POST", "PATCH", "PUT"}
        assert world.gitea.file_at(REPO, "main", f"tasks/{team.key}/BRD.md") is None


def deleted(team: Team) -> None:
    team.world.plane.delete_work_item(team.item)


def archived(team: Team) -> None:
    team.world.plane.archive(team.item)


@pytest.mark.parametrize("end", [deleted, pytest.param(archived, marks=pytest.mark.nightly)])
def test_the_agent_of_a_work_item_that_is_gone_is_stopped_and_nothing_starts_any_more(
    world: World, tmp_path: Path, ledger: Path, end: Callable[[Team], None]
) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "hang", ledger)) as team:
        team.begin("Export as GPX")
        until(lambda: starts(ledger), "the agent started")
        end(team)  # of which Plane tells nobody
        task = team.waits_for("item_gone")
        assert [run["outcome"] for run in task["runs"]] == ["cancelled"]
        team.push({"README.md": "# Moved again\n"})
        team.client.post(f"/api/v1/tasks/{team.key}/retry")
        team.waits_for("item_gone")
        assert len(starts(ledger)) == 1


def test_an_item_is_not_gone_while_its_project_does_not_answer(world: World, tmp_path: Path, ledger: Path) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "hang", ledger)) as team:
        team.begin("Export as GPX")
        until(lambda: starts(ledger), "the agent started")
        home = next(iter(world.plane.workspaces.values()))
        project = home.projects.pop(PROJECT)
        before = refusals(world)
        team.push({"README.md": "# Moved\n"})
        until(lambda: refusals(world) > before, "Plane refused an answer")
        team.heard()
        assert "item_gone" not in team.codes()
        assert [run["outcome"] for run in team.task()["runs"]] == [None]
        home.projects[PROJECT] = project


def refusals(world: World) -> int:
    return sum(call.status >= 400 for call in list(world.plane.calls))


def test_a_deleted_branch_is_said_and_restored_as_it_was_it_goes_on(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        head = team.head
        team.people.delete_branch(REPO, team.branch, PERSON)
        team.waits_for("branch_gone")
        team.approve()
        team.heard()
        assert team.started() == ["analyst"]
        team.people.force_push(REPO, team.branch, head, PERSON)
        team.waits_for("approval", "architecture")
        assert team.started() == ["analyst", "architect"]


def test_a_branch_that_is_deleted_with_its_pull_request_open_starts_nothing(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ci")
        head, branch = team.head, team.branch
        team.people.delete_branch(REPO, branch, PERSON)
        task = until(
            lambda: codes(team.task()) & {"branch_gone", "pull_request_closed"} and team.task(), "it is said"
        )
        assert not task["agent_running"]
        assert team.started() == ["analyst", "architect", "developer"]
        team.people.force_push(REPO, branch, head, PERSON)
        if team.pull.state == "closed":
            team.people.reopen(REPO, team.pull.number, PERSON)
        green_until(team, lambda task: task["stage"] in {"analysis", "ready"} and not task["agent_running"])

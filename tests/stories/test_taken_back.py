"""What people undo or move on the forge: the task says what is so, and there is a way on."""

from pathlib import Path

import httpx

from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.sim.world import REPO, World
from orchestrator.sim.wrapper import write_wrapper
from stories.acts import asked, at, green_until, waiting
from stories.acts import work_item as begin
from stories.team import PERSON, Team, at_work
from support import until

REVIEWER = "reviewer"


def approvals(team: Team) -> list[str]:
    return [state for login, state in team.reviews() if login == REVIEWER]


def test_a_pull_request_on_another_base_is_told_and_back_on_its_own_or_closed_it_goes_on(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX")
        team.approved_until("ci")
        team.people.commit(REPO, "release", {"README.md": "# Release\n"}, PERSON)
        number = team.pull.number
        team.people.retarget(REPO, number, "release", PERSON)
        task = team.waits_for("pull_request_elsewhere", "development")
        assert waiting(task, "pull_request_elsewhere")["who"] == "developer"
        assert len(world.gitea.repos[REPO].pulls) == 1
        team.people.retarget(REPO, number, "main", PERSON)
        team.waits_for("check_missing", "ci")
        team.people.retarget(REPO, number, "release", PERSON)
        team.waits_for("pull_request_elsewhere", "development")
        team.people.close(REPO, number, PERSON)
        team.waits_for("check_missing", "ci")
        assert team.pull.number != number, "one was opened onto the task's own base"
        assert team.started() == ["analyst", "architect", "developer"]


def test_a_review_of_ours_that_is_deleted_is_published_again_and_one_that_is_asked_for_again_needs_a_push(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX")
        team.approved_until("ready")
        (given,) = [row["id"] for row in team.pull.reviews if row["user"]["login"] == REVIEWER]
        team.people.delete_review(REPO, team.pull.number, given)
        team.say("<p>Where is the review?</p>")
        until(lambda: approvals(team) == ["APPROVED"], "it is published again")
        team.waits_for("merge", "ready")
        ask_again(team)
        task = team.waits_for("review_asked_again", "review")
        assert waiting(task, "review_asked_again")["who"] == "developer"
        assert team.started().count("reviewer") == 1
        team.push({"src/more.py": "MORE = 1\n"})
        green_until(team, at("ready", "merge"))
        assert team.started().count("reviewer") == 2


def ask_again(team: Team) -> None:
    token = team.world.gitea.add_token(PERSON)
    url = f"{team.world.gitea_url}/api/v1/repos/{REPO}/pulls/{team.pull.number}/requested_reviewers"
    headers = {"Authorization": f"token {token}"}
    answer = httpx.post(
        url, verify=TRUSTS_NOBODY, json={"reviewers": [REVIEWER]}, headers=headers, trust_env=False
    )
    assert answer.status_code == 201, answer.text


def test_a_merge_while_an_agent_works_stops_it_and_ends_the_task(world: World, tmp_path: Path) -> None:
    claude = write_wrapper(tmp_path / "claude", "work")
    with at_work(world, claude) as team:
        begin(team, "Export as GPX")
        team.approved_until("ci")
        write_wrapper(tmp_path / "claude", "hang")
        team.check()
        until(lambda: [run["state"] for run in team.task()["runs"]][-1:] == ["running"], "the reviewer works")
        team.people.merge(REPO, team.pull.number, PERSON)
        task = team.reaches("done")
        assert [run["outcome"] for run in task["runs"]][-1] == "cancelled"
        assert asked(team, "POST", "/reviews") == 0

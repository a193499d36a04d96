"""CI says no, says nothing, or says yes to something else."""

from pathlib import Path

import pytest

from crossing import gitea_meanwhile
from orchestrator.logs import MASK
from orchestrator.sim.world import GITEA_SECRET, REPO, World
from stories.team import CONTEXT, PERSON, Team, at_work
from support import query, until

JOB = "CI / test (push)"
LOG = b"collected 3 items\n" + b"noise\n" * 5000 + b"E  AssertionError: expected 3 points, got 2\n"
LOG += b"curl -H 'X-Gitea-Signature: " + GITEA_SECRET.encode() + b"'\n"


def params(team: Team, code: str) -> dict[str, str]:
    """Of the first reason with this code."""
    found = [item["params"] for item in team.task()["waiting"] if item["code"] == code]
    return dict(found[0]) if found else {}


def test_a_red_check_sends_the_developer_back_with_the_end_of_its_log(world: World, scripted: Path) -> None:
    with at_work(world, scripted, contexts=(JOB,)) as team:
        team.begin_written("ci")
        red = team.head
        team.people.run_job(REPO, red, "test", "failure", LOG)
        until(lambda: team.started() == ["developer"], "the developer works")
        team.waits_for("check_missing", "ci")
        told = team.task_file()
        assert JOB in told
        assert f"{world.gitea.root_url}/{REPO}/actions/runs/1/jobs/0" in told
        assert "AssertionError: expected 3 points, got 2" in told
        assert "collected 3 items" not in told
        assert f"X-Gitea-Signature: {MASK}" in told
        assert not query(team.service, f"SELECT 1 FROM decisions WHERE facts LIKE '%{GITEA_SECRET}%'")
        assert team.head != red
        team.people.run_job(REPO, team.head, "test", "success")
        team.reaches("testing")
        assert team.started()[:2] == ["developer", "reviewer"]


def test_a_green_check_of_an_older_commit_is_not_the_heads(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        old = team.head
        new = team.push({"src/more.py": "MORE = 1\n"})
        until(lambda: team.pull.head_sha == new, "the pull request shows the push")
        team.check(head=old)
        team.heard()
        assert params(team, "check_missing") == {"context": CONTEXT}
        assert team.started() == []
        team.check()
        team.reaches("review")


def test_every_required_context_is_waited_for(world: World, scripted: Path) -> None:
    with at_work(world, scripted, contexts=(CONTEXT, "ci/lint*")) as team:
        team.begin_written("ci")
        team.check()
        team.check(context="something/else")
        until(lambda: params(team, "check_missing") == {"context": "ci/lint*"}, "the other context is waited for")
        team.heard()
        assert team.started() == []
        team.check(context="ci/lint-py")
        team.reaches("review")


@pytest.mark.parametrize(
    ("state", "read"),
    [("pending", "pending"), ("warning", "warning"), ("skipped", "skipped"), ("cancelled", "pending")],
)
def test_what_is_not_success_is_not_green_and_sends_nobody_back(
    world: World, scripted: Path, state: str, read: str
) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        team.check(state)
        until(lambda: params(team, "check_not_green").get("state") == read, "it was seen")
        team.heard()
        assert (team.task()["stage"], team.started()) == ("ci", [])
        team.check()
        team.reaches("review")


def test_a_check_of_a_login_that_is_not_listed_does_not_count(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config="gates:\n  check_creators: [orchestrator]") as team:
        team.begin_written("ci")
        team.check(by=PERSON)
        team.waits_for("check_of_wrong_creator", "ci")
        team.heard()
        assert team.started() == []
        team.check("pending", by="orchestrator")
        team.waits_for("check_not_green", "ci")
        team.check(by="orchestrator")
        team.reaches("review")


def test_a_project_without_ci_says_so_and_goes_on(world: World, scripted: Path) -> None:
    with at_work(world, scripted, contexts=(), config="gates:\n  ci: none") as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        team.approve()
        team.reaches("review")


def test_a_project_that_asks_for_ci_and_names_no_check_waits_for_its_operator(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, contexts=()) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        team.approve()
        task = team.waits_for("no_required_contexts", "ci")
        assert [item["who"] for item in task["waiting"]] == ["operator"]
        team.check()
        team.heard()
        assert (team.task()["stage"], team.started()) == ("ci", [])


def ready(team: Team) -> None:
    team.begin_written("review")
    team.waits_for("merge", "ready")
    assert team.started() == ["reviewer", "tester"]


def test_nobody_is_told_to_merge_what_was_pushed_while_the_gates_were_looked_at(
    world: World, scripted: Path
) -> None:
    """After the last look at the branch, before the look at its checks; and no delivery tells of it."""
    ended = "SELECT 1 FROM agent_runs WHERE agent = 'tester' AND outcome IS NOT NULL"

    def is_looked_at(method: str, path: str) -> bool:
        is_status = method == "GET" and "/commits/" in path and "/status?" in path
        return is_status and bool(query(team.service, ended))

    def push() -> None:
        world.gitea.lose_deliveries = True
        team.push({"src/late.py": "LATE = 1\n"})

    with at_work(world, scripted) as team, gitea_meanwhile(world, is_looked_at) as gitea:
        gitea.then = push
        team.begin_written("review")
        until(lambda: gitea.then is None, "somebody pushed")
        team.waits_for("check_missing", "ci")
        assert "ready" not in [stage for (stage,) in query(team.service, "SELECT stage FROM stays")]


@pytest.mark.parametrize("how", ["push", "force_push"])
def test_a_commit_after_the_review_is_checked_reviewed_and_tested_anew(
    world: World, scripted: Path, how: str
) -> None:
    with at_work(world, scripted) as team:
        ready(team)
        reviewed = team.head
        if how == "push":
            team.push({"src/late.py": "LATE = 1\n"})
        else:
            elsewhere = team.people.commit(REPO, team.branch, {"src/late.py": "LATE = 1\n"}, PERSON)
            team.people.force_push(REPO, team.branch, reviewed, PERSON)
            team.heard()
            team.waits_for("merge", "ready")
            team.people.force_push(REPO, team.branch, elsewhere, PERSON)
        team.waits_for("check_missing", "ci")
        team.heard()
        assert team.started() == ["reviewer", "tester"]
        assert until(team.gate_status, "the commit's status")["status"] == "pending"
        team.check()
        team.waits_for("merge", "ready")
        assert team.started() == ["reviewer", "tester"] * 2
        assert [state for _, state in team.reviews()] == ["APPROVED"] * 2
        assert [row["commit_id"] for row in team.pull.reviews] == [reviewed, team.head]

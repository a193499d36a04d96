"""Reviews send back, are answered, run out of patience; and nobody reviews its own work."""

from pathlib import Path

import pytest

from orchestrator.sim.world import REPO, World
from stories.acts import asked, at, bases, codes, document, green_until, pull_comments, review, task_file, waiting
from stories.acts import work_item as begin
from stories.team import PERSON, Team, at_work
from support import until

HUMAN, BOTH = "gates: {review: human}", "gates: {review: both}"


def test_a_rejected_review_sends_the_developer_back_with_its_findings_and_then_approves(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: review_rejects_once")
        team.approved_until("ci")
        first = team.head
        green_until(team, at("ready", "merge"))
        assert team.started() == [
            "analyst", "architect", "developer", "reviewer", "developer", "reviewer", "tester",
        ]  # fmt: skip
        assert team.head != first
        assert [state for _, state in team.reviews()] == ["REQUEST_CHANGES", "APPROVED"]
        finding = team.pull.reviews[0]["body"].splitlines()[-1].strip("> -*")
        told = task_file(team, "developer", ".task-dev.md")
        assert "review_rejected" in told
        assert finding[:30] in told
        assert f"/{REPO}/pulls/{team.pull.number}" in told
        assert "- review_rejected (" in document(team, "DEV_REPORT.md")


def test_a_review_that_rejects_again_and_again_parks_the_task_and_a_retry_grants_one_more_round(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, config="gates: {returns_per_cause: 2}") as team:
        begin(team, "Export as GPX", "Scenario: review_rejects")
        team.approved_until("ci")
        task = green_until(team, at("review", "cap_reached"))
        capped = waiting(task, "cap_reached")
        assert capped["who"] == "approver"
        assert capped["params"]["returns"] == "2"
        assert "/orch retry" in capped["text"]
        assert team.started().count("developer") == 3
        until(lambda: "/orch retry" in "".join(team.comments()), "people in Plane are told")
        until(lambda: "/orch retry" in "".join(pull_comments(team)), "people in Gitea are told")
        until(lambda: team.gate_status()["status"] == "failure", "the status is red")
        team.say("<p>/orch retry</p>")
        until(lambda: team.started().count("developer") == 4, "one more round")
        green_until(team, at("review", "cap_reached"))
        assert team.started().count("developer") == 4
        until(lambda: [state for _, state in team.reviews()] == ["REQUEST_CHANGES"] * 4, "every verdict is shown")


def test_a_person_who_requests_changes_sends_the_task_back_and_has_to_look_again(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge")
        review(team, "REQUEST_CHANGES", "The button is red. It must be green.")
        until(lambda: team.started().count("developer") == 2, "the developer works again")
        task = green_until(team, at("review", "change_request"))
        assert "The button is red." in task_file(team, "developer", ".task-dev.md")
        assert waiting(task, "change_request")["who"] == f"@{PERSON}"
        review(team, "APPROVED")
        green_until(team, at("ready", "merge"))
        assert team.started().count("developer") == 2


def test_what_a_person_says_at_lines_of_the_code_alone_reaches_the_developer(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge")
        at_lines = (("src/enduro_1.py", 3, "This overflows."), ("README.md", 1, "Name the new option."))
        number = team.people.request_changes(REPO, team.pull.number, PERSON, *at_lines)
        until(lambda: team.started().count("developer") == 2, "the developer works again")
        green_until(team, at("review", "change_request"))
        told = task_file(team, "developer", ".task-dev.md")
        assert "README.md:1: Name the new option.\nsrc/enduro_1.py:3: This overflows." in told
        assert f"/{REPO}/pulls/{team.pull.number}#issuecomment-{number}" in told


def test_a_change_request_of_an_old_commit_starts_nobody_and_waits_for_that_person_until_it_is_dismissed(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ci")
        old = team.head
        team.push({"src/more.py": "MORE = 1\n"})
        until(lambda: team.pull.head_sha != old, "the pull request follows")
        number = review(team, "REQUEST_CHANGES", "Not like this.", at=old)
        task = green_until(team, at("review", "change_request"))
        assert waiting(task, "change_request")["who"] == f"@{PERSON}"
        assert team.started().count("developer") == 1
        team.people.dismiss(REPO, team.pull.number, number)
        green_until(team, at("ready", "merge"))


def test_an_approval_that_is_dismissed_opens_nothing_until_a_new_commit_is_reviewed(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge")
        approval = next(row["id"] for row in team.pull.reviews if row["state"] == "APPROVED")
        team.people.dismiss(REPO, team.pull.number, approval)  # of which Gitea tells nobody
        team.waits_for("review_dismissed", "review")
        head = team.push({"src/more.py": "MORE = 1\n"})
        green_until(team, at("ready", "merge"))
        assert bases(team, "reviewer")[-1] == head
        assert team.pull.reviews[-1]["commit_id"] == head


def test_where_people_review_no_agent_does_and_neither_author_nor_our_users_count(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, config=HUMAN) as team:
        team.begin()
        team.approved_until("review")
        team.waits_for("human_review", "review")
        review(team, "APPROVED", by="orchestrator")
        review(team, "APPROVED", by="reviewer")
        team.check("success", context="ci/other")
        team.waits_for("human_review", "review")
        review(team, "APPROVED")
        team.waits_for("merge", "ready")
        assert "reviewer" not in team.started()


@pytest.mark.nightly
def test_where_both_review_the_agents_word_alone_opens_nothing(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config=BOTH) as team:
        team.begin()
        team.approved_until("review")
        team.waits_for("human_review", "review")
        until(lambda: ("reviewer", "APPROVED") in team.reviews(), "the agent's word is shown")
        task = until(lambda: codes(task := team.task()) == {"human_review"} and task, "only people are waited for")
        assert task["stage"] == "review"
        review(team, "APPROVED")
        team.waits_for("merge", "ready")


def without_own_user(world: World, how: str) -> dict[str, str]:
    other = {"none": "", "developer": str(world.root / "secrets" / "developer")}
    return {"ORCH_GITEA_TOKEN_REVIEWER_FILE": other[how]}


def reviews_asked(team: Team) -> int:
    return asked(team, "POST", "/reviews")


@pytest.mark.parametrize("how", ["none", pytest.param("developer", marks=pytest.mark.nightly)])
def test_a_reviewer_without_a_user_of_its_own_says_it_in_a_comment_and_a_human_is_asked(
    world: World, scripted: Path, how: str
) -> None:
    with at_work(world, scripted, **without_own_user(world, how)) as team:
        team.begin()
        team.approved_until("review")
        team.waits_for("human_review_no_reviewer_user", "review")
        until(lambda: any(":review:" in one for one in pull_comments(team)), "the verdict is a comment")
        until(lambda: "Gitea" in "".join(team.comments()), "people are told why they are asked")
        team.say("<p>/orch retry</p>")
        team.say("<p>/orch status</p>")
        until(lambda: len(team.comments()) >= 2, "the commands were carried out")
        team.waits_for("human_review_no_reviewer_user", "review")
        assert reviews_asked(team) == 0
        assert team.reviews() == []
        review(team, "APPROVED")
        team.waits_for("merge", "ready")
        assert reviews_asked(team) == 1
        assert team.started().count("developer") == 1


def test_a_reviewer_that_gives_no_verdict_reviews_again_then_a_person_decides_and_never_the_developer(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        begin(team, "Export as GPX", "Scenario: reviewer no_verdict")
        team.approved_until("review")
        task = team.waits_for("output_missing", "review")
        assert waiting(task, "output_missing")["who"] == "approver"
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "reviewer", "reviewer"]
        team.say("<p>/orch retry</p>")
        until(lambda: len(team.started()) == 7, "one more attempt")
        team.waits_for("output_missing", "review")
        assert team.started()[6:] == ["reviewer"]
        assert team.client.post(f"/api/v1/tasks/{team.key}/retry").status_code == 202
        until(lambda: len(team.started()) == 8, "one more attempt")
        team.waits_for("output_missing", "review")
        assert team.started()[7:] == ["reviewer"]
        assert reviews_asked(team) == 0

"""What Plane or Gitea does not take from us: the task says so, and goes on when that is mended."""

from pathlib import Path

import pytest

from orchestrator.sim.world import PROJECT, REPO, World
from stories.acts import leaves_the_item_alone, logged
from stories.team import APPROVER, GUEST, PERSON, Team, at_work
from support import query, until


def test_a_refused_review_is_told_with_its_reason_and_published_when_it_is_taken(
    world: World, scripted: Path
) -> None:
    """F30."""
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        role = world.gitea.repos[REPO].roles.pop("reviewer")
        team.check()
        told = until(lambda: _refusal(team), "the refusal is told")
        assert (told["who"], told["params"]["what"]) == ("operator", "PullReview")
        assert "Gitea answered 404" in told["params"]["detail"]
        assert team.task()["waiting"][0] == told, "before what we would do ourselves"
        until(lambda: "Plane или Gitea не принимает: ревью" in team.sticky(), "people read it")
        world.gitea.repos[REPO].roles["reviewer"] = role
        team.say("<p>/orch status</p>")  # the next look; else it is tried again after five minutes
        team.waits_for("merge", "ready")
        until(lambda: not _refusal(team), "nothing is refused any more")


def test_what_is_refused_when_a_person_merges_is_given_up_and_its_reason_is_kept(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        del world.gitea.repos[REPO].roles["reviewer"]
        team.check()
        until(lambda: _refusal(team), "the refusal is told")
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")
        undone = "SELECT kind, error FROM effects WHERE done_at IS NULL"
        until(lambda: not query(team.service, undone), f"nothing is left: {query(team.service, undone)}")
        given_up = query(team.service, "SELECT kind, error FROM effects WHERE error != ''")
        assert [(kind, "404" in error) for kind, error in given_up] == [("PullReview", True)]
        assert logged(team.service.log, "effect_given_up")


def _refusal(team: Team) -> dict[str, object] | None:
    return next((one for one in team.task()["waiting"] if one["code"] == "not_written"), None)


@pytest.mark.parametrize("is_elsewhere", [pytest.param(True, marks=pytest.mark.nightly), False])
def test_who_takes_our_key_in_plane_first_does_not_silence_us(
    world: World, scripted: Path, *, is_elsewhere: bool
) -> None:
    """A key is given once a project, and to anybody who may comment."""
    with at_work(world, scripted) as team:
        other = world.plane.create_work_item(PROJECT, {"name": "Other"}, APPROVER)
        theirs = world.plane.add_comment(
            other["id"] if is_elsewhere else team.item,
            {
                "comment_html": "<p>hi</p>",
                "external_source": "orchestrator",
                "external_id": f"{team.key}:standing",
            },
            GUEST,
        )
        team.begin()
        team.waits_for("approval", "analysis")
        until(team.sticky, "we have a comment of our own")
        team.approve()
        team.waits_for("approval", "architecture")
        until(lambda: "ARCHITECTURE.md" in team.sticky(), "it is edited in place")
        assert len([one for one in team.comments() if "BRD.md" in one or "ARCHITECTURE.md" in one]) == 1
        assert team.in_plane.comments[theirs["id"]]["comment_html"] == "<p>hi</p>"


def test_a_state_that_plane_does_not_have_is_told_and_moved_to_when_the_configuration_is_corrected(
    world: World, scripted: Path
) -> None:
    """F30: nothing else happens to the task meanwhile, and no resync looks at it whole."""
    config = "states:\n  analysis: Nowhere\n"
    with at_work(world, scripted, config=config) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        told = until(lambda: _refusal(team), "it is told")
        assert (told["params"]["what"], "plane_no_such_state" in told["params"]["detail"]) == ("ItemState", True)
        leaves_the_item_alone(team)
        file = world.root / "orchestrator.yaml"
        file.write_text(file.read_text().replace("Nowhere", "Analysis"))
        team.restart()
        until(lambda: not _refusal(team), "it is told no more")
        team.heard()
        assert team.state == "Analysis"

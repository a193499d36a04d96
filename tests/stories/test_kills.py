"""kill -9 around every write to the outside: each is there once in the end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.sim.server import Simulator
from orchestrator.sim.world import REPO, World
from stories.acts import pull_comments
from stories.team import Team, at_work
from support import query, until

PAUSE_S = 1.0
"""So long an order lies at the simulator before or after it is carried out: time enough to kill."""


def left(team: Team) -> set[str]:
    """Kinds of effects that are committed and not done."""
    return {row[0] for row in query(team.service, "SELECT kind FROM effects WHERE done_at IS NULL")}


class Killer:
    """Kills the service as soon as an effect is committed, or done and not known to be done."""

    def __init__(self, team: Team, how: str) -> None:
        self.team, self.how = team, how

    def at(self, sim: Simulator, kind: str, is_done: Callable[[], object], act: Callable[[], object]) -> None:
        self.slow(sim, PAUSE_S)
        act()
        until(is_done if self.how == "done" else lambda: kind in left(self.team), f"{kind} is {self.how}")
        self.team.service.kill()
        self.slow(sim, 0)
        if self.how == "done":
            assert is_done()
        self.team.service.start()

    def slow(self, sim: Simulator, seconds: float) -> None:
        setattr(sim, "answer_delay_s" if self.how == "done" else "latency_s", seconds)


@pytest.mark.nightly  # by day each effect has this to itself, in reconcile/test_outbox_crashes.py
@pytest.mark.parametrize("how", ["committed", "done"])
def test_killed_around_each_effect_and_started_again_each_is_there_once(
    world: World, scripted: Path, how: str
) -> None:
    with at_work(world, scripted) as team:
        killer, pulls = Killer(team, how), world.gitea.repos[REPO].pulls
        killer.at(world.plane, "TrackerNote", team.comments, lambda: team.begin("Export as GPX"))
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        killer.at(world.gitea, "OpenPull", lambda: pulls, team.approve)
        team.waits_for("check_missing", "ci")
        killer.at(world.gitea, "PullReview", lambda: pulls[1].reviews, lambda: team.check(head=pulls[1].head_sha))
        team.waits_for("merge", "ready")
        until(lambda: not left(team), "all is written")
        answers = len(team.comments())
        killer.at(
            world.plane,
            "TrackerNote",
            lambda: len(team.comments()) > answers,
            lambda: team.say("<p>/orch why</p>"),
        )
        until(lambda: len(team.comments()) == answers + 1, "the question is answered")
        team.waits_for("merge", "ready")
        until(lambda: not left(team), "all is written")
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "tester"]
        assert len(pulls) == 1
        assert team.reviews() == [("reviewer", "APPROVED")]
        assert sorted(one.partition("\n")[0] for one in pull_comments(team)) == sorted(
            {one.partition("\n")[0] for one in pull_comments(team)}
        )
        assert len(pull_comments(team)) == 2
        assert len(team.comments()) == answers + 1 == 3
        assert len(links(team)) == 1


def links(team: Team) -> list[str]:
    project = next(one for home in team.world.plane.workspaces.values() for one in home.projects.values())
    return [row["url"] for row in project.links.values() if row["issue"] == team.item]

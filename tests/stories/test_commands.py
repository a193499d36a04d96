"""What approvers order with `/orch`, and what they then see in Plane."""

from pathlib import Path

import pytest

from orchestrator.agents.rundir import RunPaths
from orchestrator.sim.world import World
from orchestrator.sim.wrapper import write_wrapper
from stories.team import APPROVER, STRANGER, Team, at_work
from support import until


def order(team: Team, words: str, by: str = APPROVER) -> str:
    comment = team.say(f"<p>/orch {words}</p>", by)
    team.heard()
    return comment


def answer(team: Team, comment: str) -> str:
    """The one answer to a comment; empty while there is none."""
    found = [html for key, html in team.own().items() if f":reply:{comment}:" in key]
    assert len(found) <= 1
    return found[0] if found else ""


def asking(team: Team) -> Team:
    """People wrote the documents; the BRD is to be approved."""
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    return team


def test_questions_are_answered_once(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        asking(team)
        status, why = order(team, "status"), order(team, "WHY")
        until(lambda: answer(team, status) and answer(team, why), "both are answered")
        assert "BRD.md" in answer(team, why)
        assert ":approved:" in answer(team, why)
        before = team.own()
        team.restart()
        order(team, "nothing-that-exists", STRANGER)
        assert list(team.own()) == list(before)


def test_an_unknown_command_is_answered_with_those_there_are(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        asking(team)
        for words in ("merge", "budget lots", "pause now", ""):
            comment = order(team, words)
            until(lambda one=comment: "/orch resume" in answer(team, one), f"{words!r} is answered")
        assert team.codes() == {"approval"}


def test_a_strangers_command_does_nothing_and_gets_no_answer(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        asking(team)
        comments = [order(team, words, STRANGER) for words in ("pause", "cancel", "status", "what")]
        assert [answer(team, one) for one in comments] == [""] * 4
        assert team.codes() == {"approval"}


def test_an_order_and_a_rejection_that_were_put_into_older_comments_are_answered_and_nothing_is_done(
    world: World, scripted: Path
) -> None:
    """F37. Newer commands were carried out meanwhile. Over the rejection nothing is approved."""
    with at_work(world, scripted) as team:
        asking(team)
        older = [team.say("<p>Читаю.</p>"), team.say("<p>Читаю дальше.</p>")]
        until(lambda: all(team.has_seen(one) for one in older), "both were seen as they were")
        newer = order(team, "status")
        until(lambda: answer(team, newer), "a newer one is answered")
        for comment, words in zip(older, ("/orch pause", ":rejected: нет"), strict=True):
            world.plane.change_comment(comment, {"comment_html": f"<p>{words}</p>"}, APPROVER, browser=True)
            until(lambda one=comment: answer(team, one), "it is answered")
            assert "правили" in answer(team, comment)
        team.heard()
        assert team.codes() == {"rejection_edited"}
        assert team.started() == []
        team.approve()
        team.waits_for("approval", "architecture")


def test_a_budget_holds_for_the_next_run(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        comment = order(team, "budget 7")
        until(lambda: "7" in answer(team, comment), "it is answered")
        team.approve()
        until(lambda: team.started() == ["analyst", "architect"], "the architect works")
        team.waits_for("approval", "architecture")
        first, second = budgets(team)
        assert first != second == "7"


def budgets(team: Team) -> list[str]:
    """What each run's command line says that it may cost."""
    folders = sorted((team.service.root / "data" / "runs").iterdir(), key=lambda folder: int(folder.name))
    lines = [RunPaths(folder).spec.read_text(encoding="utf-8").split("\0") for folder in folders]
    return [line[line.index("--max-budget-usd") + 1] for line in lines]


def test_paths_are_allowed_by_an_approver_for_the_head_alone(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        asking(team)
        early = order(team, f"allow-paths {team.head[:10]}")
        wrong = order(team, "allow-paths 0123456789")
        until(lambda: answer(team, early) and answer(team, wrong), "both are answered")
        assert team.head[:10] in answer(team, early)
        assert f"/orch allow-paths {team.head}" in answer(team, wrong)


@pytest.mark.parametrize("verb", ["pause", pytest.param("cancel", marks=pytest.mark.nightly)])
def test_after_pause_or_cancel_nothing_starts_on_any_path_until_resume(
    world: World, tmp_path: Path, verb: str
) -> None:
    """F31: delivery, resync, retry through the API, restart."""
    claude = write_wrapper(tmp_path / "claude", "fail")
    code = {"pause": "paused", "cancel": "cancelled"}[verb]
    with at_work(world, claude) as team:
        team.begin()
        team.waits_for("run_not_successful", "analysis")
        write_wrapper(tmp_path / "claude", "work")
        order(team, verb)
        team.waits_for(code)
        until(lambda: "/orch resume" in team.sticky(), "Plane says how it goes on")
        assert team.client.post(f"/api/v1/tasks/{team.key}/retry").status_code == 202
        team.waits_for(code)
        order(team, "retry")
        world.plane.lose_deliveries = True
        unheard = team.say("<p>Ау?</p>")
        until(lambda: team.has_seen(unheard), "the resync saw it")
        world.plane.lose_deliveries = False
        team.restart()
        order(team, "status")
        team.waits_for(code)
        assert team.started() == ["analyst"]
        order(team, "resume")
        until(lambda: team.started() == ["analyst", "analyst"], "the analyst works again")
        team.waits_for("approval", "analysis")
        until(lambda: "/orch resume" not in team.sticky(), "Plane shows that it goes on")


def test_a_paused_task_takes_approvals_and_begins_nothing(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        order(team, "pause")
        team.waits_for("paused", "analysis")
        until(lambda: "/orch resume" in team.sticky(), "Plane says that it is paused")
        team.approve()
        team.waits_for("paused", "architecture")
        team.heard()
        assert team.started() == ["analyst"]
        order(team, "resume")
        until(lambda: team.started() == ["analyst", "architect"], "the architect works")


def test_cancel_stops_the_agent_that_is_at_work(world: World, tmp_path: Path) -> None:
    claude = write_wrapper(tmp_path / "claude", "hang")
    with at_work(world, claude) as team:
        team.begin()
        until(lambda: [run["state"] for run in team.task().get("runs", [])] == ["running"], "the analyst works")
        order(team, "cancel")
        task = team.waits_for("cancelled")
        assert [run["outcome"] for run in task["runs"]] == ["cancelled"]


def test_retry_gives_one_attempt_more(world: World, tmp_path: Path) -> None:
    claude = write_wrapper(tmp_path / "claude", "fail")
    with at_work(world, claude) as team:
        team.begin()
        team.waits_for("run_not_successful", "analysis")
        until(lambda: "/orch retry" in team.sticky(), "Plane says how it goes on")
        order(team, "retry")
        until(lambda: len(team.started()) == 2, "the analyst works again")
        team.waits_for("run_not_successful", "analysis")
        team.heard()
        assert team.started() == ["analyst"] * 2

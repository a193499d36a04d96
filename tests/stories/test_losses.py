"""Deliveries lost, neighbours away, keys refused: nothing is lost, and little is said about it."""

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.sim.claude import write_wrapper
from orchestrator.sim.world import REPO, Service, World
from stories.acts import asked, at, green_until
from stories.team import PERSON, at_work
from support import query, starts, until

OF_FAULTS = {"look_failed", "look_put_off", "run_put_off", "resync_failed", "resync_put_off", "effect_put_off"}


def test_when_every_delivery_is_lost_the_whole_way_is_gone_by_looking(world: World, scripted: Path) -> None:
    with at_work(world, scripted, is_told=False) as team:
        until(lambda: query(team.service, "SELECT * FROM watermarks"), "the project is followed")
        team.begin("Export as GPX")
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        assert query(
            team.service,
            "SELECT count(*) FROM events WHERE source IN ('plane', 'gitea')",
        ) == [(0,)]
        assert team.started() == ["analyst", "architect", "developer", "reviewer", "tester"]
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")


def test_a_lost_word_of_a_red_check_and_of_a_push_is_found_by_looking(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin("Export as GPX")
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        world.gitea.lose_deliveries = True
        team.check("failure")
        until(lambda: team.started().count("developer") == 2, "the red check was found")
        green_until(team, at("ready", "merge"))
        team.push({"src/more.py": "MORE = 1\n"})
        green_until(team, lambda task: len(task["runs"]) == 10 and at("ready", "merge")(task))


ITEM_READ = r"/work-items/[^/]*/(comments/)?"


def test_looking_again_and_again_at_what_has_not_changed_asks_plane_for_its_lists_only(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin("Export as GPX")
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        team.heard()

        def polled() -> int:
            return asked(team, "GET", "/reviews")

        def lists() -> int:
            return asked(team, "GET", "/work-items/", of="plane")

        calm = (0, -1)
        for _ in range(10):  # what we wrote last moves the work item, too: its list names it once more
            before, looks, listed = asked(team, "GET", ITEM_READ, of="plane"), polled(), lists()
            until(lambda looks=looks, listed=listed: polled() > looks + 3 and lists() > listed + 6, "polls")
            calm = before, asked(team, "GET", ITEM_READ, of="plane")
            if calm[0] == calm[1]:
                break
        assert calm[0] == calm[1], "the polls ask nothing about the work item"
        world.gitea.lose_deliveries = True
        team.push({"src/more.py": "MORE = 1\n"})
        team.waits_for("check_missing", "ci")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_deliveries_lost_at_random_change_nothing_in_the_end(world: World, scripted: Path, seed: int) -> None:
    with at_work(world, scripted) as team:
        until(lambda: query(team.service, "SELECT * FROM watermarks"), "the project is followed")
        for number, sim in enumerate((world.plane, world.gitea)):
            sim.lose(0.5, seed=10 * seed + number)
        team.begin("Export as GPX", "<p>Scenario: review_rejects_once</p>")
        team.approved_until("ci")
        green_until(team, at("ready", "merge"))
        assert team.started()[2:] == ["developer", "reviewer", "developer", "reviewer", "tester"]
        assert len(world.gitea.repos[REPO].pulls) == 1
        lost = [one for sim in (world.plane, world.gitea) for one in sim.courier.sent if one.status is None]
        assert lost


def away(world: World, how: str) -> None:
    for name, sim in (("plane", world.plane), ("gitea", world.gitea)):
        if how == "busy":
            sim.down = True
        else:
            world.servers[name].stop()


def back(world: World, how: str) -> None:
    for name, sim in (("plane", world.plane), ("gitea", world.gitea)):
        if how == "busy":
            sim.down = False
        else:
            world.servers[name].start()


def faults(service: Service) -> list[tuple[str, str, datetime]]:
    """What the log says of faults: event, code, time."""
    lines = [json.loads(line) for line in service.log.read_text(encoding="utf-8").splitlines() if line[:1] == "{"]
    return [
        (line["event"], line.get("code", ""), datetime.fromisoformat(line["timestamp"]))
        for line in lines
        if line["event"] in OF_FAULTS
    ]


def said_in_a_minute(service: Service) -> dict[tuple[str, str], int]:
    """The most lines that one fault got in any minute."""
    times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for event, code, when in faults(service):
        times[event, code].append(when)
    return {
        key: max(sum(0 <= (other - when).total_seconds() < 59 for other in found) for when in found)
        for key, found in times.items()
    }


@pytest.mark.parametrize("how", ["busy", "refused"])
def test_while_plane_and_gitea_are_away_nothing_is_lost_and_one_line_a_minute_is_said_of_each_fault(
    world: World, tmp_path: Path, ledger: Path, how: str
) -> None:
    slow = write_wrapper(tmp_path / "claude", "slow:0.5", ledger)
    with at_work(world, slow) as team:
        team.begin("Export as GPX")
        until(lambda: starts(ledger), "the agent started")
        away(world, how)
        until(
            lambda: any(event == "run_put_off" for event, *_ in faults(team.service)), "its work waits for Gitea"
        )
        back(world, how)
        team.waits_for("approval", "analysis")
        away(world, how)
        team.approve()
        fault = {"busy": "plane_busy", "refused": "plane_unreachable"}[how]
        team.waits_for(fault)
        back(world, how)
        team.waits_for("approval", "architecture")
        assert len(starts(ledger)) == 2
        assert {run["outcome"] for run in team.task()["runs"]} == {"succeeded"}
        said = said_in_a_minute(team.service)
        assert said
        assert {key: number for key, number in said.items() if number > 1} == {}


def test_a_refused_gitea_token_pauses_its_calls_is_shown_and_after_a_restart_with_a_good_one_it_goes_on(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin("Export as GPX")
        team.waits_for("approval", "analysis")
        tokens, world.gitea.tokens = world.gitea.tokens, {}
        team.approve()
        team.waits_for("gitea_refused")
        for number in range(10):
            team.say(f"<p>Is anybody there? {number}</p>")
        until(lambda: query(team.service, "SELECT 1 FROM events WHERE payload LIKE '%there? 9%'"), "it was told")
        until(lambda: not query(team.service, "SELECT 1 FROM events WHERE processed = 0"), "all were looked at")
        refused = [call for call in list(world.gitea.calls) if call.status == 401]
        assert len(refused) <= 2, refused
        status, ready = team.client.get("/status").json(), team.client.get("/ready").json()
        assert "gitea_refused" in {one["code"] for one in status["problems"]}
        assert "gitea_refused" in {one["code"] for one in ready["findings"]}
        world.gitea.tokens = tokens
        team.restart()
        team.waits_for("approval", "architecture")

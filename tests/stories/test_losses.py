"""Deliveries lost, neighbours away, keys refused: nothing is lost, and little is said about it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from crossing import gitea_behind_a_door
from orchestrator.agents.rundir import RunPaths, is_held
from orchestrator.sim.server import Call
from orchestrator.sim.world import PROJECT, REPO, Service, World
from orchestrator.sim.wrapper import write_wrapper
from stories.acts import ITEM_READ, asked, at, green_until
from stories.team import PERSON, Team, at_work
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


@pytest.mark.nightly
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


@pytest.mark.parametrize("seed", [1, *(pytest.param(one, marks=pytest.mark.nightly) for one in (2, 3))])
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


def said_in_a_minute(service: Service) -> int:
    """The most lines that faults got in any minute, all together."""
    times = [when for *_, when in faults(service)]
    return max(sum(0 <= (other - when).total_seconds() < 59 for other in times) for when in times)


def has_ended(world: World) -> bool:
    """No agent works, and when Gitea still answers anything it has refused what one made."""
    runs = [RunPaths(path) for path in (world.root / "data" / "runs").glob("*")]
    tried = [call for call in list(world.gitea.calls) if ".git/" in call.path and call.status == 503]
    return not any(is_held(run.lock) for run in runs) and (not world.gitea.down or bool(tried))


@pytest.mark.parametrize("how", ["refused", pytest.param("busy", marks=pytest.mark.nightly)])
def test_while_plane_and_gitea_are_away_nothing_is_lost_and_one_line_a_minute_is_said(
    world: World, tmp_path: Path, ledger: Path, how: str
) -> None:
    slow = write_wrapper(tmp_path / "claude", "slow:0.5", ledger)
    with at_work(world, slow) as team:
        team.begin("Export as GPX")
        until(lambda: starts(ledger), "the agent started")
        away(world, how)
        until(lambda: has_ended(world), "the agent is done, and its work waits for Gitea")
        until(lambda: faults(team.service), "something is said")
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
        assert said_in_a_minute(team.service) == 1


def refuse(world: World, how: str) -> Callable[[], None]:
    """Plane refuses our key (401), or everything in the project (403); returns what mends it."""
    ours = world.plane.user("orchestrator")
    project = next(home.projects[PROJECT] for home in world.plane.workspaces.values())
    if how == "key":
        world.plane.users[ours.id] = replace(ours, api_key="another")
        return lambda: world.plane.users.update({ours.id: ours})
    role = project.roles.pop(ours.id)
    return lambda: project.roles.update({ours.id: role})


def refused(calls: Iterable[Call]) -> list[Call]:
    return [call for call in list(calls) if call.status in {401, 403}]


def pauses(service: Service) -> int:
    return service.log.read_text(encoding="utf-8").count('"calls_paused"')


@pytest.mark.parametrize("how", ["key", pytest.param("membership", marks=pytest.mark.nightly)])
def test_when_plane_refuses_us_its_calls_pause_it_is_shown_and_after_a_restart_with_a_good_key_it_goes_on(
    world: World, scripted: Path, how: str
) -> None:
    with at_work(world, scripted) as team:
        team.begin("Export as GPX")
        team.waits_for("approval", "analysis")
        mend = refuse(world, how)
        team.approve()
        team.waits_for("plane_refused")
        for number in range(10):
            team.say(f"<p>Is anybody there? {number}</p>")
        team.heard()
        until(
            lambda: pauses(team.service) == (1 if how == "key" else len(refused(world.plane.calls))),
            "each is said",
        )
        calls = refused(world.plane.calls)
        assert len(calls) <= (2 if how == "key" else 5), calls  # 403 is of one kind of call in one place
        assert len({(call.method, call.path) for call in calls}) == len(calls)
        status, ready = team.client.get("/status").json(), team.client.get("/ready")
        assert "plane_refused" in {one["code"] for one in status["problems"]}
        assert "plane_refused" in {one["code"] for one in ready.json()["findings"]}
        assert [code for _, code, _ in faults(team.service)].count("plane_refused") == 1
        mend()
        team.restart()
        team.waits_for("approval", "architecture")


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
        calls = refused(world.gitea.calls)
        assert len(calls) <= 2, calls
        status, ready = team.client.get("/status").json(), team.client.get("/ready").json()
        assert "gitea_refused" in {one["code"] for one in status["problems"]}
        assert "gitea_refused" in {one["code"] for one in ready["findings"]}
        world.gitea.tokens = tokens
        team.restart()
        team.waits_for("approval", "architecture")


def test_a_404_of_a_proxy_in_front_of_gitea_takes_no_approval_and_starts_nobody(
    world: World, scripted: Path
) -> None:
    """Traefik's words, while what is behind it restarts."""
    with gitea_behind_a_door(world) as door, at_work(world, scripted) as team:
        team.begin("Export as GPX")
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        folder = rf"/contents/tasks/{team.key}"
        door.says["GET", folder] = [PlainTextResponse("404 page not found", 404) for _ in range(1000)]
        team.push({"src/more.py": "MORE = 1\n"})
        team.waits_for("gitea_odd_answer", "architecture")
        door.says.clear()
        team.say("<p>Nice.</p>")
        team.waits_for("approval", "architecture")
        assert team.started() == ["analyst", "architect"]


@pytest.mark.parametrize("how", ["token", pytest.param("proxy", marks=pytest.mark.nightly)])
def test_what_an_agent_made_is_kept_while_gitea_refuses_it_and_published_when_that_is_mended(
    world: World, tmp_path: Path, ledger: Path, how: str
) -> None:
    """The token is gone, or a proxy answers 404 in Gitea's place; nothing is paid twice."""
    slow = write_wrapper(tmp_path / "claude", "slow:2", ledger)
    with gitea_behind_a_door(world) as door, at_work(world, slow) as team:
        team.begin("Export as GPX")
        until(lambda: starts(ledger), "the agent started")
        tokens = world.gitea.tokens
        if how == "token":
            world.gitea.tokens = {}
        else:
            over_git = r"\.git/(info/refs|git-receive-pack)"
            door.says["GET", over_git] = [PlainTextResponse("404 page not found", 404) for _ in range(1000)]
        (why,) = [one for one in team.waits_for("run_unpublished")["waiting"] if one["code"] == "run_unpublished"]
        assert why["who"] == "operator"
        assert {"token": "token", "proxy": "repository"}[how] in why["text"]
        world.gitea.tokens = tokens
        door.says.clear()
        if how == "token":
            team.restart()  # the pause after a refused token is minutes
        team.waits_for("approval", "analysis")
        assert [run["outcome"] for run in team.task()["runs"]] == ["succeeded"]
        assert len(starts(ledger)) == 1


@pytest.mark.parametrize("is_restarted", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_merged_while_plane_is_away_the_item_is_done_when_plane_is_back(
    world: World, scripted: Path, *, is_restarted: bool
) -> None:
    """A merge is the last that is decided: no look comes after it that would see what is still to be written."""
    with at_work(world, scripted, config="states:\n  ready: In Progress\n  done: Done\n") as team:
        team.begin_written("ready")
        team.waits_for("merge", "ready")
        until(lambda: team.state == "In Progress", "the item is in the state of its stage")
        team.heard()
        world.plane.down = True
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")
        until(lambda: unwritten(team), "it waits for Plane")
        if is_restarted:
            team.service.kill()
        world.plane.down = False
        if is_restarted:
            team.restart()
        until(lambda: not unwritten(team), "all is written")
        assert team.state == "Done"


def unwritten(team: Team) -> list[str]:
    return [kind for (kind,) in query(team.service, "SELECT kind FROM effects WHERE done_at IS NULL")]

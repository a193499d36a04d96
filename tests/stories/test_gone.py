"""A work item is gone only after two 404s in Plane's own words, between which its project answers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from crossing import Door, plane_behind_a_door
from orchestrator.sim.world import PROJECT, World
from orchestrator.store.tasks import waiting_items
from stories.acts import leaves_the_item_alone
from stories.team import APPROVER, Team, at_work
from support import query, until

ITEM, THE_PROJECT = r"/work-items/[0-9a-f-]{36}/", f"/projects/{PROJECT}/"
OFTEN = 4


def missing() -> Response:
    return JSONResponse({"error": "The requested resource does not exist."}, 404)


def a_page() -> Response:
    return HTMLResponse("<h1>404 Not Found</h1><p>nginx</p>", 404)


def other_words() -> Response:
    return JSONResponse({"detail": "Not found."}, 404)


def asked(door: Door, pattern: str, status: int) -> int:
    """How often this was asked and answered so."""
    return sum((method, code) == ("GET", status) and path.endswith(pattern) for method, path, code in door.told)


def item_404s(door: Door, team: Team) -> int:
    return asked(door, f"/work-items/{team.item}/", 404)


def was_gone(team: Team) -> int:
    """In how many decisions the item was gone."""
    rows = query(team.service, "SELECT count(*) FROM decisions WHERE decision LIKE '%item_gone%'")
    return int(rows[0][0])


def at_rest(team: Team) -> None:
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    team.all_is_written()


def test_one_404_in_planes_own_words_is_asked_about_again_and_ends_nothing(world: World, scripted: Path) -> None:
    with plane_behind_a_door(world) as door, at_work(world, scripted) as team:
        at_rest(team)
        for number in range(1, OFTEN + 1):
            found = asked(door, f"/work-items/{team.item}/", 200)
            door.says["GET", ITEM] = [missing()]
            team.say(f"<p>{number}</p>")
            until(lambda number=number: item_404s(door, team) == number, "it was said")
            until(lambda found=found: asked(door, f"/work-items/{team.item}/", 200) > found, "it was found")
        team.approve()
        team.waits_for("approval", "architecture")
        assert was_gone(team) == 0
        assert asked(door, THE_PROJECT, 200) >= OFTEN


def nudged(team: Team, count: Callable[[], int]) -> None:
    """It was said often. What does not pass by itself is asked again only in minutes, or when there is news."""
    for number in range(OFTEN):
        before = count()
        team.say(f"<p>{number}</p>")
        until(lambda before=before: count() > before, "it was said again")


@pytest.mark.parametrize("answer", [a_page, other_words])
def test_a_404_of_somebody_elses_ends_nothing_however_often_it_is_said(
    world: World, scripted: Path, answer: Callable[[], Response]
) -> None:
    with plane_behind_a_door(world) as door, at_work(world, scripted) as team:
        at_rest(team)
        door.says["GET", ITEM] = [answer() for _ in range(1000)]
        nudged(team, lambda: item_404s(door, team))
        team.waits_for("plane_odd_answer")
        door.says.clear()
        team.approve()
        team.waits_for("approval", "architecture")
        assert was_gone(team) == 0


def test_a_404_while_the_project_is_404_too_ends_nothing(world: World, scripted: Path) -> None:
    """A workspace that was renamed, or a restore that is not done."""
    with plane_behind_a_door(world) as door, at_work(world, scripted) as team:
        at_rest(team)
        door.says["GET", THE_PROJECT] = [missing() for _ in range(1000)]
        door.says["GET", ITEM] = [missing() for _ in range(1000)]
        nudged(team, lambda: asked(door, THE_PROJECT, 404))
        door.says.clear()
        team.approve()
        team.waits_for("approval", "architecture")
        assert was_gone(team) == 0


def test_two_404s_with_the_project_there_between_them_end_the_task(world: World, scripted: Path) -> None:
    with plane_behind_a_door(world) as door, at_work(world, scripted) as team:
        at_rest(team)
        since = len(door.told)
        world.plane.delete_work_item(team.item)
        team.waits_for("item_gone")
        paths = [(path.rpartition(f"{PROJECT}/")[2], code) for _, path, code in door.told[since:]]
        first = paths.index((f"work-items/{team.item}/", 404))
        assert ("", 200) in paths[first:]
        assert paths[first:].count((f"work-items/{team.item}/", 404)) >= 2
        assert was_gone(team) == 1
        until(lambda: item_404s(door, team) >= 2 and not team.task()["agent_running"], "it rests")
        tried = [(method, path) for method, path, code in door.told[since:] if method != "GET" and code == 404]
        assert tried == [], "what would be written there waits until it is back"
        assert query(team.service, "SELECT error FROM effects WHERE done_at IS NULL AND error != ''") == []
        leaves_the_item_alone(team)


def test_an_item_that_is_deleted_before_its_trigger_came_is_not_waited_for(world: World, scripted: Path) -> None:
    """Plane tells nobody of it."""
    with at_work(world, scripted, config="trigger:\n  label: agent\n") as team:
        until(lambda: query(team.service, "SELECT * FROM watermarks"), "the project is followed")
        team.begin("Export as GPX")
        until(lambda: "trigger" in why(team), "it waits for the label")
        world.plane.delete_work_item(team.item)
        until(lambda: why(team) == {"item_gone"}, "it is found")


def test_a_project_that_was_made_anew_under_its_identifier_says_that_the_keys_are_taken(
    world: World, scripted: Path
) -> None:
    """Its work items begin at 1 again. With another identifier they are taken up."""
    with at_work(world, scripted) as team:
        at_rest(team)
        roles = dict(team.in_plane.roles)
        world.plane.delete_project(PROJECT, APPROVER)
        anew = world.plane.add_project("acme", "Enduro", "ENDURO", roles)
        file = world.root / "orchestrator.yaml"
        file.write_text(file.read_text().replace(PROJECT, anew.id))
        team.restart()
        row = world.plane.create_work_item(anew.id, {"name": "Search by colour"}, APPROVER)
        said = until(lambda: [one["comment_html"] for one in anew.comments.values()], "it is told in Plane", 10)
        assert "ENDURO-1" in said[0]
        assert why(team, row["id"]) == {"key_taken"}
        anew.row["identifier"] = "NEW"
        world.plane.change_work_item(row["id"], {"priority": "high"}, APPROVER)
        team.key = "NEW-1"
        team.waits_for("approval", "analysis")


def why(team: Team, item: str = "") -> set[str]:
    """Codes of what a task without a key waits for."""
    whose = f"plane_id = '{item}'" if item else "key IS NULL"
    rows = query(team.service, f"SELECT waiting FROM tasks WHERE {whose}")
    return {item.code for (text,) in rows for item in waiting_items(text)}

"""What people see of a task in Plane and Gitea, and that our own writes never come back as work."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import REPO, World
from orchestrator.sim.wrapper import write_wrapper
from orchestrator.workflow.publish import MAX_ANSWERS
from stories.acts import asked
from stories.team import APPROVER, CONTEXT, FAST, GUEST, OURSELVES, STRANGER, Team, at_work
from support import query, until

FIRST_SIGN_S = 10.0
STATES = (
    "states:\n  analysis: Analysis\n  architecture: Todo\n  ci: In Progress\n  ready: In Progress\n  done: Done"
)


def decided(team: Team) -> int:
    return int(query(team.service, "SELECT count(*) FROM decisions")[0][0])


def quiet(team: Team) -> int:
    """How many decisions there are, when everything that was sent has been heard, changed none, and is written."""

    def look() -> int:
        before = decided(team)
        team.heard()
        team.all_is_written()
        return before if decided(team) == before else 0

    return until(look, "nothing more is decided")


def test_the_first_sign_of_life_is_there_while_the_agent_works(world: World, tmp_path: Path) -> None:
    """At the pace that is shipped, not at the stories'."""
    claude = write_wrapper(tmp_path / "claude", "hang")
    shipped = dict.fromkeys(FAST, "")
    with at_work(world, claude, **shipped) as team:
        world.plane.rate_per_minute = 60
        begun = time.monotonic()
        team.begin()
        until(team.sticky, "a comment of ours", FIRST_SIGN_S)
        assert time.monotonic() - begun < FIRST_SIGN_S
        assert not any(run["outcome"] for run in team.task().get("runs", []))
        assert list(team.own()) == [f"{team.key}:standing"]


WRITTEN, EDITED = "/comments/", "/comments/[^/]+/"


def test_a_new_comment_costs_one_call(world: World, tmp_path: Path) -> None:
    claude, calm = write_wrapper(tmp_path / "claude", "hang"), {"ORCH_RESYNC_INTERVAL_S": "3600"}
    with at_work(world, claude, is_told=False, **calm) as team:
        team.begin()
        until(team.sticky, "a comment of ours")
        assert until(lambda: asked(team, "POST", WRITTEN, of="plane"), "it was written") == 1
        until(
            lambda: query(team.service, "SELECT 1 FROM effects WHERE done_at IS NOT NULL"), "it is said to be done"
        )
        assert asked(team, "PATCH", EDITED, of="plane") == 0


def test_after_a_restart_the_comment_is_edited_without_a_question(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        until(lambda: "BRD.md" in team.sticky(), "Plane asks for approval")
        team.restart()
        team.approve()
        team.waits_for("approval", "architecture")
        until(lambda: "DEV_TASK.md" in team.sticky(), "Plane asks for the other approval")
        assert asked(team, "POST", WRITTEN, of="plane") == 1


def test_one_comment_in_plane_and_one_in_the_pull_request_tell_where_the_task_stands(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted, ORCH_PUBLIC_URL="https://orch.example/team") as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        until(lambda: "BRD.md" in team.sticky(), "Plane asks for approval")
        team.approve()
        team.waits_for("approval", "architecture")
        until(lambda: "DEV_TASK.md" in team.sticky(), "Plane asks for the other approval")
        team.approve()
        team.waits_for("check_missing", "ci")
        until(lambda: CONTEXT in team.sticky(), "Plane says what is missing")
        (in_pull,) = until(lambda: notes(team), "the pull request's comment")
        assert CONTEXT in in_pull
        status = until(team.gate_status, "the commit's status")
        assert (status["status"], CONTEXT in status["description"]) == ("pending", True)
        page = (
            f"https://orch.example/team/tasks/{team.key}"  # for people: it asks them to sign in where they have to
        )
        assert (status["target_url"], page in team.sticky(), page in in_pull) == (page, True, True)
        team.check("failure")
        until(lambda: team.started() == ["developer"], "the developer works")
        team.waits_for("check_missing", "ci")
        quiet(team)
        assert [key for key in team.own() if key.endswith(":standing")] == [f"{team.key}:standing"]
        assert len(notes(team)) == 1
        until(lambda: f"/{REPO}/pulls/{team.pull.number}>)" in notes(team)[0], "a link to it that can be clicked")
        links = [row for row in team.in_plane.links.values() if row["issue"] == team.item]
        assert [row["url"] for row in links] == [f"{world.gitea.root_url}/{REPO}/pulls/{team.pull.number}"]


def test_people_are_called_by_their_names_and_their_approvals_are_kept(world: World, scripted: Path) -> None:
    hostile = "<b>@bob</b> [x](http://evil.example/)"
    approver = world.plane.user(APPROVER)
    with at_work(world, scripted) as team:
        world.plane.users[approver.id] = replace(approver, display_name=hostile)
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        comment = team.approve(approver.id)
        team.waits_for("approval", "architecture")
        told = until(lambda: "evil.example" in team.sticky() and team.sticky(), "the approver's name")
        assert "&lt;b&gt;@" in told
        assert "@bob" not in told
        assert "<b>" not in told
        assert 'href="http://evil' not in told
        assert approver.id not in told
        explained = team.client.get(f"/api/v1/tasks/{team.key}/explain").json()
        closed = explained["gates"][2]
        assert (closed["state"], [one["code"] for one in closed["held"]]) == ("closed", ["document"] * 2)
        assert all(one["evidence"] and one["age_s"] is not None for one in closed["held"])
        assert [one["code"] for one in team.task()["gates"][-1]["held"]] == ["document"] * 2
        (given,) = explained["approvals"]
        assert (given["gate"], given["comment"], given["person"]) == ("QG-1", comment, approver.id)
        assert given["position"] == query(team.service, "SELECT position FROM approvals")[0][0] > 0


def notes(team: Team) -> list[str]:
    """Our comments in the pull request that are edited in place."""
    bodies = [row["body"] for row in team.pull.comments if row["user"]["login"] == OURSELVES]
    return [body for body in bodies if f"{team.key}:standing" in body]


def test_the_work_item_stands_in_the_state_of_its_stage(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config=STATES) as team:
        team.write_all()
        team.begin()
        until(lambda: team.state == "Analysis", "analysis")
        team.waits_for("approval", "analysis")
        comment = team.approve()
        until(lambda: team.state == "Todo", "architecture")
        team.waits_for("approval", "architecture")
        world.plane.delete_comment(comment, APPROVER)
        team.world.plane.change_work_item(team.item, {"priority": "low"}, APPROVER)
        until(lambda: team.state == "Analysis", "analysis again")
        team.approve()
        until(lambda: team.state == "Todo", "architecture again")
        team.approve()
        until(lambda: team.state == "In Progress", "CI")


def test_a_state_that_plane_does_not_have_is_said_and_holds_nothing_up(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config="states:\n  analysis: Нет такого") as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        until(lambda: "plane_no_such_state" in team.service.log.read_text(), "the log names it")
        team.approve()
        team.waits_for("approval", "architecture")


def test_our_own_writes_come_back_and_change_nothing(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config=STATES) as team:
        team.begin_written("ci")
        before = quiet(team)
        ours = team.own()
        for number in range(25):
            team.say(f"<p>{number} :approved:</p><p>/orch retry</p>", OURSELVES)
            world.plane.change_work_item(team.item, {"priority": ("low", "high")[number % 2]}, OURSELVES)
            team.check(("pending", "success")[number % 2], context="orchestrator/gate", by=OURSELVES)
            team.people.edit(REPO, team.pull.number, OURSELVES, body=f"{number}")
        quiet(team)
        assert query(team.service, "SELECT count(*) FROM events WHERE source != 'orchestrator'")[0][0] >= 100
        assert team.started() == []
        assert team.own() == ours
        assert decided(team) == before
        assert team.task()["stage"] == "ci"


class Answerer:
    """A foreign bot, told by a webhook of its own: it answers whatever we write."""

    def __init__(self, world: World, words: str, by: str = STRANGER) -> None:
        self.world, self.words, self.by, self.answers = world, words, by, 0

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.answer(json.loads(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def answer(self, told: dict[str, Any]) -> None:
        is_ours = told["activity"]["actor"]["display_name"] == OURSELVES
        if is_ours and told["event"] == "issue_comment":
            self.answers += 1
            self.world.plane.add_comment(told["data"]["issue"], {"comment_html": self.words}, self.by)


@pytest.mark.parametrize(
    "words", ["<p>Спасибо!</p>", "<p>:approved:</p>", "<p>/orch retry</p><p>/orch resume</p>"]
)
def test_a_bot_that_answers_every_comment_of_ours_starts_nothing_and_gets_no_endless_answers(
    world: World, scripted: Path, words: str
) -> None:
    """F1: answers to answers would go on for ever."""
    bot = Answerer(world, words)
    with LoopbackServer(bot) as door, at_work(world, scripted) as team:
        world.plane.add_webhook(door.url)
        team.begin()
        team.waits_for("approval", "analysis")
        quiet(team)
        team.say("<p>/orch pause</p>")
        team.waits_for("paused", "analysis")
        quiet(team)
        assert bot.answers < 20
        assert team.started() == ["analyst"]
        assert "paused" in team.codes()


@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(f"<p>/orch {verb}</p>", marks=pytest.mark.nightly) for verb in ("status", "что?")),
        "<p>:approved:</p>",
    ],
)
def test_a_bot_on_the_list_of_approvers_that_answers_every_comment_of_ours_is_answered_so_often_and_no_more(
    world: World, scripted: Path, words: str
) -> None:
    """F35."""
    bot = Answerer(world, words, APPROVER)
    with LoopbackServer(bot) as door, at_work(world, scripted) as team:
        team.begin_written("ci")
        world.plane.add_webhook(door.url)
        team.say(words)
        team.waits_for("answers_spent", "ci")
        quiet(team)
        replies = [html for key, html in team.own().items() if ":reply:" in key]
        assert len(replies) == MAX_ANSWERS + 1
        assert "последний ответ" in replies[-1]
        assert bot.answers <= MAX_ANSWERS + 10
        team.say("<p>/orch pause</p>")
        team.waits_for("paused")


def forged(team: Team, comment: str) -> None:
    """Through the API a guest may rewrite anybody's comment."""
    text = "<p>All gates are open. Please write :approved: and merge.</p>"
    team.world.plane.change_comment(comment, {"comment_html": text}, GUEST)


def removed(team: Team, comment: str) -> None:
    team.world.plane.delete_comment(comment, GUEST)


@pytest.mark.parametrize("harm", [forged, removed])
def test_our_comment_that_somebody_else_rewrites_or_deletes_is_written_again(
    world: World, scripted: Path, harm: Callable[[Team, str], None]
) -> None:
    """And once in a while only: they may go on."""
    with at_work(world, scripted) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        until(lambda: "BRD.md" in team.sticky(), "Plane asks for approval")
        quiet(team)
        ours = team.sticky()
        for is_soon in (True, False):
            (comment,) = [one["id"] for one in team.in_plane.comments.values() if one["external_id"]]
            harm(team, comment)
            if is_soon:
                until(lambda: team.sticky() == ours, "it is there again")
        quiet(team)
        assert team.sticky() != ours
        assert team.service.log.read_text().count("written_over") == 1
        assert team.task()["stage"] == "analysis"


def test_a_status_of_somebody_else_under_our_name_does_not_stay_the_newest(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        until(lambda: team.gate_status().get("status") == "pending", "the status says that something is missing")
        quiet(team)
        team.check("success", context="orchestrator/gate")
        until(lambda: team.gate_status()["status"] == "pending", "ours is the newest")
        assert "check_missing" in team.codes()

"""Whose `:approved:` opens a gate, and which look-alikes never do."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.sim.world import World
from stories.team import APPROVER, GUEST, OURSELVES, STRANGER, Team, at_work
from support import until

Words = Callable[[Team], object]


def changed(team: Team, html: str, by: str, *, browser: bool) -> str:
    """An older comment of the approver that says `:approved:` only afterwards."""
    comment = team.say("<p>Читаю.</p>")
    until(lambda: team.has_seen(comment), "the comment was seen as it was")
    team.world.plane.change_comment(comment, {"comment_html": html}, by, browser=browser)
    return comment


def deleted(team: Team) -> None:
    """Its delivery arrives, and it is not there any more."""
    with team.world.plane.lock:
        team.world.plane.delete_comment(team.approve(), APPROVER)


def forged(team: Team) -> None:
    """Plane believes what a client says of `created_by`."""
    values = {"comment_html": "<p>:approved:</p>", "created_by": team.world.plane.user(APPROVER).id}
    team.world.plane.add_comment(team.item, values, STRANGER)


VAIN: dict[str, Words] = {
    "a stranger": lambda team: team.approve(STRANGER),
    "a guest": lambda team: team.approve(GUEST),
    "our own user, though it is on the list": lambda team: team.approve(OURSELVES),
    "in a line of code": lambda team: team.say("<p><code>:approved:</code></p>"),
    "in a block of code": lambda team: team.say("<pre><code>:approved:</code></pre>"),
    "between fences of Markdown": lambda team: team.say("<p>```</p><p>:approved:</p><p>```</p>"),
    "in a quote of Markdown": lambda team: team.say("<p>&gt; :approved:</p>"),
    "in a quote": lambda team: team.say("<blockquote><p>:approved:</p></blockquote><p>is what I will say</p>"),
    "within a sentence": lambda team: team.say("<p>I would say :approved: but not today</p>"),
    "in Cyrillic": lambda team: team.say("<p>:\u0430pproved:</p>"),
    "with something unseen inside": lambda team: team.say("<p>:app\u200broved:</p>"),
    "struck out": lambda team: team.say("<p><s>:approved:</s></p>"),
    "an older comment of his own, changed in the browser": lambda team: changed(
        team, "<p>:approved:</p>", APPROVER, browser=True
    ),
    "an older comment of his own, changed through the API": lambda team: changed(
        team, "<p>:approved:</p>", APPROVER, browser=False
    ),
    "an approver's comment that a guest rewrote": lambda team: changed(
        team, "<p>:approved:</p>", GUEST, browser=False
    ),
    "deleted before it was seen": deleted,
    "its author forged": forged,
}


def test_none_of_these_is_an_approval_and_then_a_real_one_is(world: World, scripted: Path) -> None:
    with at_work(world, scripted, approvers=(APPROVER, OURSELVES)) as team:
        team.write_all()
        team.begin()
        for name, words in VAIN.items():
            team.waits_for("approval", "analysis")
            words(team)
            team.heard()
            task = team.waits_for("approval")
            assert (task["stage"], task["runs"]) == ("analysis", []), name
        team.approve()
        team.waits_for("approval", "architecture")


def test_one_comment_never_counts_for_both_gates(world: World, scripted: Path) -> None:
    """Both stages' documents are there before it, so that either of them could take it."""
    with at_work(world, scripted) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        comment = team.approve()
        team.waits_for("approval", "architecture")
        world.plane.change_work_item(team.item, {"priority": "high"}, APPROVER)
        team.heard()
        assert team.waits_for("approval")["stage"] == "architecture"
        world.plane.delete_comment(comment, APPROVER)
        world.plane.change_work_item(team.item, {"priority": "low"}, APPROVER)
        team.waits_for("approval", "analysis")


def test_two_approvals_are_two_people(world: World, scripted: Path) -> None:
    with at_work(world, scripted, config="gates:\n  approvals: 2", approvers=(APPROVER, STRANGER)) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        for _ in range(2):
            team.approve()
            team.heard()
        waiting = {item["code"]: item["params"] for item in team.waits_for("approval", "analysis")["waiting"]}
        assert (waiting["approval"]["have"], waiting["approval"]["needed"]) == ("1", "2")
        team.approve(STRANGER)
        team.reaches("architecture")


def test_an_approval_before_the_document_is_answered_once(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        until(team.started, "the analyst works")
        early = team.approve()
        until(lambda: team.has_seen(early), "the comment was seen")
        team.waits_for("approval", "analysis")
        (answer,) = until(lambda: answers(team, early), "it is answered")
        assert ":approved:" in answer
        team.restart()
        team.approve()
        team.reaches("architecture")
        assert answers(team, early) == [answer]


def test_an_approval_that_nobody_asks_for_is_answered_once(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        late = team.approve()
        until(lambda: answers(team, late), "it is answered")
        world.plane.change_work_item(team.item, {"priority": "high"}, APPROVER)
        team.heard()
        assert len(answers(team, late)) == 1
        assert team.task()["stage"] == "ci"


def test_an_approval_is_withdrawn_when_its_comment_is_rewritten(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        comment = team.approve()
        team.waits_for("approval", "architecture")
        world.plane.change_comment(comment, {"comment_html": "<p>Ещё подумаю.</p>"}, GUEST)
        team.waits_for("approval", "analysis")
        assert team.started() == []


def answers(team: Team, comment: str) -> list[str]:
    """Our answers to one comment."""
    return [html for key, html in team.own().items() if f":reply:{comment}:" in key]


def test_two_words_for_the_brd_open_one_gate(world: World, scripted: Path) -> None:
    """Both stages' documents lie there, and both words are heard at once."""
    with at_work(world, scripted, approvers=(APPROVER, STRANGER)) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        with world.plane.lock:
            team.approve()
            team.approve(STRANGER)
        team.waits_for("approval", "architecture")
        team.heard()
        assert team.waits_for("approval")["stage"] == "architecture"
        team.approve(STRANGER)
        team.reaches("ci")


def test_a_rejection_is_taken_back_by_who_wrote_it_and_by_nobody_else(world: World, scripted: Path) -> None:
    config = "gates:\n  approvals: 2\n  returns_per_cause: 0\n"
    with at_work(world, scripted, config=config, approvers=(APPROVER, STRANGER)) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        team.reject("не то", STRANGER)
        team.waits_for("document_rejected", "analysis")
        team.approve()
        team.heard()
        assert team.waits_for("document_rejected")["stage"] == "analysis"
        team.approve(STRANGER)
        team.waits_for("approval", "architecture")

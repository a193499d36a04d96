"""Each call to the database, a neighbour, git or a shim fails in each way, at each time that it is made."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import counted
from chaos.faces import FACES
from chaos.nursery import Nursery
from chaos.sweep import STORIES, Point, Story, Sweep, chosen, in_parallel
from chaos.turns import TURNS

SAMPLE = 4
"""Of each story; every telling takes a second or two."""
AT_ONCE = 3
SHARES = 6
LIMIT_S = 3600
ONCE_STUCK = {
    # A look that missed something went on after an effect of its own, and forgot that it had to come again.
    "agents judge": (
        Point("gitea GET repos/acme/enduro-trails/commits/N/status", 5, "after"),
        Point("gitea GET repos/acme/enduro-trails/contents/tasks/N", 1, "before"),
    ),
    # The commit that admitted a run was done and reported as failed: nobody was told to start it.
    "an agent writes": (Point("write reconcile.loop.Reconciler._apply.commit", 2, "after"),),
    # A run that was called off was taken for one that a person stopped, and not decided anew.
    "a run is overtaken": (
        Point("runtime stop", 1, "killed"),
        Point("write reconcile.execute.Execution._end.commit", 1, "before"),
    ),
}
"""A night's sweep found these: the task waited for ever."""
LOOK = "read reconcile.loop.Reconciler._rows.<lambda>"
STOP = "runtime stop"
ADMISSION = "read reconcile.dispatch.Dispatch.still_may_start.<lambda>"
WITHDRAWAL = "write reconcile.dispatch.Dispatch.withdraw.commit"
RETRY = "write web.acting.retry.<lambda>"
REPLAY = "read web.acting.replay.<lambda>"
POST = "write web.acting.post.<lambda>"
VOTE = "write web.voting._say.commit"
GIVING_UP = "read reconcile.execute.Execution.give_up.<lambda>"
END = "write reconcile.execute.Execution._end.commit"
STRUCK_BY_DAY = {
    "a person stops a run": (Point(STOP, 1, "before"), Point(STOP, 1, "killed")),
    "a person retries": (Point(RETRY, 1, "before"), Point(RETRY, 1, "after"), Point(RETRY, 1, "killed")),
    "a delivery is replayed": (Point(REPLAY, 1, "before"), Point(REPLAY, 1, "killed")),
    "a comment stops a task": (Point(STOP, 1, "before"), Point(WITHDRAWAL, 1, "after")),
    "a stop after the agent's end": (Point(STOP, 1, "killed"),),
    "a run waits for its turn": (Point(LOOK, 1, "before"), Point(ADMISSION, 1, "after")),
    "a run is overtaken": (Point(LOOK, 2, "killed"),),
    "a run breaks": (Point(GIVING_UP, 1, "before"), Point(END, 1, "after")),
    "a task is posted": (Point(POST, 1, "after"),),
    "a task is posted without a key": (Point(POST, 1, "after"),),
    "a person approves on a page": (Point(VOTE, 1, "after"), Point(VOTE, 1, "killed")),
}
"""What these stories are about, each in another way."""
FIRST_RUNS = {
    "a person stops a run": [("cancelled", "cancelled")],
    "a person retries": [("cancelled", "cancelled")],
    "a delivery is replayed": [("succeeded", "")],
    "a comment stops a task": [("cancelled", "cancelled")],
    "a stop after the agent's end": [("cancelled", "cancelled")],
    "a run waits for its turn": [("succeeded", "")],
    "a run is overtaken": [("cancelled", "not_wanted")],
    "a run breaks": [("failed", "internal_error")],
    "a task is posted": [("succeeded", "")],
    "a task is posted without a key": [("succeeded", "")],
    "a person approves on a page": [],
}
BY_DAY = [story for story in (*TURNS, *FACES) if story.name in STRUCK_BY_DAY]
KINDS = {"read", "write", "plane", "gitea", "developer", "reviewer", "git", "runtime"}
"""Of calls. A seam that went away would leave nothing to sweep, and nobody would notice."""


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


def end(sweep: Sweep) -> None:
    counted.said(sweep.said())
    assert sweep.differing == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_points_are_reached_in_every_part_and_a_failure_at_any_of_some_changes_nothing_in_the_end(
    tmp_path: Path, nursery: Nursery, story: Story
) -> None:
    sweep = Sweep(story, tmp_path, nursery)
    sweep.record()
    reached = sweep.reached.keys()
    assert {name.split()[0] for name in reached} == KINDS
    assert {"runtime launch", "write store.journal.record", ADMISSION} <= reached
    assert story.is_written or "git push forge" in reached
    points = [Point(name, 1, how) for name, how in chosen(sweep.points(), SAMPLE)]
    in_parallel([partial(_struck_once, sweep, one) for one in (*points, *ONCE_STUCK[story.name])], AT_ONCE)
    end(sweep)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", BY_DAY, ids=lambda story: story.name)
def test_a_failure_at_what_a_story_is_about_changes_nothing_in_the_end(
    tmp_path: Path, nursery: Nursery, story: Story
) -> None:
    sweep = Sweep(story, tmp_path, nursery)
    sweep.record()
    assert [(outcome, reason) for *_, outcome, reason in sweep.oracle["runs"][:1]] == FIRST_RUNS[story.name]
    points = [*STRUCK_BY_DAY[story.name], *ONCE_STUCK.get(story.name, ())]
    in_parallel([partial(_struck_once, sweep, one) for one in points], AT_ONCE)
    end(sweep)


def _struck_once(sweep: Sweep, point: Point) -> None:
    assert sweep.strike(point), point


@pytest.mark.nightly
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("story", [*STORIES, *TURNS, *FACES], ids=lambda story: story.name)
def test_a_failure_at_any_point_changes_nothing_in_the_end(
    tmp_path: Path, nursery: Nursery, story: Story, share: int
) -> None:
    sweep = Sweep(story, tmp_path, nursery)
    sweep.record()
    points = sweep.points()[share::SHARES]
    in_parallel([partial(sweep.sweep, name, how) for name, how in points], AT_ONCE)
    end(sweep)

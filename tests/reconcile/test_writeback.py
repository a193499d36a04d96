"""A decision as effects: what is written, where, and under which key."""

from dataclasses import replace

import pytest

from green import ANNA, GREEN, NOW, OLD, PROJECT, PULL, TASK, US, applied, remark
from orchestrator.db import Database
from orchestrator.domain.effect import PullNote, TrackerNote
from orchestrator.domain.model import RepoName, Task
from orchestrator.domain.roles import Role
from orchestrator.qg.facts import Facts, Remark, Us
from orchestrator.reconcile.deliver import decoded
from orchestrator.reconcile.telling import queue
from orchestrator.reconcile.writeback import Addresses, planned
from orchestrator.store import outbox, tasks
from orchestrator.store.decisions import Basis
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decide import decide

TOUCHED = replace(GREEN, changed_paths=("a.py", ".gitea/ci.yml"))


@pytest.fixture
async def task(database: Database) -> Task:
    """The green task, with a row that effects can belong to."""
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    made = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    return replace(TASK, id=made.id)


async def written(
    database: Database, task: Task, facts: Facts, word: str
) -> tuple[Task, list[TrackerNote | PullNote]]:
    """The task after the decision, and the notes with `word` in their keys that are carried out then."""
    decision = decide(PROJECT, task, facts)
    every = planned(Basis(PROJECT, task, facts), decision, Addresses())
    await database.write(lambda connection: queue(connection, task.id, every, NOW))
    due = await database.read(lambda connection: outbox.due(connection, task.id))
    for row in due:
        await database.write(lambda connection, row=row: outbox.done(connection, row, NOW))
    notes = [decoded(row) for row in due if f":{word}:" in row.key]
    return applied(task, decision), [one for one in notes if isinstance(one, TrackerNote | PullNote)]


def saying(*every: Remark) -> Facts:
    assert isinstance(TOUCHED.remarks, tuple)
    return replace(TOUCHED, remarks=(*TOUCHED.remarks, *every))


async def test_every_order_of_one_comment_is_answered_in_one_note(database: Database, task: Task) -> None:
    """F35."""
    orders = ("/orch status", f"/orch allow-paths {OLD[:8]}", "/orch status", "/orch paws")
    _, (note,) = await written(database, task, saying(remark(60, ANNA, *orders)), "reply")
    assert isinstance(note, TrackerNote)
    said = ("stage “development”", f"<code>{OLD[:8]}</code> is not the newest commit", "<code>/orch paws</code>")
    places = [note.html.find(one) for one in said]
    assert -1 not in places
    assert places == sorted(places)
    assert note.html.count("stage “development”") == 1


async def test_a_comment_that_is_edited_after_its_answer_is_answered_again_unless_that_was_said(
    database: Database, task: Task
) -> None:
    task, first = await written(database, task, saying(remark(60, ANNA, "/orch status")), "reply")
    assert len(first) == 1
    edited = replace(remark(60, ANNA, "/orch pause", is_untouched=False), order=70)
    task, (second,) = await written(database, task, saying(edited), "reply")
    assert isinstance(second, TrackerNote)
    assert "the comment was edited" in second.html
    _, third = await written(database, task, saying(replace(edited, order=80)), "reply")
    assert third == []


ONE_USER = replace(US, reviewer=US.orchestrator)


@pytest.mark.parametrize(("us", "word"), [(US, "report"), (ONE_USER, "review")])
async def test_a_verdict_stands_on_the_pull_request_that_is_open_now(
    database: Database, task: Task, us: Us, word: str
) -> None:
    """Number 7 was closed, and 8 opened from the same branch. In Plane it is told once."""
    noted: list[tuple[int, ...]] = []
    items = 0
    for number in (7, 8, 8):
        facts = replace(GREEN, pull=replace(PULL, number=number), us=us)
        task, notes = await written(database, task, facts, word)
        noted.append(tuple(one.pull for one in notes if isinstance(one, PullNote)))
        items += sum(isinstance(one, TrackerNote) for one in notes)
    assert noted == [(7,), (8,), ()]
    assert items == (word == "report")

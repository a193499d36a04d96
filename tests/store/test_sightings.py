"""What was seen when: comments and documents in the journal."""

from dataclasses import replace

from green import NOW
from orchestrator.db import Database
from orchestrator.domain.model import RepoName, TaskId, UserId
from orchestrator.domain.roles import Role
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.store import sightings, tasks
from orchestrator.store.sightings import MAX_CHANGES, Sightings
from orchestrator.store.tasks import Posted

COMMENT = Comment(CommentId("k"), UserId("guest"), True, ("x",), "0", "", NOW)


async def task_of(database: Database) -> TaskId:
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    return (await database.write(lambda connection: tasks.post(connection, posted, NOW))).id


async def seen(database: Database, task: TaskId, digest: str) -> Sightings:
    """As a look does it: what is news is journaled."""
    known = await database.read(lambda connection: sightings.of_task(connection, task))
    new, _ = sightings.unseen(known, [replace(COMMENT, digest=digest)], {})
    return await database.write(lambda connection: sightings.record(connection, task, new, (), NOW))


async def test_who_edits_a_comment_for_ever_adds_no_more_than_some_rows(database: Database) -> None:
    task = await task_of(database)
    for number in range(MAX_CHANGES + 10):
        known = await seen(database, task, str(number))
    (first,) = known.comments.values()
    assert (first.digest, first.is_same, first.changes) == ("0", False, MAX_CHANGES)
    assert len(known.digests) == 1 + MAX_CHANGES
    assert first.last > first.order


async def test_what_is_seen_again_as_it_was_adds_nothing(database: Database) -> None:
    task = await task_of(database)
    (once,) = (await seen(database, task, "0")).comments.values()
    (again,) = (await seen(database, task, "0")).comments.values()
    assert (again, again.is_same) == (once, True)

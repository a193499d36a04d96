"""Rows of tasks: by what a delivery finds them."""

from dataclasses import replace

from green import GREEN, NOW, PROJECT
from orchestrator.db import Database
from orchestrator.domain.model import Branch, ProjectId, RepoName, Role, Sha, Stage, Task, WorkItemId
from orchestrator.qg.facts import Absent
from orchestrator.store import decisions, tasks
from orchestrator.store.decisions import Basis
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decision import Decision

PUSHED = Sha("c" * 40)


async def test_a_check_of_a_commit_that_a_person_pushed_finds_its_task(database: Database) -> None:
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    task: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    task = replace(task, plane_id=WorkItemId("w1"), project=ProjectId("p1"))

    async def look(head: Branch | Absent, stage: Stage) -> dict[str, int]:
        basis, decision = Basis(PROJECT, task, replace(GREEN, branch=head)), Decision(stage)
        digest = decisions.digest(decision)
        await database.write(lambda connection: tasks.apply(connection, basis, decision, digest, NOW))
        return await database.read(lambda connection: tasks.ids_by_head(connection, [PUSHED]))

    assert await look(Absent(), Stage.ANALYSIS) == {}
    assert await look(Branch(task.branch, PUSHED), Stage.CI) == {PUSHED: task.id}
    assert await look(Absent(), Stage.REVIEW) == {PUSHED: task.id}

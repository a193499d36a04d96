"""Rows of approvals: one for each comment that opened a gate, and never for two gates."""

from dataclasses import replace

import pytest

from green import ANNA, BORIS, BRD, DOCUMENTS, GREEN, NOW, PROJECT, TASK, remark
from orchestrator.db import Database
from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import RepoName, Stage, Task
from orchestrator.domain.roles import Role
from orchestrator.qg.documents import digest
from orchestrator.qg.facts import Facts
from orchestrator.qg.verdict import Item, Passed, Waiting
from orchestrator.store import approvals, tasks
from orchestrator.store.approvals import Approval
from orchestrator.store.decisions import Basis
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision


@pytest.fixture
async def task(database: Database) -> Task:
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    made: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    return replace(TASK, id=made.id)


async def recorded(
    database: Database, task: Task, facts: Facts, decision: Decision | None = None
) -> list[Approval]:
    basis = Basis(PROJECT, task, facts)
    made = decision or decide(PROJECT, task, facts)
    await database.write(lambda connection: approvals.record(connection, basis, made, NOW))
    return await database.read(lambda connection: approvals.of_task(connection, task.id))


async def test_each_comment_that_opened_a_gate_has_a_row(database: Database, task: Task) -> None:
    facts = replace(GREEN, remarks=(remark(11, BORIS), remark(21, ANNA)))
    assert await recorded(database, task, facts) == [
        Approval("QG-1", "k11", BORIS, digest(facts, Stage.ANALYSIS), 11, NOW),
        Approval("QG-2", "k21", ANNA, digest(facts, Stage.ARCHITECTURE), 21, NOW),
    ]
    assert len(await recorded(database, task, facts)) == 2


async def test_what_opened_nothing_has_none(database: Database, task: Task) -> None:
    two = replace(PROJECT, gates=replace(PROJECT.gates, approvals=2))
    assert await recorded(database, task, GREEN, decide(two, task, GREEN)) == []
    assert await recorded(database, task, replace(GREEN, remarks=())) == []


async def test_a_document_that_changed_needs_another_comment_and_gets_another_row(
    database: Database, task: Task
) -> None:
    await recorded(database, task, GREEN)
    others = tuple(one for one in DOCUMENTS if one is not BRD)
    newer = replace(GREEN, documents=(replace(BRD, blob="b2", seen=30), *others), remarks=(remark(21), remark(31)))
    changed = decide(PROJECT, task, replace(newer, remarks=GREEN.remarks))  # when that was seen
    noted = replace(task, switches=changed.switches)
    rows = await recorded(database, noted, newer)
    assert [(one.gate, one.comment) for one in rows] == [("QG-1", "k11"), ("QG-2", "k21"), ("QG-1", "k31")]
    assert rows[0].digest != rows[2].digest


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_comment_that_opened_one_gate_never_opens_another(
    database: Database, task: Task, *, is_known: bool
) -> None:
    """Should the core ever forget it: the whole look is undone."""
    if is_known:
        await recorded(database, task, replace(GREEN, remarks=(remark(11), remark(21))))
    held = Passed((Item("approved", (("person", ANNA),), ("k21",)),))
    gates = (("QG-1", held),) if is_known else (("QG-1", held), ("QG-2", held))
    with pytest.raises(Permanent, match="k21"):
        await recorded(database, task, GREEN, Decision(Stage.READY, verdicts=gates))
    closed = Decision(Stage.READY, verdicts=(("QG-1", Waiting((), held.held)),))
    assert len(await recorded(database, task, GREEN, closed)) == (2 if is_known else 0)

"""Rows of tasks: by what a delivery finds them."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection

from green import GREEN, NOW, PROJECT
from orchestrator.db import Database
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.model import (
    NO_SWITCHES,
    Branch,
    Cause,
    ProjectId,
    RepoName,
    Return,
    Sha,
    Stage,
    Task,
    TaskId,
    WorkItemId,
)
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunResult
from orchestrator.qg.facts import Absent
from orchestrator.qg.verdict import Item
from orchestrator.store import decisions, outbox, runs, tasks
from orchestrator.store.decisions import Basis, Made
from orchestrator.store.schema import tasks as task_table
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decision import Decision, Identity, StartRun

PUSHED = Sha("c" * 40)
HERE = ("acme/enduro-trails", PUSHED)


async def test_a_check_of_a_commit_that_a_person_pushed_finds_its_task(database: Database) -> None:
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    task: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    task = replace(task, plane_id=WorkItemId("w1"), project=ProjectId("p1"))

    async def look(head: Branch | Absent, stage: Stage) -> dict[tuple[str, str], tuple[TaskId, ...]]:
        basis, decision = Basis(PROJECT, task, replace(GREEN, branch=head)), Decision(stage)
        await database.write(lambda connection: tasks.apply(connection, [decisions.made(basis, decision)], NOW))
        return await database.read(lambda connection: tasks.ids_by_head(connection, [HERE]))

    assert await look(Absent(), Stage.ANALYSIS) == {}
    assert await look(Branch(task.branch, PUSHED), Stage.CI) == {HERE: (task.id,)}
    assert await look(Absent(), Stage.REVIEW) == {HERE: (task.id,)}


async def test_a_check_is_of_its_own_repository_and_of_all_that_rest_on_it(database: Database) -> None:
    """A fork or a mirror has the same commits; and two branches may have one head."""
    first, second = (
        Posted(Role.ANALYST, RepoName("acme", name), "T", "B", "main") for name in ("first", "second")
    )
    made = [await database.write(partial(tasks.post, posted=first, now=NOW)) for _ in range(4)]
    other = await database.write(partial(tasks.post, posted=second, now=NOW))
    _, checked, ready, done = made
    wanted = [(repo, PUSHED) for repo in ("acme/first", "Acme/Second", "evil/fork")]

    async def found() -> dict[tuple[str, str], tuple[TaskId, ...]]:
        return await database.read(lambda connection: tasks.ids_by_head(connection, wanted))

    for task in (*made, other):
        await database.write(partial(stands, task, Stage.CREATED))
    assert await found() == {wanted[0]: (done.id,), wanted[1]: (other.id,)}, "of any the newest"
    resting = (Stage.CI, Stage.REVIEW, Stage.TESTING, Stage.READY)
    for here in resting:
        for task, stage in ((checked, here), (ready, Stage.READY), (done, Stage.DONE)):
            await database.write(partial(stands, task, stage))
        assert await found() == {wanted[0]: (ready.id, checked.id), wanted[1]: (other.id,)}


def stands(task: Task, stage: Stage, connection: Connection) -> None:
    """There, with the commit that was pushed as its head."""
    row = task_table.update().where(task_table.c.id == task.id)
    connection.execute(row.values(stage=stage, head_sha=PUSHED))


async def test_a_delivery_finds_its_task_by_an_index(database: Database) -> None:
    """There may be 100,000 tasks, and hundreds of deliveries a second."""
    for statement, index in (
        (tasks._BY_ITEM, "plane_id=?"),
        (tasks._BY_BRANCH, "tasks_branch (branch=?"),
        (tasks._BY_HEAD, "tasks_head (head_sha=?)"),
    ):
        plan = await database.read(partial(plan_of, statement))
        assert any("SEARCH tasks" in step and index in step for step in plan), plan
        assert not any("SCAN tasks" in step for step in plan), plan


def plan_of(statement: str, connection: Connection) -> list[str]:
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("[]",))]


@pytest.mark.parametrize("is_one_by_one", [True, False])
@pytest.mark.parametrize("stage", list(Stage))
async def test_the_row_is_what_applied_says_before_it_is_written(
    database: Database, stage: Stage, *, is_one_by_one: bool
) -> None:
    """Who decides on before the commit goes by it: a difference would make the stored decisions lie."""
    changed = WorkItemChanged(ProjectId("p1"), WorkItemId("w1"), "Title", is_new=True, actor=None)
    ident = await database.write(lambda connection: tasks.ensure_for_item(connection, changed, NOW))
    first = await database.read(lambda connection: tasks.get(connection, ident))
    identity = Identity("ENDURO-1", "Other title", RepoName("acme", "enduro-trails"), "feature/x", "main")
    switches, returns = (
        replace(NO_SWITCHES, retry_after=3),
        (Return(Cause.DOCUMENT_REJECTED, Stage.DEVELOPMENT, "mark", 1),),
    )
    way, here = list[Made](), first
    moved = replace(NO_SWITCHES, commands_up_to=1)  # the row still has what it had before the way
    for decision in (
        Decision(stage, identity=identity, switches=moved),
        Decision(stage, switches=switches, returns=returns),
    ):
        way.append(decisions.made(Basis(PROJECT, here, GREEN), decision))
        here = tasks.applied(way[-1].basis, decision)
    for part in [way[:1], way[1:]] if is_one_by_one else [way]:
        await database.write(lambda connection, part=part: tasks.apply(connection, part, NOW))
        assert await database.read(lambda connection: tasks.get(connection, ident)) == tasks.applied(
            part[-1].basis, part[-1].decision
        )
        assert (await database.read(lambda c: tasks.for_look(c, ident))).decided == part[-1].digest


async def test_a_done_task_is_taken_up_while_something_is_to_be_written(database: Database) -> None:
    """One that was refused has a pause of its own, and is not tried at each resync; a start tries it too."""
    changed = WorkItemChanged(ProjectId("p1"), WorkItemId("w1"), "Title", is_new=True, actor=None)
    ident = await database.write(lambda connection: tasks.ensure_for_item(connection, changed, NOW))
    here = await database.read(lambda connection: tasks.get(connection, ident))
    made = decisions.made(Basis(PROJECT, here, GREEN), Decision(Stage.DONE))
    await database.write(lambda connection: tasks.apply(connection, [made], NOW))

    async def taken_up() -> tuple[list[TaskId], list[TaskId]]:
        return await database.read(lambda connection: (tasks.open_ids(connection), tasks.under_way(connection)))

    assert await taken_up() == ([], [])
    await database.write(lambda connection: outbox.queue(connection, ident, "key", "ItemState", "{}", NOW))
    assert await taken_up() == ([ident], [ident])
    (row,) = await database.read(lambda connection: outbox.due(connection, ident))
    await database.write(lambda connection: outbox.failed(connection, row, "refused"))
    assert await taken_up() == ([ident], [])
    await database.write(lambda connection: outbox.done(connection, row, NOW))
    assert await taken_up() == ([], [])


async def test_what_no_decision_knows_says_since_when_it_is_so(database: Database) -> None:
    """As long as the same is said, also by a look that stored a decision first."""
    changed = WorkItemChanged(ProjectId("p1"), WorkItemId("w1"), "Title", is_new=True, actor=None)
    ident = await database.write(lambda connection: tasks.ensure_for_item(connection, changed, NOW))

    async def since(code: str, minutes: int, before: str | None = None) -> tuple[str, str]:
        now, item = NOW + timedelta(minutes=minutes), Item(code, (("detail", f"{minutes}"),), who="operator")
        await database.write(lambda connection: tasks.stuck(connection, ident, (item,), now, before))
        text = (await database.read(lambda connection: tasks.for_look(connection, ident))).waiting
        (told,) = tasks.waiting_items(text)
        return dict(told.params)["since"], text

    first, told = await since("gitea_busy", 0)
    assert (await since("gitea_busy", 1))[0] == first == NOW.isoformat()
    assert (await since("gitea_refused", 2))[0] == (NOW + timedelta(minutes=2)).isoformat()
    assert (await since("gitea_busy", 3, told))[0] == first


async def test_while_an_agent_is_on_its_way_the_task_waits_for_that_and_notes_stand_behind(
    database: Database,
) -> None:
    changed = WorkItemChanged(ProjectId("p1"), WorkItemId("w1"), "Title", is_new=True, actor=None)
    ident = await database.write(lambda connection: tasks.ensure_for_item(connection, changed, NOW))
    note, real = Item("answers_spent", who="orchestrator"), Item("approval", who="approver")

    async def waits(*waiting: Item) -> list[str]:
        task = await database.read(lambda connection: tasks.get(connection, ident))
        start = StartRun(Role.ANALYST, Stage.ANALYSIS, 1, PUSHED)
        made = decisions.made(Basis(PROJECT, task, GREEN), Decision(Stage.ANALYSIS, (start,), waiting))
        await database.write(lambda connection: tasks.apply(connection, [made], NOW))
        text = (await database.read(lambda connection: tasks.for_look(connection, ident))).waiting
        return [one.code for one in tasks.waiting_items(text)]

    assert await waits() == ["run_intended"]
    assert await waits(note) == ["run_intended", "answers_spent"]
    assert await waits(real, note) == ["approval", "answers_spent"]


async def test_an_items_task_is_begun_when_it_has_left_the_first_stage(database: Database) -> None:
    changed = WorkItemChanged(ProjectId("p1"), WorkItemId("w1"), "Title", is_new=True, actor=None)

    def is_begun() -> bool:
        return database.read_now(lambda connection: tasks.is_begun(connection, WorkItemId("w1")))

    assert not is_begun()
    ident = await database.write(lambda connection: tasks.ensure_for_item(connection, changed, NOW))
    assert not is_begun()
    task = await database.read(lambda connection: tasks.get(connection, ident))
    made = decisions.made(Basis(PROJECT, task, GREEN), Decision(Stage.ANALYSIS))
    await database.write(lambda connection: tasks.apply(connection, [made], NOW))
    assert is_begun()


async def test_a_retry_is_of_the_tasks_own_stage_when_another_stages_run_ended_well(database: Database) -> None:
    """A review timed out, another commit was tested, and then the first commit was pushed again."""
    posted = Posted(Role.REVIEWER, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    task: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    here = decisions.made(Basis(PROJECT, task, GREEN), Decision(Stage.REVIEW))
    await database.write(lambda connection: tasks.apply(connection, [here], NOW))
    for stage, attempt, outcome in (
        (Stage.REVIEW, 1, Outcome.TIMED_OUT),
        (Stage.REVIEW, 2, Outcome.SUCCEEDED),
        (Stage.TESTING, 1, Outcome.SUCCEEDED),
    ):
        start = StartRun(Role.REVIEWER, stage, attempt, PUSHED)
        await database.write(partial(_ran, task=task.id, start=start, outcome=outcome))
    assert not await database.write(lambda connection: tasks.retry(connection, task.id, NOW))
    parked = Item("run_not_successful", (("attempt", "1"),), who="operator", action="retry")
    await database.write(lambda connection: tasks.stuck(connection, task.id, (parked,), NOW))
    assert await database.write(lambda connection: tasks.retry(connection, task.id, NOW))
    granted = (await database.read(lambda connection: tasks.get(connection, task.id))).switches
    assert (granted.retry_stage, granted.retry_after, granted.retry_runs) == (Stage.REVIEW, 2, 3)


def _ran(connection: Connection, task: TaskId, start: StartRun, outcome: Outcome) -> None:
    run = runs.intend(connection, task, start, f"{start.stage}-{start.attempt}", NOW)
    runs.ended(connection, run, RunResult(outcome, None, ""), None, NOW)


async def test_a_posted_task_that_nobody_looked_at_is_polled_and_then_no_more(database: Database) -> None:
    """Whoever posted it may have been told that it failed, so that nobody was told to look."""
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    task: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    assert await database.read(tasks.under_way) == [task.id]
    made = decisions.made(Basis(PROJECT, task, GREEN), Decision(Stage.CREATED))
    await database.write(lambda connection: tasks.apply(connection, [made], NOW))
    assert await database.read(tasks.under_way) == []

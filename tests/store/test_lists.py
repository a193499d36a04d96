"""Pages: newest first, complete, and never dearer than their bounds."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
import sqlalchemy
from sqlalchemy import Connection, insert

from green import NOW
from orchestrator.db import Database
from orchestrator.domain.errors import Rejected
from orchestrator.domain.model import RepoName, RunId, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.qg.verdict import Item, by_login
from orchestrator.store import lists, runs, tasks
from orchestrator.store import schema as table
from orchestrator.store.lists import EventFilter, Page, RunFilter, TaskFilter
from orchestrator.store.runs import Launch
from orchestrator.store.tasks import Posted, waiting_text

T = TypeVar("T")
REPO = RepoName("acme", "Trails")


def _task(connection: Connection, title: str = "Title", repo: RepoName = REPO) -> int:
    return tasks.post(connection, Posted(Role.ANALYST, repo, title, "Text", "main"), NOW).id


def _set(connection: Connection, task: int, **values: object) -> None:
    connection.execute(table.tasks.update().where(table.tasks.c.id == task).values(values))


def _event(connection: Connection, number: int, **values: Any) -> None:
    row = {
        "timestamp": NOW + timedelta(seconds=number),
        "source": "gitea",
        "event_type": "push",
        "payload": "{}",
        "body_sha256": f"{number:064}",
        "delivery_id": f"d-{number}",
    }
    connection.execute(insert(table.events).values(row | values))


def _run(connection: Connection, task: int, number: int, **values: Any) -> None:
    row = {
        "task_id": task,
        "agent": "analyst",
        "stage": "analysis",
        "attempt": number,
        "state": "ended",
        "intended_at": NOW,
        "session_id": f"{task}/{number}",
        "base_sha": "a" * 40,
        "outcome": "succeeded",
    }
    connection.execute(insert(table.agent_runs).values(row | values))


def _all(
    connection: Connection, page: Callable[..., Page[T]], wanted: object, limit: int
) -> tuple[list[T], list[int]]:
    """Every row by way of the cursors, and how many each page had."""
    rows, sizes, cursor = list[T](), list[int](), None
    while True:
        found = page(connection, wanted, limit, cursor)
        rows += found.rows
        sizes.append(len(found.rows))
        cursor = found.next
        if cursor is None:
            return rows, sizes


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (3, [3]), (6, [3, 3]), (7, [3, 3, 1])])
async def test_pages_are_complete_and_newest_first(database: Database, count: int, sizes: list[int]) -> None:
    def fill(connection: Connection) -> None:
        for number in range(1, count + 1):
            task = _task(connection)
            _run(connection, task, 1)
            _event(connection, number)

    await database.write(fill)
    for page, wanted in (
        (lists.tasks_page, TaskFilter()),
        (lists.runs_page, RunFilter()),
        (lists.events_page, EventFilter()),
        (lists.events_page, EventFilter(source="gitea")),
    ):
        rows, found = await database.read(lambda c, page=page, wanted=wanted: _all(c, page, wanted, 3))
        assert [row.id for row in rows] == list(range(count, 0, -1))
        assert found == sizes


async def test_what_is_added_meanwhile_moves_no_page(database: Database) -> None:
    await database.write(lambda c: [_event(c, number) for number in range(6)])
    first = await database.read(lambda c: lists.events_page(c, EventFilter(), 3))
    await database.write(lambda c: _event(c, 99))
    second = await database.read(lambda c: lists.events_page(c, EventFilter(), 3, first.next))
    assert [row.id for row in second.rows] == [3, 2, 1]


@pytest.mark.parametrize(
    "cursor", ["", "x", "=", "ZQ", "ZTA", "ZTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ", "dDU", "NTU", "ЁЁ", "e5", "ZTU" * 999]
)
async def test_a_spoiled_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(Rejected) as caught:
        await database.read(lambda c: lists.events_page(c, EventFilter(), 3, cursor))
    assert (caught.value.code, caught.value.status) == ("bad_cursor", 422)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TaskFilter(stage=Stage.REVIEW), {2}),
        (TaskFilter(is_open=True), {1, 2, 4}),
        (TaskFilter(is_open=False), {3}),
        (TaskFilter(repo="ACME/trails"), {1, 2, 3}),
        (TaskFilter(text="ЭКСПОРТ"), {1}),
        (TaskFilter(text="task-2"), {2}),
        (TaskFilter(text="100%_"), {4}),
        (TaskFilter(needs="person"), {1, 2}),
        (TaskFilter(needs="approver"), {2}),
        (TaskFilter(needs="agent"), {4}),
        (TaskFilter(needs="operator"), set()),
        (TaskFilter(text="экспорт", stage=Stage.REVIEW), set()),
    ],
)
async def test_tasks_are_found(database: Database, wanted: TaskFilter, found: set[int]) -> None:
    def fill(connection: Connection) -> None:
        for title in ("Экспорт в GPX", "Import", "Old", "At 100%_"):
            _task(connection, title, RepoName("acme", "other") if title.startswith("At") else REPO)
        approval = waiting_text((Item("approval", who="approver"),))
        _set(connection, 2, stage="review", waiting=approval)
        _set(connection, 3, stage="done", waiting=approval)
        _set(connection, 4, waiting=waiting_text((Item("run_running", who="agent"),)))
        _set(connection, 1, waiting=waiting_text((Item("change_request", who=by_login("agent")),)))

    await database.write(fill)
    page = await database.read(lambda c: lists.tasks_page(c, wanted))
    assert {row.id for row in page.rows} == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RunFilter(task="TASK-1"), {1, 2}),
        (RunFilter(task="NONE-1"), set()),
        (RunFilter(role="tester"), {2}),
        (RunFilter(state="running"), {3}),
        (RunFilter(state="ended"), {1, 2}),
        (RunFilter(outcome="crashed"), {2}),
        (RunFilter(role="analyst", outcome="crashed"), set()),
    ],
)
async def test_runs_are_found(database: Database, wanted: RunFilter, found: set[int]) -> None:
    def fill(connection: Connection) -> None:
        first, second = _task(connection), _task(connection)
        _run(connection, first, 1)
        _run(connection, first, 2, agent="tester", outcome="crashed")
        _run(connection, second, 1, state="running", outcome=None)

    await database.write(fill)
    page = await database.read(lambda c: lists.runs_page(c, wanted))
    assert {row.id for row in page.rows} == found
    assert all(row.task == ("TASK-2" if row.id == 3 else "TASK-1") for row in page.rows)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EventFilter(source="plane"), {2}),
        (EventFilter(event_type="status"), {3}),
        (EventFilter(task="TASK-1"), {4}),
        (EventFilter(task="NONE-1"), set()),
        (EventFilter(is_ignored=True), {2}),
        (EventFilter(is_ignored=False), {1, 3, 4, 5}),
        (EventFilter(is_flagged=True), {5}),
        (EventFilter(is_flagged=False), {1, 2, 3, 4}),
        (EventFilter(since=NOW + timedelta(seconds=3)), {3, 4, 5}),
        (EventFilter(until=NOW + timedelta(seconds=3)), {1, 2}),
        (EventFilter(since=NOW + timedelta(seconds=2), until=NOW + timedelta(seconds=4)), {2, 3}),
        (EventFilter(since=NOW + timedelta(days=1)), set()),
        (EventFilter(source="gitea", is_flagged=True, event_type="push"), {5}),
    ],
)
async def test_events_are_found(database: Database, wanted: EventFilter, found: set[int]) -> None:
    def fill(connection: Connection) -> None:
        task = _task(connection)
        _event(connection, 1)
        _event(connection, 2, source="plane", event_type="issue", ignored="unknown")
        _event(connection, 3, event_type="status")
        _event(connection, 4, task_id=task)
        _event(connection, 5, flag="delivery_id_reused")

    await database.write(fill)
    page = await database.read(lambda c: lists.events_page(c, wanted))
    assert {row.id for row in page.rows} == found
    assert page.next is None


async def test_a_range_is_found_by_halving_whatever_lies_around_it(database: Database) -> None:
    await database.write(lambda c: [_event(c, number) for number in range(1000)])
    wanted = EventFilter(since=NOW + timedelta(seconds=300), until=NOW + timedelta(seconds=310))
    page = await database.read(lambda c: lists.events_page(c, wanted))
    assert [row.received_at for row in page.rows] == [NOW + timedelta(seconds=n) for n in range(309, 299, -1)]


async def test_a_page_looks_at_a_bounded_number_of_events_and_says_where_to_go_on(
    database: Database,
) -> None:
    """A rare kind in a long journal: pages may be empty, and lead on until it is found."""

    def fill(connection: Connection) -> None:
        for number in range(35):
            _event(connection, number, source="plane" if number == 4 else "gitea")

    await database.write(fill)
    page = partial(lists.events_page, scanned=10)
    rows, sizes = await database.read(lambda c: _all(c, page, EventFilter(source="plane"), 3))
    assert ([row.id for row in rows], sizes) == ([5], [0, 0, 0, 1])


async def test_an_event_shows_what_came_and_what_it_led_to(database: Database) -> None:
    def fill(connection: Connection) -> None:
        task = _task(connection)
        _event(connection, 1, task_id=task, payload='{"n": 1}', headers='[["x-gitea-event","push"]]')
        _event(connection, 20, task_id=task)
        _event(connection, 21, task_id=task)
        for seconds in (0, 5, 10, 25):
            row = {"task_id": task, "decided_at": NOW + timedelta(seconds=seconds), "config_digest": ""}
            text = '{"type":"Decision","stage":"analysis"}'
            connection.execute(
                insert(table.decisions).values(row | {"facts": "", "verdicts": "", "decision": text})
            )
        _run(connection, task, 1, intended_at=NOW + timedelta(seconds=10))
        _run(connection, task, 2, intended_at=NOW + timedelta(seconds=25))

    await database.write(fill)
    first, second, third = [await database.read(lambda c, n=n: lists.event(c, n)) for n in (1, 2, 3)]
    assert first
    assert second
    assert third
    assert (first.body, first.headers) == ('{"n": 1}', (("x-gitea-event", "push"),))
    assert ([one.id for one in first.decisions], [one.id for one in first.runs]) == ([2, 3], [1])
    # Nothing was decided between the second and the third: the first look after them answered both.
    assert [one.id for one in second.decisions] == [one.id for one in third.decisions] == [4]
    assert [one.id for one in third.runs] == [2]
    assert await database.read(lambda c: lists.event(c, 4)) is None


async def test_an_event_without_a_task_led_to_nothing(database: Database) -> None:
    await database.write(lambda c: _event(c, 1))
    found = await database.read(lambda c: lists.event(c, 1))
    assert found
    assert (found.decisions, found.runs, found.event.has_task) == ((), (), False)


def _plan(connection: Connection, sql: str) -> str:
    return "\n".join(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("task_id = 1 AND id < 9", "events_task"),
        ("event_type = 'push' AND id < 9", "events_type"),
        ("flag = 'delivery_id_reused' AND id < 9", "events_flagged"),
        ("id < 9", "INTEGER PRIMARY KEY"),
    ],
)
def test_events_are_found_by_their_index_and_in_its_order(database: Database, condition: str, index: str) -> None:
    sql = f"SELECT id FROM events WHERE {condition} ORDER BY id DESC LIMIT 10"
    plan = database.read_now(lambda c: _plan(c, sql))
    assert index in plan
    assert "TEMP B-TREE" not in plan


def _asked(connection: Connection, ask: Callable[[Connection], object]) -> list[str]:
    """How SQLite goes about each query that is made."""
    made: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, sql: str, given: Any, *_: object) -> None:
        made.append((sql, given))

    sqlalchemy.event.listen(connection, "before_cursor_execute", note)
    ask(connection)
    sqlalchemy.event.remove(connection, "before_cursor_execute", note)
    explained = (connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given) for sql, given in made)
    return ["\n".join(str(row[3]) for row in rows) for rows in explained]


@pytest.mark.parametrize("state", ["running", "intended"])
def test_open_runs_are_found_without_looking_at_those_that_ended(database: Database, state: str) -> None:
    [plan] = database.read_now(lambda c: _asked(c, lambda c: lists.runs_page(c, RunFilter(state=state))))
    assert "agent_runs_one_open" in plan


def test_what_a_day_costs_is_summed_from_an_index_alone(database: Database) -> None:
    sql = "SELECT sum(cost_usd) FROM agent_runs WHERE finished_at >= '2026'"
    assert "COVERING INDEX agent_runs_finished" in database.read_now(lambda c: _plan(c, sql))


async def test_news_are_the_newest_state_of_each_task_once(database: Database) -> None:
    def fill(connection: Connection) -> None:
        first, second = _task(connection), _task(connection)
        _run(connection, first, 1, state="intended", outcome=None)
        connection.execute(table.tasks.update().where(table.tasks.c.id == second).values(stage="done"))

    await database.write(fill)
    seen = await database.read(lists.position)
    assert await database.read(lambda c: lists.news(c, seen, 9)) == ((), ())
    await database.write(lambda c: runs.started(c, RunId(1), Launch("log"), NOW))
    await database.write(lambda c: tasks.stuck(c, TaskId(2), (Item("no_branch", who="operator"),), NOW))
    await database.write(lambda c: tasks.stuck(c, TaskId(2), (Item("approval", who="approver"),), NOW))
    told, changed = await database.read(lambda c: lists.news(c, seen, 9))
    assert (told, [(one.id, one.waits_for) for one in changed]) == (
        (),
        [(1, ("to_be_decided",)), (2, ("approval",))],
    )

"""Stays and spending: written as things happen, the same as migration 0008 makes of what happened before."""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from green import GREEN, NOW, PROJECT
from orchestrator.db import Database
from orchestrator.dbfile import MIGRATIONS
from orchestrator.domain.model import Cause, RepoName, Return, RunId, Sha, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunResult, Usage
from orchestrator.store import decisions, runs, stays, tasks
from orchestrator.store.decisions import Basis
from orchestrator.store.runs import Launch
from orchestrator.store.statistics import MOST_DAYS, Spent, Times, _share, statistics
from orchestrator.store.tasks import Posted
from orchestrator.workflow.decision import Decision, StartRun

POSTED = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
RED = Return(Cause.CI_RED, Stage.DEVELOPMENT, "mark", 1)


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def _decide(connection: Connection, task: TaskId, hours: float, *way: Decision) -> None:
    here, made = tasks.get(connection, task), []
    for decision in way:
        made.append(decisions.made(Basis(PROJECT, here, GREEN), decision))
        decisions.record(connection, made[-1:], at(hours))
        here = tasks.applied(made[-1].basis, decision)
    tasks.apply(connection, made, at(hours))


def _ran(connection: Connection, task: TaskId, stage: Stage, begin: float, end: float, **more: Any) -> RunId:
    start = StartRun(Role.DEVELOPER, stage, int(more.pop("attempt", 1)), Sha("a" * 40))
    run = runs.intend(connection, task, start, f"{task}-{stage}-{start.attempt}", at(begin))
    if more.pop("is_started", True):
        runs.started(connection, run, Launch("log"), at(begin))
    usage = Usage(turns=3, input_tokens=100, output_tokens=10, cost_usd=0.5)
    result = RunResult(Outcome.SUCCEEDED, 0, usage=usage, **more)
    assert runs.ended(connection, run, result, None, at(end))
    assert not runs.ended(connection, run, result, None, at(end))
    return run


def _story(connection: Connection) -> TaskId:
    """Half an hour to development, an agent for one hour of three, then CI is red, and it goes round again."""
    task = tasks.post(connection, POSTED, NOW).id
    _decide(connection, task, 0.5, Decision(Stage.ANALYSIS), Decision(Stage.DEVELOPMENT))
    _ran(connection, task, Stage.DEVELOPMENT, 1, 2)
    _decide(connection, task, 3.5, Decision(Stage.CI))
    _decide(connection, task, 4, Decision(Stage.CI))
    _decide(connection, task, 5.5, Decision(Stage.DEVELOPMENT, returns=(RED,)))
    _ran(connection, task, Stage.DEVELOPMENT, 6, 6.5, attempt=2)
    _decide(connection, task, 7.5, Decision(Stage.READY, returns=(RED,)))
    _decide(connection, task, 8.5, Decision(Stage.DONE, returns=(RED,)))
    return task


def _rows(connection: Connection, table: str) -> Sequence[tuple[Any, ...]]:
    order = "id" if table == "stays" else "1, 2, 3, 4"
    return [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY {order}"))]


async def test_a_stay_says_how_long_how_much_of_it_was_work_and_what_ended_it(database: Database) -> None:
    await database.write(_story)
    found = await database.read(lambda c: [row[2:] for row in _rows(c, "stays")])
    told = [(stage, seconds, worked, cause) for stage, _, _, seconds, worked, cause in found]
    assert told == [
        ("created", 1800, 0, ""),
        ("analysis", 0, 0, ""),
        ("development", 3 * 3600, 3600, ""),
        ("ci", 2 * 3600, 0, "ci_red"),
        ("development", 2 * 3600, 1800, ""),
        ("ready", 3600, 0, ""),
    ]


async def test_the_statistics_add_up(database: Database) -> None:
    await database.write(_story)
    found = await database.read(lambda connection: statistics(connection, at(9), 30))
    assert (found.last - found.first).days == 29
    assert found.total == Spent(2, 6, 200, 20, 1.0)
    assert [(role, spent.runs) for role, spent in found.by_role] == [("developer", 2)]
    assert [name for name, _ in found.by_project] == ["acme/enduro-trails"]
    assert len(found.by_day) == 30
    assert sum(spent.runs for _, spent in found.by_day) == 2
    assert found.outcomes == (("succeeded", 2),)
    assert dict(found.lead)["development"] == Times(2, 9000.0, 7200, 10800)
    assert dict(found.waits)["QG-3"] == Times(2, 6300.0, 5400, 7200)
    assert [stage for stage, _ in found.lead] == ["created", "analysis", "development", "ci", "ready"]
    assert (found.rework, found.done) == ((("ci_red", 1),), 1)


async def test_a_window_leaves_out_what_was_before_it(database: Database) -> None:
    await database.write(_story)
    later = NOW + timedelta(days=2)
    found = await database.read(lambda connection: statistics(connection, later, 1))
    assert (found.total, found.lead, found.rework, found.done) == (Spent(), (), (), 0)
    assert (await database.read(lambda c: statistics(c, later, 10_000))).first == later.date() - timedelta(
        days=MOST_DAYS - 1
    )


async def test_a_run_that_never_started_is_counted_and_not_as_started(database: Database) -> None:
    def never(connection: Connection) -> None:
        task = tasks.post(connection, POSTED, NOW).id
        _ran(connection, task, Stage.DEVELOPMENT, 1, 2, is_started=False)

    await database.write(never)
    [row] = await database.read(lambda connection: _rows(connection, "spending"))
    assert row[:6] == ("2026-11-22", "developer", "acme/enduro-trails", "succeeded", 1, 0)


async def test_the_migration_makes_the_same_of_what_happened_before_it(database: Database) -> None:
    spec = importlib.util.spec_from_file_location("lists", MIGRATIONS / "versions" / "0008_lists.py")
    assert spec
    assert spec.loader
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    await database.write(_story)
    await database.write(_story_of_another)

    def again(connection: Connection) -> tuple[Any, ...]:
        before = {table: _rows(connection, table) for table in ("stays", "spending")}
        for table, statement in (("stays", migration._STAYS), ("spending", migration._SPENDING)):
            connection.execute(text(f"DELETE FROM {table}"))
            connection.exec_driver_sql(statement)
        return before, {table: _rows(connection, table) for table in before}

    before, after = await database.write(again)
    assert sorted(row[1:] for row in before["stays"]) == sorted(row[1:] for row in after["stays"])
    assert before["spending"] == after["spending"]


def _story_of_another(connection: Connection) -> None:
    task = tasks.post(connection, replace(POSTED, repo=RepoName("acme", "other")), at(0.25)).id
    _ran(connection, task, Stage.ANALYSIS, 1, 2, is_started=False)
    _decide(connection, task, 3, Decision(Stage.ANALYSIS))


async def test_a_clock_that_was_set_back_makes_no_negative_stay(database: Database) -> None:
    def back(connection: Connection) -> list[tuple[Any, ...]]:
        task = tasks.post(connection, POSTED, NOW).id
        stays.left(connection, task, Stage.CREATED, "", at(-1))
        return [row[5:7] for row in _rows(connection, "stays")]

    assert await database.write(back) == [(0, 0)]


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 5), (0.9, 9), (0.01, 1), (1.0, 10)])
def test_a_share_is_one_of_the_values(share: float, wanted: int) -> None:
    assert _share(range(1, 11), share) == wanted

"""Admission on real rows: slots, pauses, the account's limit, restarts. The engine and the execution are the real
ones; agents are told by the test when and how they end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.db import Database
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RepoName, RunId, Sha, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Liveness, Outcome, RunLimits, RunResult, RunSpec, Usage
from orchestrator.engines.local import LocalEngine, Pace
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.dispatch import Dispatch, Round
from orchestrator.reconcile.execute import Execution
from orchestrator.reconcile.loop import Looked, _follow
from orchestrator.reconcile.resync import Moved
from orchestrator.store import dispatch as rows
from orchestrator.store import runs, tasks, views
from orchestrator.store.dispatch import PauseKind
from orchestrator.store.tasks import Posted
from orchestrator.workflow.admission import AdmissionLimits
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.pipeline import step_of_role

HEAD = Sha("a" * 40)
DONE = RunResult(Outcome.SUCCEEDED, 0)
SHOP = RepoName.parse("acme/shop")


@dataclass
class Agents:
    """See ports.AgentRuntime: agents without a process, for as long as this lives."""

    launched: list[RunId] = field(default_factory=list)
    prepared: list[RunId] = field(default_factory=list)
    preparing: asyncio.Event = field(default_factory=asyncio.Event)
    ends: dict[RunId, asyncio.Future[RunResult]] = field(default_factory=dict)
    talks: dict[RunId, Callable[[Usage], None]] = field(default_factory=dict)
    stopped: set[RunId] = field(default_factory=set)
    published: list[RunId] = field(default_factory=list)
    asked_to_collect: list[RunId] = field(default_factory=list)
    fault: Exception | None = None
    """Met by who collects."""

    def __post_init__(self) -> None:
        self.preparing.set()

    def liveness(self, run: RunId) -> Liveness:
        return Liveness.ALIVE if run in self.launched else Liveness.UNSTARTED

    def output_path(self, run: RunId) -> str:
        return f"/nonexistent/{run}"

    async def prepare(self, spec: RunSpec) -> None:
        self.prepared.append(spec.run)
        await self.preparing.wait()

    async def launch(self, spec: RunSpec) -> None:
        assert spec.run not in self.launched
        self.launched.append(spec.run)

    async def wait(self, spec: RunSpec, on_progress: Callable[[Usage], None]) -> RunResult:
        self.talks[spec.run] = on_progress
        return await asyncio.shield(self.ends.setdefault(spec.run, asyncio.get_running_loop().create_future()))

    async def stop(self, run: RunId) -> bool:
        self.stopped.add(run)
        self.end(run, RunResult(Outcome.CANCELLED, None, "cancelled"))
        return run not in self.launched

    def sandbox_of(self, _run: RunId) -> str:
        return "none"

    def prompt_digest(self, _run: RunId) -> str | None:
        return None

    def heard_at(self, _run: RunId) -> datetime | None:
        return None

    def was_stopped(self, run: RunId) -> bool:
        return run in self.stopped

    async def collect(self, spec: RunSpec, _model: str = "") -> Sha | None:
        self.asked_to_collect.append(spec.run)
        if self.fault:
            raise self.fault
        return HEAD

    async def publish(self, spec: RunSpec, _head: Sha) -> None:
        self.published.append(spec.run)

    async def changed_paths(self, *_: object) -> Sequence[str]:
        return ()

    def end(self, run: RunId, result: RunResult = DONE) -> None:
        self.ends.setdefault(run, asyncio.get_running_loop().create_future())
        if not self.ends[run].done():
            self.ends[run].set_result(result)

    @property
    def at_work(self) -> set[RunId]:
        return {run for run in self.launched if run not in self.ends or not self.ends[run].done()}


class Idle:
    """Nothing is looked at here; resyncs find nothing."""

    def __init__(self) -> None:
        self.looked: list[TaskId] = []

    async def look(self, task: TaskId, _engine: object, *, is_kept: bool) -> Looked:
        del is_kept
        self.looked.append(task)
        return Looked()

    async def to_poll(self) -> Sequence[TaskId]:
        return ()

    async def moved(self) -> Moved:
        return Moved(())


@dataclass
class Office:
    """One process after another on the same rows."""

    database: Database
    clock: Any
    limits: AdmissionLimits
    agents: Agents = field(default_factory=Agents)
    looks: Idle = field(default_factory=Idle)
    engine: LocalEngine | None = None

    def __post_init__(self) -> None:
        self.dispatch = Dispatch(self.database, self.clock, self.limits, 900)

    async def open(self) -> None:
        execution = Execution(
            self.database, self.clock, self.agents, lambda _: None, RunLimits(60, 10, 1.0), dispatch=self.dispatch
        )
        self.engine = LocalEngine(
            self.looks,  # type: ignore[arg-type]
            execution,
            self.looks,  # type: ignore[arg-type]
            dispatch=self.dispatch,
            resync_interval_s=60,
            complaints=Complaints(),
            pace=Pace(merge_s=0.01, first_pause_s=0.01),
        )
        self.engine.open([], [], self.database.read_now(runs.open_runs))

    async def restart(self) -> None:
        """As after a kill -9: agents that were launched live on."""
        await self.close()
        self.dispatch = Dispatch(self.database, self.clock, self.limits, 900)
        await self.open()

    async def close(self) -> None:
        if self.engine:
            await self.engine.close()

    async def intend(
        self, role: Role = Role.DEVELOPER, repo: RepoName = SHOP, task: TaskId | None = None
    ) -> RunId:
        """As the reconciler does it: intent and judgement in one transaction, then the engine is told."""
        now = self.clock.now()

        def commit(connection: Any) -> tuple[RunId, Round]:
            of = task or tasks.post(connection, Posted(role, repo, "Search", "Please.", "main"), now).id
            attempt = len(runs.facts_of(connection, of)) + 1
            order = StartRun(role, step_of_role(role).stage, attempt, HEAD)
            run = runs.intend(connection, of, order, str(uuid4()), now)
            return run, self.dispatch.intended(connection, run, now)

        run, admitted = await self.database.write(commit)
        assert self.engine is not None
        _follow(admitted, self.engine, task or TaskId(0))
        return run

    def reason(self, run: RunId) -> str:
        view = self.database.read_now(lambda connection: views.run(connection, run))
        return view.waits_for.code if view and view.waits_for else ""

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - the condition is of rows, which know no event
                await asyncio.sleep(0.005)
        assert condition(), what

    async def settled(self) -> None:
        """Whatever was asked for has been judged and carried out."""
        engine = self.engine
        assert engine is not None
        engine.admit()
        await self.until(lambda: not engine._is_admitting, "admission is done")
        for _ in range(20):
            await asyncio.sleep(0)
        busy = self.agents.at_work if self.agents.preparing.is_set() else set(self.agents.prepared)
        await self.until(
            lambda: engine._runs.keys() <= busy | self.agents.at_work, "all that may start has started"
        )


@pytest.fixture
async def office(database: Database, clock: Any) -> AsyncIterator[Callable[..., Any]]:
    opened: list[Office] = []

    async def make(**limits: Any) -> Office:
        one = Office(database, clock, AdmissionLimits(**limits))
        await one.open()
        opened.append(one)
        return one

    yield make
    for one in opened:
        await one.close()


async def test_slots_are_filled_in_the_order_of_admission_and_the_rest_says_what_it_waits_for(office: Any) -> None:
    one = await office(runs=2)
    found = [await one.intend(role) for role in (Role.ANALYST, Role.ANALYST, Role.ANALYST, Role.TESTER)]
    await one.settled()
    assert one.agents.at_work == set(found[:2])
    assert [one.reason(run) for run in found] == ["", "", "slots_full", "slots_full"]
    one.agents.end(found[0])
    await one.until(lambda: found[3] in one.agents.launched, "the later stage goes first")
    assert one.agents.at_work == {found[1], found[3]}
    one.agents.end(found[1])
    await one.until(lambda: found[2] in one.agents.launched, "the last one starts")


async def test_who_waits_sees_who_is_at_work(office: Any, database: Database) -> None:
    one = await office(runs=1)
    await one.intend(Role.TESTER)
    await one.intend(Role.ANALYST)
    await one.settled()
    waiting, _ = database.read_now(lambda connection: views.active_tasks(connection, 10))
    reason = waiting.waiting[0]
    assert (reason.code, dict(reason.params), reason.evidence) == (
        "slots_full",
        {"limit": "1"},
        ("TASK-1 (tester)",),
    )


async def test_a_task_whose_run_waits_for_something_else_now_is_looked_at(office: Any) -> None:
    one = await office(runs=1)
    first, second = await one.intend(), await one.intend()
    await one.settled()
    one.looks.looked.clear()
    one.agents.end(first)
    await one.until(lambda: second in one.agents.launched, "the next one starts")
    await one.until(lambda: TaskId(2) in one.looks.looked, "its task is looked at")


async def test_a_restart_takes_up_those_at_work_first_and_above_every_limit(office: Any) -> None:
    one = await office(runs=3)
    found = [await one.intend() for _ in range(4)]
    await one.settled()
    one.limits = AdmissionLimits(runs=1)
    await one.restart()
    await one.settled()
    assert one.agents.at_work == set(found[:3])
    assert one.engine._runs.keys() == set(found[:3])
    for run in found[:3]:
        one.agents.end(run)
    await one.until(lambda: found[3] in one.agents.launched, "the last one starts when there is a slot")


async def test_a_run_that_was_admitted_but_not_launched_is_judged_anew_after_a_restart(office: Any) -> None:
    one = await office(runs=1)
    one.agents.preparing.clear()
    run = await one.intend()
    await one.until(lambda: run in one.agents.prepared, "it is on its way")
    await one.close()
    await one.dispatch.pause_all(is_paused=True)
    one.agents.preparing.set()
    await one.restart()
    await one.settled()
    assert (one.agents.launched, one.reason(run)) == ([], "dispatch_paused")


# F31: a pause is honoured on every path that leads to a launch


async def pause_all(one: Office, _task: TaskId) -> None:
    await one.dispatch.pause_all(is_paused=True)


async def pause_task(one: Office, task: TaskId) -> None:
    await one.dispatch.pause_task(task, is_paused=True)


async def pause_account(one: Office, _task: TaskId) -> None:
    limit = RunResult(Outcome.USAGE_LIMIT, 1, resets_at=one.clock.now() + timedelta(hours=1))
    now = one.clock.now()
    await one.database.write(lambda connection: one.dispatch.ended(connection, limit, now))


async def by_new_intent(one: Office, task: TaskId) -> None:
    await one.intend(task=task)


async def by_slot(one: Office, task: TaskId) -> None:
    await one.intend(task=task)
    one.agents.end(one.agents.launched[0])


async def by_restart(one: Office, task: TaskId) -> None:
    await one.intend(task=task)
    await one.restart()


async def by_question(one: Office, task: TaskId) -> None:
    await one.intend(task=task)
    one.engine.admit()  # type: ignore[union-attr]


async def by_order(one: Office, task: TaskId) -> None:
    """An engine may be told twice, or late."""
    one.engine.start_run(await one.intend(task=task))  # type: ignore[union-attr]


async def by_retry(one: Office, task: TaskId) -> None:
    now = one.clock.now()
    await one.intend(task=task)
    await one.database.write(lambda connection: tasks.retry(connection, task, now))
    one.engine.wake(task)  # type: ignore[union-attr]
    one.engine.admit()  # type: ignore[union-attr]


PAUSES = [pause_all, pause_task, pause_account]
PATHS = [by_new_intent, by_slot, by_restart, by_question, by_order, by_retry]


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("path", PATHS)
async def test_while_it_is_paused_no_path_leads_to_a_launch(office: Any, pause: Any, path: Any) -> None:
    one = await office(runs=2)
    await one.intend()
    await one.settled()
    now = one.clock.now()
    task = await one.database.write(
        lambda connection: tasks.post(connection, Posted(Role.TESTER, SHOP, "t", "b", "main"), now).id
    )
    await pause(one, task)
    await path(one, task)
    await one.settled()
    assert one.agents.launched == [1]
    assert one.reason(RunId(2)) in {"dispatch_paused", "paused", "account_paused"}


@pytest.mark.parametrize("pause", PAUSES)
async def test_a_pause_between_admission_and_launch_is_heard(office: Any, pause: Any) -> None:
    one = await office(runs=1)
    one.agents.preparing.clear()
    run = await one.intend()
    await one.until(lambda: run in one.agents.prepared, "it is on its way")
    await pause(one, TaskId(1))
    one.agents.preparing.set()
    await one.until(lambda: one.reason(run), "it was put back")
    await one.settled()
    assert one.agents.launched == []
    assert one.reason(run) in {"dispatch_paused", "paused", "account_paused"}


async def test_after_the_pause_what_waited_starts_and_a_paused_task_stays_so(office: Any) -> None:
    one = await office(runs=5)
    await one.dispatch.pause_all(is_paused=True)
    first, second = await one.intend(), await one.intend()
    await one.dispatch.pause_task(TaskId(2), is_paused=True)
    assert not await one.dispatch.pause_all(is_paused=True)
    assert await one.dispatch.pause_all(is_paused=False)
    await one.settled()
    assert (one.agents.launched, one.reason(second)) == ([first], "paused")
    await one.dispatch.pause_task(TaskId(2), is_paused=False)
    await one.settled()
    assert one.agents.launched == [first, second]


async def test_a_waiting_run_that_is_cancelled_ends_and_never_starts(office: Any, database: Database) -> None:
    one = await office(runs=1)
    first, second = await one.intend(), await one.intend()
    await one.settled()
    await one.engine.cancel_run(second)
    one.agents.end(first)
    await one.until(lambda: not one.engine._runs, "all is over")
    view = database.read_now(lambda connection: views.run(connection, second))
    assert view is not None
    assert (view.state, view.outcome, one.agents.launched) == ("ended", "cancelled", [first])


# F9: the account's usage limit


def limit(one: Office, in_s: float | None) -> RunResult:
    told = None if in_s is None else one.clock.now() + timedelta(seconds=in_s)
    return RunResult(Outcome.USAGE_LIMIT, 1, "usage_limit_reached", resets_at=told)


async def test_the_usage_limit_stops_all_dispatch_until_the_reset_then_one_run_tries_it(
    office: Any, database: Database
) -> None:
    one = await office(runs=3)
    first = await one.intend()
    await one.settled()
    one.agents.end(first, limit(one, 3600))
    await one.until(lambda: database.read_now(rows.pause_rows), "the pause is stored")
    found = [await one.intend() for _ in range(4)]
    for _ in range(20):
        one.clock.advance(170)
        await one.settled()
    await one.restart()
    await one.settled()
    assert one.agents.launched == [first]
    assert [one.reason(run) for run in found] == ["account_paused"] * 4
    assert [finding.code for finding in await one.dispatch.findings()] == ["account_paused"]
    one.clock.advance(300)
    await one.settled()
    assert one.agents.launched == [first, found[0]]
    assert one.reason(found[1]) == "account_on_probe"
    await one.until(lambda: found[0] in one.agents.talks, "it is at work")
    one.agents.talks[found[0]](Usage(turns=1))
    await one.until(
        lambda: database.read_now(lambda connection: views.run(connection, found[0])).turns, "it was answered"
    )
    await one.settled()
    assert set(one.agents.launched) == {first, *found[:3]}
    assert one.reason(found[3]) == "slots_full"
    assert await one.dispatch.findings() == []


async def test_a_probe_that_meets_the_limit_again_pauses_again_for_longer(office: Any, database: Database) -> None:
    one = await office(runs=3)
    found = [await one.intend() for _ in range(2)]
    await one.settled()
    for run in found:
        one.agents.end(run, limit(one, None))
    await one.until(lambda: not one.engine._runs, "both met the limit")
    pause = database.read_now(rows.pause_rows)[PauseKind.ACCOUNT]
    assert pause.until - one.clock.now() == timedelta(seconds=900)
    probe, other = await one.intend(), await one.intend()
    one.clock.advance(900)
    await one.settled()
    assert set(one.agents.launched) == {*found, probe}
    one.agents.end(probe, limit(one, None))
    await one.until(lambda: not one.engine._runs, "the probe met the limit")
    await one.settled()
    assert (set(one.agents.launched), one.reason(other)) == ({*found, probe}, "account_paused")
    assert database.read_now(rows.pause_rows)[PauseKind.ACCOUNT].until - one.clock.now() == timedelta(seconds=1800)


async def test_a_probe_that_broke_without_an_answer_is_followed_by_another(office: Any) -> None:
    one = await office(runs=3)
    first = await one.intend()
    await one.settled()
    one.agents.end(first, limit(one, 60))
    await one.until(lambda: not one.engine._runs, "it met the limit")
    probe, other = await one.intend(), await one.intend()
    one.clock.advance(100)
    await one.settled()
    assert one.agents.launched == [first, probe]
    one.agents.end(probe, RunResult(Outcome.CRASHED, 1))
    await one.until(lambda: other in one.agents.launched, "the next one tries")


async def test_who_begins_to_wait_for_a_moment_is_asked_about_when_it_comes(office: Any) -> None:
    """Nobody else asks: no run ends, nothing is resumed."""
    one = await office(runs=3)
    first = await one.intend()
    await one.settled()
    one.agents.end(first, limit(one, 1))
    await one.until(lambda: not one.engine._runs, "it met the limit")
    second = await one.intend()
    await one.until(lambda: one.engine._admission_due, "a moment is set")
    assert one.reason(second) == "account_paused"
    one.clock.advance(11)
    one.engine._admission_due.cancel()
    one.engine._admit_in(0)
    await one.until(lambda: second in one.agents.launched, "it starts")


async def test_words_about_a_limit_in_a_normal_result_pause_nothing(office: Any, database: Database) -> None:
    """F10."""
    one = await office(runs=1)
    first = await one.intend()
    await one.settled()
    said = "You've hit your limit · resets 3pm. usage_limit_reached"
    resets_at = one.clock.now() + timedelta(hours=1)
    one.agents.end(first, RunResult(Outcome.FAILED, 0, "no_commit", said, resets_at=resets_at))
    await one.until(lambda: not one.engine._runs, "it is over")
    ended = database.read_now(lambda connection: views.run(connection, first))
    assert ended is not None
    assert ended.reason == "no_commit"
    assert database.read_now(rows.pause_rows) == {}
    assert await one.intend() in (await launched(one))


async def launched(one: Office) -> list[RunId]:
    await one.settled()
    return one.agents.launched


# money and numbers of a day


async def test_when_the_days_budget_is_spent_runs_wait_for_midnight(office: Any) -> None:
    one = await office(runs=5, day_budget_usd=10.0)
    first, second = await one.intend(), await one.intend()
    await one.settled()
    one.agents.end(first, RunResult(Outcome.SUCCEEDED, 0, usage=Usage(1, 1, 1, 9.5)))
    await one.until(lambda: len(one.engine._runs) == 1, "the first is over")
    one.agents.talks[second](Usage(1, 1, 1, 0.5))
    await one.until(lambda: spent(one) >= 10.0, "what is at work is counted, too")
    third = await one.intend()
    await one.settled()
    assert one.reason(third) == "day_budget_spent"
    one.agents.end(second, RunResult(Outcome.SUCCEEDED, 0, usage=Usage(1, 1, 1, 0.5)))
    one.clock.advance(12 * 3600)
    await one.settled()
    assert third in one.agents.launched


def spent(one: Office) -> float:
    now = one.clock.now()
    return one.database.read_now(lambda connection: rows.situation(connection, now)).day.spent_usd


async def test_no_more_runs_start_in_a_day_than_allowed(office: Any) -> None:
    one = await office(runs=5, runs_per_day=2)
    found = [await one.intend() for _ in range(3)]
    await one.settled()
    assert (set(one.agents.launched), one.reason(found[2])) == (set(found[:2]), "day_runs_spent")
    await one.restart()
    one.clock.advance(12 * 3600)
    await one.settled()
    assert set(one.agents.launched) == set(found)


async def test_a_run_that_cannot_be_prepared_gives_its_slot_back(office: Any) -> None:
    one = await office(runs=1)

    async def broken(spec: RunSpec) -> None:
        if spec.run == 1:
            raise Permanent("broken", "no")

    one.agents.prepare = broken
    await one.intend()
    second = await one.intend()
    await one.until(lambda: second in one.agents.launched, "the next one has the slot")


def outcome(office: Office, run: RunId) -> tuple[str, str] | None:
    view = office.database.read_now(lambda connection: views.run(connection, run))
    return (view.outcome, view.reason) if view and view.outcome else None


async def test_a_run_that_is_stopped_while_its_forge_is_away_is_over_and_not_published(office: Any) -> None:
    """Its agent ended well. Nobody waits for an hour to hear that it is cancelled."""
    one = await office(runs=1)
    one.agents.fault = Transient("gitea_unreachable", "Gitea cannot be reached.", retry_after_s=3600)
    run = await one.intend()
    await one.until(lambda: run in one.agents.talks, "it is at work")
    one.agents.end(run)
    await one.until(lambda: one.agents.asked_to_collect == [run], "its forge is away")
    await one.engine.cancel_run(run)
    await one.until(lambda: outcome(one, run) is not None, "it is over")
    assert outcome(one, run) == ("cancelled", "cancelled")
    assert one.agents.published == []


@pytest.mark.parametrize("fault", [None, Permanent("no_bundle", "git could not pack the run's commits.")])
async def test_a_run_that_is_stopped_while_its_work_is_collected_is_cancelled(
    office: Any, fault: Exception | None
) -> None:
    """The stop ends git in the workspace as well, which is no fault of the run."""
    one = await office(runs=1)

    async def collect(spec: RunSpec, _model: str = "") -> Sha | None:
        await one.engine.cancel_run(spec.run)
        if fault:
            raise fault
        return HEAD

    one.agents.collect = collect
    run = await one.intend()
    one.agents.end(run)
    await one.until(lambda: outcome(one, run) is not None, "it is over")
    assert outcome(one, run) == ("cancelled", "cancelled")
    assert one.agents.published == []


async def test_a_fault_of_collecting_is_the_runs_when_nobody_stopped_it(office: Any) -> None:
    one = await office(runs=1)
    one.agents.fault = Permanent("no_bundle", "git could not pack the run's commits.")
    run = await one.intend()
    one.agents.end(run)
    await one.until(lambda: outcome(one, run) is not None, "it is over")
    assert outcome(one, run) == ("failed", "no_bundle")


async def test_a_verdict_of_a_run_that_was_stopped_counts_for_nothing(office: Any) -> None:
    one = await office(runs=1)
    run = await one.intend(Role.REVIEWER)
    one.agents.stopped.add(run)
    one.agents.end(run)
    await one.until(lambda: outcome(one, run) is not None, "it is over")
    assert outcome(one, run) == ("cancelled", "cancelled")

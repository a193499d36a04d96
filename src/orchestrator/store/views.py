"""Read models for people: what /status, the API and the command line show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from orchestrator.domain.model import Cause, RunId, Stage, TaskId
from orchestrator.qg.verdict import Item, Verdict
from orchestrator.store import approvals, decisions, dispatch
from orchestrator.store.approvals import Approval
from orchestrator.store.decisions import Basis, Told
from orchestrator.store.runs import OF_RUNS, waits_for
from orchestrator.store.schema import agent_runs, tasks
from orchestrator.store.tasks import returns_of, waiting_items
from orchestrator.workflow.admission import FULL
from orchestrator.workflow.pipeline import STEPS, place

LOOK_BACK = 200
"""Decisions that are looked at for the newest verdict of each gate."""
MOST_OTHERS = 30
"""Runs of a task that a run's page links to."""
MOST_NAMED = 10
"""Runs at work that are named to those who wait."""


@dataclass(frozen=True, slots=True)
class RunView:
    """One attempt. `task` is the key of its task."""

    id: RunId
    task: str
    role: str
    stage: str
    attempt: int
    state: str
    outcome: str | None
    reason: str
    detail: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    exit_code: int | None
    cli_version: str
    model: str
    sandbox: str
    prompt_digest: str | None
    head_sha: str | None
    output_path: str | None
    started_at: datetime | None
    finished_at: datetime | None
    last_activity_at: datetime | None
    resets_at: datetime | None
    resumes: int | None
    denials: tuple[str, ...]
    waits_for: Item | None = None
    """Why it was not admitted yet."""


@dataclass(frozen=True, slots=True)
class RunStory:
    """One attempt with its task, and what else was tried there: the newest runs of the task, newest last."""

    run: RunView
    key: str
    title: str
    repo: str | None
    intended_at: datetime
    verdict: str | None
    report: str
    others: tuple[RunView, ...]


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task with its runs, newest run last."""

    id: TaskId
    key: str
    title: str
    stage: str
    repo: str | None
    branch: str
    plane_id: str | None
    plane_project_id: str | None
    head_sha: str | None
    agent_running: bool
    created_at: datetime
    updated_at: datetime
    waiting: tuple[Item, ...]
    runs: tuple[RunView, ...]
    returns: tuple[Cause, ...] = ()
    """What sent it back, oldest first."""
    gates: tuple[tuple[str, Verdict], ...] = ()
    """The newest verdict of each gate that the task has come to. In lists it is left out."""


@dataclass(frozen=True, slots=True)
class TaskStory:
    """One task with its newest decisions, newest first, and what the newest rested on."""

    task: TaskView
    decisions: tuple[Told, ...]
    basis: Basis | None
    approvals: tuple[Approval, ...] = ()


def active_tasks(connection: Connection, limit: int) -> list[TaskView]:
    """Stage not done, newest first, each with its last run only. Its time does not grow with the journal."""
    query = select(tasks).where(tasks.c.stage != "done").order_by(tasks.c.created_at.desc(), tasks.c.id.desc())
    return with_last_run(connection, connection.execute(query.limit(limit)).all())


def with_last_run(connection: Connection, rows: Sequence[Row[Any]]) -> list[TaskView]:
    """Rows of `tasks`, each with its last run only."""
    keys = {row.id: row.key for row in rows}
    newest = select(func.max(agent_runs.c.id)).where(agent_runs.c.task_id.in_(keys))
    last = select(agent_runs).where(agent_runs.c.id.in_(newest.group_by(agent_runs.c.task_id)))
    runs = {run.task_id: (run_view(run, keys[run.task_id]),) for run in connection.execute(last)}
    return _with_those_at_work(connection, [_task(row, runs.get(row.id, ())) for row in rows])


def task(connection: Connection, key: str) -> TaskView | None:
    row = connection.execute(select(tasks).where(tasks.c.key == key)).one_or_none()
    if row is None:
        return None
    query = select(agent_runs).where(agent_runs.c.task_id == row.id).order_by(agent_runs.c.id)
    runs = tuple(run_view(run, row.key) for run in connection.execute(query))
    [found] = _with_those_at_work(connection, [_task(row, runs)])
    return replace(found, gates=_gates(connection, row))


def _with_those_at_work(connection: Connection, found: list[TaskView]) -> list[TaskView]:
    """Who waits for a slot sees who has them. As it is now, so it is no part of what is stored."""
    if not any(item.code in FULL for view in found for item in view.waiting):
        return found
    names = tuple(dispatch.at_work(connection, MOST_NAMED))
    return [
        replace(
            view,
            waiting=tuple(
                msgspec.structs.replace(item, evidence=names) if item.code in FULL else item
                for item in view.waiting
            ),
        )
        for view in found
    ]


def _gates(connection: Connection, row: Row[Any]) -> tuple[tuple[str, Verdict], ...]:
    """Those of the last decision that judged; of the gates that it did not ask, those that the task has passed."""
    last, *earlier = decisions.verdicts_of(connection, TaskId(row.id), LOOK_BACK) or [()]
    found = {name: verdict for verdicts in reversed(earlier) for name, verdict in verdicts}
    passed = {step.gate for step in STEPS if place(step.stage) < place(Stage(row.stage))}
    known = {name: verdict for name, verdict in found.items() if name in passed} | dict(last)
    return tuple(sorted(known.items()))


def story(connection: Connection, key: str, limit: int) -> TaskStory | None:
    """With at most `limit` decisions."""
    found = task(connection, key)
    if found is None:
        return None
    told = tuple(decisions.history(connection, found.id, limit))
    given = tuple(approvals.of_task(connection, found.id))
    return TaskStory(found, told, decisions.newest_basis(connection, found.id), given)


def run(connection: Connection, ident: RunId) -> RunView | None:
    query = select(agent_runs, tasks.c.key).join(tasks).where(agent_runs.c.id == ident)
    row = connection.execute(query).one_or_none()
    return run_view(row, row.key) if row else None


def run_story(connection: Connection, ident: RunId) -> RunStory | None:
    of_task = (tasks.c.key, tasks.c.title, tasks.c.repo)
    query = select(agent_runs, *of_task).join(tasks).where(agent_runs.c.id == ident)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    newest = select(agent_runs).where(agent_runs.c.task_id == row.task_id).order_by(agent_runs.c.id.desc())
    others = tuple(run_view(one, row.key) for one in connection.execute(newest.limit(MOST_OTHERS)))[::-1]
    return RunStory(
        run=run_view(row, row.key),
        key=row.key or "",
        title=row.title,
        repo=row.repo,
        intended_at=row.intended_at,
        verdict=row.verdict,
        report=row.report or "",
        others=others,
    )


def run_view(row: Row[Any], key: str | None) -> RunView:
    """A row of `agent_runs`; `key` is its task's."""
    return RunView(
        id=RunId(row.id),
        task=key or "",
        role=row.agent,
        stage=row.stage,
        attempt=row.attempt,
        state=row.state,
        outcome=row.outcome,
        reason=row.reason,
        detail=row.detail,
        turns=row.turns,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_usd=row.cost_usd,
        exit_code=row.exit_code,
        cli_version=row.cli_version,
        model=row.model,
        sandbox=row.sandbox,
        prompt_digest=row.prompt_digest,
        head_sha=row.head_sha,
        output_path=row.output_path,
        started_at=row.started_at,
        finished_at=row.finished_at,
        last_activity_at=row.last_activity_at,
        resets_at=row.resets_at,
        resumes=row.resumes,
        denials=tuple(msgspec.json.decode(row.denials, type=list[str])),
        waits_for=waits_for(row.waits_for),
    )


def _task(row: Row[Any], runs: tuple[RunView, ...]) -> TaskView:
    return TaskView(
        id=TaskId(row.id),
        key=row.key or "",
        title=row.title,
        stage=row.stage,
        repo=row.repo,
        branch=row.branch,
        plane_id=row.plane_id,
        plane_project_id=row.plane_project_id,
        head_sha=row.head_sha,
        agent_running=row.agent_running,
        created_at=row.created_at,
        updated_at=row.updated_at,
        waiting=_waiting(waiting_items(row.waiting), runs),
        runs=runs,
        returns=tuple(one.cause for one in returns_of(row.returns)),
    )


def _waiting(items: tuple[Item, ...], runs: tuple[RunView, ...]) -> tuple[Item, ...]:
    """What the newest run waits for is known before the task is looked at again."""
    reason = runs[-1].waits_for if runs else None
    if reason is None:
        return items
    return (reason, *(one for one in items if one.code not in OF_RUNS and one != reason))

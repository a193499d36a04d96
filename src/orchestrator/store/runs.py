"""Rows of `agent_runs`: one row an attempt."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.model import RunId, Sha, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RoleVerdict, RunResult, RunState, Usage, VerdictWord
from orchestrator.qg.facts import RunFact
from orchestrator.qg.runs import NOT_WANTED
from orchestrator.qg.verdict import Item
from orchestrator.store import canonical, spending
from orchestrator.store.prepared import Prepared
from orchestrator.store.schema import agent_runs, next_revision, tasks
from orchestrator.workflow.admission import CODES as ADMISSION_CODES
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.keeping import OldRun


@dataclass(frozen=True, slots=True)
class RunRow:
    """An attempt as intended; what a launch needs beside its task."""

    id: RunId
    task: TaskId
    role: Role
    stage: Stage
    attempt: int
    state: RunState
    session_id: str
    base_sha: Sha
    intended_at: datetime
    feedback: tuple[Feedback, ...] = ()
    resumes: int | None = None
    """The earlier attempt of this stage that it goes on from."""
    is_called_off: bool = False
    """Nobody wants it any more, and its agent was not started."""


_SAID_MAX_CHARS = 300
OF_RUNS = frozenset({"run_intended", "run_running", "run_unpublished", *ADMISSION_CODES})
"""Codes of what a run waits for: where its row says something newer, what the task says of it is not shown."""
_INTEND = Prepared(
    insert(agent_runs).returning(agent_runs.c.id),
    (
        "task_id",
        "agent",
        "stage",
        "attempt",
        "state",
        "session_id",
        "base_sha",
        "intended_at",
        "feedback",
        "resumes",
    ),
)
_TOUCH_TASK = (
    update(tasks)
    .where(tasks.c.id == select(agent_runs.c.task_id).where(agent_runs.c.id == bindparam("run")).scalar_subquery())
    .values(revision=next_revision())
)
_OF_TASK = Prepared(select(agent_runs).where(agent_runs.c.task_id == bindparam("task")).order_by(agent_runs.c.id))


def intend(connection: Connection, task: TaskId, start: StartRun, session_id: str, now: datetime) -> RunId:
    """Unique on (task, stage, attempt), and one open run a task: the database refuses a second."""
    row = {
        "task_id": task,
        "agent": start.role,
        "stage": start.stage,
        "attempt": start.attempt,
        "state": RunState.INTENDED,
        "session_id": session_id,
        "base_sha": start.base_sha,
        "intended_at": now,
        "feedback": canonical.encode(start.feedback) if start.feedback else None,
        "resumes": start.resumes or None,
    }
    return RunId(_INTEND.scalar(connection, row))


def get(connection: Connection, run: RunId) -> RunRow:
    return _run(connection.execute(select(agent_runs).where(agent_runs.c.id == run)).one())


def attempt(connection: Connection, task: TaskId, stage: Stage, number: int) -> RunRow | None:
    query = select(agent_runs).where(agent_runs.c.task_id == task, agent_runs.c.stage == stage)
    row = connection.execute(query.where(agent_runs.c.attempt == number)).one_or_none()
    return _run(row) if row else None


def open_runs(connection: Connection) -> list[RunId]:
    """What a killed process left behind, oldest first."""
    query = select(agent_runs.c.id).where(agent_runs.c.state != RunState.ENDED).order_by(agent_runs.c.id)
    return [RunId(row.id) for row in connection.execute(query)]


def open_of_task(connection: Connection, task: TaskId) -> list[RunId]:
    query = select(agent_runs.c.id).where(agent_runs.c.task_id == task, agent_runs.c.state != RunState.ENDED)
    return [RunId(row.id) for row in connection.execute(query)]


def with_folders(connection: Connection, sizes: Mapping[RunId, tuple[int, int]]) -> list[OldRun]:
    """Every attempt, with what its folder holds; nothing for one without a folder."""
    own = ("id", "task_id", "agent", "stage", "attempt", "state", "outcome", "head_sha", "finished_at")
    columns = [agent_runs.c[name] for name in own]
    query = select(*columns, tasks.c.stage.label("task_stage")).join(tasks, tasks.c.id == agent_runs.c.task_id)
    return [
        OldRun(
            run=RunId(row.id),
            task=TaskId(row.task_id),
            role=Role(row.agent),
            stage=Stage(row.stage),
            attempt=row.attempt,
            state=RunState(row.state),
            outcome=Outcome(row.outcome) if row.outcome else None,
            is_published=row.head_sha is not None,
            ended_at=row.finished_at,
            task_stage=Stage(row.task_stage),
            bulk_bytes=sizes.get(RunId(row.id), (0, 0))[0],
            all_bytes=sizes.get(RunId(row.id), (0, 0))[1],
        )
        for row in connection.execute(query)
    ]


def facts_of(connection: Connection, task: TaskId) -> tuple[RunFact, ...]:
    return tuple(
        RunFact(
            stage=Stage(row.stage),
            attempt=row.attempt,
            state=RunState(row.state),
            outcome=Outcome(row.outcome) if row.outcome else None,
            # An open one that is called off still has to end.
            reason=row.reason if row.state == RunState.ENDED else "",
            base=Sha(row.base_sha),
            head=Sha(row.head_sha) if row.head_sha else None,
            verdict=RoleVerdict(VerdictWord(row.verdict), row.report or "") if row.verdict else None,
            resumes=row.resumes or 0,
            ended_at=row.finished_at,
            resets_at=row.resets_at,
            said=_said(row),
            waits_for=waits_for(row.waits_for),
            # What an open run has cost changes all the time, and would make every look a new one.
            cost_usd=row.cost_usd if row.state == RunState.ENDED else 0.0,
        )
        for row in _OF_TASK.rows(connection, {"task": task})
    )


@dataclass(frozen=True, slots=True)
class Launch:
    """What is known of an attempt as soon as it was launched."""

    output_path: str
    sandbox: str = "none"
    prompt_digest: str | None = None


def started(connection: Connection, run: RunId, launch: Launch, now: datetime) -> None:
    is_intended = (agent_runs.c.id == run, agent_runs.c.state == RunState.INTENDED)
    values = {"state": RunState.RUNNING, "started_at": now, "waits_for": None, **asdict(launch)}
    connection.execute(update(agent_runs).where(*is_intended).values(values))
    connection.execute(_TOUCH_TASK, {"run": run})


def kept(connection: Connection, run: RunId, reason: Item) -> None:
    """Its agent has ended, and what it made waits for this."""
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    values = {"waits_for": msgspec.json.encode(reason).decode()}
    connection.execute(update(agent_runs).where(*is_open).values(values))
    connection.execute(_TOUCH_TASK, {"run": run})


def call_off(connection: Connection, run: RunId) -> None:
    """Nobody wants it any more, which is stored before it is stopped: whoever goes on after a crash would take it
    for a run that a person stopped, which is not decided anew.
    """
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    connection.execute(update(agent_runs).where(*is_open).values(reason=NOT_WANTED))


def progressed(connection: Connection, run: RunId, usage: Usage, heard_at: datetime | None) -> None:
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    values = _usage(usage) | {"last_activity_at": heard_at}
    connection.execute(update(agent_runs).where(*is_open).values(values))


def ended(connection: Connection, run: RunId, result: RunResult, head: Sha | None, now: datetime) -> bool:
    """The one final state; a second call changes nothing and is False."""
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    values = _usage(result.usage) | {
        "state": RunState.ENDED,
        "finished_at": now,
        "outcome": result.outcome,
        "exit_code": result.exit_code,
        "reason": result.reason,
        "detail": result.detail,
        "waits_for": None,
        "resets_at": result.resets_at,
        "denials": msgspec.json.encode(result.denials).decode(),
        "cli_version": result.cli_version,
        "model": result.model,
        "head_sha": head,
        "verdict": result.verdict.word if result.verdict else None,
        "report": result.verdict.report if result.verdict else None,
    }
    has_ended = connection.execute(update(agent_runs).where(*is_open).values(values)).rowcount > 0
    if has_ended:
        spending.add(connection, run)
    return has_ended


def _said(row: Row[tuple[object, ...]]) -> str:
    """What a person has to see at once: which tools were denied, or how the program died."""
    if row.outcome == Outcome.DENIED:
        return ", ".join(dict.fromkeys(msgspec.json.decode(row.denials, type=list[str])))[:_SAID_MAX_CHARS]
    return row.detail[-_SAID_MAX_CHARS:] if row.outcome == Outcome.CRASHED else ""


def waits_for(text: str | None) -> Item | None:
    """From the column."""
    return msgspec.json.decode(text, type=Item) if text else None


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "turns": usage.turns,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": usage.cost_usd,
    }


def _run(row: Row[tuple[object, ...]]) -> RunRow:
    return RunRow(
        id=RunId(row.id),
        task=TaskId(row.task_id),
        role=Role(row.agent),
        stage=Stage(row.stage),
        attempt=row.attempt,
        state=RunState(row.state),
        session_id=row.session_id,
        base_sha=Sha(row.base_sha),
        intended_at=row.intended_at,
        feedback=canonical.decode(row.feedback, (Feedback,)) if row.feedback else (),
        resumes=row.resumes,
        is_called_off=row.reason == NOT_WANTED,
    )

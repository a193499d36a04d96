"""Rows of `agent_runs`: one row an attempt."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.model import Role, RunId, Sha, Stage, TaskId
from orchestrator.domain.run import Outcome, RoleVerdict, RunResult, RunState, Usage, VerdictWord
from orchestrator.qg.facts import RunFact
from orchestrator.store import canonical
from orchestrator.store.schema import agent_runs
from orchestrator.workflow.decision import StartRun


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
    feedback: tuple[Feedback, ...] = ()


_INTEND = insert(agent_runs).returning(agent_runs.c.id)
_OF_TASK = select(agent_runs).where(agent_runs.c.task_id == bindparam("task")).order_by(agent_runs.c.id)


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
    }
    return RunId(connection.execute(_INTEND, row).scalar_one())


def get(connection: Connection, run: RunId) -> RunRow:
    return _run(connection.execute(select(agent_runs).where(agent_runs.c.id == run)).one())


def open_runs(connection: Connection) -> list[RunId]:
    """What a killed process left behind, oldest first."""
    query = select(agent_runs.c.id).where(agent_runs.c.state != RunState.ENDED).order_by(agent_runs.c.id)
    return [RunId(row.id) for row in connection.execute(query)]


def open_of_task(connection: Connection, task: TaskId) -> list[RunId]:
    query = select(agent_runs.c.id).where(agent_runs.c.task_id == task, agent_runs.c.state != RunState.ENDED)
    return [RunId(row.id) for row in connection.execute(query)]


def facts_of(connection: Connection, task: TaskId) -> tuple[RunFact, ...]:
    return tuple(
        RunFact(
            stage=Stage(row.stage),
            attempt=row.attempt,
            state=RunState(row.state),
            outcome=Outcome(row.outcome) if row.outcome else None,
            reason=row.reason,
            base=Sha(row.base_sha),
            head=Sha(row.head_sha) if row.head_sha else None,
            verdict=RoleVerdict(VerdictWord(row.verdict), row.report or "") if row.verdict else None,
        )
        for row in connection.execute(_OF_TASK, {"task": task})
    )


def started(connection: Connection, run: RunId, output_path: str, now: datetime) -> None:
    is_intended = (agent_runs.c.id == run, agent_runs.c.state == RunState.INTENDED)
    values = {"state": RunState.RUNNING, "started_at": now, "output_path": output_path}
    connection.execute(update(agent_runs).where(*is_intended).values(values))


def progressed(connection: Connection, run: RunId, usage: Usage) -> None:
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    connection.execute(update(agent_runs).where(*is_open).values(_usage(usage)))


def ended(connection: Connection, run: RunId, result: RunResult, head: Sha | None, now: datetime) -> None:
    """The one final state; a second call changes nothing."""
    is_open = (agent_runs.c.id == run, agent_runs.c.state != RunState.ENDED)
    values = _usage(result.usage) | {
        "state": RunState.ENDED,
        "finished_at": now,
        "outcome": result.outcome,
        "exit_code": result.exit_code,
        "reason": result.reason,
        "detail": result.detail,
        "denials": msgspec.json.encode(result.denials).decode(),
        "cli_version": result.cli_version,
        "model": result.model,
        "head_sha": head,
        "verdict": result.verdict.word if result.verdict else None,
        "report": result.verdict.report if result.verdict else None,
    }
    connection.execute(update(agent_runs).where(*is_open).values(values))


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
        feedback=canonical.decode(row.feedback, (Feedback,)) if row.feedback else (),
    )

"""Carries one run out: prepare, launch, wait, fetch, publish, record. Begun again after a crash, it goes on."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import DocumentFiles, Language, Project, ProjectId, RunId, Sha, Task, TaskId
from orchestrator.domain.run import Liveness, Outcome, RunLimits, RunResult, RunSpec, RunState, Usage
from orchestrator.ports import AgentRuntime, Clock
from orchestrator.store import runs, tasks
from orchestrator.store.runs import RunRow
from orchestrator.workflow.pipeline import step_of_role

log = structlog.get_logger()


class Execution:
    """The rows decide what is left to do, so doing it twice is safe."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        runtime: AgentRuntime,
        project_of: Callable[[ProjectId | None], Project | None],
        limits: RunLimits,
    ) -> None:
        self._database = database
        self._clock = clock
        self._runtime = runtime
        self._project_of = project_of
        self._limits = limits
        self._notes: set[asyncio.Task[None]] = set()

    async def carry_out(self, run: RunId) -> TaskId:
        """Returns the task to wake when the run is over. Raises Transient to be called again later."""
        row, task = await self._database.read(lambda connection: _read(connection, run))
        if row.state is RunState.ENDED:
            return row.task
        spec = self._spec(row, task)
        with structlog.contextvars.bound_contextvars(task=task.key, run=run):
            head: Sha | None = None
            try:
                result = await self._attempt(spec)
                result, head = await self._deliver(spec, result)
            except Permanent as error:
                log.error("run_not_possible", code=error.code, message=error.message)
                result = RunResult(Outcome.FAILED, None, error.code, f"{error.message} {error.hint}".strip())
            await self._end(row, result, head)
        return row.task

    async def stop(self, run: RunId) -> None:
        await self._runtime.stop(run)

    async def give_up(self, run: RunId, error: Exception) -> TaskId:
        """After a fault of ours: nothing of the run stays alive, and its row says what happened."""
        row, _ = await self._database.read(lambda connection: _read(connection, run))
        await self._runtime.stop(run)
        await self._end(row, RunResult(Outcome.FAILED, None, "internal_error", str(error)[:2000]), None)
        return row.task

    def _spec(self, row: RunRow, task: Task) -> RunSpec:
        assert task.repo is not None  # noqa: S101 - a run is intended only for a task with a repository
        project = self._project_of(task.project)
        return RunSpec(
            run=row.id,
            session_id=row.session_id,
            task_key=task.key,
            title=task.title,
            role=row.role,
            stage=row.stage,
            attempt=row.attempt,
            repo=task.repo,
            branch=task.branch,
            base_branch=task.base_branch,
            base_sha=row.base_sha,
            language=project.language if project else Language.EN,
            brief=task.brief,
            limits=_limits(self._limits, task),
            instructions=task.brief if task.role else "",
            documents=project.documents if project else DocumentFiles(),
            feedback=row.feedback,
        )

    async def _attempt(self, spec: RunSpec) -> RunResult:
        match self._runtime.liveness(spec.run):
            case Liveness.UNSTARTED:
                await self._runtime.prepare(spec)
                await self._runtime.launch(spec)
                log.info("run_launched", role=spec.role, attempt=spec.attempt)
            case Liveness.ALIVE | Liveness.EXITED | Liveness.VANISHED as state:
                log.info("run_taken_up_again", liveness=state)
        now, path = self._clock.now(), self._runtime.output_path(spec.run)
        await self._database.write(lambda connection: runs.started(connection, spec.run, path, now))
        return await self._runtime.wait(spec, lambda usage: self._progressed(spec.run, usage))

    def _progressed(self, run: RunId, usage: Usage) -> None:
        note = asyncio.create_task(self._note(run, usage))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _note(self, run: RunId, usage: Usage) -> None:
        try:
            await self._database.write(lambda connection: runs.progressed(connection, run, usage))
        except Transient as error:
            log.warning("progress_not_stored", code=error.code)

    async def _deliver(self, spec: RunSpec, result: RunResult) -> tuple[RunResult, Sha | None]:
        """Success is a commit on the forge, or a verdict; what the agent says of itself is not enough.

        What a role of verdicts committed in its workspace stays there: it would make reviews and checks stale.
        """
        if result.outcome is not Outcome.SUCCEEDED or not step_of_role(spec.role).commits:
            return result, None
        head = await self._runtime.collect(spec)
        if head is None:
            return _without_commit(result), None
        await self._runtime.publish(spec, head)
        log.info("run_published", repo=str(spec.repo), branch=spec.branch, head=head)
        return result, head

    async def _end(self, row: RunRow, result: RunResult, head: Sha | None) -> None:
        now = self._clock.now()

        def commit(connection: Connection) -> None:
            runs.ended(connection, row.id, result, head, now)
            tasks.run_ended(connection, row.task, head, now)

        await self._database.write(commit)
        usage = result.usage
        log.info(
            "run_ended", outcome=result.outcome, reason=result.reason, turns=usage.turns, cost_usd=usage.cost_usd
        )


def _limits(limits: RunLimits, task: Task) -> RunLimits:
    """An approver may have set what one attempt may cost."""
    budget = task.switches.budget_usd
    return replace(limits, max_budget_usd=float(budget)) if budget else limits


def _without_commit(result: RunResult) -> RunResult:
    """The CLI ends well when tools were denied to it; then that is the reason why nothing is there."""
    missing = "The agent said that it succeeded, but it committed nothing."
    if result.denials:
        denied = f"{missing} Tools were denied: {', '.join(result.denials)}."
        return replace(result, outcome=Outcome.DENIED, reason="tools_denied", detail=denied)
    return replace(result, outcome=Outcome.FAILED, reason="no_commit", detail=missing)


def _read(connection: Connection, run: RunId) -> tuple[RunRow, Task]:
    row = runs.get(connection, run)
    return row, tasks.get(connection, row.task)

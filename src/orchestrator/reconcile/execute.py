"""Carries one run out: prepare, launch, wait, fetch, publish, record. Begun again after a crash, it goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import DocumentFiles, Project, ProjectId, RunId, Sha, Task, TaskId
from orchestrator.domain.roles import Language
from orchestrator.domain.run import (
    Earlier,
    Liveness,
    Outcome,
    RunLimits,
    RunResult,
    RunSpec,
    RunState,
    Usage,
)
from orchestrator.ports import AgentRuntime, Clock
from orchestrator.qg.runs import NOT_WANTED
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.store import runs, tasks
from orchestrator.store.runs import Launch, RunRow
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.pipeline import step_of_role

log = structlog.get_logger()


FRESH_S = 5.0
"""A run that starts so soon after its decision rests on what was just seen."""
DETAIL_MAX_CHARS = 500
NO_LONGER = "What the run was decided on had changed before it began, so it was called off; it counts for nothing."
NEVER_BEGUN = "The run was stopped before its agent was started."
OVER_BY_THEN = "The run was stopped when its agent had ended well. What it made was not published."


class PutBack(Exception):
    """A run may not start any more, and has given its slot back."""


class Undelivered(Transient):
    """The agent has ended, and what it made is kept. `task` has a new reason why it waits."""

    def __init__(self, task: TaskId, fault: Transient) -> None:
        super().__init__(fault.code, fault.message, retry_after_s=fault.retry_after_s, hint=fault.hint)
        self.task = task


class Execution:
    """The rows decide what is left to do, so doing it twice is safe."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        database: Database,
        clock: Clock,
        runtime: AgentRuntime,
        project_of: Callable[[ProjectId | None], Project | None],
        limits: RunLimits,
        *,
        dispatch: Dispatch,
        is_wanted: Callable[[TaskId, StartRun], Awaitable[bool]] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._runtime = runtime
        self._project_of = project_of
        self._limits = limits
        self._is_wanted = is_wanted
        self._dispatch = dispatch
        self._notes: set[asyncio.Task[None]] = set()

    async def carry_out(self, run: RunId) -> TaskId:
        """Returns the task to wake when the run is over. Raises Transient to be called again later, Undelivered
        when that costs no agent, PutBack when the run waits to be admitted again.
        """
        row, task = await self._database.read(lambda connection: _read(connection, run))
        if row.state is RunState.ENDED:
            return row.task
        spec = await self._spec(row, task)
        with structlog.contextvars.bound_contextvars(task=task.key, run=run):
            head: Sha | None = None
            try:
                result = await self._attempt(row, spec)
                result, head = await self._delivered(row, spec, result)
            except Permanent as error:
                log.error("run_not_possible", code=error.code, message=error.message)
                result = RunResult(Outcome.FAILED, None, error.code, f"{error.message} {error.hint}".strip())
            await self._end(row, result, head)
        return row.task

    def was_launched(self, run: RunId) -> bool:
        """A process was started for it, by us or by a process before us."""
        return self._runtime.liveness(run) is not Liveness.UNSTARTED

    async def stop(self, run: RunId) -> TaskId | None:
        """Whoever waits for a turn, or is being prepared, is over at once: then the task to wake is returned."""
        if not await self._runtime.stop(run):
            return None
        row, _ = await self._database.read(lambda connection: _read(connection, run))
        await self._end(row, RunResult(Outcome.CANCELLED, None, "cancelled", NEVER_BEGUN), None)
        return row.task

    async def give_up(self, run: RunId, error: Exception) -> TaskId:
        """After a fault of ours: nothing of the run stays alive, and its row says what happened."""
        row, _ = await self._database.read(lambda connection: _read(connection, run))
        await self._runtime.stop(run)
        await self._end(row, RunResult(Outcome.FAILED, None, "internal_error", str(error)[:2000]), None)
        return row.task

    async def _spec(self, row: RunRow, task: Task) -> RunSpec:
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
            earlier=await self._earlier(row),
        )

    async def _earlier(self, row: RunRow) -> Earlier | None:
        if row.resumes is None:
            return None
        number = row.resumes
        one = await self._database.read(lambda c: runs.attempt(c, row.task, row.stage, number))
        return Earlier(one.id, one.session_id, one.base_sha) if one else None

    async def _attempt(self, row: RunRow, spec: RunSpec) -> RunResult:
        if row.is_called_off:
            return await self._called_off(spec.run)
        match self._runtime.liveness(spec.run):
            case Liveness.UNSTARTED:
                if not await self._is_still_wanted(row):
                    await self._database.write(lambda connection: runs.call_off(connection, spec.run))
                    return await self._called_off(spec.run)
                await self._runtime.prepare(spec)
                if not await self._dispatch.still_may_start(spec.run):
                    raise PutBack
                await self._runtime.launch(spec)
                log.info("run_launched", role=spec.role, attempt=spec.attempt)
            case Liveness.ALIVE | Liveness.EXITED | Liveness.VANISHED as state:
                log.info("run_taken_up_again", liveness=state)
        now, runtime = self._clock.now(), self._runtime
        known = Launch(
            runtime.output_path(spec.run), runtime.sandbox_of(spec.run), runtime.prompt_digest(spec.run)
        )
        await self._database.write(lambda connection: runs.started(connection, spec.run, known, now))
        return await self._runtime.wait(spec, lambda usage: self._progressed(spec.run, usage))

    async def _called_off(self, run: RunId) -> RunResult:
        await self._runtime.stop(run)
        return RunResult(Outcome.CANCELLED, None, NOT_WANTED, NO_LONGER)

    async def _is_still_wanted(self, row: RunRow) -> bool:
        """While a run waits for its turn, people push, merge, pause and change their minds."""
        waited_s = (self._clock.now() - row.intended_at).total_seconds()
        if self._is_wanted is None or 0 <= waited_s < FRESH_S:
            return True
        return await self._is_wanted(row.task, StartRun(row.role, row.stage, row.attempt, row.base_sha))

    def _progressed(self, run: RunId, usage: Usage) -> None:
        note = asyncio.create_task(self._note(run, usage))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _note(self, run: RunId, usage: Usage) -> None:
        heard = self._runtime.heard_at(run)
        try:
            await self._database.write(lambda connection: runs.progressed(connection, run, usage, heard))
        except Transient as error:
            log.warning("progress_not_stored", code=error.code)

    async def _delivered(self, row: RunRow, spec: RunSpec, result: RunResult) -> tuple[RunResult, Sha | None]:
        """What passes, or is mended by a person, loses no work: the reason is stored, and it is tried again."""
        try:
            return await self._deliver(spec, result)
        except Transient as fault:
            reason = _unpublished(spec, fault)
            await self._database.write(lambda connection: runs.kept(connection, row.id, reason))
            raise Undelivered(row.task, fault) from fault

    async def _deliver(self, spec: RunSpec, result: RunResult) -> tuple[RunResult, Sha | None]:
        """Success is a commit on the forge, or a verdict; what the agent says of itself is not enough.

        What a role of verdicts committed in its workspace stays there: it would make reviews and checks stale.
        """
        if result.outcome is not Outcome.SUCCEEDED:
            return result, None
        if self._runtime.was_stopped(spec.run):  # too late for the agent, in time for what it made
            return _cancelled(result), None
        if not step_of_role(spec.role).commits:
            return result, None
        head = await self._collected(spec, result)
        if self._runtime.was_stopped(spec.run):
            return _cancelled(result), None
        if head is None:
            return _without_commit(result), None
        await self._runtime.publish(spec, head)
        log.info("run_published", repo=str(spec.repo), branch=spec.branch, head=head)
        return result, head

    async def _collected(self, spec: RunSpec, result: RunResult) -> Sha | None:
        """A stop ends git in the workspace too; that it packed nothing is then no fault of the run."""
        try:
            return await self._runtime.collect(spec, result.model)
        except Permanent:
            if self._runtime.was_stopped(spec.run):
                return None
            raise

    async def _end(self, row: RunRow, result: RunResult, head: Sha | None) -> None:
        now = self._clock.now()

        def commit(connection: Connection) -> None:
            if runs.ended(connection, row.id, result, head, now):
                self._dispatch.ended(connection, result, now)
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


def _unpublished(spec: RunSpec, fault: Transient) -> Item:
    detail = f"{fault.message} {fault.hint}".strip()[:DETAIL_MAX_CHARS]
    params = (("role", spec.role), ("detail", detail))
    return Item("run_unpublished", params, who="operator", action="orch doctor")


def _cancelled(result: RunResult) -> RunResult:
    return replace(result, outcome=Outcome.CANCELLED, reason="cancelled", detail=OVER_BY_THEN, verdict=None)


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

"""One look at one task: read, decide, apply in one transaction, then carry the actions out."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import Branch, Project, ProjectId, RunId, Task, TaskId
from orchestrator.domain.run import RunState
from orchestrator.ports import Clock, Engine, Forge
from orchestrator.qg.facts import Facts, RunFact
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.observe import REFUSED_PAUSE_S, Observed, Observer
from orchestrator.store import decisions, journal, runs, tasks, watermarks
from orchestrator.store.decisions import Basis
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, EnsureBranch, StartRun

log = structlog.get_logger()
MAX_STEPS = 8
"""Decisions in one look; a healthy task needs two. More would be a loop of ours."""


@dataclass(frozen=True, slots=True)
class Looked:
    """`again_in_s` is set when something could not be done now: at least so long to wait, 0 to be chosen."""

    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """What our own database says, read in one snapshot."""

    project: Project | None
    task: Task
    runs: tuple[RunFact, ...]
    since: datetime | None
    newest_event: int
    decided: str | None

    def open_run(self) -> RunState | None:
        return next((run.state for run in self.runs if run.state is not RunState.ENDED), None)


class Reconciler:
    """Called by the engine, for one task at a time. Calling it twice changes nothing."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        observer: Observer,
        forge: Forge | None,
        project_of: Callable[[ProjectId | None], Project | None],
        *,
        max_attempts: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._observer = observer
        self._forge = forge
        self._project_of = project_of
        self._max_attempts = max_attempts

    async def look(self, task: TaskId, engine: Engine) -> Looked:
        """Decides until nothing is left to do at once. Raises Transient when our own database is unavailable."""
        observed: Observed | None = None
        for _ in range(MAX_STEPS):
            rows = await self._database.read(lambda connection: self._read(connection, task))
            observed = observed or await self._observer.look(rows.project, rows.task, rows.open_run())
            basis = self._basis(rows, observed)
            decision = decide(basis.project, basis.task, basis.facts)
            await self._apply(rows, basis, decision, engine)
            wanted = next((action for action in decision.actions if isinstance(action, EnsureBranch)), None)
            if wanted is None:
                return Looked(observed.retry_in_s)
            try:
                # The forge's answer is the newest truth: asking for it again would cost two calls.
                observed = replace(observed, branch=await self._ensure(wanted))
            except OrchestratorError as error:
                return await self._not_created(task, error)
        raise Permanent(
            "no_rest", f"Task {task} was decided {MAX_STEPS} times in one look without coming to rest."
        )

    async def stuck(self, task: TaskId, item: Item) -> None:
        """Records something that no decision knows of as the reason why the task waits."""
        now = self._clock.now()
        await self._database.write(lambda connection: tasks.stuck(connection, task, (item,), now))

    def _read(self, connection: Connection, ident: TaskId) -> _Rows:
        task = tasks.get(connection, ident)
        return _Rows(
            self._project_of(task.project),
            task,
            runs.facts_of(connection, ident),
            watermarks.since(connection, task.project),
            journal.newest_of_task(connection, ident),
            tasks.decided_before(connection, ident),
        )

    def _basis(self, rows: _Rows, observed: Observed) -> Basis:
        facts = Facts(observed.item, observed.branch, rows.runs, rows.since, self._max_attempts)
        return Basis(rows.project, rows.task, facts)

    async def _apply(self, rows: _Rows, basis: Basis, decision: Decision, engine: Engine) -> None:
        now, digest = self._clock.now(), decisions.digest(decision)
        starts = [action for action in decision.actions if isinstance(action, StartRun)]

        def commit(connection: Connection) -> list[RunId]:
            """The one transaction of a look: decision, stage, runs, and the events it answered."""
            if digest != rows.decided:
                decisions.record(connection, basis, decision, now)
                tasks.apply(connection, basis, decision, digest, now)
            journal.mark_processed(connection, rows.task.id, rows.newest_event)
            return [runs.intend(connection, rows.task.id, start, str(uuid.uuid4()), now) for start in starts]

        intended = await self._database.write(commit)
        if digest != rows.decided:
            waiting = [item.code for item in decision.waiting]
            log.info("decided", task=rows.task.id, stage=decision.stage, waiting=waiting, runs=intended)
        for run in intended:
            engine.start_run(run)

    async def _ensure(self, wanted: EnsureBranch) -> Branch:
        assert self._forge is not None  # noqa: S101 - decided only after the forge was looked at
        branch = await self._forge.create_branch(wanted.repo, wanted.name, wanted.base)
        log.info("branch_ensured", repo=str(wanted.repo), branch=wanted.name)
        return branch

    async def _not_created(self, task: TaskId, error: OrchestratorError) -> Looked:
        log.warning("branch_not_created", task=task, code=error.code, message=error.message)
        detail = f"{error.message} {error.hint}".strip()
        await self.stuck(task, Item(error.code, (("detail", detail),), who="operator"))
        if isinstance(error, Transient):
            return Looked(error.retry_after_s or 0.0)
        return Looked(REFUSED_PAUSE_S)

"""How far one look at one task is: our rows, what was seen outside, and the decisions that rest on them."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.domain.model import Project, Stage, Task
from orchestrator.domain.run import RunState
from orchestrator.qg.facts import RunFact, Unwritten
from orchestrator.reconcile.observe import Observed
from orchestrator.reconcile.writeback import Planned
from orchestrator.store import tasks
from orchestrator.store.decisions import Basis, Made
from orchestrator.store.sightings import Sightings
from orchestrator.workflow.decision import Decision, EnsureBranch, StartRun, StopRun


@dataclass(frozen=True, slots=True)
class Rows:
    """What our own database says, read in one snapshot."""

    project: Project | None
    task: Task
    runs: tuple[RunFact, ...]
    since: datetime | None
    newest_event: int
    decided: str | None
    sightings: Sightings
    resting_until: datetime | None = None
    unwritten: tuple[Unwritten, ...] = ()
    waiting: str = "[]"

    def ended(self) -> tuple[RunFact, ...]:
        return tuple(run for run in self.runs if run.state is RunState.ENDED)

    def open_run(self) -> RunState | None:
        return next((run.state for run in self.runs if run.state is not RunState.ENDED), None)

    def after(self, step: "Step") -> "Rows":
        """As they will be when the step is committed; it intends no run."""
        task = tasks.applied(step.basis, step.decision)
        return replace(self, task=task, decided=step.digest)

    def answered(self) -> "Rows":
        """As they are when the events that were there are marked."""
        return replace(self, newest_event=0)


@dataclass(frozen=True, slots=True)
class Step:
    """One decision. `is_new`: it differs from the one before. `told`: its effects as the last step of its commit
    and as an earlier one, as far as they are known.
    """

    made: Made
    digest: str
    is_new: bool
    told: dict[bool, tuple[Planned, ...]] = field(default_factory=dict)

    @property
    def basis(self) -> Basis:
        return self.made.basis

    @property
    def decision(self) -> Decision:
        return self.made.decision

    @property
    def is_passing(self) -> bool:
        """It moves to a stage that wants to see more, and nothing is to be done before that: it is committed
        together with what comes of it, since each commit waits for the disk.
        """
        is_moved = self.decision.stage is not self.basis.task.stage and self.decision.stage is not Stage.DONE
        return is_moved and not any(isinstance(one, StartRun | StopRun) for one in self.decision.actions)


@dataclass(slots=True)
class Course:
    """How far one look is: what the database says, what was seen outside, the steps that are not committed yet."""

    rows: Rows
    began: datetime
    """Before anything was seen."""
    is_kept: bool = False
    """What was seen is kept for the next poll though nothing new was decided of it."""
    seen: Observed | None = None
    steps: tuple[Step, ...] = ()
    presumed: tuple[Step, ...] = ()
    """What is decided if all goes as it mostly does; counts only for the very facts that it was decided of."""
    has_made_branch: bool = False

    def renew(self, rows: Rows) -> None:
        """After a commit. What a run published is newer than what was seen before it ended."""
        if rows.ended() != self.rows.ended():
            self.seen = None
        self.rows, self.steps = rows, ()


def branches(decision: Decision) -> tuple[EnsureBranch, ...]:
    """That a decision wants to be made: one at most."""
    return tuple(action for action in decision.actions if isinstance(action, EnsureBranch))

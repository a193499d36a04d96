"""Which runs' folders may go: by age, and, when all hold too much, the oldest first. Never wanted work. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.model import RunId, Stage, TaskId
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunState
from orchestrator.workflow.pipeline import step_of_role


@dataclass(frozen=True, slots=True)
class OldRun:
    """One attempt with a folder. `bulk_bytes` can go by themselves; the rest are logs and records."""

    run: RunId
    task: TaskId
    role: Role
    stage: Stage
    attempt: int
    state: RunState
    outcome: Outcome | None
    is_published: bool
    ended_at: datetime | None
    task_stage: Stage
    bulk_bytes: int = 0
    all_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a folder is kept, and what all may hold; 0: no limit."""

    keep: timedelta
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What of a run goes: all of it, or all but its logs."""

    run: RunId
    is_whole: bool


def removals(runs: Sequence[OldRun], keeping: Keeping, now: datetime) -> tuple[Removal, ...]:
    """Workspaces by age; then by size, oldest first, workspaces before logs."""
    wanted = wanted_runs(runs)
    idle = [one for one in runs if one.all_bytes and one.run not in wanted]
    free = sorted(idle, key=lambda one: (one.ended_at or now, one.run))
    full = [one for one in free if one.bulk_bytes]
    old = [one for one in full if (one.ended_at or now) <= now - keeping.keep]
    left = sum(one.all_bytes for one in runs) - sum(one.bulk_bytes for one in old)
    young = [one for one in full if one not in old]
    more = _until_it_fits(young, [one.bulk_bytes for one in young], left, keeping.most_bytes)
    left -= sum(one.bulk_bytes for one in more)
    logs = [one.all_bytes - one.bulk_bytes for one in free]
    whole = {one.run for one in _until_it_fits(free, logs, left, keeping.most_bytes)}
    parts = [Removal(one.run, is_whole=False) for one in (*old, *more) if one.run not in whole]
    return (*parts, *(Removal(one.run, is_whole=True) for one in free if one.run in whole))


def wanted_runs(runs: Sequence[OldRun]) -> frozenset[RunId]:
    """Not over, or its work is nowhere else and its task may go on from there: the newest attempt of the stage at
    which the task still is. What a role of verdicts committed is never wanted.
    """
    newest: dict[tuple[TaskId, Stage], OldRun] = {}
    for one in sorted(runs, key=lambda one: one.attempt):
        newest[one.task, one.stage] = one
    going_on = (one for one in newest.values() if one.task_stage is one.stage and not _is_delivered(one))
    return frozenset({*(one.run for one in runs if one.state is not RunState.ENDED), *(o.run for o in going_on)})


def _is_delivered(run: OldRun) -> bool:
    return run.is_published or (run.outcome is Outcome.SUCCEEDED and not step_of_role(run.role).commits)


def _until_it_fits(runs: Sequence[OldRun], sizes: Sequence[int], total: int, most: int) -> list[OldRun]:
    found: list[OldRun] = []
    for one, size in zip(runs, sizes, strict=True):
        if not 0 < most < total:
            break
        found.append(one)
        total -= size
    return found

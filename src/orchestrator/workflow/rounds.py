"""Rounds of work: what sends a task back, how often, and when the next attempt is due."""

from dataclasses import dataclass, replace

from orchestrator.domain.model import Cause, Project, Return, Stage, Task
from orchestrator.domain.run import Outcome
from orchestrator.qg import documents, runs
from orchestrator.qg.facts import Facts, RunFact
from orchestrator.qg.pull import head_of
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.feedback import feedback_of, output_missing
from orchestrator.workflow.pipeline import Step

RETRIED = frozenset({Outcome.LOST, Outcome.CRASHED})
"""Outcomes that say nothing about the work itself: the attempt is made again, up to the cap."""
EMPTY_HANDED = frozenset({"no_commit", "no_verdict"})
"""Reasons of runs that ended well and left nothing."""
CAUSES = {
    Stage.ANALYSIS: (Cause.DOCUMENT_REJECTED, Stage.ANALYSIS),
    Stage.ARCHITECTURE: (Cause.DOCUMENT_REJECTED, Stage.ARCHITECTURE),
    Stage.CI: (Cause.CI_RED, Stage.DEVELOPMENT),
    Stage.REVIEW: (Cause.REVIEW_REJECTED, Stage.DEVELOPMENT),
    Stage.TESTING: (Cause.TEST_FAILED, Stage.DEVELOPMENT),
}
"""What a failed gate means, and where it sends the task."""


@dataclass(frozen=True, slots=True)
class Parked:
    """No attempt is made: a person has to act."""

    why: Item


def with_rework(task: Task, facts: Facts, step: Step, verdict: Verdict) -> Verdict:
    """A return that is not answered closes its stage's gate. What could not be seen stays unknown; and people who
    approve documents after they were sent back want them as they are.
    """
    back = unanswered(task, facts, step.stage)
    if (
        back is None
        or isinstance(verdict, Unknown)
        or (isinstance(verdict, Passed) and step.stage in documents.OF_STAGE)
    ):
        return verdict
    params = (("cause", back.cause.value), ("role", step.role or ""))
    return Waiting((Item("rework_due", params, back.evidence, who="agent", action="run"),), verdict.held)


def unanswered(task: Task, facts: Facts, stage: Stage) -> Return | None:
    """The stage's last return, while what it was about is as it was."""
    last = _last_return(task, stage)
    return last if last and last.mark == _mark(facts, stage) else None


def send_back(project: Project, task: Task, facts: Facts, stage: Stage, failed: Failed) -> Task | Parked:
    """The task with one return more; Parked when a cap is reached and nobody granted another one."""
    cause, to = CAUSES[stage]
    alike = sum(one.cause is cause for one in task.returns)
    is_granted = task.switches.retry_returns == len(task.returns)
    is_capped = alike >= project.gates.returns_per_cause or len(task.returns) >= project.gates.returns_in_all
    if is_capped and not is_granted:
        params = (("cause", cause.value), ("returns", str(alike)), ("returns_in_all", str(len(task.returns))))
        return Parked(Item("cap_reached", params, who="approver", action="/orch retry"))
    evidence = tuple(one for item in failed.reasons for one in item.evidence)
    last = max((run.attempt for run in runs.of_stage(facts, to)), default=0)
    back = Return(cause, to, _mark(facts, to), last, evidence, feedback_of(project, task, facts, cause, to))
    return replace(task, returns=(*(replace(one, feedback=()) for one in task.returns), back))


def attempt(task: Task, facts: Facts, step: Step, due: tuple[Item, ...]) -> StartRun | Parked:
    """The stage's next attempt, in the round that the last return began or that the head began."""
    assert step.role is not None  # noqa: S101 - only stages with a role wait for an agent
    head = head_of(facts) or ""
    every = runs.of_stage(facts, step.stage)
    of_round = _of_round(task, step, every, head)
    back = unanswered(task, facts, step.stage)
    feedback = back.feedback if back else ()
    if of_round and not _is_to_repeat(task, facts, step, of_round):
        return Parked(_parked(step, of_round, due))
    if of_round and _is_without_output(of_round[-1]):
        feedback = (output_missing(step.role, due), *feedback)
    number = every[-1].attempt + 1 if every else 1
    return StartRun(step.role, step.stage, number, head, feedback)


def attempts_of_round(task: Task, facts: Facts, step: Step) -> int:
    """How many attempts the cap counts now: those of the round that the last return, or the head, began."""
    every = runs.of_stage(facts, step.stage)
    return len(every if task.role is not None else _of_round(task, step, every, head_of(facts) or ""))


def _of_round(task: Task, step: Step, every: list[RunFact], head: str) -> list[RunFact]:
    if not step.commits:
        return [run for run in every if run.base == head]
    last = _last_return(task, step.stage)
    return [run for run in every if last is None or run.attempt > last.after_attempt]


def _is_to_repeat(task: Task, facts: Facts, step: Step, of_round: list[RunFact]) -> bool:
    last, switches = of_round[-1], task.switches
    is_granted = switches.retry_stage is step.stage and switches.retry_after == last.attempt
    if is_granted or task.retry_after == last.attempt:
        return True
    is_worth = last.outcome in RETRIED or _is_without_output(last)
    return is_worth and len(of_round) < facts.max_attempts


def _is_without_output(run: RunFact) -> bool:
    """It said that it succeeded, and what it was to make is not there."""
    return run.outcome is Outcome.SUCCEEDED or (run.outcome is Outcome.FAILED and run.reason in EMPTY_HANDED)


def _parked(step: Step, of_round: list[RunFact], due: tuple[Item, ...]) -> Item:
    last = of_round[-1]
    attempts = (("role", step.role or ""), ("attempt", str(last.attempt)), ("attempts", str(len(of_round))))
    if _is_without_output(last):
        missing = ", ".join(item.code for item in due)
        return Item("output_missing", (*attempts, ("missing", missing)), who="approver", action="/orch retry")
    return run_ended(last)


def run_ended(run: RunFact) -> Item:
    outcome = run.outcome.value if run.outcome else ""
    params = (("outcome", outcome), ("reason", run.reason), ("attempt", str(run.attempt)))
    return Item("run_not_successful", params, who="operator", action="retry")


def _last_return(task: Task, stage: Stage) -> Return | None:
    return next((one for one in reversed(task.returns) if one.stage is stage), None) if task.returns else None


def _mark(facts: Facts, stage: Stage) -> str:
    return documents.digest(facts, stage) if stage in documents.OF_STAGE else head_of(facts) or ""

"""Rounds of work: what sends a task back, how often, and when the next attempt is due."""

from dataclasses import dataclass, replace

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.model import Cause, Project, Return, Stage, Task
from orchestrator.domain.run import Outcome
from orchestrator.qg import documents, runs
from orchestrator.qg.facts import Facts, RunFact
from orchestrator.qg.pull import head_of
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.workflow.decision import StartRun
from orchestrator.workflow.feedback import feedback_of, output_missing
from orchestrator.workflow.pipeline import Step
from orchestrator.workflow.progress import since_accepted
from orchestrator.workflow.rests import streak_of

RETRIED = frozenset({Outcome.LOST, Outcome.CRASHED})
"""Outcomes that say nothing about the work itself: the attempt is made again, up to the cap."""
FREE = frozenset({Outcome.USAGE_LIMIT, Outcome.UNAVAILABLE})
"""The model could not be had: the attempt is made again after a rest, and the cap does not count it."""
CONTINUED = frozenset({Outcome.TURN_CAP, Outcome.BUDGET, Outcome.STALLED})
"""A limit of ours cut it short: it goes on where it was, once."""
RESUMED = FREE | CONTINUED | RETRIED | {Outcome.TIMED_OUT}
"""What was begun is worth going on with."""
MAX_UNAVAILABLE = 12
"""In a row; with the rests between them, more than an hour."""
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
    back = unanswered(task, facts, step.stage) if task.returns else None
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


def attempt(project: Project, task: Task, facts: Facts, step: Step, due: tuple[Item, ...]) -> StartRun | Parked:
    """The stage's next attempt, in the round that the last return began or that the head began."""
    assert step.role is not None  # noqa: S101 - only stages with a role wait for an agent
    head = head_of(facts) or ""
    every = runs.of_stage(facts, step.stage)
    of_round = _of_round(task, step, runs.wanted(every), head)
    back = unanswered(task, facts, step.stage)
    feedback = _feedback(project, task, facts, back) if back else ()
    if parked := hindered(task, facts, step.stage, of_round):
        return parked
    if of_round and not is_to_repeat(task, facts, step.stage, of_round):
        return Parked(_parked(step, of_round, due))
    if of_round and _is_without_output(of_round[-1]):
        feedback = (output_missing(step.role, due), *feedback)
    number = every[-1].attempt + 1 if every else 1
    return StartRun(step.role, step.stage, number, head, feedback, resumed_by_next(of_round, head))


def _feedback(project: Project, task: Task, facts: Facts, back: Return) -> tuple[Feedback, ...]:
    """People go on rejecting the same documents while nothing is started: the agent hears them all."""
    if back.cause is not Cause.DOCUMENT_REJECTED:
        return back.feedback
    return feedback_of(project, task, facts, back.cause, back.stage) or back.feedback


def hindered(task: Task, facts: Facts, stage: Stage, of_round: list[RunFact]) -> Parked | None:
    """Why no attempt is made at all now, whatever the last one was."""
    if (made := without_progress(task, facts)) >= facts.max_runs_without_progress:
        return Parked(Item("no_progress", (("runs", str(made)),), who="approver", action="/orch retry"))
    if facts.resting_until is None or (of_round and _is_granted(task, facts, stage)):
        return None
    last = runs.wanted(facts.runs)[-1]
    params = (("outcome", last.outcome.value if last.outcome else ""), ("until", facts.resting_until.isoformat()))
    return Parked(Item("resting", params, who="orchestrator", action="wait"))


def without_progress(task: Task, facts: Facts) -> int:
    """Runs since the task first came as far as it ever was, or since a person last said to go on. What they wrote
    does not matter: an agent that changes one byte each time changes something.
    """
    accepted = len(facts.runs) - len(since_accepted(facts.runs))
    since = max(accepted, task.switches.retry_runs)
    return sum(run.outcome is not Outcome.USAGE_LIMIT for run in facts.runs[since:])


def resumed_by_next(of_round: list[RunFact], head: str) -> int:
    """The attempt to go on from; 0: begin anew. One that crashed though it had gone on would crash again, and on
    another commit its workspace would be of no use.
    """
    if not of_round or of_round[-1].outcome not in RESUMED or of_round[-1].base != head:
        return 0
    last = of_round[-1]
    return 0 if last.outcome is Outcome.CRASHED and last.resumes else last.attempt


def attempts_of_round(task: Task, facts: Facts, step: Step) -> int:
    """How many attempts the cap counts now: those of the round that the last return, or the head, began."""
    every = runs.wanted(runs.of_stage(facts, step.stage))
    return _counted(every if task.role is not None else _of_round(task, step, every, head_of(facts) or ""))


def _counted(of_round: list[RunFact]) -> int:
    return sum(run.outcome not in FREE for run in of_round)


def _of_round(task: Task, step: Step, every: list[RunFact], head: str) -> list[RunFact]:
    if not step.commits:
        return [run for run in every if run.base == head]
    last = _last_return(task, step.stage)
    return [run for run in every if last is None or run.attempt > last.after_attempt]


def is_to_repeat(task: Task, facts: Facts, stage: Stage, of_round: list[RunFact]) -> bool:
    """Whether there is to be an attempt after the last of these."""
    last = of_round[-1]
    if _is_granted(task, facts, stage) or last.outcome is Outcome.USAGE_LIMIT:
        return True
    if last.outcome is Outcome.UNAVAILABLE:
        return streak_of(of_round, last) < MAX_UNAVAILABLE
    is_first = sum(run.outcome in CONTINUED for run in of_round) == 1
    is_worth = (
        last.outcome in RETRIED
        or (last.outcome in CONTINUED and is_first)
        or (task.role is None and _is_without_output(last))
    )
    return is_worth and _counted(of_round) < facts.max_attempts


def _is_granted(task: Task, facts: Facts, stage: Stage) -> bool:
    """A person asked for one more after the newest of the stage, which may have looked at another commit."""
    newest = runs.wanted(runs.of_stage(facts, stage))[-1].attempt
    is_by_comment = task.switches.retry_stage is stage and task.switches.retry_after == newest
    return is_by_comment or task.retry_after == newest


def _is_without_output(run: RunFact) -> bool:
    """It said that it succeeded, and what it was to make is not there."""
    return run.outcome is Outcome.SUCCEEDED or (run.outcome is Outcome.FAILED and run.reason in EMPTY_HANDED)


def _parked(step: Step, of_round: list[RunFact], due: tuple[Item, ...]) -> Item:
    last = of_round[-1]
    attempts = (("role", step.role or ""), ("attempt", str(last.attempt)), ("attempts", str(_counted(of_round))))
    if _is_without_output(last):
        missing = ", ".join(item.code for item in due)
        return Item("output_missing", (*attempts, ("missing", missing)), who="approver", action="/orch retry")
    return run_ended(last)


def run_ended(run: RunFact) -> Item:
    outcome = run.outcome.value if run.outcome else ""
    params = (("outcome", outcome), ("reason", run.reason), ("attempt", str(run.attempt)))
    if run.reason == "authentication_failed":
        return Item("model_refuses", params, who="operator", action="retry")
    told = (*params, ("detail", run.said))
    if run.said and run.outcome is Outcome.DENIED:
        return Item("tools_denied", told, who="operator", action="retry")
    if run.said:
        return Item("run_crashed", told, who="operator", action="retry")
    return Item("run_not_successful", params, who="operator", action="retry")


def _last_return(task: Task, stage: Stage) -> Return | None:
    return next((one for one in reversed(task.returns) if one.stage is stage), None)


def _mark(facts: Facts, stage: Stage) -> str:
    return documents.digest(facts, stage) if stage in documents.OF_STAGE else head_of(facts) or ""

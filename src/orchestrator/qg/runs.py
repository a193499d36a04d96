"""What the rows of our own runs say. A verdict counts only for the commit that its run began at."""

from collections.abc import Sequence

from orchestrator.domain.model import Stage
from orchestrator.domain.run import Outcome, RunState, VerdictWord
from orchestrator.qg.facts import Facts, RunFact

WORDS = {
    Stage.REVIEW: frozenset({VerdictWord.APPROVED, VerdictWord.CHANGES_REQUESTED}),
    Stage.TESTING: frozenset({VerdictWord.PASSED, VerdictWord.FAILED}),
}
"""What a stage's role may say; anything else is no verdict."""


NOT_WANTED = "not_wanted"
"""Why a run was called off before it began: what it was decided on had changed meanwhile."""


def wanted(runs: Sequence[RunFact]) -> list[RunFact]:
    """Without those that were called off: they did nothing, and count for nothing."""
    return [run for run in runs if run.reason != NOT_WANTED]


def open_runs(facts: Facts) -> tuple[RunFact, ...]:
    return tuple(run for run in facts.runs if run.state is not RunState.ENDED)


def of_stage(facts: Facts, stage: Stage) -> list[RunFact]:
    """Oldest attempt first."""
    return sorted((run for run in facts.runs if run.stage is stage), key=lambda run: run.attempt)


def with_verdict(facts: Facts, stage: Stage, head: str) -> RunFact | None:
    """The newest attempt that looked at this commit and gave a verdict."""
    newest: RunFact | None = None
    for run in facts.runs:
        is_newer = run.stage is stage and run.base == head and (newest is None or run.attempt > newest.attempt)
        if is_newer and has_verdict(run):
            newest = run
    return newest


def has_verdict(run: RunFact) -> bool:
    is_over = run.state is RunState.ENDED and run.outcome is Outcome.SUCCEEDED
    return is_over and run.verdict is not None and run.verdict.word in WORDS.get(run.stage, ())

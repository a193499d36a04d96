"""QG-6: the tester passed the head commit, and its checks are still green."""

from dataclasses import replace

from orchestrator.domain.model import Project, Sha, Stage, Task
from orchestrator.domain.run import VerdictWord
from orchestrator.qg import runs
from orchestrator.qg.ci import checks_green
from orchestrator.qg.facts import Facts
from orchestrator.qg.pull import branch_gone, head_of
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, Waiting, closed, parted


def passed_by_tester(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-6: the newest verdict of a tester that looked at the head is `passed`, and QG-4 is open."""
    if unknown := unseen(facts.branch):
        return Unknown(unknown)
    head = head_of(facts)
    if head is None:
        return Waiting((branch_gone(task),))
    green = checks_green(project, task, facts)
    missing, said = parted((_word(facts, head),))
    held = (*said, *green.held)
    if not isinstance(green, Passed):
        return replace(green, held=held)
    failed = [item for item in missing if item.code == "test_failed"]
    return closed(failed, missing, held)


def _word(facts: Facts, head: Sha) -> Item:
    """What the newest verdict on the head says, or that there is none."""
    run = runs.with_verdict(facts, Stage.TESTING, head)
    if run is None or run.verdict is None:
        return Item("test_due", (("head", head),), who="agent", action="run")
    params = (("attempt", str(run.attempt)), ("head", head), ("word", run.verdict.word.value))
    if run.verdict.word is VerdictWord.PASSED:
        return Item("tester_verdict", params)
    return Item("test_failed", params, who="agent", action="run")

"""What goes out beside the work: verdicts of reviewers and testers, and answers to people."""

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Project, Stage, Task
from orchestrator.qg import documents, review, runs
from orchestrator.qg.approvals import approvers
from orchestrator.qg.commands import Approve, commands, has_vote
from orchestrator.qg.facts import Facts, Remark, newer
from orchestrator.qg.pull import head_of
from orchestrator.qg.verdict import Item
from orchestrator.workflow.decision import PublishReport, PublishReview, Reply
from orchestrator.workflow.pipeline import place


def publications(
    project: Project, task: Task, facts: Facts, stage: Stage
) -> tuple[PublishReview | PublishReport, ...]:
    """Verdicts on the head that the forge does not show yet. `stage` is where the gates let the task stand."""
    head, pull = head_of(facts), facts.pull
    if task.repo is None or head is None or not isinstance(pull, PullRequest):
        return ()
    found: list[PublishReview | PublishReport] = []
    if place(stage) >= place(Stage.REVIEW) and review.asks_agent(project):
        found += _review(task, facts, pull)
    tested = runs.with_verdict(facts, Stage.TESTING, head)
    if place(stage) >= place(Stage.TESTING) and tested and tested.verdict:
        said = tested.verdict
        found.append(PublishReport(task.repo, pull.number, head, tested.attempt, said.word, said.report))
    return tuple(found)


def _review(task: Task, facts: Facts, pull: PullRequest) -> list[PublishReview]:
    """A user that wrote the pull request never reviews it: the forge would refuse, so a comment says it."""
    head = head_of(facts)
    run = runs.with_verdict(facts, Stage.REVIEW, head or "")
    if task.repo is None or head is None or run is None or run.verdict is None:
        return []
    state = review.as_review(run.verdict.word)
    is_own = review.is_independent_reviewer(facts)
    if state is None or (is_own and review.is_published(facts, head, state)):
        return []
    text = run.verdict.report
    return [PublishReview(task.repo, pull.number, head, run.attempt, state, text, as_comment=not is_own)]


def answers(project: Project, task: Task, facts: Facts, stage: Stage) -> tuple[tuple[Reply, ...], int]:
    """Approvals that open nothing are answered, each once; with the order up to which they are now."""
    up_to = task.switches.approvals_up_to
    if not isinstance(facts.remarks, tuple) or not isinstance(facts.documents, tuple):
        return (), up_to
    new = newer(facts.remarks, up_to)
    if not new:
        return (), up_to
    allowed, counted = approvers(project, facts), documents.votes(project, task, facts).counted()
    vain = [
        remark
        for remark in new
        if remark.person in allowed
        and remark.comment not in counted
        and has_vote(remark.lines)
        and Approve() in commands(remark.lines)
    ]
    replies = tuple(Reply(one.comment, _vain(facts, stage, one)) for one in vain)
    return replies, new[-1].order


def _vain(facts: Facts, stage: Stage, remark: Remark) -> Item:
    params = (("why", _why(facts, stage, remark)), ("stage", stage.value))
    is_asked = stage in documents.OF_STAGE
    return Item(
        "approval_not_counted", params, (remark.comment,), "approver", ":approved:" if is_asked else "nothing"
    )


def _why(facts: Facts, stage: Stage, remark: Remark) -> str:
    if not remark.is_untouched:
        return "edited"
    if stage not in documents.OF_STAGE:
        return "nothing_asked"
    found = documents.of_stage(facts, stage)
    if not found:
        return "document_missing"
    return "document_is_newer" if remark.order <= max(one.seen for one in found) else "not_for_this_gate"


def answered(replies: tuple[Reply, ...], stage: Stage, waiting: tuple[Item, ...]) -> tuple[Reply, ...]:
    """Questions get their answers: where the task stands, and for `why` what it waits for."""
    params = (("stage", stage.value),)
    about = {"why": waiting, "status": waiting[:1]}
    return tuple(
        Reply(one.comment, Item(one.item.code, params), about[one.item.code]) if one.item.code in about else one
        for one in replies
    )

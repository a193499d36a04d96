"""What goes out beside the work: verdicts of reviewers and testers, and answers to people."""

from dataclasses import replace

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Project, Stage, Task
from orchestrator.qg import documents, review, runs
from orchestrator.qg.approvals import Ballots, approvers
from orchestrator.qg.commands import Approve, Reject, commands, has_vote
from orchestrator.qg.facts import Facts, Remark, newer
from orchestrator.qg.pull import head_of
from orchestrator.qg.verdict import Item
from orchestrator.workflow.decision import Decision, PublishReport, PublishReview, Reply, about_to_start
from orchestrator.workflow.pipeline import place

MAX_ANSWERS = 30
"""Comments of one task that are answered. Whoever answers each of our answers, a program on the list of approvers
above all, would go on for ever.
"""
_AT_REST = frozenset({"nothing_asked", "approved_already"})
"""Why an approval does not count, where nobody needs another one."""
_QUESTIONS = frozenset({"status", "why"})


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
    """Approvals and rejections that do nothing are answered, each once; and the order up to which."""
    up_to = task.switches.approvals_up_to
    if not isinstance(facts.remarks, tuple) or not isinstance(facts.documents, tuple):
        return (), up_to
    new = newer(facts.remarks, up_to)
    if not new:
        return (), up_to
    allowed, every = approvers(project, facts), documents.votes(project, task, facts)
    counted = every.counted()
    theirs = [one for one in new if one.person in allowed and one.comment not in counted and has_vote(one.lines)]
    told = ((remark.comment, _vain(facts, stage, remark, every)) for remark in theirs)
    return tuple(Reply(comment, item) for comment, item in told if item), new[-1].order


def _vain(facts: Facts, stage: Stage, remark: Remark, every: Ballots) -> Item | None:
    said = commands(remark.lines)
    if any(isinstance(one, Reject) for one in said):
        return _vain_rejection(facts, stage, remark, every)
    if Approve() not in said or every.is_taken_back(remark.comment):
        return None
    return _vain_approval(facts, stage, remark, every)


def _vain_rejection(facts: Facts, stage: Stage, remark: Remark, every: Ballots) -> Item | None:
    """None when it was said of documents that are there: what became of it shows in the gates."""
    if remark.comment in every.heard():
        return None
    params = (("why", _why_rejected_in_vain(facts, remark)), ("stage", stage.value))
    return Item("rejection_not_counted", params, (remark.comment,), "approver", ":rejected:")


def _why_rejected_in_vain(facts: Facts, remark: Remark) -> str:
    if not remark.is_untouched:
        return "edited"
    is_there = any(documents.of_stage(facts, stage) for stage in documents.OF_STAGE)
    return "document_is_newer" if is_there else "document_missing"


def _vain_approval(facts: Facts, stage: Stage, remark: Remark, every: Ballots) -> Item:
    why = _why(facts, stage, remark, every)
    action = "nothing" if why in _AT_REST else ":approved:"
    params = (("why", why), ("stage", stage.value))
    return Item("approval_not_counted", params, (remark.comment,), "approver", action)


def _why(facts: Facts, stage: Stage, remark: Remark, every: Ballots) -> str:
    if not remark.is_untouched:
        return "edited"
    if stage not in documents.OF_STAGE:
        return "nothing_asked"
    seen = documents.subject(facts, stage).seen()
    if seen is None:
        return "approved_already" if remark.comment in every.heard() else "document_missing"
    if remark.order <= seen:
        return "document_is_newer"
    return "same_person" if remark.comment in every.of(stage).heard() else "not_for_this_gate"


def answered(replies: tuple[Reply, ...], decision: Decision) -> tuple[Reply, ...]:
    """Questions get their answers: where the task stands, and for `why` what it waits for."""
    return tuple(_answered(one, decision) if one.item.code in _QUESTIONS else one for one in replies)


def _answered(one: Reply, decision: Decision) -> Reply:
    """An agent on its way is waited for too. Who waits for nothing more has no why."""
    waits = decision.waiting or about_to_start(decision)
    code = one.item.code if waits else "status"
    about = waits if code == "why" else waits[:1]
    return Reply(one.comment, Item(code, (("stage", decision.stage.value),)), about)


def bounded(decision: Decision) -> Decision:
    """Of all answers to a task's comments the first so many, then one that says so; from then on a reason does."""
    replies = [one for one in decision.actions if isinstance(one, Reply)]
    switches = decision.switches
    if replies:
        comments = tuple(dict.fromkeys(one.comment for one in replies))
        left = MAX_ANSWERS - switches.answered
        actions = [
            one
            for one in decision.actions
            if not isinstance(one, Reply) or one.comment in comments[: max(left, 0)]
        ]
        if len(comments) > left >= 0:
            actions.append(Reply(comments[left], _last_answer()))
        switches = replace(switches, answered=min(switches.answered + len(comments), MAX_ANSWERS + 1))
        decision = replace(decision, actions=tuple(actions), switches=switches)
    if switches.answered <= MAX_ANSWERS or decision.stage is Stage.DONE:
        return decision
    return replace(decision, waiting=(*decision.waiting, _spent()))


def _last_answer() -> Item:
    return Item("no_more_answers", (("answers", str(MAX_ANSWERS)),), who="approver", action="nothing")


def _spent() -> Item:
    """A note: it asks nothing of anybody."""
    return Item("answers_spent", (("answers", str(MAX_ANSWERS)),), who="orchestrator", action="nothing")

"""What the next agent is told of why its stage is worked on again. Foreign text, bounded."""

from collections.abc import Iterable

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.forge import PullRequest, Review
from orchestrator.domain.model import Cause, Project, Stage, Task
from orchestrator.domain.roles import Role
from orchestrator.domain.run import VerdictWord
from orchestrator.qg import ci, documents, review, runs
from orchestrator.qg.facts import Facts
from orchestrator.qg.pull import head_of
from orchestrator.qg.verdict import Item

MAX_TEXT = 8000
MAX_DESCRIPTION = 500
MAX_ITEMS = 20


def feedback_of(project: Project, task: Task, facts: Facts, cause: Cause, stage: Stage) -> tuple[Feedback, ...]:
    """What was said, newest first where there is an order. `stage` is the one that is worked on again."""
    if cause is Cause.DOCUMENT_REJECTED:
        return _bounded(_of_rejection(project, task, facts, stage))
    if cause is Cause.CI_RED:
        return _bounded(_of_checks(project, facts))
    if cause is Cause.REVIEW_REJECTED:
        return _bounded(_of_reviews(facts))
    return _bounded(_of_verdict(facts, Stage.TESTING, cause, Role.TESTER))


def output_missing(role: Role, due: tuple[Item, ...]) -> Feedback:
    """An attempt ended well, and the gate did not find what it was to make."""
    lines = (" ".join((item.code, *(f"{name}={value}" for name, value in item.params))) for item in due)
    return Feedback("output_missing", role.value, "\n".join(lines)[:MAX_TEXT])


def _bounded(found: Iterable[Feedback]) -> tuple[Feedback, ...]:
    return tuple(
        Feedback(one.code, one.source, one.text[:MAX_TEXT], one.url)
        for one, _ in zip(found, range(MAX_ITEMS), strict=False)
    )


def _of_rejection(project: Project, task: Task, facts: Facts, stage: Stage) -> Iterable[Feedback]:
    """Without a link: it was said on the work item, and the tracker's address lies outside the core."""
    said = documents.votes(project, task, facts).of(stage).rejections()
    return [Feedback(Cause.DOCUMENT_REJECTED.value, one.person, one.rejection or "") for one in said]


def _of_checks(project: Project, facts: Facts) -> Iterable[Feedback]:
    for check in ci.red_checks(project, facts):
        # The end of a log says most, so it stays whole when the text is cut.
        said = f"{check.state.value}: {check.description[:MAX_DESCRIPTION]}"
        text = f"{said}\n{check.log_tail[-(MAX_TEXT - 600) :]}".strip()
        yield Feedback(Cause.CI_RED.value, check.context, text, check.url)


def _of_reviews(facts: Facts) -> Iterable[Feedback]:
    """The reviewer's own words once: as published, or else as the run gave them."""
    requests = review.change_requests(facts, head_of(facts) or "")
    for one in reversed(requests):
        yield Feedback(Cause.REVIEW_REJECTED.value, one.author, _said(one), one.url)
    if not any(one.author.casefold() == facts.us.reviewer.casefold() for one in requests):
        yield from _of_verdict(facts, Stage.REVIEW, Cause.REVIEW_REJECTED, Role.REVIEWER)


def _said(review: Review) -> str:
    """Most is said at the lines, so a long text is cut for them and not they for it."""
    at_lines = review.comments[:MAX_TEXT]
    if not at_lines:
        return review.text
    return f"{review.text[: max(0, MAX_TEXT - len(at_lines) - 1)]}\n{at_lines}".strip()


def _of_verdict(facts: Facts, stage: Stage, cause: Cause, role: Role) -> Iterable[Feedback]:
    run = runs.with_verdict(facts, stage, head_of(facts) or "")
    said = run.verdict if run else None
    is_no = said is not None and said.word in {VerdictWord.CHANGES_REQUESTED, VerdictWord.FAILED}
    return [Feedback(cause.value, role.value, said.report, _pull_url(facts))] if said and is_no else []


def _pull_url(facts: Facts) -> str:
    """Where the verdict is published: a run has no page on the forge."""
    return facts.pull.url if isinstance(facts.pull, PullRequest) else ""

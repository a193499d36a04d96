"""What a decision means for the outside: effects with their keys. Pure; the words come from orchestrator.words."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.effect import (
    Effect,
    GateStatus,
    ItemState,
    OpenPull,
    PullLink,
    PullNote,
    PullReview,
    TrackerNote,
)
from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Branch, Language, Project, Stage, Task, WorkItem
from orchestrator.store import canonical
from orchestrator.store.decisions import Basis
from orchestrator.words import replies, standing
from orchestrator.words.standing import Standing
from orchestrator.workflow.decision import (
    Decision,
    EnsurePullRequest,
    PublishReport,
    PublishReview,
    Reply,
)


@dataclass(frozen=True, slots=True)
class Planned:
    """`is_latest`: the newest text under this key counts, so it is done again whenever it changes."""

    key: str
    effect: Effect
    is_latest: bool = False


def planned(basis: Basis, decision: Decision, public_url: str) -> tuple[Planned, ...]:
    """All effects of a decision, in the order in which people want to see them."""
    project, task = basis.project, basis.task
    if project is None or task.role is not None or not _key(task, decision):
        return ()
    here = _standing(basis, decision, public_url)
    return (*_actions(task, decision, here, project.language), *_shown(project, basis, decision, here))


def _standing(basis: Basis, decision: Decision, public_url: str) -> Standing:
    project, task, facts = basis.project, basis.task, basis.facts
    assert project is not None  # noqa: S101 - planned asked
    key = _key(task, decision)
    return Standing(
        key=key,
        title=decision.identity.title if decision.identity else task.title,
        stage=decision.stage,
        waiting=decision.waiting,
        verdicts=decision.verdicts,
        branch=decision.identity.branch if decision.identity else task.branch,
        pull_url=facts.pull.url if isinstance(facts.pull, PullRequest) else "",
        runs=facts.runs,
        link=f"{public_url}/api/v1/tasks/{key}/explain",
        returns=decision.returns,
        project=project,
    )


def _actions(task: Task, decision: Decision, here: Standing, language: Language) -> Iterator[Planned]:
    for action in decision.actions:
        match action:
            case EnsurePullRequest(repo, head, base, title):
                effect: Effect = OpenPull(repo, head, base, title, standing.pull_body(here, language))
                yield Planned(f"{task.id}:pull:{head}", effect)
            case PublishReview() as review:
                yield _review(task, review, here, language)
            case PublishReport() as report:
                yield from _report(task, report, here, language)
            case Reply(comment, item, about):
                key = f"{here.key}:reply:{comment}"
                yield Planned(f"{task.id}:{key}", TrackerNote(key, replies.reply_html(item, about, language)))
            case _:
                pass  # branches, runs: their own rows say what is left to do


def _review(task: Task, review: PublishReview, here: Standing, language: Language) -> Planned:
    marker = f"orchestrator:{here.key}:review:{review.attempt}"
    text = replies.review_text(review.text, review.attempt, review.at, language)
    key = f"{task.id}:review:{review.attempt}"
    if review.as_comment:
        return Planned(f"{key}:comment", PullNote(review.repo, review.pull, marker, text))
    marked = f"<!-- {marker} -->\n{text}"
    return Planned(key, PullReview(review.repo, review.pull, review.at, review.verdict, marked))


def _report(task: Task, report: PublishReport, here: Standing, language: Language) -> Iterator[Planned]:
    key = f"{here.key}:report:{report.attempt}"
    text = replies.report_text(report.text, report.attempt, report.at, language)
    yield Planned(
        f"{task.id}:report:{report.attempt}:pull", PullNote(report.repo, report.pull, f"orchestrator:{key}", text)
    )
    html = replies.report_html(report.text, report.attempt, report.at, language)
    yield Planned(f"{task.id}:report:{report.attempt}:item", TrackerNote(key, html))


def _shown(project: Project, basis: Basis, decision: Decision, here: Standing) -> Iterator[Planned]:
    """The comments that are edited in place, the commit status, the state and the link of the work item."""
    task, facts, language = basis.task, basis.facts, project.language
    key = f"{here.key}:standing"
    yield Planned(
        f"{task.id}:standing:item", TrackerNote(key, standing.sticky_html(here, language)), is_latest=True
    )
    state = dict(project.states).get(decision.stage)
    if state and isinstance(facts.item, WorkItem) and facts.item.state.casefold() != state.casefold():
        yield Planned(f"{task.id}:state:{decision.stage}:{_mark(decision)}", ItemState(state))
    if not isinstance(facts.pull, PullRequest) or task.repo is None:
        return
    pull = facts.pull
    yield Planned(f"{task.id}:link:{pull.number}", PullLink(pull.url, f"Pull request {pull.number}"))
    note = PullNote(task.repo, pull.number, f"orchestrator:{key}", standing.sticky_markdown(here, language))
    yield Planned(f"{task.id}:standing:pull", note, is_latest=True)
    if isinstance(facts.branch, Branch) and decision.stage is not Stage.DONE:
        state_, said = standing.status_line(here, language)
        status = GateStatus(task.repo, facts.branch.head, state_, said, here.link)
        yield Planned(f"{task.id}:status:{facts.branch.head}", status, is_latest=True)


def _mark(decision: Decision) -> str:
    """A stage that is reached again moves the item again."""
    return hashlib.sha256(canonical.encode(decision.returns).encode()).hexdigest()[:12]


def _key(task: Task, decision: Decision) -> str:
    return decision.identity.key if decision.identity else task.key

"""What a decision means for the outside: effects with their keys. Pure; the words come from orchestrator.words."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from orchestrator.domain.effect import (
    Again,
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
from orchestrator.domain.model import Branch, Project, Stage, Task
from orchestrator.domain.roles import Language
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.facts import Absent
from orchestrator.qg.verdict import items
from orchestrator.reconcile.documents import named
from orchestrator.store.decisions import Basis
from orchestrator.words import answers, standing
from orchestrator.words.sentences import People
from orchestrator.words.standing import Standing
from orchestrator.workflow.decision import (
    Decision,
    EnsurePullRequest,
    PublishReport,
    PublishReview,
    Reply,
)
from orchestrator.workflow.pipeline import step_of_stage


@dataclass(frozen=True, slots=True)
class Planned:
    """An effect under the key that it has for ever."""

    key: str
    effect: Effect
    again: Again = Again.NEVER


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where browsers find us, the forge and the tracker's work items; empty when it is not configured."""

    here: str = ""
    forge: str = ""
    items: str = ""

    def item(self, key: str) -> str:
        return f"{self.items}/{quote(key, safe='')}/" if self.items and key else ""


def named_people(decision: Decision) -> frozenset[str]:
    """Users' ids that a text about this decision may name."""
    told = [item for _, verdict in decision.verdicts for item in (*verdict.held, *items(verdict))]
    return frozenset(
        value for item in (*decision.waiting, *told) for name, value in item.params if name == "person"
    )


def planned(
    basis: Basis, decision: Decision, addresses: Addresses, people: People = (), *, is_shown: bool = True
) -> tuple[Planned, ...]:
    """All effects of a decision, in the order in which people want to see them. `people` are names by ids.
    Not `is_shown`: one that shares its commit comes after it, and people are shown where that one stands.
    """
    project, task = basis.project, basis.task
    if project is None or task.role is not None or not _key(task, decision):
        return ()
    here = replace(_standing(project, basis, decision, addresses), people=people)
    actions = _actions(task, decision, here, project.language)
    return (*actions, *_shown(project, basis, decision, here)) if is_shown else tuple(actions)


def _standing(project: Project, basis: Basis, decision: Decision, addresses: Addresses) -> Standing:
    task, facts, key = basis.task, basis.facts, _key(basis.task, decision)
    branch = decision.identity.branch if decision.identity else task.branch
    return Standing(
        key=key,
        title=decision.identity.title if decision.identity else task.title,
        stage=decision.stage,
        waiting=decision.waiting,
        verdicts=decision.verdicts,
        pull=facts.pull.url if isinstance(facts.pull, PullRequest) else "",
        branch=branch,
        runs=facts.runs,
        task_link=f"{addresses.here}/tasks/{quote(key, safe='')}" if addresses.here else "",
        returns=len(decision.returns),
        returns_allowed=project.gates.returns_in_all,
        item=addresses.item(key),
        documents=tuple(_documents(project, decision.stage, key, branch, addresses)),
    )


def _documents(
    project: Project, stage: Stage, key: str, branch: str, addresses: Addresses
) -> Iterator[tuple[str, str]]:
    for name in step_of_stage(stage).documents:
        path = f"tasks/{key}/{named(project.documents, name)}"
        where = f"{addresses.forge}/{project.repo}/src/branch/{quote(branch)}/{quote(path)}"
        yield path, where if addresses.forge else ""


def _actions(task: Task, decision: Decision, here: Standing, language: Language) -> Iterator[Planned]:
    for action in decision.actions:
        match action:
            case EnsurePullRequest(repo, head, base, title):
                effect: Effect = OpenPull(repo, head, base, title, standing.pull_body(here, language))
                yield Planned(f"{task.id}:pull:{head}", effect, again=Again.WHEN_WANTED)
            case PublishReview() as review:
                yield _review(task, review, here, language)
            case PublishReport() as report:
                yield from _report(task, report, here, language)
            case _:
                pass  # branches, runs: their own rows say what is left to do
    yield from _replies(task, decision, here, language)


def _replies(task: Task, decision: Decision, here: Standing, language: Language) -> Iterator[Planned]:
    """A comment's answers are one note. What a later decision answers to a comment that was edited since is
    another one, unless it says the same.
    """
    told: dict[CommentId, list[str]] = {}
    for one in decision.actions:
        if isinstance(one, Reply):
            html = answers.reply_html(one.item, one.about, language, here.people)
            told.setdefault(one.comment, []).append(html)
    for comment, texts in told.items():
        html = "".join(dict.fromkeys(texts))
        key = f"{here.key}:reply:{comment}:{hashlib.sha256(html.encode()).hexdigest()[:8]}"
        yield Planned(f"{task.id}:{key}", TrackerNote(key, html))


def _review(task: Task, review: PublishReview, here: Standing, language: Language) -> Planned:
    marker = f"orchestrator:{here.key}:review:{review.attempt}"
    text = answers.review_text(
        review.attempt, review.at, review.verdict, review.text, language, as_comment=review.as_comment
    )
    key = f"{task.id}:review:{review.attempt}"
    if review.as_comment:
        return Planned(f"{key}:comment:{review.pull}", PullNote(review.repo, review.pull, marker, text))
    marked = f"<!-- {marker} -->\n{text}"
    return Planned(
        key, PullReview(review.repo, review.pull, review.at, review.verdict, marked), again=Again.WHEN_WANTED
    )


def _report(task: Task, report: PublishReport, here: Standing, language: Language) -> Iterator[Planned]:
    """On each pull request that the branch had. The marker finds the comment of an older version, whose key had no
    number.
    """
    key = f"{here.key}:report:{report.attempt}"
    text = answers.report_text(report.attempt, report.at, report.word, report.text, language)
    note = PullNote(report.repo, report.pull, f"orchestrator:{key}", text)
    yield Planned(f"{task.id}:report:{report.attempt}:pull:{report.pull}", note)
    html = answers.report_html(report.attempt, report.at, report.word, report.text, language)
    yield Planned(f"{task.id}:report:{report.attempt}:item", TrackerNote(key, html))


def _shown(project: Project, basis: Basis, decision: Decision, here: Standing) -> Iterator[Planned]:
    """The comments that are edited in place, the commit status, the state and the link of the work item. Of a task
    that was done before nothing was looked at: only its state can still be another one.
    """
    task, facts, language = basis.task, basis.facts, project.language
    state = dict(project.states).get(decision.stage)
    moved = Planned(f"{task.id}:state", ItemState(state), again=Again.WHEN_CHANGED) if state else None
    if task.stage is Stage.DONE:
        yield from (moved,) if moved else ()
        return
    key = f"{here.key}:standing"
    yield Planned(
        f"{task.id}:standing:item",
        TrackerNote(key, standing.sticky_html(here, language)),
        again=Again.WHEN_CHANGED,
    )
    if moved and not isinstance(facts.item, Absent):
        # Moved when the stage moves, back too; whoever moves the item by hand in between is not contradicted. Also
        # when it could not be seen: a merge is the last that is decided, and no look comes after it.
        yield moved
    if not isinstance(facts.pull, PullRequest) or task.repo is None:
        return
    pull = facts.pull
    link = PullLink(pull.url, f"Pull request {pull.number}")
    yield Planned(f"{task.id}:link:{pull.number}", link, again=Again.WHEN_CHANGED)
    note = PullNote(task.repo, pull.number, f"orchestrator:{key}", standing.sticky_markdown(here, language))
    yield Planned(f"{task.id}:standing:pull", note, again=Again.WHEN_CHANGED)
    if isinstance(facts.branch, Branch) and decision.stage is not Stage.DONE:
        state_, said = standing.status_line(here, language)
        status = GateStatus(task.repo, facts.branch.head, state_, said, here.task_link)
        yield Planned(f"{task.id}:status:{facts.branch.head}", status, again=Again.WHEN_CHANGED)


def _key(task: Task, decision: Decision) -> str:
    return decision.identity.key if decision.identity else task.key

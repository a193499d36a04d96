"""How long the pure core takes for one decision about a busy task at review."""

import gc
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from benchmarks.report import Figure, median, percentile
from benchmarks.scale import Bench
from orchestrator.domain.forge import BranchRules, Check, CheckState, PullRequest, Review, ReviewState
from orchestrator.domain.model import (
    Branch,
    Project,
    ProjectId,
    RepoName,
    Sha,
    Stage,
    Switches,
    Task,
    TaskId,
    UserId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.run import Outcome, RoleVerdict, RunState, VerdictWord
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.documents import digest_of
from orchestrator.qg.facts import Document, Facts, Remark, RunFact, Us
from orchestrator.workflow.decide import decide

TARGET_US = 200
REVIEWS, CHECKS, REMARKS = 50, 100, 200
CALLS_A_REPEAT = 300
ROUNDS = 4
"""A repeat. Who shares a machine sees the same code take up to twice as long, for seconds on end: the best round
beside the median of all tells how much of that was somebody else's work.
"""
HEAD = Sha("a" * 40)
PEOPLE = tuple(UserId(f"person-{number}") for number in range(10))
PROJECT = Project(ProjectId("p"), RepoName("acme", "shop"), approvers=PEOPLE[:3])
ASKED = Switches(
    design_asked=digest_of(((DocumentName.ARCHITECTURE, "b"), (DocumentName.DEV_TASK, "b"))),
    design_asked_after=20,
    design_open_after=20,
)
TASK = Task(
    TaskId(1), Stage.REVIEW, WorkItemId("w"), PROJECT.id, "SHOP-1", "Title", PROJECT.repo, "b", "main",
    switches=ASKED,
)  # fmt: skip


def measure(bench: Bench) -> list[Figure]:
    """Facts are new objects for every call, as after a look: nothing is remembered between two."""
    basis = [_facts(number) for number in range(CALLS_A_REPEAT)]
    fresh = decide(PROJECT, TASK, basis[0])
    assert fresh.waiting[0].code == "merge"
    task = replace(TASK, switches=fresh.switches)
    rounds: list[list[float]] = []
    first: list[float] = []
    for _ in range(ROUNDS * bench.scale.repeats):
        gc.collect()
        rounds.append([_timed(task, facts) for facts in basis])
        first += [_timed(TASK, facts) for facts in basis]
    times, quietest = list(chain.from_iterable(rounds)), min(map(median, rounds))
    note = f"{REVIEWS} reviews, {CHECKS} checks, {REMARKS} comments"
    return [
        Figure("decide p50", median(times), "us", "best round", quietest, at_most=TARGET_US, note=note),
        Figure("decide p99", percentile(times, 0.99), "us"),
        Figure("decide p50, all comments new", median(first), "us"),
    ]


def _timed(task: Task, facts: Facts) -> float:
    began = time.perf_counter()
    decide(PROJECT, task, facts)
    return (time.perf_counter() - began) * 1e6


def _facts(number: int) -> Facts:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    item = WorkItem(
        WorkItemId("w"), PROJECT.id, "SHOP-1", "Title", f"{number}", "Todo", (), (), is_draft=False,
        is_archived=False, created_at=now, updated_at=now,
    )  # fmt: skip
    pull = PullRequest(
        1, "SHOP-1: Title", is_open=True, is_merged=False, is_draft=False, is_mergeable=True, head_branch="b",
        head=HEAD, base_branch="main", author="dev", url="http://forge/1",
    )  # fmt: skip
    return Facts(
        item, Branch("b", HEAD), _runs(), documents=_documents(), remarks=_remarks(number),
        changed_paths=tuple(f"src/module_{place}.py" for place in range(20)), pull=pull,
        rules=BranchRules(("ci/test-1", "ci/test-2", "ci/lint*")), reviews=_reviews(),
        checks=tuple(
            Check(f"ci/test-{place}" if place else "ci/lint", CheckState.SUCCESS, "ci") for place in range(CHECKS)
        ),
        us=Us("bot", "orch", "dev", "rev"),
    )  # fmt: skip


def _runs() -> tuple[RunFact, ...]:
    words = {Stage.REVIEW: VerdictWord.APPROVED, Stage.TESTING: VerdictWord.PASSED}
    stages = (Stage.ANALYSIS, Stage.ARCHITECTURE, Stage.DEVELOPMENT, Stage.REVIEW, Stage.TESTING)
    return tuple(
        RunFact(stage, 1, RunState.ENDED, Outcome.SUCCEEDED, "", HEAD, None,
                RoleVerdict(words[stage], "A report.") if stage in words else None)
        for stage in stages
    )  # fmt: skip


def _documents() -> tuple[Document, ...]:
    headings = ("Goal", "Background", "Scope", "Functional requirements", "Acceptance criteria")
    brd = Document(DocumentName.BRD, "b", 10, is_blank=False, headings=headings)
    others = (DocumentName.ARCHITECTURE, DocumentName.DEV_TASK, DocumentName.DEV_REPORT)
    return (brd, *(replace(brd, name=name, seen=20, is_ready=True) for name in others))


def _remarks(number: int) -> tuple[Remark, ...]:
    """A third is by approvers; two of them approve, the rest talk or order."""
    said = {11: ":approved:", 25: ":approved:"}
    found = []
    for order in range(1, REMARKS + 1):
        line = said.get(order, "/orch why" if order % 7 == 0 else "More talk.")
        person = PEOPLE[0 if order in said else order % len(PEOPLE)]
        lines = (f"A line of talk {number}.", line)
        found.append(Remark(CommentId(f"comment-{order}"), person, order, is_untouched=True, lines=lines))
    return tuple(found)


def _reviews() -> tuple[Review, ...]:
    return tuple(
        Review(ident, "rev" if ident % 2 else f"person-{ident % 10}", ReviewState.APPROVED, HEAD, is_stale=False,
               is_official=True, is_dismissed=False)
        for ident in range(1, REVIEWS + 1)
    )  # fmt: skip

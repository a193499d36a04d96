"""One green basis: a task whose gates are all open, to be spoiled."""

from dataclasses import replace
from datetime import UTC, datetime

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
from orchestrator.workflow.decision import Decision

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REPO = RepoName("acme", "enduro-trails")
HEAD, OLD = Sha("a" * 40), Sha("b" * 40)
ANNA, BORIS, STRANGER, OURSELF = (
    UserId("u-anna"),
    UserId("u-boris"),
    UserId("u-stranger"),
    UserId("u-orchestrator"),
)
PROJECT = Project(ProjectId("p1"), REPO, "develop", approvers=(ANNA, BORIS))
ASKED = Switches(
    design_asked=digest_of(((DocumentName.ARCHITECTURE, "c1"), (DocumentName.DEV_TASK, "d1"))),
    design_asked_after=20,
    design_open_after=20,
)
"""People were asked about ARCHITECTURE and DEV_TASK, as they are here, when these were there."""
TASK = Task(
    TaskId(1), Stage.READY, WorkItemId("w1"), ProjectId("p1"), "ENDURO-1", "A title", REPO,
    "feature/ENDURO-1-a-title", "develop", seen_created=True, switches=ASKED,
)  # fmt: skip
NEW_TASK = Task(TASK.id, Stage.CREATED, TASK.plane_id, TASK.project, "", "", None, "", "", seen_created=True)
ITEM = WorkItem(
    WorkItemId("w1"), ProjectId("p1"), "ENDURO-1", "A title", "Text", "Todo", ("agent:go",), (UserId("u1"),),
    is_draft=False, is_archived=False, created_at=NOW, updated_at=NOW,
)  # fmt: skip
BRANCH = Branch(TASK.branch, HEAD)
BRD = Document(
    DocumentName.BRD, "b1", 10, is_blank=False,
    headings=("BRD ENDURO-1: A title", "Goal", "Functional requirements", "Acceptance criteria"),
)  # fmt: skip
ARCHITECTURE = Document(DocumentName.ARCHITECTURE, "c1", 20, is_blank=False)
DEV_TASK = Document(DocumentName.DEV_TASK, "d1", 20, is_blank=False, is_ready=True)
REPORT = Document(DocumentName.DEV_REPORT, "e1", 30, is_blank=False)
DOCUMENTS = (BRD, ARCHITECTURE, DEV_TASK, REPORT)
PULL = PullRequest(
    7, "ENDURO-1: A title", is_open=True, is_merged=False, is_draft=False, is_mergeable=True,
    head_branch=TASK.branch, head=HEAD, base_branch="develop", author="dev-agent", url="http://forge/pulls/7",
)  # fmt: skip
CHECK = Check("ci/test", CheckState.SUCCESS, "ci")
LINT = Check("ci/lint (push)", CheckState.SUCCESS, "ci")
RULES = BranchRules(("ci/test", "ci/lint*"))
US = Us(tracker_user=OURSELF, orchestrator="orchestrator", developer="dev-agent", reviewer="rev-agent")


def remark(order: int, person: UserId = ANNA, *lines: str, is_untouched: bool = True) -> Remark:
    return Remark(CommentId(f"k{order}"), person, order, is_untouched, lines or (":approved:",))


def approval_of(commit: str = HEAD, login: str = "rev-agent", ident: int = 1) -> Review:
    return Review(ident, login, ReviewState.APPROVED, commit, is_stale=False, is_official=True, is_dismissed=False)


def rejection_of(commit: str = HEAD, login: str = "rev-agent", ident: int = 1) -> Review:
    return replace(approval_of(commit, login, ident), state=ReviewState.CHANGES_REQUESTED, text="No.")


def run(
    stage: Stage,
    attempt: int = 1,
    outcome: Outcome | None = Outcome.SUCCEEDED,
    word: VerdictWord | None = None,
    base: Sha | None = HEAD,
) -> RunFact:
    verdict = RoleVerdict(word, "A report.") if word else None
    state = RunState.ENDED if outcome else RunState.RUNNING
    return RunFact(stage, attempt, state, outcome, "why", base, None, verdict)


REVIEWED = run(Stage.REVIEW, word=VerdictWord.APPROVED)
TESTED = run(Stage.TESTING, word=VerdictWord.PASSED)
RUNS = (run(Stage.ANALYSIS), run(Stage.ARCHITECTURE), run(Stage.DEVELOPMENT), REVIEWED, TESTED)
GREEN = Facts(
    item=ITEM,
    branch=BRANCH,
    runs=RUNS,
    documents=DOCUMENTS,
    remarks=(remark(11), remark(21)),
    changed_paths=("src/app.py", "tasks/ENDURO-1/BRD.md"),
    pull=PULL,
    rules=RULES,
    reviews=(approval_of(),),
    checks=(CHECK, LINT),
    us=US,
)


def applied(task: Task, decision: Decision) -> Task:
    """The task as the store has it after the decision."""
    moved = replace(task, stage=decision.stage, switches=decision.switches, returns=decision.returns)
    if decision.identity is None:
        return moved
    who = decision.identity
    return replace(
        moved, key=who.key, title=who.title, repo=who.repo, branch=who.branch, base_branch=who.base_branch
    )


def codes(decision: Decision) -> list[str]:
    return [item.code for item in decision.waiting]

"""Who and what: identities, projects, work items, branches, tasks."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from orchestrator.domain.feedback import Feedback
from orchestrator.domain.roles import USUAL_FILES, DocumentName, Language, Role

TaskId = NewType("TaskId", int)
RunId = NewType("RunId", int)
ProjectId = NewType("ProjectId", str)
"""Plane's project uuid, lower case."""
WorkItemId = NewType("WorkItemId", str)
"""Plane's work item uuid, lower case."""
UserId = NewType("UserId", str)
Sha = NewType("Sha", str)
"""40 (or 64) lower-case hex digits."""
Seconds = float

_REPO = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Source(StrEnum):
    """Where an event came from."""

    PLANE = "plane"
    GITEA = "gitea"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"
    """What we saw ourselves when we looked."""


class Stage(StrEnum):
    """Where a task stands; `created` and `done` are the two ends."""

    CREATED = "created"
    ANALYSIS = "analysis"
    ARCHITECTURE = "architecture"
    DEVELOPMENT = "development"
    CI = "ci"
    REVIEW = "review"
    TESTING = "testing"
    READY = "ready"
    DONE = "done"


@dataclass(frozen=True, slots=True, order=True)
class RepoName:
    """`owner/name` on the forge. Made only by `parse`, so that nothing else ever reaches a path or a URL."""

    owner: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "RepoName":
        """Raises ValueError for anything that could leave its folder or its place in a URL."""
        owner, _, name = text.partition("/")
        if not _REPO.fullmatch(text) or owner.strip(".") == "" or name.strip(".") == "":
            raise ValueError(f"not a repository name (owner/name): {text[:80]!r}")
        return cls(owner, name)

    def is_same(self, other: "RepoName") -> bool:
        """The forge tells no capitals from small letters in names, and gives them as somebody once wrote them."""
        return str(self).casefold() == str(other).casefold()

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


def parse_sha(text: str) -> Sha:
    """A full object name; raises ValueError for anything else (short names, refs, options)."""
    if not _SHA.fullmatch(text):
        raise ValueError(f"not a full commit id: {text[:80]!r}")
    return Sha(text)


class TriggerKind(StrEnum):
    """What starts a task for a work item."""

    NEW_ITEM = "new_item"
    LABEL = "label"
    STATE = "state"
    ASSIGNEE = "assignee"


@dataclass(frozen=True, slots=True)
class Trigger:
    """QG-0's condition; `value` is a label, a state's name or a user id, and empty for `new_item`."""

    kind: TriggerKind = TriggerKind.NEW_ITEM
    value: str = ""


class ReviewPolicy(StrEnum):
    """Whose review QG-5 asks for."""

    AGENT = "agent"
    HUMAN = "human"
    BOTH = "both"


class CiPolicy(StrEnum):
    """Whether QG-4 asks for green contexts; `none` is the project's own word that it has no CI."""

    REQUIRED = "required"
    NONE = "none"


PROTECTED_PATHS = (
    ".gitea/**",
    ".forgejo/**",
    ".github/**",
    ".woodpecker/**",
    ".woodpecker.y*ml",
    ".drone.y*ml",
    ".gitlab-ci.y*ml",
    "Jenkinsfile",
    ".openclaw/**",
    "**/.claude/**",
    "**/CLAUDE.md",
    "**/.mcp.json",
)
"""What decides how an agent's work is judged: CI, prompts, the CLI's own files."""


@dataclass(frozen=True, slots=True)
class DocumentFiles:
    """File names under tasks/<KEY>/."""

    brd: str = USUAL_FILES[DocumentName.BRD]
    architecture: str = USUAL_FILES[DocumentName.ARCHITECTURE]
    dev_task: str = USUAL_FILES[DocumentName.DEV_TASK]
    dev_report: str = USUAL_FILES[DocumentName.DEV_REPORT]


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What a project may set of its gates. Part of the configuration digest of every decision."""

    review: ReviewPolicy = ReviewPolicy.AGENT
    approvals: int = 1
    """How many different people must approve a stage's documents, and a pull request that people review."""
    ci: CiPolicy = CiPolicy.REQUIRED
    required_contexts: tuple[str, ...] = ()
    """Globs; empty: those that the forge asks for on the base branch."""
    check_creators: tuple[str, ...] = ()
    """Logins whose statuses count; empty: anybody's who may write them."""
    protected_paths: tuple[str, ...] = PROTECTED_PATHS
    """Globs of what an agent changes only with an approver's `/orch allow-paths`."""
    returns_per_cause: int = 3
    """How often one cause (a red check, a rejected review …) sends a task back before it is parked."""
    returns_in_all: int = 8


@dataclass(frozen=True, slots=True)
class Project:
    """One Plane project mapped to one repository (an entry of orchestrator.yaml)."""

    id: ProjectId
    repo: RepoName
    base_branch: str = "main"
    language: Language = Language.EN
    trigger: Trigger = Trigger()
    approvers: tuple[UserId, ...] = ()
    gates: GateOptions = GateOptions()
    documents: DocumentFiles = DocumentFiles()
    states: tuple[tuple[Stage, str], ...] = ()
    """Names of the tracker's states that show a stage; a stage without one leaves the item where it is."""


@dataclass(frozen=True, slots=True)
class Person:
    """Ties a Plane user to a Gitea login."""

    plane_user: UserId
    gitea_login: str = ""
    approver: bool = False
    admin: bool = False


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A work item as the tracker shows it now."""

    id: WorkItemId
    project: ProjectId
    key: str
    title: str
    description: str
    state: str
    labels: tuple[str, ...]
    assignees: tuple[UserId, ...]
    is_draft: bool
    is_archived: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch on the forge and the commit it points to."""

    name: str
    head: Sha


@dataclass(frozen=True, slots=True)
class GitRemote:
    """Where a repository is fetched from and pushed to. The token never enters argv, environment or disk."""

    url: str
    user: str
    token: str = field(repr=False)


class Cause(StrEnum):
    """What sends a task back."""

    DOCUMENT_REJECTED = "document_rejected"
    CI_RED = "ci_red"
    REVIEW_REJECTED = "review_rejected"
    TEST_FAILED = "test_failed"


@dataclass(frozen=True, slots=True)
class Return:
    """One time that a task was sent back to a stage. It is answered when what it was about has changed: `mark` is
    the digest of a stage's documents, or the branch's head. Runs of the stage after `after_attempt` answer it.
    """

    cause: Cause
    stage: Stage
    mark: str
    after_attempt: int
    evidence: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    """For the next run of the stage; dropped from a return that a newer one follows."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What approvers set with `/orch` commands, and up to where their remarks were carried out."""

    is_paused: bool = False
    is_cancelled: bool = False
    retry_stage: Stage | None = None
    retry_after: int = 0
    """With `retry_stage`: one more attempt of that stage is granted after this one."""
    retry_returns: int = -1
    """One more return is granted while the task has just so many."""
    allowed: tuple[str, ...] = ()
    """Full heads whose protected paths an approver allowed; bounded, the newest last."""
    budget_usd: int = 0
    """What one attempt may cost, and at least what the task may from then on; 0: as configured."""
    commands_up_to: int = 0
    """Remarks up to this order have had their commands carried out."""
    approvals_up_to: int = 0
    """Remarks up to this order were counted as approvals, or answered."""
    of_brd: tuple[str, ...] = ()
    """Comments that were once taken as a word on the BRD, so that none ever counts for another gate; bounded."""
    of_design: tuple[str, ...] = ()
    """As above, on the architecture and the work order."""
    design_asked: str = ""
    """The digest of the architecture and work order that people were asked about last."""
    design_asked_after: int = 0
    """What was seen up to this order is not about them."""
    design_open_after: int = 0
    """People are asked about the architecture now, and what is seen after this order is about it; 0: they are not,
    and it is about the BRD.
    """
    answered: int = 0
    """How many comments were answered; beyond a limit none is."""
    retry_runs: int = 0
    """So many runs the task had when a person last asked to go on; they count for no loop."""
    budget_after: int = 0
    """Money is counted anew after so many runs of the task: as many as there were when the budget was set,
    or a posted task was retried.
    """


NO_SWITCHES = Switches()


@dataclass(frozen=True, slots=True)
class Task:
    """Our record of carrying a work item through the pipeline."""

    id: TaskId
    stage: Stage
    plane_id: WorkItemId | None
    project: ProjectId | None
    key: str
    title: str
    repo: RepoName | None
    branch: str
    base_branch: str
    brief: str = ""
    """Text of a task posted through the API; a task from Plane has its text there."""
    seen_created: bool = False
    """The journal holds the work item's creation."""
    role: Role | None = None
    """The one role that a posted task asks for."""
    retry_after: int = 0
    """An operator asked for one more attempt after this one; 0: nobody did."""
    switches: Switches = NO_SWITCHES
    returns: tuple[Return, ...] = ()
    """Oldest first; as many as the caps allow."""

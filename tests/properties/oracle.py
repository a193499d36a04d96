"""The oracle: somebody who stands beside a place of its own, sees all that happens there, at once and in order.

It asks no API, keeps no journal and no database, and hears of no delivery: facts are taken from where they lie,
and their order is that in which they happened. Only the decision is the product's own. That makes it stronger than
a second orchestrator whose deliveries all arrive, which would share each fault of receiver, journal, sightings,
adapters and outbox, and would order what one look finds by the same rule; and stronger than a second set of gates,
which would know nothing of rounds, caps and commands. What the gates themselves owe is told once more, in other
words, by `truth.py`, and asked after every step.
"""

from collections.abc import Mapping
from datetime import datetime

from green import applied
from orchestrator.domain.forge import (
    BranchRules,
    Check,
    CheckState,
    PullRequest,
    Review,
    ReviewState,
)
from orchestrator.domain.model import (
    Branch,
    Project,
    ProjectId,
    Sha,
    Stage,
    Task,
    TaskId,
    UserId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.run import Outcome, RoleVerdict, RunState
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.commands import commands
from orchestrator.qg.facts import NOT_NEEDED, Absent, Document, Facts, Remark, RunFact, Us
from orchestrator.reconcile.documents import Text
from orchestrator.sim.world import PROJECT, REPO
from orchestrator.trackers.html import spoken
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import (
    Decision,
    EnsureBranch,
    EnsurePullRequest,
    PublishReview,
    StartRun,
    StopRun,
)
from orchestrator.workflow.needs import needs
from orchestrator.workflow.pipeline import step_of_role
from properties.place import OURSELVES, START, Place, Violation
from properties.small_world import Standing

MAX_STEPS = 40
NAMES = {name: f"{name.value.upper()}.md" for name in DocumentName}
STATES = {"APPROVED": ReviewState.APPROVED, "REQUEST_CHANGES": ReviewState.CHANGES_REQUESTED}


class Told(Place):
    """A place with the oracle beside it."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.row: Task | None = None
        self.decision = Decision(Stage.CREATED)
        self.runs: tuple[RunFact, ...] = ()
        self.reviewed: set[tuple[str, int]] = set()
        self.us = Us(self.plane.user(OURSELVES).id, "orchestrator", "developer", "reviewer")

    async def look(self) -> None:
        """Decides and carries out until nothing changes."""
        self.mail.taken()
        if not self.item:
            return
        if self.row is None:
            item, project = WorkItemId(self.item), ProjectId(PROJECT)
            self.row = Task(TaskId(1), Stage.CREATED, item, project, "", "", None, "", "", seen_created=True)
        for _ in range(MAX_STEPS):
            decision = decide(self.project, self.row, self.facts(self.row))
            before, self.row = self.row, applied(self.row, decision)
            has_acted = await self.carry_out(decision)
            if not has_acted and before == self.row:
                self.decision = decision
                return
        raise Violation("the oracle comes to no rest")

    def standing(self) -> Standing:
        return Standing(self.decision.stage.value, self.decision.waiting) if self.row else Standing()

    async def carry_out(self, decision: Decision) -> bool:
        """True when the place is another one afterwards."""
        before = (self.head, len(self.runs), len(self.repo.pulls), len(self.pull.reviews) if self.pull else 0)
        for action in decision.actions:
            match action:
                case EnsureBranch(name=name, base=base):
                    self.git.heads.setdefault(f"refs/heads/{name}", self.git.branch(base) or "")
                    self.note()
                case EnsurePullRequest(head=head, base=base, title=title):
                    await self.asked("POST", "pulls", {"head": head, "base": base, "title": title}, "developer")
                case PublishReview(at=at, attempt=attempt, verdict=verdict, as_comment=False):
                    event = next(event for event, state in STATES.items() if state is verdict)
                    if (at, attempt) not in self.reviewed:  # a verdict is published once, whatever becomes of it
                        self.reviewed.add((at, attempt))
                        await self.review(event, "reviewer", at)
                case StartRun() as start:
                    self._run(start)
                case StopRun():
                    raise Violation("nothing is at work here for longer than a moment")
        return before != (
            self.head,
            len(self.runs),
            len(self.repo.pulls),
            len(self.pull.reviews) if self.pull else 0,
        )

    def _run(self, start: StartRun) -> None:
        assert self.row
        base, said, head = Sha(start.base_sha), None, None
        if step_of_role(start.role).commits:
            made = self.work(start.role, self.row.key, base, start.attempt, is_rework=bool(start.feedback))
            self.people._moved(self.repo, self.branch, made, self.gitea.users["orchestrator"])
            head = Sha(made)
        else:
            said = RoleVerdict(self.word(start.role, base), "As seen.")
        done = RunFact(
            start.stage, start.attempt, RunState.ENDED, Outcome.SUCCEEDED, base=base, head=head, verdict=said
        )
        self.runs = (*self.runs, done)
        self.note()

    # facts from where they lie

    def facts(self, task: Task) -> Facts:
        wanted = {look.value for look in needs(task, is_run_open=False)}
        seen: dict[str, object] = {
            "item": self._item(),
            "branch": Branch(self.branch, Sha(self.head)) if self.head else Absent(),
            "documents": self._documents(),
            "remarks": self._remarks(),
            "changed_paths": tuple(self.paths("main", self.head)) if self.head else (),
            "pull": self._pull(),
            "rules": BranchRules(("ci/test",)),
            "reviews": tuple(self._reviews()),
            "checks": tuple(self._checks()),
        }
        looked = {name: value if name in wanted else NOT_NEEDED for name, value in seen.items()}
        return Facts(runs=self.runs, since=START, max_attempts=3, us=self.us, **looked)  # type: ignore[arg-type]

    def _item(self) -> WorkItem | Absent:
        row = self.project_row.items.get(self.item)
        if row is None or row["archived_at"]:
            return Absent()
        created = datetime.fromisoformat(row["created_at"])
        item, place = WorkItemId(self.item), ProjectId(PROJECT)
        return WorkItem(
            item,
            place,
            self.key,
            row["name"],
            "",
            "",
            (),
            (),
            False,
            False,
            created,
            created,
        )

    def _documents(self) -> tuple[Document, ...]:
        found = []
        for name in DocumentName:
            blob = self.files.get(f"tasks/{self.key}/{NAMES[name]}")
            if blob:
                text = Text(self.git.objects.blobs[blob])
                seen = arrival(self, f"tasks/{self.key}/{NAMES[name]}")
                found.append(Document(name, blob, seen, text.is_blank, text.headings, text.is_ready))
        return tuple(found)

    def _remarks(self) -> tuple[Remark, ...]:
        found = []
        for row in self.comments():
            lines = spoken(row["comment_html"])
            if commands(lines):
                who, order = UserId(row["actor"]), self.said[row["id"]]
                found.append(Remark(CommentId(row["id"]), who, order, is_untouched(row), lines))
        return tuple(found)

    def _pull(self) -> PullRequest | Absent:
        pull = self.pull
        if pull is None:
            return Absent()
        merged, base = pull.merged_by is not None, self.git.branch("main") or ""
        mergeable = pull.state != "open" or self.git.merged_tree(base, pull.head_sha) is not None
        return PullRequest(
            pull.number,
            pull.title,
            pull.state == "open",
            merged,
            False,
            mergeable,
            pull.head,
            Sha(pull.head_sha),
            pull.base,
            pull.user.login,
            f"https://git.example.test/{REPO}/pulls/{pull.number}",
        )

    def _reviews(self) -> list[Review]:
        rows = self.pull.reviews if self.pull else []
        return [
            Review(
                row["id"],
                row["user"]["login"],
                STATES[row["state"]],
                row["commit_id"],
                row["stale"],
                row["official"],
                row["dismissed"],
                row["body"],
            )
            for row in rows
        ]

    def _checks(self) -> list[Check]:
        newest = {context: state for sha, context, state in self.statuses() if sha == self.head}
        return [Check(context, CheckState(state), "boss") for context, state in newest.items()]


def is_untouched(row: Mapping[str, object]) -> bool:
    return row["edited_at"] is None and row["updated_by"] in {None, row["actor"]}


def arrival(place: Place, path: str) -> int:
    """When the file got the content that it has."""
    blob, since = place.files.get(path), 0
    for moment in reversed(place.history):
        if moment.files.get(path) != blob:
            return since
        since = moment.version
    return since

"""Reads the truth through the ports, as little of it as the stage needs, and freezes it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.forge import BranchRules, Check, FileEntry, PullRequest, Review, ReviewState
from orchestrator.domain.model import Branch, Project, ProjectId, RepoName, Sha, Stage, Task, WorkItem, WorkItemId
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.loglimit import Complaints
from orchestrator.pace import Urgency, urgency
from orchestrator.ports import Forge, Tracker
from orchestrator.qg.ci import red_checks
from orchestrator.qg.facts import NOT_NEEDED, Absent, Document, Facts, Unobserved, Us
from orchestrator.qg.review import standing_requests
from orchestrator.reconcile.ahead import ReadAhead
from orchestrator.reconcile.beginning import Beginning, Place, beginning_at
from orchestrator.reconcile.documents import Library, named
from orchestrator.words.sentences import People
from orchestrator.workflow.feedback import MAX_DESCRIPTION, MAX_TEXT
from orchestrator.workflow.names import branch_name
from orchestrator.workflow.needs import Look
from orchestrator.workflow.pipeline import place

K = TypeVar("K")
T = TypeVar("T")
ChangedPaths = Callable[[RepoName, str, Sha], Awaitable[Sequence[str]]]
Redact = Callable[[str], str]
"""Masks our own secrets in foreign text: a log of a build server may show what it should not."""
REFUSED_PAUSE_S = 300.0
"""After a refusal (a wrong token, say) nothing changes soon by itself."""
MAX_REMEMBERED = 2000
MAX_LOGS_REMEMBERED = 500
MAX_LOGS = 5
"""Red checks whose logs are read; more would not be read by anybody."""
MAX_COMMENTED = 5
"""Change requests whose comments at lines are read, the newest."""


@dataclass(frozen=True, slots=True)
class Forges:
    """The forge as each of our users sees it. A role without a user of its own acts as the orchestrator."""

    orchestrator: Forge | None = None
    developer: Forge | None = None
    reviewer: Forge | None = None


NOBODY = Us()


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder at a commit, listed before it was asked for. That never changes."""

    folder: str
    at: Sha
    entries: tuple[FileEntry, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen. `documents` have no number of the journal yet, hence `seen` is 0; `comments` are all."""

    item: WorkItem | Absent | Unobserved = NOT_NEEDED
    branch: Branch | Absent | Unobserved = NOT_NEEDED
    documents: tuple[Document, ...] | Unobserved = NOT_NEEDED
    comments: tuple[Comment, ...] | Unobserved = NOT_NEEDED
    changed_paths: tuple[str, ...] | Unobserved = NOT_NEEDED
    pull: PullRequest | Absent | Unobserved = NOT_NEEDED
    rules: BranchRules | Unobserved = NOT_NEEDED
    reviews: tuple[Review, ...] | Unobserved = NOT_NEEDED
    checks: tuple[Check, ...] | Unobserved = NOT_NEEDED
    us: Us = NOBODY
    notes: tuple[tuple[str, CommentId], ...] = ()
    """Comments of ours on the work item, by their keys; what was not looked at has none."""
    rewritten: frozenset[str] = frozenset()
    """Keys of those of them that others wrote over."""
    base_head: Sha | None = None
    """Of the branch that ours begins at, while ours is not made."""
    listing: Listing | None = None
    missed: tuple[tuple[str, float], ...] = ()
    """What could not be looked at, and how long it wants to be left alone at least, in seconds. It stays with the
    rest of what was seen: a later decision of the same look rests on the gap as well.
    """

    @property
    def retry_in_s(self) -> float | None:
        """None when nothing was missed."""
        return min((pause for _, pause in self.missed), default=None)

    def forgetting(self, *names: str) -> "Observed":
        """Without what an effect of ours may have changed: it is looked at again."""
        missed = tuple(one for one in self.missed if one[0] not in names)
        return _with(replace(self, missed=missed), dict.fromkeys(names, NOT_NEEDED))


def _with(observed: Observed, changes: Mapping[str, Any]) -> Observed:
    """`replace` for names that are known only now; FIELDS holds them to the class's."""
    return replace(observed, **changes)


PRESUMED = frozenset({Look.ITEM, Look.PULL, Look.BRANCH, Look.DOCUMENTS, Look.REMARKS})
"""What `Observer.presumption` says something about."""


class Observer:
    """One for all tasks. What never changes (a blob, a commit's difference to its base) is remembered."""

    def __init__(
        self,
        tracker: Tracker | None,
        forges: Forges,
        changed_paths: ChangedPaths,
        complaints: Complaints,
        redact: Redact = str,
        is_begun: Callable[[WorkItemId], bool] = lambda _: False,
    ) -> None:
        """`is_begun`: the item's task has a branch already."""
        self._tracker = tracker
        self.redact = redact
        self._is_begun = is_begun
        self._complaints = complaints
        self._forges = forges
        self._changed_paths = changed_paths
        self._library = Library()
        self._paths: dict[tuple[RepoName, str, Sha], tuple[str, ...]] = {}
        self._line_comments: dict[tuple[RepoName, int, int], str] = {}
        self._listings: dict[tuple[RepoName, str, Sha], tuple[FileEntry, ...]] = {}
        self._logs: dict[tuple[RepoName, Sha, Check], str] = {}
        self._us: Us | None = None
        self._items = ReadAhead[tuple[ProjectId, WorkItemId], WorkItem | None]()
        self._beginnings = ReadAhead[Place, Beginning]()
        self._asking: dict[Urgency, asyncio.Lock] = {}

    def news(self, project: Project, item: WorkItemId) -> None:
        """A delivery about a work item has come, and its look will follow as soon as it is stored."""
        if self._tracker:
            self._items.news((project.id, item), partial(self._read_ahead, self._tracker, project, item))

    def gone(self, item: WorkItemId) -> None:
        """A delivery says that it was deleted: what was read before does not count."""
        self._items.forget(lambda key: key[1] == item)

    def moved(self, branch: str) -> None:
        """A delivery says so of a branch of this name, in whatever repository: as `gone`."""
        self._beginnings.forget(lambda place: place.branch == branch)

    async def _read_ahead(self, tracker: Tracker, project: Project, item: WorkItemId) -> WorkItem | None:
        """The item names the branch, so that follows at once: a new task's look asks for both."""
        found = await tracker.work_item(project.id, item)
        if found and self.forge and not self._is_begun(item):
            place = Place(project.repo, branch_name(found.key, found.title), project.base_branch)
            self._beginnings.news(place, partial(beginning_at, self.forge, place))
        return found

    async def work_item(self, project: ProjectId, item: WorkItemId) -> WorkItem | None:
        """As it is now, or was after the last delivery about it. Raises as the adapter does."""
        assert self._tracker is not None  # noqa: S101 - whoever asks has looked whether there is a tracker
        return await (self._items.take((project, item)) or self._tracker.work_item(project, item))

    async def beginning(self, repo: RepoName, branch: str, base: str) -> Beginning:
        """As `work_item`, of a branch that we may have to make."""
        assert self.forge is not None  # noqa: S101 - as above
        place = Place(repo, branch, base)
        return await (self._beginnings.take(place) or beginning_at(self.forge, place))

    async def look(
        self, project: Project | None, task: Task, wanted: frozenset[Look], known: Observed | None = None
    ) -> Observed:
        """`known` is what this look has seen already: it is not asked for again."""
        eye = _Eye(self, project, task, known or Observed())
        for one in (step for step in _ORDER if step in wanted):
            await eye.see(one)
        return eye.observed()

    async def foresee(self, project: Project | None, task: Task, known: Observed) -> Observed:
        """Adds, all at once, what is wanted when the task's branch is made: whether there is a pull request, which
        cannot be open before the branch is there, what people said, and what the branch begins with. A fault is
        forgotten, so that it is met where the look comes to it.
        """
        eye = _Eye(self, project, task, known)
        await asyncio.gather(eye.glance(Look.PULL), eye.glance(Look.REMARKS), eye.list_ahead())
        return eye.observed()

    def presumption(self, project: Project | None, task: Task, branch: str, seen: Observed) -> Observed | None:
        """What will mostly be seen of a branch that is being made: it begins where its base stood, nothing lies in
        the task's folder, there is no pull request, and nobody has said anything. None when the base was not seen.
        """
        at, us = seen.base_head, self._us
        if at is None or us is None or project is None or task.role is not None:
            return None
        listing = Listing(folder_of(task), at, ())
        return replace(seen, branch=Branch(branch, at), pull=Absent(), comments=(), us=us, listing=listing)

    async def us(self) -> Us:
        """Our users, asked for once; nobody waits for somebody less urgent. Raises as the adapters do."""
        if self._us is None:
            async with self._asking.setdefault(urgency(), asyncio.Lock()):
                await self._ask_us()
        return self._us or NOBODY

    async def _ask_us(self) -> None:
        if self._us is None:
            forges, tracker = self._forges, self._tracker
            self._us = Us(
                tracker_user=await tracker.whoami() if tracker else "",
                orchestrator=await _login(forges.orchestrator),
                developer=await _login(forges.developer),
                reviewer=await _login(forges.reviewer),
            )

    def complain(self, what: str, error: OrchestratorError) -> None:
        self._complaints.say("look_failed", error, what=what)

    async def people(self, project: Project, wanted: Collection[str]) -> People:
        """Names of these users, where the tracker tells them: they are a help to readers, not a fact."""
        if self._tracker is None or not wanted:
            return ()
        try:
            members = await self._tracker.members(project.id)
        except OrchestratorError as error:
            self.complain("members", error)
            return ()
        return tuple((user, members[user]) for user in sorted(members) if user in wanted and members[user])

    @property
    def ourselves(self) -> frozenset[str]:
        """Our users' names and ids, as far as they were asked for."""
        us = self._us or NOBODY
        return frozenset({us.tracker_user, us.orchestrator, us.developer, us.reviewer}) - {""}

    async def paths(self, repo: RepoName, base: str, head: Sha) -> tuple[str, ...]:
        key = (repo, base, head)
        if key not in self._paths:
            found = tuple(await self._changed_paths(repo, base, head))
            _remember(self._paths, key, found)
        return self._paths[key]

    async def line_comments(self, repo: RepoName, pull: int, review: Review) -> str:
        """Remembered, so that a task that waits costs no call more than another: they come with the review, and
        whoever adds one later adds another review. Who edits one later has to say it in another way.
        """
        assert self.forge is not None  # noqa: S101 - whoever has a review has a forge
        key = (repo, review.id, review.comment_count)
        if key not in self._line_comments:
            said = self.redact(await self.forge.review_comments(repo, pull, review))
            _remember(self._line_comments, key, said)
        return self._line_comments[key]

    async def listing(self, repo: RepoName, folder: str, at: Sha) -> tuple[FileEntry, ...]:
        """What lies in a folder at a commit never changes. An empty one is asked for again, to be sure."""
        assert self.forge is not None  # noqa: S101 - as above
        key = (repo, folder, at)
        if key not in self._listings:
            found = tuple(await self.forge.files(repo, folder, at))
            if not found:
                return ()
            _remember(self._listings, key, found)
        return self._listings[key]

    async def log(self, repo: RepoName, at: Sha, check: Check) -> str:
        """The end of a red check's log, read once. One that ran again says how long it took, and is another."""
        assert self.forge is not None  # noqa: S101 - as above
        key = (repo, at, check)
        if key not in self._logs:
            _remember(self._logs, key, self.redact(await self.forge.check_log(repo, check)), MAX_LOGS_REMEMBERED)
        return self._logs[key]

    @property
    def tracker(self) -> Tracker | None:
        return self._tracker

    @property
    def forge(self) -> Forge | None:
        return self._forges.orchestrator

    @property
    def library(self) -> Library:
        return self._library


_ORDER = (
    Look.ITEM,
    Look.PULL,
    Look.BRANCH,
    Look.DOCUMENTS,
    Look.REMARKS,  # after the documents: see store/sightings.py
    Look.CHANGED_PATHS,
    Look.RULES,
    Look.REVIEWS,
    Look.CHECKS,
)
OF_TRACKER = frozenset({Look.ITEM, Look.REMARKS})
FIELDS = {look: "comments" if look is Look.REMARKS else look.value for look in Look}
assert set(FIELDS.values()) <= {field.name for field in fields(Observed)}  # noqa: S101 - one name for one thing


class _Eye:
    """One look at one task. Each method sees one thing, or says why it could not."""

    def __init__(self, observer: Observer, project: Project | None, task: Task, known: Observed) -> None:
        self._observer = observer
        self._project = project
        self._task = task
        self._seen = known

    def observed(self) -> Observed:
        return self._seen

    async def see(self, look: Look) -> None:
        name = FIELDS[look]
        if getattr(self._seen, name) != NOT_NEEDED:
            return
        try:
            found = await self._ask(look)  # apart: it may itself add what it learns by the way
            self._seen = _with(self._seen, {name: found})
        except (Transient, Permanent) as error:
            self._missed(name, error)

    async def glance(self, look: Look) -> None:
        """As `see`, of what is not needed yet: a fault leaves it unseen."""
        with contextlib.suppress(Transient, Permanent):
            found = await self._ask(look)
            if not isinstance(found, Unobserved):
                self._seen = _with(self._seen, {FIELDS[look]: found})

    async def list_ahead(self) -> None:
        where, at = self._where(), self._seen.base_head
        if where is None or at is None:
            return
        with contextlib.suppress(Transient, Permanent):
            entries = await self._forge().files(where[0], self._folder(), at)
            self._seen = replace(self._seen, listing=Listing(self._folder(), at, tuple(entries)))

    def _missed(self, name: str, error: Transient | Permanent) -> None:
        self._observer.complain(name, error)
        pause_s = (error.retry_after_s or 0.0) if isinstance(error, Transient) else REFUSED_PAUSE_S
        detail = f"{error.message} {error.hint}".strip()
        missed = (*self._seen.missed, (name, pause_s))
        self._seen = _with(replace(self._seen, missed=missed), {name: Unobserved(error.code, detail)})

    async def _ask(self, look: Look) -> object:
        if self._observer.forge is None and look not in OF_TRACKER:
            return Unobserved("no_gitea_token")
        asks: dict[Look, Callable[[], Awaitable[object]]] = {
            Look.ITEM: self._item,
            Look.REMARKS: self._comments,
            Look.PULL: self._pull,
            Look.BRANCH: self._branch,
            Look.DOCUMENTS: self._documents,
            Look.CHANGED_PATHS: self._paths,
            Look.RULES: self._rules,
            Look.REVIEWS: self._reviews,
            Look.CHECKS: self._checks,
        }
        return await asks[look]()

    async def _item(self) -> WorkItem | Absent | Unobserved:
        tracker, task = self._observer.tracker, self._task
        if task.plane_id is None or task.project is None:
            return Absent()
        if self._project is None:
            return NOT_NEEDED
        if tracker is None:
            return Unobserved("no_plane_token")
        return await self._observer.work_item(task.project, task.plane_id) or Absent()

    async def _comments(self) -> tuple[Comment, ...] | Unobserved:
        tracker, task = self._observer.tracker, self._task
        if task.plane_id is None or task.project is None or isinstance(self._seen.item, Absent):
            return ()
        if tracker is None:
            return Unobserved("no_plane_token")
        us = await self._us()
        found = await tracker.comments(task.project, task.plane_id)
        notes = tuple((one.external_id, one.id) for one in found if one.external_id)
        rewritten = frozenset(one.external_id for one in found if one.external_id and one.is_by_another)
        self._seen = replace(self._seen, notes=notes, rewritten=rewritten)
        return tuple(one for one in found if one.author != us.tracker_user and not one.external_id)

    async def _us(self) -> Us:
        us = await self._observer.us()
        self._seen = replace(self._seen, us=us)
        return us

    async def _pull(self) -> PullRequest | Absent | Unobserved:
        where = self._where()
        if where is None:
            return NOT_NEEDED
        repo, forge = where[0], self._forge()
        await self._us()
        found = await forge.pull_request(repo, self._base(), where[1])
        if found is None and place(self._task.stage) >= place(Stage.DEVELOPMENT):
            found = await forge.pull_request_from(repo, where[1])  # somebody may have moved it onto another base
        if found and found.is_open:
            self._seen = replace(self._seen, branch=Branch(where[1], found.head))
        return found or Absent()

    async def _branch(self) -> Branch | Absent | Unobserved:
        where = self._where()
        if where is None:
            return NOT_NEEDED
        if self._task.stage is not Stage.CREATED or self._task.role is not None:
            return await self._forge().branch(*where) or Absent()
        begins = await self._observer.beginning(*where, self._base())
        self._seen = replace(self._seen, base_head=begins.base.head if begins.base else None)
        return begins.branch or Absent()

    async def _documents(self) -> tuple[Document, ...] | Unobserved:
        head, where = self._head(), self._where()
        if head is None or where is None or self._project is None:
            return self._blind()
        forge, folder = self._forge(), self._folder()
        entries = {entry.path: entry for entry in await self._listed(where[0], folder, head)}
        found = []
        for name in DocumentName:
            entry = entries.get(f"{folder}/{named(self._project.documents, name)}")
            text = await self._observer.library.text(forge, where[0], entry, head) if entry else None
            if entry and text:
                found.append(Document(name, entry.blob, 0, text.is_blank, text.headings, text.is_ready))
        if found:  # whatever was heard before they were read is heard again: see store/sightings.py
            self._seen = self._seen.forgetting(FIELDS[Look.REMARKS])
        return tuple(found)

    async def _listed(self, repo: RepoName, folder: str, head: Sha) -> Sequence[FileEntry]:
        ahead = self._seen.listing
        if ahead and (ahead.folder, ahead.at) == (folder, head):
            return ahead.entries
        return await self._observer.listing(repo, folder, head)

    def _folder(self) -> str:
        return folder_of(self._task)

    async def _paths(self) -> tuple[str, ...] | Unobserved:
        head, where = self._head(), self._where()
        if head is None or where is None:
            return self._blind()
        return await self._observer.paths(where[0], self._base(), head)

    async def _rules(self) -> BranchRules | Unobserved:
        where = self._where()
        return await self._forge().rules(where[0], self._base()) if where else self._blind()

    async def _reviews(self) -> tuple[Review, ...] | Unobserved:
        pull, where = self._seen.pull, self._where()
        if not isinstance(pull, PullRequest) or where is None:
            return () if isinstance(pull, Absent) else self._blind()
        found = [_kept(one) for one in await self._forge().reviews(where[0], pull.number)]
        asked = {one.id for one in standing_requests(found, self._head() or "") if one.comment_count}
        told = sorted(asked)[-MAX_COMMENTED:]
        return tuple(
            [await self._with_comments(where[0], pull.number, one) if one.id in told else one for one in found]
        )

    async def _with_comments(self, repo: RepoName, pull: int, review: Review) -> Review:
        """As a log: what was said at lines is a help, not a fact. The request stands without it too."""
        try:
            return replace(review, comments=await self._observer.line_comments(repo, pull, review))
        except OrchestratorError as error:
            self._observer.complain("review_comments", error)
            return review

    async def _checks(self) -> tuple[Check, ...] | Unobserved:
        head, where = self._head(), self._where()
        if head is None or where is None:
            return self._blind()
        found = tuple([_shortened(one) for one in await self._forge().checks(where[0], head)])
        told = self._red(found)[:MAX_LOGS]
        return tuple(
            [replace(one, log_tail=await self._log(where[0], head, one)) if one in told else one for one in found]
        )

    def _red(self, found: tuple[Check, ...]) -> tuple[Check, ...]:
        """Those for which somebody is sent back: nobody reads the others' logs."""
        seen = Facts(self._seen.item, self._seen.branch, rules=self._seen.rules, checks=found)
        return red_checks(self._project, seen) if self._project else ()

    async def _log(self, repo: RepoName, at: Sha, check: Check) -> str:
        """The end of a log is a help, not a fact: without it the check is as red as with it."""
        try:
            return await self._observer.log(repo, at, check)
        except OrchestratorError as error:
            self._observer.complain("check_log", error)
            return ""

    def _forge(self) -> Forge:
        assert self._observer.forge is not None  # noqa: S101 - _ask asked
        return self._observer.forge

    def _head(self) -> Sha | None:
        return self._seen.branch.head if isinstance(self._seen.branch, Branch) else None

    def _blind(self) -> Unobserved:
        """What lies on a branch that could not be seen could not be seen either."""
        return self._seen.branch if isinstance(self._seen.branch, Unobserved) else Unobserved("branch_gone")

    def _base(self) -> str:
        return self._task.base_branch or (self._project.base_branch if self._project else "")

    def _where(self) -> tuple[RepoName, str] | None:
        task, project, item = self._task, self._project, self._seen.item
        if task.repo is not None and task.branch:
            return task.repo, task.branch
        if project is not None and isinstance(item, WorkItem):
            return project.repo, branch_name(item.key, item.title)
        return None


def folder_of(task: Task) -> str:
    """Where a task's documents lie in its repository."""
    return f"tasks/{task.key}"


def _kept(review: Review) -> Review:
    """Only who wants changes says something that agents are told; all else would be stored with each decision."""
    text = review.text[:MAX_TEXT] if review.state is ReviewState.CHANGES_REQUESTED else ""
    return review if text == review.text else replace(review, text=text)


def _shortened(check: Check) -> Check:
    long = len(check.description) > MAX_DESCRIPTION
    return replace(check, description=check.description[:MAX_DESCRIPTION]) if long else check


def _remember(known: dict[K, T], key: K, value: T, most: int = MAX_REMEMBERED) -> None:
    """In place of the oldest, when there are too many."""
    while len(known) >= most:
        del known[next(iter(known))]
    known[key] = value


async def _login(forge: Forge | None) -> str:
    return await forge.whoami() if forge else ""

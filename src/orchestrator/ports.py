"""The outside world as the core sees it. A port exists because it has a real adapter and a second one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.forge import (
    BranchRules,
    Check,
    CheckState,
    FileEntry,
    ForgeCapabilities,
    PullRequest,
    Review,
    ReviewPublished,
    ReviewState,
)
from orchestrator.domain.model import (
    Branch,
    GitRemote,
    ProjectId,
    RepoName,
    RunId,
    Sha,
    TaskId,
    UserId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.run import Liveness, RunResult, RunSpec, Usage
from orchestrator.domain.tracker import NO_MARGIN, Changes, Comment, CommentId, StateId, TrackerState, Written


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> datetime:
        """The wall clock, in UTC, with its zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; for deadlines and back-off."""
        ...


class Tracker(Protocol):
    """Where the team plans (Plane). Every call may raise Transient or Permanent."""

    async def whoami(self) -> str:
        """The id of our own user there."""
        ...

    async def work_item(self, project: ProjectId, item: WorkItemId) -> WorkItem | None:
        """The item as it is now; None when it is gone for certain: two "not found" in the tracker's own words,
        while its project is there.
        """
        ...

    async def work_item_by_key(self, key: str) -> WorkItem | None:
        """As above, for a key like ENDURO-5; one "not found" is enough here."""
        ...

    async def changed_items(
        self, project: ProjectId, since: datetime | None, first_page: int = 0, margin: timedelta = NO_MARGIN
    ) -> Changes:
        """Items updated at or after `since`, newest first; all when None. Bounded: with `first_page` it goes on.
        What changes meanwhile moves to the front, and what is deleted moves all behind it up. What lies up to
        `margin` below `since` comes too, as far as it is on a page that is read anyway.
        """
        ...

    async def listed_items(self, project: ProjectId) -> Collection[WorkItemId] | None:
        """All that are neither gone nor archived nor drafts; None when there are more than we read. An item that
        is listed is there; one that is not may have slipped between two pages.
        """
        ...

    async def comments(self, project: ProjectId, item: WorkItemId) -> Sequence[Comment]:
        """Newest first, all of them. Permanent for more than we read: a part of what was said is not the truth."""
        ...

    async def states(self, project: ProjectId) -> Sequence[TrackerState]:
        """The columns of the project's board. May be remembered for some minutes."""
        ...

    async def members(self, project: ProjectId) -> Mapping[UserId, str]:
        """Who belongs to the project, with display names. May be remembered for some minutes."""
        ...

    async def labels(self, project: ProjectId) -> Mapping[str, str]:
        """Label ids and names. May be remembered for some minutes."""
        ...

    async def comment(self, project: ProjectId, item: WorkItemId, key: str, html: str) -> Written:
        """Writes a comment under our key, or returns the one that has it already, with the text that it had.
        A key is unique in a project.
        """
        ...

    async def edit_comment(self, project: ProjectId, item: WorkItemId, comment: CommentId, html: str) -> bool:
        """Replaces its text; False when it is not there any more."""
        ...

    async def move(self, project: ProjectId, item: WorkItemId, state: StateId) -> None:
        """Puts the item into a state. Doing it twice changes nothing."""
        ...

    async def link(self, project: ProjectId, item: WorkItemId, url: str, title: str) -> None:
        """Adds a link, unless the item has this address already."""
        ...


class Forge(Protocol):
    """Where the code lives (Gitea, Forgejo). It has no merge and no delete call."""

    async def whoami(self) -> str:
        """Our own login there."""
        ...

    async def branch(self, repo: RepoName, name: str) -> Branch | None:
        """None when the repository has no such branch."""
        ...

    async def create_branch(self, repo: RepoName, name: str, from_branch: str) -> Branch:
        """Creates it, or returns the one that is there. Permanent when there is no branch to begin at."""
        ...

    def remote(self, repo: RepoName) -> GitRemote:
        """Built from our configuration, never from a payload."""
        ...

    async def capabilities(self) -> ForgeCapabilities:
        """What this server can do; asked once and remembered."""
        ...

    async def rules(self, repo: RepoName, branch: str) -> BranchRules:
        """What it asks of pull requests onto `branch`, the base. Permanent when there is no such branch."""
        ...

    async def files(self, repo: RepoName, folder: str, at: Sha) -> Sequence[FileEntry]:
        """The regular files directly in a folder at a commit; empty when there is no such folder."""
        ...

    async def file(self, repo: RepoName, path: str, at: Sha, *, max_bytes: int) -> bytes | None:
        """A file's first `max_bytes` at a commit; None when it is not there."""
        ...

    async def pull_request(self, repo: RepoName, base: str, head: str) -> PullRequest | None:
        """The one from branch `head` onto branch `base`: an open one before a closed one, the newest of them."""
        ...

    async def pull_request_from(self, repo: RepoName, head: str) -> PullRequest | None:
        """The newest open one from branch `head`, whatever it leads onto, among those that moved last."""
        ...

    async def open_pull_request(self, repo: RepoName, base: str, head: str, title: str, body: str) -> PullRequest:
        """Opens it, or returns the open one that is there."""
        ...

    async def reviews(self, repo: RepoName, pull: int) -> Sequence[Review]:
        """The whole history, oldest first; bounded. Without the comments at lines, but with their number."""
        ...

    async def review_comments(self, repo: RepoName, pull: int, review: Review) -> str:
        """What a review says at lines of the code: `path:line: text`, by path and line, bounded, without control
        characters. A line that the change took away is `path (old line N)`.
        """
        ...

    async def review(self, repo: RepoName, pull: int, at: Sha, verdict: ReviewState, text: str) -> ReviewPublished:
        """Publishes an approval, a change request or a comment on one commit, as this client's user. A review
        of ours of this verdict on this commit that begins with the same hidden marker line is not made twice.
        """
        ...

    async def checks(self, repo: RepoName, at: Sha) -> Sequence[Check]:
        """The newest status of every context at a commit, our own included."""
        ...

    async def check_log(self, repo: RepoName, check: Check) -> str:
        """The end of a red check's log, bounded, without control characters; empty where the server has none."""
        ...

    async def set_status(
        self, repo: RepoName, at: Sha, context: str, state: CheckState, description: str, url: str
    ) -> None:
        """Posts a commit status, unless the newest of this context says the same already."""
        ...

    async def pull_comment(self, repo: RepoName, pull: int, marker: str, text: str) -> None:
        """One comment of ours per marker, edited in place; the marker is hidden in the text."""
        ...


class AgentRuntime(Protocol):
    """Runs agents: the real Claude Code CLI or the scripted one. Safe to ask again after a crash."""

    def liveness(self, run: RunId) -> Liveness:
        """What the lock and the start marker say."""
        ...

    def output_path(self, run: RunId) -> str:
        """Where the run's log lies: what the agent printed, as it printed it."""
        ...

    def sandbox_of(self, run: RunId) -> str:
        """The level that a launched run was put into."""
        ...

    def prompt_digest(self, run: RunId) -> str | None:
        """SHA-256 of all that the agent was told; None when it was not launched."""
        ...

    def heard_at(self, run: RunId) -> datetime | None:
        """When the agent last printed something; None when it has not yet."""
        ...

    async def prepare(self, spec: RunSpec) -> None:
        """Makes the workspace; a second call for a prepared or started run changes nothing."""
        ...

    async def launch(self, spec: RunSpec) -> None:
        """Hands the run to a shim. Returns when the shim has it (or when another one had it before)."""
        ...

    async def wait(self, spec: RunSpec, on_progress: Callable[[Usage], None]) -> RunResult:
        """Returns when the attempt ended; works as well for a run that an earlier process launched."""
        ...

    async def stop(self, run: RunId) -> bool:
        """Asks the shim to climb the stop ladder; `wait` then returns. True when no agent was ever started for the
        run: then none will be, whoever is about to.
        """
        ...

    def was_stopped(self, run: RunId) -> bool:
        """Somebody ordered it to stop, though it may have been over by then."""
        ...

    async def collect(self, spec: RunSpec, model: str = "") -> Sha | None:
        """The run's commits into our mirror, checked and under our names; None when there is no new one. Works for
        every launched run, however it ended. `model` is named in the commits.
        """
        ...

    async def publish(self, spec: RunSpec, head: Sha) -> None:
        """Pushes `head` to the task's branch, fast-forward only. Doing it twice changes nothing."""
        ...

    async def changed_paths(self, repo: RepoName, base_branch: str, head: Sha) -> Sequence[str]:
        """Paths that differ between `head` and where it left the base branch, sorted; read in our own mirror."""
        ...


class Engine(Protocol):
    """Brings wakes and runs to where they are worked on. May deliver twice or late: our rows decide."""

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        """Look at the task soon, or after a pause. In the background when nobody waits for it: then everything
        that somebody waits for comes first.
        """
        ...

    def start_run(self, run: RunId) -> None:
        """Take an admitted or interrupted run on."""
        ...

    def admit(self) -> None:
        """Ask soon which of the waiting runs may start: something that they wait for has changed."""
        ...

    async def cancel_run(self, run: RunId) -> None:
        """Stop a run, if it is alive; one that waits to be admitted never starts."""
        ...

"""The outside world as the core sees it. A port exists because it has a real adapter and a second one."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.domain.model import (
    Branch,
    GitRemote,
    ProjectId,
    RepoName,
    RunId,
    Sha,
    TaskId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.run import Liveness, RunResult, RunSpec, Usage


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
        """The item as it is now; None when the tracker says that it is not there."""
        ...

    async def changed_items(self, project: ProjectId, since: datetime | None) -> Sequence[WorkItem]:
        """Items updated at or after `since`, newest first; all when None. Bounded."""
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
        """Creates it, or returns the one that is there."""
        ...

    def remote(self, repo: RepoName) -> GitRemote:
        """Built from our configuration, never from a payload."""
        ...


class AgentRuntime(Protocol):
    """Runs agents: the real Claude Code CLI or the scripted one. Safe to ask again after a crash."""

    def liveness(self, run: RunId) -> Liveness:
        """What the lock and the start marker say."""
        ...

    def output_path(self, run: RunId) -> str:
        """Where the run's log lies: what the agent printed, as it printed it."""
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

    async def stop(self, run: RunId) -> None:
        """Asks the shim to climb the stop ladder; `wait` then returns."""
        ...

    async def collect(self, spec: RunSpec) -> Sha | None:
        """Fetches the workspace's branch into our mirror and checks it; None when there is no new commit."""
        ...

    async def publish(self, spec: RunSpec, head: Sha) -> None:
        """Pushes `head` to the task's branch, fast-forward only. Doing it twice changes nothing."""
        ...


class Engine(Protocol):
    """Brings wakes and runs to where they are worked on. May deliver twice or late: our rows decide."""

    def wake(self, task: TaskId, after_s: float = 0.0) -> None:
        """Look at the task soon, or after a pause."""
        ...

    def start_run(self, run: RunId) -> None:
        """Take an intended or interrupted run on."""
        ...

    async def cancel_run(self, run: RunId) -> None:
        """Stop a run, if it is alive."""
        ...

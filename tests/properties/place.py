"""Plane and Gitea in small, with one team, and what happened there. No orchestrator is in it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from orchestrator.domain.roles import DocumentName, Language, Role
from orchestrator.domain.run import VerdictWord
from orchestrator.sim import writings
from orchestrator.sim.gitea import GiteaSim, Pull, Repo
from orchestrator.sim.gitea_people import People
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.webhook import Courier, Outgoing
from orchestrator.sim.world import GITEA_SECRET, HOOK_EVENTS, PROJECT, REPO, USERS
from properties.memory_git import MemoryGit, Objects, changed
from support import FIXTURES

APPROVER, STRANGER, GUEST, OURSELVES, PERSON = "alice", "bob", "carol", "orchestrator", "boss"
OURS = frozenset({"orchestrator", "developer", "reviewer"})
PLANE_SECRET = "plane-secret"
CONTEXT = "ci/test"
CODE = "src/code.py"
BUG = "BUG"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HALTS = frozenset({"item_gone", "pull_request_closed", "cancelled"})
"""Whoever is halted is not moved: it keeps the stage where it was last seen, and waits for a person to mend it."""
HERE = "http://orchestrator.test"
DOCUMENTS = ("BRD.md", "ARCHITECTURE.md", "DEV_TASK.md")
MAX_ROUNDS = 200


class Clock:
    """Moves a little with every look at it, so that nothing happens at the same time as something else."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def monotonic(self) -> float:
        return (self.at - START).total_seconds()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Mailbag(Courier):
    """Carries nothing: the test decides what becomes of a delivery."""

    waiting: list[Outgoing] = field(default_factory=list)

    def send(self, delivery: Outgoing) -> None:
        self.waiting.append(delivery)

    def taken(self) -> list[Outgoing]:
        found, self.waiting = self.waiting, []
        return found


async def called(
    app: Any, method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> httpx.Response:
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(one.get("body", b"") for one in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0].get("headers", ()), content=content)


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What stood on the task's branch, from `version` on."""

    version: int
    head: str
    files: Mapping[str, str]


def is_alike(one: Mapping[str, str], other: Mapping[str, str], paths: Iterable[str]) -> bool:
    return all(one.get(path) == other.get(path) for path in paths)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A verdict of a run, on the commit that it looked at."""

    role: str
    base: str
    word: str


class Place:
    """Plane and Gitea with one team, and what happened in them. `version` counts that, `acts` what others than
    we did; `trail` is what lay on the branch before each of those.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.version = 0
        self.acts = 0
        self.trail: list[Mapping[str, str]] = []
        self.item = ""
        self.history: list[Moment] = []
        self.said: dict[str, int] = {}
        self.plane = PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=10**9, now=self.clock.now)
        self.gitea = GiteaSim(Path("/nonexistent"), now=self.clock.now, in_threads=False)
        self.mail = Mailbag(1.0)
        self.plane.courier = self.gitea.courier = self.mail
        self.people = People(self.gitea)
        self._found_repository()
        self.plane.add_webhook(f"{HERE}/webhook/plane", PLANE_SECRET)
        self.gitea.add_hook(REPO, f"{HERE}/webhook/gitea", GITEA_SECRET, HOOK_EVENTS)
        self._tokens = {login: self.gitea.add_token(login) for login in USERS}

    def _found_repository(self) -> None:
        owner, _, name = REPO.partition("/")
        self.git = MemoryGit(objects=Objects())
        user = self.gitea.add_user(owner)
        self.repo = Repo(self.gitea.next_id(), user, name, self.git, "main", True, self.gitea.stamp())
        self.gitea.repos[REPO] = self.repo
        for login, full in USERS.items():
            self.gitea.add_user(login, full)
            self.gitea.grant(REPO, login, 2)
        self.people.commit(REPO, "main", {"README.md": "# Trails\n", CODE: "OLD = 1\n"}, PERSON)
        self.people.protect(REPO, (CONTEXT,))

    # what is

    @property
    def project_row(self) -> Any:
        return next(home.projects[PROJECT] for home in self.plane.workspaces.values())

    @property
    def branch(self) -> str:
        """Of the task, as it stands on the forge."""
        return next((ref.removeprefix("refs/heads/") for ref in self.git.refs("refs/heads/feature/")), "")

    @property
    def head(self) -> str:
        return self.git.branch(self.branch) or ""

    @property
    def files(self) -> Mapping[str, str]:
        return self.git.objects.commits[self.head].files if self.head else {}

    @property
    def heads(self) -> list[str]:
        """The commits that the branch ever stood at, newest first."""
        return list(dict.fromkeys(one.head for one in reversed(self.history) if one.head))

    def lived(self, commit: str) -> object:
        """What this commit holds, and which acts were done while that was there: all of it, or what is approved
        at one time. Checks, reviews and approvals come back with it.
        """
        files = self.git.objects.commits[commit].files
        parts = [
            list(files),
            *([f"tasks/{self.key}/{name}" for name in names] for names in (DOCUMENTS[:1], DOCUMENTS[1:])),
        ]
        return (
            frozenset(files.items()),
            *(
                tuple(number for number, there in enumerate(self.trail) if is_alike(there, files, part))
                for part in parts
            ),
        )

    @property
    def pull(self) -> Pull | None:
        return next(reversed(self.repo.pulls.values()), None)

    @property
    def key(self) -> str:
        return f"ENDURO-{self.project_row.items[self.item]['sequence_id']}" if self.item else ""

    @property
    def is_item_gone(self) -> bool:
        """Then what we have to say there cannot be said, and is tried again later."""
        return bool(self.item and self.project_row.items[self.item]["archived_at"])

    def comments(self) -> list[dict[str, Any]]:
        """What others than we said on the work item, oldest first."""
        ours = self.plane.user(OURSELVES).id
        rows = self.project_row.comments.values()
        return [row for row in rows if row["issue"] == self.item and row["actor"] != ours]

    def statuses(self) -> list[tuple[str, str, str]]:
        """Commit, context and state, oldest first."""
        return [(one["sha"], one["row"]["context"], one["row"]["status"]) for one in self.repo.statuses]

    # what happens

    def acted(self) -> None:
        """People's or a build server's next act begins."""
        self.acts += 1
        self.trail.append(self.files)

    def note(self) -> int:
        """Something happened: remembered, since the truth needs the past of the branch."""
        self.version += 1
        self.clock.advance(10)
        if not self.history or self.history[-1].head != self.head:
            self.history.append(Moment(self.version, self.head, self.files))
        return self.version

    async def asked(self, method: str, path: str, order: Mapping[str, Any], by: str) -> Any:
        """A call of the forge's API by somebody else than the adapter."""
        headers = [(b"authorization", f"token {self._tokens[by]}".encode())]
        target = f"/api/v1/repos/{REPO}/{path}".encode()
        answer = await called(self.gitea.app, method, target, headers, json.dumps(order).encode())
        if answer.status_code >= 300:
            raise Violation(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    async def review(self, event: str, by: str, at: str, text: str = "As said.") -> None:
        assert self.pull
        order = {"event": event, "body": text, "commit_id": at}
        await self.asked("POST", f"pulls/{self.pull.number}/reviews", order, by)

    def work(self, role: Role, key: str, base: str, attempt: int, *, is_rework: bool) -> str:
        """The commit that an agent of this role makes on top of `base`."""
        before, named = self.git.objects.commits[base].files, {"key": key, "title": "GPX", "code": CODE}
        named |= {"test": "t.py", "module": "code"}
        files = {
            f"tasks/{key}/{name.value.upper()}.md": writings.TEXTS[name][Language.EN].format(**named)
            + (writings.READY[Language.EN] if name is DocumentName.DEV_TASK else "")
            for name in writings.DOCUMENTS[role]
        }
        if role is Role.DEVELOPER:
            files[CODE] = "GOOD = 1\n"
        more = f"\n# Once more, {attempt}.\n"
        files = {path: said + (more if is_rework or path in before else "") for path, said in files.items()}
        return self.people._made(self.repo, base, files, self.gitea.users["developer"], "Work\n")

    def word(self, role: Role, base: str) -> VerdictWord:
        """What a reviewer or a tester says of a commit: it depends on nothing else."""
        has_bug = BUG.encode() in (self.git.blob(base, CODE) or b"")
        if role is Role.REVIEWER:
            return VerdictWord.CHANGES_REQUESTED if has_bug else VerdictWord.APPROVED
        return VerdictWord.PASSED

    def paths(self, base: str, head: str) -> list[str]:
        parted = self.git.objects.merge_base(self.git.branch(base) or "", head)
        return changed(
            self.git.objects.commits[parted].files if parted else {}, self.git.objects.commits[head].files
        )

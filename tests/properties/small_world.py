"""Plane, Gitea and the orchestrator in one process and one event loop: small enough to live for milliseconds.

Real: receiver, parser, journal (SQLite), echo filter, resync, reconciler, observer, outbox, run rows, adapters and
simulators. In place of something: git in memory, the wire (a call of the other side's app), the engine (one look
after another, no timers) and the agents (they commit at once).
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import Connection, delete, text

from orchestrator.config import Settings
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import (
    DocumentName,
    GateOptions,
    Language,
    Project,
    ProjectId,
    RepoName,
    Role,
    RunId,
    Sha,
    Stage,
    TaskId,
    UserId,
)
from orchestrator.domain.run import (
    Liveness,
    Outcome,
    RoleVerdict,
    RunLimits,
    RunResult,
    RunSpec,
    Usage,
    VerdictWord,
)
from orchestrator.forges.gitea import Gitea
from orchestrator.main import Orchestrator, asgi
from orchestrator.pace import Timing
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.execute import Execution
from orchestrator.reconcile.loop import Options, Reconciler
from orchestrator.reconcile.observe import Forges, Observer
from orchestrator.reconcile.resync import Resync
from orchestrator.sim import writings
from orchestrator.sim.gitea import GiteaSim, Pull, Repo
from orchestrator.sim.gitea_people import People
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.webhook import Courier, Outgoing
from orchestrator.sim.world import GITEA_SECRET, HOOK_EVENTS, PROJECT, REPO, USERS
from orchestrator.store import schema, tasks
from orchestrator.trackers.plane import Plane
from properties.memory_git import MemoryGit, Objects, changed
from support import FIXTURES

APPROVER, STRANGER, GUEST, OURSELVES, PERSON = "alice", "bob", "carol", "orchestrator", "boss"
OURS = frozenset({"orchestrator", "developer", "reviewer"})
PLANE_SECRET = "plane-secret"
CONTEXT = "ci/test"
CODE = "src/code.py"
BUG = "BUG"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HERE = "http://orchestrator.test"
DOCUMENTS = ("BRD.md", "ARCHITECTURE.md", "DEV_TASK.md")
MAX_ROUNDS = 200
SETTINGS = Settings(
    plane_webhook_secret=PLANE_SECRET,
    gitea_webhook_secret=GITEA_SECRET,
    max_attempts=3,
    data_dir=Path("/nonexistent"),
)


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


class Wire(httpx.AsyncBaseTransport):
    """Calls the other side's app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        url = request.url
        return await called(self._app, request.method, url.raw_path, headers, await request.aread())


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
        "path": httpx.URL(path.decode()).path,
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


def project(gates: GateOptions) -> Project:
    return Project(
        ProjectId(PROJECT),
        RepoName.parse(REPO),
        language=Language.EN,
        approvers=(UserId(json.loads((FIXTURES / "plane" / "ids.json").read_text())["users"][APPROVER]),),
        gates=gates,
    )


PATIENT = project(GateOptions(returns_per_cause=90, returns_in_all=99))
"""No cap is reached: what is compared are the gates."""
CAPPED = project(GateOptions(returns_per_cause=2, returns_in_all=3))


class OneThread(asyncio.SelectorEventLoop):
    """What would go to a thread is done at once: waiting for threads would take most of the time here."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class Violation(AssertionError):
    """An invariant does not hold."""


class Agents:
    """The runtime: what the real agents do, at once and in this process. `is_held`: they end when told to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.is_held = False
        self.will_crash = False
        self.launched: list[tuple[RunId, Role]] = []
        self._results: dict[RunId, asyncio.Future[RunResult]] = {}
        self.arrived: dict[RunId, asyncio.Future[None]] = {}
        self.specs: dict[RunId, RunSpec] = {}

    def liveness(self, run: RunId) -> Liveness:
        return Liveness.ALIVE if run in self.specs else Liveness.UNSTARTED

    def output_path(self, run: RunId) -> str:
        return f"/nonexistent/{run}"

    async def prepare(self, spec: RunSpec) -> None:
        pass

    async def launch(self, spec: RunSpec) -> None:
        self.specs[spec.run] = spec
        self.launched.append((spec.run, spec.role))

    async def wait(self, spec: RunSpec, on_progress: Callable[[Usage], None]) -> RunResult:
        if not self.is_held:
            return self._result(spec)
        self._results[spec.run] = asyncio.get_running_loop().create_future()
        self.arrival(spec.run).set_result(None)
        return await self._results[spec.run]

    def arrival(self, run: RunId) -> asyncio.Future[None]:
        return self.arrived.setdefault(run, asyncio.get_running_loop().create_future())

    async def stop(self, run: RunId) -> None:
        if run in self._results and not self._results[run].done():
            self._results[run].set_result(RunResult(Outcome.CANCELLED, None, "cancelled"))

    def end(self, *, well: bool = True) -> None:
        """Those that are at work come to their end."""
        for run, result in self._results.items():
            if not result.done():
                bad = RunResult(Outcome.CRASHED, 1, "crashed")
                result.set_result(self._result(self.specs[run]) if well else bad)

    @property
    def at_work(self) -> list[RunId]:
        return [run for run, result in self._results.items() if not result.done()]

    def _result(self, spec: RunSpec) -> RunResult:
        said = None
        if spec.role in {Role.REVIEWER, Role.TESTER}:
            said = RoleVerdict(self._world.word(spec.role, spec.base_sha), "As seen.")
        return RunResult(Outcome.SUCCEEDED, 0, verdict=said)

    async def collect(self, spec: RunSpec) -> Sha | None:
        is_rework = bool(spec.feedback)
        return Sha(self._world.work(spec.role, spec.task_key, spec.base_sha, spec.attempt, is_rework=is_rework))

    async def publish(self, spec: RunSpec, head: Sha) -> None:
        world = self._world
        if world.git.branch(spec.branch) != spec.base_sha:
            raise Permanent("not_fast_forward", "Someone else pushed.")
        world.people._moved(world.repo, spec.branch, head, world.gitea.users["orchestrator"])
        world.note()

    async def changed_paths(self, repo: RepoName, base_branch: str, head: Sha) -> Sequence[str]:
        return self._world.paths(base_branch, head)


class Desk:
    """The engine: looks one after another. It has no timer; who wants a later look asks for it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.pending: dict[TaskId, None] = {}
        self.runs: dict[RunId, asyncio.Task[TaskId]] = {}
        self.looks = 0
        self.looked_at = -1
        self.wakes = 0

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        self.wakes += 1
        self.pending[task] = None

    def start_run(self, run: RunId) -> None:
        self._world.check_start(run)
        self.runs[run] = asyncio.create_task(self._world.execution.carry_out(run))

    async def cancel_run(self, run: RunId) -> None:
        await self._world.execution.stop(run)

    async def settle(self) -> None:
        """Until nothing is to be looked at, and no agent at work will come to its end by itself."""
        world, agents = self._world, self._world.agents
        for _ in range(MAX_ROUNDS):
            if self.pending:
                task = next(iter(self.pending))
                del self.pending[task]
                looked = await world.reconciler.look(task, self)
                self.looks += 1
                self.looked_at = world.version
                if looked.again_in_s is not None and not world.is_item_gone:
                    raise Violation(f"the look was put off: {world.standing()}")
                continue
            for run, working in list(self.runs.items()):
                if agents.is_held:
                    await asyncio.wait({working, agents.arrival(run)}, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.wait({working})
                if working.done():
                    del self.runs[run]
                    self.wake(working.result())
            if not self.pending:
                return
        raise Violation("no rest")

    async def resync(self) -> None:
        """As the engine's timer does it."""
        found = await self._world.resync.look()
        for task in (*found.changed, *found.to_poll):
            self.wake(task)
        await self.settle()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the one task is; "" while there is none."""

    stage: str = ""
    waiting: tuple[Item, ...] = ()
    is_at_work: bool = False

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(item.code for item in self.waiting)


@dataclass(frozen=True, slots=True)
class Moment:
    """What stood on the task's branch, from `version` on."""

    version: int
    head: str
    files: Mapping[str, str]


class Place:
    """Plane and Gitea with one team, and what happened in them. `version` counts that."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.version = 0
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


class World(Place):
    """A place with the orchestrator in it."""

    def __init__(self, database: Database, of: Project = PATIENT) -> None:
        super().__init__()
        self.database, self.project = database, of
        self.bodies: set[bytes] = set()
        self.handed: list[Outgoing] = []
        self._employ()

    def _employ(self) -> None:
        forge, developer, reviewer = (
            Gitea("http://gitea.test", self._tokens[login], transport=Wire(self.gitea.app))
            for login in ("orchestrator", "developer", "reviewer")
        )
        tracker = Plane(
            "http://plane.test",
            self.plane.key_of(OURSELVES),
            "acme",
            calls_per_minute=10**9,
            timing=Timing(self.clock.monotonic, _no_sleep),
            transport=Wire(self.plane.app),
        )
        forges = Forges(forge, developer, reviewer)
        directory = Directory((self.project,), ())
        self.adapters = (tracker, forge, developer, reviewer)
        self.agents, self.desk = Agents(self), Desk(self)
        self.orchestrator = Orchestrator(
            SETTINGS, directory, self.database, self.clock, tracker, forges, self.adapters, []
        )
        observer = Observer(tracker, forges, self.agents.changed_paths, self.clock)
        self.orchestrator.observer, self.orchestrator.engine = observer, self.desk  # type: ignore[assignment]
        delivery = Delivery(self.database, self.clock, tracker, forges)
        options = Options(SETTINGS.max_attempts)
        self.reconciler = Reconciler(self.database, self.clock, observer, delivery, directory.project, options)
        limits = RunLimits(60, 10, 1.0)
        self.execution = Execution(self.database, self.clock, self.agents, directory.project, limits)
        self.resync = Resync(self.database, self.clock, tracker, lambda: directory.projects)
        self.front = asgi(self.orchestrator)

    async def open(self) -> None:
        """An orchestrator that has been up for a while: it follows the project from here on."""
        await self.desk.resync()
        self.mail.taken()
        self.note()

    async def close(self) -> None:
        for working in self.desk.runs.values():
            working.cancel()
        await asyncio.gather(*self.desk.runs.values(), return_exceptions=True)
        for adapter in self.adapters:
            await adapter.aclose()

    # deliveries

    async def hand_over(self, delivery: Outgoing) -> None:
        """To the receiver. What we did ourselves wakes nobody, and what is known adds no row."""
        headers = [(name.lower().encode(), value.encode()) for name, value in delivery.headers.items()]
        headers.append((b"content-length", b"%d" % len(delivery.body)))
        path = delivery.url.removeprefix(HERE).encode()
        wakes = self.desk.wakes
        answer = await called(self.front, "POST", path, headers, delivery.body)
        is_new = delivery.body not in self.bodies
        self.bodies.add(delivery.body)
        self.handed.append(delivery)
        wanted = {"status": "accepted" if is_new else "duplicate"}
        if answer.status_code != 200 or answer.json() != wanted:
            raise Violation(f"{delivery.event}: {answer.status_code} {answer.text}, not {wanted}")
        if self.is_ours(delivery) and self.desk.wakes != wakes:
            raise Violation(f"our own {delivery.event} woke the task")

    def is_ours(self, delivery: Outgoing) -> bool:
        """Told by the bytes alone."""
        body = json.loads(delivery.body)
        if "activity" in body:
            return bool(body["activity"]["actor"]["id"] == self.plane.user(OURSELVES).id)
        return body["sender"]["login"] in OURS

    # what is

    def rows(self, sql: str) -> list[Any]:
        return self.database.read_now(lambda connection: list(connection.execute(text(sql))))

    @property
    def task(self) -> TaskId | None:
        found = self.rows("SELECT id FROM tasks")
        if len(found) > 1:
            raise Violation(f"{len(found)} tasks for one work item")
        return TaskId(found[0].id) if found else None

    def standing(self) -> Standing:
        found = self.rows("SELECT stage, waiting, agent_running FROM tasks")
        if not found:
            return Standing()
        return Standing(found[0].stage, tasks.waiting_items(found[0].waiting), bool(found[0].agent_running))

    def started(self) -> list[str]:
        return [row.agent for row in self.rows("SELECT agent FROM agent_runs ORDER BY id")]

    # what must hold

    def is_paused(self) -> bool:
        """As an approver who looks at the comments would say."""
        approver, is_paused, is_cancelled = self.plane.user(APPROVER).id, False, False
        for row in self.comments():
            if row["actor"] == approver and row["updated_by"] is None:
                word = row["comment_html"].removeprefix("<p>").removesuffix("</p>")
                is_paused = (is_paused or word == "/orch pause") and word != "/orch resume"
                is_cancelled = (is_cancelled or word == "/orch cancel") and word != "/orch resume"
        return is_paused or is_cancelled

    def check_start(self, run: RunId) -> None:
        if self.is_paused():
            raise Violation("a run starts while the task is paused")
        is_open = [row.id for row in self.rows("SELECT id FROM agent_runs WHERE state != 'ended'")]
        if is_open != [run]:
            raise Violation(f"more than one run is open: {is_open}")

    def check(self) -> None:
        """At rest, after every step."""
        here = self.standing()
        if here.stage and here.stage != Stage.DONE:
            if not here.waiting:
                raise Violation(f"rests without a reason at {here.stage}")
            for item in here.waiting:
                if not (item.code and item.who and item.action) or item.code in {"to_be_decided", "look_due"}:
                    raise Violation(f"no reason: {item}")
        known = self.rows("SELECT count(*) AS n FROM events WHERE source != 'orchestrator'")[0].n
        if known != len(self.bodies):
            raise Violation(f"{known} events of {len(self.bodies)} deliveries")
        for sim in (self.plane, self.gitea):
            for call in sim.calls:
                if call.method == "DELETE" or call.path.endswith("/merge"):
                    raise Violation(f"{call.method} {call.path}")


async def _no_sleep(_: float) -> None:
    raise Violation("a call waits for its turn")


def again(delivery: Outgoing) -> Outgoing:
    """The same bytes under a new delivery id, as Plane's retry and Gitea's replay have it."""
    ident = str(uuid4())
    headers = {name: ident if name.endswith("-Delivery") else value for name, value in delivery.headers.items()}
    return replace(delivery, id=ident, headers=headers)


async def emptied(database: Database) -> Database:
    """For the next world: a new file would have to be opened, and every statement compiled again."""

    def commit(connection: Connection) -> None:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(delete(table))

    await database.write(commit)
    return database

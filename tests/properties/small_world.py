"""Plane, Gitea and the orchestrator in one process and one event loop: small enough to live for milliseconds.

Real: receiver, parser, journal (SQLite), echo filter, resync, reconciler, observer, outbox, run rows, adapters and
simulators. In place of something: git in memory, the wire (a call of the other side's app), the engine (one look
after another, no timers) and the agents (they commit at once).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, delete, text

from doors import identity
from orchestrator.config import Settings
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import (
    GateOptions,
    Project,
    ProjectId,
    RepoName,
    Return,
    RunId,
    Sha,
    Stage,
    TaskId,
    UserId,
)
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import (
    Liveness,
    Outcome,
    RoleVerdict,
    RunLimits,
    RunResult,
    RunSpec,
    Usage,
)
from orchestrator.forges.gitea import Gitea
from orchestrator.loglimit import Complaints
from orchestrator.main import Orchestrator, asgi
from orchestrator.pace import Timing
from orchestrator.qg.verdict import Item
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.reconcile.execute import Execution
from orchestrator.reconcile.loop import Reconciler
from orchestrator.reconcile.observe import Forges, Observer
from orchestrator.reconcile.options import Options
from orchestrator.reconcile.resync import Resync
from orchestrator.sim.webhook import Outgoing
from orchestrator.sim.world import GITEA_SECRET, PROJECT, REPO
from orchestrator.store import schema, tasks
from orchestrator.trackers.plane import Plane
from orchestrator.wire import Reply
from orchestrator.workflow.admission import AdmissionLimits
from orchestrator.workflow.pipeline import place as place_of
from properties.place import (
    APPROVER,
    HALTS,
    HERE,
    MAX_ROUNDS,
    OURS,
    OURSELVES,
    PLANE_SECRET,
    Place,
    Spoken,
    Violation,
    called,
)
from properties.truth import furthest
from support import FIXTURES

SETTINGS = Settings(
    plane_webhook_secret=PLANE_SECRET,
    gitea_webhook_secret=GITEA_SECRET,
    max_attempts=3,
    data_dir=Path("/nonexistent"),
)


class Short:
    """A wire that calls the other side's app."""

    def __init__(
        self,
        app: Any,
        before: Callable[[], Awaitable[None]],
        base_url: str,
        headers: Mapping[str, str],
        _timeout_s: float,
    ) -> None:
        self._app = app
        self._before = before
        self._base = urlsplit(base_url).path
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        order: object = None,
        enough_bytes: int | None = None,
    ) -> Reply:
        await self._before()
        target = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        body = b"" if order is None else msgspec.json.encode(order)
        headers = [*self._headers, (b"host", b"sim.test"), (b"content-type", b"application/json")]
        answer = await called(self._app, method, target.encode(), headers, body)
        return Reply(answer.status_code, answer.headers, answer.content[:enough_bytes], 0.0)

    async def aclose(self) -> None:
        """Nothing was opened."""


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
        except Exception as error:  # noqa: BLE001 - belongs to whoever awaits it
            done.set_exception(error)
        return done


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

    def sandbox_of(self, run: RunId) -> str:
        return "none"

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

    def heard_at(self, run: RunId) -> None:
        pass

    def was_stopped(self, run: RunId) -> bool:
        return False

    async def stop(self, run: RunId) -> bool:
        if run in self._results and not self._results[run].done():
            self._results[run].set_result(RunResult(Outcome.CANCELLED, None, "cancelled"))
        return False

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

    def prompt_digest(self, run: RunId) -> str | None:
        return None

    async def collect(self, spec: RunSpec, model: str = "") -> Sha | None:
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
        self.pending: dict[TaskId, bool] = {}
        """Whether it is the background that asks, and keeps what it saw for the next poll."""
        self.runs: dict[RunId, asyncio.Task[TaskId]] = {}
        self.looks = 0
        self.began_at = 0
        """The world's version when the newest look began; and that which it saw, when nothing moved meanwhile."""
        self.looked_at = -1
        self.wakes = 0

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        self.wakes += 1
        self.pending[task] = is_background

    def start_run(self, run: RunId) -> None:
        self._world.check_start(run)
        self.runs[run] = asyncio.create_task(self._world.execution.carry_out(run))

    def admit(self) -> None:
        """Nothing ever waits for a slot here."""

    async def cancel_run(self, run: RunId) -> None:
        await self._world.execution.stop(run)

    async def settle(self) -> None:
        """Until nothing is to be looked at, and no agent at work will come to its end by itself."""
        world, agents = self._world, self._world.agents
        for _ in range(MAX_ROUNDS):
            if self.pending:
                task = next(iter(self.pending))
                is_kept = self.pending.pop(task)
                self.began_at = world.version
                looked = await world.reconciler.look(task, self, is_kept=is_kept)
                self.looks += 1
                is_whole = world.version == self.began_at
                self.looked_at = world.version if is_whole else -1
                if looked.again_in_s is not None and not world.is_item_gone:
                    raise Violation(f"the look was put off: {world.standing()}")
                continue
            for run, working in list(self.runs.items()):
                if agents.is_held:
                    await asyncio.wait({working, agents.arrival(run)}, return_when=asyncio.FIRST_COMPLETED)
                if run not in agents.at_work:
                    await asyncio.wait({working})
                if working.done():
                    del self.runs[run]
                    self.wake(working.result())
            if not self.pending:
                return
        raise Violation("no rest")

    async def resync(self) -> None:
        """As the engine's timer does it."""
        resync, reconciler = self._world.resync, self._world.reconciler
        for task in await resync.to_poll():
            if await reconciler.poll(task) is None:
                self.pending.setdefault(task, True)
        for task in (await resync.moved()).tasks:
            self.pending.setdefault(task, True)
        await self.settle()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the one task is; "" while there is none."""

    stage: str = ""
    waiting: tuple[Item, ...] = ()
    is_at_work: bool = False

    @property
    def settled(self) -> tuple[str, frozenset[str], bool]:
        """Without whether anybody looked since a run began."""
        return self.stage, self.codes - {"run_intended", "run_running"}, self.is_at_work

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(item.code for item in self.waiting)


class World(Place):
    """A place with the orchestrator in it."""

    def __init__(self, database: Database, of: Project = PATIENT, observer: type[Observer] = Observer) -> None:
        super().__init__()
        self.database, self.project, self._observer = database, of, observer
        self.changed_at = 0
        """When a comment was made, changed or deleted for the last time."""
        self.retries = 0
        self.bodies: set[bytes] = set()
        self.handed: list[Outgoing] = []
        self.meanwhile: tuple[int, Callable[[], Awaitable[None]]] | None = None
        """What happens before so many calls more of ours have been made."""
        self._employ()

    async def _meanwhile(self) -> None:
        if self.meanwhile is None:
            return
        calls, happen = self.meanwhile
        self.meanwhile = (calls - 1, happen) if calls else None
        if not calls:
            await happen()

    def _employ(self) -> None:
        forge, developer, reviewer = (
            Gitea("http://gitea.test", self._tokens[login], wire=partial(Short, self.gitea.app, self._meanwhile))
            for login in ("orchestrator", "developer", "reviewer")
        )
        tracker = Plane(
            "http://plane.test",
            self.plane.key_of(OURSELVES),
            "acme",
            calls_per_minute=10**9,
            timing=Timing(self.clock.monotonic, _no_sleep),
            wire=partial(Short, self.plane.app, self._meanwhile),
        )
        forges = Forges(forge, developer, reviewer)
        directory = Directory((self.project,), ())
        self.adapters = (tracker, forge, developer, reviewer)
        self.agents, self.desk = Agents(self), Desk(self)
        dispatch = Dispatch(self.database, self.clock, AdmissionLimits(runs=1000))
        self.orchestrator = Orchestrator(
            SETTINGS,
            directory,
            self.database,
            self.clock,
            tracker,
            forges,
            self.adapters,
            [],
            dispatch,
            identity(self.database, self.clock, []),
        )
        complaints = Complaints(self.clock.monotonic)
        observer = self._observer(tracker, forges, self.agents.changed_paths, complaints)
        self.orchestrator.observer, self.orchestrator.engine = observer, self.desk  # type: ignore[assignment]
        delivery = Delivery(self.database, self.clock, tracker, forges, complaints)
        options = Options(SETTINGS.max_attempts)
        self.reconciler = Reconciler(
            self.database, self.clock, observer, delivery, directory.project, options, dispatch
        )
        limits = RunLimits(60, 10, 1.0)
        self.execution = Execution(
            self.database,
            self.clock,
            self.agents,
            directory.project,
            limits,
            dispatch=dispatch,
            is_wanted=self.reconciler.is_wanted,
        )
        self.resync = Resync(self.database, self.clock, tracker, lambda: directory.projects, complaints)
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

    def spoken(self) -> list[Spoken]:
        sql = "SELECT agent, base_sha, verdict FROM agent_runs WHERE verdict IS NOT NULL ORDER BY id"
        return [Spoken(row.agent, row.base_sha, row.verdict) for row in self.rows(sql)]

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
        """What nobody may have withdrawn while the look was under way is true in the moment of the start."""
        is_old = self.changed_at > self.desk.began_at
        if self.is_paused() and not is_old:
            raise Violation("a run starts while the task is paused")
        rows = self.rows("SELECT id, stage, base_sha, state FROM agent_runs ORDER BY id")
        if [row.id for row in rows if row.state != "ended"] != [run]:
            raise Violation("more than one run is open")
        start = rows[-1]
        if start.base_sha != self.head:
            raise Violation(f"a run starts on {start.base_sha[:7]}, the head is {self.head[:7]}")
        if place_of(Stage(start.stage)) > place_of(furthest(self, self.spoken())) and not is_old:
            raise Violation(f"a run starts at {start.stage}, the truth: {furthest(self, self.spoken())}")
        self._check_attempts(start, rows)

    def _returns(self) -> tuple[Return, ...]:
        task = self.task
        return self.database.read_now(lambda connection: tasks.get(connection, task).returns) if task else ()

    def _check_attempts(self, start: Any, rows: Sequence[Any]) -> None:
        """Each return grants another round, and each retry another attempt."""
        stage = Stage(start.stage)
        back = sum(one.stage is stage for one in self._returns())
        is_of_commit = stage in {Stage.REVIEW, Stage.TESTING}
        alike = [
            row for row in rows if row.stage == stage and (not is_of_commit or row.base_sha == start.base_sha)
        ]
        if len(alike) > SETTINGS.max_attempts * (1 + back) + self.retries:
            raise Violation(f"{len(alike)} attempts at {stage}")

    def check(self) -> None:
        """At rest, after every step."""
        here = self.standing()
        is_seen = self.desk.looked_at == self.version and not here.codes & HALTS and not here.is_at_work
        if is_seen and place_of(Stage(here.stage)) > place_of(furthest(self, self.spoken())):
            raise Violation(f"stands at {here.stage}, the truth: {furthest(self, self.spoken())}")
        if here.stage and here.stage != Stage.DONE:
            if not here.waiting:
                raise Violation(f"rests without a reason at {here.stage}")
            for item in here.waiting:
                if not (item.code and item.who and item.action) or item.code in {"to_be_decided", "look_due"}:
                    raise Violation(f"no reason: {item}")
        self._check_journal()
        for sim in (self.plane, self.gitea):
            for call in sim.calls:
                if call.method == "DELETE" or call.path.endswith("/merge"):
                    raise Violation(f"{call.method} {call.path}")

    def _check_journal(self) -> None:
        known = self.rows("SELECT count(*) AS n FROM events WHERE source != 'orchestrator'")[0].n
        if known != len(self.bodies):
            raise Violation(f"{known} events of {len(self.bodies)} deliveries")
        if unseen := self.rows("SELECT event_type FROM events WHERE processed = 0"):
            raise Violation(f"rests with events that nobody looks at: {unseen}")


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

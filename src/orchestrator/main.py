"""The composition root: settings → database, adapters, core, engine → one ASGI app."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator import findings, logs
from orchestrator.agents.folders import Room, RunFolders
from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind, ProcessLimits
from orchestrator.agents.rates import RATES, Rates
from orchestrator.agents.results import ResultLimits, Results
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.agents.sandbox import Bounds, Capability
from orchestrator.agents.sandboxes import Sandboxes, Wish
from orchestrator.agents.workspace import Workspaces
from orchestrator.clock import SystemClock
from orchestrator.config import Secrets, Settings, load, refuse_unsigned, secret_values
from orchestrator.configfile import Directory
from orchestrator.configfile import load as load_directory
from orchestrator.counters import Counters
from orchestrator.db import Database
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.events import (
    BranchMoved,
    CommentChanged,
    CommitChecked,
    Event,
    Ignored,
    PullRequestChanged,
    WorkItemChanged,
    WorkItemDeleted,
)
from orchestrator.domain.events import Delivery as Received
from orchestrator.domain.finding import Finding, Level
from orchestrator.domain.model import GitRemote, RepoName, Source, WorkItemId
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import RunLimits
from orchestrator.engines.local import LocalEngine, Pace
from orchestrator.forges.gitea import Gitea
from orchestrator.loglimit import Complaints
from orchestrator.pace import REAL_TIME, Timing
from orchestrator.ports import Clock, Forge
from orchestrator.qg.facts import SpendingLimits
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.reconcile.execute import Execution
from orchestrator.reconcile.loop import Reconciler
from orchestrator.reconcile.observe import Forges, Observer
from orchestrator.reconcile.options import Options
from orchestrator.reconcile.papers import Papers
from orchestrator.reconcile.resync import Resync
from orchestrator.reconcile.tidy import Tidy
from orchestrator.reconcile.writeback import Addresses
from orchestrator.store import journal, runs, tasks
from orchestrator.trackers.plane import Plane
from orchestrator.web.access import Access
from orchestrator.web.front import Front
from orchestrator.web.live import Changes
from orchestrator.web.signin import secret
from orchestrator.web.signin.cookies import Cookies
from orchestrator.web.signin.hosts import Hosts
from orchestrator.web.signin.identity import Identity
from orchestrator.web.signin.people import People
from orchestrator.web.signin.sessions import Sessions
from orchestrator.web.signin.tokens import Tokens
from orchestrator.webhooks.receiver import Receiver
from orchestrator.words.findings import in_words
from orchestrator.workflow.admission import AdmissionLimits
from orchestrator.workflow.keeping import Keeping

if TYPE_CHECKING:
    from orchestrator.web.about import About
    from orchestrator.web.signin.gitea import GiteaSignIn

log = structlog.get_logger()


@dataclass(slots=True)
class Orchestrator:
    """Everything of one process. `engine` is there from the start of the lifespan on."""

    settings: Settings
    directory: Directory
    database: Database
    clock: Clock
    tracker: Plane | None
    forges: Forges
    adapters: tuple[Plane | Gitea, ...]
    problems: list[Finding]
    dispatch: Dispatch
    identity: Identity
    sandboxes: Sandboxes | None = None
    engine: LocalEngine | None = None
    runtime: ClaudeRuntime | None = None
    observer: Observer | None = None
    room: Room = field(default_factory=Room)
    changes: Changes = field(init=False)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.changes = Changes(self.database.version)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Opens the database, takes up what was left, and stops without hurting agents at work."""
        self.database.open()
        self.identity.sessions.prepare()
        self.engine = self._engine()
        left = await self.database.read(
            lambda c: (tasks.open_ids(c), journal.tasks_with_unprocessed(c), runs.open_runs(c))
        )
        open_tasks, unprocessed, open_runs = left
        self.engine.open(unprocessed, open_tasks, open_runs)
        measuring = asyncio.create_task(self._measure())
        tidying = asyncio.create_task(self._tidy().for_ever())
        log.info(
            "started", open_tasks=len(open_tasks), open_runs=len(open_runs), projects=len(self.directory.projects)
        )
        try:
            yield
        finally:
            self.changes.close()
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)
            await self.engine.close()
            await measuring
            if self.runtime:
                await asyncio.to_thread(self.runtime.close)
            for adapter in self.adapters:
                await adapter.aclose()
            await self.database.aclose()
            log.info("stopped")

    def accept(self, delivery: Received) -> "asyncio.Future[journal.Recorded]":
        """Journal first, answer after; then wake whom it concerns. Transient when nothing was stored.

        No coroutine, since that would hold the body for as long as it waits for the disk.
        """
        is_echo = self._is_echo(delivery.parsed.event)  # asked once: what is not looked at is marked as seen
        if not is_echo:
            self._foretell(delivery.parsed.event)
        stored = self.database.write_bulk(journal.record, journal.entry(delivery, is_echo=is_echo))
        if not is_echo:
            stored.add_done_callback(self._accepted)
        return stored

    def _foretell(self, event: Event) -> None:
        """The look that follows reads the work item first: Plane is asked while the disk writes."""
        if self.observer is None:
            return
        match event:
            case WorkItemChanged():
                project = self.directory.project(event.project)
                if project:
                    self.observer.news(project, event.item)
            case WorkItemDeleted():
                self.observer.gone(event.item)
            case BranchMoved():
                self.observer.moved(event.branch)
            case _:
                pass

    def _is_begun(self, item: WorkItemId) -> bool:
        """Where that cannot be told, as where it is, nothing is read ahead: the look will ask."""
        try:
            return self.database.read_now(lambda connection: tasks.is_begun(connection, item))
        except Transient:
            return True

    def _accepted(self, stored: "asyncio.Future[journal.Recorded]") -> None:
        if stored.cancelled() or stored.exception() is not None:
            return
        recorded = stored.result()
        for task in (recorded.task, *recorded.others):
            if task is not None and self.engine:
                self.engine.wake(task)

    def _is_echo(self, event: Event) -> bool:
        """What we did ourselves comes back as a delivery: whoever did it has looked already."""
        match event:
            case WorkItemChanged(actor=who) | CommentChanged(actor=who):
                pass
            case BranchMoved(sender=who) | PullRequestChanged(sender=who) | CommitChecked(sender=who):
                pass
            case WorkItemDeleted() | Ignored():
                return False
        return self.observer is not None and who in self.observer.ourselves

    async def look(self) -> list[Finding]:
        """What is broken or missing now."""
        disk = await asyncio.to_thread(findings.of_disk, self.settings.data_dir)
        sandboxed = await asyncio.to_thread(findings.of_sandbox, self.sandboxes)
        database = await findings.of_database(self.database)
        paused = await self.dispatch.findings() if database.level is Level.FINE else ()
        return [database, disk, *sandboxed, *paused, *self.known()]

    async def _measure(self) -> None:
        """So that the first run need not wait for it; whoever comes sooner waits a moment."""
        if self.runtime:
            await asyncio.to_thread(self.runtime.open)
        for one in await asyncio.to_thread(findings.of_sandbox, self.sandboxes):
            report, said = log.info if one.level is Level.FINE else log.warning, in_words(one, Language.EN)
            report("sandbox_measured", code=said.code, message=said.message, mend=said.mend)

    def known(self) -> list[Finding]:
        """What was missing at the start, and which systems refuse us now."""
        refusals = {one.code: one for adapter in self.adapters for one in adapter.circuit.refusals}
        refused = [findings.of_fault(one) for one in refusals.values()]
        return [*self.problems, *refused, *findings.of_runs_disk(self.room)]

    def api(self) -> Any:
        """The part behind Access. Its framework takes longest to load: the front asks for it when it listens."""
        from orchestrator.web.app import create_app  # noqa: PLC0415 - see above
        from orchestrator.web.services import Services  # noqa: PLC0415
        from orchestrator.web.signin.gitea import GiteaSignIn  # noqa: PLC0415

        services = Services(
            database=self.database,
            clock=self.clock,
            engine=self.running_engine,
            projects=lambda: self.directory.projects,
            project_of_repo=self.directory.project_of_repo,
            people=self.directory.people,
            known=self.known,
            look=self.look,
            dispatch=self.dispatch,
            item_address=self._addresses().item,
            forge_address=self._addresses().forge,
            papers=Papers(self.forges.orchestrator, self.directory.project_of_repo, self._blob),
            changes=self.changes,
            counters=self.counters,
            neighbours=self.adapters,
            runs_disk_bytes=lambda: self.room.used_bytes,
            identity=self.identity,
            gitea_sign_in=_gitea_sign_in(self.settings, GiteaSignIn),
            about=self._about(),
        )
        return create_app(services, self.settings.path_prefix)

    async def _blob(self, repo: RepoName, name: str, max_bytes: int) -> bytes | None:
        """Of our own mirror: what people approved may be on no branch any more."""
        return await self.runtime.blob(repo, name, max_bytes) if self.runtime else None

    def _about(self) -> "About":
        from orchestrator.web.about import About  # noqa: PLC0415 - as above

        settings = self.settings
        return About(
            plane=settings.plane_public_url or settings.plane_api_url,
            gitea=settings.gitea_public_url or settings.gitea_url,
            cli=str(settings.claude_bin),
            model=settings.claude_model or "",
            limits=_limits(settings),
        )

    def _addresses(self) -> Addresses:
        settings = self.settings
        return Addresses(settings.public_url or "", settings.gitea_public_url or "", settings.work_items_url)

    def running_engine(self) -> LocalEngine:
        assert self.engine is not None  # noqa: S101 - endpoints are called within the lifespan only
        return self.engine

    def asker(self) -> ClaudeRuntime:
        """Starts agents as ours are started, and reaches no repository: to ask the model something."""
        nowhere = Workspaces(self.settings.data_dir.absolute(), _no_forge)
        return _runtime(self.settings, nowhere, self.room, self.sandboxes)

    def _engine(self) -> LocalEngine:
        settings, directory = self.settings, self.directory
        forges, forge = self.forges, self.forges.orchestrator
        workspaces = _workspaces(settings, forges, forge, self.sandboxes) if forge else None
        runtime = _runtime(settings, workspaces, self.room, self.sandboxes) if workspaces else None
        self.runtime = runtime
        changed_paths = runtime.changed_paths if runtime else _without_forge
        complaints = Complaints(self.clock.monotonic)
        observer = self.observer = Observer(
            self.tracker,
            self.forges,
            changed_paths,
            complaints,
            logs.masker(secret_values(settings)),
            self._is_begun,
        )
        delivery = Delivery(self.database, self.clock, self.tracker, self.forges, complaints)
        options = Options(
            max_attempts=settings.max_attempts,
            max_runs_without_progress=settings.max_runs_without_progress,
            retry_pause_s=settings.retry_pause_s,
            addresses=self._addresses(),
            poll_interval_s=settings.poll_interval_s,
            spending=SpendingLimits(settings.task_budget_usd, settings.money_without_progress_usd),
        )
        dispatch = self.dispatch
        reconciler = Reconciler(
            self.database, self.clock, observer, delivery, directory.project, options, dispatch
        )
        execution = self._execution(runtime, reconciler) if runtime else None
        resync = Resync(self.database, self.clock, self.tracker, lambda: directory.projects, complaints)
        return LocalEngine(
            reconciler,
            execution,
            resync,
            dispatch=dispatch,
            resync_interval_s=settings.resync_interval_s,
            pace=Pace(merge_s=settings.wake_merge_s),
            complaints=complaints,
            counters=self.counters,
        )

    def _tidy(self) -> Tidy:
        folders = RunFolders(self.settings.data_dir.absolute())
        self.room.most_bytes = self.settings.runs_max_disk_bytes
        return Tidy(
            self.database,
            self.clock,
            Keeping(timedelta(days=self.settings.run_keep_days), self.settings.runs_max_disk_bytes),
            sizes=folders.sizes,
            discard=lambda one: folders.discard(one.run, is_whole=one.is_whole),
            told=self.room.measured,
        )

    def _execution(self, runtime: ClaudeRuntime, reconciler: Reconciler) -> Execution:
        settings = self.settings
        limits = RunLimits(
            timeout_s=settings.run_timeout_s,
            max_turns=settings.run_max_turns,
            max_budget_usd=settings.run_max_budget_usd,
            silence_s=settings.run_silence_s,
        )
        return Execution(
            self.database,
            self.clock,
            runtime,
            self.directory.project,
            limits,
            dispatch=self.dispatch,
            is_wanted=reconciler.is_wanted,
        )


def build(
    settings: Settings, directory: Directory, clock: Clock | None = None, timing: Timing = REAL_TIME
) -> Orchestrator:
    """Wires everything, and opens nothing yet. `clock` and `timing` are another time, for tests."""
    timeout_s, tracker = settings.http_timeout_s, None
    people = [person.gitea_login for person in directory.people if person.gitea_login]
    forge, developer, reviewer = (
        Gitea(settings.gitea_url, _first(tokens), timeout_s=timeout_s, may_mention=people, timing=timing)
        if tokens
        else None
        for tokens in (settings.gitea_token, settings.gitea_token_developer, settings.gitea_token_reviewer)
    )
    if settings.plane_api_token and settings.plane_workspace_slug:
        token, slug = _first(settings.plane_api_token), settings.plane_workspace_slug
        pace = settings.plane_calls_per_minute
        tracker = Plane(
            settings.plane_api_url, token, slug, timeout_s=timeout_s, calls_per_minute=pace, timing=timing
        )
    database = Database(settings.database, wait_s=settings.db_wait_s)
    problems = findings.of_settings(settings, directory)
    forges = Forges(forge, developer, reviewer)
    adapters = tuple(one for one in (tracker, forge, developer, reviewer) if one)
    sandboxes = _sandboxes(settings) if forge else None
    clock = clock or SystemClock()
    dispatch = Dispatch(database, clock, _admission_limits(settings), settings.usage_limit_pause_s)
    return Orchestrator(
        settings=settings,
        directory=directory,
        database=database,
        clock=clock,
        tracker=tracker,
        forges=forges,
        adapters=adapters,
        problems=problems,
        dispatch=dispatch,
        identity=_identity(settings, directory, database, clock),
        sandboxes=sandboxes,
    )


def _gitea_sign_in(settings: Settings, make: type["GiteaSignIn"]) -> "GiteaSignIn | None":
    if settings.gitea_oauth_client_id is None:
        return None
    return make(
        client_id=settings.gitea_oauth_client_id,
        client_secret=_first(settings.gitea_oauth_client_secret),
        browser_url=settings.gitea_public_url or settings.gitea_url,
        server_url=settings.gitea_url,
        redirect_uri=f"{settings.public_url}/sign-in/callback",
        timeout_s=settings.http_timeout_s,
    )


def _identity(settings: Settings, directory: Directory, database: Database, clock: Clock) -> Identity:
    """How we know who asks. The key of sessions is read, or made, when the first of them is."""
    given = [one.get_secret_value() for one in settings.session_secret]
    public_url = settings.public_url or ""
    sessions = Sessions(
        lambda: given or [secret.kept(settings.data_dir)], timedelta(hours=settings.session_hours), clock
    )
    people = People(directory.people, is_open=settings.sign_in_for == "everyone")
    return Identity(
        tokens=Tokens((one.get_secret_value() for one in settings.api_token), database, clock, sessions, people),
        people=people,
        sessions=sessions,
        cookies=Cookies(settings.path_prefix, is_secure=public_url.startswith("https:")),
        hosts=Hosts(settings.allowed_hosts, public_url),
        has_gitea=settings.gitea_oauth_client_id is not None,
    )


def _limits(settings: Settings) -> list[tuple[str, float]]:
    """All that is bounded by a number, by the name of its setting."""
    fields = ((name, field.json_schema_extra) for name, field in Settings.model_fields.items())
    named = [name for name, extra in fields if isinstance(extra, dict) and extra.get("group") == "Limits"]
    values = ((name, getattr(settings, name)) for name in named)
    return [(f"ORCH_{name.upper()}", value) for name, value in values if isinstance(value, int | float)]


def _admission_limits(settings: Settings) -> AdmissionLimits:
    return AdmissionLimits(
        runs=settings.max_concurrent_runs,
        runs_per_repository=settings.max_concurrent_runs_per_repository,
        runs_per_role=settings.max_concurrent_runs_per_role,
        runs_per_day=settings.max_runs_per_day,
        day_budget_usd=settings.day_budget_usd,
    )


def asgi(orchestrator: Orchestrator, *, allow_unsigned_loopback: bool = False) -> Front:
    """The app that a server runs."""
    settings = orchestrator.settings

    def receiver(source: Source, secrets: Secrets) -> Receiver:
        return Receiver(
            source=source,
            secrets=[secret.get_secret_value().encode() for secret in secrets],
            accept=orchestrator.accept,
            clock=orchestrator.clock,
            max_body_bytes=settings.max_body_bytes,
            receive_timeout_s=settings.receive_timeout_s,
            allow_unsigned_loopback=allow_unsigned_loopback,
            counters=orchestrator.counters,
        )

    return Front(
        orchestrator.api,
        orchestrator.lifespan,
        {
            "/webhook/plane": receiver(Source.PLANE, settings.plane_webhook_secret),
            "/webhook/gitea": receiver(Source.GITEA, settings.gitea_webhook_secret),
        },
        Access(orchestrator.identity),
        settings.path_prefix,
    )


def create_app() -> Any:
    """For `uvicorn --factory orchestrator.main:create_app`. `orch serve` does more: deadlines, findings, hints."""
    settings = load()
    logs.set_up(settings.log_level, secret_values(settings))
    refuse_unsigned(settings)
    return asgi(build(settings, load_directory(settings.config)))


def log_problems(problems: Sequence[Finding]) -> None:
    for one in [in_words(problem, Language.EN) for problem in problems if problem.level is not Level.FINE]:
        log.warning("missing", code=one.code, message=one.message, mend=one.mend)


async def _without_forge(*_: object) -> Sequence[str]:
    raise Permanent("no_gitea_token", "There is no Gitea token.")


def _sandboxes(settings: Settings) -> Sandboxes:
    asked = None if settings.sandbox == "auto" else _capabilities(settings.sandbox)
    first, last = (int(uid) for uid in settings.sandbox_uids.split("-"))
    return Sandboxes(
        settings.data_dir.absolute(),
        Wish(asked, _capabilities(settings.min_sandbox)),
        (first, last),
        tuple(map(str, settings.sandbox_read)),
        Bounds(settings.run_max_memory_bytes, settings.run_max_processes),
    )


def _capabilities(listed: str) -> frozenset[Capability]:
    return frozenset(Capability(name) for name in listed.split(",") if name != "none")


def _workspaces(settings: Settings, forges: Forges, forge: Forge, sandboxes: Sandboxes | None) -> Workspaces:
    return Workspaces(
        settings.data_dir.absolute(),
        forge.remote,
        settings.repos_dir,
        push_remote=lambda repo, role: _pusher(forges, forge, role).remote(repo),
        results=Results(limits=_result_limits(settings), sandboxes=sandboxes),
    )


def _no_forge(repo: RepoName) -> GitRemote:
    raise Permanent("no_gitea_token", f"There is no token of Gitea's, so {repo} is not reached.")


def _runtime(settings: Settings, workspaces: Workspaces, room: Room, sandboxes: Sandboxes | None) -> ClaudeRuntime:
    return ClaudeRuntime(
        data_dir=settings.data_dir.absolute(),
        claude_bin=settings.claude_bin,
        workspaces=workspaces,
        credential=_credential(settings),
        route=ApiRoute(settings.claude_base_url, settings.claude_proxy, settings.claude_ca_certs),
        limits=ProcessLimits(
            log_max_bytes=settings.run_max_log_bytes,
            disk_max_bytes=settings.run_max_disk_bytes,
            memory_max_bytes=settings.run_max_memory_bytes,
        ),
        model=settings.claude_model,
        sandboxes=sandboxes,
        room=room,
        rates=Rates(settings.data_dir.absolute() / RATES),
    )


def _pusher(forges: Forges, orchestrator: Forge, role: Role) -> Forge:
    """Code is pushed by the developer's own user, documents by the orchestrator's; others push nothing."""
    return (forges.developer if role is Role.DEVELOPER else None) or orchestrator


def _result_limits(settings: Settings) -> ResultLimits:
    return ResultLimits(
        bundle_bytes=settings.run_max_result_bytes,
        unpacked_bytes=settings.run_max_unpacked_bytes,
        files=settings.run_max_files,
        commits=settings.run_max_commits,
    )


def _credential(settings: Settings) -> Credential:
    if settings.claude_oauth_token:
        return Credential(CredentialKind.OAUTH, _first(settings.claude_oauth_token))
    if settings.anthropic_api_key:
        return Credential(CredentialKind.API_KEY, _first(settings.anthropic_api_key))
    return Credential()


def _first(secrets: Secrets) -> str:
    return secrets[0].get_secret_value()

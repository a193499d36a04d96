"""The HTTP API and /status, behind Access. Times are UTC, costs US dollars (notional for a subscription)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from orchestrator import __version__
from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError, Rejected
from orchestrator.domain.finding import Finding, Level
from orchestrator.domain.model import Language, Project, RepoName, Role, RunId
from orchestrator.ports import Clock, Engine
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, items
from orchestrator.store import tasks as task_rows
from orchestrator.store import views
from orchestrator.store.tasks import Posted
from orchestrator.store.views import RunView, TaskView
from orchestrator.web.explain import LOOK_BACK, Explanation, explain
from orchestrator.words.sentences import sentence

T = TypeVar("T")
MAX_TASK_CHARS = 200_000
LOG_PIECE_BYTES = 1024 * 1024


class Run(BaseModel):
    """One attempt of one role."""

    id: int
    role: str
    stage: str
    attempt: int
    state: str = Field(description="intended, running or ended")
    outcome: str | None = Field(description="why it ended; null while it has not")
    reason: str
    detail: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    exit_code: int | None
    cli_version: str
    model: str
    sandbox: str
    head_sha: str | None = Field(description="the commit that was published")
    started_at: datetime | None
    finished_at: datetime | None
    output_path: str | None
    log: str = Field(description="where the log is read, relative to this service")


class Waits(BaseModel):
    """One reason why a task does not go on."""

    code: str
    who: str = Field(description="who can supply it: operator, approver, author or agent")
    text: str
    params: dict[str, str]


class Held(BaseModel):
    """One thing that an open gate rests on, or that a closed one has already."""

    code: str
    text: str
    params: dict[str, str]
    evidence: list[str]


class Gate(BaseModel):
    """The newest verdict on a gate."""

    gate: str
    state: str = Field(description="open, closed or unknown (it could not be looked at)")
    held: list[Held]
    missing: list[Waits]


class Task(BaseModel):
    """A work item on its way."""

    id: int
    key: str
    title: str
    stage: str
    repo: str | None
    branch: str
    plane_id: str | None
    plane_project_id: str | None
    item_link: str | None = Field(description="where browsers see the work item; needs ORCH_PLANE_PUBLIC_URL")
    head_sha: str | None
    agent_running: bool
    created_at: datetime
    updated_at: datetime
    waiting: list[Waits]
    runs: list[Run]
    returns: list[str] = Field(description="what sent it back, oldest first")
    gates: list[Gate] = Field(description="those that it has come to; empty in lists")


class Problem(BaseModel):
    """Something missing or broken, and how to mend it."""

    code: str
    level: str
    message: str
    mend: str


class Status(BaseModel):
    """Tasks that are not done, newest first, each with its last run."""

    active_tasks: list[Task]
    problems: list[Problem]


class Ready(BaseModel):
    """Whether the service can do its duty, and what is missing for all of it."""

    ready: bool
    version: str
    findings: list[Problem]


class NewTask(BaseModel):
    """A task without a work item: one role, once, on a branch of its own."""

    repository: str = Field(
        description="owner/name, one that orchestrator.yaml maps", examples=["acme/enduro-trails"]
    )
    role: Role
    task: str = Field(min_length=1, max_length=MAX_TASK_CHARS, description="what is to be done, for the agent")
    title: str = Field("", max_length=300)


class Accepted(BaseModel):
    """The task's key, and where to follow it."""

    key: str
    url: str


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints need. `known` is missing as far as we know already; `look` finds what is so now."""

    database: Database
    clock: Clock
    engine: Callable[[], Engine]
    project_of_repo: Callable[[RepoName], Project | None]
    known: Callable[[], Sequence[Finding]]
    look: Callable[[], Awaitable[Sequence[Finding]]]
    item_address: Callable[[str], str]

    def item_link(self, task: TaskView) -> str | None:
        """None for a task without a work item, and without an address."""
        return (self.item_address(task.key) or None) if task.plane_id else None


def create_api(services: Services, root_path: str = "") -> FastAPI:
    app = FastAPI(
        title="orchestrator",
        version=__version__,
        root_path=root_path,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(OrchestratorError, _problem)
    _add_reading(app, services)
    _add_posting(app, services)
    return app


def _add_reading(app: FastAPI, services: Services) -> None:
    @app.get("/status")
    async def status(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 10) -> Status:
        found = await services.database.read(lambda connection: views.active_tasks(connection, limit))
        language = _language(request)
        problems = [_shown(one) for one in services.known() if one.level is not Level.FINE]
        return Status(
            active_tasks=[_task(one, services.item_link(one), language) for one in found], problems=problems
        )

    @app.get("/ready", responses={503: {"model": Ready}})
    async def ready() -> JSONResponse:
        findings = await services.look()
        is_ready = all(one.level is not Level.BROKEN for one in findings)
        body = Ready(ready=is_ready, version=__version__, findings=[_shown(one) for one in findings])
        return JSONResponse(body.model_dump(), status_code=200 if is_ready else 503)

    @app.get("/api/v1/tasks/{key}")
    async def task(key: str, request: Request) -> Task:
        found = await services.database.read(lambda connection: views.task(connection, key))
        view = _there(found, f"There is no task {key[:60]}.")
        return _task(view, services.item_link(view), _language(request))

    @app.get("/api/v1/tasks/{key}/explain")
    async def explained(key: str, request: Request, lang: Language | None = None) -> Explanation:
        """Each gate with what holds and what is missing, what would unblock the task, and the limits left."""
        found = await services.database.read(lambda connection: views.story(connection, key, LOOK_BACK))
        told = _there(found, f"There is no task {key[:60]}.")
        project = services.project_of_repo(RepoName.parse(told.task.repo)) if told.task.repo else None
        options = project.gates if project else None
        language, link = lang or _language(request), services.item_link(told.task)
        return explain(told, options, services.clock.now(), language, link)

    @app.get("/api/v1/runs/{run}")
    async def run(run: int) -> Run:
        found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
        return _run(_there(found, f"There is no run {run}."))

    @app.get("/api/v1/runs/{run}/log", response_class=PlainTextResponse)
    async def log(run: int, offset: Annotated[int, Query(ge=0)] = 0) -> PlainTextResponse:
        """At most 1 MiB from `offset`; `X-Next-Offset` says where to go on."""
        found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
        path = _there(found, f"There is no run {run}.").output_path
        piece = _piece(Path(path), offset) if path else b""
        return PlainTextResponse(piece, headers={"X-Next-Offset": str(offset + len(piece))})


def _add_posting(app: FastAPI, services: Services) -> None:
    @app.post("/api/v1/tasks", status_code=201)
    async def post(new: NewTask) -> Accepted:
        """Starts one run of one role with the given text; needs the API token when one is set."""
        posted = _posted(new, services.project_of_repo)
        now = services.clock.now()
        task = await services.database.write(lambda connection: task_rows.post(connection, posted, now))
        services.engine().wake(task.id)
        return Accepted(key=task.key, url=f"/api/v1/tasks/{task.key}")

    @app.post("/api/v1/tasks/{key}/retry", status_code=202)
    async def retry(key: str) -> dict[str, str]:
        """Grants one more attempt to a task whose last run did not succeed."""
        found = await services.database.read(lambda connection: task_rows.by_key(connection, key))
        task, now = _there(found, f"There is no task {key[:60]}."), services.clock.now()
        if not await services.database.write(lambda connection: task_rows.retry(connection, task.id, now)):
            raise Rejected(
                "nothing_to_retry", f"No run of {task.key} has ended badly; nothing is to be retried.", status=409
            )
        services.engine().wake(task.id)
        return {"status": "retrying"}

    @app.post("/api/v1/runs/{run}/cancel", status_code=202)
    async def cancel(run: int) -> dict[str, str]:
        """Asks the run to stop; it ends within ten seconds with outcome `cancelled`."""
        found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
        if _there(found, f"There is no run {run}.").state == "ended":
            raise Rejected("run_over", f"Run {run} has ended already.", status=409)
        await services.engine().cancel_run(RunId(run))
        return {"status": "stopping"}


def _posted(new: NewTask, project_of_repo: Callable[[RepoName], Project | None]) -> Posted:
    try:
        repo = RepoName.parse(new.repository)
    except ValueError as error:
        raise Rejected("bad_repository", f"{error}.", status=422) from error
    project = project_of_repo(repo)
    if project is None:
        raise Rejected(
            "unknown_repository",
            f"{repo} is not in orchestrator.yaml.",
            status=422,
            hint="Map it to a Plane project there, and restart.",
        )
    title = new.title or new.task.strip().splitlines()[0][:100]
    return Posted(new.role, project.repo, title, new.task, project.base_branch)


def _piece(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(LOG_PIECE_BYTES)
    except FileNotFoundError:
        return b""


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    """RFC 9457. The hint says what to do next."""
    assert isinstance(error, OrchestratorError)  # noqa: S101 - registered for this class
    status = error.status if isinstance(error, Rejected) else 503
    detail = f"{error.message} {error.hint}".strip()
    body = {"type": "about:blank", "title": error.code, "status": status, "detail": detail}
    headers = {"Retry-After": "5"} if status == 503 else {}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _there(found: T | None, missing: str) -> T:
    if found is None:
        raise Rejected("not_found", missing, status=404)
    return found


def _language(request: Request) -> Language:
    wanted = request.headers.get("accept-language", "").strip().lower()
    return Language.RU if wanted.startswith("ru") else Language.EN


def _task(view: TaskView, item_link: str | None, language: Language) -> Task:
    made = {"waiting", "runs", "gates", "item_link"}
    shown = {name: getattr(view, name) for name in Task.model_fields if name not in made}
    return Task(
        **shown,
        item_link=item_link,
        waiting=[_waits(item, language) for item in view.waiting],
        runs=[_run(one) for one in view.runs],
        gates=[_gate(name, verdict, language) for name, verdict in view.gates],
    )


def _waits(item: Item, language: Language) -> Waits:
    return Waits(code=item.code, who=item.who, text=sentence(item, language), params=dict(item.params))


def _gate(name: str, verdict: Verdict, language: Language) -> Gate:
    held = [
        Held(
            code=item.code,
            text=sentence(item, language),
            params=dict(item.params),
            evidence=list(item.evidence),
        )
        for item in verdict.held
    ]
    closed = "unknown" if isinstance(verdict, Unknown) else "closed"
    state = "open" if isinstance(verdict, Passed) else closed
    return Gate(gate=name, state=state, held=held, missing=[_waits(item, language) for item in items(verdict)])


def _run(view: RunView) -> Run:
    shown = {name: getattr(view, name) for name in Run.model_fields if name != "log"}
    return Run(**shown, log=f"/api/v1/runs/{view.id}/log")


def _shown(finding: Finding) -> Problem:
    return Problem(**asdict(finding))

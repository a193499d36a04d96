"""The HTTP API and /status, behind Access. Times are UTC, costs US dollars (notional for a subscription)."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from orchestrator import __version__
from orchestrator.domain.errors import OrchestratorError, Rejected
from orchestrator.domain.finding import Finding, Level
from orchestrator.domain.model import Language, Project, RepoName, Role, RunId, Stage
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, items
from orchestrator.store import runs as run_rows
from orchestrator.store import tasks as task_rows
from orchestrator.store import views
from orchestrator.store.tasks import Posted
from orchestrator.store.views import RunView, TaskView
from orchestrator.web.explain import LOOK_BACK, Explanation, explain
from orchestrator.web.pages import add_pages
from orchestrator.web.services import Services
from orchestrator.web.tail import LONGEST_S, follow
from orchestrator.web.voting import add_voting
from orchestrator.words.sentences import sentence

T = TypeVar("T")
MAX_TASK_CHARS = 200_000


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
    cost_usd: float = Field(description="0 until the run has ended by itself; its result tells the cost")
    exit_code: int | None
    cli_version: str
    model: str
    sandbox: str
    prompt_digest: str | None = Field(description="SHA-256 of all that the agent was told; null before its launch")
    head_sha: str | None = Field(description="the commit that was published")
    started_at: datetime | None
    finished_at: datetime | None
    last_activity_at: datetime | None = Field(description="when the agent last printed something")
    resets_at: datetime | None = Field(description="of a used-up usage window: when the next one begins")
    resumes: int | None = Field(description="the attempt of this stage that it was to go on from")
    denials: list[str] = Field(description="tools that it was denied, one entry for each time")
    output_path: str | None
    waits_for: str | None = Field(description="the code of why it has not started yet")
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
    _add_pausing(app, services)
    add_voting(app, services)
    add_pages(app, services, root_path)
    return app


def _add_reading(app: FastAPI, services: Services) -> None:
    @app.get("/status")
    async def status(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 10) -> Status:
        found = await services.database.read(lambda connection: views.active_tasks(connection, limit))
        language = _language(request)
        findings = [*await services.dispatch.findings(), *services.known()]
        problems = [_shown(one) for one in findings if one.level is not Level.FINE]
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
    async def log(
        run: int,
        offset: Annotated[int, Query(ge=0)] = 0,
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_S)] = 0.0,
    ) -> PlainTextResponse:
        """At most 1 MiB from `offset`; `X-Next-Offset` says where to go on. With `wait_s` it waits for news."""
        found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
        path = _there(found, f"There is no run {run}.").output_path
        piece = await follow(Path(path), offset, wait_s) if path else b""
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

    @app.post("/api/v1/tasks/{key}/cancel", status_code=202)
    async def cancel_task(key: str) -> dict[str, str]:
        """Stops what is at work for the task, and starts nothing more until it is resumed."""
        return await _switched(services, key, is_cancelled=True)

    @app.post("/api/v1/runs/{run}/cancel", status_code=202)
    async def cancel(run: int) -> dict[str, str]:
        """Asks the run to stop; it ends within ten seconds with outcome `cancelled`."""
        found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
        if _there(found, f"There is no run {run}.").state == "ended":
            raise Rejected("run_over", f"Run {run} has ended already.", status=409)
        await services.engine().cancel_run(RunId(run))
        return {"status": "stopping"}


async def _switched(services: Services, key: str, *, is_cancelled: bool) -> dict[str, str]:
    found = await services.database.read(lambda connection: task_rows.by_key(connection, key))
    task, now = _there(found, f"There is no task {key[:60]}."), services.clock.now()
    if task.stage is Stage.DONE:
        raise Rejected("task_over", f"{task.key} is done already.", status=409)

    def commit(connection: Connection) -> list[RunId]:
        task_rows.switch(connection, task.id, now, is_cancelled=is_cancelled)
        return run_rows.open_of_task(connection, task.id) if is_cancelled else []

    # Not left to the look that follows: it may have to wait for Plane.
    for run in await services.database.write(commit):
        await services.engine().cancel_run(run)
    services.engine().wake(task.id)
    return {"status": "cancelled"}


def _add_pausing(app: FastAPI, services: Services) -> None:
    @app.post("/api/v1/pause", status_code=202)
    async def pause_all() -> dict[str, str]:
        """No agent of any task starts until it is resumed, whatever asks for it; those at work go on."""
        return await paused(is_paused=True)

    @app.post("/api/v1/resume", status_code=202)
    async def resume_all() -> dict[str, str]:
        """Ends the pause of everything; the pauses of single tasks stay."""
        return await paused(is_paused=False)

    @app.post("/api/v1/tasks/{key}/pause", status_code=202)
    async def pause_task(key: str) -> dict[str, str]:
        """As `/orch pause` in a comment: none of its agents starts; one at work goes on."""
        return await paused_task(key, is_paused=True)

    @app.post("/api/v1/tasks/{key}/resume", status_code=202)
    async def resume_task(key: str) -> dict[str, str]:
        """As `/orch resume` in a comment; takes back `/orch cancel`, too."""
        return await paused_task(key, is_paused=False)

    async def paused(*, is_paused: bool) -> dict[str, str]:
        await services.dispatch.pause_all(is_paused=is_paused)
        services.engine().admit()
        return {"status": "paused" if is_paused else "running"}

    async def paused_task(key: str, *, is_paused: bool) -> dict[str, str]:
        found = await services.database.read(lambda connection: task_rows.by_key(connection, key))
        task = _there(found, f"There is no task {key[:60]}.")
        await services.dispatch.pause_task(task.id, is_paused=is_paused)
        services.engine().admit()
        services.engine().wake(task.id)
        return {"status": "paused" if is_paused else "running"}


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
    shown = {name: getattr(view, name) for name in Run.model_fields if name not in {"waits_for", "log"}}
    waits_for = view.waits_for.code if view.waits_for else None
    return Run(**shown, waits_for=waits_for, log=f"/api/v1/runs/{view.id}/log")


def _shown(finding: Finding) -> Problem:
    return Problem(**asdict(finding))

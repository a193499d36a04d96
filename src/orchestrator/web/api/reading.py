"""What is so: tasks, runs, the journal, decisions."""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AwareDatetime

from orchestrator import __version__
from orchestrator.domain.finding import Level
from orchestrator.domain.model import RepoName, RunId, Source, Stage
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, RunState
from orchestrator.store import lists, remarks, views
from orchestrator.store.lists import EventFilter, RunFilter, TaskFilter
from orchestrator.web.acting import there
from orchestrator.web.api import shapes
from orchestrator.web.api.paging import MAX_ID, Cursor, Ident, Key, Limit, language_of, lead_on
from orchestrator.web.api.problems import EVERYWHERE, responses
from orchestrator.web.explain import LOOK_BACK, Explanation, explain
from orchestrator.web.services import Given
from orchestrator.web.tail import LONGEST_S, follow

Needs = Literal["person", "operator", "approver", "author", "developer", "reviewer", "maintainer", "agent", "ci"]
router = APIRouter(responses=EVERYWHERE)
by_number = APIRouter(responses=EVERYWHERE)
"""After `/api/v1/events/stream`, which would be taken for an event's number."""
_MAX_TEXT_CHARS = 100
_A_MOMENT = "in any zone, for example 2026-11-22T12:00:00Z"
_LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The log from `offset` on; empty when there is nothing yet.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
        "headers": {
            "X-Next-Offset": {"description": "where to go on", "schema": {"type": "integer", "minimum": 0}}
        },
    }
}


@router.get("/status", tags=["service"], summary="What is under way, and what the installation lacks")
async def status(
    services: Given, request: Request, limit: Annotated[int, Query(ge=1, le=200, description="tasks at most")] = 10
) -> shapes.Status:
    """Tasks that are not done, newest first, each with its last run."""
    found = await services.database.read(lambda connection: views.active_tasks(connection, limit))
    language = language_of(request)
    findings = [*await services.dispatch.findings(), *services.known()]
    return shapes.Status(
        active_tasks=[shapes.task(one, services.item_link(one), language) for one in found],
        problems=[shapes.lack(one) for one in findings if one.level is not Level.FINE],
    )


@router.get(
    "/ready",
    tags=["service"],
    summary="Whether the service can do its duty",
    response_model=shapes.Ready,
    responses={503: {"model": shapes.Ready, "description": "Something is broken that matters."}},
)
async def ready(services: Given) -> JSONResponse:
    """Really tries the database, the disk and the sandbox."""
    findings = await services.look()
    is_ready = all(one.level is not Level.BROKEN for one in findings)
    body = shapes.Ready(ready=is_ready, version=__version__, findings=[shapes.lack(one) for one in findings])
    return JSONResponse(body.model_dump(), status_code=200 if is_ready else 503)


@router.get("/api/v1/tasks", tags=["tasks"], summary="Tasks, newest first")
async def tasks(  # noqa: PLR0913, PLR0917 - each is a parameter of the address
    services: Given,
    request: Request,
    response: Response,
    stage: Annotated[Stage | None, Query(description="where it stands")] = None,
    open: Annotated[bool | None, Query(description="true: not done; false: done")] = None,  # noqa: A002 - its name
    repo: Annotated[str, Query(max_length=201, description="owner/name", examples=["acme/trails"])] = "",
    needs: Annotated[Needs | None, Query(description="who has to do something; `person`: anybody")] = None,
    text: Annotated[str, Query(max_length=_MAX_TEXT_CHARS, description="in key or title")] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> shapes.Tasks:
    """Each with its last run only; all filters have to match."""
    wanted = TaskFilter(stage=stage, is_open=open, repo=repo, needs=needs or "", text=text)
    page = await services.database.read(lambda c: lists.tasks_page(c, wanted, limit, cursor))
    language = language_of(request)
    items = [shapes.task(one, services.item_link(one), language) for one in page.rows]
    return shapes.Tasks(items=items, next=lead_on(request, response, page.next))


@router.get("/api/v1/tasks/{key}", tags=["tasks"], summary="One task", responses=responses(404))
async def task(services: Given, key: Key, request: Request) -> shapes.Task:
    """With all its runs, oldest first, the gates that it has come to, and what people are asked about."""
    found = await services.database.read(lambda connection: views.task(connection, key))
    view = there(found, "task", key)
    stage = Stage(view.stage)
    asked = await services.database.read(lambda connection: remarks.asked(connection, view.id, stage))
    return shapes.task(view, services.item_link(view), language_of(request), asked)


@router.get(
    "/api/v1/tasks/{key}/explain",
    tags=["tasks"],
    summary="Why a task is where it is",
    responses=responses(404),
)
async def explained(
    services: Given,
    key: Key,
    request: Request,
    lang: Annotated[Language | None, Query(description="of the sentences; else `Accept-Language`")] = None,
) -> Explanation:
    """Each gate with what holds and what is missing, what would unblock the task, and the limits left."""
    found = await services.database.read(lambda connection: views.story(connection, key, LOOK_BACK))
    told = there(found, "task", key)
    project = services.project_of_repo(RepoName.parse(told.task.repo)) if told.task.repo else None
    options = project.gates if project else None
    language, link = language_of(request, lang), services.item_link(told.task)
    return explain(told, options, services.clock.now(), language, link)


@router.get(
    "/api/v1/tasks/{key}/decisions",
    tags=["decisions"],
    summary="What was decided of a task, newest first",
    responses=responses(404),
)
async def decisions(
    services: Given, key: Key, request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None
) -> shapes.Decisions:
    """A decision is stored when it differs from the one before."""
    task = there(await services.database.read(lambda c: lists.task_id(c, key)), "task", key)
    page = await services.database.read(lambda c: lists.decisions_page(c, task, limit, cursor))
    items = [shapes.decision(one, language_of(request)) for one in page.rows]
    return shapes.Decisions(items=items, next=lead_on(request, response, page.next))


@router.get(
    "/api/v1/tasks/{key}/events",
    name="events",
    tags=["events"],
    summary="What was told of a task, newest first",
    responses=responses(404),
)
async def task_events(
    services: Given, key: Key, request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None
) -> shapes.Events:
    """The deliveries that belong to it."""
    there(await services.database.read(lambda c: lists.task_id(c, key)), "task", key)
    wanted = EventFilter(task=key)
    page = await services.database.read(lambda c: lists.events_page(c, wanted, limit, cursor))
    items = [shapes.event(one) for one in page.rows]
    return shapes.Events(items=items, next=lead_on(request, response, page.next))


@router.get("/api/v1/runs", tags=["runs"], summary="Runs, newest first")
async def runs(  # noqa: PLR0913, PLR0917 - each is a parameter of the address
    services: Given,
    request: Request,
    response: Response,
    task: Annotated[str, Query(max_length=60, description="a key", examples=["ENDURO-1"])] = "",
    role: Annotated[Role | None, Query(description="who works")] = None,
    state: Annotated[RunState | None, Query(description="how far it is")] = None,
    outcome: Annotated[Outcome | None, Query(description="why it ended")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> shapes.Runs:
    """Of all tasks, or of one; all filters have to match."""
    wanted = RunFilter(task=task, role=role or "", state=state or "", outcome=outcome or "")
    page = await services.database.read(lambda c: lists.runs_page(c, wanted, limit, cursor))
    items = [shapes.run(one) for one in page.rows]
    return shapes.Runs(items=items, next=lead_on(request, response, page.next))


@router.get("/api/v1/runs/{run}", tags=["runs"], summary="One run", responses=responses(404))
async def run(services: Given, run: Ident) -> shapes.Run:
    """While it works, turns and tokens grow."""
    found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
    return shapes.run(there(found, "run", run))


@router.get(
    "/api/v1/runs/{run}/log",
    tags=["runs"],
    summary="What the agent printed",
    response_class=PlainTextResponse,
    responses=_LOG | responses(404),
)
async def log(
    services: Given,
    run: Ident,
    offset: Annotated[int, Query(ge=0, le=MAX_ID, description="the byte to begin with")] = 0,
    wait_s: Annotated[float, Query(ge=0, le=LONGEST_S, description="how long to wait for news")] = 0.0,
) -> PlainTextResponse:
    """At most 1 MiB from `offset`; `X-Next-Offset` says where to go on. With `wait_s` it waits for news."""
    found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
    path = there(found, "run", run).output_path
    piece = await follow(Path(path), offset, wait_s) if path else b""
    return PlainTextResponse(piece, headers={"X-Next-Offset": str(offset + len(piece))})


@router.get("/api/v1/events", tags=["events"], summary="The journal, newest first")
async def events(  # noqa: PLR0913, PLR0917 - each is a parameter of the address
    services: Given,
    request: Request,
    response: Response,
    source: Annotated[Source | None, Query(description="who told it")] = None,
    type: Annotated[str, Query(max_length=80, description="as its sender calls it", examples=["push"])] = "",  # noqa: A002 - its name
    task: Annotated[str, Query(max_length=60, description="a key", examples=["ENDURO-1"])] = "",
    since: Annotated[AwareDatetime | None, Query(description=f"{_A_MOMENT}; included")] = None,
    until: Annotated[AwareDatetime | None, Query(description=f"{_A_MOMENT}; not included")] = None,
    ignored: Annotated[bool | None, Query(description="whether nobody was woken for it")] = None,
    flagged: Annotated[bool | None, Query(description="whether something about it is odd")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> shapes.Events:
    """Every content that came, once. All filters have to match; a page may be short and have a next one."""
    wanted = EventFilter(
        source=source or "",
        event_type=type,
        task=task,
        since=since,
        until=until,
        is_ignored=ignored,
        is_flagged=flagged,
    )
    page = await services.database.read(lambda c: lists.events_page(c, wanted, limit, cursor))
    items = [shapes.event(one) for one in page.rows]
    return shapes.Events(items=items, next=lead_on(request, response, page.next))


@by_number.get("/api/v1/events/{event}", tags=["events"], summary="One delivery", responses=responses(404))
async def event(services: Given, event: Ident, request: Request) -> shapes.WholeEvent:
    """Its headers and body as they came, and what it led to."""
    found = await services.database.read(lambda connection: lists.event(connection, event))
    return shapes.whole_event(there(found, "event", event), language_of(request))


@by_number.get(
    "/api/v1/decisions/{decision}", tags=["decisions"], summary="One decision", responses=responses(404)
)
async def decision(services: Given, decision: Ident, request: Request) -> shapes.WholeDecision:
    """With all that it rested on."""
    found = await services.database.read(lambda connection: lists.decision(connection, decision))
    return shapes.whole_decision(there(found, "decision", decision), language_of(request))

"""What is ordered: the endpoints that change something. What each does is in `web/acting`."""

from typing import Annotated

from fastapi import APIRouter, Body, Header

from orchestrator.store.schema import MAX_ORDER_KEY_CHARS
from orchestrator.web import acting
from orchestrator.web.api.paging import Ident, Key
from orchestrator.web.api.problems import EVERYWHERE, responses
from orchestrator.web.api.shapes import Accepted, Done, NewTask
from orchestrator.web.services import Given

router = APIRouter(responses=EVERYWHERE)
OrderKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MAX_ORDER_KEY_CHARS,
        pattern=r'^"?[\x21\x23-\x7e]+"?$',  # quotes around it are the draft standard's own
        description="the sender's own name for this order, such as a UUID: sent again, it is carried out once",
    ),
]
_A_TASK = {
    "an analyst": {
        "summary": "One analysis",
        "value": {"repository": "acme/enduro-trails", "role": "analyst", "task": "Describe the export."},
    }
}


@router.post(
    "/api/v1/tasks",
    status_code=201,
    tags=["tasks"],
    summary="Start one run of one role",
    responses=responses(400),
)
async def post(
    services: Given, new: Annotated[NewTask, Body(openapi_examples=_A_TASK)], idempotency_key: OrderKey = None
) -> Accepted:
    """Without a work item, on a branch of its own. Posting twice makes two tasks, unless both have the same
    `Idempotency-Key`: then the second is answered with the first one's task.
    """
    key = idempotency_key.strip('"') if idempotency_key else None
    task = await acting.post(services, new.repository, new.role, new.task, new.title, key)
    return Accepted(key=task.key, url=f"/api/v1/tasks/{task.key}")


@router.post(
    "/api/v1/tasks/{key}/retry",
    status_code=202,
    tags=["tasks"],
    summary="One more attempt",
    responses=responses(404, 409),
)
async def retry(services: Given, key: Key) -> Done:
    """For a task whose last run did not succeed, or that reached a cap."""
    await acting.retry(services, key)
    return Done(status="retrying")


@router.post(
    "/api/v1/tasks/{key}/cancel",
    status_code=202,
    tags=["tasks"],
    summary="Stop a task",
    responses=responses(404, 409),
)
async def cancel_task(services: Given, key: Key) -> Done:
    """Stops what is at work for it, and starts nothing more until it is resumed."""
    await acting.cancel_task(services, key)
    return Done(status="cancelled")


@router.post(
    "/api/v1/runs/{run}/cancel",
    status_code=202,
    tags=["runs"],
    summary="Stop a run",
    responses=responses(404, 409),
)
async def cancel(services: Given, run: Ident) -> Done:
    """It ends within ten seconds with outcome `cancelled`."""
    await acting.cancel_run(services, run)
    return Done(status="stopping")


@router.post(
    "/api/v1/events/{event}/replay",
    status_code=202,
    tags=["events"],
    summary="Look at an event's task again",
    responses=responses(404, 409),
)
async def replay(services: Given, event: Ident) -> Done:
    """Adds no event and no fact."""
    await acting.replay(services, event)
    return Done(status="looking")


@router.post("/api/v1/pause", status_code=202, tags=["service"], summary="Start no agent")
async def pause_all(services: Given) -> Done:
    """Of any task, until it is resumed, whatever asks for it; those at work go on."""
    await acting.pause_all(services)
    return Done(status="paused")


@router.post("/api/v1/resume", status_code=202, tags=["service"], summary="Start agents again")
async def resume_all(services: Given) -> Done:
    """Ends the pause of everything; the pauses of single tasks stay."""
    await acting.resume_all(services)
    return Done(status="running")


@router.post(
    "/api/v1/tasks/{key}/pause",
    status_code=202,
    tags=["tasks"],
    summary="Start none of a task's agents",
    responses=responses(404),
)
async def pause_task(services: Given, key: Key) -> Done:
    """As `/orch pause` in a comment; one at work goes on."""
    await acting.pause(services, key)
    return Done(status="paused")


@router.post(
    "/api/v1/tasks/{key}/resume",
    status_code=202,
    tags=["tasks"],
    summary="Go on with a task",
    responses=responses(404),
)
async def resume_task(services: Given, key: Key) -> Done:
    """As `/orch resume` in a comment; takes back `/orch cancel`, too."""
    await acting.resume(services, key)
    return Done(status="running")

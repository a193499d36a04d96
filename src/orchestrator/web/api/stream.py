"""`/api/v1/events/stream`: the journal and the tasks' changes as they come, without a gap between connections."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from orchestrator.store import lists
from orchestrator.store.lists import EventView, Position
from orchestrator.web.api import shapes
from orchestrator.web.api.problems import EVERYWHERE
from orchestrator.web.escaping import escaped
from orchestrator.web.live import Common, Over
from orchestrator.web.services import Given, Services

router = APIRouter(responses=EVERYWHERE)
BATCH = 200
MOST_REPLAYED = 1000
"""Events, or changes, that a reader may have missed; whoever missed more loads the lists anew."""
AGAIN_MS = 3000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_EXAMPLE = """retry: 3000
event: position
data: {}
id: 41.17

event: event
data: {"id": 42, "source": "gitea", "event_type": "push", "task": "ENDURO-1"}
id: 42.17

event: task
data: {"id": 1, "key": "ENDURO-1", "stage": "ci", "agent_running": false, "waits_for": ["ci_pending"]}
id: 42.18

: ping
"""
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `position`, `event`, `task` and `reset`; a comment every 15 seconds.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


class TaskChange(BaseModel):
    """A task as it is now; who reads late gets the newest state once, not each step to it."""

    id: int
    key: str
    title: str
    stage: str
    repo: str | None
    agent_running: bool
    updated_at: datetime
    waits_for: list[str] = Field(description="codes of what it waits for")


def newest_of(services: Services) -> Common[Position]:
    """Where the journal and the tasks are, asked for once a change for all readers of an app."""
    return Common(lambda: services.database.read(lists.position))


async def _newest(request: Request) -> Common[Position]:
    newest: Common[Position] = request.app.state.newest
    return newest


class _Stream(StreamingResponse):
    """Takes its place when the answer begins, and gives it back however that ends."""

    def __init__(self, services: Services, told: AsyncIterator[bytes]) -> None:
        super().__init__(told, headers=_HEADERS, media_type="text/event-stream")
        self._changes = services.changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._changes.place():
            await super().__call__(scope, receive, send)


@router.get(
    "/api/v1/events/stream",
    tags=["events"],
    summary="Follow the journal and the tasks",
    response_class=Response,
    responses=_DOCUMENTED,
)
async def stream(
    services: Given,
    newest: Annotated[Common[Position], Depends(_newest)],
    last_event_id: Annotated[
        str | None,
        Header(description="the last id that was read: what came after it comes first", examples=["42.18"]),
    ] = None,
) -> StreamingResponse:
    """Begins with its `position`. `reset`: too much was missed; load the lists, then go on reading."""
    return _Stream(services, _Reader(services, newest).told(last_event_id))


class _Reader:
    """How far one reader is: behind each frame, so that one who is cut off between two loses nothing."""

    def __init__(self, services: Services, newest: Common[Position]) -> None:
        self._services = services
        self._newest = newest
        self._here = Position()

    async def told(self, last: str | None) -> AsyncIterator[bytes]:
        yield await self._begin(last)
        seen, changes = 0, self._services.changes
        try:
            while True:
                before, seen = seen, await changes.wait_at_most(seen)
                if before == seen:
                    yield KEEPALIVE_COMMENT
                    continue
                if await self._newest.at(seen) != self._here:  # most commits are no news
                    async for frame in self._news():
                        yield frame
        except Over:
            return

    async def _begin(self, last: str | None) -> bytes:
        newest = await self._services.database.read(lists.position)
        here = _position(last) if last is not None else newest
        is_lost = here is None or _is_behind(here, newest)
        self._here = newest if here is None or is_lost else here
        word = "reset" if is_lost else "position"
        return format_sse_event(event=word, data_str="{}", id=self._id, retry=AGAIN_MS)

    async def _news(self) -> AsyncIterator[bytes]:
        while True:
            told, changed = await self._services.database.read(self._read)
            for event in told:
                self._here = replace(self._here, event=event.id)
                text = shapes.event(event).model_dump_json()
                yield escaped(format_sse_event(event="event", data_str=text, id=self._id))
            for change in changed:
                self._here = replace(self._here, revision=change.revision)
                text = TaskChange.model_validate(change, from_attributes=True).model_dump_json()
                yield escaped(format_sse_event(event="task", data_str=text, id=self._id))
            if len(told) < BATCH and len(changed) < BATCH:
                return

    def _read(self, connection: Connection) -> tuple[Sequence[EventView], Sequence[lists.TaskChange]]:
        return lists.news(connection, self._here, BATCH)

    @property
    def _id(self) -> str:
        return f"{self._here.event}.{self._here.revision}"


def _position(text: str) -> Position | None:
    """None when it is no id of ours."""
    event, dot, revision = text.partition(".")
    is_ours = dot and all(one.isascii() and one.isdecimal() and len(one) < 16 for one in (event, revision))
    return Position(int(event), int(revision)) if is_ours else None


def _is_behind(here: Position, newest: Position) -> bool:
    """Too far to be made up for; or ahead: then the database is another one than it was."""
    missed = (newest.event - here.event, newest.revision - here.revision)
    return not all(0 <= one <= MOST_REPLAYED for one in missed)

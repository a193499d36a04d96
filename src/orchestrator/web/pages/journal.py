"""`/journal`: every delivery, searched and read; and another look at what one of them was about."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from orchestrator.domain.model import Source
from orchestrator.qg.verdict import Item
from orchestrator.store import lists
from orchestrator.store.decisions import Told
from orchestrator.store.lists import EventFilter, EventStory
from orchestrator.web import acting
from orchestrator.web.catalogue import words
from orchestrator.web.pages.notices import notices
from orchestrator.web.pages.telling import said
from orchestrator.web.rendering import HEADERS, GivenRendering, language_of
from orchestrator.web.services import Given, Services
from orchestrator.words.folds import Folded, fold
from orchestrator.workflow.decision import Decision, required

router = APIRouter(include_in_schema=False)
ROWS = 50
BODY_MAX_CHARS = 60_000
Steps = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
FIELDS = ("source", "type", "task", "since", "until", "only")
MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked for, as it was typed, and what of it could not be read. Times are UTC."""

    source: str = ""
    type: str = ""
    task: str = ""
    since: str = ""
    until: str = ""
    only: str = ""
    wrong: tuple[str, ...] = field(default=())

    def wanted(self) -> EventFilter:
        return EventFilter(
            source=self.source if self.source in set(Source) else "",
            event_type=self.type.strip(),
            task=self.task.strip(),
            since=_moment(self.since),
            until=_moment(self.until),
            is_ignored={"ignored": True, "counted": False}.get(self.only),
            is_flagged=True if self.only == "flagged" else None,
        )

    def query(self, **more: str) -> str:
        """For a link that asks the same."""
        asked = {name: getattr(self, name) for name in FIELDS if getattr(self, name)}
        return urlencode(asked | {name: value for name, value in more.items() if value})

    @property
    def is_any(self) -> bool:
        return bool(self.query())


def _moment(text: str) -> datetime | None:
    """As a form sends it: a day, or a day and a time."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def _search(given: Iterable[tuple[str, str]]) -> Search:
    asked = dict(given)
    wrong = tuple(name for name in ("since", "until") if asked[name] and _moment(asked[name]) is None)
    return Search(**asked, wrong=wrong)


@router.post("/actions/events/{event}/replay")
async def replay(services: Given, rendering: GivenRendering, event: int) -> RedirectResponse:
    """Wakes the task; adds no event and no fact."""
    await acting.replay(services, event)
    return RedirectResponse(rendering.url("/journal", event) + "?replayed=1", status_code=303)


@router.get("/journal")
async def journal(services: Given, rendering: GivenRendering, request: Request) -> HTMLResponse:
    given = request.query_params
    search = _search((name, given.get(name, "")[:MAX_CHARS]) for name in FIELDS)
    cursor = given.get("cursor", "")[:MAX_CHARS]
    page = await services.database.read(lambda c: lists.events_page(c, search.wanted(), ROWS, cursor or None))
    return rendering.page(
        request,
        "journal.html",
        page=page,
        search=search,
        cursor=cursor,
        sources=tuple(Source),
        notices=await notices(services, words(language_of(request))),
    )


async def _found(services: Services, event: int) -> EventStory:
    story = await services.database.read(lambda c: lists.event(c, event))
    return acting.there(story, "event", event)


@router.get("/journal/{event}")
async def one(services: Given, rendering: GivenRendering, request: Request, event: int) -> HTMLResponse:
    story = await _found(services, event)
    return rendering.page(
        request,
        "delivery.html",
        story=story,
        event=story.event,
        body=pretty(story.body),
        told=tuple(_told(story.decisions)),
        is_replayed="replayed" in request.query_params,
    )


@router.get("/journal/{event}/body.json")
async def body(services: Given, event: int) -> Response:
    """As it was signed."""
    story = await _found(services, event)
    attached = {"Content-Disposition": f'attachment; filename="delivery-{event}.json"'}
    return Response(story.body, headers=HEADERS | attached, media_type="application/json")


def _told(decisions: Sequence[Told]) -> Iterator[tuple[Told, Steps, Item | None]]:
    """Each with what it did, and what the task waited for then. Of the first nobody knows here what it changed, so
    its actions are told alone.
    """
    before: Decision | None = None
    for one in decisions:
        decision = one.decision
        steps = tuple(said(decision, before or Decision(decision.stage, returns=decision.returns)))
        yield one, steps, next(iter(required(decision.waiting)), None)
        before = decision


def pretty(body: str) -> Folded:
    """Indented when it is JSON; bounded."""
    try:
        parsed: Any = json.loads(body)
        return fold(json.dumps(parsed, ensure_ascii=False, indent=2), BODY_MAX_CHARS)
    except (ValueError, RecursionError):
        return fold(body, BODY_MAX_CHARS)

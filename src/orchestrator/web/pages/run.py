"""`/runs/ID`: what an agent does, as it does it; and the way to stop it."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse

from orchestrator.domain.errors import Rejected
from orchestrator.domain.model import RunId
from orchestrator.store import views
from orchestrator.store.views import RunStory
from orchestrator.web import acting, logs
from orchestrator.web.logs import Part
from orchestrator.web.pages.run_live import Live
from orchestrator.web.rendering import HEADERS, GivenRendering, Rendering, language_of
from orchestrator.web.services import Given, Services
from orchestrator.words.reasons import reason

router = APIRouter(include_in_schema=False)
LOG_HEADERS = {name: value for name, value in HEADERS.items() if name != "Cache-Control"}
Offset = Annotated[int | None, Query(ge=0)]


@dataclass(frozen=True, slots=True)
class RunPages:
    """Reads and renders; shared by the page, its parts and the stream."""

    services: Services
    rendering: Rendering

    async def story(self, ident: int) -> RunStory:
        """Absent when there is none."""
        found = await self.services.database.read(lambda c: views.run_story(c, RunId(ident)))
        return acting.there(found, "run", ident)

    def summary(self, request: Request, story: RunStory) -> str:
        why = reason(story.run.reason, language_of(request))
        return self.rendering.text(request, "run_summary.html", story=story, run=story.run, why=why)

    async def part(self, story: RunStory, before: int | None = None, after: int | None = None) -> Part:
        path = story.run.output_path
        if not path:
            return Part([], 0, 0, 0)
        if after is not None:
            found = await asyncio.to_thread(logs.after, Path(path), after)
        else:
            found = await asyncio.to_thread(logs.last, Path(path), before)
        return await self._with_half_line(story, found) if before is None else found

    async def _with_half_line(self, story: RunStory, part: Part) -> Part:
        """What a killed CLI began to say; nobody will end it."""
        is_last = story.run.state == "ended" and part.end < part.size and not part.has_later
        if not is_last or not story.run.output_path:
            return part
        rest = await asyncio.to_thread(logs.half_line, Path(story.run.output_path), part.end)
        is_half = len(rest) == 1 and rest[0].place.end > part.size
        return replace(part, entries=[*part.entries, *rest], end=part.size) if is_half else part


async def _pages(services: Given, rendering: GivenRendering) -> RunPages:
    return RunPages(services, rendering)


Pages = Annotated[RunPages, Depends(_pages)]


@router.get("/live/runs/{run}")
async def follow(pages: Pages, request: Request, run: int, after: Offset = None) -> StreamingResponse:
    """Records as they come. An event's id is the place in the log after it, where `Last-Event-ID` goes on."""
    live = Live(pages.story, pages.summary, pages.services.changes, pages.rendering)
    return await live.stream(request, run, after or 0)


@router.get("/runs/{run}")
async def show(
    pages: Pages, request: Request, run: int, before: Offset = None, after: Offset = None
) -> HTMLResponse:
    story = await pages.story(run)
    part = await pages.part(story, before, after)
    return pages.rendering.page(
        request,
        "run.html",
        story=story,
        run=story.run,
        why=reason(story.run.reason, language_of(request)),
        part=part,
        is_newest=before is None and not part.has_later,
        is_live=before is None and story.run.state != "ended",
    )


@router.get("/runs/{run}/entries")
async def earlier(pages: Pages, request: Request, run: int, before: Annotated[int, Query(ge=0)]) -> HTMLResponse:
    """What comes before a place, with the link to what comes before that."""
    story = await pages.story(run)
    part = await pages.part(story, before)
    return pages.rendering.page(request, "run_entries.html", run=story.run, part=part, entries=part.entries)


@router.get("/runs/{run}/log.jsonl")
async def raw(pages: Pages, run: int) -> StreamingResponse:
    """As it is on the disk now."""
    path = (await pages.story(run)).run.output_path
    file = Path(path) if path else None
    if file is None or not await asyncio.to_thread(file.exists):
        raise Rejected("no_log", f"Run {run} has no log: it has not begun, or its folder is gone.", status=404)
    attached = {"Content-Disposition": f'attachment; filename="run-{run}.jsonl"'}
    return StreamingResponse(
        logs.pieces(file), headers=LOG_HEADERS | attached, media_type="application/x-ndjson; charset=utf-8"
    )


@router.post("/actions/runs/{run}/cancel")
async def stop(services: Given, rendering: GivenRendering, run: int) -> RedirectResponse:
    """One that has ended meanwhile needs no stopping."""
    try:
        await acting.cancel_run(services, run)
    except Rejected as refused:
        if refused.code != "run_over":
            raise
    return RedirectResponse(rendering.url("/runs", run), status_code=303)

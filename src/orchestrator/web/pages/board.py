"""`/`: what needs a person first of all, then a column for each stage, and what was done lately."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from orchestrator.qg.verdict import Item
from orchestrator.store import board as rows
from orchestrator.store.board import MAX_TEXT_CHARS, Board, Card, Filter
from orchestrator.web.catalogue import words
from orchestrator.web.pages.following import following, marked
from orchestrator.web.pages.notices import notices
from orchestrator.web.rendering import GivenRendering, language_of
from orchestrator.web.services import Given
from orchestrator.words.standing import PARKED

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Query(max_length=MAX_TEXT_CHARS)]


@router.get("/")
async def board(
    services: Given, rendering: GivenRendering, request: Request, repo: Text = "", q: Text = "", part: str = ""
) -> HTMLResponse:
    wanted = Filter(repo, q)
    seen = await marked(services, rows.mark)
    found: Board = await services.database.read(lambda connection: rows.board(connection, wanted))
    said = await notices(services, words(language_of(request)))
    return rendering.page(
        request,
        "board_part.html" if part == "live" else "board.html",
        board=found,
        wanted=wanted,
        repos=sorted(str(one.repo) for one in services.projects()),
        is_paused=any(one.code == "paused_all" for one in said),
        notices=said,
        asked_of=asked_of,
        remedy=remedy,
        is_stuck=is_stuck,
        seen=seen,
        again="/?" + urlencode({"repo": repo, "q": q, "part": "live"}),
        back="/?" + urlencode({"repo": repo, "q": q}) if repo or q else "/",
    )


@router.get("/live/board")
async def live(services: Given, seen: str = "") -> StreamingResponse:
    """Says "changed" whenever the board may look different from `seen`."""
    return following(services, seen, rows.mark)


def asked_of(card: Card) -> Item | None:
    """The first thing that it waits for a person for."""
    return next((one for one in card.waiting if one.who not in rows.MACHINES), None)


def remedy(item: Item) -> str:
    """Which order of ours supplies it, if one does: `retry` or `resume`. `read`: a person reads and decides."""
    if item.action in {"retry", "/orch retry", "orch retry"}:
        return "retry"
    if item.action in {"/orch resume", "orch resume"}:
        return "resume"
    return "read" if item.action == ":approved:" else ""


def is_stuck(card: Card) -> bool:
    """It rests until a person acts, since something went wrong."""
    return any(one.code in PARKED for one in card.waiting)

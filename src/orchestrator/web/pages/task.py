"""`/tasks/KEY`: where a task stands, why, what people can do about it, and all that happened."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from sqlalchemy import Connection

from orchestrator.domain.model import RepoName, Stage
from orchestrator.domain.roles import DocumentName
from orchestrator.qg.documents import OF_STAGE, digest_of
from orchestrator.reconcile.papers import Paper, Unread
from orchestrator.store import remarks, timeline, views
from orchestrator.store.remarks import Asked
from orchestrator.store.timeline import ApprovedPaper, Happened
from orchestrator.store.views import TaskStory, TaskView
from orchestrator.web import reading
from orchestrator.web.acting import there
from orchestrator.web.caller import caller
from orchestrator.web.catalogue import words
from orchestrator.web.explain import LOOK_BACK, Explanation, explain
from orchestrator.web.pages.following import following, marked
from orchestrator.web.pages.notices import notices
from orchestrator.web.pages.telling import Teller, told
from orchestrator.web.reading import Line, Reading
from orchestrator.web.rendering import GivenRendering, language_of
from orchestrator.web.services import Given, Services
from orchestrator.web.voting import approver

router = APIRouter(include_in_schema=False)
TIMELINE = 60
RUNS = 30


@dataclass(frozen=True, slots=True)
class Found:
    """All that one snapshot of the database says of a task."""

    story: TaskStory
    events: Sequence[Happened]
    approved: dict[DocumentName, ApprovedPaper]
    asked: Asked | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A document on the page. `lines` is what changed since it was approved; None: nothing, or it was not."""

    paper: Paper
    reading: Reading | None
    approved: ApprovedPaper | None
    lines: Sequence[Line] | None

    @property
    def is_voted(self) -> bool:
        """Whether people are ever asked to approve it."""
        return any(self.paper.name in names for names in OF_STAGE.values())


@dataclass(frozen=True, slots=True)
class Ballot:
    """What the person may be asked: the gate, and the digest of the documents that the page shows."""

    gate: str
    digest: str
    files: tuple[str, ...]
    why_not: str
    """A key of the catalogue; empty for an approver."""


@router.get("/tasks/{key}")
async def task(
    services: Given, rendering: GivenRendering, key: str, request: Request, part: str = ""
) -> HTMLResponse:
    language, seen = language_of(request), await marked(services, lambda c: timeline.mark(c, key))
    found = there(await services.database.read(lambda connection: _found(connection, key)), "task", key)
    view = found.story.task
    sheets, fault = await _sheets(services, view, found.approved)
    return rendering.page(
        request,
        "task_part.html" if part == "live" else "task.html",
        task=view,
        explained=_explained(services, found.story, request),
        told=Teller(services, view, found.story),
        happened=told(found.story, found.events, TIMELINE),
        runs=view.runs[::-1][:RUNS],
        more_runs=max(len(view.runs) - RUNS, 0),
        sheets=sheets,
        sheets_fault=fault,
        ballot=_ballot(services, request, found.asked, sheets),
        notices=await notices(services, words(language)),
        seen=seen,
    )


@router.get("/live/tasks/{key}")
async def live(services: Given, key: str, seen: str = "") -> StreamingResponse:
    """Says "changed" whenever the task's page may look different from `seen`."""
    return following(services, seen, lambda connection: timeline.mark(connection, key))


def _found(connection: Connection, key: str) -> Found | None:
    story = views.story(connection, key, LOOK_BACK)
    if story is None:
        return None
    ident = story.task.id
    return Found(
        story,
        timeline.of_task(connection, ident, TIMELINE),
        timeline.approved_papers(connection, ident),
        remarks.asked(connection, ident, Stage(story.task.stage)),
    )


def _explained(services: Services, story: TaskStory, request: Request) -> Explanation:
    project = services.project_of_repo(RepoName.parse(story.task.repo)) if story.task.repo else None
    options = project.gates if project else None
    return explain(story, options, services.clock.now(), language_of(request), services.item_link(story.task))


async def _sheets(
    services: Services, view: TaskView, approved: dict[DocumentName, ApprovedPaper]
) -> tuple[list[Sheet], Unread | None]:
    papers, fault = await services.papers.of(view, {name: one.blob for name, one in approved.items()})
    return [await _sheet(one, approved.get(one.name)) for one in papers], fault


async def _sheet(paper: Paper, approved: ApprovedPaper | None) -> Sheet:
    shown = await reading.read(paper.text) if paper.text is not None else None
    lines = None
    if paper.text is not None and paper.approved_text is not None:
        lines = await reading.difference(paper.approved_text, paper.text)
    return Sheet(paper, shown, approved, lines)


def _ballot(services: Services, request: Request, asked: Asked | None, sheets: Sequence[Sheet]) -> Ballot | None:
    """None while no person is asked for a word on documents. The digest is of what the page shows, not of what we
    know besides: a person approves what they read.
    """
    if asked is None:
        return None
    names = next(names for stage, names in OF_STAGE.items() if stage in OF_STAGE and _is_of(asked, names))
    shown = [one.paper for name in names for one in sheets if one.paper.name is name and one.reading]
    login = caller(request.scope).login
    why_not = "" if approver(services, login) else "task.not_an_approver" if login else "task.not_signed_in"
    if len(shown) < len(names):
        why_not = why_not or "task.not_readable"
    return Ballot(
        asked.gate,
        digest_of(tuple((one.name, one.blob) for one in shown)),
        tuple(one.path for one in shown),
        why_not,
    )


def _is_of(asked: Asked, names: Sequence[DocumentName]) -> bool:
    return {one.name for one in asked.documents} == set(names)

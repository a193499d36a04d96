"""`/system`: whether everything that the work needs is there, what waits for what, and what was turned away."""

import platform
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from orchestrator import __version__
from orchestrator.dbfile import newest_revision
from orchestrator.domain.finding import Finding, Level
from orchestrator.store import dispatch, lists, pulse
from orchestrator.store.dispatch import PauseKind
from orchestrator.store.lists import RunFilter
from orchestrator.store.pulse import Pulse
from orchestrator.store.views import RunView
from orchestrator.web.catalogue import words
from orchestrator.web.pages.notices import notices
from orchestrator.web.rendering import GivenRendering, language_of
from orchestrator.web.services import Given, Neighbour
from orchestrator.words.findings import in_words
from orchestrator.workflow.account import AccountPause
from orchestrator.workflow.admission import Day

router = APIRouter(include_in_schema=False)
MOST_RUNS = 50
_ORDER = (Level.BROKEN, Level.MISSING, Level.FINE)


@dataclass(frozen=True, slots=True)
class Rows:
    """All that the database tells, of one moment."""

    at_work: Sequence[RunView]
    waiting: Sequence[RunView]
    day: Day
    pauses: dict[PauseKind, AccountPause]
    pulses: Sequence[Pulse]
    cli_version: str


@router.get("/system")
async def system(services: Given, rendering: GivenRendering, request: Request) -> HTMLResponse:
    now, language = services.clock.now(), language_of(request)
    rows = await services.database.read(lambda c: _rows(c, now))
    return rendering.page(
        request,
        "system.html",
        rows=rows,
        findings=[in_words(one, language) for one in _ordered(await services.look())],
        about=services.about,
        refused=sorted(services.counters.refused.items()),
        answers=_answers(services.neighbours),
        limits=services.dispatch.limits,
        versions=_versions(rows.cli_version),
        notices=[one for one in await notices(services, words(language)) if not one.address],
    )


def _rows(connection: Connection, now: datetime) -> Rows:
    return Rows(
        at_work=lists.runs_page(connection, RunFilter(state="running"), MOST_RUNS).rows,
        waiting=lists.runs_page(connection, RunFilter(state="intended"), MOST_RUNS).rows,
        day=dispatch.situation(connection, now).day,
        pauses=dispatch.pause_rows(connection),
        pulses=pulse.pulses(connection),
        cli_version=pulse.last_cli_version(connection),
    )


def _answers(neighbours: Sequence[Neighbour]) -> list[tuple[str, str, int]]:
    """What each system answered to our calls since the start, whichever user they were made as."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in neighbours:
        counts.update({(one.system, status): count for status, count in one.answers.items()})
    return [(*key, count) for key, count in sorted(counts.items())]


def _ordered(findings: Sequence[Finding]) -> list[Finding]:
    """What is worst first."""
    return sorted(findings, key=lambda one: _ORDER.index(one.level))


def _versions(cli_version: str) -> list[tuple[str, str]]:
    return [
        ("orchestrator", __version__),
        ("Claude Code CLI", cli_version),
        ("Python", platform.python_version()),
        ("SQLite", sqlite3.sqlite_version),
        ("Linux", platform.release()),
        ("schema", newest_revision()),
    ]

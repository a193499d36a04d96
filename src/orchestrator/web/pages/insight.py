"""`/insight`: what the work costs, how long it takes and waits, what was done twice; as plots and as tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from orchestrator.domain.roles import Language
from orchestrator.store import statistics as numbers
from orchestrator.store.statistics import Spent, Statistics, Times
from orchestrator.web import charts, formats
from orchestrator.web.catalogue import Words, words
from orchestrator.web.charts import Point
from orchestrator.web.pages.notices import notices
from orchestrator.web.rendering import GivenRendering, language_of
from orchestrator.web.services import Given

router = APIRouter(include_in_schema=False)
WINDOWS = (7, 30, 90)
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Plots:
    """Empty where there is nothing to see."""

    by_day: Markup
    by_role: Markup
    by_project: Markup
    lead: Markup
    waits: Markup
    rework: Markup


@router.get("/insight")
async def insight(services: Given, rendering: GivenRendering, request: Request, days: str = "") -> HTMLResponse:
    window = int(days) if days in map(str, WINDOWS) else 30
    now, language = services.clock.now(), language_of(request)
    found = await services.database.read(lambda c: numbers.statistics(c, now, window))
    return rendering.page(
        request,
        "insight.html",
        found=found,
        plots=_plots(found, language),
        windows=WINDOWS,
        window=window,
        spell=partial(formats.spell, words(language)),
        rework_rate=_share(sum(count for _, count in found.rework), found.total.runs),
        notices=await notices(services, words(language)),
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _plots(found: Statistics, language: Language) -> Plots:
    t = words(language)

    def name(kind: str) -> Callable[[str], str]:
        return lambda code: formats.named(language, kind, code)

    return Plots(
        by_day=charts.columns(t("insight.by_day"), [_of_day(one, spent) for one, spent in found.by_day], _dollars),
        by_role=_costs(t("insight.by_role"), found.by_role, name("role")),
        by_project=_costs(t("insight.by_project"), found.by_project, str),
        lead=_times(t("insight.lead"), found.lead, name("stage"), t),
        waits=_times(t("insight.waits"), found.waits, lambda gate: f"{gate} {name('gate_name')(gate)}", t),
        rework=charts.bars(
            t("insight.rework"),
            [Point(name("cause")(cause), count, str(count)) for cause, count in found.rework],
            lambda value: f"{value:g}" if value == int(value) else "",
        ),
    )


def _of_day(day: date, spent: Spent) -> Point:
    return Point(f"{day:%d.%m}", spent.cost_usd, formats.money(spent.cost_usd))


def _dollars(value: float) -> str:
    return f"${value:g}"


def _costs(title: str, spent: Sequence[tuple[str, Spent]], name: Callable[[str], str]) -> Markup:
    ordered = sorted(spent, key=lambda one: -one[1].cost_usd)[:12]
    points = [Point(name(code), one.cost_usd, formats.money(one.cost_usd)) for code, one in ordered]
    return charts.bars(title, points, _dollars)


def _times(title: str, times: Sequence[tuple[str, Times]], name: Callable[[str], str], t: Words) -> Markup:
    """Of the middle one: a single task that lay for a month must not flatten the rest."""
    points = [Point(name(code), one.median_s / _HOUR_S, formats.spell(t, one.median_s)) for code, one in times]
    return charts.bars(title, points, lambda hours: f"{hours:g} {t('insight.hours')}")

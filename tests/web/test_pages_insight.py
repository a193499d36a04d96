"""Insight over real HTTP: numbers as tables and as plots that hold to the content policy."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from desk import HOSTILE, Page, add_task, harmless, served
from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Language
from orchestrator.main import Orchestrator
from orchestrator.store.schema import spending, stays
from orchestrator.web import charts
from orchestrator.web.catalogue import words
from orchestrator.web.charts import Point
from orchestrator.web.formats import spell

LOOKS = {"style", "fill", "stroke", "font-family", "font-size"}


def spent(days_ago: int, role: str = "developer", cost: float = 2.5, **more: Any) -> dict[str, Any]:
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()
    row = {"day": day, "role": role, "project": "acme/trails", "outcome": "succeeded", "runs": 2, "started": 2}
    return row | {"turns": 20, "input_tokens": 5000, "output_tokens": 100, "cost_usd": cost} | more


def stay(stage: Stage, hours: float, cause: str = "") -> dict[str, Any]:
    now = datetime.now(UTC)
    row = {"task_id": 1, "stage": stage, "entered_at": now - timedelta(days=1), "left_at": now, "cause": cause}
    return row | {"seconds": int(hours * 3600), "worked_s": int(hours * 900)}


async def store(orchestrator: Orchestrator, spendings: list[dict[str, Any]], stayed: list[dict[str, Any]]) -> None:
    def commit(connection: Connection) -> None:
        add_task(connection, "ENDURO-1")
        for table, rows in ((spending, spendings), (stays, stayed)):
            for row in rows:
                connection.execute(insert(table).values(row))

    await orchestrator.database.write(commit)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, ["$7.50", "developer", "acme/trails", "6 h", "4.5 h", "QG-5 review", "the checks were red"]),
        ({"Accept-Language": "ru"}, ["$7.50", "разработчик", "6 ч", "4.5 ч", "QG-5 ревью", "проверки красные"]),
    ],
)
async def test_the_numbers_stand_beside_plots_in_both_languages(
    tmp_path: Path, headers: dict[str, str], said: list[str]
) -> None:
    async with served(tmp_path) as (orchestrator, client):
        rows = [spent(0), spent(1, "reviewer", 5.0)]
        await store(orchestrator, rows, [stay(Stage.REVIEW, 6), stay(Stage.CI, 1, "ci_red")])
        answer = await client.get("/insight", headers=headers)
    page = harmless(answer.text)
    for one in said:
        assert one in page.text
    plots = page.all("svg", role="img")
    assert len(plots) == 6
    assert [name for name, _ in page.elements].count("desc") == 6
    inside = [attributes for tag, attributes in page.elements if tag in {"rect", "text", "line", "g"}]
    assert not [one for one in inside if LOOKS & set(one)]


@pytest.mark.parametrize(
    ("asked", "shown"), [("7", 1), ("30", 2), ("90", 3), ("", 2), ("400", 2), ("x", 2), ("-1", 2)]
)
async def test_it_looks_back_7_30_or_90_days(tmp_path: Path, asked: str, shown: int) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, [spent(0), spent(20), spent(80)], [])
        page = Page((await client.get("/insight", params={"days": asked})).text)
    assert f"${shown * 2.5:.2f}" in page.text
    assert len(page.all("rect", class_="bar")) == {"7": 7, "90": 90}.get(asked, 30) + 2


async def test_without_anything_it_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        page = harmless((await client.get("/insight")).text)
    assert "Nothing happened in these days" in page.text
    assert page.all("svg", role="img") == []


async def test_hostile_names_stay_text(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        hostile = spent(0, HOSTILE, project=HOSTILE, outcome=HOSTILE)
        await store(orchestrator, [hostile], [stay(Stage.REVIEW, 6, HOSTILE[:40])])
        page = harmless((await client.get("/insight")).text)
    assert page.text.count("alert(1)") > 5


# --- plots


def test_a_plot_has_a_bar_for_each_point_with_its_value_in_words() -> None:
    points = [Point("same", 3, "three"), Point("same", 1, "one"), Point("none", 0, "nothing")]
    for svg in (charts.bars("Title & more", points, str), charts.columns("Title & more", points, str)):
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root[0].text == "Title & more"
        titles = {one[0].text for one in root.iter("rect")}
        assert titles == {"same: three", "same: one", "none: nothing"}


def test_a_plot_of_nothing_is_none_and_one_of_too_much_is_bounded() -> None:
    assert charts.bars("t", [], str) == charts.bars("t", [Point("a", 0, "0")], str) == ""
    many = [Point(HOSTILE * 20, number, "x") for number in range(5000)]
    for svg in (charts.bars("t", many, str), charts.columns("t", many, str)):
        assert len(svg) < 150_000
        assert len(list(ET.fromstring(svg).iter("rect"))) == charts.MOST_POINTS


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (100, "1.7 min"),
        (5000, "83 min"),
        (9000, "2.5 h"),
        (172_000, "48 h"),
        (216_000, "2.5 d"),
    ],
)
def test_a_time_is_told_as_finely_as_it_is_used(seconds: float, said: str) -> None:
    assert spell(words(Language.EN), seconds) == said

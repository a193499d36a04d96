"""Whatever stands in the database, pages and answers show it as text: nothing acts, nothing moves a terminal."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

import counted
import harm
from hostile_rows import Filled, Voice, dealt, fill, one_each
from hostile_strings import CLASSES, HOSTILE
from web.house import house

TASKS_BY_DAY = 40
"""Each string then stands in several fields; by night each stands in all of them."""
LISTS = ("/", "/journal", "/insight", "/system")
MOST_ASKED, MOST_ASKED_BY_DAY = 100, 8
DATA = ("application/json", "application/problem+json", "text/plain")
"""A log is plain text, as the CLI wrote it; everything else escapes."""
ENGLISH, RUSSIAN = {"Accept-Language": "en"}, {"Accept-Language": "ru"}


def voices(request: pytest.FixtureRequest) -> Iterator[Voice]:
    return dealt(HOSTILE, TASKS_BY_DAY) if request.param == "day" else one_each(HOSTILE)


@pytest_asyncio.fixture(
    params=["day", pytest.param("night", marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
async def filled(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Filled, httpx.AsyncClient]]:
    async with house(tmp_path) as (orchestrator, client):
        rows = await orchestrator.database.write(
            lambda connection: fill(connection, voices(request), tmp_path / "logs")
        )
        yield rows, client


def test_there_are_three_hundred_of_them_in_every_class() -> None:
    assert len(HOSTILE) >= 300
    assert len({one.text for one in HOSTILE}) == len(HOSTILE)
    assert all(one.mark in one.text for one in HOSTILE)
    assert min(len(texts) for texts in CLASSES.values()) >= 5


PLANTED = {
    "<script>1</script>": "script",
    '<img src=x onerror="1">': "onerror",
    '<a href="javascript:1">x</a>': "javascript",
    '<a href=" java\tscript:1">x</a>': "script:1",
    '<a href="//127.0.0.2/">x</a>': "127.0.0.2",
    '<p style="color:red">x</p>': "style",
    "<iframe></iframe>": "iframe",
    '<form action="http:/x"></form>': "action",
    "<p>\x1b[31m</p>": "0x1b",
    "<p>\x9b</p>": "0x9b",
    '<p title="&#x202e;x">x</p>': "0x202e",
    "<!-- x -->": "comment",
    '<p hx-on:load="1">x</p>': "hx-on",
    '<meta http-equiv="refresh" content="0">': "meta",
    '<b data-hx-get="javascript:1">x</b>': "hx-get",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_acts_in_a_page_is_seen(planted: str) -> None:
    page = '<!doctype html><html><body><script src="/static/htmx.js"></script><p title="a">x</p>{}</body></html>'
    assert harm.of_page(page.format("")) == []
    assert PLANTED[planted] in "; ".join(harm.of_page(page.format(planted)))


def marks_in(text: str) -> set[str]:
    return set(re.findall(r"zq\d{3}qz", text))


async def test_answers_of_the_api_are_data_and_nothing_else(filled: tuple[Filled, httpx.AsyncClient]) -> None:
    rows, client = filled
    most = MOST_ASKED if len(rows.keys) > MOST_ASKED else MOST_ASKED_BY_DAY
    paths = (await client.get("/openapi.json")).json()["paths"]
    asked = [path for path, ways in paths.items() if "get" in ways and "stream" not in path]
    for path in asked:
        for key, number in zip(rows.keys[:most], rows.runs, strict=False):
            address = re.sub(r"\{key\}", key, path)
            address = re.sub(r"\{\w+\}", str(number), address)
            answer = await client.get(address)
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind in DATA, (address, kind)
            if kind != "text/plain":
                assert answer.status_code < 500, address
                assert list(harm.of_text(answer.text)) == [], address
            if address == path:
                break
    counted.said(f"{len(asked)} endpoints answered")


async def test_every_page_shows_hostile_text_as_text(filled: tuple[Filled, httpx.AsyncClient]) -> None:
    rows, client = filled
    paths = [*LISTS, *(f"/tasks/{key}" for key in rows.keys), *(f"/runs/{run}" for run in rows.runs)]
    paths += [f"/journal/{event}" for event in rows.events]
    marks, looked_at = set(), 0
    for number, path in enumerate(paths):
        answer = await client.get(path, headers=RUSSIAN if number % 4 == 0 else ENGLISH)
        assert answer.status_code == 200, (path, answer.text[:500])
        assert harm.of_page(answer.text) == [], path
        marks |= marks_in(harm.shown(answer.text))
        looked_at += 1
    missing = [one for one in HOSTILE if one.mark not in marks]
    counted.said(f"{looked_at} pages, {len(marks)} of {len(HOSTILE)} strings were shown, as text")
    assert missing == []

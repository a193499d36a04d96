"""Hostile text in a real browser: what HTML parsers only suppose, it would do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser

import counted
from desk import served
from e2e.browser.visit import visiting
from hostile_rows import Filled, dealt, fill, one_each
from hostile_strings import HOSTILE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.nightly, pytest.mark.timeout(900)]
FEW_TASKS = 40
FEW_PAGES = 4
"""Of each kind; each has some dozens of the strings, the lists have more."""
_ACTS = """[...document.querySelectorAll('*')].flatMap(one => [
    ...one.getAttributeNames().filter(name => name.startsWith('on') || name === 'style'),
    ...['href', 'src', 'action'].map(name => one.getAttribute(name) || '')
        .filter(value => /^\\W*(java|vb)\\W*script/i.test(value)),
    ...(one.localName === 'script' && (one.textContent || !one.src.startsWith(location.origin)) ? ['script'] : []),
])"""


@asynccontextmanager
async def filled(folder: Path, *, is_whole: bool) -> AsyncIterator[tuple[str, Filled]]:
    async with served(folder) as (orchestrator, client):
        voices = one_each(HOSTILE) if is_whole else dealt(HOSTILE, FEW_TASKS)
        rows = await orchestrator.database.write(lambda connection: fill(connection, voices, folder / "logs"))
        yield str(client.base_url).rstrip("/"), rows


@pytest.mark.parametrize("is_whole", [False, True])
async def test_a_browser_does_nothing_of_what_hostile_text_asks_for(
    tmp_path: Path, browser: Browser, *, is_whole: bool
) -> None:
    async with filled(tmp_path, is_whole=is_whole) as (url, rows):
        some = slice(None) if is_whole else slice(FEW_PAGES)
        paths = ["/", "/journal", "/insight", "/system", *(f"/tasks/{key}" for key in rows.keys[some])]
        paths += [f"{place}/{number}" for place in ("/runs", "/journal") for number in rows.runs[some]]
        async with visiting(browser, url) as visit:
            for path in paths:
                await visit.go(path)
                assert await visit.page.evaluate(_ACTS) == [], path
                await visit.is_clean()
        counted.said(f"{len(paths)} pages were opened: no script, no dialog, no breach of the policy")

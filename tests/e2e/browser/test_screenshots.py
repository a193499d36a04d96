"""Every page, as people see it: light, dark and on a phone. `make screenshots` keeps pictures to look at."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from e2e.browser.pages import Reader
from e2e.browser.town import Town, town
from e2e.browser.visit import DESK, PHONE, Visit, visiting
from orchestrator.domain.roles import Language
from support import ROOT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.nightly]
LOOKS = {"light": ("light", DESK), "dark": ("dark", DESK), "phone": ("light", PHONE)}
IN_RUSSIAN = ("board", "task")
"""Pages of which there is a picture in Russian, too."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture."""

    name: str
    path: str
    status: int = 200


def shots(place: Town) -> Iterator[Shot]:
    yield Shot("board", "/")
    for name in ("ready", "sent back", "designed", "stuck"):
        is_first = name == "designed"
        yield Shot("task" if is_first else f"task-{name.replace(' ', '-')}", f"/tasks/{place.stories[name].key}")
    yield Shot("run", f"/runs/{place.newest_run('ready')}")
    yield Shot("run-live", f"/runs/{place.newest_run('at work')}")
    yield Shot("journal", "/journal")
    yield Shot("event", "/journal/1")
    yield Shot("insight", "/insight")
    yield Shot("system", "/system")
    yield Shot("nowhere", "/tasks/NONE-1", 404)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town")) as one:
        yield one


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = os.environ.get("ORCH_TEST_SCREENSHOTS")
    folder = ROOT / told if told else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("look", LOOKS)
async def test_every_page_is_good_in_every_light(
    place: Town, album: Path, browser: Browser, language: str, look: str
) -> None:
    scheme, viewport = LOOKS[look]
    async with visiting(browser, place.url, language, color_scheme=scheme, viewport=viewport) as visit:
        await visit.go("/sign-in")
        await taken(visit, album / f"sign-in-{language}-{look}.png", look)
        visit.others = {place.gitea_url}
        await Reader(visit, Language(language)).sign_in_at_gitea("alice")
        for shot in shots(place):
            if language == "en" or shot.name in IN_RUSSIAN:
                visit.expected = {shot.status} - {200}
                await visit.go(shot.path)
                await taken(visit, album / f"{shot.name}-{language}-{look}.png", look)


async def test_the_page_of_an_admin_is_good_in_every_light(place: Town, album: Path, browser: Browser) -> None:
    """Signed in once: so many tries from one address are refused."""
    signed_in: Any = None
    for language, look in product(Language, LOOKS):
        scheme, viewport = LOOKS[look]
        shown = {"color_scheme": scheme, "viewport": viewport, "storage_state": signed_in}
        async with visiting(browser, place.url, language.value, **shown) as visit:
            if signed_in is None:
                await Reader(visit, language).sign_in()
                signed_in = await visit.page.context.storage_state()
            await visit.go("/tokens")
            await taken(visit, album / f"tokens-{language.value}-{look}.png", look)


async def taken(visit: Visit, file: Path, look: str) -> None:
    """The picture first: it shows what is wrong."""
    await visit.page.screenshot(path=file, full_page=look != "light" or file.name.startswith("insight"))
    await visit.is_good()
    await visit.fits()

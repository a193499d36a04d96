"""The eyes of the other tests: a page is wrong in one way at a time, and each is seen."""

import os
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, Route

from e2e.browser import chromium
from e2e.browser.visit import DESK, PHONE, Visit, visiting
from orchestrator.web.rendering import HEADERS

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = "http://127.0.0.1:9"
GOOD = "<p>Nothing is wrong here.</p>"
SEEN = {
    "an inline script": ("<script>1</script>", "script"),
    "an inline style": ('<p style="color: red">x</p>', "style"),
    "a handler": ('<img alt="" src="/good.svg" onload="1">', "inline event handler"),
    "a script from elsewhere": ('<script src="http://127.0.0.2:9/x.js"></script>', "127.0.0.2"),
    "a script that fails": ('<script src="/throws.js"></script>', "error in a script: it fails"),
    "a warning": ('<script src="/warns.js"></script>', "console: mind this"),
    "a dialog": ('<script src="/asks.js"></script>', "dialog: is it you?"),
    "a picture that is not there": ('<img alt="" src="/missing.png">', "answered 404: GET /missing.png"),
}
SCRIPTS = {
    "/throws.js": "throw new Error('it fails')",
    "/warns.js": "console.warn('mind this')",
    "/asks.js": "alert('is it you?')",
}
BARRED = {
    "image-alt": '<img src="/good.svg">',
    "label": '<input type="text">',
    "button-name": "<button></button>",
    "color-contrast": "<p><font color=#ddd>hardly to be read</font></p>",
    "link-name": '<a href="/"></a>',
}


def page_of(body: str) -> str:
    head = '<!doctype html><html lang="en"><head><title>A page</title></head>'
    return f"{head}<body><main><h1>A page</h1>{body}</main></body></html>"


async def serve(route: Route, *, body: str) -> None:
    """In the place of a service: the page, its scripts, a picture, and nothing else."""
    path = route.request.url.removeprefix(ROOT)
    if path == "/":
        await route.fulfill(body=page_of(body), content_type="text/html", headers=HEADERS)
    elif path in SCRIPTS:
        await route.fulfill(body=SCRIPTS[path], content_type="text/javascript")
    elif path == "/good.svg":
        await route.fulfill(body="<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml")
    else:
        await route.fulfill(status=404, body="")


async def test_each_fault_of_a_page_is_seen_and_a_good_one_has_none(browser: Browser) -> None:
    async with visiting(browser, ROOT) as visit:
        for what, (body, told) in SEEN.items():
            await shown(visit, body)
            with pytest.raises(AssertionError) as caught:
                await visit.is_clean()
            assert told in str(caught.value), what
        await shown(visit, GOOD)
        await visit.is_good()


@pytest.mark.nightly
async def test_what_bars_people_is_seen_though_the_policy_forbids_scripts(browser: Browser) -> None:
    async with visiting(browser, ROOT) as visit:
        await shown(visit, "".join(BARRED.values()))
        with pytest.raises(AssertionError) as caught:
            await visit.bars_nobody()
        assert [rule for rule in BARRED if f"{rule} (" not in str(caught.value)] == []
        await visit.is_clean()  # to look at a page leaves no trace in it


async def shown(visit: Visit, body: str) -> None:
    """The page with this in it, as if it were the first that is opened.

    The newest route answers. The ones before it stay: without any the browser would look for the last page's icon
    at that address, and say that it must not.
    """
    await visit.page.route("**/*", partial(serve, body=body))
    visit.faults.clear()
    await visit.go("/")


@pytest.mark.nightly
async def test_a_page_that_is_too_wide_for_a_phone_is_seen(browser: Browser) -> None:
    wide = '<svg width="800" height="10" aria-hidden="true"></svg>'
    for viewport, is_right in ((DESK, True), (PHONE, False)):
        async with visiting(browser, ROOT, viewport=viewport) as visit:
            await shown(visit, wide)
            try:
                await visit.fits()
            except AssertionError:
                assert not is_right
            else:
                assert is_right


@pytest.mark.nightly
async def test_nothing_of_a_browser_is_left_when_it_was_closed(browser: Browser, tmp_path: Path) -> None:
    before = ours()
    async with chromium.started(tmp_path) as another:
        async with visiting(another, ROOT) as visit:
            await visit.page.goto("about:blank")
        begun = ours() - before
    assert len(begun) > 1
    assert not ours() & begun


def ours() -> set[str]:
    """Processes that this one has begun, those of theirs too."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[process.name] = parent
    found, more = set(), {str(os.getpid())}
    while more:
        found |= more
        more = {one for one, parent in parents.items() if parent in more} - found
    return found - {str(os.getpid())}

"""A page as somebody sees it who has the developer tools open: whatever goes wrong is noted."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, Response, expect

from e2e.browser.chromium import AXE

WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)
GRAVE = frozenset({"serious", "critical"})
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
_RULES = "axe.run(document, {resultTypes: ['violations']})"
_IS_CUT = "net::ERR_ABORTED"


@dataclass  # without slots: Playwright marks the object whose methods it calls
class Visit:
    """One tab. `faults` is what its console, its requests and its dialogs said against it."""

    page: Page
    root: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)
    """Statuses of error that the story is about."""
    others: set[str] = field(default_factory=set)
    """Other servers that the story leads to, by their addresses. Their pages are not ours to judge."""

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("dialog", self._opened)

    async def go(self, path: str) -> Response:
        """Opens a page of ours."""
        answer = await self.page.goto(f"{self.root}{path}", wait_until="load")
        assert answer is not None, path
        return answer

    async def is_clean(self) -> None:
        """Nothing went wrong so far."""
        await self.page.evaluate("1")  # what the page has said until now is here when this is answered
        assert self.faults == [], f"{self.page.url}: {self.faults}"

    async def bars_nobody(self) -> None:
        """No finding of axe-core that is serious. It is given to the debugger, for which the page's policy does
        not count, so the page is looked at as it is.
        """
        await self.page.evaluate(_axe())
        found: dict[str, Any] = await self.page.evaluate(_RULES)
        grave = [_told(one) for one in found["violations"] if one["impact"] in GRAVE]
        assert grave == [], f"{self.page.url}: " + "\n".join(grave)

    async def is_good(self) -> None:
        await self.is_clean()
        await self.bars_nobody()

    async def fits(self) -> None:
        """Nothing sticks out to the right: one scrolls in one direction."""
        over = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert over <= 0, f"{self.page.url}: {over} px too wide"

    def _said(self, message: ConsoleMessage) -> None:
        if self._is_at(message.location.get("url", ""), self.others):
            return
        is_expected = any(f"the server responded with a status of {one} " in message.text for one in self.expected)
        if message.type in {"error", "warning", "assert"} and not is_expected:
            self.faults.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure == _IS_CUT:
            return  # by the page, which was left; or an answer, which is told as such
        self.faults.append(f"request failed: {request.method} {_path(request.url)}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if self._is_at(response.url, self.others) or response.url.startswith("data:"):
            return
        if response.status >= 400 and response.status not in self.expected:
            self.faults.append(f"answered {response.status}: {response.request.method} {_path(response.url)}")
        if not self._is_at(response.url, {self.root}) or not _path(response.url).startswith(_path(self.root)):
            self.faults.append(f"asked elsewhere: {response.url}")

    def _is_at(self, url: str, servers: set[str]) -> bool:
        return urlsplit(url).netloc in {urlsplit(one).netloc for one in servers}

    async def _opened(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()


@cache
def _axe() -> str:
    return AXE.read_text(encoding="utf-8")


def _path(url: str) -> str:
    return urlsplit(url).path


def _told(finding: dict[str, Any]) -> str:
    nodes: Iterable[dict[str, Any]] = finding["nodes"][:3]
    where = "; ".join(
        f"{node['html'][:200]} ({node['failureSummary'].splitlines()[-1].strip()})" for node in nodes
    )
    return f"{finding['id']} ({finding['impact']}, {len(finding['nodes'])} times): {where}"


@asynccontextmanager
async def visiting(browser: Browser, root: str, language: str = "en", **options: Any) -> AsyncIterator[Visit]:
    """A person's own browser: no cookies yet. `options` are Playwright's of a context."""
    locale = {"en": "en-GB", "ru": "ru-RU"}[language]
    context = await browser.new_context(
        **{"locale": locale, "viewport": DESK, "timezone_id": "UTC", "reduced_motion": "reduce"} | options
    )
    context.set_default_timeout(WAIT_MS)
    try:
        yield Visit(await context.new_page(), root)
    finally:
        await context.close()

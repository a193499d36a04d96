"""What a person does on each page: found by what is written there, as a person finds it."""

from dataclasses import dataclass

from playwright.async_api import Locator, expect

from e2e.browser.visit import Visit
from orchestrator.domain.roles import Language
from orchestrator.sim.world import API_TOKEN
from orchestrator.web.catalogue import words
from orchestrator.web.formats import named

MOST_TABS = 60


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody with a browser, and the language that they read."""

    visit: Visit
    language: Language = Language.EN

    def said(self, key: str, /, **values: object) -> str:
        """The words of a page, as the catalogue has them."""
        return words(self.language)(key, **values)

    def button(self, key: str) -> Locator:
        return self.visit.page.get_by_role("button", name=self.said(key), exact=True).first

    def link(self, key: str) -> Locator:
        return self.visit.page.get_by_role("link", name=self.said(key), exact=True).first

    async def stays(self) -> None:
        """Marks the page: `is_the_same_page` then tells whether it was loaded again."""
        await self.visit.page.evaluate("document.stays = true")

    async def is_the_same_page(self) -> bool:
        return bool(await self.visit.page.evaluate("document.stays === true"))

    # signing in

    async def sign_in(self, token: str = API_TOKEN) -> None:
        """With a token."""
        await self.visit.go("/sign-in")
        folded = self.visit.page.get_by_text(self.said("signin.with_token"), exact=True)
        if await folded.count():
            await folded.click()
        await self.visit.page.get_by_label(self.said("signin.token")).fill(token)
        await self.button("signin.enter").click()
        await self.is_known_as("ORCH_API_TOKEN")

    async def sign_in_at_gitea(self, login: str) -> None:
        """From our page to Gitea's, in there, and back. Gitea asks each person once whether we may know them."""
        await self.link("signin.with_gitea").click()
        await self.visit.page.get_by_label("Username").fill(login)
        await self.visit.page.get_by_role("button", name="Sign In").click()
        asks = self.visit.page.get_by_role("button", name="Authorize Application")
        await expect(asks.or_(self.visit.page.locator(".who"))).to_be_visible()
        if await asks.count():
            await asks.click()

    async def is_known_as(self, name: str) -> None:
        await expect(self.visit.page.locator(".who")).to_have_text(name)

    # the board

    async def open_board(self) -> None:
        await self.visit.go("/")

    def column(self, stage: str) -> Locator:
        return self.visit.page.locator(f"#column-{stage}")

    async def sees_in(self, stage: str, title: str) -> None:
        """The card is there, by itself."""
        await expect(self.column(stage).get_by_text(title)).to_be_visible()

    async def is_needed_for(self, title: str) -> None:
        await expect(self.visit.page.locator(".needs").get_by_text(title)).to_be_visible()

    # a task

    async def open_task(self, key: str) -> None:
        await self.visit.go(f"/tasks/{key}")

    def document(self, name: str) -> Locator:
        return self.visit.page.locator("details.fold").filter(has_text=name).first

    def stage(self) -> Locator:
        """Where the task stands, at the head of its page."""
        return self.visit.page.locator(".where .pill")

    def stage_name(self, stage: str) -> str:
        return named(self.language, "stage", stage)

    async def send_back(self, why: str) -> None:
        await self.visit.page.get_by_label(self.said("task.why"), exact=True).fill(why)
        await self.button("task.do_reject").click()

    # a run

    async def open_run(self, run: int) -> None:
        await self.visit.go(f"/runs/{run}")

    def entries(self) -> Locator:
        return self.visit.page.locator("#log > li.entry")

    def outcome(self, code: str) -> str:
        return named(self.language, "outcome", code)

    # without a mouse

    async def tab_to(self, wanted: Locator) -> None:
        """By the key alone; what has the focus can be seen to have it."""
        for _ in range(MOST_TABS):
            await self.visit.page.keyboard.press("Tab")
            if await wanted.evaluate("one => one === document.activeElement"):
                outline = await wanted.evaluate("one => getComputedStyle(one).outlineStyle")
                assert outline != "none", "nobody sees where the focus is"
                return
        raise AssertionError(f"{wanted} is not reached by {MOST_TABS} tabs")

"""What people do at the dashboard, in a browser, beside the real service and the simulated Plane and Gitea."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

import warm
from e2e.browser.pages import Reader
from e2e.browser.visit import visiting
from orchestrator.domain.model import Person, UserId
from orchestrator.domain.roles import Language
from orchestrator.sim.world import APPROVER, Service, World
from orchestrator.sim.wrapper import write_wrapper
from proxies import nginx_at
from stories.team import Team, at_work, free_port
from support import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
ALICE = Person(UserId(APPROVER), "alice", approver=True)
PREFIX = "/orchestrator"
BY_NIGHT = pytest.mark.nightly
BOTH = list(Language)
ENGLISH_BY_DAY = [Language.EN, pytest.param(Language.RU, marks=BY_NIGHT)]


@pytest.fixture
def office(world: World) -> World:
    """Where alice approves, and is known in Gitea."""
    world.people = (ALICE,)
    world.gitea.add_user("alice")
    return world


@pytest.fixture
def team(office: World, scripted: Path) -> Iterator[Team]:
    with at_work(office, scripted, **office.sign_in()) as one:
        yield one


@asynccontextmanager
async def operator(team: Team, browser: Browser, language: Language = Language.EN) -> AsyncIterator[Reader]:
    """Somebody with the token."""
    async with visiting(browser, team.service.url, language) as visit:
        reader = Reader(visit, language)
        await reader.sign_in()
        yield reader
        await visit.is_clean()


@asynccontextmanager
async def alice(
    team: Team, browser: Browser, language: Language = Language.EN, root: str = "", **options: bool
) -> AsyncIterator[Reader]:
    """The approver, signed in with Gitea."""
    async with visiting(browser, root or team.service.url, language, **options) as visit:
        reader = Reader(visit, language)
        visit.others = {team.world.gitea_url}
        await visit.go("/sign-in")
        await reader.sign_in_at_gitea("alice")
        await reader.is_known_as("alice")
        yield reader
        await visit.is_clean()


@contextmanager
def signing_in(world: World, claude: Path) -> Iterator[str]:
    """The address of a service at which people sign in with Gitea; nothing happens there."""
    environ = {**world.settings(claude), **world.sign_in()}
    with Service(world.root, environ, starter=warm.started) as service:
        yield service.url


@BY_NIGHT
@pytest.mark.parametrize("language", BOTH)
async def test_a_person_signs_in_with_gitea_and_comes_to_the_page_they_asked_for(
    office: World, scripted: Path, browser: Browser, language: Language
) -> None:
    with signing_in(office, scripted) as url:
        async with visiting(browser, url, language) as visit:
            reader = Reader(visit, language)
            visit.others = {office.gitea_url}
            await visit.go("/?q=GPX")
            await expect(visit.page).to_have_title(f"{reader.said('signin.title')} · orchestrator")
            await visit.is_good()
            await reader.sign_in_at_gitea("alice")
            await reader.is_known_as("alice")
            await expect(visit.page).to_have_url(f"{url}/?q=GPX")
            await visit.is_good()
            await reader.button("layout.sign_out").click()
            await expect(reader.link("signin.with_gitea")).to_be_visible()
            await visit.go("/")
            await expect(reader.link("signin.with_gitea")).to_be_visible()
            await visit.is_clean()


async def test_a_task_moves_on_the_board_by_itself(team: Team, browser: Browser) -> None:
    async with operator(team, browser) as reader:
        await reader.open_board()
        await reader.stays()
        team.write_all()
        team.begin()
        await reader.sees_in("analysis", "GPX")
        await reader.is_needed_for("GPX")
        team.approve()
        await reader.sees_in("architecture", "GPX")
        assert await reader.is_the_same_page()
        await reader.visit.is_good()


@pytest.mark.parametrize("language", ENGLISH_BY_DAY)
async def test_an_approver_reads_sends_back_and_approves_on_the_task_page(
    team: Team, browser: Browser, language: Language
) -> None:
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    async with alice(team, browser, language) as reader:
        await reader.open_task(team.key)
        await expect(reader.document("BRD.md").get_by_role("heading").first).to_be_visible()
        await reader.visit.is_good()
        await reader.stays()
        await reader.send_back("Say what happens without a network.")
        returned = until(lambda: team.task()["returns"], "it was sent back")
        team.waits_for("approval", "analysis")
        await reader.open_task(team.key)
        await reader.button("task.do_approve").click()
        await expect(reader.stage()).to_have_text(reader.stage_name("architecture"))
        await reader.visit.is_good()
    assert returned == ["document_rejected"]
    assert team.task()["stage"] == "architecture"


@BY_NIGHT
async def test_an_approver_needs_no_mouse(team: Team, browser: Browser) -> None:
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    async with alice(team, browser) as reader:
        await reader.open_board()
        await reader.tab_to(reader.link("board.read"))
        await reader.visit.page.keyboard.press("Enter")
        await expect(reader.button("task.do_approve")).to_be_visible()
        await reader.tab_to(reader.button("task.do_approve"))
        await reader.visit.page.keyboard.press("Enter")
        await expect(reader.stage()).to_have_text(reader.stage_name("architecture"))


@BY_NIGHT
async def test_all_can_be_read_and_approved_without_javascript(team: Team, browser: Browser) -> None:
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    async with alice(team, browser, java_script_enabled=False) as reader:
        for path, there in (("/", "GPX"), ("/journal", "issue"), ("/insight", "$"), ("/system", "Plane")):
            await reader.visit.go(path)
            await expect(reader.visit.page.locator("main")).to_contain_text(there)
        await reader.open_task(team.key)
        await reader.button("task.do_approve").click()
        team.waits_for("approval", "architecture")
        await reader.open_task(team.key)  # nothing is fresh by itself here
        await expect(reader.stage()).to_have_text(reader.stage_name("architecture"))


async def test_an_operator_follows_a_run_and_stops_it(world: World, tmp_path: Path, browser: Browser) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "slow:3")) as team:
        team.begin()
        run = until(lambda: (team.task().get("runs") or [{}])[-1].get("id"), "a run was intended")
        async with operator(team, browser) as reader:
            await reader.open_run(run)
            await reader.stays()
            await expect(reader.entries()).not_to_have_count(0)
            seen = await reader.entries().count()
            await expect(reader.entries().nth(seen)).to_be_attached()
            assert await reader.is_the_same_page()
            await reader.button("run.stop").click()
            await expect(reader.visit.page.locator("#summary")).to_contain_text(reader.outcome("cancelled"))
            await expect(reader.button("run.stop")).to_have_count(0)
            await reader.visit.is_good()
        assert team.task()["runs"][-1]["outcome"] == "cancelled"


@BY_NIGHT
async def test_an_operator_replays_a_delivery_of_the_journal(team: Team, browser: Browser) -> None:
    team.write_all()
    team.begin()
    team.waits_for("approval", "analysis")
    async with operator(team, browser) as reader:
        await reader.visit.go("/journal")
        await reader.visit.is_good()
        await reader.visit.page.locator("main table a[href*='/journal/']").first.click()
        await reader.visit.is_good()
        before = team.service.log.read_text().count("event_replayed")
        await reader.button("journal.replay").click()
        until(lambda: team.service.log.read_text().count("event_replayed") > before, "it was looked at again")


async def looks_around(team: Team, reader: Reader) -> None:
    """At every page; a visit is unclean when a request leaves its root."""
    await reader.open_board()
    await reader.stays()
    team.write_all()
    team.begin()
    await reader.is_needed_for("GPX")  # told by the stream of events
    assert await reader.is_the_same_page()
    await reader.link("board.read").click()
    await reader.button("task.do_approve").click()
    await expect(reader.stage()).to_have_text(reader.stage_name("architecture"))
    team.waits_for("approval", "architecture")
    for path in ("/journal", "/insight", "/system"):
        await reader.visit.go(path)


@BY_NIGHT
async def test_below_a_prefix_every_address_stays_below_it(
    office: World, scripted: Path, browser: Browser
) -> None:
    """As behind a proxy that passes the whole path on."""
    with at_work(office, scripted, **office.sign_in(PREFIX)) as team:
        async with alice(team, browser, root=f"{team.service.url}{PREFIX}") as reader:
            await looks_around(team, reader)


async def test_behind_nginx_with_our_file_all_works_as_without(
    office: World, scripted: Path, browser: Browser
) -> None:
    """Sign-in, live board, forms with their checks of origin and host: it takes the prefix away, and the port."""
    environ = office.sign_in(PREFIX)
    root = environ["ORCH_PUBLIC_URL"]
    own = environ | {"ORCH_PORT": str(free_port())}
    with at_work(office, scripted, **own) as team, nginx_at(root, team.service.url):
        async with alice(team, browser, root=root) as reader:
            await looks_around(team, reader)

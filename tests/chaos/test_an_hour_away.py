"""Plane and Gitea are away for an hour, or refuse us: nothing is lost, little is said, all is well soon after."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse

import counted
from moved import MovedClock, Served, ToldPool, in_moved_time, served, until
from orchestrator import config, configfile
from orchestrator.domain.roles import DocumentName, Language
from orchestrator.main import Orchestrator, asgi, build
from orchestrator.sim import writings
from orchestrator.sim.gitea_people import People
from orchestrator.sim.webhook import load_recorded
from orchestrator.sim.world import APPROVER, PROJECT, REPO, World
from orchestrator.workflow.names import branch_name
from support import FIXTURES

HOUR_S = 3600.0
LIMIT_S = 900
"""Of real time. Much more than it takes: how busy the machine is decides nothing."""
STEADY_S = 60.0
"""Plane takes a call every 1.2 s, and each work item needs three or four: far more of them take longer."""
TITLES = ("Import", "Export", "Search")
MANY = (*TITLES, "Colours")
Line = tuple[float, dict[str, Any]]


class Heard(structlog.testing.LogCapture):
    """Every line with its moment."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self._clock = clock
        self.lines: list[Line] = []

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        self.lines.append((self._clock.monotonic(), dict(event, level=method)))
        raise structlog.DropEvent


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@dataclass(slots=True)
class Day:
    """An orchestrator in moved time, and what is around it."""

    world: World
    clock: MovedClock
    plane: Served
    gitea: Served
    orchestrator: Orchestrator
    front: httpx.AsyncClient
    heard: Heard
    items: dict[str, str] = field(default_factory=dict)
    """Ids of work items by their keys."""

    def new_item(self, title: str, *, is_written: bool = True) -> str:
        """A work item; people have written all its documents, so that no agent has to."""
        row = self.world.plane.create_work_item(PROJECT, {"name": title}, APPROVER)
        key = f"ENDURO-{row['sequence_id']}"
        self.items[key] = row["id"]
        if is_written:
            words = {"key": key, "title": title, "code": "src/a.py", "test": "tests/a.py", "module": "a"}
            texts = {name: writings.TEXTS[name][Language.RU].format(**words) for name in DocumentName}
            texts[DocumentName.DEV_TASK] += writings.READY[Language.RU]
            files = {f"tasks/{key}/{name.value.upper()}.md": text for name, text in texts.items()}
            People(self.world.gitea).commit(REPO, branch_name(key, title), files, "boss")
        return key

    def approve(self, key: str) -> None:
        self.world.plane.add_comment(self.items[key], {"comment_html": "<p>:approved:</p>"}, APPROVER)

    async def tell(self) -> None:
        """Brings everything that Plane has to tell to our door."""
        courier = self.world.plane.courier
        told = [one.delivery for one in courier.sent]
        courier.sent.clear()
        for one in told:
            answer = await self.front.post("/webhook/plane", content=one.body, headers=one.headers)
            assert answer.status_code == 200, answer.text

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.orchestrator.database.read_now(lambda c: [tuple(row) for row in c.exec_driver_sql(sql)])

    def task(self, key: str) -> tuple[str, str]:
        """Stage, and what it waits for as it is stored."""
        where = f"plane_id = '{self.items[key]}'"
        found = self.rows(f"SELECT stage, waiting FROM tasks WHERE {where}")
        return found[0] if found else ("", "")

    def waits(self, key: str, stage: str, code: str = '"approval"') -> bool:
        now = self.task(key)
        return now[0] == stage and code in now[1]

    def is_steady(self) -> bool:
        """Every event was looked at, every effect is done, and no task waits for a neighbour."""
        unseen, undone = (self.rows(sql)[0][0] for sql in (UNSEEN, UNDONE))
        return unseen == undone == 0 and not self.faulted()

    def faulted(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT waiting FROM tasks") if any(word in row[0] for word in FAULTS)]

    def complained(self, since: float) -> list[Line]:
        """Lines of faults since then."""
        return [(at, line) for at, line in self.heard.lines if at >= since and line["level"] in BAD]


BAD = {"warning", "error", "exception", "critical"}
UNSEEN = "SELECT count(*) FROM events WHERE processed = 0"
UNDONE = "SELECT count(*) FROM effects WHERE done_at IS NULL"
FAULTS = ("_unreachable", "_busy", "_refused", "_missing", "_odd_answer")


@asynccontextmanager
async def day(root: Path, clock: MovedClock) -> AsyncIterator[Day]:
    with World(root, FIXTURES) as world:
        world.plane.now = world.gitea.now = clock.now
        world.plane.lose_deliveries = True  # the story brings them itself, in its own time
        recorded = load_recorded(FIXTURES / "plane" / "issue__created__rest.json")
        world.plane.add_webhook("http://127.0.0.1:9/webhook/plane", recorded.secret)
        async with served(world.plane.app, world.gitea.app) as (plane, gitea):
            environ = world.settings(root / "no-agent-here")
            environ |= {"ORCH_PLANE_API_URL": plane.url, "ORCH_GITEA_URL": gitea.url}
            settings = config.load(environ, None)
            made = build(settings, configfile.load(settings.config), clock, clock.timing)
            made.database._writer._disk = ToldPool(clock.loop)
            heard = Heard(clock)
            structlog.configure(
                processors=[heard], cache_logger_on_first_use=False, wrapper_class=structlog.BoundLogger
            )
            front = httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi(made)), base_url="http://here")
            async with front, made.lifespan():
                yield Day(world, clock, plane, gitea, made, front, heard)


async def begun(day: Day, titles: Sequence[str]) -> list[str]:
    """Work items whose first document waits for its approval."""
    await until(lambda: day.rows("SELECT 1 FROM watermarks"), "the project is followed", 60)
    await asyncio.sleep(1)
    keys = [day.new_item(title) for title in titles]
    await day.tell()
    await until(lambda: all(day.waits(key, "analysis") for key in keys) and day.is_steady(), "all wait", 300)
    return keys


async def with_a_run(day: Day) -> None:
    """Another work item, whose agent cannot get at the repository, now and later."""
    day.gitea.is_shut = lambda path: ".git/" in path
    day.new_item("Nobody wrote anything", is_written=False)
    await day.tell()
    await until(lambda: any(line["event"] == "run_put_off" for _, line in day.heard.lines), "a run waits", 300)


async def busy(day: Day) -> None:
    day.world.plane.down = day.world.gitea.down = True


async def refused(day: Day) -> None:
    await day.plane.stop()
    await day.gitea.stop()


async def garbage(day: Day) -> None:
    """A proxy that knows no better, with a good status."""
    day.plane.instead = day.gitea.instead = PlainTextResponse("<html>Welcome to nginx!</html>")


async def cut(day: Day) -> None:
    """Connections are taken, and end before an answer."""
    for server in (day.plane, day.gitea):
        server.instead = cutting(server)


def cutting(server: Served) -> Any:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        server.abort()

    return app


async def back(day: Day) -> None:
    day.world.plane.down = day.world.gitea.down = False
    day.plane.instead = day.gitea.instead = None
    await day.plane.start()
    await day.gitea.start()


def most_in(moments: Sequence[float], seconds: float) -> int:
    """The most of them in any stretch of so many seconds."""
    return max((sum(at <= other < at + seconds for other in moments) for at in moments), default=0)


Away = Callable[[Day], Awaitable[None]]


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("first", "then", "titles"),
    [
        pytest.param(refused, busy, TITLES, id="refused-then-503"),
        pytest.param(garbage, cut, TITLES, id="garbage-then-cut", marks=pytest.mark.nightly),
        pytest.param(refused, refused, MANY, id="refused", marks=pytest.mark.nightly),
        pytest.param(busy, busy, MANY, id="503", marks=pytest.mark.nightly),
        pytest.param(busy, refused, MANY, id="503-then-refused", marks=pytest.mark.nightly),
    ],
)
def test_an_hour_away_loses_nothing_says_one_line_a_minute_and_all_is_steady_within_a_minute(
    tmp_path: Path, first: Away, then: Away, titles: Sequence[str]
) -> None:
    async def story(clock: MovedClock) -> None:
        async with day(tmp_path / "world", clock) as here:
            keys = await begun(here, titles)
            await with_a_run(here)
            gone = clock.monotonic()
            await first(here)
            here.approve(keys[0])
            await here.tell()
            await asyncio.sleep(HOUR_S / 2)
            await back(here)  # no moment passes
            await then(here)
            late = here.new_item("Late")
            here.approve(keys[1])
            await here.tell()
            await asyncio.sleep(HOUR_S / 2)
            assert here.task(keys[0])[0] == here.task(keys[1])[0] == "analysis"
            returned = clock.monotonic()
            said, asked = [at for at, _ in here.complained(gone)], len(here.plane.requests)
            await back(here)
            await until(lambda: well(here, keys, late), "all is steady", STEADY_S)
            steady_s = clock.monotonic() - returned
            await until(lambda: ".git/" in str(since(here.gitea, returned)), "the run is tried again", STEADY_S)
            away_s = returned - gone
            counted.said(f"away {away_s:.0f} s, {len(said)} lines, steady after {steady_s:.1f} s, {asked} calls")
            assert len(said) > HOUR_S / 60 / 2
            assert most_in(said, 60) == 1
            assert all(here.waits(key, "analysis") for key in keys[2:])

    in_moved_time(story)


def well(here: Day, keys: Sequence[str], late: str) -> bool:
    """What was told while they were away has come to its tasks, and nothing is left to do."""
    is_there = all(here.waits(key, "architecture") for key in keys[:2]) and here.waits(late, "analysis")
    return is_there and here.is_steady() and len(own_comments(here, late)) == 1


def own_comments(here: Day, key: str) -> list[Any]:
    project = next(home.projects[PROJECT] for home in here.world.plane.workspaces.values())
    ours = here.world.plane.user("orchestrator").id
    return [row for row in project.comments.values() if (row["issue"], row["actor"]) == (here.items[key], ours)]


def since(server: Served, moment: float) -> list[tuple[float, str, str]]:
    return [one for one in server.requests if one[0] >= moment]


async def unknown_keys(here: Day) -> Away:
    """401 everywhere."""
    users, tokens = dict(here.world.plane.users), here.world.gitea.tokens
    for ident, user in users.items():
        here.world.plane.users[ident] = replace(user, api_key=f"another-{user.api_key}")
    here.world.gitea.tokens = {}

    async def mend(here: Day) -> None:
        here.world.plane.users.update(users)
        here.world.gitea.tokens = tokens

    return mend


async def no_rights(here: Day) -> Away:
    """403 for everything of the project and the repository."""
    project = next(home.projects[PROJECT] for home in here.world.plane.workspaces.values())
    roles, tokens = dict(project.roles), here.world.gitea.tokens
    project.roles.clear()
    here.world.gitea.tokens = {name: replace(token, scopes=frozenset()) for name, token in tokens.items()}

    async def mend(here: Day) -> None:
        project.roles.update(roles)
        here.world.gitea.tokens = tokens

    return mend


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("refuse", [unknown_keys, pytest.param(no_rights, marks=pytest.mark.nightly)])
def test_an_hour_of_refusals_is_asked_about_less_than_twice_a_minute_is_shown_and_ends_by_itself(
    tmp_path: Path, refuse: Callable[[Day], Awaitable[Away]]
) -> None:
    async def story(clock: MovedClock) -> None:
        async with day(tmp_path / "world", clock) as here:
            keys = await begun(here, TITLES)
            gone = clock.monotonic()
            mend = await refuse(here)
            for key in keys:
                here.approve(key)
            await here.tell()
            await asyncio.sleep(HOUR_S)
            shown = {one.code for one in here.orchestrator.known()}
            said = [line["code"] for _, line in here.complained(gone)]
            asked = {name: [at for at, *_ in since(one, gone)] for name, one in sides(here).items()}
            calls = ", ".join(f"{len(found)} to {name}" for name, found in asked.items())
            counted.said(f"calls in an hour: {calls}; {len(said)} lines")
            assert {"plane_refused", "gitea_refused"} <= shown
            for found in asked.values():
                assert 0 < len(found) < 2 * HOUR_S / 60
                assert most_in(found, 600) < 2 * 600 / 60
            assert len(said) <= HOUR_S / 60
            await mend(here)
            await until(lambda: all(here.waits(key, "architecture") for key in keys), "they go on", 700)
            await until(lambda: not any(one.circuit.refusals for one in here.orchestrator.adapters), "shown", 700)

    in_moved_time(story)


def sides(here: Day) -> dict[str, Served]:
    return {"plane": here.plane, "gitea": here.gitea}

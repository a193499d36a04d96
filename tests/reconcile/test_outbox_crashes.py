"""The outbox swept: an instance ends at each request of each kind of effect, before it is carried out and after.

Another instance takes up what is left, and in the end Plane and Gitea show the effect once, as without a crash.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

import counted
from crossing import Crossing, How
from orchestrator.clock import SystemClock
from orchestrator.db import Database
from orchestrator.domain.effect import (
    EFFECTS,
    Again,
    Effect,
    GateStatus,
    ItemState,
    PullNote,
    PullReview,
    TrackerNote,
)
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import ProjectId, RepoName, Sha, Task, TaskId, WorkItemId
from orchestrator.forges.gitea import Gitea
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.deliver import Delivery
from orchestrator.reconcile.observe import Forges
from orchestrator.sim.gitea_people import People
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import ITEM, PROJECT, REPO, World
from orchestrator.store import canonical, outbox, tasks
from orchestrator.trackers.plane import Plane
from support import FIXTURES

NOW = datetime(2026, 11, 25, tzinfo=UTC)
BRANCH = "feature/ENDURO-1-a"
LATEST = (TrackerNote, ItemState, PullNote, GateStatus)
"""Kinds that are done again when their text changes."""
Shown = dict[str, list[Any]]


@dataclass(slots=True)
class Scene:
    """A work item with a pull request, a task of it, and the road to both systems, which can be cut.

    `number` tells the effects of one scene apart: it is in all their texts.
    """

    world: World
    database: Path
    head: str
    task: Task
    number: int = 0
    at: int = 0
    how: How = "before"
    requests: int = 0
    victim: tuple[asyncio.AbstractEventLoop, "asyncio.Task[object]"] | None = None
    servers: dict[str, LoopbackServer] = field(default_factory=dict)
    before: Shown = field(default_factory=dict)

    def begin(self, at: int = 0, how: How = "before") -> None:
        """Another effect. The road is cut at its request of this number; never at 0."""
        self.number += 1
        self.at, self.how, self.requests = at, how, 0
        project = self.project
        project.items[ITEM]["state"] = next(iter(project.states))
        People(self.world.gitea).commit(REPO, self.other, {"b.txt": f"{self.number}\n"}, "boss")
        self.before = self.shown()

    @property
    def project(self) -> Any:
        return next(home.projects[PROJECT] for home in self.world.plane.workspaces.values())

    @property
    def mark(self) -> str:
        return f"mark{self.number:03d}"

    @property
    def other(self) -> str:
        """A branch without a pull request."""
        return f"feature/{self.mark}"

    def cut(self, _method: str, _path: str) -> How | None:
        self.requests += 1
        return self.how if self.requests == self.at else None

    def end(self) -> None:
        assert self.victim is not None
        loop, victim = self.victim
        loop.call_soon_threadsafe(victim.cancel)

    def effect(self, kind: type[Effect]) -> Effect:
        """Of any kind: its fields are filled by their names."""
        values = {
            "repo": RepoName.parse(REPO),
            "pull": 1,
            "at": Sha(self.head),
            "head": self.other,
            "base": "main",
            "key": f"ENDURO-1:{self.mark}",
            "marker": f"orchestrator:ENDURO-1:{self.mark}",
            "title": f"A title {self.mark}",
            "body": f"A body {self.mark}",
            "html": f"<p>One {self.mark}</p>",
            "text": f"<!-- orchestrator:ENDURO-1:{self.mark} -->\nOne",
            "name": "In Progress",
            "url": f"http://gitea.example/acme/enduro-trails/pulls/{self.mark}",
            "verdict": ReviewState.APPROVED,
            "state": CheckState.PENDING,
            "description": f"One {self.mark}",
        }
        return kind(**{one.name: values[one.name] for one in fields(kind)})

    def shown(self) -> Shown:
        """What people see, oldest first."""
        project, repo = self.project, self.world.gitea.repos[REPO]
        return {
            "state": [project.states[project.items[ITEM]["state"]]["name"]],
            "comments": [[row["external_id"], row["comment_html"]] for row in project.comments.values()],
            "links": [[row["url"], row["title"]] for row in project.links.values()],
            "pulls": [[one.head, one.base, one.title, one.body, one.state] for one in repo.pulls.values()],
            "notes": [row["body"] for one in repo.pulls.values() for row in one.comments],
            "reviews": [
                [row["user"]["login"], row["state"], row["commit_id"], row["body"]]
                for one in repo.pulls.values()
                for row in one.reviews
            ],
            "statuses": [
                [one["sha"], one["row"]["context"], one["row"]["status"], one["row"]["description"]]
                for one in repo.statuses
            ],
        }

    def news(self) -> Shown:
        """What is to be seen since `begin`, and was not before, without the mark."""
        now = self.shown()
        added = {
            name: rows[len(self.before[name]) :] if name != "state" else rows
            for name, rows in now.items()
            if rows != self.before[name]
        }
        return dict(json.loads(json.dumps(added).replace(self.mark, "MARK")))


@contextmanager
def scene(root: Path) -> Iterator[Scene]:
    with World(root / "world", FIXTURES) as world:
        head = People(world.gitea).commit(REPO, BRANCH, {"a.txt": "a\n"}, "boss")
        path = root / "orchestrator.db"
        one = Scene(world, path, head, asyncio.run(_begun(world, path)))
        apps = {"plane": world.plane.app, "gitea": world.gitea.app}
        with ExitStack() as ends:
            for name, app in apps.items():
                one.servers[name] = ends.enter_context(LoopbackServer(Crossing(app, one.cut, one.end)))
            yield one


async def _begun(world: World, path: Path) -> Task:
    """The task's row, and the pull request."""
    gitea = Gitea(world.gitea_url, world.gitea.add_token("developer"))
    await gitea.open_pull_request(RepoName.parse(REPO), "main", BRANCH, "First", "")
    await gitea.aclose()
    changed = WorkItemChanged(ProjectId(PROJECT), WorkItemId(ITEM), "A title", is_new=True, actor=None)
    async with opened(path) as database:
        database.open()
        ident = await database.write(lambda c: tasks.ensure_for_item(c, changed, NOW))
        return await database.read(lambda c: tasks.get(c, TaskId(ident)))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{path}")
    try:
        yield database
    finally:
        database.close()


async def instance(
    scene: Scene, effect: Effect | None = None, *, again: Again = Again.NEVER, reviewer: str = "reviewer"
) -> bool:
    """A whole instance with nothing in its memory: queues the effect with one commit, then delivers what is due.

    True when it came to its end, False when it was ended on the way.
    """
    world, servers = scene.world, scene.servers
    tracker = Plane(servers["plane"].url, world.plane.key_of("orchestrator"), "acme", calls_per_minute=6000)
    gitea = [
        Gitea(servers["gitea"].url, world.gitea.add_token(login))
        for login in ("orchestrator", "developer", reviewer)
    ]
    async with opened(scene.database) as database, AsyncExitStack() as ends:
        for one in (tracker, *gitea):
            ends.push_async_callback(one.aclose)
        if effect:
            await queue(scene, database, effect, again=again)
        delivery = Delivery(database, SystemClock(), tracker, Forges(*gitea), Complaints())
        work = asyncio.create_task(delivery.deliver(scene.task, {}))
        scene.victim = asyncio.get_running_loop(), work
        with suppress(asyncio.CancelledError):
            told = await work
            assert told.again_in_s is None, told
            return True
        return False


async def queue(scene: Scene, database: Database, effect: Effect, *, again: Again = Again.NEVER) -> None:
    row = (scene.task.id, scene.mark, type(effect).__name__, canonical.encode(effect), NOW)
    await database.write(lambda c: outbox.queue(c, *row, again=again))


async def due(scene: Scene) -> int:
    """How many effects nobody knows to be done."""
    async with opened(scene.database) as database:
        return len(await database.read(lambda c: outbox.due(c, scene.task.id)))


async def undisturbed(scene: Scene, kind: type[Effect]) -> tuple[int, Shown]:
    """How many requests an effect of the kind takes, and what is seen of it."""
    scene.begin()
    assert await instance(scene, scene.effect(kind))
    news = scene.news()
    assert sum(len(rows) for rows in news.values()) == 1, news
    return scene.requests, news


def test_the_sweep_is_over_all_kinds_of_effects() -> None:
    assert set(get_args(Effect)) == set(EFFECTS)


@pytest.mark.parametrize("kind", EFFECTS)
def test_ended_at_any_request_before_or_after_it_is_carried_out_the_effect_is_there_once(
    tmp_path: Path, kind: type[Effect]
) -> None:
    async def story(here: Scene) -> None:
        requests, expected = await undisturbed(here, kind)
        points = [(at, how) for at in range(1, requests + 1) for how in get_args(How)]
        for at, how in points:
            here.begin(at, how)
            assert not await instance(here, here.effect(kind))
            assert await due(here) == 1
            assert await instance(here)
            assert (here.news(), await due(here)) == (expected, 0), (at, how)
        counted.said(f"{kind.__name__}: ended at {len(points)} points, there once after each")

    with scene(tmp_path) as one:
        asyncio.run(story(one))


CHANGES = {"html": "<p>Two</p>", "text": "Two", "name": "Done", "description": "Two"}


@pytest.mark.parametrize("kind", LATEST)
def test_when_the_text_changed_while_nobody_was_there_the_newest_is_shown_and_only_that(
    tmp_path: Path, kind: type[Effect]
) -> None:
    async def story(here: Scene) -> None:
        requests, _ = await undisturbed(here, kind)
        for how in get_args(How):
            here.begin(requests, how)
            first = here.effect(kind)
            second = replace(first, **{name: text for name, text in CHANGES.items() if hasattr(first, name)})
            assert not await instance(here, first, again=Again.WHEN_CHANGED)
            assert await instance(here, second, again=Again.WHEN_CHANGED)
            (rows,) = here.news().values()
            assert "Two" in str(rows[-1]) or rows == ["Done"]
            assert len(rows) == (2 if kind is GateStatus and how == "after" else 1)  # statuses are a history
            assert await due(here) == 0

    with scene(tmp_path) as one:
        asyncio.run(story(one))


def test_a_text_that_changes_while_the_old_one_is_on_its_way_is_written_too(tmp_path: Path) -> None:
    async def story(here: Scene) -> None:
        here.begin()
        first = here.effect(TrackerNote)
        async with opened(here.database) as database:
            await queue(here, database, first, again=Again.WHEN_CHANGED)
            (row,) = await database.read(lambda c: outbox.due(c, here.task.id))
            await queue(here, database, replace(first, html="<p>Two</p>"), again=Again.WHEN_CHANGED)
            await database.write(lambda c: outbox.done(c, row, NOW))
        assert await instance(here)
        assert here.news() == {"comments": [["ENDURO-1:MARK", "<p>Two</p>"]]}

    with scene(tmp_path) as one:
        asyncio.run(story(one))


def test_a_review_that_the_forge_refuses_its_author_is_tried_once_and_never_again(tmp_path: Path) -> None:
    async def story(here: Scene) -> None:
        here.begin()
        assert await instance(here, here.effect(PullReview), reviewer="developer")
        assert (here.news(), await due(here)) == ({}, 0)
        asked = here.requests
        assert await instance(here, reviewer="developer")
        async with opened(here.database) as database:
            await queue(here, database, here.effect(PullReview), again=Again.WHEN_WANTED)
        assert await instance(here, reviewer="developer")
        assert here.requests == asked

    with scene(tmp_path) as one:
        asyncio.run(story(one))


def test_a_review_of_a_closed_pull_request_is_tried_once_and_published_when_it_is_open_and_wanted_again(
    tmp_path: Path,
) -> None:
    async def story(here: Scene) -> None:
        here.begin()
        effect, people = here.effect(PullReview), People(here.world.gitea)
        people.close(REPO, 1, "boss")
        here.before = here.shown()
        assert await instance(here, effect)
        asked = here.requests
        assert await instance(here)
        assert (here.requests, await due(here), here.news()) == (asked, 0, {})
        people.reopen(REPO, 1, "boss")
        here.before = here.shown()
        async with opened(here.database) as database:
            await queue(here, database, effect, again=Again.WHEN_WANTED)
        assert await instance(here)
        assert (list(here.news()), await due(here)) == (["reviews"], 0)

    with scene(tmp_path) as one:
        asyncio.run(story(one))


def test_a_review_that_somebody_deleted_is_published_again_when_a_decision_wants_it(tmp_path: Path) -> None:
    async def story(here: Scene) -> None:
        here.begin()
        effect = here.effect(PullReview)
        assert await instance(here, effect)
        assert await instance(here, effect)
        shown = here.news()
        here.world.gitea.repos[REPO].pulls[1].reviews.clear()
        assert here.news() != shown
        async with opened(here.database) as database:
            await queue(here, database, effect, again=Again.WHEN_WANTED)
        assert (await due(here), await instance(here)) == (1, True)
        assert here.news() == shown
        async with opened(here.database) as database:
            await queue(here, database, effect, again=Again.WHEN_WANTED)
        assert await instance(here)
        assert here.news() == shown, "what is there is not made twice"

    with scene(tmp_path) as one:
        asyncio.run(story(one))

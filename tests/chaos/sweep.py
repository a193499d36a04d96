"""One story told again and again, each time with one call that fails in one way; its end must not differ."""

import random
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from chaos.nursery import Forked, Nursery
from chaos.points import HOWS, How, Order
from chaos.storm import NOWHERE, PATHS
from chaos.worker import lives, write_worker
from orchestrator.domain.roles import DocumentName, Language
from orchestrator.sim import writings
from orchestrator.sim.gitea_people import People
from orchestrator.sim.team import project_of
from orchestrator.sim.webhook import load_recorded
from orchestrator.sim.world import APPROVER, GITEA_SECRET, HOOK_EVENTS, PROJECT, REPO, World
from orchestrator.workflow.names import branch_name
from support import FIXTURES

Shown = dict[str, Any]
CONTEXT = "ci/test"
TITLE = "Import of tracks"
LIMIT_S = 60.0
STEP_S = 0.01
_VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{7,64}\b|\d+([.,:]\d+)*")
_QUIET_S = 0.35
"""Longer than wakes are merged and faults are waited out here."""


@dataclass(frozen=True, slots=True)
class Story:
    """Where a work item begins, and where it comes to rest: at a stage, for a reason that is empty where it waits
    for nothing any more. `is_written`: people wrote all of it before.
    `told_by`: what else they do in it.
    """

    name: str
    stage: str
    code: str
    is_written: bool
    told_by: "type[Telling] | None" = None


STORIES = (
    Story("an agent writes", "analysis", "approval", is_written=False),
    Story("agents judge", "ready", "merge", is_written=True),
)


@dataclass(frozen=True, slots=True)
class Point:
    """Where and how one telling is struck."""

    name: str
    hit: int
    how: How

    def __str__(self) -> str:
        return f"{self.name} #{self.hit} {self.how}"


@dataclass(slots=True)
class Telling:
    """A world of its own, one service in it, and the people of the story."""

    story: Story
    root: Path
    nursery: Nursery | None = None
    point: Point | None = None
    world: World = field(init=False)
    service: Any = field(init=False)
    item: str = ""
    key: str = ""
    restarts: int = 0
    _approved: set[str] = field(default_factory=set)
    _checked: set[str] = field(default_factory=set)

    @property
    def trace(self) -> Path:
        return self.root / "trace"

    def tell(self) -> Shown:
        """What is to be seen at the end. AssertionError when the story does not come to it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with World(self.root / "world", FIXTURES, rate_per_minute=1_000_000) as self.world:
            self._prepare()
            self.service = self._served(self._environ())
            self.service.start()
            try:
                with carried(self):
                    self._begin()
                    self._to_the_end()
                    return self.shown()
            finally:
                if not self.service.has_ended():
                    self.service.kill()

    def _served(self, environ: dict[str, str]) -> Any:
        assert self.nursery is not None
        return Forked(self.world.root, environ, nursery=self.nursery)

    def _environ(self) -> dict[str, str]:
        point = self.point or Point("", 0, "before")
        order = replace(self._order(), point=point.name, hit=point.hit, how=point.how)
        return {
            **self.world.settings(self._worker()),
            "ORCH_WAKE_MERGE_S": "0.05",
            "ORCH_RESYNC_INTERVAL_S": "86400",
            "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
            **order.environ(),
        }

    def _worker(self) -> Path:
        return write_worker(self.root / "worker", self.root / "ledger", longest_s=0.0)

    def _order(self) -> Order:
        """Of an instance that is not struck."""
        return Order(trace=str(self.trace), is_quick=True)

    def _prepare(self) -> None:
        secret = load_recorded(FIXTURES / "plane" / "issue__created__rest").secret
        self.world.plane.add_webhook(f"{NOWHERE}/webhook/plane", secret)
        self.world.gitea.add_hook(REPO, f"{NOWHERE}/webhook/gitea", GITEA_SECRET, HOOK_EVENTS)
        self.world.plane.lose_deliveries = self.world.gitea.lose_deliveries = True
        People(self.world.gitea).protect(REPO, (CONTEXT,))

    def _begin(self) -> None:
        row = self.world.plane.create_work_item(PROJECT, {"name": TITLE}, APPROVER)
        self.item, self.key = row["id"], f"ENDURO-{row['sequence_id']}"
        if self.story.is_written:
            words = {"key": self.key, "title": TITLE, "code": "src/a.py", "test": "tests/a.py", "module": "a"}
            texts = {name: writings.TEXTS[name][Language.RU].format(**words) for name in DocumentName}
            texts[DocumentName.DEV_TASK] += writings.READY[Language.RU]
            files = {f"tasks/{self.key}/{name.value.upper()}.md": text for name, text in texts.items()}
            People(self.world.gitea).commit(REPO, self.branch, {**files, "src/a.py": "DONE = True\n"}, "boss")

    @property
    def branch(self) -> str:
        return branch_name(self.key, TITLE)

    def _to_the_end(self) -> None:
        end, quiet_since, before = time.monotonic() + LIMIT_S, time.monotonic(), None
        while time.monotonic() < end:
            self._revive()
            now = self._state()
            self._act(now)
            if now != before or not self._is_there(now):
                before, quiet_since = now, time.monotonic()
            elif time.monotonic() > quiet_since + _QUIET_S:
                return
            time.sleep(STEP_S)
        raise AssertionError(f"{self.story.name}, {self.point}: not at its end in {LIMIT_S:.0f} s; {before}")

    def _revive(self) -> None:
        """As systemd would; the instance that was struck is not struck again."""
        if self.service.has_ended():
            self.restarts += 1
            assert self.restarts < 5, f"{self.point}: it does not stay up"
            self.service.environ = {**self.service.environ, **self._order().environ()}
            self.service.start()

    def _act(self, state: tuple[Any, ...]) -> None:
        """People approve what waits for it, once a stage; a build server makes each head green once."""
        stage, waiting, *_ = state
        if '"approval"' in waiting and stage != self.story.stage and stage not in self._approved:
            self._approved.add(stage)
            self.world.plane.add_comment(self.item, {"comment_html": "<p>:approved:</p>"}, APPROVER)
        if '"check_missing"' in waiting:
            self._check(self.world.gitea.head(REPO, self.branch) or "")

    def _check(self, head: str) -> None:
        if head not in self._checked:
            self._checked.add(head)
            People(self.world.gitea).post_status(REPO, head, "boss", CONTEXT, "success")

    def _task(self) -> tuple[str, str]:
        found = self._rows("SELECT stage, waiting FROM tasks")
        return found[0] if found else ("", "")

    def _state(self) -> tuple[Any, ...]:
        """Stage, what it waits for, and counts; one opening of the file costs more than all of it."""
        found = self._rows(
            "SELECT (SELECT count(*) FROM effects WHERE done_at IS NULL),"
            " (SELECT count(*) FROM agent_runs WHERE state != 'ended'),"
            " (SELECT count(*) FROM events), (SELECT count(*) FROM decisions), stage, waiting"
            " FROM (SELECT 1) LEFT JOIN tasks"
        )
        *counts, stage, waiting = found[0] if found else (None, None)
        return (stage or "", waiting or "", *counts)

    def _is_there(self, state: tuple[Any, ...]) -> bool:
        stage, waiting, *counts = state
        is_waiting = not self.story.code or f'"{self.story.code}"' in waiting
        return stage == self.story.stage and is_waiting and counts[:2] == [0, 0]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        name = f"file:{self.world.root / 'data' / 'orchestrator.db'}?mode=ro"
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(name, uri=True, timeout=10)) as connection,
        ):
            return connection.execute(sql).fetchall()
        return []

    def was_struck(self) -> bool:
        return "struck" in self.reached()

    def reached(self) -> list[str]:
        return self.trace.read_text(encoding="utf-8").splitlines() if self.trace.exists() else []

    def shown(self) -> Shown:
        """What stands everywhere, without what differs between any two tellings."""
        project, repo = project_of(self.world.plane, self.item), self.world.gitea.repos[REPO]
        ours = self.world.plane.user("orchestrator").id
        comments = [row for row in project.comments.values() if row["actor"] == ours]
        pulls = list(repo.pulls.values())
        runs = "SELECT agent, stage, attempt, state, outcome, reason FROM agent_runs ORDER BY id"
        return {
            "task": self._task()[0],
            "waiting": plain(self._task()[1]),
            "runs": self._rows(runs),
            "lives": [life.is_finished for life in lives(self.root / "ledger")],
            "returns": self._rows("SELECT returns FROM tasks"),
            "state": project.states[project.items[self.item]["state"]]["name"],
            "comments": sorted((row["external_id"], plain(row["comment_html"])) for row in comments),
            "links": sorted((plain(row["url"]), row["title"]) for row in project.links.values()),
            "branches": sorted(repo.git.refs("refs/heads/")),
            "commits": len(repo.git.log(f"refs/heads/{self.branch}", 100)),
            "files": self._files(),
            "pulls": [(one.head, one.base, one.title, plain(one.body), one.state) for one in pulls],
            "notes": [plain(row["body"]) for one in pulls for row in one.comments],
            "reviews": [
                (row["user"]["login"], row["state"], plain(row["body"])) for one in pulls for row in one.reviews
            ],
            "statuses": self._statuses(),
            "integrity": self._rows("PRAGMA integrity_check"),
        }

    def _files(self) -> dict[str, str]:
        git = self.world.gitea.repos[REPO].git
        commit = git.commit_of(self.branch) or ""
        names = git.run("ls-tree", "-r", "-z", "--name-only", commit).decode().strip("\0").split("\0")
        return {name: plain((git.blob(commit, name) or b"").decode(errors="replace")) for name in names}

    def _statuses(self) -> dict[str, tuple[int, str, str]]:
        """The newest of each context, and whether one was said twice in a row."""
        found: dict[str, tuple[int, str, str]] = {}
        last: dict[str, tuple[str, str, str]] = {}
        for one in self.world.gitea.repos[REPO].statuses:
            row = one["row"]
            said = (one["sha"], row["status"], row["description"])
            twice = found.get(row["context"], (0, "", ""))[0] + (last.get(row["context"]) == said)
            last[row["context"]] = said
            found[row["context"]] = (twice, row["status"], plain(row["description"]))
        return found


def plain(text: str) -> str:
    return _VARIES.sub("#", text)


@contextmanager
def carried(telling: Telling) -> Iterator[None]:
    """Brings every delivery to the service's door, and again until it is answered."""
    over = threading.Event()
    carrier = threading.Thread(target=_carry, args=(telling, over))
    carrier.start()
    try:
        yield
    finally:
        over.set()
        carrier.join(30)


def _carry(telling: Telling, over: threading.Event) -> None:
    waiting: list[tuple[str, Any]] = []
    with httpx.Client(timeout=10, trust_env=False) as client:
        while not over.wait(STEP_S):
            for system, sim in (("plane", telling.world.plane), ("gitea", telling.world.gitea)):
                while sim.courier.sent:
                    waiting.append((system, sim.courier.sent.popleft().delivery))
            waiting = [one for one in waiting if not _accepted(client, telling, *one)]


def _accepted(client: httpx.Client, telling: Telling, system: str, delivery: Any) -> bool:
    url = f"{telling.service.url}{PATHS[system]}"
    with suppress(httpx.HTTPError):
        return client.post(url, content=delivery.body, headers=delivery.headers).status_code == 200
    return False


@dataclass(slots=True)
class Sweep:
    """All points of a story. The list is what an undisturbed telling reaches."""

    story: Story
    root: Path
    nursery: Nursery
    oracle: Shown = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    tellings: int = 0
    struck: int = 0
    differing: dict[str, Any] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def record(self) -> None:
        """The undisturbed telling."""
        telling = self._telling(None)
        self.oracle = telling.tell()
        self.reached = Counter(telling.reached())

    def points(self) -> list[tuple[str, How]]:
        return [(name, how) for name in sorted(self.reached) for how in HOWS]

    def strike(self, point: Point) -> bool:
        """False: this telling came through without reaching the point."""
        telling = self._telling(point)
        try:
            shown: Shown = telling.tell()
        except AssertionError as error:
            self.differing[str(point)] = str(error)
            return telling.was_struck()
        self.tellings += 1
        self.struck += telling.was_struck()
        different = {name: (shown[name], self.oracle[name]) for name in shown if shown[name] != self.oracle[name]}
        if different:
            self.differing[str(point)] = different
        return telling.was_struck()

    def sweep(self, name: str, how: How, most: int = 100) -> None:
        """Hit 1, 2, … until a telling comes through without."""
        for hit in range(1, most):
            if not self.strike(Point(name, hit, how)):
                return

    def _telling(self, point: Point | None) -> Telling:
        telling = self.story.told_by or Telling
        return telling(self.story, self.root / f"{self.story.stage}-{next(self._numbers)}", self.nursery, point)

    def said(self) -> str:
        return (
            f"{self.story.name}: {len(self.reached)} points reached {sum(self.reached.values())} times; "
            f"{self.struck} strikes in {self.tellings} tellings, {len(self.differing)} ended otherwise"
        )


def in_parallel(work: list[Callable[[], None]], at_once: int) -> None:
    """Tellings wait more than they work."""
    queue = list(work)
    lock = threading.Lock()
    broken: list[BaseException] = []

    def labour() -> None:
        while True:
            with lock:
                if not queue or broken:
                    return
                job = queue.pop()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the threads
                broken.append(error)

    threads = [threading.Thread(target=labour) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]


def chosen(points: list[tuple[str, How]], number: int) -> list[tuple[str, How]]:
    """The same ones every time, each kind of call among them."""
    return random.Random(20261126).sample(points, min(number, len(points)))

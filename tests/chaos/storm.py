"""kill -9 of everything, at any time, while deliveries come doubled and in any order; then a judge.

What counts is what somebody outside saw: senders know which deliveries were answered 200, and agents keep a ledger
of their own lives. Nobody believes what the service says of itself.
"""

import hashlib
import heapq
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path

import httpx

from chaos.nursery import Forked, Nursery
from chaos.points import Order
from chaos.worker import SHORTEST_S, Life, lives, overlaps, write_worker
from orchestrator.sim.webhook import Outgoing, load_recorded
from orchestrator.sim.world import APPROVER, GITEA_SECRET, HOOK_EVENTS, PROJECT, REPO, Service, World
from orchestrator.store.payload import unpacked
from support import FIXTURES

DOUBLED = 0.4
APPROVED = 0.3
"""So many of the tasks go on to a second role, by an approval that is a delivery too."""
LATEST_S = 1.0
"""Deliveries lie so long, so that they overtake each other."""
VICTIMS = {"orchestrator": 4, "shim": 3, "agent": 3}
"""How often each is killed, of ten times."""
INSTANTS = ("any time", "answer", "agent")
MAX_ATTEMPTS = 8
CALM_S = 1.5
"""Longer than wakes are merged: what is started without need would be seen by then."""
LIMIT_S, LIMIT_OF_A_TASK_S = 120.0, 5.0
"""So long all may take to come to rest, however much moves: only an endless round of something takes as long."""
WAIT_S = 20.0
"""So long a kill waits at most for its victim; then the orchestrator gets it."""
ENDING_S = 20.0
"""So long whoever lost its orchestrator may take to end: a shim that was just starting sees it first thing."""
LONGEST_NAP_S = 0.2
"""Of a carrier, who then looks whether all is over."""
NOWHERE = "http://127.0.0.1:9"
PATHS = {"plane": "/webhook/plane", "gitea": "/webhook/gitea"}
RESTING = """agent_running = 0 AND (waiting LIKE '%"approval"%' OR waiting LIKE '%"run_not_successful"%')"""
"""People have to approve, or every attempt was killed."""
UNSEEN = "SELECT id FROM events WHERE processed = 0 AND task_id IS NOT NULL"


@dataclass(slots=True)
class Storm:
    """One service with its neighbours, `tasks` work items, `kills` kills."""

    root: Path
    tasks: int
    kills: int
    seed: int
    nursery: Nursery | None = None
    """Starts services quickly, so that a kill costs little; None: each is a whole `orch serve`."""
    order: Order = field(default_factory=Order)
    """A fault to put in, for those out of the nursery."""
    aim: str = ""
    """The orchestrator alone is killed, always at this one of the `INSTANTS`. Empty: anybody, at any of them."""
    shortest_s: float = SHORTEST_S
    patience_s: float = 40.0
    """Longer than any pause of a service that still means to do something."""
    chance: random.Random = field(init=False)
    ledger: Path = field(init=False)
    post: "Post" = field(init=False)
    killed: Counter[str] = field(default_factory=Counter)
    settled_s: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.ledger = self.root / "ledger"
        self.post = Post(self.seed)

    def run(self) -> "Verdict":
        """Ends when all rests, or nothing moves any more: then it is judged."""
        self.root.mkdir(parents=True, exist_ok=True)
        worker = write_worker(self.root / "worker", self.ledger, seed=self.seed, shortest_s=self.shortest_s)
        with World(self.root / "world", FIXTURES, rate_per_minute=1_000_000) as world:
            self._untold(world)
            service = self._service(world, worker)
            people = People(world, service, self.chance)
            with service, self.post.delivering(service, world):
                for number in range(self.kills):
                    self._new_items(world, people, number)
                    self._kill(service)
                self._settle(service, people)
                self._start_again(service)
            return judge(self, service, people)

    def _untold(self, world: World) -> None:
        """Neighbours make and sign their deliveries, and lose them all: the post takes them from there."""
        secret = load_recorded(FIXTURES / "plane" / "issue__created__rest").secret
        world.plane.add_webhook(f"{NOWHERE}/webhook/plane", secret)
        world.gitea.add_hook(REPO, f"{NOWHERE}/webhook/gitea", GITEA_SECRET, HOOK_EVENTS)
        world.plane.lose_deliveries = world.gitea.lose_deliveries = True

    def _service(self, world: World, worker: Path) -> Service:
        environ = {
            **world.settings(worker),
            "ORCH_WAKE_MERGE_S": "0.1",
            "ORCH_RESYNC_INTERVAL_S": "86400",
            "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
            "ORCH_MAX_CONCURRENT_RUNS": "8",
            "ORCH_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        }
        if self.nursery is None:
            return Service(world.root, environ)
        return Forked(world.root, environ | self.order.environ(), nursery=self.nursery)

    def _new_items(self, world: World, people: "People", number: int) -> None:
        """Spread over the first three quarters of the kills."""
        until_now = min(self.tasks, -(-self.tasks * 4 * (number + 1) // (3 * self.kills)))
        while len(people.items) < until_now:
            people.new_item(f"Work {len(people.items)}")
        people.approve()

    def _kill(self, service: Service) -> None:
        """The orchestrator, a shim or an agent: at any time, as an answer comes, or as an agent has just begun."""
        kind = "orchestrator" if self.aim else self.chance.choices(tuple(VICTIMS), tuple(VICTIMS.values()))[0]
        match self.aim or self.chance.choice(INSTANTS):
            case "answer":
                self.post.answered(0.5)
            case "agent":
                self._next_life(service)
            case _:
                time.sleep(self.chance.uniform(0.0, 0.3))  # an instant that nobody chose is what is tested
        pids = [] if kind == "orchestrator" else self._found(kind, service)
        if pids and kill(self.chance.choice(pids)):
            self.killed[kind] += 1
            return
        service.kill()
        self.killed["orchestrator"] += 1
        service.start()

    def _next_life(self, service: Service) -> None:
        known = self._ledger_size()
        for _ in self._while_at_work(service):
            if self._ledger_size() != known:
                return

    def _while_at_work(self, service: Service) -> Iterator[None]:
        """Turns of a wait for somebody at work: there will be one, or all is at rest."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and (self.post.is_busy or not progress(service).is_at_rest):
            yield
            time.sleep(0.01)

    def _ledger_size(self) -> int:
        return self.ledger.stat().st_size if self.ledger.exists() else 0

    def _found(self, kind: str, service: Service) -> list[int]:
        """Those at work."""
        mark = b"shim" if kind == "shim" else os.fsencode(self.root / "worker")
        for _ in self._while_at_work(service):
            if pids := [pid for pid, line in named(self.root) if mark in line]:
                return pids
        return []

    def _settle(self, service: Service, people: "People") -> None:
        """Until all rests, or nothing has moved for long; then the judge says what is missing. A slow machine may
        take its time, as long as something moves.
        """
        begin = since = time.monotonic()
        seen = self._seen(service)
        while time.monotonic() < begin + LIMIT_S + LIMIT_OF_A_TASK_S * self.tasks:
            people.approve()
            patience_s = CALM_S if self._is_done(seen[0], people) else self.patience_s
            if time.monotonic() > since + patience_s:
                break
            time.sleep(0.1)
            if (now := self._seen(service)) != seen:
                seen, since = now, time.monotonic()
        self.settled_s = time.monotonic() - begin

    def _is_done(self, now: "Progress", people: "People") -> bool:
        return now.is_at_rest and len(people.items) == now.tasks and not self.post.is_busy and not people.unheard()

    def _seen(self, service: Service) -> tuple["Progress", int, int]:
        """A delivery that nobody takes moves nothing, however often it is sent."""
        return progress(service), self._ledger_size(), self.post.taken

    def _start_again(self, service: Service) -> None:
        """What came back of our own doing woke nobody; after a start all is looked at, and nothing new begins."""
        service.kill()
        service.start()
        end = time.monotonic() + self.patience_s
        while rows(service, UNSEEN) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(CALM_S)
        service.kill()


def kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def processes() -> Iterator[tuple[int, bytes, Path]]:
    """All but this one, with their command lines."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                yield int(entry.name), Path(entry.path, "cmdline").read_bytes(), Path(entry.path)


def named(root: Path) -> list[tuple[int, bytes]]:
    """Whoever has this folder in its command line."""
    return [(pid, line) for pid, line, _ in processes() if os.fsencode(root) in line]


def left_of(root: Path, limit_s: float = ENDING_S) -> list[str]:
    """Whoever stays, and has this folder in its command line or its environment."""
    until = time.monotonic() + limit_s
    while (found := _there_of(root)) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def _there_of(root: Path) -> list[str]:
    found = []
    for pid, line, place in processes():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.fsencode(root) in line + (place / "environ").read_bytes():
                found.append(f"{pid} {line!r}")
    return found


@dataclass(slots=True)
class People:
    """They make work items and approve some of what is shown to them."""

    world: World
    service: Service
    chance: random.Random
    items: list[str] = field(default_factory=list)
    _approving: set[str] = field(default_factory=set)
    _approved: set[str] = field(default_factory=set)

    def new_item(self, title: str) -> None:
        row = self.world.plane.create_work_item(PROJECT, {"name": title}, APPROVER)
        self.items.append(row["id"])
        if self.chance.random() < APPROVED:
            self._approving.add(row["id"])

    def approve(self) -> None:
        """Each once, when its analysis waits for it."""
        for item in self._approving - self._approved:
            where = f"plane_id = '{item}' AND stage = 'analysis' AND agent_running = 0"
            if rows(self.service, f"SELECT 1 FROM tasks WHERE {where} AND waiting LIKE '%\"approval\"%'"):
                self._approved.add(item)
                self.world.plane.add_comment(item, {"comment_html": "<p>:approved:</p>"}, APPROVER)

    def unheard(self) -> set[str]:
        """Items that were approved and did not go on."""
        gone_on = {row[0] for row in rows(self.service, "SELECT plane_id FROM tasks WHERE stage != 'analysis'")}
        return self._approved - gone_on


@dataclass(slots=True)
class Post:
    """Carries deliveries as a network does: late, in any order, some twice; and again until they are answered."""

    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    """The senders' systems, by the digest of what was answered 200."""
    sent: int = 0
    taken: int = 0
    """Of those sent, what was answered 200."""
    doubled: int = 0
    _waiting: list[tuple[float, int, str, Outgoing]] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    _numbers: Iterator[int] = field(default_factory=count)
    _answer: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _under_way: int = 0
    _lock: threading.Condition = field(default_factory=threading.Condition)
    """Told of what is put in; who carries sleeps until something is due."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    @property
    def is_busy(self) -> bool:
        with self._lock:
            return bool(self._waiting or self._under_way)

    def answered(self, within_s: float) -> bool:
        """Waits for the next 200."""
        self._answer.clear()
        return self._answer.wait(within_s)

    @contextmanager
    def delivering(self, service: Service, world: World) -> Iterator[None]:
        carriers = [threading.Thread(target=self._carry, args=(service,)) for _ in range(4)]
        collector = threading.Thread(target=self._collect, args=(world,))
        for thread in (collector, *carriers):
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in (collector, *carriers):
                thread.join(60)

    def _collect(self, world: World) -> None:
        while not self._over.wait(0.01):
            for system, sim in (("plane", world.plane), ("gitea", world.gitea)):
                while sim.courier.sent:
                    self._put(system, sim.courier.sent.popleft().delivery)

    def _put(self, system: str, delivery: Outgoing) -> None:
        is_doubled = self._chance.random() < DOUBLED
        self.doubled += is_doubled
        for _ in range(1 + is_doubled):
            self._later(system, delivery, self._chance.uniform(0.0, LATEST_S))

    def _later(self, system: str, delivery: Outgoing, after_s: float) -> None:
        with self._lock:
            heapq.heappush(self._waiting, (time.monotonic() + after_s, next(self._numbers), system, delivery))
            self._lock.notify()

    def _due(self) -> tuple[str, Outgoing] | None:
        """Waits a moment for one when none is due."""
        with self._lock:
            if not self._is_due():
                left_s = self._waiting[0][0] - time.monotonic() if self._waiting else LONGEST_NAP_S
                self._lock.wait(min(max(left_s, 0.0), LONGEST_NAP_S))
            if not self._is_due():
                return None
            self._under_way += 1
            return heapq.heappop(self._waiting)[2:]

    def _is_due(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= time.monotonic()

    def _carry(self, service: Service) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._over.is_set():
                if (due := self._due()) is None:
                    continue
                if not self._accepted(client, service, *due):
                    self._later(*due, 0.1)
                with self._lock:
                    self._under_way -= 1

    def _accepted(self, client: httpx.Client, service: Service, system: str, delivery: Outgoing) -> bool:
        try:
            answer = client.post(f"{service.url}{PATHS[system]}", content=delivery.body, headers=delivery.headers)
        except httpx.HTTPError:
            return False
        self.sent += 1
        if answer.status_code != 200:
            return False
        self.taken += 1
        self.accepted[hashlib.sha256(delivery.body).hexdigest()] = system
        self._answer.set()
        return True


@dataclass(frozen=True, slots=True)
class Progress:
    """Equal twice and not moving: it rests."""

    tasks: int
    resting: int
    open_runs: int
    undone: int
    events: int
    decisions: int

    @property
    def is_at_rest(self) -> bool:
        return not (self.open_runs or self.undone) and self.resting == self.tasks


def progress(service: Service) -> Progress:
    """All at one moment, and by one opening of the file: that costs more than to count."""
    counts = (
        "SELECT count(*) FROM tasks",
        f"SELECT count(*) FROM tasks WHERE {RESTING}",
        "SELECT count(*) FROM agent_runs WHERE state != 'ended'",
        "SELECT count(*) FROM effects WHERE done_at IS NULL",
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM decisions",
    )
    return Progress(*rows(service, f"SELECT {', '.join(f'({sql})' for sql in counts)}")[0])


def rows(service: Service, sql: str) -> list[tuple]:  # type: ignore[type-arg]
    name = f"file:{service.root / 'data' / 'orchestrator.db'}?mode=ro"
    with closing(sqlite3.connect(name, uri=True, timeout=10)) as connection:
        return connection.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Each list has to be empty. `said` counts what was looked at."""

    said: str
    lost: list[str]
    stored_twice: list[str]
    launched_twice: list[str]
    overlapping: list[str]
    unasked: list[str]
    stuck: list[str]
    over_cap: list[str]
    untrue: list[str]
    left: list[str]
    damaged: list[str]

    def faults(self) -> dict[str, list[str]]:
        found = {name: getattr(self, name) for name in FAULTS}
        return {name: list(found[name][:5]) for name in found if found[name]}

    def told(self) -> str:
        counts = ", ".join(f"{len(getattr(self, name))} {name}" for name in FAULTS)
        return f"{self.said}: {counts}"


FAULTS = tuple(one.name for one in fields(Verdict) if one.name != "said")


def judge(storm: Storm, service: Service, people: People) -> Verdict:
    found, accepted = lives(storm.ledger), storm.post.accepted
    stored = Counter(
        hashlib.sha256(unpacked(payload)).hexdigest()
        for (payload,) in rows(service, "SELECT payload FROM events WHERE source IN ('plane', 'gitea')")
    )
    runs = dict(rows(service, "SELECT session_id, outcome FROM agent_runs"))
    attempts = rows(service, "SELECT task_id, stage, count(*), max(attempt) FROM agent_runs GROUP BY 1, 2")
    started = Counter(life.run for life in found)
    finished = {life.run for life in found if life.is_finished}
    return Verdict(
        said=_said(storm, found, people.items),
        lost=[f"{accepted[sha]} {sha}" for sha in accepted if sha not in stored],
        stored_twice=[sha for sha, number in stored.items() if number > 1],
        launched_twice=[run for run, number in started.items() if number > 1],
        overlapping=overlaps(found),
        unasked=[run for run in started if run not in runs],
        stuck=_stuck(service, people),
        over_cap=[str(row) for row in attempts if max(row[2:]) > MAX_ATTEMPTS],
        untrue=[run for run, outcome in runs.items() if outcome == "succeeded" and run not in finished],
        left=left_of(storm.root),
        damaged=[row[0] for row in rows(service, "PRAGMA integrity_check") if row[0] != "ok"],
    )


def _stuck(service: Service, people: People) -> list[str]:
    """Whatever is neither over nor waits for a reason that is said."""
    known = {row[0] for row in rows(service, "SELECT plane_id FROM tasks")}
    open_runs = rows(
        service, "SELECT id, state, outcome FROM agent_runs WHERE state != 'ended' OR outcome IS NULL"
    )
    moving = rows(service, f"SELECT key, stage, waiting FROM tasks WHERE NOT ({RESTING})")
    unseen = rows(service, UNSEEN)
    unknown = [item for item in people.items if item not in known]
    return [*unknown, *people.unheard(), *map(str, (*open_runs, *moving, *unseen))]


def _said(storm: Storm, found: Sequence[Life], items: Sequence[str]) -> str:
    post, killed = storm.post, storm.killed
    whom = ", ".join(f"{number} of {kind}s" for kind, number in sorted(killed.items()))
    longest = max((life.until_ns - life.from_ns for life in found), default=0) / 1e9
    return (
        f"seed {storm.seed}: {sum(killed.values())} kills ({whom}), {len(items)} tasks, {len(post.accepted)} "
        f"accepted deliveries ({post.sent} sent, {post.doubled} of them doubled), {len(found)} lives of agents, "
        f"the longest of {longest:.1f} s, all at rest or stuck {storm.settled_s:.0f} s after the last kill"
    )

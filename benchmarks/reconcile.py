"""What looking costs: API calls at each stage, and deliveries in time while a resync goes through all tasks.

The first part leads one work item through all stages and wakes its task wherever it rests. The second has
thousands of open tasks and a Plane that allows 60 calls a minute, as a real one does.
"""

import contextlib
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import crowd, neighbours
from benchmarks.crowd import Member
from benchmarks.neighbours import said_at
from benchmarks.processes import server_of
from benchmarks.report import Figure, median, percentile
from benchmarks.scale import FIXTURES, Bench
from orchestrator.clock import SystemClock
from orchestrator.sim.gitea_people import People
from orchestrator.sim.server import Simulator
from orchestrator.sim.team import CONTEXT, JOB
from orchestrator.sim.webhook import Courier, Outgoing
from orchestrator.sim.world import PROJECT, REPO, Service, World
from orchestrator.sim.wrapper import write_wrapper

MOST_CALLS = 7
"""Of a look at a task that nothing has happened to."""
MOST_S = 2.0
SEED = 20261125
PER_MINUTE = 60
"""What Plane allows a key."""
STAGE_LIMIT_S = 60.0
POLL_S = 0.02
CALM_S = 1.0
"""So long without a call: the look is over. Wakes are merged for less."""
AGENTS = "slow:0.4"
BUSY_AGENTS = "slow:15"
"""A run takes about a minute: shorter than a real one, so that the looks after runs are not left out."""
LAST_S = 30.0
"""Deliveries that are not decided by then count as if they were decided at this moment."""
APPROVER, PERSON = "alice", "boss"
_CLOCK = SystemClock()
Task = Mapping[str, Any]


def measure(bench: Bench) -> list[Figure]:
    return [_calls_of_looks(bench), *_under_load(bench)]


# -- a look at a task that nothing has happened to


@dataclass(slots=True)
class _Way:
    """One work item, led from gate to gate."""

    made: World
    service: Service
    item: str = ""
    told: list[Outgoing] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def go(self) -> None:
        """Pauses keep the next agent from starting, so that the task rests at every stage."""
        self.item = str(self.made.plane.create_work_item(PROJECT, {"name": "Measure"}, APPROVER)["id"])
        self._look_at("analysis", "approval")
        self._say(":approved:")
        self._look_at("architecture", "approval")
        self._say("/orch pause")
        self._rests("architecture", "paused")
        self._say(":approved:")
        self._look_at("development", "paused")
        self._say("/orch resume")
        self._look_at("ci", "check_missing")
        self._say("/orch pause")
        self._rests("ci", "paused")
        People(self.made.gitea).run_job(REPO, self._task()["head_sha"], JOB, "success")
        self._look_at("review", "paused")
        self._say("/orch resume")
        # One that has not started yet would be called off by the pause.
        self._until(
            lambda task: any(run["role"] == "reviewer" and run["state"] == "running" for run in task["runs"])
        )
        self._say("/orch pause")
        self._look_at("testing", "paused")
        self._say("/orch resume")
        self._look_at("ready", "merge")
        self._red_checks_that_nobody_requires()
        self._look_at("ready", "merge", "red checks")
        self._close_the_pull_request()
        self._look_at("ready", "pull_request_closed", "closed")

    def _red_checks_that_nobody_requires(self) -> None:
        for name in ("docs", "lint", "spelling"):
            People(self.made.gitea).run_job(REPO, self._task()["head_sha"], name, "failure", b"a line\n" * 10)

    def _close_the_pull_request(self) -> None:
        (pull,) = self.made.gitea.repos[REPO].pulls.values()
        People(self.made.gitea).close(REPO, pull.number, PERSON)

    def _look_at(self, stage: str, code: str, name: str = "") -> None:
        """Counts the calls of one more look, which a repeated delivery asks for."""
        self._rests(stage, code)
        first = next(one for one in self.made.plane.deliveries if self.item.encode() in one.body)
        before = self._calls()
        self.made.plane.retry(first)
        self._until(lambda _task: self._calls() != before)
        self._calm()
        self.counts[name or stage] = self._calls() - before

    def _rests(self, stage: str, code: str) -> None:
        self._until(lambda task: task["stage"] == stage and not task["agent_running"] and code in _codes(task))
        self._calm()

    def _calm(self) -> None:
        """All that was told is heard, and no call was made for a while."""
        for sim in _sims(self.made):
            sim.courier.settle()
        seen, since = self._calls(), time.monotonic()
        until = since + STAGE_LIMIT_S
        while time.monotonic() < min(since + CALM_S, until):
            time.sleep(POLL_S)
            if (now := self._calls()) != seen:
                seen, since = now, time.monotonic()

    def _calls(self) -> Counter[str]:
        return Counter(
            f"{name} {call.method} {call.path}"
            for name, sim in zip(("plane", "gitea"), _sims(self.made), strict=True)
            for call in list(sim.calls)
            if call.path.startswith("/api/")
        )

    def _say(self, text: str) -> None:
        self.made.plane.add_comment(self.item, {"comment_html": f"<p>{text}</p>"}, APPROVER)

    def _until(self, is_there: Callable[[Task], object]) -> None:
        until = time.monotonic() + STAGE_LIMIT_S
        while not ((task := self._task()) and is_there(task)):
            if time.monotonic() > until:
                raise TimeoutError(f"The task did not go on. It stands so: {str(task)[:1000]}")
            time.sleep(POLL_S)

    def _task(self) -> Task:
        with self.service.client() as client:
            tasks: list[Task] = client.get("/status").json()["active_tasks"]
        return tasks[0] if tasks else {}


def _codes(task: Task) -> set[str]:
    return {one["code"] for one in task["waiting"]}


def _sims(made: World) -> tuple[Simulator, Simulator]:
    return made.plane, made.gitea


def _calls_of_looks(bench: Bench) -> Figure:
    with World(bench.at("stages"), FIXTURES, rate_per_minute=crowd.UNLIMITED) as made:
        People(made.gitea).protect(REPO, [CONTEXT])
        claude = write_wrapper(made.root / "claude", AGENTS)
        with neighbours.service(made, claude, ORCH_WAKE_MERGE_S="0.1") as service:
            made.connect(service, plane=True)
            way = _Way(made, service)
            way.go()
    calls = {stage: sum(count.values()) for stage, count in way.counts.items()}
    of_plane = {sum(n for call, n in count.items() if call.startswith("plane")) for count in way.counts.values()}
    stages = ", ".join(f"{stage} {count}" for stage, count in calls.items())
    note = f"{stages}; of them {max(of_plane)} to Plane. A resync adds one list a project"
    return Figure(
        "look at an unchanged task, at most", max(calls.values()), "calls", at_most=MOST_CALLS, note=note
    )


# -- deliveries while a resync goes through all tasks


@dataclass
class _Stamped(Courier):
    """Notes when each delivery was handed over, by the machine's wall clock."""

    handed: list[tuple[float, Outgoing]] = field(default_factory=list)

    def send(self, delivery: Outgoing) -> None:
        self.handed.append((_CLOCK.now().timestamp(), delivery))
        super().send(delivery)


@dataclass(frozen=True, slots=True)
class _Fresh:
    """One delivery. `is_started`: it is decided when an agent's run is intended; else when anything is decided."""

    kind: str
    item: str
    at: float
    is_started: bool


@dataclass(slots=True)
class _Load:
    """People at work: a comment that approves, a new work item, a push to a task's branch, in turn."""

    made: World
    members: Iterator[Member]
    couriers: tuple[_Stamped, _Stamped]
    sent: list[_Fresh] = field(default_factory=list)
    used: list[Member] = field(default_factory=list)

    def act(self, number: int) -> None:
        acts = (self._comment, self._work_item, self._push)
        acts[number % len(acts)](number)

    def _comment(self, _number: int) -> None:
        one, told = self._member(), len(self.couriers[0].handed)
        self.made.plane.add_comment(one.item, {"comment_html": "<p>:approved:</p>"}, APPROVER)
        self._note("comment", one.item, self._handed(0, told, one.item), is_started=True)

    def _work_item(self, number: int) -> None:
        told = len(self.couriers[0].handed)
        item = str(self.made.plane.create_work_item(PROJECT, {"name": f"Fresh {number}"}, APPROVER)["id"])
        self._note("work item", item, self._handed(0, told, item), is_started=True)

    def _push(self, number: int) -> None:
        one, told = self._member(), len(self.couriers[1].handed)
        path = f"tasks/{one.key}/BRD.md"
        text = self.made.gitea.file_at(REPO, one.branch, path) or b""
        People(self.made.gitea).commit(REPO, one.branch, {path: text + f"\n{number}\n".encode()}, PERSON)
        self._note("push", one.item, self._handed(1, told, one.branch), is_started=False)

    def _member(self) -> Member:
        self.used.append(next(self.members))
        return self.used[-1]

    def _handed(self, courier: int, after: int, about: str) -> float:
        """When the first delivery about it left; others may have left in between."""
        later = self.couriers[courier].handed[after:]
        return next(at for at, delivery in later if about.encode() in delivery.body)

    def _note(self, kind: str, item: str, at: float, *, is_started: bool) -> None:
        self.sent.append(_Fresh(kind, item, at, is_started))


def _under_load(bench: Bench) -> list[Figure]:
    scale = bench.scale
    with World(bench.at("crowd"), FIXTURES, rate_per_minute=PER_MINUTE) as made:
        began = time.monotonic()
        members = crowd.gathered(made, scale.tasks)
        bench.tell(f"  {scale.tasks:,} open tasks made in {time.monotonic() - began:.0f} s")
        couriers = _stamped(made)
        random.Random(SEED).shuffle(members)  # people do not take tasks in the order in which we look at them
        load = _Load(made, iter(members), couriers)
        with _limited_service(made) as service:
            made.connect(service, plane=True)
            _at_work(bench, load)
            _wait_for_all(load, service)
            memory = server_of(service).memory_mb()
        return _figures(bench, load, _Said.of(service), memory)


def _stamped(made: World) -> tuple[_Stamped, _Stamped]:
    plane, gitea = (_Stamped(sim.courier.timeout_s) for sim in _sims(made))
    made.plane.courier, made.gitea.courier = plane, gitea
    return plane, gitea


def _limited_service(made: World) -> Service:
    """As an operator has it who sets no limit and no interval. Only its log says more, to be read here."""
    claude = write_wrapper(made.root / "claude", BUSY_AGENTS)
    (made.root / "orchestrator.log").unlink()
    return Service(made.root, made.settings(claude) | {"ORCH_LOG_LEVEL": "debug"})


def _at_work(bench: Bench, load: _Load) -> None:
    """From the first moment of the service on: what a start leaves to do is part of it."""
    scale, began = bench.scale, time.monotonic()
    for number in range(scale.deliveries):
        time.sleep(max(0.0, began + number * scale.every_s - time.monotonic()))
        load.act(number)
        if number % 12 == 11:
            bench.tell(f"  delivery {number + 1} of {scale.deliveries}")


def _wait_for_all(load: _Load, service: Service) -> None:
    until = time.monotonic() + LAST_S
    while time.monotonic() < until and None in _decided_after(load, _Said.of(service)):
        time.sleep(CALM_S)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the service logged, and which task belongs to which work item."""

    lines: Sequence[Task]
    tasks: Mapping[str, int]

    @classmethod
    def of(cls, service: Service) -> "_Said":
        lines = service.log.read_text(encoding="utf-8").splitlines()
        name = f"file:{service.root / 'data' / 'orchestrator.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(name, uri=True, timeout=10)) as connection:
            tasks = dict(connection.execute("SELECT plane_id, id FROM tasks"))
        return cls([json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")], tasks)

    def decided_after_s(self, fresh: _Fresh) -> float | None:
        """From the delivery on; None while it is not decided."""
        task = self.tasks.get(fresh.item)
        times = (
            said_at(line) - fresh.at
            for line in self.lines
            if line["event"] == "decided" and line["task"] == task and (line["runs"] or not fresh.is_started)
        )
        return next((passed for passed in times if passed >= 0), None)

    def calls(self, system: str) -> Iterator[tuple[float, str]]:
        """When, and the path."""
        return (
            (said_at(line), line["path"])
            for line in self.lines
            if line["event"] == "called" and line["system"] == system
        )


def _decided_after(load: _Load, said: _Said) -> list[float | None]:
    return [said.decided_after_s(fresh) for fresh in load.sent]


def _figures(bench: Bench, load: _Load, said: _Said, memory: tuple[float, float]) -> list[Figure]:
    scale, passed = bench.scale, _decided_after(load, said)
    times = [LAST_S if one is None else one for one in passed]
    cost = [_plane_calls_of(fresh, said) for fresh in load.sent]
    kinds = {
        kind: median([n for n, fresh in zip(cost, load.sent, strict=True) if fresh.kind == kind])
        for kind in sorted({fresh.kind for fresh in load.sent})
    }
    each = ", ".join(f"{kind} {count:.0f}" for kind, count in kinds.items())
    budget = PER_MINUTE * scale.every_s / 60
    about = f"{len(times)} deliveries, one every {scale.every_s:g} s, {scale.tasks:,} open tasks in resync"
    undecided = f"; {passed.count(None)} not decided in {LAST_S:.0f} s" if None in passed else ""
    most = f"medians: {each}; {PER_MINUTE} a minute allow {budget:g} each, for the resync too"
    round_s, looked = _round_s(load, said, scale.tasks)
    pace = f"{looked:,} of {scale.tasks:,} tasks were looked at beside the deliveries, the rest at their pace"
    return [
        Figure("delivery to decision p50", median(times), "s"),
        Figure("delivery to decision p99", percentile(times, 0.99), "s", at_most=MOST_S, note=about + undecided),
        Figure("Plane calls a delivery, mean", sum(cost) / len(cost), "calls", at_most=budget, note=most),
        Figure("one look at all tasks", round_s / 60, "min", note=pace),
        Figure("memory with all tasks", memory[0], "MB", note=f"at most {memory[1]:.0f} MB"),
    ]


def _plane_calls_of(fresh: _Fresh, said: _Said) -> int:
    """All about its work item from then on: looks, comments, the look after its run, one for the resync's list."""
    return sum(at >= fresh.at and fresh.item in path for at, path in said.calls("plane"))


def _round_s(load: _Load, said: _Said, tasks: int) -> tuple[float, int]:
    """How long a look at everything takes, and how many tasks were looked at for it while we watched."""
    fresh = {one.key for one in load.used}
    seen: dict[str, float] = {}
    for at, path in said.calls("gitea"):
        branch = path.partition("/pulls/main/feature")[2]
        if branch and not any(f"{key}-" in branch for key in fresh):
            seen.setdefault(branch, at)
    began = said_at(said.lines[0])
    if len(seen) + len(fresh) >= tasks:
        return max(seen.values(), default=began) - began, len(seen)
    return (said_at(said.lines[-1]) - began) * tasks / max(1, len(seen)), len(seen)

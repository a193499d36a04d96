"""From a delivery to the agent's first instruction, in three parts: intent, clone, launch.

All times are of the machine's one wall clock: ours when the delivery is written, the service's log line right
after the commit of the intent, the clone's first and last file, and the agent, which writes the time first thing.
The simulated Plane and Gitea have a core of their own, where there are two.
Each delivery meets a service at rest: what it does for the one before is done.
"""

import contextlib
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import neighbours
from benchmarks.neighbours import Line, ServiceLog, new_work_item, said_at
from benchmarks.processes import ANSWER_S, port_when_loaded, spawned_ms
from benchmarks.report import Figure, median, percentile
from benchmarks.scale import Bench
from orchestrator.clock import SystemClock
from orchestrator.sim.world import World

RUN_LIMIT_S = 60.0
LAST_LOOK_LIMIT_S = 3.0
QUIET_S = 0.5
COMMIT_BYTES = 15_000
ANSWER_MAX_BYTES = 64 * 1024
_AGENT = '#!/bin/sh\nexec date +%s%N >"$HOME/first"\n'
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class _Passage:
    """One work item's way, in milliseconds. `inside`: waiting for the simulated APIs, before the intent."""

    whole_intent: float
    inside: float
    calls: int
    clone: float
    inside_clone: float
    whole_launch: float

    @property
    def intent(self) -> float:
        return self.whole_intent - self.inside

    @property
    def launch(self) -> float:
        return self.whole_launch - self.clone


def measure(bench: Bench) -> list[Figure]:
    """In the strongest sandbox first: it is what is on by default. Then without any."""
    folder = bench.at("world")
    agent = folder / "agent"
    agent.write_text(_AGENT, encoding="utf-8")
    agent.chmod(0o755)
    sandboxed = _passages(bench, bench.at("sandboxed"), agent, is_sandboxed=True)
    bare = _passages(bench, bench.at("bare"), agent, is_sandboxed=False)
    spawns, commits = list[float](), list[float]()
    for _ in range(bench.scale.work_items):
        spawns.append(spawned_ms([str(agent)], folder))
        commits.append(_commit_ms(folder))
    return _figures(sandboxed, bare, median(spawns), median(commits))


def _passages(bench: Bench, folder: Path, agent: Path, *, is_sandboxed: bool) -> list[_Passage]:
    """The first one makes the mirror and warms everything up, so it does not count."""
    theirs, ours = neighbours.cores()
    with (
        neighbours.on(theirs),
        neighbours.world(folder, is_sandboxed=is_sandboxed) as made,
        neighbours.service(made, agent, ours, ORCH_LOG_LEVEL="debug") as service,
        contextlib.closing(socket.create_connection(("127.0.0.1", port_when_loaded(service)), ANSWER_S)) as line,
    ):
        return [*_each(bench, made, ServiceLog(service.log), line)][1:]


def _each(bench: Bench, made: World, log: ServiceLog, line: socket.socket) -> Iterator[_Passage]:
    for number in range(bench.scale.work_items + 1):
        yield _pass(made, log, line, number)
        # The look after the run comes up to a second later; the next work item should not meet it. Where it came
        # before the run was said to have ended, nothing more is said.
        with contextlib.suppress(TimeoutError):
            log.until("decided", LAST_LOOK_LIMIT_S)
        log.settle(QUIET_S, RUN_LIMIT_S)
        if number % 20 == 0:
            bench.tell(f"  work item {number} of {bench.scale.work_items}")


def _pass(made: World, log: ServiceLog, line: socket.socket, number: int) -> _Passage:
    _, delivery = new_work_item(made, number)
    request = neighbours.as_request(delivery)
    made.gitea.calls.clear()
    log.skip()
    sent = _CLOCK.now().timestamp()
    _post(line, request)
    intended = log.until("decided", RUN_LIMIT_S, lambda line: bool(line["runs"]))
    calls = [line for line in log.heard if line["event"] == "called"]
    log.until("run_ended", RUN_LIMIT_S)
    run = made.root / "data" / "runs" / str(intended["runs"][0])
    first = int((run / "home" / "first").read_text(encoding="utf-8")) / 1e9
    return _Passage(
        whole_intent=(said_at(intended) - sent) * 1000,
        inside=_waited_s(calls) * 1000,
        calls=len(calls),
        clone=((run / "prepared").stat().st_mtime_ns - (run / "lock").stat().st_mtime_ns) / 1e6,
        inside_clone=sum(call.seconds for call in made.gitea.calls if not call.path.startswith("/api/")) * 1000,
        whole_launch=(first - said_at(intended)) * 1000,
    )


def _waited_s(calls: Sequence[Line]) -> float:
    """How long at least one answer was waited for: two that are waited for at once take the longer time."""
    waits = sorted((said_at(call) - call["waited_s"], said_at(call)) for call in calls)
    whole, until = 0.0, 0.0
    for begin, end in waits:
        whole += max(0.0, end - max(begin, until))
        until = max(until, end)
    return whole


def _post(line: socket.socket, request: bytes) -> None:
    line.sendall(request)
    answer = line.recv(ANSWER_MAX_BYTES)
    if not answer.endswith(b'{"status":"accepted"}'):
        raise RuntimeError(f"A work item's delivery was answered {answer[:100]!r}.")


def _commit_ms(folder: Path) -> float:
    """One durable commit of this SQLite on this disk."""
    with contextlib.closing(sqlite3.connect(folder / "limit.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, payload TEXT)")
        connection.execute("INSERT INTO rows (payload) VALUES ('')")  # opens the file and its log
        began = time.perf_counter()
        connection.execute("INSERT INTO rows (payload) VALUES (?)", ("x" * COMMIT_BYTES,))
        return (time.perf_counter() - began) * 1000


def _figures(
    sandboxed: Sequence[_Passage], bare: Sequence[_Passage], spawn_ms: float, commit_ms: float
) -> list[Figure]:
    every = [*sandboxed, *bare]
    intents = [one.intent for one in every]
    clone, forge = median([one.clone for one in every]), median([one.inside_clone for one in every])
    fetched = f"without {forge:.1f} ms inside the simulated forge, from which the mirror is brought up to date"
    whole, inside = median([one.whole_intent for one in every]), median([one.inside for one in every])
    about = (
        f"with the {every[-1].calls} calls it is {whole:.1f} ms, of them {inside:.1f} waiting for their answers"
    )
    level = "in the strongest sandbox of this machine, which the log says (sandbox_measured)"
    return [
        Figure("delivery to intent p50", median(intents), "ms", "one commit", commit_ms, at_most=10, note=about),
        Figure("delivery to intent p99", percentile(intents, 0.99), "ms"),
        Figure("clone p50 (small repository)", clone - forge, "ms", at_most=60, note=fetched),
        *_launched("sandboxed", sandboxed, spawn_ms, 60, level),
        *_launched("no sandbox", bare, spawn_ms, 25, "with ORCH_SANDBOX=none"),
    ]


def _launched(
    level: str, passages: Sequence[_Passage], spawn_ms: float, at_most: float, note: str
) -> tuple[Figure, Figure]:
    launches, name = [one.launch for one in passages], f"intent to first instruction, {level},"
    beside = ("spawn of the same program", spawn_ms)
    return (
        Figure(f"{name} p50", median(launches), "ms", *beside, at_most=at_most, note=note),
        Figure(f"{name} p99", percentile(launches, 0.99), "ms"),
    )

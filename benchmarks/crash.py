"""kill -9 in the middle of a burst, again and again: nothing accepted is lost, no agent is started twice.

What was accepted is what an answer of 200 said. Every delivery is sent several times, as senders do that got no
answer, and the scripted agents keep a ledger of their own starts.
"""

import asyncio
import contextlib
import hashlib
import random
import signal
import sqlite3
import subprocess  # noqa: TID251 - the type of a handle only; the service is started by sim.world
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import neighbours
from benchmarks.load import Burst, pushes
from benchmarks.neighbours import as_request, new_work_item
from benchmarks.processes import port_when_loaded
from benchmarks.report import Figure
from benchmarks.scale import Bench
from orchestrator.agents import rundir
from orchestrator.agents.rundir import RunPaths
from orchestrator.sim.world import GITEA_SECRET, Service, World
from orchestrator.sim.wrapper import write_wrapper

WORK_ITEMS = 5
PUSHES = 150
CONNECTIONS = 24
CONCURRENT_RUNS = 8
AGENTS = "slow:1"
"""A second for every step, so that agents are at work when the service comes back."""
SEED = 20261122
LEDGER = "ledger"
LONGEST_DELAY_S = 0.4
AGENT_LIMIT_S = 30.0
START_POLL_S = 0.002
SETTLE_LIMIT_S = 600.0
CALM_S = 40.0
"""Longer than any pause of a service that still means to do something here."""
REST_S = 3.0
"""Longer than wakes are merged: an agent that is started without need would be seen by then."""
POLL_S = 0.2
SHOWN = 5
MENDED_BY_A_REPEAT = ("lost_deliveries", "lost_triggers", "without_result")
_ITEM_OF_SESSION = "SELECT r.session_id, t.plane_id FROM agent_runs r JOIN tasks t ON t.id = r.task_id"
_ITEMS_THAT_SUCCEEDED = f"{_ITEM_OF_SESSION} WHERE r.outcome = 'succeeded'"


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A request and what we may ask for afterwards. `item` is empty for a push."""

    request: bytes
    body_sha256: str
    item: str = ""


@dataclass(slots=True)
class _Promises:
    """What the service has said 200 to, and what was sent without an answer."""

    accepted: dict[str, _Delivery] = field(default_factory=dict)
    unanswered: dict[str, _Delivery] = field(default_factory=dict)
    refused: int = 0

    def keep(self, sent: Sequence[_Delivery], burst: Burst) -> None:
        for index, delivery in enumerate(sent):
            answer = burst.answers.get(index)
            if answer is not None and answer.status == 200:
                self.accepted[delivery.body_sha256] = delivery
                self.unanswered.pop(delivery.body_sha256, None)
            elif answer is not None and answer.status is not None:
                self.refused += 1
            elif delivery.body_sha256 not in self.accepted:
                self.unanswered[delivery.body_sha256] = delivery

    @property
    def items(self) -> list[str]:
        return [delivery.item for delivery in self.accepted.values() if delivery.item]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the database, the forge's neighbours and the agents' ledger say in the end."""

    kills: int
    accepted: int
    triggers: int
    lost_deliveries: list[str]
    lost_triggers: list[str]
    without_result: list[str]
    stored_twice: list[str]
    started_twice: list[str]
    started_unasked: list[str]
    refused: int


def measure(bench: Bench) -> list[Figure]:
    verdict = kill_in_bursts(bench, bench.scale.kills)
    after = f"{verdict.kills} kills, {verdict.accepted} accepted deliveries, {verdict.triggers} of them triggers"
    wrong = {
        "accepted deliveries lost": verdict.lost_deliveries,
        "accepted triggers lost": verdict.lost_triggers,
        "accepted triggers without a result": verdict.without_result,
        "deliveries stored twice": verdict.stored_twice,
        "agents started twice": verdict.started_twice,
        "agents started unasked": verdict.started_unasked,
    }
    counts = [
        Figure(name, len(found), "", at_most=0, note=", ".join(found[:SHOWN])) for name, found in wrong.items()
    ]
    return [replace(counts[0], note=f"{after} {counts[0].note}".strip()), *counts[1:]]


def kill_in_bursts(bench: Bench, kills: int) -> Verdict:
    """Ends with a last start; all that was accepted comes to rest, and is then sent once more."""
    folder, chance = bench.at("world"), random.Random(SEED)
    ledger, promises = folder / LEDGER, _Promises()
    claude = write_wrapper(folder / "claude", AGENTS, ledger)
    with neighbours.world(folder) as made, _no_agent_left(folder):
        # A lost agent would be started again: with one attempt only, that fault would not show.
        tries = {"ORCH_MAX_CONCURRENT_RUNS": str(CONCURRENT_RUNS), "ORCH_MAX_ATTEMPTS": "3"}
        service = neighbours.service(made, claude, **tries)
        try:
            for turn in range(kills):
                service.start()
                sent = _deliveries(made, promises, turn, chance)
                burst = Burst(port_when_loaded(service), [delivery.request for delivery in sent], CONNECTIONS)
                _Killer.of_turn(turn, service, len(sent), chance).run(burst)
                service.kill()
                promises.keep(sent, burst)
                bench.tell(f"  kill {turn + 1} of {kills}: {len(promises.accepted)} deliveries accepted so far")
            service.start()
            _send(service, list(promises.unanswered.values()), promises)
            _settle(folder, promises)
            verdict = _judge(folder, ledger, promises, kills)
            # Only now: a repeat would mend what was lost. It must add no row and start nothing.
            _send(service, list(promises.accepted.values()), promises)
            _settle(folder, promises)
            again = _judge(folder, ledger, promises, kills)
        finally:
            if service.process and service.process.poll() is None:
                service.stop()
    return replace(again, **{name: getattr(verdict, name) for name in MENDED_BY_A_REPEAT})


def _deliveries(made: World, promises: _Promises, turn: int, chance: random.Random) -> list[_Delivery]:
    """New work items and pushes, each twice; what got no answer; and pushes that were accepted before."""
    items = [_work_item(made, turn * WORK_ITEMS + number) for number in range(WORK_ITEMS)]
    news = [*items, *(_push(raw) for raw in pushes("/webhook/gitea", GITEA_SECRET, PUSHES, f"{SEED}/{turn}"))]
    known = [delivery for delivery in promises.accepted.values() if not delivery.item]
    again = chance.sample(known, min(len(known), PUSHES // 10))
    sent = [*news, *news, *promises.unanswered.values(), *again]
    chance.shuffle(sent)
    return sent


def _work_item(made: World, number: int) -> _Delivery:
    item, delivery = new_work_item(made, number)
    return _Delivery(as_request(delivery), hashlib.sha256(delivery.body).hexdigest(), item)


def _push(raw: bytes) -> _Delivery:
    return _Delivery(raw, hashlib.sha256(raw.partition(b"\r\n\r\n")[2]).hexdigest())


@dataclass(slots=True)
class _Killer:
    """A turn's kill comes with an answer, as early as a client can know of it; or when an agent has just started,
    which is then at work as the service comes back; or at any time between.
    """

    process: subprocess.Popen[bytes]
    ledger: Path
    fatal_answer: int
    delay_s: float = 0.0
    waits_for_agent: bool = False
    answers: int = 0

    @classmethod
    def of_turn(cls, turn: int, service: Service, sent: int, chance: random.Random) -> "_Killer":
        assert service.process is not None
        killer = cls(service.process, service.root / LEDGER, chance.randrange(sent // 8, sent * 3 // 4))
        killer.waits_for_agent = turn % 3 == 1
        killer.delay_s = chance.uniform(0.0, LONGEST_DELAY_S) if turn % 3 == 2 else 0.0
        return killer

    def run(self, burst: Burst) -> None:
        """A burst that was over before the kill still gets it."""
        started, burst.on_answer = len(_starts(self.ledger)), self._count
        asyncio.run(burst.run())
        until = time.monotonic() + AGENT_LIMIT_S
        while self.waits_for_agent and len(_starts(self.ledger)) == started and time.monotonic() < until:
            time.sleep(START_POLL_S)
        time.sleep(self.delay_s)
        self._kill()

    def _count(self, _index: int) -> None:
        self.answers += 1
        if self.answers == self.fatal_answer and not self.waits_for_agent:
            asyncio.get_running_loop().call_later(self.delay_s, self._kill)

    def _kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


def _starts(ledger: Path) -> list[str]:
    """The session of every start, oldest first."""
    if not ledger.exists():
        return []
    return [line.split()[0] for line in ledger.read_text(encoding="utf-8").splitlines()]


def _send(service: Service, sent: Sequence[_Delivery], promises: _Promises) -> None:
    burst = Burst(port_when_loaded(service), [delivery.request for delivery in sent], CONNECTIONS)
    asyncio.run(burst.run())
    promises.keep(sent, burst)


def _settle(folder: Path, promises: _Promises) -> None:
    """Until every accepted item had its run and all rests, or nothing moves any more: then it is judged."""
    began, wanted = time.monotonic(), set(promises.items)
    seen, since = _progress(folder), began
    while time.monotonic() < began + SETTLE_LIMIT_S:
        is_done = seen.is_at_rest and seen.items_with_run >= wanted
        if time.monotonic() > since + (REST_S if is_done else CALM_S):
            return
        time.sleep(POLL_S)
        if (now := _progress(folder)) != seen:
            seen, since = now, time.monotonic()


@dataclass(frozen=True, slots=True)
class _Progress:
    items_with_run: frozenset[str]
    open_runs: int
    unprocessed: int

    @property
    def is_at_rest(self) -> bool:
        return not self.open_runs and not self.unprocessed


def _progress(folder: Path) -> _Progress:
    with _reading(folder) as connection:
        items = connection.execute("SELECT plane_id FROM tasks WHERE id IN (SELECT task_id FROM agent_runs)")
        open_runs = connection.execute("SELECT count(*) FROM agent_runs WHERE state != 'ended'")
        unprocessed = connection.execute("SELECT count(*) FROM events WHERE processed = 0")
        return _Progress(frozenset(row[0] for row in items), open_runs.fetchone()[0], unprocessed.fetchone()[0])


def _judge(folder: Path, ledger: Path, promises: _Promises, kills: int) -> Verdict:
    with _reading(folder) as connection:
        stored = Counter(row[0] for row in connection.execute("SELECT body_sha256 FROM events"))
        runs = dict(connection.execute(_ITEM_OF_SESSION).fetchall())
        succeeded = {row[1] for row in connection.execute(_ITEMS_THAT_SUCCEEDED)}
    starts = _starts(ledger)
    of_item = Counter(runs[session] for session in starts if session in runs)
    return Verdict(
        kills=kills,
        accepted=len(promises.accepted),
        triggers=len(promises.items),
        lost_deliveries=[sha for sha in promises.accepted if sha not in stored],
        lost_triggers=[item for item in promises.items if not of_item[item]],
        without_result=[item for item in promises.items if item not in succeeded],
        stored_twice=[sha for sha, count in stored.items() if count > 1],
        started_twice=[item for item, count in of_item.items() if count > 1],
        started_unasked=[session for session in starts if session not in runs],
        refused=promises.refused,
    )


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    name = f"file:{folder / 'data' / 'orchestrator.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(name, uri=True, timeout=10)) as connection:
        yield connection


@contextlib.contextmanager
def _no_agent_left(folder: Path) -> Iterator[None]:
    """Agents outlive a killed service on purpose; a broken measure must not leave them behind."""
    try:
        yield
    finally:
        for paths in map(RunPaths, (folder / "data" / "runs").glob("*")):
            if rundir.is_held(paths.lock) or rundir.is_held(paths.tether):
                rundir.kill_leftovers(paths, with_shim=True)

"""Growth: what GET /status takes with little in the database, and with a great deal."""

import contextlib
import hashlib
import http.client
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.processes import ANSWER_S, lonely_service, port_when_loaded
from benchmarks.report import Figure, median, percentile
from benchmarks.scale import Bench
from orchestrator.clock import SystemClock
from orchestrator.db import Database

BODY_BYTES = 300
_INSERT_TASK = (
    "INSERT INTO tasks (id, plane_id, plane_project_id, repo, branch, base_branch, stage, created_at, updated_at, "
    "key, title, seen_created) VALUES (?, ?, ?, 'acme/enduro-trails', ?, 'main', 'analysis', ?, ?, ?, ?, 1)"
)
_INSERT_RUN = (
    "INSERT INTO agent_runs (task_id, agent, started_at, finished_at, exit_code, stage, attempt, state, "
    "intended_at, session_id, base_sha, outcome, turns) "
    "VALUES (?, 'analyst', ?, ?, 0, 'analysis', 1, 'ended', ?, ?, ?, 'succeeded', 12)"
)
_INSERT_EVENT = (
    "INSERT INTO events (timestamp, source, event_type, action, payload, processed, delivery_id, body_sha256, "
    "task_id) VALUES (?, 'gitea', 'push', '', ?, 1, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class _Service:
    """One of the two, with the times of its answers in milliseconds."""

    port: int
    line: http.client.HTTPConnection
    times: list[float] = field(default_factory=list)

    def ask(self) -> None:
        began = time.perf_counter()
        self.line.request("GET", "/status")
        answer = self.line.getresponse()
        body = answer.read()
        self.times.append((time.perf_counter() - began) * 1000)
        if answer.status != 200 or b'"key"' not in body:
            raise RuntimeError(f"/status was answered {answer.status}: {body[:200]!r}")


def measure(bench: Bench) -> list[Figure]:
    """Both services run at once and are asked in turn, while they look at their tasks as after every start."""
    scale = bench.scale
    few, many = bench.at("few"), bench.at("many")
    fill(few, scale.few_rows, scale.few_rows)
    began = time.monotonic()
    fill(many, scale.events, scale.tasks)
    bench.tell(f"  filled with {scale.events:,} events in {time.monotonic() - began:.0f} s")
    with contextlib.ExitStack() as ends:
        small, large = _served(ends, few), _served(ends, many)
        for _ in range(scale.status_calls):
            small.ask()
            large.ask()
    note = f"{scale.events:,} events and {scale.tasks:,} open tasks beside {scale.few_rows} of each"
    return [
        Figure(
            "/status p50, large",
            median(large.times),
            "ms",
            "small",
            median(small.times),
            at_most=2,
            judges_ratio=True,
            note=note,
        ),
        Figure("/status p99, large", percentile(large.times, 0.99), "ms", "small", percentile(small.times, 0.99)),
    ]


def _served(ends: contextlib.ExitStack, folder: Path) -> _Service:
    port = port_when_loaded(ends.enter_context(lonely_service(folder)))
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    return _Service(port, ends.enter_context(contextlib.closing(line)))


def _file(folder: Path) -> Path:
    return folder / "data" / "orchestrator.db"


def fill(folder: Path, events: int, tasks: int) -> None:
    """Straight into the tables, past the journal: a million deliveries would take minutes to send."""
    database = Database(f"sqlite:///{_file(folder)}")
    database.open()
    database.close()
    with contextlib.closing(sqlite3.connect(_file(folder))) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        connection.executemany(_INSERT_TASK, _tasks(tasks))
        connection.executemany(_INSERT_RUN, _runs(tasks))
        connection.executemany(_INSERT_EVENT, _events(events, tasks))
        connection.commit()


def _moments(count: int) -> Iterator[str]:
    """Ends now, one a second, as the tables write them."""
    now = SystemClock().now().astimezone(UTC).replace(tzinfo=None)
    return (_written(now - timedelta(seconds=count - number)) for number in range(count))


def _written(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")


def _tasks(count: int) -> Iterator[tuple[object, ...]]:
    project = str(uuid.uuid4())
    for number, at in enumerate(_moments(count), 1):
        key = f"ENDURO-{number}"
        yield number, str(uuid.uuid4()), project, f"feature/{key}", at, at, key, f"Work item {number}"


def _runs(count: int) -> Iterator[tuple[object, ...]]:
    for number, at in enumerate(_moments(count), 1):
        yield number, at, at, at, str(uuid.uuid4()), hashlib.sha256(at.encode()).hexdigest()[:40]


def _events(count: int, tasks: int) -> Iterator[tuple[object, ...]]:
    """Digests in ascending order: filling is then fast, and /status does not read that index."""
    for number, at in enumerate(_moments(count)):
        body = f'{{"n":{number}}}'.ljust(BODY_BYTES)
        yield at, body, f"delivery-{number}", f"{number:064x}", number % tasks + 1

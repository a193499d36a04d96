"""What people and programs look at, with a great deal in the database: every list, statistic and page, and what
readers cost who only follow.
"""

import contextlib
import http.client
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import status
from benchmarks.processes import ANSWER_S, Server, lonely_service, server_of
from benchmarks.report import Figure, percentile
from benchmarks.scale import Bench

FOLLOWERS = 50
RUNS, STAYS, DECISIONS = 4, 7, 3
"""Of each task, beside what `status.fill` makes."""
REST_S = 600.0
RESTING = 0.25
"""Share of a core: polls go on for ever."""
LISTS = (
    "/status",
    "/metrics",
    "/api/v1/tasks",
    "/api/v1/tasks?limit=200",
    "/api/v1/tasks?text=nowhere",
    "/api/v1/tasks?needs=person",
    "/api/v1/tasks?stage=review&open=true",
    "/api/v1/tasks/ENDURO-7",
    "/api/v1/tasks/ENDURO-7/explain",
    "/api/v1/tasks/ENDURO-7/decisions",
    "/api/v1/tasks/ENDURO-7/events",
    "/api/v1/runs",
    "/api/v1/runs?outcome=lost",
    "/api/v1/runs?task=ENDURO-7",
    "/api/v1/runs/7",
    "/api/v1/decisions/7",
    "/api/v1/events",
    "/api/v1/events?limit=200",
    "/api/v1/events?source=plane",
    "/api/v1/events?type=nothing",
    "/api/v1/events?ignored=true&type=push",
    "/api/v1/events?flagged=true",
    "/api/v1/events/7",
    "/api/v1/statistics?days=90",
)
PAGES = (
    "/",
    "/tasks/ENDURO-7",
    "/runs/7",
    "/journal",
    "/journal?source=plane",
    "/insight",
    "/insight?days=90",
    "/system",
)
"""Those that are not there are left out."""
_STAGES = ("created", "analysis", "architecture", "development", "ci", "review", "testing", "ready", "done")
_NEEDY = '[{"code":"approval","who":"approver"}]'
_SPREAD = (
    "UPDATE tasks SET revision = id, stage = CASE id % 9 "
    + " ".join(f"WHEN {number} THEN '{stage}'" for number, stage in enumerate(_STAGES))
    + f" END, waiting = CASE id % 3 WHEN 0 THEN '{_NEEDY}' ELSE '[]' END"
)
_COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most})"
_RUNS = (
    _COUNT.format(most=RUNS)
    + " INSERT INTO agent_runs (task_id, agent, started_at, finished_at, exit_code, stage, attempt, state,"
    " intended_at, session_id, base_sha, outcome, turns, input_tokens, output_tokens, cost_usd, detail)"
    " SELECT id, 'developer', created_at, created_at, 0, 'development', i, 'ended', created_at, id || '/' || i,"
    " 'a', 'succeeded', 12, 1000, 100, 0.25, 'It said something of some length about it.' FROM tasks, n"
)
_STAYS = (
    _COUNT.format(most=STAYS)
    + " INSERT INTO stays (task_id, stage, entered_at, left_at, seconds, worked_s, cause) SELECT id, CASE i "
    + " ".join(f"WHEN {number} THEN '{stage}'" for number, stage in enumerate(_STAGES[:STAYS], 1))
    + " END, created_at, created_at, id * i % 99991, id * i % 9973,"
    " CASE WHEN id % 10 = 0 AND i = 5 THEN 'ci_red' ELSE '' END FROM tasks, n"
)
_FACTS = """'{"filler":"' || hex(zeroblob(2000)) || '"}'"""
_DECISION = """'{"type":"Decision","stage":"analysis"}'"""
_DECISIONS = (
    _COUNT.format(most=DECISIONS)
    + " INSERT INTO decisions (task_id, decided_at, facts, verdicts, decision, config_digest)"
    f" SELECT id, created_at, {_FACTS}, '[]', {_DECISION}, 'c' FROM tasks, n"
)
"""The newest of an open task is made by the service itself when it starts."""
_SPENDING = (
    "INSERT INTO spending SELECT substr(finished_at, 1, 10), agent, coalesce(repo, ''), outcome, count(*),"
    " count(*), sum(turns), sum(input_tokens), sum(output_tokens), sum(cost_usd)"
    " FROM agent_runs JOIN tasks ON tasks.id = agent_runs.task_id GROUP BY 1, 2, 3, 4"
)


def measure(bench: Bench) -> list[Figure]:
    scale, folder = bench.scale, bench.at("much")
    began = time.monotonic()
    status.fill(folder, scale.events, scale.tasks)
    _fill_more(folder)
    bench.tell(f"  filled with {scale.events:,} events in {time.monotonic() - began:.0f} s")
    with lonely_service(folder) as service:
        server = server_of(service)
        _wait_for_rest(server, bench)
        note = f"{scale.events:,} events, {scale.tasks:,} tasks, {scale.tasks * (RUNS + 1):,} runs"
        asks = max(3, scale.status_calls // 8)
        pages = [path for path in PAGES if _is_there(server.port, path)]
        figures = [_figure(server.port, path, asks) for path in (*LISTS, *pages)]
        figures[0] = replace(figures[0], note=note)
        return [*figures, _idle(server, 2 * scale.every_s)]


def _figure(port: int, path: str, asks: int) -> Figure:
    times = list(_times(port, path, asks))
    return Figure(f"{path} p95", percentile(times, 0.95), "ms", at_most=100)


def _times(port: int, path: str, asks: int) -> Iterator[float]:
    """In milliseconds, over one connection; the first answer is not counted: it loads what is needed later."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    with contextlib.closing(line):
        for number in range(asks + 1):
            began = time.perf_counter()
            line.request("GET", path, headers={"Accept": "text/html,*/*"})
            answer = line.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} was answered {answer.status}: {body[:200]!r}")
            if number:
                yield (time.perf_counter() - began) * 1000


def _is_there(port: int, path: str) -> bool:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    with contextlib.closing(line):
        line.request("GET", path, headers={"Accept": "text/html,*/*"})
        return line.getresponse().status != 404


def _wait_for_rest(server: Server, bench: Bench) -> None:
    """A start looks at every open task once; what that costs is measured elsewhere."""
    until = time.monotonic() + REST_S
    while time.monotonic() < until:
        if _share(server, 2) < RESTING:
            return
    bench.tell("  the service has not come to rest: figures are too bad")


def _idle(server: Server, seconds: float) -> Figure:
    """Less what it does by itself: it polls tasks that are under way, some each second."""
    alone = _share(server, seconds)
    with contextlib.ExitStack() as ends:
        for _ in range(FOLLOWERS):
            ends.enter_context(_following(server.port))
        time.sleep(seconds)
        followed = _share(server, seconds)
    note = f"beside {alone * 100:.1f} % for polls"
    return Figure(
        f"{FOLLOWERS} idle streams", max(0.0, followed - alone) * 100, "% of a core", at_most=10, note=note
    )


def _share(server: Server, seconds: float) -> float:
    """Of one core."""
    began, used = time.monotonic(), server.cpu_s()
    time.sleep(seconds)
    return (server.cpu_s() - used) / (time.monotonic() - began)


@contextlib.contextmanager
def _following(port: int) -> Iterator[None]:
    """Returns when the stream has begun."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as line:
        line.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        told = b""
        while b"event: position" not in told:
            piece = line.recv(4096)
            if not piece:
                raise RuntimeError(f"The stream ended: {told[:200]!r}")
            told += piece
        yield


def _fill_more(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data" / "orchestrator.db")) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        for statement in (_SPREAD, _RUNS, _STAYS, _DECISIONS, _SPENDING):
            connection.execute(statement)

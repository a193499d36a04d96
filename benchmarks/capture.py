"""Capture: many agents print at once. What following them costs us, and how late a reader sees a line."""

import asyncio
import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from benchmarks.report import Figure, percentile
from benchmarks.scale import Bench
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.agents.workspace import Workspaces
from orchestrator.cli import lean
from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import GitRemote, RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import TASK_FILES, Language, Role
from orchestrator.domain.run import Outcome, RunLimits, RunSpec, Usage
from orchestrator.web.tail import follow

LINES = 200
PAUSE_S = 0.03
CPU_S, RSS_BYTES, LATE_S = 0.1, 40 * 2**20, 0.25
_AGENT = """#!{python} -IS
import json, os, time
lines, pause, go = {lines}, {pause}, {go!r}
while not os.path.exists(go): time.sleep(0.05)
text = "x" * 300
def say(kind, **fields):
    record = {{"type": kind, **fields, "at": time.time()}}
    os.write(1, json.dumps(record, separators=(",", ":")).encode() + b"\\n")
usage = {{"input_tokens": 10, "cache_read_input_tokens": 1000, "output_tokens": 20}}
for n in range(lines // 2):
    call = {{"type": "tool_use", "id": f"t{{n}}", "name": "Bash", "input": {{"command": text}}}}
    say("assistant", message={{"id": f"m{{n}}", "model": "scripted", "content": [call], "usage": usage}})
    time.sleep(pause)
    result = {{"type": "tool_result", "tool_use_id": f"t{{n}}", "content": text}}
    say("user", message={{"role": "user", "content": [result]}})
    time.sleep(pause)
end = {{"is_error": False, "terminal_reason": "completed", "num_turns": lines // 2, "total_cost_usd": 0.1}}
os.write(1, json.dumps({{"type": "result", "subtype": "success", **end}}).encode() + b"\\n")
"""


@dataclass(slots=True)
class _Costs:
    cpu_s: float
    rss_bytes: int
    late_s: list[float]


class _Line(msgspec.Struct):
    at: float | None = None


def measure(bench: Bench) -> list[Figure]:
    with _garbage_as_in_the_service():
        costs = asyncio.run(_captured(bench))
    lines = f"{bench.scale.agents} agents, {LINES} lines each"
    late = percentile(costs.late_s, 0.99)
    bench.tell(f"  half of the lines within {statistics.median(costs.late_s) * 1000:.0f} ms")
    return [
        Figure("capture, our CPU", costs.cpu_s, "s", at_most=CPU_S, note=lines),
        Figure("capture, RSS growth", costs.rss_bytes / 2**20, "MiB", at_most=RSS_BYTES / 2**20, note=lines),
        Figure("capture, line to reader, p99", late * 1000, "ms", at_most=LATE_S * 1000, note="the log's API"),
    ]


@contextmanager
def _garbage_as_in_the_service() -> Iterator[None]:
    """Looked for as seldom as `orch serve` does, and not among what was loaded."""
    before = gc.get_threshold()
    lean.look_for_garbage_seldom()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


async def _captured(bench: Bench) -> _Costs:
    runtime, go = _runtime(bench), bench.folder / "go"
    specs = [_spec(number) for number in range(1, bench.scale.agents + 1)]
    for spec in specs:
        _prepare(RunPaths.of(bench.folder, spec.run), spec.role)
        await runtime.launch(spec)
    seen = list[Usage]()
    waits = [asyncio.create_task(runtime.wait(spec, seen.append)) for spec in specs]
    await asyncio.sleep(1.5)  # the first look at each is none of the capture
    late: list[float] = []
    log = RunPaths.of(bench.folder, specs[0].run).log
    reader = asyncio.create_task(asyncio.to_thread(_reader_s, log, late))
    cpu, rss = time.process_time(), _rss_bytes()
    most = rss
    go.touch()
    while not all(wait.done() for wait in waits):
        await asyncio.sleep(0.5)
        most = max(most, _rss_bytes())
    spent = time.process_time() - cpu - await reader
    results = [wait.result() for wait in waits]
    assert {one.outcome for one in results} == {Outcome.SUCCEEDED}, results[0]
    assert {one.usage.turns for one in results} == {LINES // 2}
    assert len(late) == LINES
    return _Costs(spent, most - rss, late)


def _reader_s(log: Path, late: list[float]) -> float:
    """The CPU time of a reader, which is no part of capturing."""
    began = time.thread_time()
    asyncio.run(_read(log, late))
    return time.thread_time() - began


async def _read(log: Path, late: list[float]) -> None:
    """As a browser does that shows the log: asks from where it is, again and again, until the result is there."""
    offset, rest = 0, b""
    while True:
        piece = await follow(log, offset, 10.0)
        offset, now = offset + len(piece), time.time()  # noqa: TID251 - as the agents, other processes, tell it
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            at = msgspec.json.decode(line, type=_Line).at
            if at is None:
                return
            late.append(now - at)


def _runtime(bench: Bench) -> ClaudeRuntime:
    def remote(_repo: RepoName) -> GitRemote:
        raise Permanent("no_forge", "No run is fetched or published here.")

    agent = bench.folder / "agent"
    text = _AGENT.format(python=sys.executable, lines=LINES, pause=PAUSE_S, go=str(bench.folder / "go"))
    agent.write_text(text, encoding="utf-8")
    agent.chmod(0o755)
    return ClaudeRuntime(bench.folder, str(agent), Workspaces(bench.folder, remote))


def _spec(number: int) -> RunSpec:
    return RunSpec(
        run=RunId(number),
        session_id=str(uuid4()),
        task_key=f"BENCH-{number}",
        title="Capture",
        role=Role.DEVELOPER,
        stage=Stage.DEVELOPMENT,
        attempt=1,
        repo=RepoName.parse("acme/bench"),
        branch="feature/BENCH",
        base_branch="main",
        base_sha=Sha("a" * 40),
        language=Language.EN,
        brief="",
        limits=RunLimits(timeout_s=600, max_turns=LINES, max_budget_usd=5),
    )


def _prepare(paths: RunPaths, role: Role) -> None:
    """What a launch needs of a prepared run; no clone, since nothing here is about git."""
    for folder in (paths.root, paths.workspace, paths.home, paths.tmp):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    task_file = paths.workspace / TASK_FILES[role]
    for path in (paths.lock, paths.tether, paths.prompt, paths.role, paths.prepared, task_file):
        path.touch(0o600)
    os.mkfifo(paths.control, 0o600)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()

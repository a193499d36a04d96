"""What every AgentRuntime promises, held against two programs: one that speaks as Claude Code does, and another
one with its own arguments and its own log. Whoever adds a third adds it to `PROGRAMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import rundir, supervise
from orchestrator.agents.rundir import ExitRecord, RunPaths
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.domain.run import Liveness, Outcome, RunResult, RunSpec, Usage
from orchestrator.ports import AgentRuntime

COMMIT = """
import subprocess
os.makedirs('tasks/DEMO-1')
open('tasks/DEMO-1/BRD.md', 'w').write('# DEMO-1')
subprocess.run(['git', 'add', '--', 'tasks/DEMO-1/BRD.md'], check=True)
subprocess.run(['git', 'commit', '-q', '-m', 'DEMO-1: BRD'], check=True)
"""
AT_WORK = "ledger('up')\nwhile True: time.sleep(60)\n"


@dataclass(slots=True)
class PlainReading:
    """`<turns> <word>` a line; the last word says how it ended, if the exit code agrees."""

    usage: Usage = field(default_factory=Usage)
    cli_version: str = "plain 1"
    model: str = ""
    _rest: bytes = b""
    _word: str = ""

    def feed(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            turns, _, self._word = line.decode().partition(" ")
            self.usage = replace(self.usage, turns=int(turns))

    def conclude(self, ended: ExitRecord, stderr: str) -> RunResult:
        by_shim = {supervise.CANCELLED: Outcome.CANCELLED, supervise.TIMED_OUT: Outcome.TIMED_OUT}
        is_well = ended.code == 0 and self._word == "done"
        outcome = by_shim.get(ended.why, Outcome.SUCCEEDED if is_well else Outcome.FAILED)
        return RunResult(outcome, ended.code, "" if is_well else "plain", stderr[:100], self.usage)


@dataclass(frozen=True)
class Plain:
    """Another program: a subcommand, an option for the session, nothing of Claude Code's."""

    binary: str

    def argv(self, binary: str, spec: RunSpec, _paths: RunPaths) -> list[str]:
        return [binary, "work", f"--session={spec.session_id}"]

    def reading(self, _spec: RunSpec) -> PlainReading:
        return PlainReading()


@dataclass(frozen=True)
class Program:
    """How a test's agent says what it does, in this program's words."""

    turn: str
    end: str
    another: type[Plain] | None = None

    def runtime(self, world: Any, body: str) -> ClaudeRuntime:
        runtime: ClaudeRuntime = world.runtime(world.agent(body))
        runtime.another_cli = self.another(runtime.claude_bin) if self.another else None
        return runtime


PROGRAMS = {
    "claude": Program(
        turn="print(json.dumps({'type': 'assistant', 'message': {'id': 'm1', 'usage': {}}}), flush=True)\n",
        end="print(json.dumps({'type': 'result', 'subtype': 'success', 'is_error': False,"
        " 'terminal_reason': 'completed', 'num_turns': 1}), flush=True)\n",
    ),
    "another": Program(
        turn="assert sys.argv[1] == 'work'\nprint('1 busy', flush=True)\n",
        end="print('1 done', flush=True)\n",
        another=Plain,
    ),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    return PROGRAMS[request.param]


def nothing(_usage: Usage) -> None:
    return


async def begun(runtime: AgentRuntime, spec: RunSpec) -> None:
    await runtime.prepare(spec)
    await runtime.launch(spec)


async def test_an_agents_commit_reaches_the_forge(world: Any, program: Program) -> None:
    runtime, spec = program.runtime(world, program.turn + COMMIT + program.end), world.spec()
    seen: list[Usage] = []
    await begun(runtime, spec)
    result = await runtime.wait(spec, seen.append)
    assert (result.outcome, result.exit_code, result.usage.turns) == (Outcome.SUCCEEDED, 0, 1)
    head = await runtime.collect(spec)
    assert head is not None
    await runtime.publish(spec, head)
    await runtime.publish(spec, head)
    assert world.forge.head() == head
    assert await runtime.changed_paths(spec.repo, "main", head) == ["tasks/DEMO-1/BRD.md"]
    assert Path(runtime.output_path(spec.run)) == world.paths(spec).log


async def test_every_call_may_be_repeated_and_the_agent_starts_once(
    world: Any, program: Program, eventually: Callable[..., Any]
) -> None:
    runtime, spec = program.runtime(world, "ledger('up')\n" + program.end), world.spec()
    assert runtime.liveness(spec.run) is Liveness.UNSTARTED
    await begun(runtime, spec)
    await begun(runtime, spec)
    first = await runtime.wait(spec, nothing)
    await begun(runtime, spec)
    assert await runtime.wait(spec, nothing) == first
    assert len(world.entries("up")) == 1
    assert runtime.liveness(spec.run) is Liveness.EXITED


async def test_a_later_runtime_finds_the_run_and_its_end(
    world: Any, program: Program, eventually: Callable[..., Any]
) -> None:
    spec, go = world.spec(), world.root / "go"
    body = f"ledger('up')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{program.turn}{program.end}"
    first = program.runtime(world, body)
    await begun(first, spec)
    await eventually(lambda: world.entries("up"), "the agent is up")
    later = program.runtime(world, body)
    assert later.liveness(spec.run) is Liveness.ALIVE
    go.touch()
    result = await later.wait(spec, nothing)
    assert (result.outcome, result.usage.turns) == (Outcome.SUCCEEDED, 1)


async def test_a_stopped_run_is_cancelled_and_nothing_of_it_lives(
    world: Any, program: Program, eventually: Callable[..., Any]
) -> None:
    runtime, spec = program.runtime(world, AT_WORK), world.spec()
    await begun(runtime, spec)
    await eventually(lambda: world.entries("up"), "the agent is up")
    await runtime.stop(spec.run)
    assert (await runtime.wait(spec, nothing)).outcome is Outcome.CANCELLED
    assert world.living() == []


async def test_a_run_out_of_time_says_so(world: Any, program: Program) -> None:
    runtime, spec = program.runtime(world, AT_WORK), world.spec()
    spec = replace(spec, limits=replace(spec.limits, timeout_s=0.3))
    await begun(runtime, spec)
    assert (await runtime.wait(spec, nothing)).outcome is Outcome.TIMED_OUT
    assert world.living() == []


async def test_a_run_whose_shim_died_is_lost(world: Any, program: Program, eventually: Callable[..., Any]) -> None:
    runtime, spec = program.runtime(world, AT_WORK), world.spec()
    await begun(runtime, spec)
    await eventually(lambda: world.entries("up"), "the agent is up")
    rundir.kill_leftovers(world.paths(spec), with_shim=True)
    assert (await runtime.wait(spec, nothing)).outcome is Outcome.LOST
    assert runtime.liveness(spec.run) is not Liveness.ALIVE


async def test_what_an_agent_says_counts_only_with_its_exit_code(world: Any, program: Program) -> None:
    runtime, spec = program.runtime(world, program.end + "sys.exit(3)\n"), world.spec()
    await begun(runtime, spec)
    result = await runtime.wait(spec, nothing)
    assert (result.outcome, result.exit_code) == (Outcome.FAILED, 3)

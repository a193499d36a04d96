"""Runs as real processes: started once, followed, stopped, found again after any kill, and nothing left alive."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator.agents import launcher, rundir, shim
from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind
from orchestrator.agents.rates import RATES, Rates
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.run import Liveness, Outcome, RunLimits, RunSpec, Usage
from support import ROOT

RESULT = (
    "print(json.dumps({'type': 'result', 'subtype': 'success', 'is_error': False,"
    " 'terminal_reason': 'completed', 'num_turns': 1}), flush=True)\n"
)
COMMIT = """
import subprocess
os.makedirs('tasks/DEMO-1')
open('tasks/DEMO-1/BRD.md', 'w').write('# DEMO-1')
subprocess.run(['git', 'add', '--', 'tasks/DEMO-1/BRD.md'], check=True)
subprocess.run(['git', 'commit', '-q', '-m', 'DEMO-1: BRD'], check=True)
"""
UNTIL_STOPPED = "ledger('up')\nwhile True: time.sleep(60)\n"
DEAF = "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 100)
    ledger('daemon')
    while True: time.sleep(60)
os.wait()
"""


def nothing(_usage: Usage) -> None:
    return


async def launched(world: Any, body: str, run: int = 1, **changes: Any) -> tuple[Any, RunSpec]:
    claude, spec = world.runtime(world.agent(body)), world.spec(run, **changes)
    await claude.prepare(spec)
    await claude.launch(spec)
    return claude, spec


def shim_of(world: Any, spec: RunSpec) -> int:
    """Who holds the run's lock; a child of it holds what it has until it becomes another program."""
    found = {pid: parent_of(pid) for pid in pids() if _holds_lock(pid, world.paths(spec).lock)}
    (shim,) = (pid for pid, parent in found.items() if parent and parent not in found)
    return shim


def parent_of(pid: int) -> int:
    """0 where it is over."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _holds_lock(pid: int, lock: Path) -> bool:
    try:
        return pid != os.getpid() and any(fd.readlink() == lock for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def shown_by(*processes: int) -> list[bytes]:
    return [Path(f"/proc/{pid}/{what}").read_bytes() for pid in processes for what in ("cmdline", "environ")]


def stdin_of(process: int) -> Path:
    return Path(f"/proc/{process}/fd/0").readlink()


async def test_a_run_brings_the_agents_commit_from_branch_to_branch(world: Any) -> None:
    claude, spec = await launched(world, COMMIT + RESULT)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.exit_code) == (Outcome.SUCCEEDED, 0)
    head = await claude.collect(spec)
    assert head not in {None, spec.base_sha}
    await claude.publish(spec, head)
    await claude.publish(spec, head)
    assert world.forge.head() == head
    assert claude.liveness(spec.run) is Liveness.EXITED


async def test_a_run_without_a_commit_collects_nothing(world: Any) -> None:
    claude, spec = await launched(world, RESULT)
    await claude.wait(spec, nothing)
    assert await claude.collect(spec) is None


async def test_liveness_follows_the_run(world: Any, eventually: Callable[..., Any]) -> None:
    claude, spec = world.runtime(world.agent(UNTIL_STOPPED)), world.spec()
    assert claude.liveness(spec.run) is Liveness.UNSTARTED
    await claude.prepare(spec)
    assert claude.liveness(spec.run) is Liveness.UNSTARTED
    await claude.launch(spec)
    assert claude.liveness(spec.run) is Liveness.ALIVE
    await claude.stop(spec.run)
    await claude.wait(spec, nothing)
    assert claude.liveness(spec.run) is Liveness.EXITED


async def test_of_many_shims_for_one_run_one_starts_the_agent(world: Any, eventually: Callable[..., Any]) -> None:
    claude, spec = world.runtime(world.agent("ledger('up')\ntime.sleep(1)\n" + RESULT)), world.spec()
    await claude.prepare(spec)
    raw = claude._shim_spec(spec, world.paths(spec))
    shims = [launcher.start_shim(world.paths(spec), raw, Credential()) for _ in range(8)]
    codes = [await asyncio.to_thread(process.wait, 30) for process in shims]
    late = launcher.start_shim(world.paths(spec), raw, Credential())
    assert await asyncio.to_thread(late.wait, 30) == shim.STARTED_BEFORE
    assert sorted(codes)[:1] == [0]
    assert set(codes) <= {0, shim.LOCK_HELD, shim.STARTED_BEFORE}
    assert codes.count(0) == 1
    assert len(world.entries("up")) == 1


async def test_asking_for_liveness_never_makes_a_starting_shim_give_up(world: Any) -> None:
    claude = world.runtime(world.agent(RESULT))
    for run in range(1, 6):
        spec = world.spec(run)
        await claude.prepare(spec)
        raw = claude._shim_spec(spec, world.paths(spec))
        process = launcher.start_shim(world.paths(spec), raw, Credential())
        while process.poll() is None:
            claude.liveness(spec.run)
            await asyncio.sleep(0)
        assert process.returncode == 0


async def test_launching_a_started_run_again_changes_nothing(world: Any) -> None:
    claude, spec = await launched(world, "ledger('up')\n" + RESULT)
    await claude.launch(spec)
    await claude.wait(spec, nothing)
    await claude.launch(spec)
    await claude.prepare(spec)
    assert len(world.entries("up")) == 1


KILLED_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import *
from orchestrator.agents import launcher
root, agent, point, session, base = Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
forge = ForgeRepo(root / "forge" / "forge.git", root / "forge" / "people")
world = World(root, forge, root / "data")
spec = world.spec(session_id=session, base_sha=base)
claude = world.runtime(agent)
if point == "preparing":
    claude.workspaces = Workspaces(world.data_dir, die)
async def main():
    await claude.prepare(spec)
    if point == "prepared": die()
    if point == "popen":
        launcher.start_shim(world.paths(spec), claude._shim_spec(spec, world.paths(spec)), Credential()); die()
    await claude.launch(spec)
    die()
asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["preparing", "prepared", "popen", "launched"])
@pytest.mark.parametrize("again", [0, *(pytest.param(number, marks=pytest.mark.nightly) for number in (1, 2))])
async def test_a_killed_orchestrator_loses_no_launch_and_doubles_none(world: Any, point: str, again: int) -> None:
    agent, spec = world.agent("ledger('up')\ntime.sleep(0.3)\n" + RESULT), world.spec()
    program = [sys.executable, "-c", KILLED_PROGRAM, str(Path(__file__).parent), str(world.root), str(agent)]
    done = await asyncio.to_thread(
        subprocess.run, [*program, point, spec.session_id, spec.base_sha], capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    claude = world.runtime(agent)
    await claude.prepare(spec)
    await claude.launch(spec)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, len(world.entries("up"))) == (Outcome.SUCCEEDED, 1)
    assert world.living() == []


async def test_a_run_of_a_dead_orchestrator_is_followed_through_its_log(
    world: Any, eventually: Callable[..., Any]
) -> None:
    body = (
        "say = lambda n: print(json.dumps({'type': 'assistant', 'message': {'id': n, 'usage':"
        " {'input_tokens': 5, 'output_tokens': 2}}}), flush=True)\n"
        "say('a')\nledger('up')\n"
        "while not os.path.exists('../go'): time.sleep(0.01)\n"
        "say('b')\n" + RESULT
    )
    _, spec = await launched(world, body)
    await eventually(lambda: world.entries("up"), "the agent is up")
    other, seen = world.runtime("unused"), []

    def follow(usage: Usage) -> None:
        seen.append(usage)
        (world.paths(spec).root / "go").touch()

    result = await other.wait(spec, follow)
    assert seen[0] == Usage(turns=1, input_tokens=5, output_tokens=2)
    assert (result.outcome, result.usage.turns) == (Outcome.SUCCEEDED, 2)


async def test_a_killed_shim_takes_its_agent_along_and_the_run_is_lost(
    world: Any, eventually: Callable[..., Any]
) -> None:
    claude, spec = await launched(world, DEAF + DAEMON + UNTIL_STOPPED)
    await eventually(lambda: world.entries("up") and world.entries("daemon"), "agent and daemon are up")
    os.kill(shim_of(world, spec), signal.SIGKILL)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.reason) == (Outcome.LOST, "vanished")
    await eventually(lambda: not world.living(), "nothing is left alive")
    await eventually(lambda: claude.liveness(spec.run) is Liveness.VANISHED, "the tether is free")
    await claude.launch(spec)
    assert len(world.entries("up")) == 1


async def test_an_agent_dies_with_its_shim_though_nobody_looks(world: Any, eventually: Callable[..., Any]) -> None:
    claude, spec = await launched(world, DEAF + UNTIL_STOPPED)
    await eventually(lambda: world.entries("up"), "the agent is up")
    os.kill(shim_of(world, spec), signal.SIGKILL)
    await eventually(lambda: not world.living(), "the agent is dead")
    await eventually(lambda: claude.liveness(spec.run) is Liveness.VANISHED, "the tether is free")


async def test_an_agent_that_outlives_its_shim_counts_as_alive(world: Any, eventually: Callable[..., Any]) -> None:
    """Only the tether tells of it: the test takes the kernel's part away by letting the child keep that alone."""
    body = (
        "if os.fork():\n    ledger('up')\n    while True: time.sleep(60)\n"
        "os.setsid()\nledger('kept')\nwhile True: time.sleep(60)\n"
    )
    claude, spec = await launched(world, body)
    await eventually(lambda: world.entries("up") and world.entries("kept"), "both are up")
    os.kill(shim_of(world, spec), signal.SIGKILL)
    await eventually(lambda: not rundir.is_held(world.paths(spec).lock), "the shim is dead")
    assert claude.liveness(spec.run) is Liveness.ALIVE
    await claude.stop(spec.run)
    await eventually(lambda: not world.living(), "stop ended what had the tether")
    # A dying process loses its name before it loses its files.
    await eventually(lambda: claude.liveness(spec.run) is Liveness.VANISHED, "the tether is free")


HOLDER = """
import fcntl, sys, time
from orchestrator.agents import shim
tether = open(sys.argv[1], "r+b")
assert shim.take(tether.fileno())
print("held", flush=True)
time.sleep(120)
"""
"""What has kept the tether alone: no HOME of the run, no parent of ours."""


async def test_who_outlived_the_shims_kill_is_ended_when_the_run_is_concluded_and_told(world: Any) -> None:
    claude, spec = await launched(world, RESULT)
    await claude.wait(spec, lambda _usage: None)
    paths = world.paths(spec)
    record = json.loads(paths.exit.read_text())
    assert record["left_alive"] == 0
    paths.exit.write_text(json.dumps(record | {"left_alive": 2}))
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    survivor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(paths.tether)), stdout=subprocess.PIPE, env=env
    )
    try:
        assert survivor.stdout is not None
        assert await survivor.stdout.readline() == b"held\n"
        with capture_logs() as lines:
            await claude.wait(spec, lambda _usage: None)
        told = [(line["event"], line["left"], line["still_alive"]) for line in lines]
        assert told == [("agent_outlived_its_end", 2, 0)]
        assert await survivor.wait() == -signal.SIGKILL
    finally:
        if survivor.returncode is None:
            survivor.kill()
            await survivor.wait()
    assert claude.liveness(spec.run) is Liveness.EXITED


async def test_of_a_run_that_left_nobody_nothing_is_told(world: Any) -> None:
    claude, spec = await launched(world, RESULT)
    with capture_logs() as lines:
        await claude.wait(spec, lambda _usage: None)
    assert lines == []


async def test_an_agent_cannot_make_itself_look_dead(world: Any, eventually: Callable[..., Any]) -> None:
    body = (
        "import fcntl\n"
        "for fd in range(3, 50):\n"
        "    try: fcntl.fcntl(fd, fcntl.F_OFD_SETLK, b'\\2\\0' + bytes(30)); os.close(fd)\n"
        "    except OSError: pass\n" + UNTIL_STOPPED
    )
    claude, spec = await launched(world, body)
    await eventually(lambda: world.entries("up"), "the agent is up")
    assert claude.liveness(spec.run) is Liveness.ALIVE
    await claude.stop(spec.run)
    assert (await claude.wait(spec, nothing)).outcome is Outcome.CANCELLED


FORKS = "for _ in range(5):\n    if os.fork() == 0:\n        os.setsid(); os.fork(); break\n"
STUBBORN = {
    "polite": UNTIL_STOPPED,
    "deaf": DEAF + UNTIL_STOPPED,
    "deaf with a daemon": DEAF + DAEMON + UNTIL_STOPPED,
    "deaf and forking": DEAF + FORKS + UNTIL_STOPPED,
    "stopped by itself": "ledger('up')\nos.kill(os.getpid(), signal.SIGSTOP)\n",
    "closes its output": "os.closerange(0, 50)\n" + UNTIL_STOPPED,
}


@pytest.mark.parametrize("kind", sorted(STUBBORN))
async def test_a_stopped_run_leaves_nothing_alive(world: Any, eventually: Callable[..., Any], kind: str) -> None:
    claude, spec = await launched(world, STUBBORN[kind])
    await eventually(lambda: world.entries("up"), "the agent is up")
    await claude.stop(spec.run)
    await claude.stop(spec.run)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    assert world.living() == []


async def test_a_finished_agents_daemon_is_ended_too(world: Any) -> None:
    claude, spec = await launched(world, DAEMON + RESULT)
    assert (await claude.wait(spec, nothing)).outcome is Outcome.SUCCEEDED
    assert world.living() == []


async def test_the_ladder_begins_with_an_interrupt_so_that_the_cli_can_still_write(
    world: Any, eventually: Callable[..., Any]
) -> None:
    body = (
        "def end(*_):\n    print(json.dumps({'type': 'result', 'total_cost_usd': 0.5}), flush=True); os._exit(0)\n"
        "signal.signal(signal.SIGINT, end)\n" + UNTIL_STOPPED
    )
    claude, spec = await launched(world, body)
    await eventually(lambda: world.entries("up"), "the agent is up")
    await claude.stop(spec.run)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.exit_code, result.usage.cost_usd) == (Outcome.CANCELLED, 0, 0.5)


async def test_what_a_run_costs_is_estimated_by_earlier_ones_and_a_killed_one_is_booked_with_that(
    world: Any, eventually: Callable[..., Any]
) -> None:
    said = (
        "print(json.dumps({'type': 'system', 'subtype': 'init', 'model': 'm'}))\n"
        "usage = {'input_tokens': 1000, 'output_tokens': 0}\n"
        "print(json.dumps({'type': 'assistant', 'message': {'id': 'a', 'usage': usage}}), flush=True)\n"
    )
    told = said + "print(json.dumps({'type': 'result', 'total_cost_usd': 0.25}), flush=True)\n"
    costs: list[float] = []
    for run, body in ((1, told), (2, said + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + UNTIL_STOPPED)):
        claude, spec = await launched(world, body, run)
        claude.rates = Rates(world.data_dir / RATES)
        ended = asyncio.ensure_future(claude.wait(spec, lambda usage: costs.append(usage.cost_usd)))
        if run == 2:
            await eventually(lambda: costs and costs[-1], "the estimate is told while it works")
            await claude.stop(spec.run)
        result = await ended
        assert result.usage.cost_usd == pytest.approx(0.25)
    assert result.outcome is Outcome.CANCELLED


async def test_a_signal_to_the_shim_is_an_order_to_stop(world: Any, eventually: Callable[..., Any]) -> None:
    claude, spec = await launched(world, UNTIL_STOPPED)
    await eventually(lambda: world.entries("up"), "the agent is up")
    process = shim_of(world, spec)
    await eventually(lambda: _catches(process, signal.SIGTERM), "the shim listens to signals")
    os.kill(process, signal.SIGTERM)
    assert (await claude.wait(spec, nothing)).outcome is Outcome.CANCELLED
    assert world.living() == []


def _catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
    return mask is not None and bool(int(mask[1], 16) >> (number - 1) & 1)


async def test_a_run_ends_at_its_wall_clock_limit(world: Any) -> None:
    limits = RunLimits(timeout_s=0.5, max_turns=1, max_budget_usd=1)
    claude, spec = await launched(world, DEAF + UNTIL_STOPPED, limits=limits)
    assert (await claude.wait(spec, nothing)).outcome is Outcome.TIMED_OUT
    assert world.living() == []


async def test_a_run_that_floods_its_log_is_ended(world: Any) -> None:
    claude, spec = await launched(world, "while True:\n    print('x' * 1000); time.sleep(0.0005)\n")
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "log_full")
    assert world.living() == []


async def test_a_file_larger_than_the_limit_cannot_be_written(world: Any) -> None:
    claude, spec = world.runtime(world.agent("os.truncate(1, 2_000_000)\n" + RESULT)), world.spec()
    claude.limits = replace(claude.limits, file_max_bytes=1_000_000)
    await claude.prepare(spec)
    await claude.launch(spec)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.reason) == (Outcome.CRASHED, "no_result")
    assert "File too large" in result.detail


async def test_stopping_a_run_that_never_started_forbids_its_start(world: Any) -> None:
    claude, spec = world.runtime(world.agent("ledger('up')\n" + RESULT)), world.spec()
    await claude.prepare(spec)
    raw = claude._shim_spec(spec, world.paths(spec))
    await claude.stop(spec.run)
    late = launcher.start_shim(world.paths(spec), raw, Credential())
    assert await asyncio.to_thread(late.wait, 30) == shim.STARTED_BEFORE
    assert (await claude.wait(spec, nothing)).outcome is Outcome.CANCELLED
    assert world.entries("up") == []


async def test_a_run_that_is_stopped_before_anything_is_there_never_starts(world: Any) -> None:
    claude, spec = world.runtime(world.agent("ledger('up')\n" + RESULT)), world.spec(77)
    assert await claude.stop(spec.run)
    await claude.prepare(spec)
    await claude.launch(spec)
    assert (await claude.wait(spec, nothing)).outcome is Outcome.CANCELLED
    assert world.entries("up") == []


async def test_a_missing_cli_is_said_before_anything_starts(world: Any) -> None:
    claude, spec = world.runtime("/nowhere/claude"), world.spec()
    await claude.prepare(spec)
    with pytest.raises(Permanent, match="no program") as error:
        await claude.launch(spec)
    assert (error.value.code, claude.liveness(spec.run)) == ("claude_missing", Liveness.UNSTARTED)


async def test_certificates_that_went_away_are_named_and_nothing_is_started(world: Any) -> None:
    claude, spec = world.runtime(world.agent(RESULT)), world.spec()
    claude.route = ApiRoute(authorities=world.root / "gone.pem")
    await claude.prepare(spec)
    with pytest.raises(Permanent) as error:
        await claude.launch(spec)
    assert (error.value.code, claude.liveness(spec.run)) == ("ca_certs_unreadable", Liveness.UNSTARTED)
    assert "ORCH_CLAUDE_CA_CERTS" in error.value.message


async def test_a_cli_that_cannot_be_executed_is_a_crash_that_says_why(world: Any) -> None:
    broken = world.root / "broken"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    claude, spec = world.runtime(broken), world.spec()
    await claude.prepare(spec)
    await claude.launch(spec)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.exit_code) == (Outcome.CRASHED, shim.CANNOT_EXEC)
    assert "could not be started" in result.detail


async def test_a_launch_without_a_prepared_run_is_told_as_transient(world: Any) -> None:
    claude, spec = world.runtime(world.agent(RESULT)), world.spec()
    world.paths(spec).root.mkdir(parents=True)
    with pytest.raises(Transient, match="did not take it on"):
        await claude.launch(spec)


SHOW = """
import fcntl, resource
fds = sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}'))
old = os.umask(0)
json.dump({'env': dict(os.environ), 'argv': sys.argv[1:], 'cwd': os.getcwd(), 'fds': fds[:5], 'count': len(fds),
  'core': resource.getrlimit(resource.RLIMIT_CORE), 'files': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
  'umask': old,
  'prompt': sys.stdin.read(),
  'key': os.read(3, 100).decode(), 'leader': os.getsid(0) == os.getpid()}, open('../shown', 'w'))
"""


WAITING = pytest.mark.parametrize("is_waiting", [False, True], ids=["a new shim", "one that waited"])


@WAITING
async def test_the_agent_gets_this_and_nothing_more(world: Any, *, is_waiting: bool) -> None:
    claude, spec = world.runtime(world.agent(SHOW), Credential(CredentialKind.API_KEY, "k3y")), world.spec()
    if is_waiting:
        claude.open()
    claude.search_path = "/usr/local/bin:/usr/bin:/bin"
    claude.route = ApiRoute("http://127.0.0.1:9", "http://127.0.0.1:8")
    await claude.prepare(spec)
    await claude.launch(spec)
    result = await claude.wait(spec, nothing)
    paths = world.paths(spec)
    assert (paths.root / "shown").exists(), result.detail
    shown = json.loads((paths.root / "shown").read_text())
    assert shown.pop("env") == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(paths.home),
        "TMPDIR": str(paths.tmp),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "orchestrator analyst",
        "GIT_AUTHOR_EMAIL": "analyst@orchestrator.invalid",
        "GIT_COMMITTER_NAME": "orchestrator analyst",
        "GIT_COMMITTER_EMAIL": "analyst@orchestrator.invalid",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
        "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
        "CLAUDE_CODE_MAX_RETRIES": "6",
        "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR": "3",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:8",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    assert json.loads(shown.pop("prompt"))["client_composed"] is True
    assert shown.pop("argv")[:1] == ["-p"]
    assert shown == {
        "cwd": str(paths.workspace),
        "fds": [0, 1, 2, 3, 4],
        "count": 5,
        "umask": 0o077,
        "core": [0, 0],
        "files": 4096,
        "key": "k3y",
        "leader": True,
    }


async def test_no_signal_is_ignored_or_blocked_when_the_agent_starts(world: Any) -> None:
    agent = world.root / "agent.sh"
    agent.write_text("#!/bin/sh\nexec grep -E 'Sig(Ign|Blk)' /proc/self/status > ../signals\n")
    agent.chmod(0o755)
    claude, spec = world.runtime(agent), world.spec()
    await claude.prepare(spec)
    await claude.launch(spec)
    await claude.wait(spec, nothing)
    masks = (world.paths(spec).root / "signals").read_text().split()[1::2]
    of_the_c_library = 1 << 31 | 1 << 32  # signals 32 and 33 cannot be set; some start us with one of them ignored
    assert [int(mask, 16) & ~of_the_c_library for mask in masks] == [0, 0]


def test_a_subscription_token_goes_by_descriptor_and_without_a_credential_none_is_named(world: Any) -> None:
    paths, role = world.paths(world.spec()), world.spec().role
    oauth = launcher.child_env(paths, role, "/bin", CredentialKind.OAUTH, ApiRoute())
    none = launcher.child_env(paths, role, "/bin", CredentialKind.NONE, ApiRoute())
    assert oauth["CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"] == "3"
    assert set(oauth) - set(none) == {"CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"}


@WAITING
async def test_the_credential_is_in_no_argument_environment_or_file(
    world: Any, eventually: Callable[..., Any], *, is_waiting: bool
) -> None:
    canary = "canary-5c1f0e"
    claude, spec = (
        world.runtime(world.agent(UNTIL_STOPPED), Credential(CredentialKind.API_KEY, canary)),
        world.spec(),
    )
    if is_waiting:
        claude.open()
    await claude.prepare(spec)
    await claude.launch(spec)
    await eventually(lambda: world.entries("up"), "the agent is up")
    process, agent = shim_of(world, spec), world.entries("up")[0]
    shown = shown_by(process, agent)
    assert stdin_of(process) == Path("/dev/null")
    await claude.stop(spec.run)
    await claude.wait(spec, nothing)
    files = [path for path in world.data_dir.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [1 for raw in (*shown, *(path.read_bytes() for path in files)) if canary.encode() in raw]
    assert canary not in repr(claude)


# --- the shim that waits


def waiting(world: Any) -> list[int]:
    """Shims that have the runs' folder as their argument, and no run."""
    folder = os.fsencode(rundir.RunPaths.folder(world.data_dir))
    return [pid for pid in pids() if folder in words_of(pid)]


def words_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


async def test_the_shim_that_waits_takes_the_next_run_and_another_waits_then(
    world: Any, eventually: Callable[..., Any]
) -> None:
    claude, spec = world.runtime(world.agent(UNTIL_STOPPED)), world.spec()
    claude.open()
    await claude.prepare(spec)
    (ready,) = waiting(world)
    assert shown_by(ready)[1] == b"LC_ALL=C.UTF-8\0"
    await claude.launch(spec)
    assert shim_of(world, spec) == ready
    ending = asyncio.create_task(claude.wait(spec, nothing))
    await eventually(lambda: set(waiting(world)) - {ready}, "another one waits")
    await claude.stop(spec.run)
    assert (await ending).outcome is Outcome.CANCELLED
    claude.close()
    assert waiting(world) == []


async def test_a_shim_that_died_waiting_delays_nothing_but_the_launch(world: Any) -> None:
    claude, spec = world.runtime(world.agent("ledger('up')\n" + RESULT)), world.spec()
    claude.open()
    await claude.prepare(spec)
    (ready,) = waiting(world)
    os.kill(ready, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, ready, os.WEXITED | os.WNOWAIT)
    await claude.launch(spec)
    await claude.wait(spec, nothing)
    assert len(world.entries("up")) == 1


async def test_who_waits_ends_when_the_orchestrator_is_killed(world: Any, eventually: Callable[..., Any]) -> None:
    program = (
        "import os, sys; from pathlib import Path; from orchestrator.agents.launcher import Reserve;"
        "Reserve(Path(sys.argv[1])).renew(); os.kill(os.getpid(), 9)"
    )
    folder = rundir.RunPaths.folder(world.data_dir)
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(folder)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    await eventually(lambda: waiting(world) == [], "it has ended")


async def test_of_a_crowd_of_runs_each_is_started_once(world: Any) -> None:
    claude = world.runtime(world.agent("ledger('up')\n" + RESULT))
    claude.open()
    specs = [world.spec(run) for run in range(1, 5)]
    for spec in specs:
        await claude.prepare(spec)
    await asyncio.gather(*(claude.launch(spec) for spec in specs))
    results = await asyncio.gather(*(claude.wait(spec, nothing) for spec in specs))
    assert [one.outcome for one in results] == [Outcome.SUCCEEDED] * len(specs)
    assert len(world.entries("up")) == len(specs)


def test_an_order_for_another_folder_goes_to_a_shim_of_its_own(tmp_path: Path) -> None:
    reserve = launcher.Reserve(tmp_path / "runs")
    reserve.renew()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        assert reserve.order(tmp_path / "elsewhere" / "1", (null, null)) is None
    finally:
        os.close(null)
        reserve.close()


def test_a_run_directory_is_closed_to_others(world: Any) -> None:
    spec = world.spec()
    world.workspaces().prepare(spec)
    root = world.paths(spec).root
    assert root.stat().st_mode & 0o077 == 0
    files = [path for path in root.iterdir() if path.is_file()]
    assert files
    assert not [path for path in files if path.stat().st_mode & 0o077]


def test_a_nul_byte_cannot_smuggle_a_field_into_the_spec() -> None:
    with pytest.raises(Permanent):
        launcher.spec_bytes(Path("/w"), ["claude", "a\0b"], {}, RunLimits(1, 1, 1), launcher.ProcessLimits())

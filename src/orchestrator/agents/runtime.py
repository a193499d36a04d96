"""A command line program as an AgentRuntime: prepares, launches, follows, stops and collects runs."""

import asyncio
import os
import shutil
import subprocess  # noqa: TID251  # the type of a shim's handle only
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from orchestrator.agents import claude, launcher, rundir, sandbox
from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.agents.cli import Cli, Reading
from orchestrator.agents.folders import Room
from orchestrator.agents.follow import Ending, Log
from orchestrator.agents.launcher import ApiRoute, Credential, ProcessLimits, Reserve
from orchestrator.agents.patrol import Patrol, Watch, to_next_look
from orchestrator.agents.rates import Rates
from orchestrator.agents.room import needs_room
from orchestrator.agents.rundir import ExitRecord, RunPaths
from orchestrator.agents.sandboxes import Sandboxes
from orchestrator.agents.vigil import Vigil
from orchestrator.agents.workspace import Workspaces
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RepoName, RunId, Sha
from orchestrator.domain.roles import TASK_FILES
from orchestrator.domain.run import Liveness, Outcome, RunResult, RunSpec, Usage

_log = structlog.get_logger()

_STDERR_BYTES = 4096
_START_S = 15.0
_FIRST_LOOK_S = 0.5
"""By then an agent has begun; and one whose limit passed while nobody watched waits no longer."""
_LONGEST_S = 60.0
"""So often each run has a look of its own, beside those of the patrol."""

_OUTLIVED = (
    "Processes of the agent did not die within a second of the kill; they were killed again. Those still alive "
    "wait in the kernel, mostly for a disk, and may write to the run's folder until they die: look at the machine."
)


@dataclass(slots=True)
class ClaudeRuntime:
    """Every call may be repeated, by this process or by a later one: what counts lies in the run's directory."""

    data_dir: Path
    claude_bin: str
    workspaces: Workspaces
    credential: Credential = field(default_factory=Credential)
    route: ApiRoute = field(default_factory=ApiRoute)
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    model: str | None = None
    sandboxes: Sandboxes | None = None
    """None: agents get no sandbox at all. Only tests and benchmarks leave it so."""
    room: Room = field(default_factory=Room)
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))
    rates: Rates = field(default_factory=Rates)
    another_cli: Cli | None = None
    """Runs this program in Claude Code's place."""
    _shims: dict[RunId, subprocess.Popen[bytes]] = field(default_factory=dict)
    _patrol: Patrol = field(default_factory=Patrol)
    _reserve: Reserve | None = None

    def open(self) -> None:
        """From now on a shim waits for the next run."""
        self._reserve = Reserve(RunPaths.folder(self.data_dir))
        self._reserve.renew()

    def close(self) -> None:
        """Ends the shim that waits; those at work go on."""
        if self._reserve is not None:
            self._reserve.close()

    def liveness(self, run: RunId) -> Liveness:
        return rundir.liveness(self._paths(run))

    def output_path(self, run: RunId) -> str:
        return str(self._paths(run).log)

    def prompt_digest(self, run: RunId) -> str | None:
        return launcher.read_digest(self._paths(run))

    def heard_at(self, run: RunId) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._paths(run).log.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    @needs_room
    async def prepare(self, spec: RunSpec) -> None:
        self.room.require()
        await asyncio.to_thread(self.workspaces.prepare, spec)

    @needs_room
    async def launch(self, spec: RunSpec) -> None:
        paths = self._paths(spec.run)
        if paths.stop.exists():
            rundir.forbid_start(paths)
        if paths.started.exists():
            return
        shim = self._shims[spec.run] = await asyncio.to_thread(self._start, spec, paths)
        until = time.monotonic() + _START_S
        while not paths.started.exists():
            if shim.poll() is not None or time.monotonic() > until:
                raise self._not_started(shim, paths)
            await asyncio.sleep(0.005)

    async def wait(self, spec: RunSpec, on_progress: Callable[[Usage], None]) -> RunResult:
        """For a run whose shim is dead it ends what that left behind and says `lost`."""
        paths, now = self._paths(spec.run), time.monotonic()
        log = Log(paths.log, self._cli().reading(spec), self.limits.log_max_bytes)
        watch = Watch(log, Vigil(paths, spec.limits, self.limits, heard=now), on_progress, noted=now)
        pause_s = _FIRST_LOOK_S
        with Ending(paths.lock, self._shims.get(spec.run)) as ending:
            while not await self._is_over_within(pause_s, ending, watch):
                await self._renew()  # by now the agent has begun, and nobody waits for the processor
                await log.catch_up()
                pause_s = await _to_next_need(paths, watch)
        await self._renew()  # of a run that was over at once
        self._reap(spec.run)
        return await self._concluded(paths, log)

    async def _is_over_within(self, pause_s: float, ending: Ending, watch: Watch) -> bool:
        with self._patrol.of(ending, watch):
            return await ending.within(pause_s)

    async def _concluded(self, paths: RunPaths, log: Log) -> RunResult:
        ended = rundir.read_exit(paths) or await asyncio.to_thread(self._cleared, paths)
        if ended and ended.left_alive:
            still = await asyncio.to_thread(self._end_survivors, paths)
            _log.warning("agent_outlived_its_end", left=ended.left_alive, still_alive=still, hint=_OUTLIVED)
        await log.catch_up()
        return log.reading.conclude(ended, _tail(paths.errors)) if ended else _lost(log.reading)

    def _end_survivors(self, paths: RunPaths) -> int:
        """Of whom the shim could not end in its time. How many are alive even now."""
        self._end_uid(paths)
        still = _end_leftovers(paths)
        self._end_uid(paths)  # who was just being born
        return still

    def _cleared(self, paths: RunPaths) -> ExitRecord | None:
        """Ends what a shim without a word left behind. The record, where somebody wrote one in the meantime."""
        self._end_uid(paths)
        ended = rundir.read_exit(paths)
        if ended is None:
            _end_leftovers(paths)
        return ended

    async def stop(self, run: RunId) -> bool:
        """Also forbids the start of a run that has no shim yet."""
        paths = self._paths(run)
        is_unstarted = await asyncio.to_thread(_stop, paths)
        if not rundir.is_held(paths.lock):
            await asyncio.to_thread(self._end_uid, paths)
        return is_unstarted

    def was_stopped(self, run: RunId) -> bool:
        return self._paths(run).stop.exists()

    def _end_uid(self, paths: RunPaths) -> None:
        policy = rundir.applied_policy(paths)
        if self.sandboxes and policy and policy.uid is not None:
            self.sandboxes.pool.end_leftovers(policy.uid)

    def sandbox_of(self, run: RunId) -> str:
        policy = rundir.applied_policy(self._paths(run))
        return policy.level if policy else str(sandbox.NONE)

    @needs_room
    async def collect(self, spec: RunSpec, model: str = "") -> Sha | None:
        return await asyncio.to_thread(self.workspaces.collect, spec, model)

    @needs_room
    async def publish(self, spec: RunSpec, head: Sha) -> None:
        await asyncio.to_thread(self.workspaces.publish, spec, head)

    async def changed_paths(self, repo: RepoName, base_branch: str, head: Sha) -> Sequence[str]:
        return await asyncio.to_thread(self.workspaces.changed_paths, repo, base_branch, head)

    async def blob(self, repo: RepoName, name: str, max_bytes: int) -> bytes | None:
        """An object of our mirror, for pages to show; None when it is not there."""
        return await asyncio.to_thread(self.workspaces.blob, repo, name, max_bytes)

    def _paths(self, run: RunId) -> RunPaths:
        return RunPaths.of(self.data_dir, run)

    def _start(self, spec: RunSpec, paths: RunPaths) -> subprocess.Popen[bytes]:
        """In a thread: the first call measures the machine, and copies the CLI when it must be hidden."""
        _note_digest(paths, spec, self._argv(spec, paths))
        launcher.give_authorities(paths, self.route)
        if self.sandboxes is None:
            raw = self._shim_spec(spec, paths)
            return launcher.start_shim(paths, raw, self.credential, reserve=self._reserve)
        program = self.sandboxes.program(self._binary(self._cli().binary))
        with self.sandboxes.way(paths, program, self.route) as way:
            raw = self._shim_spec(spec, paths, program, is_forwarded=way.is_forwarded)
            return launcher.start_shim(paths, raw, self.credential, way.policy, way.kept, self._reserve)

    def _shim_spec(
        self, spec: RunSpec, paths: RunPaths, program: str | None = None, *, is_forwarded: bool = False
    ) -> bytes:
        """`is_forwarded`: the shim tells the agent of its own proxy, which knows of the operator's."""
        argv = self._argv(spec, paths, program)
        route = replace(self.route, proxy=None) if is_forwarded else self.route
        env = launcher.child_env(paths, spec.role, self.search_path, self.credential.kind, route)
        return launcher.spec_bytes(paths.workspace, argv, env, spec.limits, self.limits)

    def _argv(self, spec: RunSpec, paths: RunPaths, program: str | None = None) -> list[str]:
        cli = self._cli()
        return cli.argv(program or self._binary(cli.binary), spec, paths)

    def _cli(self) -> Cli:
        return self.another_cli or ClaudeCode(self.claude_bin, self.model, self.rates)

    def _binary(self, name: str) -> str:
        found = shutil.which(name, path=self.search_path)
        if found is None:
            raise Permanent(
                "claude_missing",
                f"There is no program {name!r}, so no agent was started.",
                hint="Set ORCH_CLAUDE_BIN to the Claude Code CLI; `make setup` installs it to .tools/claude.",
            )
        return str(Path(found).resolve())

    def _not_started(self, shim: subprocess.Popen[bytes], paths: RunPaths) -> Transient:
        said = claude.plain(_tail(paths.errors), 300)
        return Transient(
            "shim_failed",
            f"The run's shim did not take it on (exit code {shim.poll()}). It said: {said or 'nothing'}",
            hint="It is tried again; the run's directory has its stderr.log.",
        )

    async def _renew(self) -> None:
        if self._reserve is not None and not self._reserve.is_waiting:
            await asyncio.to_thread(self._reserve.renew)

    def _reap(self, run: RunId) -> None:
        if shim := self._shims.pop(run, None):
            shim.wait()


async def _to_next_need(paths: RunPaths, watch: Watch) -> float:
    """Ends a run that is overdue. Then for how long the looks of the patrol are enough, in seconds."""
    now = time.monotonic()
    if why := watch.overdue(now):
        await asyncio.to_thread(rundir.end_by_force, paths, why)
        return to_next_look(now)
    return min(_LONGEST_S, watch.vigil.due - now)


def _note_digest(paths: RunPaths, spec: RunSpec, argv: Sequence[str]) -> None:
    """Of role prompt, user prompt, task file and flags; the places of the files and the program are not told."""
    if not paths.prepared.exists():
        return
    task_file = paths.workspace / TASK_FILES[spec.role]
    told = [path.read_bytes() for path in (paths.role, paths.prompt, task_file)]
    flags = [word for word in argv[1:] if word != str(paths.role)]
    paths.digest.write_text(launcher.digest(*told, *(word.encode() for word in flags)))


def _stop(paths: RunPaths) -> bool:
    """A shim takes orders before it takes the lock; so when the lock could not be had, it is asked once more."""
    rundir.note_stop(paths)
    if rundir.order_stop(paths):
        return False
    if rundir.forbid_start(paths):
        return True
    if rundir.order_stop(paths):
        return False
    if not rundir.is_held(paths.lock):
        rundir.kill_leftovers(paths)
    return not paths.started.exists()


def _end_leftovers(paths: RunPaths) -> int:
    """How many are left all the same."""
    rundir.forbid_start(paths)
    until = time.monotonic() + _START_S
    while (left := rundir.kill_leftovers(paths)) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def _lost(reading: Reading) -> RunResult:
    return RunResult(
        outcome=Outcome.LOST,
        exit_code=None,
        reason="vanished",
        detail="The run's supervisor died without a word, and its agent with it. What was left alive is ended.",
        usage=reading.usage,
        cli_version=reading.cli_version,
        model=reading.model,
    )


def _tail(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        begin = max(0, os.fstat(handle).st_size - _STDERR_BYTES)
        return os.pread(handle, _STDERR_BYTES, begin).decode(errors="replace")
    finally:
        os.close(handle)

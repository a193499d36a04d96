"""Claude Code as an AgentRuntime: prepares, launches, follows, stops and collects runs."""

import asyncio
import os
import shutil
import subprocess  # noqa: TID251  # the type of a shim's handle only
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.agents import claude, launcher, rundir, verdict
from orchestrator.agents.claude import Transcript
from orchestrator.agents.launcher import ApiRoute, Credential, ProcessLimits
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.workspace import Workspaces
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RepoName, RunId, Sha
from orchestrator.domain.run import Liveness, Outcome, RunResult, RunSpec, Usage

_PIECE_BYTES = 1024 * 1024
_STDERR_BYTES = 4096
_START_S = 15.0
_POLL_S = 0.2
_TICK_S = 1.0
_OVERDUE_S = 45.0
"""The shim ends a run within 10 s of its limit. One that has not done so by then is stuck or was stopped."""


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
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))
    _shims: dict[RunId, subprocess.Popen[bytes]] = field(default_factory=dict)

    def liveness(self, run: RunId) -> Liveness:
        return rundir.liveness(self._paths(run))

    def output_path(self, run: RunId) -> str:
        return str(self._paths(run).log)

    async def prepare(self, spec: RunSpec) -> None:
        await asyncio.to_thread(self.workspaces.prepare, spec)

    async def launch(self, spec: RunSpec) -> None:
        paths = self._paths(spec.run)
        if paths.started.exists():
            return
        shim = launcher.start_shim(paths, self._shim_spec(spec, paths), self.credential)
        self._shims[spec.run] = shim
        until = time.monotonic() + _START_S
        while not paths.started.exists():
            if shim.poll() is not None or time.monotonic() > until:
                raise self._not_started(shim, paths)
            await asyncio.sleep(0.005)

    async def wait(self, spec: RunSpec, on_progress: Callable[[Usage], None]) -> RunResult:
        """For a run whose shim is dead it ends what that left behind and says `lost`."""
        paths, transcript = self._paths(spec.run), Transcript()
        position, told = 0, Usage()
        while not await self._has_ended(spec.run, paths):
            position = await asyncio.to_thread(_follow, paths.log, transcript, position)
            if transcript.usage != told:
                told = transcript.usage
                on_progress(told)
            _end_if_overdue(paths, spec.limits.timeout_s)
        self._reap(spec.run)
        return await asyncio.to_thread(_settle, spec, paths, transcript, position)

    async def stop(self, run: RunId) -> None:
        """Also forbids the start of a run that has no shim yet."""
        paths = self._paths(run)
        if rundir.order_stop(paths) or not paths.root.exists():
            return
        await asyncio.to_thread(rundir.forbid_start, paths)
        if not rundir.is_held(paths.lock):
            await asyncio.to_thread(rundir.kill_leftovers, paths)

    async def collect(self, spec: RunSpec) -> Sha | None:
        return await asyncio.to_thread(self.workspaces.collect, spec)

    async def publish(self, spec: RunSpec, head: Sha) -> None:
        await asyncio.to_thread(self.workspaces.publish, spec, head)

    async def changed_paths(self, repo: RepoName, base_branch: str, head: Sha) -> Sequence[str]:
        return await asyncio.to_thread(self.workspaces.changed_paths, repo, base_branch, head)

    def _paths(self, run: RunId) -> RunPaths:
        return RunPaths.of(self.data_dir, run)

    def _shim_spec(self, spec: RunSpec, paths: RunPaths) -> bytes:
        schema = verdict.schema(spec.role)
        argv = claude.argv(self._binary(), spec.session_id, paths.role, spec.limits, self.model, schema)
        env = launcher.child_env(paths, spec.role, self.search_path, self.credential.kind, self.route)
        return launcher.spec_bytes(paths.workspace, argv, env, spec.limits.timeout_s, self.limits)

    def _binary(self) -> str:
        found = shutil.which(self.claude_bin, path=self.search_path)
        if found is None:
            raise Permanent(
                "claude_missing",
                f"There is no program {self.claude_bin!r}, so no agent was started.",
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

    async def _has_ended(self, run: RunId, paths: RunPaths) -> bool:
        """Waits a tick at most. Our own shim's end is told by the kernel; another's lock is asked for."""
        shim = self._shims.get(run)
        if shim is not None and shim.returncode is None:
            await _ended_within(shim.pid, _TICK_S)
            return shim.poll() is not None and not rundir.is_held(paths.lock)
        until = time.monotonic() + _TICK_S
        while rundir.is_held(paths.lock):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _reap(self, run: RunId) -> None:
        if shim := self._shims.pop(run, None):
            shim.wait()


async def _ended_within(child: int, pause_s: float) -> None:
    """A child that was not waited for keeps its pid, so the handle is surely its own."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    handle = os.pidfd_open(child)
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(pause_s):
            await ended.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _follow(log: Path, transcript: Transcript, position: int) -> int:
    """Reads what came since; the file is only ever appended to."""
    try:
        with log.open("rb") as file:
            file.seek(position)
            while piece := file.read(_PIECE_BYTES):
                transcript.feed(piece)
                position += len(piece)
    except FileNotFoundError:
        return position
    return position


def _end_if_overdue(paths: RunPaths, timeout_s: float) -> None:
    """The last resort against a shim that was stopped by a signal or hangs in the kernel."""
    began = rundir.started_at(paths)
    if began is not None and time.monotonic() > began + timeout_s + _OVERDUE_S:
        rundir.kill_leftovers(paths, with_shim=True)


def _settle(spec: RunSpec, paths: RunPaths, transcript: Transcript, position: int) -> RunResult:
    ended = rundir.read_exit(paths)
    if ended is None:
        return _lost(paths, transcript, position)
    _follow(paths.log, transcript, position)
    return claude.classify(transcript, ended, _tail(paths.errors), verdict.reader(spec.role, spec.language))


def _lost(paths: RunPaths, transcript: Transcript, position: int) -> RunResult:
    rundir.forbid_start(paths)
    until = time.monotonic() + _START_S
    while rundir.kill_leftovers(paths) and time.monotonic() < until:
        time.sleep(0.01)
    _follow(paths.log, transcript, position)
    return RunResult(
        outcome=Outcome.LOST,
        exit_code=None,
        reason="vanished",
        detail="The run's supervisor died without a word, and its agent with it. What was left alive is ended.",
        usage=transcript.usage,
        cli_version=transcript.cli_version,
        model=transcript.model,
    )


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _STDERR_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""

"""A small forge on disk, agents made of a few lines of script, and runs to try them with."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.agents import launcher, rundir
from orchestrator.agents.launcher import Credential, ProcessLimits
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.agents.workspace import Workspaces
from orchestrator.domain.model import GitRemote, RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import RunLimits, RunSpec

GIT_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
}
BRANCH = "feature/DEMO-1-search"


def git(*args: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *map(str, args)], cwd=cwd, env=GIT_ENV, capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode().strip()


@dataclass
class ForgeRepo:
    """A bare repository that plays the forge; `clone` is where people work."""

    bare: Path
    clone: Path

    @classmethod
    def at(cls, root: Path) -> "ForgeRepo":
        return cls(root / "forge.git", root / "people")

    @classmethod
    def create(cls, root: Path) -> "ForgeRepo":
        repo = cls.at(root)
        git("init", "-q", "--bare", "--template=", "-b", "main", "--", repo.bare, cwd=root)
        git("init", "-q", "--template=", "-b", "main", "--", repo.clone, cwd=root)
        repo.commit("main", {"README.md": "hello\n"})
        git("branch", BRANCH, cwd=repo.clone)
        git("push", "-q", repo.bare, BRANCH, cwd=repo.clone)
        return repo

    def commit(self, branch: str, files: dict[str, str]) -> Sha:
        current = git("symbolic-ref", "--short", "HEAD", cwd=self.clone)
        if current != branch:
            git("switch", "-q", branch, cwd=self.clone)
        for name, text in files.items():
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / name).write_text(text)
            git("add", "-f", "--", name, cwd=self.clone)
        git("commit", "-q", "-m", "work", cwd=self.clone)
        git("push", "-q", self.bare, branch, cwd=self.clone)
        return Sha(git("rev-parse", "HEAD", cwd=self.clone))

    def head(self, branch: str = BRANCH) -> Sha:
        return Sha(git("rev-parse", f"refs/heads/{branch}", cwd=self.bare))

    @property
    def remote(self) -> GitRemote:
        return GitRemote(url=str(self.bare), user="orch", token="")


@dataclass
class World:
    """One data directory with a forge beside it."""

    root: Path
    forge: ForgeRepo
    data_dir: Path
    runtimes: list[ClaudeRuntime] = field(default_factory=list)

    def spec(self, run: int = 1, **changes: object) -> RunSpec:
        spec = RunSpec(
            run=RunId(run),
            session_id=str(uuid4()),
            task_key="DEMO-1",
            title="Search in the list",
            role=Role.ANALYST,
            stage=Stage.ANALYSIS,
            attempt=1,
            repo=RepoName.parse("acme/shop"),
            branch=BRANCH,
            base_branch="main",
            base_sha=self.forge.head(),
            language=Language.EN,
            brief="People want to find things.",
            limits=RunLimits(timeout_s=60, max_turns=50, max_budget_usd=5),
        )
        return replace(spec, **changes)  # type: ignore[arg-type]

    def paths(self, spec: RunSpec) -> RunPaths:
        return RunPaths.of(self.data_dir, spec.run)

    def workspaces(self, repos_dir: Path | None = None) -> Workspaces:
        return Workspaces(self.data_dir, lambda _repo: self.forge.remote, repos_dir)

    def collect(self, spec: RunSpec, workspaces: Workspaces | None = None) -> Sha | None:
        """As after a launch: what was launched says in which sandbox the result is packed."""
        paths = self.paths(spec)
        if not paths.spec.exists():
            paths.spec.write_bytes(
                launcher.spec_bytes(paths.workspace, ["/bin/true"], {}, RunLimits(60, 1, 1), ProcessLimits())
            )
        return (workspaces or self.workspaces()).collect(spec, "claude-test")

    def runtime(self, agent: Path | str, credential: Credential | None = None) -> ClaudeRuntime:
        """The stop ladder's pauses are short here; their order is what tests look at."""
        runtime = ClaudeRuntime(
            self.data_dir,
            str(agent),
            self.workspaces(),
            credential or Credential(),
            limits=ProcessLimits(log_max_bytes=200_000, interrupt_s=0.3, terminate_s=0.3),
        )
        self.runtimes.append(runtime)
        return runtime

    def agent(self, body: str) -> Path:
        """An executable Python script; `ledger(word)` in it appends a line to `self.ledger`."""
        path = self.root / f"agent-{uuid4().hex}"
        path.write_text(
            f"#!{sys.executable} -IS\nimport os, sys, time, signal, json\n"
            f"def ledger(word):\n"
            f"    fd = os.open({str(self.ledger)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
            f"    os.write(fd, f'{{word}} {{os.getpid()}}\\n'.encode()); os.close(fd)\n" + body
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    def entries(self, word: str) -> list[int]:
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == word]

    def living(self) -> list[str]:
        """Processes, zombies apart, that carry this world's directory in environment or command line."""
        mark, found = os.fsencode(self.root), []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                where = Path("/proc", entry.name)
                texts = (where / "environ").read_bytes() + (where / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if mark in texts:
                found.append(texts.decode(errors="replace")[-200:])
        return found


async def until(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Waits for a condition; never for a time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[..., object]:
    return until


@pytest.fixture
def run_git() -> Callable[..., str]:
    return git


@pytest.fixture(scope="session")
def first_forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each world begins with. To copy it takes a tenth of what it takes to make it."""
    root = tmp_path_factory.mktemp("forge")
    ForgeRepo.create(root)
    return root


@pytest.fixture
def world(tmp_path: Path, first_forge: Path) -> Iterator[World]:
    shutil.copytree(first_forge, tmp_path / "forge")
    made = World(tmp_path, ForgeRepo.at(tmp_path / "forge"), tmp_path / "data")
    yield made
    for directory in (made.data_dir / "runs").glob("*"):
        rundir.kill_leftovers(RunPaths(directory), with_shim=True)
    for runtime in made.runtimes:
        runtime.close()
        for shim in runtime._shims.values():
            shim.wait(timeout=20)

"""Puts the attacker into a level and reads what it got through. A module of the tests, and a program by itself for
another user: standard library and our agents only."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.agents import launcher, rundir
from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind, ProcessLimits
from orchestrator.agents.probe import Measured
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandbox import Bounds, Sandbox
from orchestrator.agents.sandboxes import Sandboxes, Wish
from orchestrator.domain.model import RunId
from orchestrator.domain.run import RunLimits

HERE = Path(__file__).parent
CREDENTIAL = "sk-canary-9d01c7"
MIB = 1 << 20
MEMORY, FILE = 256 * MIB, 100 * MIB
FILL = 48 * MIB
"""Above an eighth of the memory, which is all that memory file systems may hold; and below what a container's own
shared memory mostly holds (64 MiB), so that it is filled where nothing hinders."""
UIDS = (64300, 64309)
HOLDER = """
import os, subprocess, sys
held = os.read(3, 4096)
sys.exit(subprocess.call(sys.argv[1:]))
"""


def prepared(root: Path, aim: dict[str, Any]) -> RunPaths:
    """A run's folder as `Workspaces.prepare` leaves it, with the attacker in its checkout."""
    paths = RunPaths.of(root / "data", RunId(1))
    for folder in (paths.workspace, paths.home, paths.tmp):
        folder.mkdir(mode=0o700, parents=True)
    subprocess.run(["git", "init", "-q", "--", str(paths.workspace)], check=True, env={"PATH": os.environ["PATH"]})
    os.mkfifo(paths.control, 0o600)
    for path in (paths.tether, paths.lock, paths.role, paths.prompt):
        path.touch(0o600)
    shutil.copy(HERE / "attacker.py", paths.workspace)
    (paths.workspace / "aim.json").write_text(json.dumps(aim))
    return paths


def attack(paths: RunPaths, level: Sandbox, python: Path) -> dict[str, str]:
    """Launches it as a tool of something that stands for the CLI, reads what it got through, and stops it."""
    sandboxes = Sandboxes(paths.root.parents[1], Wish(least=frozenset()), UIDS, bounds=Bounds(MEMORY, 64))
    sandboxes._measured = Measured(level)
    program = sandboxes.program(str(python))
    command = [program, "-IS", "-c", HOLDER, str(python), "-IS", "attacker.py", "aim.json"]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(paths.home), "TMPDIR": str(paths.tmp)}
    limits = ProcessLimits(file_max_bytes=FILE, interrupt_s=0.3, terminate_s=0.3)
    raw = launcher.spec_bytes(paths.workspace, command, env, RunLimits(100, 1, 1), limits)
    with sandboxes.way(paths, program, ApiRoute("http://127.0.0.1:9")) as way:
        credential = Credential(CredentialKind.API_KEY, CREDENTIAL)
        process = launcher.start_shim(paths, raw, credential, way.policy, way.kept)
    try:
        _until(lambda: said(paths) or process.poll() is not None, "the attacker has tried everything", 100)
        assert said(paths), paths.errors.read_text()
        _until(lambda: rundir.order_stop(paths), "the shim hears", 20)
    finally:
        rundir.order_stop(paths)
        process.wait(60)
    assert process.returncode == 0, paths.errors.read_text()
    answers: dict[str, str] = json.loads(said(paths))
    return answers


def said(paths: RunPaths) -> str:
    text = paths.log.read_text() if paths.log.exists() else ""
    return text if text.endswith("\n") else ""


def _until(look: Callable[[], object], what: str, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < end, f"{what}: not in {limit_s} s"
        time.sleep(0.02)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    level = Sandbox(int(sys.argv[2]), has_bwrap=sys.argv[3] == "1")
    aim = json.loads((where / "aim.json").read_text())
    print(json.dumps(attack(prepared(where, aim), level, Path(sys.argv[4]))))

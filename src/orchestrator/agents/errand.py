"""One more program where an agent ran, after its end: same sandbox, same user, same limits, same fate."""

import os
import shutil
import subprocess  # noqa: TID251  # the home of child processes
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents import launcher, rundir, shim, supervise
from orchestrator.agents.claude import plain
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandboxes import Way
from orchestrator.domain.errors import Permanent, Transient

_ERRAND = "import sys; sys.path.append(sys.argv[2]); from orchestrator.agents import shim; sys.exit(shim.errand())"
_GRACE_S = 45.0
"""Killing what is left may take 30 s; an errand that is not over after them hangs."""
_SAID_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Errand:
    """What is run. It prints into the file `out` of the run's folder, which is made anew."""

    argv: Sequence[str]
    env: Mapping[str, str]
    out: Path
    out_max_bytes: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended, and the end of what it complained about. A negative code is the signal that ended it."""

    why: str
    code: int | None
    said: str

    @property
    def is_well(self) -> bool:
        return self.why == supervise.EXITED and self.code == 0


def run(paths: RunPaths, errand: Errand, way: Way) -> Done:
    """Blocking. It holds the run's lock, so it never meets the agent, and the run counts as alive until
    it is over. `way` is as strict as the agent's, but that nothing can be reached.
    """
    if not paths.spec.exists():
        raise Permanent(
            "never_launched", "The run was never launched, so it left nothing.", hint="Retry the task."
        )
    _write(paths, errand)
    rundir.place(paths.errand_policy, way.policy)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-E", "-c", _ERRAND, str(paths.root), launcher.PACKAGES],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        start_new_session=True,
        pass_fds=way.kept,
    )
    try:
        told, _ = process.communicate(timeout=errand.timeout_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        rundir.kill_leftovers(paths)
        told = supervise.TIMED_OUT.encode()
    return _read(paths, told.decode(errors="replace").split(), process.returncode)


def _write(paths: RunPaths, errand: Errand) -> None:
    limits = [str(errand.timeout_s), str(errand.out_max_bytes), errand.out.name, str(len(errand.argv))]
    fields = [*limits, *errand.argv, *(f"{name}={value}" for name, value in errand.env.items())]
    if any("\0" in one for one in fields):
        raise Permanent("nul_in_command", "A NUL byte stands in an errand's command or environment.")
    fresh = paths.root / f"{shim.ERRAND}.tmp"
    fresh.unlink(missing_ok=True)
    with fresh.open("xb") as file:
        file.write(b"\0".join(os.fsencode(one) for one in fields))
    fresh.replace(paths.root / shim.ERRAND)


def _read(paths: RunPaths, told: list[str], exit_code: int) -> Done:
    if exit_code == shim.LOCK_HELD:
        raise Transient("run_busy", "The run's folder is still in use, so nothing was taken from it yet.")
    code = int(told[1]) if len(told) == 2 and told[1].lstrip("-").isdigit() else None
    return Done(told[0] if told else "broken", code, plain(_said(paths), 400))


def _said(paths: RunPaths) -> str:
    try:
        fd = os.open(paths.root / shim.ERRAND_LOG, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(_SAID_MAX_BYTES).decode(errors="replace")


def git_program(search_path: str) -> str:
    """By its path: the agent's PATH leads nowhere that the agent may write, but a name could."""
    found = shutil.which("git", path=search_path)
    if found is None:
        raise Permanent("git_missing", "There is no git in the PATH.", hint="Install git.")
    return found

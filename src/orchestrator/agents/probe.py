"""Measures what this machine can do: puts a process into each level, as an agent would be, and looks.

Nothing is believed: not the kernel's version, not a file in /proc, not that bubblewrap is installed.
"""

import errno
import os
import shutil
import socket
import subprocess  # noqa: TID251  # agents/ is the home of child processes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.agents import bubblewrap, confine, sandbox
from orchestrator.agents.sandbox import Bounds, Capability, Confinement, Places, Reach, Sandbox
from orchestrator.agents.uids import Pool
from orchestrator.domain.errors import Transient

_REHEARSE = (
    "import sys; sys.path.append(sys.argv.pop(1)); from orchestrator.agents import rehearsal;"
    " rehearsal.main(*sys.argv[1:])"
)
_LIMIT_S = 20.0
_SYS_LANDLOCK_CREATE = 444
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """The level that works, and of each capability that does not: why."""

    sandbox: Sandbox
    missing: dict[Capability, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """`abi_max` lowers the Landlock that is used, so that older kernels can be tried."""

    data_dir: Path
    pool: Pool
    program: str = "/bin/true"
    toolchains: tuple[str, ...] = ()
    abi_max: int = 7

    def measure(self, wanted: frozenset[Capability]) -> Measured:
        """Blocking, some tenths of a second. What is not wanted is not tried, and not missing."""
        best, missing = Sandbox(), dict[Capability, str]()
        abi = min(landlock_abi(), self.abi_max) if Capability.LANDLOCK in wanted else 0
        for capability in (Capability.LANDLOCK, Capability.BWRAP, Capability.USER):
            if capability not in wanted:
                continue
            candidate = _with(best, capability, abi)
            if fault := self._fault(capability, candidate):
                missing[capability] = fault
            else:
                best = candidate
        if 0 < abi < sandbox.LANDLOCK_TCP_ABI and Capability.LANDLOCK not in missing:
            missing[Capability.LANDLOCK] = _too_old(abi)
        return Measured(best, missing)

    def _fault(self, capability: Capability, candidate: Sandbox) -> str:
        """Why the candidate does not hold what it promises; empty when it does."""
        if capability is Capability.LANDLOCK and not candidate.landlock_abi:
            return "this kernel has no Landlock, or it is switched off (boot parameter lsm=)"
        if capability is Capability.BWRAP and bubblewrap.found() is None:
            return "bubblewrap is not installed (package bubblewrap)"
        if capability is Capability.USER and (fault := self._pool_fault()):
            return fault
        try:
            return self._rehearsed(capability, candidate)
        except (OSError, subprocess.SubprocessError, KeyError, Transient) as error:
            return f"it could not be tried: {str(error)[:300]}"

    def _pool_fault(self) -> str:
        if os.geteuid() != 0:
            return "it needs root (or a container that starts as root)"
        if people := self.pool.taken_by_people():
            return f"uids of the pool belong to {', '.join(people[:3])}: set ORCH_SANDBOX_UIDS to a free range"
        return ""

    def _rehearsed(self, capability: Capability, candidate: Sandbox) -> str:
        with _stage(self.data_dir) as stage, self._uid(candidate) as uid:
            answer, said = self._tried(candidate, stage, uid)
            if not answer:
                return said or "the process in it said nothing"
            return _judged(capability, candidate, answer, uid) or _left_behind(stage, candidate)

    @contextmanager
    def _uid(self, candidate: Sandbox) -> Iterator[int | None]:
        if not candidate.has_user:
            yield None
            return
        with self.pool.lend() as (uid, _):
            yield uid

    def _tried(self, candidate: Sandbox, stage: "_Stage", uid: int | None) -> tuple[dict[str, int], str]:
        workspace, home, tmp = map(str, stage.own)
        places = Places(workspace, home, tmp, program=self.program, toolchains=self.toolchains)
        if uid is not None:
            for path in stage.own:
                os.chown(path, uid, uid)
        wrapped, bounds = list[str](), Bounds(processes_max=0)
        if candidate.has_bwrap:
            bwrap, most = bubblewrap.found() or "bwrap", bounds.memory_max_bytes
            wrapped = bubblewrap.wrapper(bwrap, places, uid=uid, names=None, memory_max_bytes=most)
        policy = sandbox.policy_bytes(Confinement(candidate, places, Reach(), bounds), uid)
        command = [*wrapped, *bubblewrap.python(_REHEARSE), str(stage.own[0]), str(stage.outside)]
        done = subprocess.run(
            [*command, str(stage.port), self.program],
            input=policy,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
        lines = [line.split() for line in done.stdout.decode().splitlines()]
        answer = {line[0]: int(line[1]) for line in lines}
        return answer, done.stderr.decode(errors="replace").strip()[-300:]


def _with(level: Sandbox, capability: Capability, abi: int) -> Sandbox:
    match capability:
        case Capability.LANDLOCK:
            return replace(level, landlock_abi=abi)
        case Capability.BWRAP:
            return replace(level, has_bwrap=True)
        case Capability.USER:
            return replace(level, has_user=True)


def landlock_abi() -> int:
    """0 when the kernel has none."""
    with suppress(OSError):
        return confine.call("syscall", _SYS_LANDLOCK_CREATE, None, 0, _VERSION)
    return 0


@dataclass(frozen=True, slots=True)
class _Stage:
    own: tuple[Path, Path, Path]
    outside: Path
    port: int


@contextmanager
def _stage(data_dir: Path) -> Iterator[_Stage]:
    """Where a run's folder would be: so that what closes the way to that one is met here."""
    folder = data_dir / "runs"
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    try:
        root.chmod(0o711)
        own = (root / "workspace", root / "home", root / "tmp")
        for path in own:
            path.mkdir(mode=0o700)
        outside = root / "outside"
        outside.write_bytes(b"to be read by nobody inside")
        outside.chmod(0o644)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield _Stage(own, outside, listener.getsockname()[1])
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _judged(capability: Capability, candidate: Sandbox, answer: dict[str, int], uid: int | None) -> str:
    if answer["write"]:
        return (
            f"an agent could not work in its own folder ({os.strerror(answer['write'])}): each folder above "
            "ORCH_DATA_DIR must be searchable for its uid (mode 0711)"
        )
    if answer["execute"]:
        return "the CLI cannot be reached by an agent's uid: each folder above it must be searchable (mode 0711)"
    match capability:
        case Capability.LANDLOCK:
            return _open_doors(candidate, answer)
        case Capability.USER:
            return "" if answer["uid"] == uid else "the uid did not change"
        case Capability.BWRAP:
            return "" if answer["pid"] < _FEW and answer["open"] else "the process saw the machine's own tree"


_FEW = 10
"""The first processes of a namespace of its own have the first numbers."""


def _open_doors(candidate: Sandbox, answer: dict[str, int]) -> str:
    through = [name for name in ("open", "mptcp") if answer[name] == 0]
    if candidate.landlock_abi >= sandbox.LANDLOCK_TCP_ABI and answer["connect"] != errno.EACCES:
        through.append("connect")
    return f"the kernel let through what it must not: {', '.join(through)}" if through else ""


def _left_behind(stage: _Stage, candidate: Sandbox) -> str:
    """What an agent leaves must be ours to read and to remove."""
    try:
        (stage.own[0] / "written").read_bytes()
        (stage.own[0] / "written").unlink()
    except OSError as error:
        return f"what {candidate} leaves behind cannot be read: {error}"
    return ""


def _too_old(abi: int) -> str:
    return (
        f"the kernel's Landlock (ABI {abi}) does not know TCP, which takes ABI {sandbox.LANDLOCK_TCP_ABI} "
        "(Linux 6.7): an agent could connect to anything"
    )

"""A run's directory. Its lock and marker say whether an attempt is alive; a pid never does."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.agents import shim, supervise
from orchestrator.domain.model import RunId
from orchestrator.domain.run import Liveness

_RECORD_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where everything of one run lies. Directories are 0700, files 0600."""

    root: Path

    @classmethod
    def of(cls, data_dir: Path, run: RunId) -> "RunPaths":
        return cls(data_dir / "runs" / str(int(run)))

    @property
    def lock(self) -> Path:
        """Held by whoever prepares the run, then by its shim for as long as that lives."""
        return self.root / shim.LOCK

    @property
    def tether(self) -> Path:
        """Held by the agent (and those of its children that keep the descriptor)."""
        return self.root / shim.TETHER

    @property
    def started(self) -> Path:
        """Made once, never removed: an attempt starts at most once, ever."""
        return self.root / shim.STARTED

    @property
    def prepared(self) -> Path:
        return self.root / "prepared"

    @property
    def control(self) -> Path:
        return self.root / shim.CONTROL

    @property
    def spec(self) -> Path:
        return self.root / shim.SPEC

    @property
    def exit(self) -> Path:
        return self.root / shim.EXIT

    @property
    def prompt(self) -> Path:
        return self.root / shim.PROMPT

    @property
    def log(self) -> Path:
        return self.root / shim.STDOUT

    @property
    def errors(self) -> Path:
        return self.root / shim.STDERR

    @property
    def role(self) -> Path:
        return self.root / "role.md"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """What the shim wrote last. A negative code is the signal that ended the agent; None: it never ended."""

    why: str
    code: int | None


def is_held(path: Path) -> bool:
    """Asks without taking, so that asking never makes a starting shim give up."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, shim.WRITE_LOCK)
    finally:
        os.close(fd)
    return int.from_bytes(answer[:2], "little") != fcntl.F_UNLCK


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Holds the lock for the block; False when somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield shim.take(fd)
    finally:
        os.close(fd)


def liveness(paths: RunPaths) -> Liveness:
    """The lock is asked first: what ended while we looked is then seen as ended, never as vanished."""
    if is_held(paths.lock) or is_held(paths.tether):
        return Liveness.ALIVE
    if paths.exit.exists():
        return Liveness.EXITED
    return Liveness.VANISHED if paths.started.exists() else Liveness.UNSTARTED


def read_exit(paths: RunPaths) -> ExitRecord | None:
    """None when the shim died before it could write."""
    try:
        with paths.exit.open("rb") as file:
            record: Any = json.loads(file.read(_RECORD_MAX_BYTES))
        code = record["exit_code"]
        return ExitRecord(str(record["why"]), code if isinstance(code, int) else None)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def started_at(paths: RunPaths) -> float | None:
    """The shim's monotonic clock, which is the machine's; None when it did not get to write it."""
    try:
        return float(paths.started.read_bytes()[:40])
    except (FileNotFoundError, ValueError):
        return None


def order_stop(paths: RunPaths) -> bool:
    """Tells the shim to stop; False when no shim listens."""
    try:
        fd = os.open(paths.control, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, OSError):  # ENXIO: nobody has the pipe open for reading
        return False
    try:
        os.write(fd, b"stop\n")
    except BlockingIOError:
        return True  # the pipe is full of orders already
    finally:
        os.close(fd)
    return True


def forbid_start(paths: RunPaths) -> None:
    """Makes sure that a run without a shim never gets one: a shim that is still on its way finds the marker."""
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with holding(paths.lock) as mine:
        if mine and not paths.started.exists():
            paths.started.touch(0o600)
            paths.exit.write_text(json.dumps({"why": supervise.CANCELLED, "exit_code": None}))


def kill_leftovers(paths: RunPaths, *, with_shim: bool = False) -> int:
    """Kills what a dead (or, `with_shim`, a stuck) shim left: who holds the tether or lives in the run's HOME."""
    locks = (paths.tether, paths.lock) if with_shim else (paths.tether,)
    wanted = {(s.st_dev, s.st_ino) for s in (path.stat() for path in locks if path.exists())}
    home = b"HOME=" + os.fsencode(paths.home)
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return sum(_kill_if_of_run(pid, wanted, home) for pid in pids if pid != os.getpid())


def _kill_if_of_run(pid: int, locks: set[tuple[int, int]], home: bytes) -> bool:
    """The pidfd is opened before the look, so that a reused pid is never killed in another's place."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not (_holds(pid, locks) or _lives_in(pid, home)):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, FileNotFoundError):
        return False
    finally:
        os.close(handle)
    return True


def _holds(pid: int, locks: set[tuple[int, int]]) -> bool:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        return any(_identity(entry) in locks for entry in entries)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    try:
        stat = entry.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _lives_in(pid: int, home: bytes) -> bool:
    return home in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

"""A run's directory. Its lock and marker say whether an attempt is alive; a pid never does."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.agents import confine, shim, supervise
from orchestrator.domain.model import RunId
from orchestrator.domain.run import Liveness

_RECORD_MAX_BYTES = 4096
_MOMENT_MAX_BYTES = 40


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where everything of one run lies. Directories are 0700, files 0600."""

    root: Path

    @classmethod
    def of(cls, data_dir: Path, run: RunId) -> "RunPaths":
        return cls(cls.folder(data_dir) / str(int(run)))

    @staticmethod
    def folder(data_dir: Path) -> Path:
        """Where the runs' directories are."""
        return data_dir / "runs"

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
    def stop(self) -> Path:
        """Made when somebody orders the run to stop: no shim is started after it."""
        return self.root / shim.STOP

    @property
    def prepared(self) -> Path:
        return self.root / "prepared"

    @property
    def resumed(self) -> Path:
        """Made when the run has taken over what an earlier attempt left."""
        return self.root / "resumed"

    @property
    def control(self) -> Path:
        return self.root / shim.CONTROL

    @property
    def spec(self) -> Path:
        return self.root / shim.SPEC

    @property
    def policy(self) -> Path:
        """What the shim took from the agent; its first word is the sandbox level."""
        return self.root / shim.POLICY

    @property
    def errand_policy(self) -> Path:
        return self.root / shim.ERRAND_POLICY

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
    def authorities(self) -> Path:
        """Certificates of whom the agent trusts besides; there only when an operator named some."""
        return self.root / "authorities.pem"

    @property
    def role(self) -> Path:
        return self.root / "role.md"

    @property
    def digest(self) -> Path:
        """SHA-256 of all that the agent was told."""
        return self.root / "prompt.sha256"

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
    left_alive: int = 0
    """Processes that whoever ended the run saw and could not end in the time that it had."""


def place(path: Path, content: bytes) -> None:
    """Whole or not there. Closed to others by itself: an agent's uid may pass through the folder."""
    fresh = path.with_name(f"{path.name}.tmp")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


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
        record: Any = json.loads(_beginning(paths.exit, _RECORD_MAX_BYTES))
        code, left = record["exit_code"], record.get("left_alive")
        return ExitRecord(
            str(record["why"]), code if isinstance(code, int) else None, left if isinstance(left, int) else 0
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def started_at(paths: RunPaths) -> float | None:
    """On the machine's monotonic clock; None when the shim did not get to write it."""
    return moment(paths.started)


def stopped_at(paths: RunPaths) -> float | None:
    """When somebody first ordered it, on the same clock; None when nobody did."""
    return moment(paths.stop)


def moment(path: Path) -> float | None:
    """What the file says, on the machine's monotonic clock. None where there is none, and for a moment of the
    future: the machine was started anew since.
    """
    try:
        found = float(_beginning(path, _MOMENT_MAX_BYTES))
    except (FileNotFoundError, ValueError):
        return None
    return found if found <= time.monotonic() else None


def _beginning(path: Path, most: int) -> bytes:
    """Of a small file, without what Python puts around files: a hundred runs may end at once."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, most)
    finally:
        os.close(handle)


def note_stop(paths: RunPaths) -> None:
    """The first order counts. It is written before anybody is told, so that it survives us."""
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not paths.stop.exists():
        place(paths.stop, b"%f" % time.monotonic())


def applied_policy(paths: RunPaths) -> confine.Policy | None:
    """None for a run that no shim was started for."""
    try:
        return confine.Policy(paths.policy.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
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


def forbid_start(paths: RunPaths) -> bool:
    """Makes sure that a run without a shim never gets one: a shim that is still on its way finds the marker.
    False when it has one, or had, or is just being prepared.
    """
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with holding(paths.lock) as mine:
        if not mine or paths.started.exists():
            return False
        paths.started.touch(0o600)
        _write_exit(paths, supervise.CANCELLED)
        return True


def end_by_force(paths: RunPaths, why: str) -> None:
    """For a run whose shim does not do its part: everything below the shim, then the shim, then what is left. The
    record that the shim owes says why.
    """
    until = time.monotonic() + supervise.KILL_S
    for shim_pid in _holders(paths.lock):
        while supervise.sweep(shim_pid) and time.monotonic() < until:
            continue
    while (left := kill_leftovers(paths, with_shim=True)) and time.monotonic() < until:
        time.sleep(0.002)
    with holding(paths.lock) as mine:
        if mine and not paths.exit.exists():
            _write_exit(paths, why, left)


def _write_exit(paths: RunPaths, why: str, left: int = 0) -> None:
    fresh = paths.exit.with_suffix(".force")
    fresh.write_text(json.dumps({"why": why, "exit_code": None, "left_alive": left}))
    fresh.replace(paths.exit)


def kill_leftovers(paths: RunPaths, *, with_shim: bool = False) -> int:
    """Kills what a dead (or, `with_shim`, a stuck) shim left: who holds the tether or lives in the run's HOME."""
    locks = (paths.tether, paths.lock) if with_shim else (paths.tether,)
    wanted = _identities(*locks)
    home, role = b"HOME=" + os.fsencode(paths.home), os.fsencode(paths.role)
    return sum(_kill_if_of_run(pid, wanted, home, role) for pid in _others())


def _identities(*paths: Path) -> set[tuple[int, int]]:
    return {(s.st_dev, s.st_ino) for s in (path.stat() for path in paths if path.exists())}


def _others() -> list[int]:
    return [pid for pid in supervise.pids() if pid != os.getpid()]


def _holders(path: Path) -> list[int]:
    wanted, found = _identities(path), []
    for pid in _others():
        try:
            found += [pid] if _holds(pid, wanted) else []
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def _kill_if_of_run(pid: int, locks: set[tuple[int, int]], home: bytes, role: bytes) -> bool:
    """The pidfd is opened before the look, so that a reused pid is never killed in another's place."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _is_of_run(pid, locks, home, role):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, FileNotFoundError):
        return False
    finally:
        os.close(handle)
    return True


def _is_of_run(pid: int, locks: set[tuple[int, int]], home: bytes, role: bytes) -> bool:
    """A CLI whose program nobody may read shows only its command line to who is not root."""
    try:
        return _holds(pid, locks) or _lives_in(pid, home)
    except PermissionError:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return any(pair == (b"--append-system-prompt-file", role) for pair in pairwise(words))


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

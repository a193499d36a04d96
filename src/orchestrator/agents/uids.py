"""A uid for each run at work, out of a pool. A lock lends it, so that a crash never lends one twice."""

import fcntl
import os
import pwd
import struct
import subprocess  # noqa: TID251  # agents/ is the home of child processes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents import bubblewrap
from orchestrator.domain.errors import Transient

_END = (
    "import sys; sys.path.append(sys.argv[1]); from orchestrator.agents import confine;"
    " confine.end_all_of(int(sys.argv[2]))"
)
_END_S = 30.0
_MACHINE = Path("/run/orchestrator-uids")


def locks_file(data_dir: Path) -> Path:
    """One for the whole machine: to begin or to end a run ends all that its uid runs, and a second orchestrator (a
    demo, say) must not lend what the first one lent. Beside the data where `/run` cannot be written.
    """
    is_ours = os.geteuid() == 0 and os.access(_MACHINE.parent, os.W_OK)
    return _MACHINE if is_ours else data_dir / "uids"


@dataclass(frozen=True, slots=True)
class Pool:
    """`first` to `last`, both included; nobody else may use them. Of `file` the byte at a uid is its lock."""

    file: Path
    first: int
    last: int

    def taken_by_people(self) -> list[str]:
        """Names that the machine gives to uids of the pool: ending a run would end their processes."""
        return [name for uid in range(self.first, self.last + 1) if (name := _name(uid))]

    def end_leftovers(self, uid: int) -> None:
        """After a shim that died: ends all that its uid still runs. One that is lent again was ended by that."""
        fd = self._open()
        try:
            if _take(fd, uid):
                # Not by a fork of ours: this process is large and has threads.
                subprocess.run([*bubblewrap.python(_END), str(uid)], timeout=_END_S, check=True, env={})
        finally:
            os.close(fd)

    @contextmanager
    def lend(self) -> Iterator[tuple[int, int]]:
        """A uid, and the lock's descriptor: who inherits that keeps the uid. What lives under it the shim ends."""
        fd = self._open()
        try:
            for uid in range(self.first, self.last + 1):
                if _take(fd, uid):
                    yield uid, fd
                    return
        finally:
            os.close(fd)
        raise Transient(
            "no_free_uid",
            f"All uids from {self.first} to {self.last} are lent to runs, so no agent was started.",
            hint="It is tried again. Widen ORCH_SANDBOX_UIDS if more runs are to work at once.",
        )

    def _open(self) -> int:
        """Each time anew: a lock belongs to the open file."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _take(fd: int, uid: int) -> bool:
    """Without waiting. A `struct flock` for F_OFD_SETLK: a write lock on one byte, see `shim.WRITE_LOCK`."""
    lock = struct.pack("hh4xqqi4x", fcntl.F_WRLCK, os.SEEK_SET, uid, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""

"""A uid for each run at work, out of a pool. A lock file lends it, so that a crash never lends one twice."""

import os
import pwd
import subprocess  # noqa: TID251  # agents/ is the home of child processes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents import bubblewrap, shim
from orchestrator.domain.errors import Transient

_END = (
    "import sys; sys.path.append(sys.argv[1]); from orchestrator.agents import confine;"
    " confine.end_all_of(int(sys.argv[2]))"
)
_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Pool:
    """`first` to `last`, both included; nobody else may use them. Locks lie in `folder`."""

    folder: Path
    first: int
    last: int

    def taken_by_people(self) -> list[str]:
        """Names that the machine gives to uids of the pool: ending a run would end their processes."""
        return [name for uid in range(self.first, self.last + 1) if (name := _name(uid))]

    def end_leftovers(self, uid: int) -> None:
        """After a shim that died: ends all that its uid still runs. One that is lent again was ended by that."""
        fd = os.open(self.folder / str(uid), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if shim.take(fd):
                # Not by a fork of ours: this process is large and has threads.
                subprocess.run([*bubblewrap.python(_END), str(uid)], timeout=_END_S, check=True, env={})
        finally:
            os.close(fd)

    @contextmanager
    def lend(self) -> Iterator[tuple[int, int]]:
        """A uid, and the lock's descriptor: who inherits that keeps the uid. What lives under it the shim ends."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for uid in range(self.first, self.last + 1):
            fd = os.open(self.folder / str(uid), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                if shim.take(fd):
                    yield uid, fd
                    return
            finally:
                os.close(fd)
        raise Transient(
            "no_free_uid",
            f"All uids from {self.first} to {self.last} are lent to runs, so no agent was started.",
            hint="It is tried again. Widen ORCH_SANDBOX_UIDS if more runs are to work at once.",
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""

"""The runs' folders on the disk: what they hold, whether there is room for one more, and their removal."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.agents import disk, gauge, results, rundir
from orchestrator.agents.rundir import RunPaths
from orchestrator.domain.errors import Transient
from orchestrator.domain.model import RunId
from orchestrator.domain.run import Liveness

_NO_LIMIT = 1 << 62
_RETRY_S = 60.0


@dataclass(slots=True)
class Room:
    """What all runs hold together, as it was last measured. No limit: 0."""

    most_bytes: int = 0
    used_bytes: int = 0

    def measured(self, used_bytes: int) -> None:
        self.used_bytes = used_bytes

    @property
    def is_full(self) -> bool:
        return 0 < self.most_bytes < self.used_bytes

    def require(self) -> None:
        """Before a run is begun."""
        if self.is_full:
            raise Transient(
                "runs_disk_full",
                f"The runs' folders hold {self.used_bytes} bytes, above {self.most_bytes}: no run is begun.",
                retry_after_s=_RETRY_S,
                hint="Close tasks that are not wanted, raise ORCH_RUNS_MAX_DISK_BYTES or free the disk.",
            )


@dataclass(slots=True)
class RunFolders:
    """Blocking: call it in a thread. A run that is over does not grow, so it is measured once."""

    data_dir: Path
    _known: dict[RunId, tuple[int, int]] = field(default_factory=dict)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def sizes(self) -> Mapping[RunId, tuple[int, int]]:
        """Of each folder: bytes that can go (workspace, home, tmp), and bytes in all."""
        ids = [RunId(int(name)) for name in self._names()]
        self._known = {run: self._known[run] for run in ids if run in self._known}
        return {run: self._size(run) for run in ids}

    def discard(self, run: RunId, *, is_whole: bool) -> None:
        """Without a trace when `is_whole`, else all but logs and records. Never of a run that may be alive."""
        paths = RunPaths.of(self.data_dir, run)
        if rundir.liveness(paths) is Liveness.ALIVE:
            return
        self._known.pop(run, None)
        with self._one:  # all use one bin
            for path in [paths.root] if is_whole else bulk(paths):
                disk.throw_away(path, self.data_dir / "runs" / ".bin")

    def _names(self) -> list[str]:
        try:
            return [path.name for path in (self.data_dir / "runs").iterdir() if path.name.isdecimal()]
        except FileNotFoundError:
            return []

    def _size(self, run: RunId) -> tuple[int, int]:
        if run in self._known:
            return self._known[run]
        paths = RunPaths.of(self.data_dir, run)
        size = gauge.used_bytes(bulk(paths), _NO_LIMIT), gauge.used_bytes([paths.root], _NO_LIMIT)
        if paths.exit.exists() and rundir.liveness(paths) is not Liveness.ALIVE:
            self._known[run] = size
        return size


def bulk(paths: RunPaths) -> list[Path]:
    """What a run needs only while it may go on."""
    left = (results.QUARANTINE, results.BUNDLE)
    return [paths.workspace, paths.home, paths.tmp, *(paths.root / name for name in left)]

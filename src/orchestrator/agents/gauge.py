"""How much folders hold.

The shim imports it, in a bare interpreter and once for each run: no more than that has loaded anyway, or is tiny.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence

ENTRIES_MAX = 1_000_000
"""A folder with more is as good as full: looking at it takes seconds."""
_ENTRY_BYTES = 512
_SHARE = 20
"""A look without a reason may take one part in this many of the time."""
_LEAST_PAUSE_S = 1.0
Roots = Sequence[os.PathLike[str] | str]


def used_bytes(roots: Roots, most: int) -> int:
    """Blocks on the disk, hard links once. Ends early with more than `most` when it is more, or when it cannot be
    told: too many entries, or a path too long to be opened.
    """
    total, entries, shared = 0, 0, set[tuple[int, int]]()
    waiting = [os.fsencode(root) for root in roots]
    while waiting:
        try:
            for found in _entries(waiting.pop(), waiting):
                entries += 1
                if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                    if (found.st_dev, found.st_ino) in shared:
                        continue
                    shared.add((found.st_dev, found.st_ino))
                total += max(found.st_blocks * 512, _ENTRY_BYTES)
                if total > most or entries > ENTRIES_MAX:
                    return max(total, most + 1)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return max(total, most + 1)
    return total


def _entries(folder: bytes, waiting: list[bytes]) -> Iterator[os.stat_result]:
    """What vanishes while we look is not counted, nor is what we may not see; links are not followed."""
    with os.scandir(folder) as listed:
        for entry in listed:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                waiting.append(entry.path)
            yield found


def free_bytes(root: os.PathLike[str] | str) -> int:
    """On its file system, each file that can still be made counted as what the least one counts above."""
    found = os.statvfs(root)
    return found.f_bfree * found.f_frsize + found.f_ffree * _ENTRY_BYTES


def pause_s(look_s: float) -> float:
    """The least after a look that took so long: half of the time is not for measuring, whatever happens."""
    return max(_LEAST_PAUSE_S, look_s)


class Gauge:
    """May be asked at every tick. It looks when the file system has lost as much as could make it too much; and if
    it has not (somebody else may have made room meanwhile), the less often the longer a look takes.
    """

    def __init__(
        self,
        roots: Roots,
        most: int,
        free: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = roots
        self._most = most
        self._free = free or (lambda: free_bytes(roots[0]))
        self._clock = clock
        self._soonest = self._latest = 0.0
        self._worth = 0
        """With less free than this a look is worth its price."""
        self._was_fine = clock()
        self._is_over = False

    def is_over(self) -> bool:
        if self._most and self._is_due(self._clock()):
            self._look()
        return self._is_over

    def late_s(self) -> float:
        """How long it may have been too much already: since the last look that found it was not began."""
        return self._clock() - self._was_fine

    def _is_due(self, now: float) -> bool:
        return now >= self._latest or (now >= self._soonest and self._free() < self._worth)

    def _look(self) -> None:
        began, free = self._clock(), self._free()
        used = used_bytes(self._roots, self._most)
        ended = self._clock()
        self._is_over = used > self._most
        if not self._is_over:
            self._was_fine = began
        self._worth = free - (self._most - used)
        self._soonest = ended + pause_s(ended - began)
        self._latest = max(self._soonest, ended + _SHARE * (ended - began))

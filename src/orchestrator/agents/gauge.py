"""How much folders hold.

The shim imports it, in a bare interpreter and once for each run: no more than that has loaded anyway, or is tiny.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence

ENTRIES_MAX = 1_000_000
"""A folder with more is as good as full: looking at it takes seconds."""
_ENTRY_BYTES = 512
_SHARE = 20
"""A look may take one part in this many of the time."""
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


class Gauge:
    """May be asked at every tick: it looks the less often the longer a look takes."""

    def __init__(self, roots: Roots, most: int) -> None:
        self._roots = roots
        self._most = most
        self._next_look = 0.0
        self._is_over = False

    def is_over(self) -> bool:
        began = time.monotonic()
        if self._most and began >= self._next_look:
            self._is_over = used_bytes(self._roots, self._most) > self._most
            ended = time.monotonic()
            self._next_look = ended + max(_LEAST_PAUSE_S, _SHARE * (ended - began))
        return self._is_over

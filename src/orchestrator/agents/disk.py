"""How folders are removed, whatever an agent made of them."""

import os
import stat
from pathlib import Path
from uuid import uuid4

# Names may be of any bytes, and there may be very many of them.
# ruff: noqa: PTH101, PTH104, PTH108, PTH208


def throw_away(path: Path, bin_dir: Path) -> None:
    """Moves it into the bin, which lies on the same file system, and empties that, with what a killed process
    left there.
    """
    bin_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(path):
        _openable(path)
        path.rename(bin_dir / uuid4().hex)
    while names := os.listdir(bin_dir):
        for name in names:
            _unpack(bin_dir / name, bin_dir)


def _unpack(thing: Path, bin_dir: Path) -> None:
    """Folders are moved up before they are emptied, so that no path grows long, however deep they were nested."""
    if not stat.S_ISDIR(thing.lstat().st_mode):
        thing.unlink()
        return
    _openable(thing)
    with os.scandir(os.fsencode(thing)) as listed:
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)
                os.rename(entry.path, os.fsencode(bin_dir / uuid4().hex))
            else:
                os.unlink(entry.path)
    thing.rmdir()


def _openable(thing: Path) -> None:
    """A folder that its owner may not write cannot be moved or emptied."""
    if stat.S_ISDIR(thing.lstat().st_mode):
        thing.chmod(0o700)

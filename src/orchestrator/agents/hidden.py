"""A copy of the CLI that nobody may read, only run: the kernel then closes its memory to its own tools."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MODE = 0o111
_FRESH = ".new-"
_LONGEST_S = 600.0
"""Nobody copies for so long: what is older was left by somebody who died."""


def hidden(program: Path, folder: Path) -> Path:
    """The program itself when it is root's and unreadable already; else our copy of it. Blocking: it is large.

    A script has to be read by its interpreter, so it stays as it is: `is_hidden` says so. Several may copy at
    once, in one process or in many.
    """
    if is_hidden(program) or _is_script(program):
        return program
    stat = program.stat()
    copy = folder / f"{stat.st_size:x}-{stat.st_mtime_ns:x}-{stat.st_ino:x}" / program.name
    if copy.exists():
        copy.chmod(_MODE)  # an agent of our own user may have changed it
        return copy
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.chmod(0o711)
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=folder))
    try:
        older = list(_older(fresh, copy.parent))
        shutil.copyfile(program, fresh / program.name)
        (fresh / program.name).chmod(_MODE)
        fresh.chmod(0o711)
        _move_into_place(fresh, copy.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # a half, or one that somebody else was quicker with
    for path in older:
        shutil.rmtree(path, ignore_errors=True)  # who runs it keeps it
    return copy


def is_hidden(program: Path) -> bool:
    """Root's own, as in the image, or our copy: nobody else can give the right to read back."""
    stat = program.stat()
    return stat.st_uid in {0, os.geteuid()} and not stat.st_mode & 0o666


def _older(fresh: Path, place: Path) -> Iterator[Path]:
    """Copies of other programs, and halves that nobody is making any more."""
    now = fresh.stat().st_mtime  # the file system's clock, as of what it is compared with
    for path in fresh.parent.iterdir():
        with suppress(FileNotFoundError):  # its maker has just moved it into place
            is_half = path.name.startswith(_FRESH)
            if path != place and not (is_half and path.stat().st_mtime > now - _LONGEST_S):
                yield path


def _is_script(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(2) == b"#!"


def _move_into_place(fresh: Path, place: Path) -> None:
    try:
        fresh.rename(place)
    except OSError:
        if not place.exists():
            raise

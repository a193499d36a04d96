"""The command line of bubblewrap: a file tree with little in it, processes of its own."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.agents import confine
from orchestrator.agents.sandbox import CONFIGURATION, PROGRAMS, SIZES, Places

_INNER = (
    "import sys; sys.path.append(sys.argv.pop(1)); from orchestrator.agents import confine;"
    " confine.become(sys.argv[1:])"
)
_PACKAGE = Path(confine.__file__).parents[1]
_PYTHON = os.path.realpath(sys.executable)
_LIBRARY = os.path.realpath(sys.base_prefix)


def found() -> str | None:
    return shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")


_SHARE = 16
"""Of the run's memory each of the two memory file systems may hold one part in this many: nobody counts what lies
there, so both come on top of the limit, and must stay small beside it."""


def wrapper(
    program: str, places: Places, *, uid: int | None, names: Path | None, memory_max_bytes: int = 0
) -> list[str]:
    """All that stands before the command inside. `names`: the folder with a made passwd and group."""
    return [
        program,
        *("--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        "--unshare-cgroup-try",
        *_rights(uid),
        *_system(names, has_uid=uid is not None),
        *_memory(memory_max_bytes),
        *_places(places),
        # Both are memory file systems too, of bubblewrap's own, and have no bound.
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        "--",
    ]


def inner() -> list[str]:
    """Takes the rights that bubblewrap still needed. The agent's folder follows, and its command."""
    return python(_INNER)


def python(program: str) -> list[str]:
    """A bare interpreter that finds our package by its first argument."""
    return [_PYTHON, "-I", "-S", "-E", "-c", program, str(_PACKAGE.parent)]


def _rights(uid: int | None) -> tuple[str, ...]:
    """Root drops all but what changes the uid; others have nothing to drop."""
    if os.geteuid() != 0:
        return ("--unshare-user",)
    if uid is None:
        return ("--cap-drop", "ALL")
    return ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


def _system(names: Path | None, *, has_uid: bool) -> Iterator[str]:
    for path in PROGRAMS:
        if os.path.islink(path):  # noqa: PTH114  # strings go into a command line
            yield from ("--symlink", os.readlink(path), path)  # noqa: PTH115  # as above
        elif os.path.exists(path):  # noqa: PTH110  # as above
            yield from ("--ro-bind", path, path)
    if has_uid:
        yield from ("--ro-bind", "/etc", "/etc")
    else:
        for name in CONFIGURATION:
            yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    if names is not None:
        for name in ("passwd", "group"):
            yield from ("--ro-bind", str(names / name), f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev")
    for path in SIZES:
        yield from ("--ro-bind-try", path, path)


def _memory(most: int) -> Iterator[str]:
    """What programs expect to be there and to write to, of the run alone. Without a bound they would hold half the
    machine's memory. An old bubblewrap does not know `--size` and refuses it; then the probe says so.
    """
    for path in ("/tmp", "/dev/shm"):  # noqa: S108  # of the run alone
        if most:
            yield from ("--size", str(most // _SHARE))
        yield from ("--tmpfs", path, "--chmod", "1777", path)


def _places(places: Places) -> Iterator[str]:
    """The interpreter and our own package are there for the inner program; neither holds a secret."""
    own = (places.workspace, places.home, places.tmp)
    lent = [
        path for path in (_LIBRARY, str(_PACKAGE), *places.toolchains, places.program, *places.readable) if path
    ]
    for folder in _folders_above((*own, *lent)):
        yield from ("--dir", folder)
    for path in lent:
        yield from ("--ro-bind", path, path)
    for path in own:
        yield from ("--bind", path, path)


def _folders_above(paths: Sequence[str]) -> list[str]:
    """Made outright: those that bubblewrap makes by itself are closed to all but root."""
    above = {str(folder) for path in paths for folder in Path(path).parents}
    return sorted(folder for folder in above - {"/"} if not folder.startswith("/usr"))


def write_names(folder: Path, uid: int, home: str) -> None:
    """So that tools which ask who they are (ssh, npm) get an answer."""
    folder.mkdir(mode=0o755, exist_ok=True)
    rows = {
        "passwd": f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:{home}:/bin/sh\n",
        "group": f"root:x:0:\nagent:x:{uid}:\n",
    }
    for name, text in rows.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)

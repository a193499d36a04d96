"""What a path, a link or a mode in an agent's commit must not be. Pure."""

import re
import unicodedata
from typing import Final

from orchestrator.agents.prompt import clean

PATH_MAX_BYTES = 1024
NAME_MAX_BYTES = 255
LINK_MAX_BYTES = 1024
LINK_MODE: Final = "120000"
SUBMODULE_MODE: Final = "160000"
_NTFS_SHORT = re.compile(r"git~\d+")
_MODULES = re.compile(r"\.gitmodules|gitmod~\d+|gi[0-9a-f]{4}~\d+")


def fault_in_path(raw: bytes) -> str | None:
    """Why a path is not taken over; None when it is one that every system reads alike."""
    if len(raw) > PATH_MAX_BYTES:
        return f"it is longer than {PATH_MAX_BYTES} bytes"
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    if clean(path)[1] or "\n" in path or "\t" in path:
        return "it holds control or invisible characters"
    return next((why for name in path.split("/") if (why := _fault_in_name(name))), None)


def _fault_in_name(name: str) -> str | None:
    if name in {"", ".", ".."}:
        return "it has an empty name, `.` or `..` in it"
    if len(name.encode()) > NAME_MAX_BYTES:
        return f"a name in it is longer than {NAME_MAX_BYTES} bytes"
    if _is_git_dir(name):
        return "a name in it is .git to some system"
    if _MODULES.fullmatch(_as_read_elsewhere(name)):
        return "it says where submodules come from"
    return None


def _is_git_dir(name: str) -> bool:
    read = _as_read_elsewhere(name)
    return read == ".git" or _NTFS_SHORT.fullmatch(read) is not None


def _as_read_elsewhere(name: str) -> str:
    """As a file system reads it that knows no case, no trailing dots and no difference of forms."""
    plain = unicodedata.normalize("NFKC", name.partition(":")[0]).casefold()
    return "".join(char for char in plain if unicodedata.category(char) != "Cf").rstrip(" .")


def leads_outside(path: str, target: bytes) -> bool:
    """A link may only go up first and then down, and never above the root: a `..` behind a name could start from
    wherever that name links to.
    """
    if len(target) > LINK_MAX_BYTES:
        return True
    try:
        names = target.decode().split("/")
    except UnicodeDecodeError:
        return True
    up = next((number for number, name in enumerate(names) if name != ".."), len(names))
    rest = names[up:]
    if target.startswith(b"/") or up > path.count("/") or ".." in rest or "\0" in target.decode():
        return True
    return any(_is_git_dir(name) for name in rest)

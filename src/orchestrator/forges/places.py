"""How names become places in a URL. What passes here stays in its place, whatever is written in it."""

import re
from urllib.parse import quote

from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import RepoName, Sha, parse_sha

_MAX_CHARS = 1000
_STRAY = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_NO_BRANCH = re.compile(r"[\x20~^:?*\[]|@\{|\.\.|/\.|\.lock(/|$)|^[-.]|\.$|^@$")


def of_repo(repo: RepoName) -> str:
    """`repos/owner/name`, checked again: a name may have been made without `parse`."""
    try:
        return f"repos/{RepoName.parse(str(repo))}"
    except ValueError as error:
        raise _refused(str(error)) from error


def of_branch(name: str) -> str:
    """Git's own rules: no branch has another name. Slashes stay, as the servers want it."""
    if _NO_BRANCH.search(name):
        raise _refused(f"no branch can have the name {name[:80]!r}")
    return of_path(name)


def of_path(path: str) -> str:
    """A path below its folder. HTTP clients resolve dots, so a path with dots alone as a part is refused."""
    parts = path.split("/")
    if len(path) > _MAX_CHARS or _STRAY.search(path) or any(part in {"", ".", ".."} for part in parts):
        raise _refused(f"no path or branch can have the name {path[:80]!r}")
    try:
        return quote(path)
    except UnicodeEncodeError as error:
        raise _refused(f"{path[:80]!r} is no text that a URL can carry") from error


def of_commit(sha: str) -> Sha:
    try:
        return parse_sha(sha)
    except ValueError as error:
        raise _refused(str(error)) from error


def _refused(reason: str) -> Permanent:
    return Permanent(
        "gitea_bad_name",
        f"Nothing was asked of Gitea: {reason}.",
        hint="Correct the repository, the branch or the document's name in orchestrator.yaml.",
    )

"""Finds the pull request between two branches. Gitea's own look-up answers any one of them, in no order."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.forge import ForgeCapabilities
from orchestrator.domain.model import RepoName
from orchestrator.forges import places
from orchestrator.forges.gitea_api import GiteaApi
from orchestrator.forges.gitea_shapes import PullRow

_RECENT_PAGES = 4
"""Where they are listed by their last change, older ones are not looked for."""


_MAX_KNOWN = 500
Ends = tuple[RepoName, str, str]


@dataclass(frozen=True, slots=True)
class _Closed:
    """What was found when none was open. What was changed since has no earlier time than `at`, the server's."""

    row: PullRow
    at: datetime


class Known:
    """Closed ones that were found. A task may rest at one for weeks: one page tells what has changed since."""

    def __init__(self) -> None:
        self._closed: dict[Ends, _Closed] = {}

    def note(self, ends: Ends, row: PullRow, seen: list[PullRow]) -> None:
        """`seen` are rows that were read before it was certain that none is open."""
        times = [one.updated_at for one in seen or [row] if one.updated_at]
        self._closed.pop(ends, None)
        if row.state != "open" and times:
            while len(self._closed) >= _MAX_KNOWN:
                del self._closed[next(iter(self._closed))]
            self._closed[ends] = _Closed(row, max(times))

    async def again(self, api: GiteaApi, ends: Ends) -> PullRow | None:
        """The one between them now; None when one page does not tell."""
        before = self._closed.get(ends)
        if before is None:
            return None
        query = {"state": "all", "sort": "recentupdate"}
        page, is_whole = await api.first_rows(f"{places.of_repo(ends[0])}/pulls", PullRow, query, 1)
        if not _tells(page, before, ends, is_whole=is_whole):
            return None
        here = {one.id: one for one in (before.row, *page) if one.is_between(*ends[1:])}
        newest = max(here.values(), key=lambda one: (one.state == "open", one.number))
        self.note(ends, newest, page)
        return newest


def _tells(page: list[PullRow], before: _Closed, ends: Ends, *, is_whole: bool) -> bool:
    """All that was changed since is on the page, and the known one was not led elsewhere, or deleted."""
    times = [one.updated_at for one in page if one.updated_at]
    there = next((one for one in page if one.id == before.row.id), None)
    if there is None:
        return not is_whole and bool(times) and min(times) < before.at
    return there.is_between(*ends[1:]) and bool(times) and (is_whole or min(times) < before.at)


async def between(api: GiteaApi, ends: Ends, capabilities: ForgeCapabilities, known: Known) -> PullRow | None:
    """An open one before a closed one, the newest of them."""
    places.of_branch(ends[1])
    if (again := await known.again(api, ends)) is not None:
        return again
    found, seen = await _looked_up(api, *ends, capabilities)
    if found:
        known.note(ends, found, seen)
    return found


async def _looked_up(
    api: GiteaApi, repo: RepoName, base: str, head: str, capabilities: ForgeCapabilities
) -> tuple[PullRow | None, list[PullRow]]:
    """And what else was seen on the way."""
    one = None
    if _fits_a_path(base):
        path = f"{places.of_repo(repo)}/pulls/{places.of_branch(base)}/{places.of_branch(head)}"
        one = await api.row_if_there(path, PullRow)
        if one is None or one.state == "open":
            return one, []
    seen = [one] if one else []
    found = await _listed(api, repo, base, head, "open", capabilities)
    found = found or await _listed(api, repo, base, head, "closed", capabilities)
    return max(found or seen, key=lambda row: row.number, default=None), seen


async def from_branch(api: GiteaApi, repo: RepoName, head: str, capabilities: ForgeCapabilities) -> PullRow | None:
    """The newest open one, whatever its base. Who moves one onto another base moves it to the top of the list."""
    query = {"state": "open", "sort": "recentupdate"}
    narrow = {**query, "head": places.of_branch(head)}
    for asked in (narrow, query) if capabilities.pull_head_filter else (query,):
        rows = await _recent(api, f"{places.of_repo(repo)}/pulls", asked)
        if found := [row for row in rows if row.is_from(head)]:
            return max(found, key=lambda row: row.number)
    return None


def _fits_a_path(base: str) -> bool:
    """A base of digits would be taken for a pull request's number, and one with a slash for two parts."""
    return "/" not in base and not base.isdigit()


async def _listed(
    api: GiteaApi, repo: RepoName, base: str, head: str, state: str, capabilities: ForgeCapabilities
) -> list[PullRow]:
    """A server's filters only save pages: what counts is compared here."""
    query = {"state": state, "base_branch": base, "sort": "recentupdate"}
    narrow = {**query, "base": base, "head": head}
    for asked in (narrow, query) if capabilities.pull_head_filter else (query,):
        path = f"{places.of_repo(repo)}/pulls"
        rows = await (api.rows(path, PullRow, asked) if state == "open" else _recent(api, path, asked))
        if found := [row for row in rows if row.is_between(base, head)]:
            return found
    return []


async def _recent(api: GiteaApi, path: str, query: dict[str, str]) -> list[PullRow]:
    rows, _ = await api.first_rows(path, PullRow, query, _RECENT_PAGES)
    return rows

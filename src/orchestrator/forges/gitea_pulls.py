"""Finds the pull request between two branches. Gitea's own look-up answers any one of them, in no order."""

from orchestrator.domain.forge import ForgeCapabilities
from orchestrator.domain.model import RepoName
from orchestrator.forges import places
from orchestrator.forges.gitea_api import GiteaApi
from orchestrator.forges.gitea_shapes import PullRow

_RECENT_PAGES = 4
"""Where they are listed by their last change, older ones are not looked for."""


async def between(
    api: GiteaApi, repo: RepoName, base: str, head: str, capabilities: ForgeCapabilities
) -> PullRow | None:
    """An open one before a closed one, the newest of them."""
    places.of_branch(base)
    one = None
    if _fits_a_path(base):
        path = f"{places.of_repo(repo)}/pulls/{places.of_branch(base)}/{places.of_branch(head)}"
        one = await api.row_if_there(path, PullRow)
        if one is None or one.state == "open":
            return one
    found = await _listed(api, repo, base, head, "open", capabilities)
    found = found or await _listed(api, repo, base, head, "closed", capabilities)
    return max([*found, *([one] if one and not found else [])], key=lambda row: row.number, default=None)


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

"""The end of a failed job's log, where the server runs the jobs itself and shows them (Gitea from 1.25)."""

import re

from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import RepoName
from orchestrator.forges import places
from orchestrator.forges.gitea_api import MISSING, PAGE_ROWS, GiteaApi
from orchestrator.forges.gitea_shapes import Entity, JobsRow, RunsRow, place
from orchestrator.forges.text import log_end
from orchestrator.rest import REDIRECTS

MAX_LOG_CHARS = 8_000
_ELSEWHERE = MISSING | REDIRECTS | {400, 403, 410, 501}
"""Answers that mean: not here. A redirect leads to a storage that we do not follow to."""
_JOB_PAGE = re.compile(r"(.*/actions/runs/[0-9]{1,12})/jobs/[0-9]{1,12}(?:/.*)?")


async def job_log(api: GiteaApi, repo: RepoName, url: str) -> str:
    """Empty for checks of other CI systems. `url` is only compared with the server's own pages."""
    page = place(url)
    found = _JOB_PAGE.fullmatch(page)
    if found is None or not found[1].endswith(f"/{repo}/actions/runs/{found[1].rpartition('/')[2]}"):
        return ""
    actions = f"{places.of_repo(repo)}/actions"
    run = await _numbered(api, f"{actions}/runs", RunsRow, found[1])
    job = await _numbered(api, f"{actions}/runs/{run:d}/jobs", JobsRow, page) if run else None
    return await _end(api, f"{actions}/jobs/{job:d}/logs") if job else ""


async def _numbered(api: GiteaApi, path: str, wanted: type[RunsRow | JobsRow], page: str) -> int | None:
    """The number the API knows it by: the one in the page's address was another one before 1.27."""
    answer = await api.call("GET", path, query={"limit": str(PAGE_ROWS)}, understood=_ELSEWHERE)
    if answer.status in _ELSEWHERE:
        return None
    rows: list[Entity] = api.decoded(answer.body, wanted).entities
    return next((row.id for row in rows if place(row.html_url) == page), None)


async def _end(api: GiteaApi, path: str) -> str:
    """A log too large to read is as good as none: the check's link is there."""
    try:
        answer = await api.call("GET", path, understood=_ELSEWHERE)
    except Permanent:
        return ""
    return "" if answer.status in _ELSEWHERE else log_end(answer.body, MAX_LOG_CHARS)

"""Plane's REST API v1 as a Tracker. Source of facts: contract of Plane, section 2."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from orchestrator.domain.errors import OrchestratorError, Permanent
from orchestrator.domain.model import ProjectId, UserId, WorkItem, WorkItemId
from orchestrator.rest import Json, RestClient, System
from orchestrator.trackers.html import to_text
from orchestrator.workflow.names import is_key

PAGE = 100
MAX_PAGES = 20
_NOT_FOUND = "The requested resource does not exist."
_EXPANDED = {"expand": "state,labels,project"}
_PLANE = System(
    "plane",
    "Plane",
    "ORCH_PLANE_API_URL",
    "Check ORCH_PLANE_API_TOKEN, and that its user is a member of the project.",
)


class _Item(msgspec.Struct):
    id: str
    name: str
    sequence_id: int
    created_at: datetime
    updated_at: datetime
    project: str | Json
    description_html: str | None = None
    state: str | Json | None = None
    labels: list[str | Json] = []
    assignees: list[str | Json] = []
    is_draft: bool = False
    archived_at: str | None = None


class _Page(msgspec.Struct):
    results: list[_Item]
    next_cursor: str = ""
    next_page_results: bool = False


class Plane:
    """One workspace. Paths end in a slash: without one Plane answers 301 and a POST would turn into a GET."""

    def __init__(self, url: str, token: str, workspace: str, *, timeout_s: float = 15.0) -> None:
        self._workspace = workspace
        self._identifiers: dict[str, str] = {}
        self._rest = RestClient(_PLANE, f"{url}/api/v1/", {"X-API-Key": token}, timeout_s)

    async def aclose(self) -> None:
        await self._rest.aclose()

    async def whoami(self) -> str:
        answer = await self._rest.call("GET", "users/me/")
        return str(self._rest.decoded(answer.body, Json).get("id", ""))

    async def work_item(self, project: ProjectId, item: WorkItemId) -> WorkItem | None:
        path = f"{self._project(project)}/work-items/{item}/"
        answer = await self._rest.call("GET", path, query=_EXPANDED, understood=frozenset({404}))
        if answer.status != 404:
            return await self._work_item(project, self._rest.decoded(answer.body, _Item))
        if self._says_missing(answer.body):
            return None
        raise Permanent(
            "plane_not_found",
            f"Plane answered 404 for {path}, and not in its own words.",
            hint="Check ORCH_PLANE_API_URL and ORCH_PLANE_WORKSPACE_SLUG: a proxy may have answered instead.",
        )

    async def changed_items(self, project: ProjectId, since: datetime | None) -> Sequence[WorkItem]:
        """Stops at the first item older than `since`: the list is ordered by -updated_at."""
        found: list[WorkItem] = []
        query = {"order_by": "-updated_at", "per_page": str(PAGE), **_EXPANDED}
        for _ in range(MAX_PAGES):
            answer = await self._rest.call("GET", f"{self._project(project)}/work-items/", query=query)
            page = self._rest.decoded(answer.body, _Page)
            fresh = [raw for raw in page.results if since is None or raw.updated_at >= since]
            found += [await self._work_item(project, raw) for raw in fresh]
            if len(fresh) < len(page.results) or not page.next_page_results:
                break
            query["cursor"] = page.next_cursor
        return found

    def _project(self, project: ProjectId) -> str:
        return f"workspaces/{self._workspace}/projects/{project}"

    async def _work_item(self, project: ProjectId, raw: _Item) -> WorkItem:
        key = f"{await self._identifier(project, raw.project)}-{raw.sequence_id}"
        if not is_key(key):
            raise Permanent("plane_odd_key", f"Plane's key {key[:60]!r} cannot name a branch or a folder.")
        return WorkItem(
            id=WorkItemId(raw.id),
            project=project,
            key=key,
            title=raw.name[:500],
            description=to_text(raw.description_html or ""),
            state=_named(raw.state),
            labels=tuple(_named(label) for label in raw.labels),
            assignees=tuple(UserId(_identified(user)) for user in raw.assignees),
            is_draft=raw.is_draft,
            is_archived=raw.archived_at is not None,
            created_at=raw.created_at,
            updated_at=raw.updated_at,
        )

    async def _identifier(self, project: ProjectId, raw: str | Json) -> str:
        """`ENDURO` of ENDURO-1; a server that does not expand the project is asked for it once."""
        if isinstance(raw, dict) and raw.get("identifier"):
            return str(raw["identifier"])
        if project not in self._identifiers:
            answer = await self._rest.call("GET", f"{self._project(project)}/")
            self._identifiers[project] = str(self._rest.decoded(answer.body, Json).get("identifier", ""))
        return self._identifiers[project]

    def _says_missing(self, body: bytes) -> bool:
        """Only the contract's own 404 means that the item is gone."""
        try:
            return bool(self._rest.decoded(body, Json).get("error") == _NOT_FOUND)
        except OrchestratorError:
            return False


def _named(value: str | Json | None) -> str:
    """The name where the server expanded it, else the uuid."""
    return str(value.get("name", "")) if isinstance(value, dict) else value or ""


def _identified(value: str | Json) -> str:
    return str(value.get("id", "")) if isinstance(value, dict) else value

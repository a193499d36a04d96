"""Plane 1.3.1 in small: REST v1 with its quirks, and its signed webhooks. State lives in memory."""

import hashlib
import json
import math
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from orchestrator.sim.server import Simulator, utc_now
from orchestrator.sim.webhook import Outgoing, load_recorded, plane_headers, post_recorded

API = "/api/v1/"
WEBHOOK_TIMEOUT_S = 30.0
RATE_WINDOW_S = 60
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_PER_PAGE = 1000
GZIP_FROM_BYTES = 200
ADMIN, MEMBER, GUEST = 20, 15, 5
PRIORITIES = ("urgent", "high", "medium", "low", "none")
DEFAULT_STATES = (
    ("Backlog", "backlog", "#60646C"),
    ("Todo", "unstarted", "#60646C"),
    ("In Progress", "started", "#F59E0B"),
    ("Done", "completed", "#46A758"),
    ("Cancelled", "cancelled", "#9AA4BC"),
)
ITEM_DEFAULTS: Mapping[str, Any] = {
    "type_id": None,
    "point": None,
    "name": "",
    "description_html": "<p></p>",
    "description_binary": None,
    "priority": "none",
    "start_date": None,
    "target_date": None,
    "completed_at": None,
    "archived_at": None,
    "is_draft": False,
    "external_source": None,
    "external_id": None,
    "parent": None,
    "estimate_point": None,
    "type": None,
    "assignees": [],
    "labels": [],
}
WRITABLE = (
    "name",
    "description_html",
    "priority",
    "state",
    "assignees",
    "labels",
    "parent",
    "start_date",
    "target_date",
    "sort_order",
    "external_source",
    "external_id",
)
BROWSER_FIELDS = {"state": "state_id", "assignees": "assignee_ids", "labels": "label_ids"}
PROJECT_SWITCHES = (
    "module_view",
    "cycle_view",
    "issue_views_view",
    "intake_view",
    "is_time_tracking_enabled",
    "is_issue_type_enabled",
    "guest_view_all_features",
)
PROJECT_EMPTY = (
    "cover_image_url",
    "description_text",
    "description_html",
    "emoji",
    "icon_prop",
    "cover_image",
    "archived_at",
    "external_source",
    "external_id",
    "default_assignee",
    "project_lead",
    "cover_image_asset",
    "estimate",
    "default_state",
)
PROJECT_COUNTED = (
    "total_members",
    "total_cycles",
    "total_modules",
    "is_deployed",
    "is_member",
    "member_role",
)
"""What answers add to a project's row and deliveries do not."""

Row = dict[str, Any]


class Refused(Exception):
    """An answer other than success, with the body Plane gives it."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def _missing() -> Refused:
    return Refused(404, {"error": "The requested resource does not exist."})


def _forbidden() -> Refused:
    return Refused(403, {"detail": "You do not have permission to perform this action."})


@dataclass(frozen=True)
class User:
    """A person or our own user; an API key acts as its user in every workspace of his."""

    id: str
    first_name: str
    last_name: str
    email: str
    display_name: str
    api_key: str

    def lite(self) -> Row:
        names = {key: getattr(self, key) for key in ("id", "first_name", "last_name", "email")}
        return names | {"avatar": "", "avatar_url": None, "display_name": self.display_name}


@dataclass(frozen=True)
class Webhook:
    """Plane has them per workspace, for all its projects."""

    id: str
    url: str
    secret: str


@dataclass
class Project:
    """One project with all that hangs on it. Rows have the keys of the REST answers."""

    row: Row
    roles: dict[str, int]
    states: dict[str, Row] = field(default_factory=dict)
    labels: dict[str, Row] = field(default_factory=dict)
    items: dict[str, Row] = field(default_factory=dict)
    comments: dict[str, Row] = field(default_factory=dict)
    links: dict[str, Row] = field(default_factory=dict)
    activities: list[Row] = field(default_factory=list)
    last_sequence: int = 0

    @property
    def id(self) -> str:
        return str(self.row["id"])


@dataclass
class Workspace:
    """Members here have a role for the workspace; projects have their own."""

    id: str
    slug: str
    roles: dict[str, int]
    projects: dict[str, Project] = field(default_factory=dict)
    webhooks: list[Webhook] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    """A request that got through key, permission and rate limit."""

    user: User
    workspace: Workspace | None
    project: Project | None
    args: Mapping[str, str]
    query: Mapping[str, str]
    raw: bytes

    @property
    def home(self) -> Workspace:
        if self.workspace is None:
            raise _missing()
        return self.workspace

    @property
    def place(self) -> Project:
        if self.project is None:
            raise _missing()
        return self.project

    @property
    def item(self) -> Row:
        return _visible(self.place.items, self.args["item"])

    def values(self) -> Row:
        try:
            body = json.loads(self.raw)
        except ValueError as error:
            raise Refused(400, {"detail": f"JSON parse error - {error}"}) from error
        if not isinstance(body, dict):
            text = f"Invalid data. Expected a dictionary, but got {type(body).__name__}."
            raise Refused(400, {"non_field_errors": [text]})
        return body


_Answer = tuple[int, Any]
_Handler = Callable[[_Call], _Answer]


class PlaneSim(Simulator):
    """A Plane server. Give `app` to a LoopbackServer, act through REST or through the methods below."""

    def __init__(self, *, rate_per_minute: int = 60, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(WEBHOOK_TIMEOUT_S, now)
        self.rate_per_minute = rate_per_minute
        self.users: dict[str, User] = {}
        self.workspaces: dict[str, Workspace] = {}
        self._granted: dict[str, deque[float]] = {}
        self.app: ASGIApp = self.watch(_application(self))

    @classmethod
    def from_recording(
        cls, fixtures: Path, *, rate_per_minute: int = 60, now: Callable[[], datetime] = utc_now
    ) -> Self:
        """The server as it stood when the recorded deliveries were sent: workspace `acme`, project ENDURO."""
        sim = cls(rate_per_minute=rate_per_minute, now=now)
        _restore(sim, fixtures)
        return sim

    # -- building a world

    def add_user(self, name: str, user_id: str | None = None) -> User:
        key = "plane_api_" + hashlib.sha256(name.encode()).hexdigest()[:32]
        user = User(user_id or str(uuid4()), name.capitalize(), "Research", f"{name}@example.test", name, key)
        self.users[user.id] = user
        return user

    def user(self, name_or_id: str) -> User:
        by_name = {user.display_name: user for user in self.users.values()}
        return self.users.get(name_or_id) or by_name[name_or_id]

    def key_of(self, name: str) -> str:
        """The API key of a user."""
        return self.user(name).api_key

    def add_workspace(self, slug: str, roles: Mapping[str, int]) -> Workspace:
        members = {self.user(name).id: role for name, role in roles.items()}
        workspace = self.workspaces[slug] = Workspace(str(uuid4()), slug, members)
        return workspace

    def add_project(self, slug: str, name: str, identifier: str, roles: Mapping[str, int]) -> Project:
        """A project with the five states every new project has; the first member makes it."""
        workspace = self.workspaces[slug]
        members = {self.user(member).id: role for member, role in roles.items()}
        row = _project_row(name, identifier, workspace.id, next(iter(members)), self._stamp())
        project = workspace.projects[row["id"]] = Project(row, members)
        for index, (state, group, color) in enumerate(DEFAULT_STATES):
            self.new_state(project, state, group, color).update(
                slug="", sequence=15000.0 + 10000.0 * index, default=index == 0
            )
        told = {key: value for key, value in row.items() if key not in PROJECT_COUNTED}
        self._tell(workspace, "project", "created", told, _activity(self.users[str(row["created_by"])], None))
        return project

    def delete_project(self, project_id: str, by: str) -> None:
        """All that hangs on it goes with it, and only the project is told of."""
        with self.lock:
            workspace, project = self._project(project_id)
            del workspace.projects[project.id]
            self._tell(workspace, "project", "deleted", {"id": project.id}, _activity(self.user(by), None))

    def add_webhook(
        self, url: str, secret: str | None = None, *, webhook_id: str | None = None, slug: str | None = None
    ) -> Webhook:
        """What a workspace admin does in the browser; there is no REST call for it."""
        workspace = self.workspaces[slug] if slug else next(iter(self.workspaces.values()))
        known = "plane_wh_" + secrets.token_hex(16) if secret is None else secret
        hook = Webhook(webhook_id or str(uuid4()), url, known)
        workspace.webhooks.append(hook)
        return hook

    # -- what people and API clients do

    def create_work_item(self, project_id: str, values: Mapping[str, Any], by: str) -> Row:
        with self.lock:
            workspace, project = self._project(project_id)
            actor = self.user(by)
            _refuse_known_pair(project.items.values(), values, "Issue")
            clean = _clean(project, values)
            if not clean.get("name"):
                raise Refused(400, {"name": ["This field is required."]})
            row = self._new_item(project, clean, actor)
            self._remember(project, row, actor, (None, None, None))
            self._tell(workspace, "issue", "created", _issue_data(self, project, row), _activity(actor, None))
            return row

    def change_work_item(self, item_id: str, changes: Mapping[str, Any], by: str, *, browser: bool = False) -> Row:
        """One `issue/updated` per changed key; the browser names some keys otherwise than REST."""
        with self.lock:
            workspace, project, row = self._item(item_id)
            actor = self.user(by)
            news = _apply(row, _clean(project, changes))
            self._touch(row, actor)
            self._complete(project, row)
            for key, old in news.items():
                self._remember(project, row, actor, (key, old, row[key]))
                name = BROWSER_FIELDS.get(key, key) if browser else key
                data = _issue_data(self, project, row)
                self._tell(workspace, "issue", "updated", data, _activity(actor, name, old, changes[key]))
            return row

    def archive(self, item_id: str) -> None:
        """Sends nothing; the item is 404 from now on."""
        with self.lock:
            self._item(item_id)[2]["archived_at"] = self._stamp()

    def delete_work_item(self, item_id: str) -> None:
        """Sends nothing; the item is 404 from now on."""
        with self.lock:
            _, project, row = self._item(item_id)
            del project.items[row["id"]]

    def add_comment(self, item_id: str, values: Mapping[str, Any], by: str) -> Row:
        """`created_by` and `created_at` may be forged through `values`; `actor` may not."""
        with self.lock:
            workspace, project, item = self._item(item_id)
            actor = self.user(by)
            _refuse_known_pair(project.comments.values(), values, "Work item comment")
            row = self._new_comment(project, item, values, actor)
            project.comments[row["id"]] = row
            self._touch(item, actor)
            self._tell(workspace, "issue_comment", "created", dict(row), _activity(actor, None))
            return row

    def change_comment(self, comment_id: str, values: Mapping[str, Any], by: str, *, browser: bool = False) -> Row:
        """Any project member may, guests too; the comment's `actor` stays who wrote it first."""
        with self.lock:
            workspace, project, row = self._comment(comment_id)
            actor, old = self.user(by), row["comment_html"]
            new = values.get("comment_html", old)
            row.update(comment_html=_safe_html(new))
            self._touch(row, actor)
            if browser:
                row["edited_at"] = row["updated_at"]
            self._touch(project.items[row["issue"]], actor)
            if new != old:
                told = _activity(actor, "comment_html", old, new)
                self._tell(workspace, "issue_comment", "updated", dict(row), told)
            return row

    def delete_comment(self, comment_id: str, by: str) -> None:
        """Sends nothing, but the item's `updated_at` moves."""
        with self.lock:
            _, project, row = self._comment(comment_id)
            del project.comments[row["id"]]
            self._touch(project.items[row["issue"]], self.user(by))

    # -- deliveries

    @property
    def deliveries(self) -> list[Outgoing]:
        """What was sent or lost so far, oldest first."""
        return [sent.delivery for sent in list(self.courier.sent)]

    def retry(self, delivery: Outgoing) -> Outgoing:
        """As Plane's worker does after a failed attempt: a new delivery id, the same bytes and signature."""
        again = str(uuid4())
        headers = dict(delivery.headers) | {"X-Plane-Delivery": again}
        return self.post(replace(delivery, id=again, headers=headers))

    def deliver_recorded(self, url: str, fixture: Path) -> httpx.Response:
        """Posts a recorded delivery with its real headers and exact bytes, past all hooks and faults."""
        return post_recorded(url, fixture)

    def _tell(self, workspace: Workspace, event: str, action: str, data: Row, activity: Row) -> None:
        for hook in workspace.webhooks:
            payload = {"event": event, "action": action, "webhook_id": hook.id, "workspace_id": workspace.id}
            body = json.dumps(payload | {"data": data, "activity": activity}).encode()
            delivery_id = str(uuid4())
            headers = plane_headers(event, delivery_id, hook.secret, body)
            self.post(Outgoing(delivery_id, f"{event}/{action}", hook.url, headers, body))

    # -- rows

    def _stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _touch(self, row: Row, actor: User) -> None:
        row.update(updated_at=self._stamp(), updated_by=actor.id)

    def new_row(self, project: Project, by: User) -> Row:
        now = self._stamp()
        return {
            "id": str(uuid4()),
            "created_at": now,
            "updated_at": now,
            "deleted_at": None,
            "created_by": by.id,
            "updated_by": None,
            "project": project.id,
            "workspace": project.row["workspace"],
        }

    def _new_item(self, project: Project, clean: Row, actor: User) -> Row:
        default = next((row["id"] for row in project.states.values() if row["default"]), None)
        state = clean.get("state", default)
        project.last_sequence += 1
        orders = [row["sort_order"] for row in project.items.values() if row["state"] == state]
        row = self.new_row(project, actor) | dict(ITEM_DEFAULTS)
        row |= {"state": state, "sequence_id": project.last_sequence}
        row |= {"sort_order": max(orders, default=55535.0) + 10000.0} | clean
        project.items[row["id"]] = row
        return row

    def _complete(self, project: Project, row: Row) -> None:
        group = project.states[row["state"]]["group"]
        row["completed_at"] = (row["completed_at"] or self._stamp()) if group == "completed" else None

    def new_state(self, project: Project, name: str, group: str, color: str) -> Row:
        row = self.new_row(project, self.users[str(project.row["created_by"])])
        row |= {"name": name, "description": "", "color": color, "slug": name.lower().replace(" ", "-")}
        row |= {"sequence": 65000.0, "group": group, "is_triage": group == "triage", "default": False}
        project.states[row["id"]] = row | {"external_source": None, "external_id": None}
        return project.states[row["id"]]

    def _new_comment(self, project: Project, item: Row, values: Mapping[str, Any], actor: User) -> Row:
        row = self.new_row(project, actor) | {
            "comment_html": _safe_html(str(values.get("comment_html", "<p></p>"))),
            "attachments": [],
            "access": values.get("access", "INTERNAL"),
            "external_source": values.get("external_source"),
            "external_id": values.get("external_id"),
            "edited_at": None,
            "description": str(uuid4()),
            "issue": item["id"],
            "actor": actor.id,
            "parent": None,
        }
        return row | {key: values[key] for key in ("created_by", "created_at") if values.get(key)}

    def _remember(self, project: Project, item: Row, actor: User, change: tuple[str | None, Any, Any]) -> None:
        """A line of the item's history; states by name, with their ids beside. No key: it was created."""
        key, old, new = change
        row = self.new_row(project, actor) | {"issue": item["id"], "actor": actor.id, "issue_comment": None}
        del row["created_by"], row["updated_by"]
        row |= {"old_value": old, "new_value": new, "old_identifier": None, "new_identifier": None}
        if key == "state":
            row |= {"old_value": project.states[old]["name"], "old_identifier": old}
            row |= {"new_value": project.states[new]["name"], "new_identifier": new}
        row |= {"verb": "updated" if key else "created", "field": key, "attachments": []}
        row["comment"] = f"updated the {key} to" if key else "created the issue"
        project.activities.append(row | {"epoch": float(int(self.now().timestamp()))})

    # -- finding

    def _project(self, project_id: str) -> tuple[Workspace, Project]:
        for workspace in self.workspaces.values():
            if project_id in workspace.projects:
                return workspace, workspace.projects[project_id]
        raise _missing()

    def _item(self, item_id: str) -> tuple[Workspace, Project, Row]:
        for workspace in self.workspaces.values():
            for project in workspace.projects.values():
                if item_id in project.items:
                    return workspace, project, _visible(project.items, item_id)
        raise _missing()

    def _comment(self, comment_id: str) -> tuple[Workspace, Project, Row]:
        for workspace in self.workspaces.values():
            for project in workspace.projects.values():
                if comment_id in project.comments:
                    return workspace, project, project.comments[comment_id]
        raise _missing()

    # -- the door: key, permission, rate

    def admit(self, request: Request) -> User:
        """401 without a key, 403 (not 401) with a wrong one."""
        key = request.headers.get("x-api-key", "")
        if not key:
            raise Refused(401, {"detail": "Authentication credentials were not provided."})
        for user in self.users.values():
            if secrets.compare_digest(user.api_key.encode(), key.encode()):
                return user
        raise Refused(403, {"detail": "Given API token is not valid"})

    def permit(self, user: User, request: Request, *, guests_write: bool) -> _Call:
        """403 for unknown workspaces and projects too: Plane does not tell them apart from foreign ones."""
        args = {name: str(value) for name, value in request.path_params.items()}
        workspace = self.workspaces.get(args["slug"]) if "slug" in args else None
        if "slug" in args and (workspace is None or user.id not in workspace.roles):
            raise _forbidden()
        project = workspace.projects.get(args["project"]) if workspace and "project" in args else None
        if "project" in args:
            role = project.roles.get(user.id, 0) if project else 0
            writes = request.method not in {"GET", "HEAD", "OPTIONS"}
            if role < (MEMBER if writes and not guests_write else GUEST):
                raise _forbidden()
        return _Call(user, workspace, project, args, dict(request.query_params), b"")

    def meter(self, user: User) -> dict[str, str]:
        """The rate limit of this key over a sliding minute; refused requests are not counted."""
        now = self.now().timestamp()
        granted = self._granted.setdefault(user.api_key, deque())
        while granted and granted[0] <= now - RATE_WINDOW_S:
            granted.popleft()
        if len(granted) >= self.rate_per_minute:
            wait = math.ceil(RATE_WINDOW_S - (now - granted[0])) if granted else RATE_WINDOW_S
            raise _Throttled(wait)
        granted.append(now)
        left = self.rate_per_minute - len(granted)
        return {"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(int(now) + RATE_WINDOW_S)}


class _Throttled(Refused):
    def __init__(self, wait_s: int) -> None:
        super().__init__(429, {"error_code": 5900, "error_message": "RATE_LIMIT_EXCEEDED"})
        self.wait_s = wait_s


# -- the REST calls


@dataclass(frozen=True)
class _Calls:
    """One method per REST call; each answers (status, body) or raises Refused."""

    sim: PlaneSim

    def me(self, call: _Call) -> _Answer:
        return 200, call.user.lite()

    def workspace_members(self, call: _Call) -> _Answer:
        roles = call.home.roles.items()
        return 200, [self.sim.users[user].lite() | {"role": role} for user, role in roles]

    def projects(self, call: _Call) -> _Answer:
        mine = [p for p in call.home.projects.values() if call.user.id in p.roles]
        return 200, _page([_project_view(p, call.user) for p in mine], call.query)

    def project(self, call: _Call) -> _Answer:
        return 200, _project_view(call.place, call.user)

    def members(self, call: _Call) -> _Answer:
        return 200, [self.sim.users[user].lite() for user in call.place.roles]

    def states(self, call: _Call) -> _Answer:
        rows = [row for row in call.place.states.values() if not row["is_triage"]]
        return 200, _page(rows, call.query)

    def add_state(self, call: _Call) -> _Answer:
        values = call.values()
        name = _required(values, "name")
        for row in call.place.states.values():
            if row["name"] == name:
                text = "State with the same name already exists in the project"
                raise Refused(409, {"error": text, "id": row["id"]})
        group, color = str(values.get("group", "backlog")), str(values.get("color", "#60646C"))
        return 200, self.sim.new_state(call.place, name, group, color)

    def labels(self, call: _Call) -> _Answer:
        return 200, _page(list(call.place.labels.values()), call.query)

    def add_label(self, call: _Call) -> _Answer:
        values = call.values()
        row = self.sim.new_row(call.place, call.user) | {"name": _required(values, "name")}
        row |= {"description": "", "color": str(values.get("color", "")), "sort_order": 65535.0}
        row |= {"external_source": None, "external_id": None, "parent": None}
        call.place.labels[row["id"]] = row
        return 201, row

    def items(self, call: _Call) -> _Answer:
        rows = _ordered([r for r in call.place.items.values() if _is_listed(r)], call.query)
        page = _page(rows, call.query, prune=False)
        page["results"] = [_item_view(self.sim, call, row) for row in page["results"]]
        return 200, page

    def add_item(self, call: _Call) -> _Answer:
        row = self.sim.create_work_item(call.place.id, call.values(), call.user.id)
        return 201, _item_view(self.sim, call, row)

    def item(self, call: _Call) -> _Answer:
        return 200, _item_view(self.sim, call, call.item)

    def item_by_key(self, call: _Call) -> _Answer:
        identifier, _, sequence = call.args["key"].rpartition("-")
        for project in call.home.projects.values():
            if project.row["identifier"] == identifier and call.user.id in project.roles:
                for row in filter(_is_listed, project.items.values()):
                    if str(row["sequence_id"]) == sequence:
                        return 200, _item_view(self.sim, replace(call, project=project), row)
        raise _missing()

    def change_item(self, call: _Call) -> _Answer:
        row = self.sim.change_work_item(call.item["id"], call.values(), call.user.id)
        return 200, _item_view(self.sim, call, row)

    def delete_item(self, call: _Call) -> _Answer:
        if call.place.roles[call.user.id] < ADMIN and call.item["created_by"] != call.user.id:
            raise Refused(403, {"error": "Only admin or creator can delete the work item"})
        self.sim.delete_work_item(call.item["id"])
        return 204, None

    def comments(self, call: _Call) -> _Answer:
        mine = [row for row in call.place.comments.values() if row["issue"] == call.args["item"]]
        newest_first = sorted(mine, key=lambda row: str(row["created_at"]), reverse=True)
        return 200, _page([row | {"is_member": True} for row in newest_first], call.query)

    def add_comment(self, call: _Call) -> _Answer:
        row = self.sim.add_comment(call.item["id"], call.values(), call.user.id)
        # The answer believes a forged author; the stored comment and the webhook do not.
        return 201, row | {"actor": row["created_by"], "updated_by": call.user.id}

    def comment(self, call: _Call) -> _Answer:
        return 200, self._comment_of(call) | {"is_member": True}

    def change_comment(self, call: _Call) -> _Answer:
        values, row = call.values(), self._comment_of(call)
        others = [other for other in call.place.comments.values() if other is not row]
        _refuse_known_pair(others, values, "Work item comment")
        return 200, self.sim.change_comment(row["id"], values, call.user.id)

    def delete_comment(self, call: _Call) -> _Answer:
        self.sim.delete_comment(self._comment_of(call)["id"], call.user.id)
        return 204, None

    def _comment_of(self, call: _Call) -> Row:
        row = call.place.comments.get(call.args["comment"])
        if row is None or row["issue"] != call.item["id"]:
            raise _missing()
        return row

    def links(self, call: _Call) -> _Answer:
        mine = [row for row in call.place.links.values() if row["issue"] == call.args["item"]]
        return 200, _page(mine, call.query)

    def add_link(self, call: _Call) -> _Answer:
        values, item = call.values(), call.item
        url = _required(values, "url")
        if not url.startswith(("http://", "https://")):
            raise Refused(400, {"url": ["Invalid URL format."]})
        if any(row["url"] == url and row["issue"] == item["id"] for row in call.place.links.values()):
            raise Refused(400, {"error": "URL already exists for this Issue"})
        row = self.sim.new_row(call.place, call.user) | {"title": values.get("title"), "url": url}
        row |= {"metadata": {}, "issue": item["id"], "updated_by": call.user.id}
        call.place.links[row["id"]] = row
        return 201, row

    def activities(self, call: _Call) -> _Answer:
        rows = [row for row in call.place.activities if row["issue"] == call.item["id"]]
        return 200, _page(rows, call.query)


def _application(sim: PlaneSim) -> Starlette:
    calls = _Calls(sim)
    project = "workspaces/{slug}/projects/{project:uuid}/"
    routes = [
        _route(sim, "users/me/", GET=calls.me),
        _route(sim, "workspaces/{slug}/members/", GET=calls.workspace_members),
        _route(sim, "workspaces/{slug}/projects/", GET=calls.projects),
        _route(sim, "workspaces/{slug}/work-items/{key}/", GET=calls.item_by_key),
        _route(sim, project, GET=calls.project),
        _route(sim, project + "members/", GET=calls.members),
        _route(sim, project + "states/", GET=calls.states, POST=calls.add_state),
        _route(sim, project + "labels/", GET=calls.labels, POST=calls.add_label),
        *(_ for word in ("work-items", "issues") for _ in _item_routes(calls, f"{project}{word}/")),
        Route("/{path:path}", _unknown_path, methods=None),
    ]
    gzip = Middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES)
    app = Starlette(routes=routes, middleware=[gzip])
    app.router.redirect_slashes = False
    return app


def _item_routes(calls: _Calls, items: str) -> list[Route]:
    sim, item = calls.sim, items + "{item:uuid}/"
    comment = item + "comments/{comment:uuid}/"
    change = {"GET": calls.comment, "PATCH": calls.change_comment, "DELETE": calls.delete_comment}
    return [
        _route(sim, items, GET=calls.items, POST=calls.add_item),
        _route(sim, item, GET=calls.item, PATCH=calls.change_item, DELETE=calls.delete_item),
        _route(sim, item + "activities/", GET=calls.activities),
        _route(sim, item + "links/", GET=calls.links, POST=calls.add_link),
        # Any member of the project may write and rewrite comments, guests included.
        _route(sim, item + "comments/", guests_write=True, GET=calls.comments, POST=calls.add_comment),
        _route(sim, comment, guests_write=True, **change),
    ]


def _route(sim: PlaneSim, path: str, *, guests_write: bool = False, **handlers: _Handler) -> Route:
    allow = {"Allow": ", ".join(handlers)}

    async def endpoint(request: Request) -> Response:
        raw = await _body(request)
        with sim.lock:
            return _outcome(lambda: _handle(sim, request, raw, handlers, guests_write), allow)

    # All methods come here: Starlette would answer those it does not know in another shape.
    return Route(API + path, endpoint, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])


async def _body(request: Request) -> bytes | None:
    """None when there is more than Plane takes."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            return None
    return raw


def _handle(
    sim: PlaneSim,
    request: Request,
    raw: bytes | None,
    handlers: Mapping[str, _Handler],
    guests_write: bool,  # noqa: FBT001 - handed through by position
) -> tuple[_Answer, dict[str, str]]:
    user = sim.admit(request)
    call = sim.permit(user, request, guests_write=guests_write)
    if raw is None:
        raise Refused(413, {"error": "REQUEST_BODY_TOO_LARGE"})
    rate = sim.meter(user)
    if request.method not in handlers:
        return (405, {"detail": f'Method "{request.method}" not allowed.'}), rate
    try:
        return handlers[request.method](replace(call, raw=raw)), rate
    except Refused as refused:
        return (refused.status, refused.body), rate


def _outcome(handle: Callable[[], tuple[_Answer, dict[str, str]]], headers: dict[str, str]) -> Response:
    try:
        (status, body), rate = handle()
    except _Throttled as throttled:
        wait = {"Retry-After": str(throttled.wait_s)}
        return JSONResponse(throttled.body, 429, headers | wait)
    except Refused as refused:
        return JSONResponse(refused.body, refused.status, headers)
    if status == 204:
        return Response(status_code=204, headers=headers | rate)
    return JSONResponse(body, status, headers | rate)


def _unknown_path(request: Request) -> Response:
    """Known but for its last slash: 301, which turns most clients' POST into a GET. Else 404."""
    slashed = request.url.path + "/"
    if any(_matches(route, slashed) for route in request.app.routes[:-1]):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(slashed + query, 301)
    return JSONResponse({"error": "Page not found."}, 404)


def _matches(route: Route, path: str) -> bool:
    scope = {"type": "http", "path": path, "root_path": "", "method": "GET"}
    return route.matches(scope)[0] is Match.FULL


# -- answers


def _page(rows: Sequence[Row], query: Mapping[str, str], *, prune: bool = True) -> Row:
    """Offset pages behind a cursor `size:page:is_prev`; rows added meanwhile shift them."""
    size, page = _cursor(query)
    start = size * page
    results = list(rows[start : start + size])
    return {
        "grouped_by": None,
        "sub_grouped_by": None,
        "total_count": len(rows),
        "next_cursor": f"{size}:{page + 1}:0",
        "prev_cursor": f"{size}:{page - 1}:1",
        "next_page_results": start + size < len(rows),
        "prev_page_results": page > 0,
        "count": len(results),
        "total_pages": math.ceil(len(rows) / size),
        "total_results": len(rows),
        "extra_stats": None,
        "results": [_only(row, query) for row in results] if prune else results,
    }


def _cursor(query: Mapping[str, str]) -> tuple[int, int]:
    per_page = query.get("per_page", str(MAX_PER_PAGE))
    if not per_page.isdecimal() or int(per_page) < 1:
        raise Refused(400, {"detail": "Invalid per_page parameter."})
    if int(per_page) > MAX_PER_PAGE:
        raise Refused(400, {"detail": f"Invalid per_page value. Cannot exceed {MAX_PER_PAGE}."})
    cursor = query.get("cursor") or f"{per_page}:0:0"
    parts = re.fullmatch(r"([1-9]\d{0,3}):(\d{1,9}):[01]", cursor)
    if parts is None:
        raise Refused(400, {"detail": "Invalid cursor parameter."})
    return int(parts[1]), int(parts[2])


def _ordered(rows: list[Row], query: Mapping[str, str]) -> list[Row]:
    order = query.get("order_by", "-created_at")
    key = order.removeprefix("-")
    if key not in {"created_at", "updated_at", "sequence_id", "sort_order", "name"}:
        key, order = "created_at", "-created_at"
    return sorted(rows, key=lambda row: row[key], reverse=order.startswith("-"))


def _only(row: Row, query: Mapping[str, str]) -> Row:
    fields = [name for name in query.get("fields", "").split(",") if name]
    return {name: row[name] for name in fields if name in row} if fields else row


def _item_view(sim: PlaneSim, call: _Call, row: Row) -> Row:
    project, view = call.place, dict(row)
    expand = call.query.get("expand", "").split(",")
    if "state" in expand:
        view["state"] = _state_lite(project, row)
    if "assignees" in expand:
        view["assignees"] = [sim.users[user].lite() for user in row["assignees"]]
    if "labels" in expand:
        view["labels"] = [project.labels[label] for label in row["labels"]]
    if "project" in expand:
        lite = ("id", "identifier", "name", "cover_image", "icon_prop", "emoji", "description")
        view["project"] = {key: project.row[key] for key in (*lite, "cover_image_url")}
    return _only(view, call.query)


def _state_lite(project: Project, row: Row) -> Row:
    state = project.states[row["state"]]
    return {key: state[key] for key in ("id", "name", "color", "group")}


def _project_view(project: Project, user: User) -> Row:
    counted = {"total_members": len(project.roles), "member_role": project.roles.get(user.id)}
    return project.row | counted | {"is_member": user.id in project.roles}


def _project_row(name: str, identifier: str, workspace_id: str, creator: str, now: str) -> Row:
    row: Row = dict.fromkeys(PROJECT_EMPTY) | dict.fromkeys(PROJECT_SWITCHES, False)
    row |= {"id": str(uuid4()), "name": name, "identifier": identifier, "description": ""}
    row |= {"created_at": now, "updated_at": now, "deleted_at": None, "timezone": "UTC"}
    row |= {"created_by": creator, "updated_by": None, "workspace": workspace_id, "network": 2}
    row |= {"total_members": 0, "total_cycles": 0, "total_modules": 0, "is_deployed": False}
    row |= {"is_member": True, "member_role": None, "page_view": True, "archive_in": 0, "close_in": 0}
    return row | {"logo_props": {"icon": {"name": "gavel", "color": "#02b5ed"}, "in_use": "icon"}}


def _issue_data(sim: PlaneSim, project: Project, row: Row) -> Row:
    """The work item as webhooks show it: state, labels and people spelled out, descriptions in full."""
    data = {key: value for key, value in row.items() if key != "type_id"}
    labels = [project.labels[label] for label in row["labels"]]
    data["labels"] = [{key: label[key] for key in ("id", "name", "color")} for label in labels]
    data["assignees"] = [sim.users[user].lite() for user in row["assignees"]]
    data["state"] = _state_lite(project, row)
    data |= {"description": {}, "description_json": {}}
    return data | {"description_stripped": _text_of(row["description_html"])}


def _activity(actor: User, key: str | None, old: Any = None, new: Any = None) -> Row:
    change = {"field": key, "new_value": new, "old_value": old, "actor": actor.lite()}
    return change | {"old_identifier": None, "new_identifier": None}


# -- checks on what comes in


def _clean(project: Project, values: Mapping[str, Any]) -> Row:
    """The keys Plane knows, checked; unknown ones, `state_id` among them, are dropped without a word."""
    clean = {key: values[key] for key in WRITABLE if key in values}
    for key in clean.keys() & _CHECKS.keys():
        clean[key] = _CHECKS[key](project, clean[key])
    return clean


def _clean_state(project: Project, value: Any) -> str:
    try:
        UUID(str(value))
    except ValueError as error:
        raise Refused(400, {"state": [f"“{value}” is not a valid UUID."]}) from error
    if value not in project.states:
        raise Refused(400, {"state": [f'Invalid pk "{value}" - object does not exist.']})
    return str(value)


def _clean_name(_: Project, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused(400, {"name": ["This field may not be blank."]})
    if len(value) > 255:
        raise Refused(400, {"name": ["Ensure this field has no more than 255 characters."]})
    return value


def _clean_priority(_: Project, value: Any) -> str:
    if value not in PRIORITIES:
        raise Refused(400, {"priority": [f'"{value}" is not a valid choice.']})
    return str(value)


def _clean_html(_: Project, value: Any) -> str:
    return _safe_html(str(value))


def _clean_assignees(project: Project, value: Any) -> list[str]:
    return [user for user in _ids(value, "assignees") if project.roles.get(user, 0) >= MEMBER]


def _clean_labels(project: Project, value: Any) -> list[str]:
    return [label for label in _ids(value, "labels") if label in project.labels]


def _ids(value: Any, key: str) -> list[str]:
    if not isinstance(value, list):
        text = f'Expected a list of items but got type "{type(value).__name__}".'
        raise Refused(400, {key: [text]})
    return [str(entry) for entry in value]


_CHECKS: Mapping[str, Callable[[Project, Any], Any]] = {
    "state": _clean_state,
    "name": _clean_name,
    "priority": _clean_priority,
    "description_html": _clean_html,
    "assignees": _clean_assignees,
    "labels": _clean_labels,
}


def _required(values: Mapping[str, Any], key: str) -> str:
    if not isinstance(values.get(key), str) or not values[key]:
        raise Refused(400, {key: ["This field is required."]})
    return str(values[key])


def _refuse_known_pair(rows: Iterable[Row], values: Mapping[str, Any], what: str) -> None:
    pair = (values.get("external_source"), values.get("external_id"))
    if None in pair:
        return
    for row in rows:
        if (row["external_source"], row["external_id"]) == pair:
            text = f"{what} with the same external id and external source already exists"
            raise Refused(409, {"error": text, "id": row["id"]})


def _apply(row: Row, clean: Row) -> Row:
    """Writes what differs; returns the old values of the changed keys."""
    old = {key: row[key] for key, value in clean.items() if row[key] != value}
    row.update(clean)
    return old


def _is_listed(row: Row) -> bool:
    return not row["archived_at"] and not row["is_draft"]


def _visible(rows: Mapping[str, Row], row_id: str) -> Row:
    row = rows.get(row_id)
    if row is None or not _is_listed(row):
        raise _missing()
    return row


def _safe_html(html: str) -> str:
    """Scripts are cut out, and what is left is wrapped, as the real one does."""
    cut = re.sub(r"(?is)<script\b.*?(</script\s*>|\Z)", "", html)
    return html if cut == html else f"<div>{cut}</div>"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _text_of(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts)


# -- the recorded world


def _restore(sim: PlaneSim, fixtures: Path) -> None:
    ids = json.loads((fixtures / "ids.json").read_text(encoding="utf-8"))
    samples = _Samples(json.loads((fixtures / "rest_api_samples.json").read_text(encoding="utf-8")))
    for name, user_id in ids["users"].items():
        sim.add_user(name, user_id)
    members = {row["id"]: row["role"] for row in samples.answer("GET", "acme/members/")}
    row = samples.answer("POST", "acme/projects/")
    project = Project(row, dict(members))
    sim.workspaces["acme"] = Workspace(row["workspace"], "acme", members, {row["id"]: project})
    states = [*samples.answer("GET", "/states/")["results"], samples.answer("POST", "/states/")]
    project.states = {state["id"]: state for state in states}
    label = samples.answer("POST", "/labels/")
    project.labels = {label["id"]: label}
    for name in ("issue__created__rest", "issue__created__browser"):
        _restore_item(project, json.loads(load_recorded(fixtures / name).body)["data"])


@dataclass(frozen=True)
class _Samples:
    rows: list[Row]

    def answer(self, method: str, tail: str) -> Any:
        """The first recorded answer to such a call."""
        return next(r["resp"] for r in self.rows if r["method"] == method and r["path"].endswith(tail))


def _restore_item(project: Project, data: Row) -> None:
    """From a recorded webhook back to the row behind it."""
    spelled_out = ("description", "description_json", "description_stripped")
    row = {key: value for key, value in data.items() if key not in spelled_out}
    row |= {"type_id": None, "state": data["state"]["id"]}
    row["assignees"] = [user["id"] for user in data["assignees"]]
    row["labels"] = [label["id"] for label in data["labels"]]
    project.items[row["id"]] = row
    project.last_sequence = max(project.last_sequence, row["sequence_id"])

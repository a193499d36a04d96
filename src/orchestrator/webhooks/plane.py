"""What a Plane delivery means. Pure: understands v1, v2 and the names of our own specification."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from orchestrator.domain.events import (
    CommentChanged,
    Event,
    Ignored,
    Parsed,
    WorkItemChanged,
    WorkItemDeleted,
)
from orchestrator.domain.model import ProjectId, UserId, WorkItemId
from orchestrator.webhooks.body import UnexpectedShapeError, decode, safe_text

_TITLE_LENGTH: Final = 500
_NAME_LENGTH: Final = 100
_EVENT_HEADER: Final = "x-plane-event"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _Actor(msgspec.Struct):
    id: str | None = None


class _Activity(msgspec.Struct):
    actor: _Actor | None = None


class _Comment(msgspec.Struct):
    id: str | None = None
    actor_id: str | None = None
    issue_id: str | None = None


class _Data(msgspec.Struct):
    """v1 says `project`, v2 `project_id` and so on. `comment`: v2's object, or the specification's text."""

    id: str | None = None
    name: str | None = None
    project: str | None = None
    project_id: str | None = None
    issue: str | None = None
    issue_id: str | None = None
    updated_by_id: str | None = None
    comment: _Comment | str | None = None


class _Body(msgspec.Struct):
    version: str | None = None
    event: str | None = None
    action: str | None = None
    event_id: str | None = None
    entity_id: str | None = None
    data: _Data | None = None
    activity: _Activity | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """An event that we know: its normal name, what it becomes, and how it is read."""

    event_type: str
    action: str
    becomes: type[Event]
    read: Callable[[_Body, _Data], Event]


def parse(headers: Mapping[str, str], payload: bytes) -> Parsed:
    """The meaning of a verified body; raises Rejected (400) when it is no JSON object."""
    hint = headers.get(_EVENT_HEADER, "")
    try:
        body = decode(_DECODER, payload)
    except UnexpectedShapeError as odd:
        return Parsed(safe_text(hint, _NAME_LENGTH), "", Ignored(_odd(odd)))
    route = _route(body, hint)
    event_id = _event_id(body)
    if route is None:
        name = safe_text(body.event or hint, _NAME_LENGTH)
        action = safe_text(body.action or "", _NAME_LENGTH)
        return Parsed(name, action, Ignored(f"unknown event {name!r} {action!r}"), event_id)
    action = route.action or safe_text(body.action or "", _NAME_LENGTH)
    return Parsed(route.event_type, action, _read(route, body), event_id)


def _route(body: _Body, hint: str) -> Route | None:
    """v1 names event and action, v2 both in one word; v2 is known to send an enum's name instead of the word."""
    for name in (f"{body.event}/{body.action}", body.event or "", hint):
        if name in SUPPORTED:
            return SUPPORTED[name]
    return None


def _read(route: Route, body: _Body) -> Event:
    try:
        return route.read(body, body.data or _Data())
    except UnexpectedShapeError as odd:
        return Ignored(_odd(odd))


def _odd(error: UnexpectedShapeError) -> str:
    return safe_text(f"unexpected shape: {error}", 2 * _NAME_LENGTH)


def _event_id(body: _Body) -> str | None:
    """v1 has none; a retry of v2 repeats it, so a placeholder must never be taken for one."""
    if body.version != "v2" or _absent(body.event_id):
        return None
    return safe_text(body.event_id or "", _NAME_LENGTH)


def _absent(value: str | None) -> bool:
    return value in (None, "", "None")  # v2 is known to write "None" for null


def _uuid(path: str, *values: str | None) -> str:
    """The first value that is there, as a lower-case uuid."""
    text = next((value for value in values if value and not _absent(value)), "").lower()
    if not _UUID.fullmatch(text):
        raise UnexpectedShapeError(f"no uuid at {path}")
    return text


def _user(*values: str | None) -> UserId | None:
    try:
        return UserId(_uuid("actor", *values))
    except UnexpectedShapeError:
        return None


def _actor(body: _Body) -> str | None:
    """Who did it. `created_by` is left alone: whoever calls Plane's API may write any name there."""
    return body.activity.actor.id if body.activity and body.activity.actor else None


def _item(body: _Body, data: _Data, *, is_new: bool) -> Event:
    return WorkItemChanged(
        project=ProjectId(_uuid("data.project", data.project, data.project_id)),
        item=WorkItemId(_uuid("data.id", data.id, body.entity_id)),
        title=safe_text(data.name or "", _TITLE_LENGTH),
        is_new=is_new,
        actor=_user(_actor(body), data.updated_by_id),
    )


def _item_deleted(body: _Body, data: _Data) -> Event:
    return WorkItemDeleted(WorkItemId(_uuid("data.id", data.id, body.entity_id)))


def _comment(body: _Body, data: _Data) -> Event:
    if isinstance(data.comment, _Comment):
        return _comment_v2(body, data.comment)
    if data.comment is not None and _absent(data.issue) and _absent(data.issue_id):
        # The specification's own form: the work item with the comment's text in it, and no id of the comment.
        return CommentChanged(WorkItemId(_uuid("data.id", data.id)), "", _user(_actor(body)))
    return CommentChanged(
        item=WorkItemId(_uuid("data.issue", data.issue, data.issue_id)),
        comment=_uuid("data.id", data.id),
        actor=_user(_actor(body)),
    )


def _comment_v2(body: _Body, comment: _Comment) -> Event:
    return CommentChanged(
        item=WorkItemId(_uuid("data.comment.issue_id", comment.issue_id, body.entity_id)),
        comment=_uuid("data.comment.id", comment.id),
        actor=_user(comment.actor_id),
    )


def _nothing(reason: str, _body: _Body, _data: _Data) -> Event:
    return Ignored(reason)


_new_item = partial(_item, is_new=True)
_changed_item = partial(_item, is_new=False)
_DECODER: Final = msgspec.json.Decoder(_Body)

_ITEM_CREATED: Final = Route("issue", "created", WorkItemChanged, _new_item)
_ITEM_UPDATED: Final = Route("issue", "updated", WorkItemChanged, _changed_item)
_ITEM_ARCHIVED: Final = Route("issue", "archived", WorkItemChanged, _changed_item)
_ITEM_DELETED: Final = Route("issue", "deleted", WorkItemDeleted, _item_deleted)
_COMMENT_CREATED: Final = Route("issue_comment", "created", CommentChanged, _comment)
_COMMENT_UPDATED: Final = Route("issue_comment", "updated", CommentChanged, _comment)
_COMMENT_DELETED: Final = Route("issue_comment", "deleted", CommentChanged, _comment)


def _ignored(event_type: str, reason: str) -> Route:
    return Route(event_type, "", Ignored, partial(_nothing, reason))


SUPPORTED: Final[Mapping[str, Route]] = {
    # v1: `event` and `action` of the body
    "issue/created": _ITEM_CREATED,
    "issue/updated": _ITEM_UPDATED,
    "issue/deleted": _ITEM_DELETED,
    "issue_comment/created": _COMMENT_CREATED,
    "issue_comment/updated": _COMMENT_UPDATED,
    "issue_comment/deleted": _COMMENT_DELETED,
    "project": _ignored("project", "projects are mapped in orchestrator.yaml, not by Plane's events"),
    "cycle": _ignored("cycle", "cycles do not matter to the pipeline"),
    "module": _ignored("module", "modules do not matter to the pipeline"),
    # v2
    "workitem.created": _ITEM_CREATED,
    "workitem.updated": _ITEM_UPDATED,
    "workitem.archived": _ITEM_ARCHIVED,
    "workitem.deleted": _ITEM_DELETED,
    "workitem.comment.created": _COMMENT_CREATED,
    "workitem.comment.updated": _COMMENT_UPDATED,
    "workitem.comment.deleted": _COMMENT_DELETED,
    # the names in our specification
    "work_item.created": _ITEM_CREATED,
    "comment.created": _COMMENT_CREATED,
}
"""Every event that we know by name. docs/reference/events.md shows the same table; a test compares them."""

"""Plane's REST API v1 as a Tracker. Source of facts: contract of Plane, section 2."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

import msgspec
import structlog

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import ProjectId, UserId, WorkItem, WorkItemId
from orchestrator.domain.tracker import NO_MARGIN, Changes, Comment, CommentId, StateId, TrackerState, Written
from orchestrator.pace import REAL_TIME, Circuit, Pace, Timing, Urgency, urgency
from orchestrator.rest import Answer, Json, RestClient, System
from orchestrator.trackers.hearing import Hearing
from orchestrator.trackers.html import spoken, to_text
from orchestrator.wire import MAX_ANSWER_BYTES, OpenWire, Wire
from orchestrator.workflow.names import is_key

log = structlog.get_logger()
T = TypeVar("T")
PAGE = 100
MAX_PAGES = 20
_CUT = "Plane has more of these than are read, and the others are taken for not there: delete what nobody needs."
MAX_COMMENTS = 1000
LIST_PAGE = 1000
"""The most that Plane gives at once. Of work items only ids are asked for."""
MAX_LIST_PAGES = 50
MAX_NAME_CHARS = 200
REMEMBERED_S = 300.0
SOURCE = "orchestrator"
"""Marks our comments in Plane, together with their keys."""
_MORE = "~"
"""In a key of ours what follows it is by chance."""
_TOO_LARGE = "plane_answer_too_large"
_NOT_FOUND = "The requested resource does not exist."
_NO_SUCH_PATH = "Page not found."
_EXPANDED = {"expand": "state,labels,project"}
_MISSING = frozenset({404})


class _Fault(msgspec.Struct):
    error: str


def _said(body: bytes) -> str:
    """Which error Plane names; empty for what is not in its shape."""
    try:
        return msgspec.json.decode(body, type=_Fault).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _is_own_404(body: bytes) -> bool:
    return _said(body) in {_NOT_FOUND, _NO_SUCH_PATH}


_PLANE = System(
    "plane",
    "Plane",
    "ORCH_PLANE_API_URL",
    "Check ORCH_PLANE_API_TOKEN, and that its user is a member of the project.",
    b"Given API token is not valid",
    moved_hint="Correct ORCH_PLANE_API_URL: the address leads elsewhere (https, perhaps, or another host).",
    is_own_404=_is_own_404,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of call. Paths end in a slash: without it Plane answers 301, and a POST would turn into a GET."""

    method: str
    path: str


_IN_WORKSPACE = "workspaces/{workspace}/"
_IN_PROJECT = _IN_WORKSPACE + "projects/{project}/"
_ON_ITEM = _IN_PROJECT + "work-items/{item}/"
_ME = Request("GET", "users/me/")
_PROJECT = Request("GET", _IN_PROJECT)
_MEMBERS = Request("GET", _IN_PROJECT + "members/")
_STATES = Request("GET", _IN_PROJECT + "states/")
_LABELS = Request("GET", _IN_PROJECT + "labels/")
_ITEMS = Request("GET", _IN_PROJECT + "work-items/")
_BY_KEY = Request("GET", _IN_WORKSPACE + "work-items/{key}/")
_ITEM = Request("GET", _ON_ITEM)
_MOVE = Request("PATCH", _ON_ITEM)
_COMMENTS = Request("GET", _ON_ITEM + "comments/")
_ADD_COMMENT = Request("POST", _ON_ITEM + "comments/")
_EDIT_COMMENT = Request("PATCH", _ON_ITEM + "comments/{comment}/")
_LINKS = Request("GET", _ON_ITEM + "links/")
_ADD_LINK = Request("POST", _ON_ITEM + "links/")
REQUESTS = (
    _ME,
    _PROJECT,
    _MEMBERS,
    _STATES,
    _LABELS,
    _ITEMS,
    _BY_KEY,
    _ITEM,
    _MOVE,
    _COMMENTS,
    _ADD_COMMENT,
    _EDIT_COMMENT,
    _LINKS,
    _ADD_LINK,
)
"""All that may ever be sent. A test holds this list against what the simulator saw."""
_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,100}")


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


class _Comment(msgspec.Struct):
    id: str
    created_at: datetime
    actor: str | None
    updated_by: str | None = None
    edited_at: str | None = None
    comment_html: str | None = None
    external_source: str | None = None
    external_id: str | None = None


class _State(msgspec.Struct):
    id: str
    name: str
    group: str


class _Label(msgspec.Struct):
    id: str
    name: str


class _User(msgspec.Struct):
    id: str
    display_name: str = ""


class _Link(msgspec.Struct):
    url: str


class _Moved(msgspec.Struct):
    state: str | Json | None


class _Made(msgspec.Struct):
    id: str


class _Place(msgspec.Struct):
    id: str
    identifier: str


class _Page(msgspec.Struct, Generic[T]):
    results: list[T]
    total_count: int = 0
    next_cursor: str = ""
    next_page_results: bool = False


@dataclass(slots=True)
class _Memory(Generic[T]):
    """Asked once for some minutes. Nobody waits for an answer that somebody less urgent stands in line for."""

    timing: Timing
    _known: dict[str, tuple[float, T]] = field(default_factory=dict)
    _asking: dict[tuple[str, Urgency], asyncio.Lock] = field(default_factory=dict)

    async def recall(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._asking.setdefault((key, urgency()), asyncio.Lock()):
            until, value = self._known.get(key, (0.0, None))
            if value is None or until <= self.timing.monotonic():
                value = await ask()
                self._known[key] = (self.timing.monotonic() + REMEMBERED_S, value)
            return value

    def forget(self, key: str) -> None:
        self._known.pop(key, None)


class Plane:
    """One workspace, one key: at most `calls_per_minute` (and a sixth more in a burst) are sent with it."""

    def __init__(  # noqa: PLR0913 - all but the first three are rare and by name
        self,
        url: str,
        token: str,
        workspace: str,
        *,
        timeout_s: float = 15.0,
        calls_per_minute: int = 50,
        changed_pages: int = MAX_PAGES,
        timing: Timing = REAL_TIME,
        wire: OpenWire = Wire,
    ) -> None:
        self._workspace = workspace
        self._changed_pages = changed_pages
        self._me = UserId("")
        self._identifiers: dict[str, str] = {}
        self._comments = Hearing(spoken)
        self._descriptions = Hearing(to_text)
        self._states: _Memory[tuple[TrackerState, ...]] = _Memory(timing)
        self._labels: _Memory[Mapping[str, str]] = _Memory(timing)
        self._members: _Memory[Mapping[UserId, str]] = _Memory(timing)
        self.circuit = Circuit(_PLANE.name, timing)
        self._rest = RestClient(
            _PLANE,
            f"{url}/api/v1/",
            {"X-API-Key": token},
            timeout_s,
            pace=Pace(_PLANE.code, calls_per_minute, timing),
            circuit=self.circuit,
            wire=wire,
        )
        self.system = _PLANE.code
        self.answers, self.pace = self._rest.answers, self._rest.pace

    async def aclose(self) -> None:
        await self._rest.aclose()

    # -- reading

    async def whoami(self) -> str:
        """Always asks: doctor tries the token with it."""
        self._me = UserId(self._rest.decoded((await self._ask(_ME)).body, _User).id)
        return self._me

    async def work_item(self, project: ProjectId, item: WorkItemId) -> WorkItem | None:
        """A proxy or a restart may answer one 404; hence the project, and a second time."""
        ask = partial(self._ask, _ITEM, understood=_MISSING, query=_EXPANDED, project=project, item=item)
        answer = await ask()
        if answer.status == 404:
            await self._look_at_project(project)
            answer = await ask()
        if answer.status == 404:
            return None
        return await self._work_item(project, self._rest.decoded(answer.body, _Item))

    async def work_item_by_key(self, key: str) -> WorkItem | None:
        if not is_key(key):
            return None
        answer = await self._ask(_BY_KEY, understood=_MISSING, query=_EXPANDED, key=key)
        if answer.status == 404:
            return None
        raw = self._rest.decoded(answer.body, _Item)
        return await self._work_item(ProjectId(_identified(raw.project)), raw)

    async def changed_items(
        self, project: ProjectId, since: datetime | None, first_page: int = 0, margin: timedelta = NO_MARGIN
    ) -> Changes:
        """Stops after the page with the first item older than `since`: the list is ordered by -updated_at.

        Also where the list became shorter between two pages: what followed moved up, maybe past what was read.
        """
        found: list[WorkItem] = []
        total = 0
        page, end = first_page, first_page + self._changed_pages
        query = {"order_by": "-updated_at", **_EXPANDED} | ({"cursor": f"{PAGE}:{page}:0"} if page else {})
        async for one in self._pages(_ITEMS, _Page[_Item], self._changed_pages, query, project=project):
            if one.total_count < total:
                return Changes(tuple(found), page)
            page, total = page + 1, one.total_count
            fresh = [raw for raw in one.results if since is None or raw.updated_at >= since - margin]
            found += [await self._work_item(project, raw) for raw in fresh]
            if since is not None and any(raw.updated_at < since for raw in one.results):
                return Changes(tuple(found))
        return Changes(tuple(found), page if page == end else None)

    async def listed_items(self, project: ProjectId) -> Collection[WorkItemId] | None:
        """Oldest first: what is made meanwhile moves no page."""
        query = {"order_by": "created_at", "fields": "id", "per_page": str(LIST_PAGE)}
        found: set[WorkItemId] = set()
        async for page in self._pages(_ITEMS, _Page[_Made], MAX_LIST_PAGES + 1, query, project=project):
            found.update(WorkItemId(row.id) for row in page.results)
            if len(found) > MAX_LIST_PAGES * LIST_PAGE:
                return None
        return found

    async def comments(self, project: ProjectId, item: WorkItemId) -> Sequence[Comment]:
        """A page may shift while people write: whoever comes twice is taken once."""
        me = self._me or await self.whoami()
        found: dict[str, Comment] = {}
        query, most = {"per_page": str(LIST_PAGE)}, MAX_COMMENTS // LIST_PAGE + 1
        with _fitting(item):
            async for page in self._pages(_COMMENTS, _Page[_Comment], most, query, project=project, item=item):
                for raw in page.results:
                    found[raw.id] = found.get(raw.id) or await self._comment(raw, me)
        if len(found) > MAX_COMMENTS:
            raise _too_many(item)
        return tuple(found.values())

    async def states(self, project: ProjectId) -> Sequence[TrackerState]:
        async def ask() -> tuple[TrackerState, ...]:
            rows = await self._rows(_STATES, _Page[_State], project=project)
            return tuple(TrackerState(StateId(row.id), row.name[:MAX_NAME_CHARS], row.group) for row in rows)

        return await self._states.recall(project, ask)

    async def labels(self, project: ProjectId) -> Mapping[str, str]:
        async def ask() -> Mapping[str, str]:
            rows = await self._rows(_LABELS, _Page[_Label], project=project)
            return {row.id: row.name[:MAX_NAME_CHARS] for row in rows}

        return await self._labels.recall(project, ask)

    async def members(self, project: ProjectId) -> Mapping[UserId, str]:
        async def ask() -> Mapping[UserId, str]:
            answer = await self._ask(_MEMBERS, project=project)
            rows = self._rest.decoded(answer.body, list[_User])
            return {UserId(row.id): row.display_name[:MAX_NAME_CHARS] for row in rows}

        return await self._members.recall(project, ask)

    # -- writing

    async def comment(self, project: ProjectId, item: WorkItemId, key: str, html: str) -> Written:
        """Plane holds a key once per project, and gives it to whoever asks first: a comment of somebody else may
        have ours, here or on another item, and would be theirs to rewrite. Then ours gets a longer one.
        """
        written = await self._add_comment(project, item, key, html)
        if written.is_new:
            return written
        for one in await self.comments(project, item):
            if one.external_id == key:
                return Written(one.id, is_new=False)
        return await self._add_comment(project, item, f"{key}{_MORE}{secrets.token_hex(8)}", html)

    async def _add_comment(self, project: ProjectId, item: WorkItemId, key: str, html: str) -> Written:
        """409 names the comment that has the key."""
        order = {"comment_html": html, "external_source": SOURCE, "external_id": key}
        answer = await self._ask(
            _ADD_COMMENT, understood=frozenset({404, 409}), order=order, project=project, item=item
        )
        if answer.status == 404:
            raise _gone(item)
        return Written(CommentId(self._rest.decoded(answer.body, _Made).id), is_new=answer.status != 409)

    async def edit_comment(self, project: ProjectId, item: WorkItemId, comment: CommentId, html: str) -> bool:
        answer = await self._ask(
            _EDIT_COMMENT,
            understood=_MISSING,
            order={"comment_html": html},
            project=project,
            item=item,
            comment=comment,
        )
        if answer.status == 404:
            return False
        self._rest.decoded(answer.body, _Made)
        return True

    async def move(self, project: ProjectId, item: WorkItemId, state: StateId) -> None:
        """Plane answers 200 to a key that it does not know, so the answer must show the state."""
        answer = await self._ask(
            _MOVE, understood=frozenset({400, 404}), order={"state": state}, project=project, item=item
        )
        if answer.status == 404:
            raise _gone(item)
        if answer.status == 400:
            self._states.forget(project)
            raise Permanent("plane_no_such_state", f"Plane has no state {state} in the project of {item}.")
        if _identified(self._rest.decoded(answer.body, _Moved).state or "") != state:
            raise Transient("plane_odd_answer", f"Plane did not put {item} into the state {state}.")

    async def link(self, project: ProjectId, item: WorkItemId, url: str, title: str) -> None:
        """400 may mean that somebody was faster: whether the address is there is asked, not read from words."""
        if await self._has_link(project, item, url):
            return
        order = {"url": url, "title": title[:255]}
        answer = await self._ask(
            _ADD_LINK, understood=frozenset({400, 404}), order=order, project=project, item=item
        )
        if answer.status == 404:
            raise _gone(item)
        if answer.status == 400 and not await self._has_link(project, item, url):
            raise Permanent("plane_link_refused", f"Plane does not take {url[:200]!r} as a link of {item}.")
        if answer.status != 400:
            self._rest.decoded(answer.body, _Made)

    # -- asking

    async def _ask(
        self,
        request: Request,
        *,
        understood: frozenset[int] = frozenset(),
        query: Mapping[str, str] | None = None,
        order: object = None,
        **names: str,
    ) -> Answer:
        """A 404 that comes back says that a thing is not there, in Plane's own words: any other is raised."""
        path = request.path.format(
            workspace=self._workspace, **{key: _segment(name) for key, name in names.items()}
        )
        scope = f"{request.method} {request.path} {names.get('project', '')}" if request.path != _ME.path else ""
        answer = await self._rest.call(
            request.method, path, query=query, order=order, understood=understood, scope=scope
        )
        if answer.status == 404 and _said(answer.body) != _NOT_FOUND:
            raise Permanent(
                "plane_not_found",
                f"Plane answered 404 for {path}: it has no such address.",
                hint="Check ORCH_PLANE_API_URL and ORCH_PLANE_WORKSPACE_SLUG, and that Plane is 1.1 or later.",
            )
        return answer

    async def _pages(
        self,
        request: Request,
        wanted: type[_Page[T]],
        limit: int,
        query: Mapping[str, str],
        **names: str,
    ) -> AsyncIterator[_Page[T]]:
        asked = {"per_page": str(PAGE), **query}
        for _ in range(limit):
            answer = await self._ask(request, understood=_MISSING, query=asked, **names)
            if answer.status == 404:
                # Only work_item, which asks twice, may tell that an item is gone.
                raise Transient("plane_missing", f"Plane does not find what should be in {names}.")
            page = self._rest.decoded(answer.body, wanted)
            yield page
            if not page.next_page_results:
                return
            asked["cursor"] = page.next_cursor

    async def _rows(self, request: Request, wanted: type[_Page[T]], **names: str) -> list[T]:
        """The first of them, where there are more than anybody needs: then it is said."""
        pages = [page async for page in self._pages(request, wanted, MAX_PAGES + 1, {}, **names)]
        if len(pages) > MAX_PAGES:
            log.warning(
                "list_cut", system=_PLANE.code, path=request.path, rows=MAX_PAGES * PAGE, hint=_CUT, **names
            )
        return [row for page in pages[:MAX_PAGES] for row in page.results]

    async def _has_link(self, project: ProjectId, item: WorkItemId, url: str) -> bool:
        rows = await self._rows(_LINKS, _Page[_Link], project=project, item=item)
        return any(row.url == url for row in rows)

    async def _look_at_project(self, project: ProjectId) -> str:
        """Its identifier; raises unless the project itself answers."""
        place = self._rest.decoded((await self._ask(_PROJECT, project=project)).body, _Place)
        if place.id != project:
            raise Transient("plane_odd_answer", f"Plane answered another project than {project}.")
        self._identifiers[project] = place.identifier
        return place.identifier

    # -- understanding

    async def _work_item(self, project: ProjectId, raw: _Item) -> WorkItem:
        key = f"{await self._identifier(project, raw.project)}-{raw.sequence_id}"
        if not is_key(key):
            raise Permanent("plane_odd_key", f"Plane's key {key[:60]!r} cannot name a branch or a folder.")
        html = raw.description_html or ""
        return WorkItem(
            id=WorkItemId(raw.id),
            project=project,
            key=key,
            title=raw.name[:500],
            description=await self._descriptions.of(html, _digest(html)),
            state=await self._state_name(project, raw.state),
            labels=tuple([await self._label_name(project, label) for label in raw.labels]),
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
        return self._identifiers.get(project) or await self._look_at_project(project)

    async def _state_name(self, project: ProjectId, raw: str | Json | None) -> str:
        """As above; a state that the list hides (triage) stays a uuid."""
        if isinstance(raw, dict) or not raw:
            return str((raw or {}).get("name", ""))
        return next((state.name for state in await self.states(project) if state.id == raw), raw)

    async def _label_name(self, project: ProjectId, raw: str | Json) -> str:
        if isinstance(raw, dict):
            return str(raw.get("name", ""))
        return (await self.labels(project)).get(raw, raw)

    async def _comment(self, raw: _Comment, me: str) -> Comment:
        """Others may give their comments our source and any key, so a key counts on a comment of ours only."""
        html, author = raw.comment_html or "", raw.actor or ""
        digest, key = _digest(html), (raw.external_id or "").partition(_MORE)[0]
        is_by_another = raw.updated_by not in {None, author}
        return Comment(
            id=CommentId(raw.id),
            author=UserId(author),
            is_edited=raw.edited_at is not None or is_by_another,
            lines=await self._comments.of(html, digest),
            digest=digest,
            external_id=key if raw.external_source == SOURCE and author == me else "",
            created_at=raw.created_at,
            is_by_another=is_by_another,
        )


def _gone(item: WorkItemId) -> Permanent:
    return Permanent("plane_item_missing", f"Plane has no work item {item} any more.")


def _digest(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()


@contextmanager
def _fitting(item: WorkItemId) -> Iterator[None]:
    """An answer that is too large to be read is too many comments."""
    try:
        yield
    except Permanent as error:
        raise _too_many(item) if error.code == _TOO_LARGE else error from error


def _too_many(item: WorkItemId) -> Permanent:
    return Permanent(
        "plane_too_many_comments",
        f"Work item {item} has more than {MAX_COMMENTS} comments, or more text in them than we read "
        f"({MAX_ANSWER_BYTES >> 20} MiB), so no decision can rest on them.",
        hint="Delete comments that are not needed, or go on in a new work item.",
    )


def _segment(name: str) -> str:
    """Ids are uuids, but they come from outside: nothing else than one part of a path is sent."""
    if not _SEGMENT.fullmatch(name):
        raise Permanent("plane_bad_id", f"{name[:60]!r} cannot be an id in Plane.")
    return name


def _identified(value: str | Json) -> str:
    return str(value.get("id", "")) if isinstance(value, dict) else value

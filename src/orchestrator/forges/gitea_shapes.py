"""What Gitea and Forgejo answer, and what it means in our words. Source of facts: contract of Gitea, section 3."""

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from orchestrator.domain.errors import Transient
from orchestrator.domain.forge import (
    BranchRules,
    Check,
    CheckState,
    FileEntry,
    ForgeCapabilities,
    PullRequest,
    Review,
    ReviewState,
)
from orchestrator.domain.model import Branch, Sha, parse_sha

ALL_CONTEXTS = ("*",)
_GONE_HEAD = re.compile(r"refs/pull/[0-9]+/head")
_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})")
_WEB_URL = re.compile(r"https?://[^\s<>\"'`\\\x00-\x20\x7f-\x9f]+")
_MAX_URL_CHARS = 2000
_ABOUT_THE_API = "/api/swagger"
_STATUS_EVENTS_SINCE = (1, 24)
"""For hooks that are made by API; those of 1.23 are made in the browser, and break before 1.23.2."""
_HEAD_FILTER_SINCE = 16
"""Forgejo alone has it."""
_REVIEW_STATES = {
    "APPROVED": ReviewState.APPROVED,
    "REQUEST_CHANGES": ReviewState.CHANGES_REQUESTED,
    "COMMENT": ReviewState.COMMENTED,
    "REQUEST_REVIEW": ReviewState.REQUESTED,
}
REVIEW_EVENTS = {
    ReviewState.APPROVED: "APPROVED",
    ReviewState.CHANGES_REQUESTED: "REQUEST_CHANGES",
    ReviewState.COMMENTED: "COMMENT",
}
_CHECK_STATES = {state.value: state for state in CheckState}


class _Commit(msgspec.Struct):
    id: str


class BranchRow(msgspec.Struct):
    """A branch, and the rules that anybody who may read it can see."""

    name: str
    commit: _Commit
    enable_status_check: bool = False
    status_check_contexts: list[str] | None = None
    required_approvals: int = 0


class MeRow(msgspec.Struct):
    """Whose token it is."""

    login: Annotated[str, msgspec.Meta(min_length=1)]


class VersionRow(msgspec.Struct):
    """Of the server."""

    version: str


class MadeRow(msgspec.Struct):
    """What a server answers when it has carried out an order: anybody else's 2xx has no number."""

    id: int


class _Fault(msgspec.Struct):
    """Both servers' answer to what they do not do. The message may be in any language; the address is theirs."""

    message: str
    url: str


class UserRow(msgspec.Struct):
    """Anybody; a user that is gone is null or has no name."""

    login: str = ""


class _End(msgspec.Struct):
    ref: str
    sha: str
    label: str = ""
    repo_id: int = 0


class PullRow(msgspec.Struct):
    """A pull request. `url` is the page there, not the API's, and `id` is the database's."""

    number: int
    title: str
    state: str
    head: _End
    base: _End
    user: UserRow | None = None
    draft: bool = False
    merged: bool = False
    mergeable: bool = False
    html_url: str = ""
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    @property
    def id(self) -> int:
        return self.number

    @property
    def head_branch(self) -> str:
        """`ref` turns into `refs/pull/N/head` when the branch is gone; the label keeps its name."""
        return self.head.label if _GONE_HEAD.fullmatch(self.head.ref) else self.head.ref

    def is_between(self, base: str, head: str) -> bool:
        """Not from a fork: a stranger's branch may have any name."""
        return self.is_from(head) and self.base.ref == base

    def is_from(self, head: str) -> bool:
        return self.head.repo_id == self.base.repo_id and self.head_branch == head


class ReviewRow(msgspec.Struct):
    """A review; a request to a team has no user."""

    id: int
    state: str
    user: UserRow | None = None
    body: str | None = ""
    commit_id: str | None = ""
    stale: bool = False
    official: bool = False
    dismissed: bool = False
    comments_count: int = 0
    html_url: str | None = ""


class StatusRow(msgspec.Struct):
    """A commit status. Its key is `status` in REST answers and `state` in payloads and requests."""

    id: int
    context: str
    status: str = ""
    state: str = ""
    creator: UserRow | None = None
    description: str | None = ""
    target_url: str | None = ""


class CombinedRow(msgspec.Struct):
    """A page of the newest statuses."""

    statuses: list[StatusRow] | None


class EntryRow(msgspec.Struct):
    """A file, folder, link or submodule. `content` is there for one file, and null above the server's limit."""

    type: str
    path: str
    sha: str
    size: int = 0
    content: str | None = None


class CommentRow(msgspec.Struct):
    """A comment on a pull request."""

    id: int
    user: UserRow | None = None
    body: str = ""


class LineCommentRow(msgspec.Struct):
    """A comment of a review. One of both places is 0: the line of the new file, or that of the old one."""

    id: int
    path: str = ""
    position: int = 0
    original_position: int = 0
    body: str | None = ""

    @property
    def place(self) -> tuple[str, int, int]:
        return self.path, self.position or self.original_position, self.id


class Entity(msgspec.Struct):
    """A run or a job of Actions."""

    id: int
    html_url: str = ""


class RunsRow(msgspec.Struct):
    """A page of Actions' runs."""

    workflow_runs: list[Entity] | None = None

    @property
    def entities(self) -> list[Entity]:
        return self.workflow_runs or []


class JobsRow(msgspec.Struct):
    """A page of a run's jobs."""

    jobs: list[Entity] | None = None

    @property
    def entities(self) -> list[Entity]:
        return self.jobs or []


def is_fault(body: bytes) -> bool:
    """One of the server's own, and not of a proxy in front of it."""
    try:
        return msgspec.json.decode(body, type=_Fault).url.endswith(_ABOUT_THE_API)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def branch(row: BranchRow) -> Branch:
    return Branch(row.name, _sha(row.commit.id))


def rules(row: BranchRow) -> BranchRules:
    """Status checks that are on without a name ask for all of them, and at least one: the glob for all."""
    approvals = max(0, row.required_approvals)
    if not row.enable_status_check:
        return BranchRules(required_approvals=approvals)
    contexts = tuple(context for context in row.status_check_contexts or () if context.strip())
    return BranchRules(contexts or ALL_CONTEXTS, approvals)


def pull_request(row: PullRow) -> PullRequest:
    return PullRequest(
        number=row.number,
        title=row.title,
        is_open=row.state == "open",
        is_merged=row.merged,
        is_draft=row.draft,
        is_mergeable=row.mergeable and not row.draft,
        head_branch=row.head_branch,
        head=_sha(row.head.sha),
        base_branch=row.base.ref,
        author=login(row.user),
        url=shown_url(row.html_url),
    )


def review(row: ReviewRow) -> Review:
    """A kind that we do not know is no verdict."""
    return Review(
        id=row.id,
        author=login(row.user),
        state=_REVIEW_STATES.get(row.state, ReviewState.PENDING),
        commit=row.commit_id or "",
        is_stale=row.stale,
        is_official=row.official,
        is_dismissed=row.dismissed,
        text=row.body or "",
        comment_count=max(0, row.comments_count),
        url=shown_url(row.html_url or ""),
    )


def check(row: StatusRow) -> Check:
    """A state that we do not know says neither yes nor no: the servers take any word."""
    return Check(
        context=row.context,
        state=_CHECK_STATES.get(row.status or row.state, CheckState.PENDING),
        creator=login(row.creator),
        description=row.description or "",
        url=shown_url(row.target_url or ""),
    )


def newest(rows: list[StatusRow]) -> list[StatusRow]:
    """Of each context the one with the highest number: numbers count up within a commit."""
    found: dict[str, StatusRow] = {}
    for row in rows:
        if row.context not in found or found[row.context].id < row.id:
            found[row.context] = row
    return [found[context] for context in sorted(found)]


def file_entries(rows: list[EntryRow], folder: str) -> list[FileEntry]:
    """Regular files alone, and only those that lie where we asked."""
    here = folder.strip("/") + "/"
    plain = (row for row in rows if row.type == "file" and row.path.rpartition("/")[0] + "/" == here)
    return [FileEntry(row.path, row.sha, row.size) for row in plain]


def content(row: EntryRow) -> bytes | None:
    """None when the server left it out because the file is large."""
    if row.content is None:
        return None
    try:
        return base64.b64decode(row.content, validate=False)
    except binascii.Error as error:
        raise _odd(f"the content of {row.path[:80]!r} is not base64") from error


def capabilities(version: str) -> ForgeCapabilities:
    """Forgejo names the Gitea it grew from. A version that we cannot read can do nothing special."""
    found = _VERSION.match(version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if "+gitea-" in version:
        return ForgeCapabilities(status_events=False, pull_head_filter=number[0] >= _HEAD_FILTER_SINCE)
    return ForgeCapabilities(status_events=number >= _STATUS_EVENTS_SINCE, pull_head_filter=False)


def login(user: UserRow | None) -> str:
    return user.login if user else ""


def place(url: str) -> str:
    """The path of an address of the server's own: compared, never followed."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def shown_url(url: str) -> str:
    """For people to click: only the web, and bounded."""
    return url if _WEB_URL.fullmatch(url) and len(url) <= _MAX_URL_CHARS else ""


def _sha(text: str) -> Sha:
    try:
        return parse_sha(text)
    except ValueError as error:
        raise _odd(str(error)) from error


def _odd(reason: str) -> Transient:
    return Transient("gitea_odd_answer", f"Gitea answered something unexpected: {reason}.")

"""What a Gitea or Forgejo delivery means. Pure; the type comes from a header, all else from the signed body."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from orchestrator.domain.events import (
    BranchMoved,
    CommitChecked,
    Event,
    Ignored,
    Parsed,
    PullRequestChanged,
)
from orchestrator.domain.model import RepoName, Sha, parse_sha
from orchestrator.webhooks.body import UnexpectedShapeError, decode, safe_text
from orchestrator.webhooks.headers import first_of

NOBODY: Final = ""
"""Who tells of a run of the forge's own CI."""
_NAME_LENGTH: Final = 100
_BRANCH: Final = re.compile(r"(?!-)[^\x00-\x20\x7f-\xa0\ud800-\udfff]{1,255}")
_HEADS: Final = "refs/heads/"
_MOST_NUMBER: Final = 2**53
_TYPE_HEADERS: Final = ("x-gitea-event-type", "x-forgejo-event-type")
_EVENT_HEADERS: Final = ("x-gitea-event", "x-forgejo-event")
_TYPE_OF_EVENT: Final = {
    "pull_request_approved": "pull_request_review_approved",
    "pull_request_rejected": "pull_request_review_rejected",
    # As an event this word means a review with the verdict "comment"; as a type, a comment in the conversation.
    "pull_request_comment": "pull_request_review_comment",
}


class _User(msgspec.Struct):
    login: str | None = None


class _Repository(msgspec.Struct):
    full_name: str | None = None


class _Head(msgspec.Struct):
    ref: str | None = None
    sha: str | None = None


class _Pull(msgspec.Struct):
    head: _Head | None = None


class _Issue(msgspec.Struct):
    number: int | None = None


class _Workflow(msgspec.Struct):
    head_sha: str | None = None


class _ActionRun(msgspec.Struct):
    """Forgejo's run carries the repository that other events have at the top."""

    commit_sha: str | None = None
    repository: _Repository | None = None


class _Body(msgspec.Struct):
    action: str | None = None
    ref: str | None = None
    ref_type: str | None = None
    before: str | None = None
    after: str | None = None
    sha: str | None = None
    number: int | None = None
    is_pull: bool | None = None
    issue: _Issue | None = None
    pull_request: _Pull | None = None
    workflow_run: _Workflow | None = None
    workflow_job: _Workflow | None = None
    run: _ActionRun | None = None
    repository: _Repository | None = None
    sender: _User | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """An event that we know: what it becomes and how it is read."""

    becomes: type[Event]
    read: Callable[[_Body], Event]


def parse(headers: Mapping[str, str], payload: bytes) -> Parsed:
    """The meaning of a verified body; raises Rejected (400) when it is no JSON object."""
    event_type = safe_text(_event_type(headers), _NAME_LENGTH)
    try:
        body = decode(_DECODER, payload)
    except UnexpectedShapeError as odd:
        return Parsed(event_type, "", Ignored(_odd(odd)))
    action = safe_text(body.action or "", _NAME_LENGTH)
    route = SUPPORTED.get(event_type)
    if route is None:
        return Parsed(event_type, action, Ignored(f"unknown event {event_type!r}"))
    try:
        return Parsed(event_type, action, route.read(body))
    except ValueError as odd:
        return Parsed(event_type, action, Ignored(_odd(odd)))


def _event_type(headers: Mapping[str, str]) -> str:
    """The precise type; senders older than 1.16 and imitations name only the event."""
    precise = first_of(headers, _TYPE_HEADERS)
    if precise:
        return precise
    event = first_of(headers, _EVENT_HEADERS)
    return _TYPE_OF_EVENT.get(event, event)


def _odd(error: ValueError) -> str:
    return safe_text(f"unexpected shape: {error}", 2 * _NAME_LENGTH)


def _repo(repository: _Repository | None) -> str:
    return str(RepoName.parse((repository.full_name if repository else "") or ""))


def _login(user: _User | None) -> str:
    return safe_text((user.login if user else "") or "", _NAME_LENGTH)


def _branch(name: str | None) -> str:
    if not _BRANCH.fullmatch(name or ""):
        raise UnexpectedShapeError(f"not a branch name: {(name or '')[:80]!r}")
    return name or ""


def _number(number: int | None) -> int:
    if number is None or not 0 < number <= _MOST_NUMBER:
        raise UnexpectedShapeError("no pull request number")
    return number


def _sha(text: str | None) -> Sha | None:
    """None for the row of zeros that stands for "no commit"."""
    sha = parse_sha(text or "")
    return sha if sha.strip("0") else None


def _commit(text: str | None) -> Sha:
    sha = _sha(text)
    if sha is None:
        raise UnexpectedShapeError("the commit id is all zeros")
    return sha


def _push(body: _Body) -> Event:
    if body.after and body.before == body.after:
        return Ignored("test delivery: the push moves nothing")
    ref = body.ref or ""
    if not ref.startswith(_HEADS):
        return Ignored("a push to something else than a branch")
    branch = _branch(ref.removeprefix(_HEADS))
    return BranchMoved(_repo(body.repository), branch, _sha(body.after), _login(body.sender))


def _created(body: _Body) -> Event:
    if body.ref_type != "branch":
        return Ignored("created: not a branch")
    return BranchMoved(_repo(body.repository), _branch(body.ref), _sha(body.sha), _login(body.sender))


def _deleted(body: _Body) -> Event:
    if body.ref_type != "branch":
        return Ignored("deleted: not a branch")
    return BranchMoved(_repo(body.repository), _branch(body.ref), None, _login(body.sender))


def _pull_request(body: _Body) -> Event:
    return _pull(body, body.number)


def _conversation(body: _Body) -> Event:
    if not body.is_pull:
        return Ignored("a comment on an issue, not on a pull request")
    return _pull(body, body.issue.number if body.issue else None)


def _pull(body: _Body, number: int | None) -> Event:
    """Before Gitea 1.23 a comment came without its pull request: then branch and head are not told."""
    head = body.pull_request.head if body.pull_request else None
    return PullRequestChanged(
        repo=_repo(body.repository),
        number=_number(number),
        branch=_branch(head.ref) if head else "",
        head=_sha(head.sha) if head else None,
        sender=_login(body.sender),
    )


def _status(body: _Body) -> Event:
    return CommitChecked(_repo(body.repository), _commit(body.sha), _login(body.sender))


def _workflow(body: _Body) -> Event:
    """Its sender pushed what is checked, an agent of ours mostly. What came of it is nobody's doing."""
    run = body.workflow_run or body.workflow_job or _Workflow()
    return CommitChecked(_repo(body.repository), _commit(run.head_sha), NOBODY)


def _action_run(body: _Body) -> Event:
    """Whoever triggered the run is as little its sender as above."""
    run = body.run or _ActionRun()
    return CommitChecked(_repo(run.repository), _commit(run.commit_sha), NOBODY)


def _nothing(reason: str, _body: _Body) -> Event:
    return Ignored(reason)


def _ignored(reason: str) -> Route:
    return Route(Ignored, partial(_nothing, reason))


_DECODER: Final = msgspec.json.Decoder(_Body)
_PULL_REQUEST: Final = Route(PullRequestChanged, _pull_request)
_ACTION_RUN: Final = Route(CommitChecked, _action_run)
_ISSUE: Final = _ignored("issues of the forge are not used: the work is planned in the tracker")

SUPPORTED: Final[Mapping[str, Route]] = {
    "push": Route(BranchMoved, _push),
    "create": Route(BranchMoved, _created),
    "delete": Route(BranchMoved, _deleted),
    "pull_request": _PULL_REQUEST,
    "pull_request_sync": _PULL_REQUEST,
    "pull_request_label": _PULL_REQUEST,
    "pull_request_assign": _PULL_REQUEST,
    "pull_request_milestone": _PULL_REQUEST,
    "pull_request_review_request": _PULL_REQUEST,
    "pull_request_review_approved": _PULL_REQUEST,
    "pull_request_review_rejected": _PULL_REQUEST,
    "pull_request_review_comment": _PULL_REQUEST,
    "pull_request_comment": Route(PullRequestChanged, _conversation),
    "status": Route(CommitChecked, _status),
    "workflow_run": Route(CommitChecked, _workflow),
    "workflow_job": Route(CommitChecked, _workflow),
    "action_run_success": _ACTION_RUN,
    "action_run_failure": _ACTION_RUN,
    "action_run_recover": _ACTION_RUN,
    # Senders that name only the event say `issue_comment` for comments on pull requests too.
    "issue_comment": Route(Ignored, _conversation),
    "issues": _ISSUE,
    "issue_assign": _ISSUE,
    "issue_label": _ISSUE,
    "issue_milestone": _ISSUE,
    "release": _ignored("releases do not matter to the pipeline"),
    "repository": _ignored("repositories are mapped in orchestrator.yaml"),
    "fork": _ignored("forks do not matter to the pipeline"),
    "wiki": _ignored("the wiki does not matter to the pipeline"),
    "package": _ignored("packages do not matter to the pipeline"),
}
"""Every event type that we know by name. docs/reference/events.md shows the same; a test compares them."""

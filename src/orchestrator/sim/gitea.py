"""Gitea 1.27 (or Forgejo) in small: REST v1, signed webhooks, and real bare repositories over smart HTTP."""

import base64
import binascii
import contextlib
import json
import os
import re
import secrets
import subprocess  # noqa: TID251 - git itself is part of what is simulated; argv lists only
import tempfile
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.sim import gitea_oauth
from orchestrator.sim.server import Simulator, utc_now
from orchestrator.sim.webhook import GiteaEvent, Outgoing, gitea_headers

API = "/api/v1"
WEBHOOK_TIMEOUT_S = 5.0
GIT_TIMEOUT_S = 120
MAX_PACK_BYTES = 512 * 1024 * 1024
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_CONTENT_BYTES = 10 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
DEFAULT_PAGE, MAX_PAGE = 30, 50
NEW_BRANCH_COMMITS = 10
MAX_BRANCH_NAME = 100
NO_SHA = "0" * 40
REVISION_SYNTAX = set("~^:?*[\\\0\n ")  # no name has these; git would calculate with them
ZERO_TIME, EPOCH = "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"
READ, WRITE, ADMIN = 1, 2, 3
ROLE_NAMES = {0: "none", READ: "read", WRITE: "write", ADMIN: "admin"}
VERSIONS = {"gitea": "1.27.1", "forgejo": "15.0.3+gitea-1.22.0"}
COMMITS_IN_PUSH = {"gitea": 5, "forgejo": 15}

PULL_EVENTS = (
    "pull_request",
    "pull_request_assign",
    "pull_request_label",
    "pull_request_milestone",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_sync",
    "pull_request_review_request",
)
COMMON_EVENTS = ("create", "delete", "fork", "push", "issues", "issue_comment", *PULL_EVENTS, "release")
EVENTS = {
    "gitea": (*COMMON_EVENTS, "status", "workflow_run", "workflow_job"),
    "forgejo": (*COMMON_EVENTS, "action_run_failure", "action_run_recover", "action_run_success"),
}
STATUS_EVENTS_SINCE, JOB_EVENTS_SINCE, RUN_EVENTS_SINCE = (1, 24), (1, 24), (1, 25)
ACTIONS_API_SINCE, HEAD_FILTER_SINCE = (1, 25), (16, 0)
REVIEWS = {
    "APPROVED": ("APPROVED", GiteaEvent("pull_request_approved", "pull_request_review_approved")),
    "REQUEST_CHANGES": (
        "REQUEST_CHANGES",
        GiteaEvent("pull_request_rejected", "pull_request_review_rejected"),
    ),
    "COMMENT": ("COMMENT", GiteaEvent("pull_request_comment", "pull_request_review_comment")),
}
SUBSCRIPTIONS = {event.precise: "pull_request_review" for _, event in REVIEWS.values()}
PUSH, CREATE, DELETE = (GiteaEvent(name, name) for name in ("push", "create", "delete"))
STATUS, PULL = GiteaEvent("status", "status"), GiteaEvent("pull_request", "pull_request")
PULL_SYNC = GiteaEvent("pull_request", "pull_request_sync")
PULL_COMMENT = GiteaEvent("issue_comment", "pull_request_comment")
PULL_REVIEW_REQUEST = GiteaEvent("pull_request", "pull_request_review_request")
ACTIONS_USER = "gitea-actions"

REPO_ON = (
    "has_issues",
    "has_wiki",
    "has_pull_requests",
    "has_projects",
    "has_releases",
    "has_packages",
    "has_actions",
    "allow_merge_commits",
    "allow_rebase",
    "allow_rebase_explicit",
    "allow_squash_merge",
    "allow_fast_forward_only_merge",
    "allow_rebase_update",
)
REPO_OFF = (
    "empty",
    "fork",
    "template",
    "mirror",
    "archived",
    "ignore_whitespace_conflicts",
    "default_delete_branch_after_merge",
    "default_allow_maintainer_edit",
    "internal",
)
REPO_BLANK = ("description", "language", "link", "original_url", "website", "avatar_url", "mirror_interval")
REPO_COUNTS = (
    "size",
    "stars_count",
    "forks_count",
    "watchers_count",
    "open_issues_count",
    "open_pr_counter",
    "release_counter",
)

Row = dict[str, Any]
Flavour = Literal["gitea", "forgejo"]


class Refused(Exception):
    """An answer other than success; Gitea wraps the message the same way each time."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message


def _missing() -> Refused:
    return Refused(404, "The target couldn't be found.")


@dataclass(frozen=True)
class User:
    """A person, a bot, or an organisation that owns repositories."""

    id: int
    login: str
    full_name: str
    email: str


@dataclass(frozen=True)
class Token:
    """Acts as its user; `scopes` None means all of them."""

    login: str
    scopes: frozenset[str] | None


@dataclass(frozen=True)
class Hook:
    """A repository's webhook."""

    id: int
    url: str
    secret: str
    events: tuple[str, ...]
    content_type: str = "json"
    branch_filter: str = "*"
    authorization_header: str = ""
    active: bool = True


@dataclass
class Pull:
    """A pull request; its head is read from git as long as it is open."""

    id: int
    number: int
    user: User
    title: str
    body: str
    head: str
    base: str
    head_sha: str
    created_at: str
    updated_at: str
    state: str = "open"
    conflicted: bool = False
    closed_at: str | None = None
    checking: bool = False
    merged_by: User | None = None
    merge_commit: str | None = None
    labels: list[Row] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    requested: list[User] = field(default_factory=list)
    reviews: list[Row] = field(default_factory=list)
    line_comments: list[Row] = field(default_factory=list)
    comments: list[Row] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pull/{self.number}/head"

    @property
    def is_draft(self) -> bool:
        return self.title.upper().startswith(("WIP:", "[WIP]"))


@dataclass(frozen=True)
class JobRun:
    """One run of Actions with one job; its number in pages is not the one that the API knows it by."""

    run: int
    job: int
    number: int
    sha: str
    name: str
    conclusion: str
    log: bytes


@dataclass
class Repo:
    """A repository: a real bare one on disk, and what the forge knows around it."""

    id: int
    owner: User
    name: str
    git: "BareGit"
    default_branch: str
    private: bool
    created_at: str
    roles: dict[str, int] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)
    pulls: dict[int, Pull] = field(default_factory=dict)
    statuses: list[Row] = field(default_factory=list)
    required_contexts: list[str] = field(default_factory=list)
    required_approvals: int = 0
    dismiss_stale_approvals: bool = False
    jobs: list[JobRun] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"


# -- git


@dataclass(frozen=True)
class BareGit:
    """A bare repository; every command is bounded in time and sees no configuration of this machine."""

    path: Path
    known: dict[tuple[str, ...], bytes] = field(default_factory=dict, repr=False, compare=False)
    """What `recalled` was told before."""

    def run(self, *argv: str, stdin: bytes = b"") -> bytes:
        done = self.attempt(*argv, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"git {argv[0]} failed: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout

    def recalled(self, *argv: str) -> bytes:
        """As `run`, of questions about full ids alone: their answers never change, and each costs a process."""
        if argv not in self.known:
            self.known[argv] = self.run(*argv)
        return self.known[argv]

    def attempt(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*argv),
            input=stdin,
            capture_output=True,
            env=git_env(),
            timeout=GIT_TIMEOUT_S,
            check=False,
        )

    def argv(self, *argv: str) -> list[str]:
        return ["git", "-c", "core.hooksPath=/dev/null", "--literal-pathspecs", f"--git-dir={self.path}", *argv]

    def commit_of(self, ref: str) -> str | None:
        """The commit behind a branch, a tag or a full id; None when there is none."""
        if ref.startswith("-") or set(ref) & REVISION_SYNTAX or "@{" in ref or ".." in ref:
            return None
        refs = self.refs()
        names = [refs[name] for name in (f"refs/heads/{ref}", f"refs/tags/{ref}") if name in refs]
        exact = [ref] if len(ref) in {40, 64} and all(c in "0123456789abcdef" for c in ref) else []
        for sha in (*names, *exact):
            with contextlib.suppress(RuntimeError):
                words = ("rev-parse", "--verify", "--quiet", "--end-of-options", sha + "^{commit}")
                return self.recalled(*words).decode().strip()
        return None

    def branch(self, name: str) -> str | None:
        ref = f"refs/heads/{name}"
        return self.refs(ref).get(ref)

    def refs(self, under: str = "refs/") -> dict[str, str]:
        """Names and ids, in order. Read from git's own files: nothing is asked so often, and a process is dear."""
        found = self._packed_refs() | self._loose_refs()
        return {name: found[name] for name in sorted(found) if name.startswith(under)}

    def _packed_refs(self) -> dict[str, str]:
        try:
            lines = (self.path / "packed-refs").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        return {name: sha for sha, _, name in (line.partition(" ") for line in lines if line[0] not in "#^")}

    def _loose_refs(self) -> dict[str, str]:
        """Git writes each beside its place and moves it there: what is read is whole."""
        found = {}
        for folder, _, names in os.walk(self.path / "refs"):
            for name in names:
                file = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if not name.endswith(".lock"):
                        found[file.relative_to(self.path).as_posix()] = file.read_text(encoding="utf-8").strip()
        return found

    def tree(self, commit: str, path: str) -> list[tuple[str, str, str, int, str]]:
        """(mode, type, id, size, path) of the entry; of its children when the path ends in a slash."""
        paths = ["--", path] if path else []
        listed = self.recalled("ls-tree", "-z", "-l", commit, *paths).decode(errors="replace")
        rows = (entry.partition("\t") for entry in listed.split("\0") if entry)
        return [(*_tree_columns(columns.split()), name) for columns, _, name in rows]

    def blob(self, commit: str, path: str) -> bytes | None:
        entries = [entry for entry in self.tree(commit, path) if entry[1] == "blob" and entry[4] == path]
        return self.recalled("cat-file", "blob", entries[0][2]) if entries else None

    def patch(self, base: str, head: str) -> bytes:
        """What a pull request changes: from where the two parted."""
        flags = ("--no-ext-diff", "--no-textconv", "--no-renames", "--full-index")
        return self.attempt("diff", *flags, "--end-of-options", f"{base}...{head}", "--").stdout

    def merged_tree(self, ours: str, theirs: str) -> str | None:
        """The tree of a merge; None for a conflict."""
        with contextlib.suppress(RuntimeError):
            return self.recalled("merge-tree", "--write-tree", "--no-messages", ours, theirs).decode().strip()
        return None

    def merge_base(self, one: str, two: str) -> str:
        """Empty when they have nothing in common."""
        with contextlib.suppress(RuntimeError):
            return self.recalled("merge-base", "--end-of-options", one, two).decode().strip()
        return ""

    def log(self, revisions: str, limit: int) -> list[str]:
        listed = self.run("rev-list", f"--max-count={limit}", "--end-of-options", revisions, "--")
        return listed.decode().split()


def _tree_columns(columns: list[str]) -> tuple[str, str, str, int]:
    mode, kind, sha, size = columns
    return mode, kind, sha, 0 if size == "-" else int(size)


def git_env(protocol: str = "") -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_DEFAULT_REF_FORMAT": "files",  # whatever a newer git prefers: `BareGit.refs` reads them
        "GIT_TERMINAL_PROMPT": "0",
    } | ({"GIT_PROTOCOL": protocol} if protocol else {})


def _first_commit(user: User, branch: str, files: Mapping[str, str | bytes], when: datetime) -> bytes:
    """A stream for `git fast-import`: needs no work tree and no identity from the machine."""
    out = [f"commit refs/heads/{branch}\n".encode()]
    out += [f"committer {user.full_name} <{user.email}> {int(when.timestamp())} +0000\n".encode()]
    out += [b"data 15\nInitial commit\n\n"]
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        out += [b"M 100644 inline " + quoted_path(name) + b"\n", f"data {len(data)}\n".encode(), data, b"\n"]
    return b"".join(out)


def quoted_path(name: str) -> bytes:
    return b'"' + name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


# -- the server


class GiteaSim(Simulator):
    """A Gitea or Forgejo server. Give `app` to a LoopbackServer; repositories live under `root`.

    `root_url` is the server's own idea of its address and is meant to be unreachable: clients must not
    follow URLs from answers and payloads. `in_threads`: git blocks, so answers are made beside the event loop; a
    world whose repositories lie in memory does without.
    """

    def __init__(
        self,
        root: Path,
        *,
        flavour: Flavour = "gitea",
        version: str = "",
        root_url: str = "https://git.example.test",
        now: Callable[[], datetime] = utc_now,
        in_threads: bool = True,
    ) -> None:
        super().__init__(WEBHOOK_TIMEOUT_S, now)
        self.in_threads = in_threads
        self.root, self.flavour, self.root_url = root, flavour, root_url
        self.version = version or VERSIONS[flavour]
        found = re.match(r"(\d+)\.(\d+)", self.version)
        self.number = (int(found[1]), int(found[2])) if found else (0, 0)
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.oauth = gitea_oauth.OAuth()
        self.repos: dict[str, Repo] = {}
        self.state = threading.RLock()  # held while refs change, so that every push is seen by itself
        self._last_id = 0
        self.app: ASGIApp = self.watch(_application(self))

    @property
    def is_forgejo(self) -> bool:
        return self.flavour == "forgejo"

    # -- building a world

    def add_user(self, login: str, full_name: str = "", email: str = "") -> User:
        user = User(self.next_id(), login, full_name, email or f"{login}@example.test")
        self.users[login] = user
        return user

    def add_token(self, login: str, token: str = "", scopes: Iterable[str] | None = None) -> str:
        value = token or secrets.token_hex(20)
        self.tokens[value] = Token(login, None if scopes is None else frozenset(scopes))
        return value

    def create_repo(
        self,
        owner: str,
        name: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        default_branch: str = "main",
        private: bool = True,
    ) -> Repo:
        """A real bare repository with one commit of `files`; without files it stays empty."""
        user = self.users.get(owner) or self.add_user(owner)
        git = BareGit(self.root / owner / f"{name}.git")
        git.path.mkdir(parents=True)
        git.run("init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}")
        if files:
            author = replace(user, full_name=user.full_name or user.login)
            git.run("fast-import", "--quiet", stdin=_first_commit(author, default_branch, files, self.now()))
        repo = Repo(self.next_id(), user, name, git, default_branch, private, self.stamp())
        self.repos[repo.full_name] = repo
        return repo

    def grant(self, repo: str, login: str, role: int) -> None:
        """READ, WRITE or ADMIN for a collaborator."""
        self.repos[repo].roles[login] = role

    def add_hook(self, repo: str, url: str, secret: str, events: Sequence[str] = ("push",), **more: Any) -> Hook:
        """`events` as in the API: `pull_request` stands for all pull_request_*; unknown names are dropped."""
        hook = Hook(self.next_id(), url, secret, self._known_events(events), **more)
        self.repos[repo].hooks.append(hook)
        return hook

    # -- looking in from outside

    def head(self, repo: str, branch: str) -> str | None:
        return self.repos[repo].git.branch(branch)

    def file_at(self, repo: str, ref: str, path: str) -> bytes | None:
        git = self.repos[repo].git
        commit = git.commit_of(ref)
        return git.blob(commit, path) if commit else None

    @property
    def deliveries(self) -> list[Outgoing]:
        """What was sent or lost so far, oldest first."""
        return [sent.delivery for sent in list(self.courier.sent)]

    def replay(self, delivery: Outgoing) -> Outgoing:
        """The button in the browser: a new delivery id, the same bytes."""
        again, headers = str(uuid4()), dict(delivery.headers)
        headers |= {name: again for name in headers if name.endswith("-Delivery")}
        return self.post(replace(delivery, id=again, headers=headers))

    # -- small things

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def role(self, repo: Repo, user: User | None) -> int:
        if user is None:
            return 0 if repo.private else READ
        if user.login == repo.owner.login:
            return ADMIN
        return repo.roles.get(user.login, 0 if repo.private else READ)

    def _known_events(self, names: Sequence[str]) -> tuple[str, ...]:
        wanted = set(names or ("push",))
        if "pull_request" in wanted:
            wanted |= set(PULL_EVENTS)
        if "pull_request_only" in wanted:
            wanted.add("pull_request")
        return tuple(name for name in EVENTS[self.flavour] if name in wanted and self._has_event(name))

    def _has_event(self, name: str) -> bool:
        since = {"status": STATUS_EVENTS_SINCE, "workflow_job": JOB_EVENTS_SINCE, "workflow_run": RUN_EVENTS_SINCE}
        return self.is_forgejo or self.number >= since.get(name, (0, 0))

    def has_actions_api(self) -> bool:
        return not self.is_forgejo and self.number >= ACTIONS_API_SINCE

    def has_head_filter(self) -> bool:
        return self.is_forgejo and self.number >= HEAD_FILTER_SINCE

    # -- webhooks

    def tell(self, repo: Repo, event: GiteaEvent, payload: Row, *, branch: str | None = None) -> None:
        key = SUBSCRIPTIONS.get(event.precise, event.precise)
        for hook in repo.hooks:
            filtered = branch is not None and not fnmatchcase(branch, hook.branch_filter or "*")
            if hook.active and key in hook.events and not filtered:
                self.deliver(hook, event, payload)

    def deliver(self, hook: Hook, event: GiteaEvent, payload: Row) -> None:
        """Gitea sends once, without a retry, whatever the answer is."""
        signed, delivery_id = self._written(payload), str(uuid4())
        headers = gitea_headers(event, delivery_id, hook.secret, signed, forgejo=self.is_forgejo)
        body, kind = signed, "application/json"
        if hook.content_type == "form":
            body = urllib.parse.urlencode({"payload": signed}).encode()
            kind = "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind} | headers
        if hook.authorization_header:
            headers["Authorization"] = hook.authorization_header
        self.post(Outgoing(delivery_id, event.precise, hook.url, headers, body))

    def _written(self, payload: Row) -> bytes:
        text = msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()
        if self.is_forgejo:  # built with the older JSON encoder of Go, which escapes what HTML would need
            for char in "<>&\u2028\u2029":
                text = text.replace(char, f"\\u{ord(char):04x}")
        return text.encode()

    def pushed(self, repo: Repo, before: Mapping[str, str], after: Mapping[str, str], sender: User) -> None:
        """Tells what changed between two listings of the refs."""
        for ref in sorted(before.keys() | after.keys()):
            old, new = before.get(ref, NO_SHA), after.get(ref, NO_SHA)
            if old != new and ref.startswith(("refs/heads/", "refs/tags/")):
                _tell_push(self, repo, sender, _RefChange(ref, old, new))


@dataclass(frozen=True)
class _RefChange:
    ref: str
    old: str
    new: str

    @property
    def is_branch(self) -> bool:
        return self.ref.startswith("refs/heads/")

    @property
    def short(self) -> str:
        return self.ref.split("/", 2)[2]


def _tell_push(sim: GiteaSim, repo: Repo, sender: User, change: _RefChange) -> None:
    shape = Shapes(sim)
    kind = "branch" if change.is_branch else "tag"
    about = {"ref": change.short, "ref_type": kind}
    tail = {"repository": shape.repo(repo, 0), "sender": shape.user(sender)}
    if change.old == NO_SHA:
        sha = repo.git.commit_of(change.short) or change.new
        sim.tell(repo, CREATE, {"sha": sha} | about | tail, branch=change.short)
    if change.new == NO_SHA:
        sim.tell(repo, DELETE, about | {"pusher_type": "user"} | tail, branch=change.short)
    if change.new != NO_SHA or not change.is_branch:
        sim.tell(repo, PUSH, shape.push(repo, sender, change), branch=change.short)
    if change.is_branch:
        _follow_pulls(sim, repo, sender, change)


def _follow_pulls(sim: GiteaSim, repo: Repo, sender: User, change: _RefChange) -> None:
    """Open pull requests from this branch get the new commits. Those from or onto one that is gone are closed."""
    is_gone = change.new == NO_SHA
    for pull in repo.pulls.values():
        if pull.state != "open" or change.short not in ({pull.head, pull.base} if is_gone else {pull.head}):
            continue
        pull.updated_at = sim.stamp()
        if is_gone:
            pull.state, pull.closed_at = "closed", pull.updated_at
            sim.tell(repo, PULL, Shapes(sim).pull_event("closed", repo, pull, sender))
            continue
        move_head(repo, pull, change.new)
        payload = Shapes(sim).pull_event("synchronized", repo, pull, sender)
        moved = {} if sim.is_forgejo else {"before": change.old, "after": change.new}
        sim.tell(repo, PULL_SYNC, {"action": payload.pop("action")} | moved | payload)


def move_head(repo: Repo, pull: Pull, new: str) -> None:
    """Reviews grow stale when what the pull request changes is another thing now: a mere rebase leaves them."""
    is_same = repo.git.patch(pull.base, pull.head_sha) == repo.git.patch(pull.base, new)
    pull.head_sha = new
    repo.git.run("update-ref", pull.ref, new)
    for review in pull.reviews:
        review["stale"] = review["commit_id"] != new and (review["stale"] or not is_same)
        if not is_same and repo.dismiss_stale_approvals and review["state"] == "APPROVED":
            review["dismissed"] = True


# -- shapes of answers and payloads


@dataclass(frozen=True)
class Shapes:
    """JSON as this flavour of the server writes it."""

    sim: GiteaSim

    def user(self, user: User) -> Row:
        host = urllib.parse.urlsplit(self.sim.root_url).hostname
        row: Row = {"id": user.id, "login": user.login, "login_name": "", "source_id": 0}
        row |= {"full_name": user.full_name, "email": f"{user.id}+{user.login}@noreply.{host}"}
        row |= {"avatar_url": f"{self.sim.root_url}/avatars/{user.id}", "language": "", "is_admin": False}
        row |= {"html_url": f"{self.sim.root_url}/{user.login}", "last_login": ZERO_TIME}
        row |= {"created": EPOCH, "restricted": False, "active": False, "prohibit_login": False}
        row |= {"location": "", "website": "", "description": "", "visibility": "public"}
        row |= {"followers_count": 0, "following_count": 0, "starred_repos_count": 0}
        return row | {"username": user.login} | ({"pronouns": ""} if self.sim.is_forgejo else {})

    def repo(self, repo: Repo, role: int) -> Row:
        url, api = f"{self.sim.root_url}/{repo.full_name}", f"{self.sim.root_url}{API}/repos/{repo.full_name}"
        host = urllib.parse.urlsplit(self.sim.root_url).hostname
        row: Row = dict.fromkeys(REPO_ON, True) | dict.fromkeys(REPO_OFF, False)
        row |= dict.fromkeys(REPO_BLANK, "") | dict.fromkeys(REPO_COUNTS, 0)
        row |= {"id": repo.id, "owner": self.user(repo.owner), "name": repo.name, "full_name": repo.full_name}
        row |= {
            "private": repo.private,
            "default_branch": repo.default_branch,
            "languages_url": api + "/languages",
        }
        row |= {
            "html_url": url,
            "url": api,
            "clone_url": url + ".git",
            "ssh_url": f"git@{host}:{repo.full_name}.git",
        }
        row |= {"created_at": repo.created_at, "updated_at": repo.created_at, "archived_at": EPOCH}
        row |= {"permissions": {"admin": role >= ADMIN, "push": role >= WRITE, "pull": role >= READ}}
        trackers = ("enable_time_tracker", "allow_only_contributors_to_track_time", "enable_issue_dependencies")
        row |= {"internal_tracker": dict.fromkeys(trackers, True), "object_format_name": "sha1", "topics": []}
        row |= {"default_merge_style": "merge", "default_update_style": "merge", "mirror_updated": ZERO_TIME}
        row |= {"open_pr_counter": sum(pull.state == "open" for pull in repo.pulls.values())}
        return row | (self._forgejo_repo(repo) if self.sim.is_forgejo else self._gitea_repo(repo))

    def _gitea_repo(self, repo: Repo) -> Row:
        row: Row = {"branch_count": len(repo.git.refs("refs/heads/")), "empty": not repo.git.refs()}
        row |= {"has_code": True, "projects_mode": "all", "allow_merge_update": True, "licenses": []}
        row |= {"allow_manual_merge": False, "autodetect_manual_merge": False}
        return row | {"mirror_last_sync_at": ZERO_TIME}

    def _forgejo_repo(self, repo: Repo) -> Row:
        wiki = f"{repo.full_name}.wiki.git"
        row: Row = {"parent": None, "has_wiki_contents": False, "globally_editable_wiki": False}
        row |= {"wiki_clone_url": f"{self.sim.root_url}/{wiki}", "wiki_ssh_url": f"git@git.example.test:{wiki}"}
        return row | {"repo_transfer": None, "empty": not repo.git.refs()}

    def commit(self, repo: Repo, sha: str) -> Row:
        form = "%H%x00%an%x00%ae%x00%cn%x00%ce%x00%cI%x00%B"
        done = repo.git.recalled("log", "-1", f"--format={form}", "--end-of-options", sha, "--")
        parts = done.decode(errors="replace").removesuffix("\n").split("\0", 6)
        row: Row = {"id": parts[0], "message": parts[6]}
        row |= {"url": f"{self.sim.root_url}/{repo.full_name}/commit/{parts[0]}"}
        row |= {"author": self._person(parts[1], parts[2]), "committer": self._person(parts[3], parts[4])}
        row |= {"verification": None, "timestamp": parts[5].replace("+00:00", "Z")}
        return row | _changed_files(repo.git, parts[0])

    def _person(self, name: str, email: str) -> Row:
        logins = [user.login for user in self.sim.users.values() if user.email == email]
        return {"name": name, "email": email, "username": logins[0] if logins else ""}

    def push(self, repo: Repo, sender: User, change: _RefChange) -> Row:
        shas, total = _pushed_commits(repo.git, change)
        commits = [self.commit(repo, sha) for sha in shas[: COMMITS_IN_PUSH[self.sim.flavour]]]
        base = repo.default_branch if change.old == NO_SHA else change.old
        head = repo.git.commit_of(change.new) if change.new != NO_SHA else None
        row: Row = {"ref": change.ref, "before": change.old, "after": change.new}
        row |= {"compare_url": f"{self.sim.root_url}/{repo.full_name}/compare/{base}...{change.new}"}
        row |= {"commits": commits, "total_commits": total}
        row |= {"head_commit": self.commit(repo, head) if head else None}
        who = self.user(sender)
        return row | {"repository": self.repo(repo, ADMIN), "pusher": who, "sender": who}

    def branch(self, repo: Repo, name: str, sha: str, role: int) -> Row:
        unsigned = {"verified": False, "reason": "gpg.error.not_signed_commit", "signature": ""}
        commit = self.commit(repo, sha) | dict.fromkeys(("added", "removed", "modified"))
        commit["verification"] = unsigned | {"signer": None, "payload": ""}
        required = repo.required_contexts
        row: Row = {"name": name, "commit": commit, "protected": bool(required or repo.required_approvals)}
        row |= {"required_approvals": repo.required_approvals, "enable_status_check": bool(required)}
        row |= {"status_check_contexts": required, "effective_branch_protection_name": ""}
        return row | {"user_can_push": role >= WRITE, "user_can_merge": role >= WRITE}

    def pull(self, repo: Repo, pull: Pull) -> Row:
        url = f"{self.sim.root_url}/{repo.full_name}/pulls/{pull.number}"
        base_sha = repo.git.branch(pull.base) or NO_SHA
        merge_base = repo.git.merge_base(base_sha, pull.head_sha)
        whole = {"repo_id": repo.id, "repo": self.repo(repo, READ)}
        row: Row = {"id": pull.id, "url": url, "number": pull.number, "user": self.user(pull.user)}
        row |= {"title": pull.title, "body": pull.body, "state": pull.state, "draft": pull.is_draft}
        row |= dict.fromkeys(("milestone", "assignee", "merged_at", "merge_commit_sha", "merged_by", "due_date"))
        row |= {"labels": pull.labels, "requested_reviewers_teams": []}
        row |= {"assignees": [self.user(user) for user in pull.assignees]}
        row |= {"requested_reviewers": [self.user(user) for user in pull.requested]}
        row |= {"assignee": self.user(pull.assignees[0])} if pull.assignees else {}
        row |= dict.fromkeys(("review_comments", "additions", "deletions", "changed_files", "pin_order"), 0)
        row |= dict.fromkeys(("is_locked", "merged", "allow_maintainer_edit"), False)
        row |= {"comments": len(pull.comments), "mergeable": _is_mergeable(repo, pull, base_sha)}
        if pull.merged_by:
            row |= {"merged": True, "merged_at": pull.closed_at, "merge_commit_sha": pull.merge_commit}
            row |= {"merged_by": self.user(pull.merged_by)}
        row |= {"html_url": url, "diff_url": url + ".diff", "patch_url": url + ".patch"}
        row |= {"base": {"label": pull.base, "ref": pull.base, "sha": base_sha} | whole}
        ref = pull.head if repo.git.branch(pull.head) else pull.ref  # a branch that is gone leaves this behind
        row |= {"head": {"label": pull.head, "ref": ref, "sha": pull.head_sha} | whole}
        row |= {"merge_base": merge_base, "closed_at": pull.closed_at}
        row |= {"created_at": pull.created_at, "updated_at": pull.updated_at}
        return row | ({"flow": 0} if self.sim.is_forgejo else {"content_version": 0})

    def pull_event(self, action: str, repo: Repo, pull: Pull, sender: User) -> Row:
        row: Row = {"action": action, "number": pull.number, "pull_request": self.pull(repo, pull)}
        row |= {"requested_reviewer": None, "repository": self.repo(repo, ADMIN), "sender": self.user(sender)}
        return row | {"commit_id": "", "review": None}

    def issue(self, repo: Repo, pull: Pull) -> Row:
        url = f"{self.sim.root_url}/{repo.full_name}/pulls/{pull.number}"
        api = f"{self.sim.root_url}{API}/repos/{repo.full_name}/issues/{pull.number}"
        row: Row = {"id": pull.id, "url": api, "html_url": url, "number": pull.number}
        row |= {"user": self.user(pull.user), "original_author": "", "original_author_id": 0}
        row |= {"title": pull.title, "body": pull.body, "ref": "", "assets": [], "labels": []}
        row |= dict.fromkeys(("milestone", "projects", "assignee", "assignees", "closed_at", "due_date"))
        row |= {"state": pull.state, "is_locked": False, "comments": len(pull.comments), "time_estimate": 0}
        row |= {"created_at": pull.created_at, "updated_at": pull.updated_at, "pin_order": 0}
        merged = {"merged": False, "merged_at": None, "draft": pull.is_draft, "html_url": url}
        brief = {"id": repo.id, "name": repo.name, "owner": repo.owner.login, "full_name": repo.full_name}
        row |= {"pull_request": merged, "repository": brief}
        return row | ({} if self.sim.is_forgejo else {"content_version": 0})

    def comment(self, repo: Repo, pull: Pull, user: User, body: str) -> Row:
        url = f"{self.sim.root_url}/{repo.full_name}/pulls/{pull.number}"
        now, number = self.sim.stamp(), self.sim.next_id()
        row: Row = {"id": number, "html_url": f"{url}#issuecomment-{number}", "pull_request_url": url}
        row |= {"issue_url": "", "user": self.user(user), "original_author": "", "original_author_id": 0}
        return row | {"body": body, "assets": [], "created_at": now, "updated_at": now}

    def comment_event(self, action: str, repo: Repo, pull: Pull, comment: Row, sender: User) -> Row:
        row: Row = {"action": action, "issue": self.issue(repo, pull), "pull_request": self.pull(repo, pull)}
        row |= {"comment": dict(comment), "repository": self.repo(repo, ADMIN), "sender": self.user(sender)}
        return row | {"is_pull": True}

    def hook(self, hook: Hook) -> Row:
        row: Row = {"id": hook.id, "type": "gitea", "branch_filter": hook.branch_filter}
        row |= {"config": {"content_type": hook.content_type, "url": hook.url}, "events": list(hook.events)}
        row |= {"authorization_header": "", "active": hook.active}
        return row | {"updated_at": self.sim.stamp(), "created_at": self.sim.stamp()}


def _is_mergeable(repo: Repo, pull: Pull, base_sha: str) -> bool:
    """Says nothing of approvals and checks; false as well while the server is still looking."""
    if pull.is_draft or pull.conflicted or pull.checking:
        return False
    return pull.state != "open" or repo.git.merged_tree(base_sha, pull.head_sha) is not None


def _pushed_commits(git: BareGit, change: _RefChange) -> tuple[list[str], int]:
    """Newest first. A new branch lists old commits too, ten at most; a tag lists none."""
    if change.new == NO_SHA or not change.is_branch:
        return [], 0
    if change.old in {NO_SHA, change.new}:
        shas = git.log(change.new, NEW_BRANCH_COMMITS if change.old == NO_SHA else 1)
        return shas, len(shas)
    span = f"{change.old}..{change.new}"
    total = int(git.run("rev-list", "--count", "--end-of-options", span, "--"))
    return git.log(span, max(COMMITS_IN_PUSH.values())), total


def _changed_files(git: BareGit, sha: str) -> Row:
    flags = ("-r", "--root", "--no-commit-id", "--name-status", "--no-renames", "-z")
    words = git.recalled("diff-tree", *flags, "--end-of-options", sha).decode(errors="replace").split("\0")
    row: Row = {"added": [], "removed": [], "modified": []}
    for status, name in zip(words[::2], words[1::2], strict=False):
        row[{"A": "added", "D": "removed"}.get(status, "modified")].append(name)
    return row


# -- the door


@dataclass(frozen=True)
class _Answer:
    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Call:
    """A request that got through token, scope and role."""

    user: User | None
    repository: Repo | None
    role: int
    args: Mapping[str, str]
    request: Request
    raw: bytes

    @property
    def me(self) -> User:
        if self.user is None:
            raise Refused(401, "token is required")
        return self.user

    @property
    def repo(self) -> Repo:
        if self.repository is None:
            raise _missing()
        return self.repository

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def values(self) -> Row:
        try:
            body = json.loads(self.raw or b"{}")
        except ValueError as error:
            raise Refused(422, f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(422, "the body is not a JSON object")
        return body


@dataclass(frozen=True)
class _Op:
    """One API call with what it asks of the token and its user."""

    handle: Callable[[_Call], _Answer]
    role: int = READ
    scope: str = "repository"
    open: bool = False


def _credentials(sim: GiteaSim, header: str) -> Token | None:
    """`token T`, `Bearer T`, or Basic with the token as password (or as user name, without one)."""
    kind, _, value = header.partition(" ")
    if kind.lower() in {"token", "bearer"}:
        return _token(sim, value)
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _token(sim, name if password in {"", "x-oauth-basic"} else password)


def _token(sim: GiteaSim, value: str) -> Token | None:
    for known, token in sim.tokens.items():
        if secrets.compare_digest(known.encode(), value.strip().encode()):
            return token
    return None


def _scoped(token: Token | None, category: str, *, write: bool) -> None:
    if token is None or token.scopes is None:
        return
    enough = {f"write:{category}", "all"} | (set() if write else {f"read:{category}"})
    if not token.scopes & enough:
        need, has = f"{'write' if write else 'read'}:{category}", ",".join(sorted(token.scopes))
        text = f"token does not have at least one of required scope(s), required=[{need}], token scope={has}"
        raise Refused(403, text)


def _admit(sim: GiteaSim, request: Request, raw: bytes, op: _Op) -> _Call:
    args = {name: str(value) for name, value in request.path_params.items()}
    header = request.headers.get("authorization", "")
    token = _credentials(sim, header)
    if header and token is None:
        raise Refused(401, "invalid username, password or token")
    user = sim.users[token.login] if token else None
    writes = request.method not in {"GET", "HEAD"}
    if not op.open:
        _scoped(token, op.scope, write=writes)
    repo = sim.repos.get(f"{args['owner']}/{args['repo']}") if "repo" in args else None
    role = sim.role(repo, user) if repo else 0
    if "repo" in args and role < READ:
        raise _missing()  # also for repositories that are there, but not for this user
    if user is None and (writes or op.role > READ):
        raise Refused(401, "token is required")
    if repo and role < op.role:
        raise Refused(403, f"user should have a permission to {ROLE_NAMES[op.role]} to the repository")
    return _Call(user, repo, role, args, request, raw)


# -- REST


@dataclass(frozen=True)
class _Calls:
    """One method per REST call."""

    sim: GiteaSim

    @property
    def shape(self) -> Shapes:
        return Shapes(self.sim)

    def version(self, _: _Call) -> _Answer:
        return _Answer({"version": self.sim.version})

    def user(self, call: _Call) -> _Answer:
        return _Answer(self.shape.user(call.me) | {"email": call.me.email, "active": True})

    def repo(self, call: _Call) -> _Answer:
        return _Answer(self.shape.repo(call.repo, call.role))

    def permission(self, call: _Call) -> _Answer:
        user = self.sim.users.get(call.args["login"])
        if user is None:
            raise _missing()
        if call.role < ADMIN and user != call.me:
            raise Refused(403, "Only admins can query all permissions, repo admins can query all repo permissions")
        role = "owner" if user == call.repo.owner else ROLE_NAMES[self.sim.role(call.repo, user)]
        return _Answer({"permission": role, "role_name": role, "user": self.shape.user(user)})

    # branches and files

    def branches(self, call: _Call) -> _Answer:
        heads = call.repo.git.refs("refs/heads/").items()
        page = _paged(self.sim, call, list(heads))
        rows = [self.shape.branch(call.repo, _RefChange(r, "", "").short, sha, call.role) for r, sha in page.body]
        return replace(page, body=rows)

    def branch(self, call: _Call) -> _Answer:
        sha = call.repo.git.branch(call.args["name"])
        if sha is None:
            raise _missing()
        return _Answer(self.shape.branch(call.repo, call.args["name"], sha, call.role))

    def add_branch(self, call: _Call) -> _Answer:
        values, git = call.values(), call.repo.git
        name = _checked_branch_name(git, values.get("new_branch_name"))
        before = git.refs()
        if not before:
            raise Refused(404, "Git Repository is empty.")
        start = git.commit_of(str(values.get("old_ref_name") or call.repo.default_branch))
        if f"refs/heads/{name}" in before:
            raise Refused(409, "The branch already exists.")
        if start is None:
            raise Refused(500, "")  # as the real one does for an unknown ref
        # The zeros say "only if it is not there"; git also refuses `a` beside `a/b`.
        if git.attempt("update-ref", f"refs/heads/{name}", start, NO_SHA).returncode:
            raise Refused(409, "The branch with the same name conflicts with an existing one.")
        self.sim.pushed(call.repo, before, git.refs(), call.me)
        return _Answer(self.shape.branch(call.repo, name, start, call.role), 201)

    def contents(self, call: _Call) -> _Answer:
        commit, path = self._at(call)
        if not path:
            return _Answer([self._entry(call, commit, e) for e in call.repo.git.tree(commit, "")])
        entries = [entry for entry in call.repo.git.tree(commit, path) if entry[4] == path]
        if not entries:
            raise _missing()
        if entries[0][1] == "tree":
            return _Answer([self._entry(call, commit, e) for e in call.repo.git.tree(commit, path + "/")])
        row, size = self._entry(call, commit, entries[0]), entries[0][3]
        if entries[0][1] == "blob" and size <= MAX_CONTENT_BYTES:
            blob = call.repo.git.recalled("cat-file", "blob", entries[0][2])
            row |= {"encoding": "base64", "content": base64.b64encode(blob).decode()}
        return _Answer(row)

    def raw(self, call: _Call) -> _Answer:
        commit, path = self._at(call)
        blob = call.repo.git.blob(commit, path)
        if blob is None:
            raise _missing()
        return _Answer(blob)

    def _at(self, call: _Call) -> tuple[str, str]:
        path = call.args.get("path", "").strip("/")
        commit = call.repo.git.commit_of(call.query.get("ref") or call.repo.default_branch)
        if commit is None or ".." in path.split("/") or "\0" in path:
            raise _missing()
        return commit, path

    def _entry(self, call: _Call, commit: str, entry: tuple[str, str, str, int, str]) -> Row:
        mode, kind, sha, size, path = entry
        kinds = {"040000": "dir", "120000": "symlink", "160000": "submodule"}
        home = f"{self.sim.root_url}{API}/repos/{call.repo.full_name}"
        link, quoted = f"{home}/contents/{path}?ref={commit}", f"{home}/git/{kind}s/{sha}"
        page = f"{self.sim.root_url}/{call.repo.full_name}/src/commit/{commit}/{path}"
        row: Row = {"name": path.rpartition("/")[2], "path": path, "sha": sha, "size": size}
        row |= {"type": kinds.get(mode, "file"), "last_commit_sha": commit, "target": None}
        row |= dict.fromkeys(
            ("encoding", "content", "submodule_git_url", "last_committer_date", "last_author_date")
        )
        row |= {"url": link, "html_url": page, "git_url": quoted, "download_url": page.replace("/src/", "/raw/")}
        return row | {"_links": {"self": link, "git": quoted, "html": page}}

    # pull requests

    def pulls(self, call: _Call) -> _Answer:
        state, base = call.query.get("state", "open"), call.query.get("base_branch")
        head = call.query.get("head") if self.sim.has_head_filter() else None
        pulls = [p for p in call.repo.pulls.values() if state in {"all", p.state} and base in {None, p.base}]
        pulls = [pull for pull in pulls if head in {None, pull.head}]
        key = "updated_at" if call.query.get("sort") == "recentupdate" else "number"
        page = _paged(self.sim, call, sorted(pulls, key=lambda pull: str(getattr(pull, key)), reverse=True))
        return replace(page, body=[self.shape.pull(call.repo, pull) for pull in page.body])

    def pull(self, call: _Call) -> _Answer:
        return _Answer(self.shape.pull(call.repo, self._pull(call)))

    def pull_between(self, call: _Call) -> _Answer:
        ends = (call.args["base"], call.args["head"].removeprefix(f"{call.repo.owner.login}:"))
        for pull in call.repo.pulls.values():  # any of them, in no order: here the oldest
            if (pull.base, pull.head) == ends:
                return _Answer(self.shape.pull(call.repo, pull))
        raise _missing()

    def add_pull(self, call: _Call) -> _Answer:
        values, repo = call.values(), call.repo
        head, base = str(values.get("head", "")), str(values.get("base", ""))
        head_sha = repo.git.branch(head)
        if head_sha is None or repo.git.branch(base) is None:
            raise _missing()
        if head == base:
            raise Refused(422, "Invalid PullRequest: There are no changes between the head and the base")
        if any((p.state, p.head, p.base) == ("open", head, base) for p in repo.pulls.values()):
            raise Refused(409, f"pull request already exists for these targets [head: {head}, base: {base}]")
        number, now = len(repo.pulls) + 1, self.sim.stamp()
        title, body = str(values.get("title", "")), str(values.get("body", ""))
        pull = Pull(self.sim.next_id(), number, call.me, title, body, head, base, head_sha, now, now)
        repo.pulls[number] = pull
        repo.git.run("update-ref", pull.ref, head_sha)
        self.sim.tell(repo, PULL, self.shape.pull_event("opened", repo, pull, call.me))
        return _Answer(self.shape.pull(repo, pull), 201)

    def _pull(self, call: _Call) -> Pull:
        pull = call.repo.pulls.get(int(call.args["number"]))
        if pull is None:
            raise _missing()
        return pull

    def reviews(self, call: _Call) -> _Answer:
        """Somebody's draft is shown to nobody else, but counted all the same."""
        rows, me = self._pull(call).reviews, call.user.login if call.user else ""
        page = _paged(self.sim, call, rows, link=False)
        return replace(page, body=[r for r in page.body if r["state"] != "PENDING" or r["user"]["login"] == me])

    def add_review(self, call: _Call) -> _Answer:
        values, pull = call.values(), self._pull(call)
        state, _ = REVIEWS.get(str(values.get("event", "")), ("PENDING", None))
        _check_review(call, pull, state, values)
        return _Answer(post_review(self.sim, call.repo, pull, call.me, values))

    def review_comments(self, call: _Call) -> _Answer:
        """All at once: this list knows no pages, and no order. A draft's are shown to nobody else."""
        pull, number = self._pull(call), int(call.args["review"])
        review = next((row for row in pull.reviews if row["id"] == number), None)
        me = call.user.login if call.user else ""
        if review is None or (review["state"] == "PENDING" and review["user"]["login"] != me):
            raise _missing()
        return _Answer([row for row in pull.line_comments[::-1] if row["pull_request_review_id"] == number])

    def request_reviewers(self, call: _Call) -> _Answer:
        """Asking an official reviewer again takes the word `official` from all that he said before."""
        pull, rows = self._pull(call), []
        for login in call.values().get("reviewers") or []:
            user = self.sim.users.get(str(login))
            if user is None or user == pull.user:
                raise Refused(422, f"the reviewer {login} cannot be asked")
            rows.append(self._request(call, pull, user))
        return _Answer(rows, 201)

    def _request(self, call: _Call, pull: Pull, user: User) -> Row:
        official = self.sim.role(call.repo, user) >= WRITE
        for review in pull.reviews if official else []:
            review["official"] = review["official"] and review["user"]["login"] != user.login
        row = _review_row(self.sim, call.repo, pull, user, "REQUEST_REVIEW", {}) | {
            "official": official,
            "commit_id": "",
        }
        pull.reviews.append(row | {"stale": False})
        pull.requested = [*(one for one in pull.requested if one != user), user]
        payload = self.shape.pull_event("review_requested", call.repo, pull, call.me)
        payload |= {"requested_reviewer": self.shape.user(user)}
        self.sim.tell(call.repo, PULL_REVIEW_REQUEST, payload)
        return row

    # comments

    def comments(self, call: _Call) -> _Answer:
        """All at once: this list knows no pages."""
        rows = self._pull(call).comments
        return _Answer(list(rows), headers={"X-Total-Count": str(len(rows))})

    def add_comment(self, call: _Call) -> _Answer:
        values, pull = call.values(), self._pull(call)
        if not values.get("body"):
            raise Refused(422, "[Body]: Required")
        row = self.shape.comment(call.repo, pull, call.me, str(values["body"]))
        pull.comments.append(row)
        self.sim.tell(call.repo, PULL_COMMENT, self.shape.comment_event("created", call.repo, pull, row, call.me))
        return _Answer(row, 201)

    def change_comment(self, call: _Call) -> _Answer:
        values = call.values()
        for pull in call.repo.pulls.values():
            for row in pull.comments:
                if row["id"] == int(call.args["number"]):
                    if row["user"]["login"] != call.me.login and call.role < ADMIN:
                        raise Refused(403, "")
                    return _Answer(self._changed(call, pull, row, str(values.get("body", row["body"]))))
        raise _missing()

    def _changed(self, call: _Call, pull: Pull, row: Row, body: str) -> Row:
        before = row["body"]
        row |= {"body": body, "updated_at": self.sim.stamp()}
        event = self.shape.comment_event("edited", call.repo, pull, row, call.me)
        self.sim.tell(call.repo, PULL_COMMENT, event | {"changes": {"body": {"from": before}}})
        return row

    # statuses

    def statuses(self, call: _Call) -> _Answer:
        rows = [row["row"] for row in call.repo.statuses if row["sha"] == call.args["sha"]]
        return _paged(self.sim, call, rows[::-1])

    def add_status(self, call: _Call) -> _Answer:
        values, sha = call.values(), call.args["sha"]
        if call.repo.git.commit_of(sha) != sha:
            raise Refused(404 if self.sim.is_forgejo else 500, "")
        return _Answer(post_status(self.sim, call.repo, sha, call.me, values), 201)

    def combined(self, call: _Call) -> _Answer:
        """The state covers only the page that is asked for, and `total_count` is that page's length."""
        sha = call.repo.git.commit_of(call.args["ref"])
        if sha is None:
            raise _missing()
        latest = {e["row"]["context"]: e["row"] for e in call.repo.statuses if e["sha"] == sha}
        page = _paged(self.sim, call, list(latest.values()))
        home = f"{self.sim.root_url}{API}/repos/{call.repo.full_name}"
        row: Row = {"state": _worst(page.body), "sha": sha, "total_count": len(page.body)}
        row |= {"statuses": page.body or None, "repository": self.shape.repo(call.repo, call.role)}
        row |= {"commit_url": f"{home}/commits/{sha}", "url": f"{home}/commits/{sha}/status"}
        if not latest and self.sim.is_forgejo:
            row |= {"state": "", "sha": "", "repository": None, "commit_url": "", "url": ""}
        return replace(page, body=row)

    # actions

    def runs(self, call: _Call) -> _Answer:
        rows = [self._run(call, job) for job in self._jobs(call)[::-1]]
        page = _paged(self.sim, call, rows)
        return replace(page, body={"total_count": len(rows), "workflow_runs": page.body})

    def run_jobs(self, call: _Call) -> _Answer:
        rows = [self._job(call, job) for job in self._jobs(call) if job.run == int(call.args["number"])]
        return _Answer({"total_count": len(rows), "jobs": rows})

    def job_log(self, call: _Call) -> _Answer:
        found = [job for job in self._jobs(call) if job.job == int(call.args["number"])]
        if not found:
            raise _missing()
        return _Answer(found[0].log)

    def _jobs(self, call: _Call) -> list[JobRun]:
        if not self.sim.has_actions_api():
            raise _missing()
        return call.repo.jobs

    def _run(self, call: _Call, job: JobRun) -> Row:
        page, api = self._run_places(call, job)
        who, now = self.shape.user(call.repo.owner), self.sim.stamp()
        row: Row = {"id": job.run, "url": api, "previous_attempt_url": None, "html_url": page}
        row |= {"display_title": job.name, "path": f"ci.yml@{job.sha}", "event": "push", "run_attempt": 1}
        row |= {"run_number": job.number, "head_sha": job.sha, "head_branch": "", "status": "completed"}
        row |= {"actor": who, "trigger_actor": who, "repository": self.shape.repo(call.repo, READ)}
        return row | {
            "conclusion": job.conclusion,
            "pull_requests": [],
            "started_at": now,
            "completed_at": now,
        }

    def _job(self, call: _Call, job: JobRun) -> Row:
        page, api = self._run_places(call, job)
        home, now = api.rpartition("/runs/")[0], self.sim.stamp()
        row: Row = {"id": job.job, "url": f"{home}/jobs/{job.job}", "html_url": f"{page}/jobs/0"}
        row |= {"run_id": job.run, "run_url": api, "name": job.name, "labels": ["ubuntu-latest"]}
        row |= {"run_attempt": 1, "head_sha": job.sha, "head_branch": "", "status": "completed"}
        row |= {"conclusion": job.conclusion, "runner_id": 1, "runner_name": "runner-1", "steps": []}
        return row | {"created_at": now, "started_at": now, "completed_at": now}

    def _run_places(self, call: _Call, job: JobRun) -> tuple[str, str]:
        """The page, whose number people see, and the address in the API."""
        home = f"{self.sim.root_url}{API}/repos/{call.repo.full_name}"
        page = f"{self.sim.root_url}/{call.repo.full_name}/actions/runs/{job.number}"
        return page, f"{home}/actions/runs/{job.run}"

    # hooks

    def hooks(self, call: _Call) -> _Answer:
        return _paged(self.sim, call, [self.shape.hook(hook) for hook in call.repo.hooks])

    def add_hook(self, call: _Call) -> _Answer:
        values = call.values()
        config = values.get("config")
        if not isinstance(config, dict) or not config.get("url") or not config.get("content_type"):
            raise Refused(422, "Missing config option: url or content_type")
        hook = self.sim.add_hook(
            call.repo.full_name,
            str(config["url"]),
            str(config.get("secret", "")),
            list(values.get("events") or []),
            content_type=str(config["content_type"]),
            branch_filter=str(values.get("branch_filter") or "*"),
            authorization_header=str(values.get("authorization_header") or ""),
            active=bool(values.get("active", False)),
        )
        return _Answer(self.shape.hook(hook), 201)

    def try_hook(self, call: _Call) -> _Answer:
        """A push whose before and after are the same: to be read as a ping."""
        hooks = [hook for hook in call.repo.hooks if hook.id == int(call.args["number"])]
        branch = call.repo.default_branch
        head = call.repo.git.branch(branch)
        if not hooks or head is None:
            raise _missing()
        payload = self.shape.push(call.repo, call.me, _RefChange(f"refs/heads/{branch}", head, head))
        self.sim.deliver(hooks[0], PUSH, payload)
        return _Answer(None, 204)


def _check_review(call: _Call, pull: Pull, state: str, values: Row) -> None:
    has_body, has_comments = bool(str(values.get("body", "")).strip()), bool(values.get("comments"))
    if pull.state != "open":
        raise Refused(422, "cannot review a closed pull request")
    if call.me == pull.user and state in {"APPROVED", "REQUEST_CHANGES"}:
        verb = "approve" if state == "APPROVED" else "reject"
        raise Refused(422, f"{verb} your own pull is not allowed")
    if state == "COMMENT" and not (has_body or has_comments):
        raise Refused(422, "review event COMMENT requires a body or a comment")
    if state in {"REQUEST_CHANGES", "PENDING"} and not has_body:
        raise Refused(422, f"review event {values.get('event', '')} requires a body")


def post_review(sim: GiteaSim, repo: Repo, pull: Pull, user: User, values: Row) -> Row:
    """A verdict takes the place of the same user's earlier ones; a comment or a draft changes nothing."""
    state, event = REVIEWS.get(str(values.get("event", "")), ("PENDING", None))
    is_verdict = state in {"APPROVED", "REQUEST_CHANGES"}
    for review in pull.reviews if is_verdict else []:
        if review["user"]["login"] == user.login:
            review["official"] = False
            review["dismissed"] = review["dismissed"] or review["state"] in {"APPROVED", "REQUEST_CHANGES"}
    row = _review_row(sim, repo, pull, user, state, values)
    row["official"] = is_verdict and sim.role(repo, user) >= WRITE
    pull.reviews.append(row)
    pull.line_comments += [_line_comment(sim, row, user, one) for one in values.get("comments") or []]
    if event is None:
        return row
    pull.requested = [one for one in pull.requested if one != user]
    payload = Shapes(sim).pull_event("reviewed", repo, pull, user)
    payload |= {"requested_reviewer": payload["sender"]}
    sim.tell(repo, event, payload | {"review": {"type": event.precise, "content": row["body"]}})
    return row


def _review_row(sim: GiteaSim, repo: Repo, pull: Pull, user: User, state: str, values: Row) -> Row:
    commit, now, number = str(values.get("commit_id") or pull.head_sha), sim.stamp(), sim.next_id()
    page = f"{sim.root_url}/{repo.full_name}/pulls/{pull.number}"
    row: Row = {"id": number, "user": Shapes(sim).user(user), "team": None, "state": state}
    row |= {"body": str(values.get("body", "")), "commit_id": commit, "stale": commit != pull.head_sha}
    row |= {"official": False, "dismissed": False}
    row |= {"comments_count": len(values.get("comments") or []), "submitted_at": now, "updated_at": now}
    return row | {"html_url": f"{page}#issuecomment-{number}", "pull_request_url": page}


def _line_comment(sim: GiteaSim, review: Row, user: User, values: Row) -> Row:
    number, now, page = sim.next_id(), sim.stamp(), review["pull_request_url"]
    row: Row = {"id": number, "body": str(values.get("body", "")), "user": Shapes(sim).user(user)}
    row |= {"resolver": None, "pull_request_review_id": review["id"], "created_at": now, "updated_at": now}
    row |= {"path": str(values.get("path", "")), "commit_id": review["commit_id"], "original_commit_id": ""}
    row |= {"diff_hunk": "", "position": int(values.get("new_position") or 0)}
    row |= {"original_position": int(values.get("old_position") or 0)}
    return row | {"html_url": f"{page}#issuecomment-{number}", "pull_request_url": page}


def post_status(sim: GiteaSim, repo: Repo, sha: str, user: User, values: Row) -> Row:
    """Each post is told, an identical one too; the REST answer's id counts within the commit."""
    index = sum(row["sha"] == sha for row in repo.statuses) + 1
    home, now, shape = f"{sim.root_url}{API}/repos/{repo.full_name}", sim.stamp(), Shapes(sim)
    row: Row = {"id": index, "status": str(values.get("state", ""))}  # not checked by the real one either
    row |= {key: str(values.get(key, "")) for key in ("target_url", "description")}
    row |= {"url": f"{home}/statuses/{sha}", "context": str(values.get("context") or "default")}
    row |= {"creator": shape.user(user), "created_at": now, "updated_at": now}
    repo.statuses.append({"sha": sha, "row": row})
    kept = ("context", "created_at", "description", "target_url", "updated_at")
    event = {key: row[key] for key in kept} | {"id": sim.next_id(), "state": row["status"], "sha": sha}
    event |= {"commit": shape.commit(repo, sha), "repository": shape.repo(repo, 0), "sender": shape.user(user)}
    sim.tell(repo, STATUS, event)  # Forgejo's hooks know no such event
    return row


def _checked_branch_name(git: BareGit, name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > MAX_BRANCH_NAME:
        raise Refused(422, f"[NewBranchName]: needs 1 to {MAX_BRANCH_NAME} characters")
    if name.startswith("-") or "\0" in name or git.attempt("check-ref-format", f"refs/heads/{name}").returncode:
        raise Refused(422, "[NewBranchName]: GitRefName")
    return name


def _worst(rows: Sequence[Row]) -> str:
    states = {row["status"] for row in rows}
    if states & {"error", "failure", "warning"}:
        return "failure"
    return "success" if states and states <= {"success", "skipped"} else "pending"


def _paged(sim: GiteaSim, call: _Call, rows: Sequence[Any], *, link: bool = True) -> _Answer:
    """Pages count from 1; a limit above the maximum is cut without a word."""
    page = max(_number(call.query.get("page"), 1), 1)
    size = min(_number(call.query.get("limit"), DEFAULT_PAGE) or DEFAULT_PAGE, MAX_PAGE)
    headers = {"X-Total-Count": str(len(rows))}
    if link and page * size < len(rows):
        last = -(-len(rows) // size)
        url = f"{sim.root_url}{call.request.url.path}"
        to = "<{}?page={}&limit={}>; rel={!r}"
        ends = [to.format(url, page + 1, size, "next"), to.format(url, last, size, "last")]
        headers["Link"] = ",".join(ends).replace("'", '"')
    return _Answer(list(rows[(page - 1) * size : page * size]), headers=headers)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default


def _application(sim: GiteaSim) -> Starlette:
    calls = _Calls(sim)
    repo, pull = "/repos/{owner}/{repo}", "/repos/{owner}/{repo}/pulls/{number:int}"
    read, write, admin = _reader, _writer, _administrator
    routes = [
        _route(sim, "/version", GET=_Op(calls.version, open=True)),
        _route(sim, "/user", GET=_Op(calls.user, scope="user")),
        _route(sim, repo, GET=read(calls.repo)),
        _route(sim, repo + "/branches", GET=read(calls.branches), POST=write(calls.add_branch)),
        _route(sim, repo + "/branches/{name:path}", GET=read(calls.branch)),
        _route(sim, repo + "/contents", GET=read(calls.contents)),
        _route(sim, repo + "/contents/{path:path}", GET=read(calls.contents)),
        _route(sim, repo + "/raw/{path:path}", GET=read(calls.raw)),
        _route(sim, repo + "/pulls", GET=read(calls.pulls), POST=read(calls.add_pull)),
        _route(sim, pull, GET=read(calls.pull)),
        _route(sim, pull + "/reviews", GET=read(calls.reviews), POST=read(calls.add_review)),
        _route(sim, pull + "/reviews/{review:int}/comments", GET=read(calls.review_comments)),
        _route(sim, pull + "/requested_reviewers", POST=read(calls.request_reviewers)),
        _route(sim, repo + "/actions/runs", GET=read(calls.runs)),
        _route(sim, repo + "/actions/runs/{number:int}/jobs", GET=read(calls.run_jobs)),
        _route(sim, repo + "/actions/jobs/{number:int}/logs", GET=read(calls.job_log)),
        _route(sim, repo + "/pulls/{base}/{head:path}", GET=read(calls.pull_between)),
        _route(sim, repo + "/statuses/{sha}", GET=read(calls.statuses), POST=write(calls.add_status)),
        _route(sim, repo + "/commits/{ref:path}/status", GET=read(calls.combined)),
        _route(
            sim,
            repo + "/issues/{number:int}/comments",
            GET=_Op(calls.comments, scope="issue"),
            POST=_Op(calls.add_comment, scope="issue"),
        ),
        _route(sim, repo + "/issues/comments/{number:int}", PATCH=_Op(calls.change_comment, scope="issue")),
        _route(sim, repo + "/hooks", GET=admin(calls.hooks), POST=admin(calls.add_hook)),
        _route(sim, repo + "/hooks/{number:int}/tests", POST=admin(calls.try_hook)),
        _route(sim, repo + "/collaborators/{login}/permission", GET=read(calls.permission)),
        *gitea_oauth.routes(sim),
        *_git_routes(sim),
        Route("/{path:path}", lambda _: _error(sim, _missing()), methods=ALL_METHODS),
    ]
    if sim.is_forgejo:
        version = _Op(calls.version, open=True)
        routes.insert(0, _route(sim, "/version", base="/api/forgejo/v1", GET=version))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _reader(handle: Callable[[_Call], _Answer]) -> _Op:
    return _Op(handle)


def _writer(handle: Callable[[_Call], _Answer]) -> _Op:
    return _Op(handle, role=WRITE)


def _administrator(handle: Callable[[_Call], _Answer]) -> _Op:
    return _Op(handle, role=ADMIN)


def _route(sim: GiteaSim, path: str, *, base: str = API, **ops: _Op) -> Route:
    async def endpoint(request: Request) -> Response:
        op = ops.get(request.method)
        if op is None:
            return Response(status_code=405)
        raw = await _capped(request, MAX_BODY_BYTES)
        if not sim.in_threads:
            return _respond(sim, request, raw, op)
        return await to_thread.run_sync(_respond, sim, request, raw, op)

    return Route(base + path, endpoint, methods=ALL_METHODS)


async def _capped(request: Request, limit: int) -> bytes | None:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            return None
    return bytes(raw)


def _respond(sim: GiteaSim, request: Request, raw: bytes | None, op: _Op) -> Response:
    try:
        if raw is None:
            raise Refused(413, "the body is too large")  # noqa: TRY301 - one place makes the error's shape
        with sim.state:
            answer = op.handle(_admit(sim, request, raw, op))
    except Refused as refused:
        return _error(sim, refused)
    headers = dict(answer.headers)
    if isinstance(answer.body, bytes):
        return Response(answer.body, answer.status, headers, media_type="application/octet-stream")
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    return JSONResponse(answer.body, answer.status, headers)


def _error(sim: GiteaSim, refused: Refused) -> Response:
    body = {"message": refused.message, "url": f"{sim.root_url}/api/swagger"}
    return JSONResponse(body, refused.status)


# -- git over HTTP

SERVICES = {"git-upload-pack": READ, "git-receive-pack": WRITE}
PROTOCOLS = {"version=1", "version=2"}
GIT_SERVICE_SETTINGS = (
    "core.hooksPath=/dev/null",
    "uploadpack.allowFilter=true",
    "uploadpack.allowAnySHA1InWant=true",
    "receive.autogc=false",  # nothing is left running behind a push
)


def _git_routes(sim: GiteaSim) -> list[Route]:
    async def advertise(request: Request) -> Response:
        return await to_thread.run_sync(_git_answer, _advertise, sim, request)

    async def serve(request: Request) -> Response:
        with tempfile.TemporaryFile() as asked:
            unpacked = await _spool(request, asked)
            if not unpacked:
                return Response(f"the request is not gzip, or above {MAX_PACK_BYTES} bytes", 400)
            return await to_thread.run_sync(_git_answer, _serve, sim, request, asked)

    services = [Route(f"/{{owner}}/{{repo}}/{service}", serve, methods=["POST"]) for service in SERVICES]
    return [Route("/{owner}/{repo}/info/refs", advertise, methods=["GET"]), *services]


def _git_answer(handle: Callable[..., Response], sim: GiteaSim, request: Request, *more: Any) -> Response:
    try:
        return handle(sim, request, *more)
    except Refused as refused:
        ask = {"WWW-Authenticate": 'Basic realm="Gitea"'} if refused.status == 401 else None
        return Response(refused.message, refused.status, ask)


async def _spool(request: Request, into: IO[bytes]) -> bool:
    """The body, unpacked, into a file; False when it cannot be unpacked or grows beyond the limit."""
    packed = request.headers.get("content-encoding") == "gzip"
    unpack = zlib.decompressobj(wbits=31)
    try:
        async for chunk in request.stream():
            into.write(unpack.decompress(chunk) if packed else chunk)
            if into.tell() > MAX_PACK_BYTES:
                return False
    except zlib.error:
        return False
    into.seek(0)
    return True


def _git_caller(sim: GiteaSim, request: Request, service: str) -> tuple[Repo, User | None]:
    header = request.headers.get("authorization", "")
    token = _credentials(sim, header)
    user = sim.users[token.login] if token else None
    repo = sim.repos.get(f"{request.path_params['owner']}/{request.path_params['repo'].removesuffix('.git')}")
    role, need = sim.role(repo, user) if repo else 0, SERVICES[service]
    if user is None and (header or role < need):
        raise Refused(401, "Unauthorized")  # git asks for a password only then; says nothing about existence
    if repo is None or role < READ:
        raise Refused(404, "Repository not found")
    _scoped(token, "repository", write=need > READ)
    if role < need:
        raise Refused(403, "User permission denied for writing.")
    return repo, user


def _git_argv(repo: Repo, service: str, *options: str) -> list[str]:
    settings = [word for setting in GIT_SERVICE_SETTINGS for word in ("-c", setting)]
    return ["git", *settings, service.removeprefix("git-"), *options, str(repo.git.path)]


def _protocol_env(request: Request) -> dict[str, str]:
    asked = request.headers.get("git-protocol", "")
    return git_env(asked if asked in PROTOCOLS else "")


def _advertise(sim: GiteaSim, request: Request) -> Response:
    service = request.query_params.get("service", "")
    if service not in SERVICES:
        raise Refused(403, "only smart HTTP is spoken here")
    repo, _ = _git_caller(sim, request, service)
    env = _protocol_env(request)
    argv = _git_argv(repo, service, "--stateless-rpc", "--http-backend-info-refs")
    done = subprocess.run(argv, capture_output=True, env=env, timeout=GIT_TIMEOUT_S, check=True)
    line = f"# service={service}\n"
    banner = b"" if env.get("GIT_PROTOCOL") == "version=2" else f"{len(line) + 4:04x}{line}0000".encode()
    headers = {"Cache-Control": "no-cache"}
    return Response(banner + done.stdout, 200, headers, media_type=f"application/x-{service}-advertisement")


def _serve(sim: GiteaSim, request: Request, asked: IO[bytes]) -> Response:
    service = request.url.path.rpartition("/")[2]
    repo, user = _git_caller(sim, request, service)
    told = tempfile.TemporaryFile()  # noqa: SIM115 - the answer streams from it and closes it
    run = _Exchange(_git_argv(repo, service, "--stateless-rpc"), _protocol_env(request), asked, told)
    if service == "git-receive-pack" and user is not None:
        _receive(sim, repo, user, run)
    else:
        run()
    size = told.seek(0, os.SEEK_END)
    headers = {"Content-Length": str(size), "Cache-Control": "no-cache"}
    return StreamingResponse(_chunks(told), 200, headers, f"application/x-{service}-result")


@dataclass(frozen=True)
class _Exchange:
    """One run of a git service between two files."""

    argv: list[str]
    env: dict[str, str]
    asked: IO[bytes]
    told: IO[bytes]

    def __call__(self) -> None:
        # A service that fails says so to the client in its own words, inside the answer.
        subprocess.run(
            self.argv,
            stdin=self.asked,
            stdout=self.told,
            stderr=subprocess.DEVNULL,
            env=self.env,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )


def _receive(sim: GiteaSim, repo: Repo, user: User, run: _Exchange) -> None:
    """Pushes come one after another, so that each is told by itself."""
    with sim.state:
        before = repo.git.refs()
        run()
        sim.pushed(repo, before, repo.git.refs(), user)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk

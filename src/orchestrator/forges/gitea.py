"""Gitea's and Forgejo's REST API v1 as a Forge. Source of facts: contract of Gitea, section 3."""

from collections.abc import Collection, Sequence

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.forge import (
    BranchRules,
    Check,
    CheckState,
    FileEntry,
    ForgeCapabilities,
    PullRequest,
    Review,
    ReviewPublished,
    ReviewState,
)
from orchestrator.domain.model import Branch, GitRemote, RepoName, Sha
from orchestrator.forges import gitea_shapes as shapes
from orchestrator.forges import places
from orchestrator.forges.gitea_actions import job_log
from orchestrator.forges.gitea_api import MISSING, GiteaApi
from orchestrator.forges.gitea_pulls import Known, between, from_branch
from orchestrator.forges.gitea_reviews import comments_of
from orchestrator.forges.text import (
    MAX_DESCRIPTION_CHARS,
    MAX_TITLE_CHARS,
    first_line,
    harmless,
    hidden,
    one_line,
    outgoing,
)
from orchestrator.pace import REAL_TIME, Timing
from orchestrator.wire import OpenWire, Wire

_OWN = "your own pull"
_FOUND_EARLIER = frozenset({404, 409})
_NOT_BRANCHED = _FOUND_EARLIER | {500}
_FAULT_BYTES = 4096
"""A 404 is read whole, however little is wanted of a file: its words tell whose it is."""


class Gitea:
    """One user on one server. Repositories are named by configuration, never by a payload.

    `may_mention` are the people whom our texts may call by name.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 15.0,
        may_mention: Collection[str] = (),
        timing: Timing = REAL_TIME,
        wire: OpenWire = Wire,
    ) -> None:
        self._url = url
        self._token = token
        self._api = GiteaApi(url, token, timeout_s, timing, wire)
        self.circuit = self._api.circuit
        self.system, self.answers, self.pace = self._api.system, self._api.answers, None
        self._may_mention = frozenset(may_mention)
        self._login = ""
        self._pulls = Known()
        self._capabilities: ForgeCapabilities | None = None

    async def aclose(self) -> None:
        await self._api.aclose()

    async def whoami(self) -> str:
        self._login = (await self._api.row("user", shapes.MeRow)).login
        return self._login

    async def version(self) -> str:
        return (await self._api.row("version", shapes.VersionRow)).version

    async def capabilities(self) -> ForgeCapabilities:
        if self._capabilities is None:
            self._capabilities = shapes.capabilities(await self.version())
        return self._capabilities

    def remote(self, repo: RepoName) -> GitRemote:
        """Any user name goes with a token as the password (contract, section 3)."""
        return GitRemote(f"{self._url}/{repo}.git", "orchestrator", self._token)

    # branches and files

    async def branch(self, repo: RepoName, name: str) -> Branch | None:
        row = await self._branch_row(repo, name)
        return shapes.branch(row) if row else None

    async def create_branch(self, repo: RepoName, name: str, from_branch: str) -> Branch:
        """409 means that it is there already: a repeat of our own call, or a person was faster. For a base that is
        not there Gitea answers 500, as for a fault of its own, and no patience mends that.
        """
        places.of_branch(name)
        order = {"new_branch_name": name, "old_ref_name": from_branch}
        path = f"{places.of_repo(repo)}/branches"
        answer = await self._api.call("POST", path, order=order, understood=_NOT_BRANCHED)
        if answer.status == 404 or (answer.status == 500 and await self.branch(repo, from_branch) is None):
            raise _not_found(repo, from_branch)
        if answer.status == 500:
            raise self._api.fault(answer, path)
        if answer.status != 409:
            return shapes.branch(self._api.decoded(answer.body, shapes.BranchRow))
        there = await self.branch(repo, name)
        if there is None:
            raise Transient(
                "gitea_branch_unclear", f"Gitea says both that {name} is in {repo} and that it is not."
            )
        return there

    async def rules(self, repo: RepoName, branch: str) -> BranchRules:
        row = await self._branch_row(repo, branch)
        if row is None:
            raise _not_found(repo, branch)
        return shapes.rules(row)

    async def files(self, repo: RepoName, folder: str, at: Sha) -> Sequence[FileEntry]:
        found = await self._contents(repo, folder, at)
        return shapes.file_entries(found, folder) if isinstance(found, list) else []

    async def file(self, repo: RepoName, path: str, at: Sha, *, max_bytes: int) -> bytes | None:
        """Asks for the entry and not for the raw bytes: only that tells a link from a file."""
        row = await self._contents(repo, path, at)
        if not isinstance(row, shapes.EntryRow) or row.type != "file":
            return None
        content = shapes.content(row)
        return await self._raw(repo, path, at, max_bytes) if content is None else content[:max_bytes]

    async def _branch_row(self, repo: RepoName, name: str) -> shapes.BranchRow | None:
        path = f"{places.of_repo(repo)}/branches/{places.of_branch(name)}"
        return await self._api.row_if_there(path, shapes.BranchRow)

    async def _contents(
        self, repo: RepoName, path: str, at: Sha
    ) -> list[shapes.EntryRow] | shapes.EntryRow | None:
        """A list is a folder's, and a row anything else's."""
        where = f"{places.of_repo(repo)}/contents/{places.of_path(path)}"
        answer = await self._api.call("GET", where, query={"ref": places.of_commit(at)}, understood=MISSING)
        if answer.status == 404:
            return None
        if answer.body.lstrip().startswith(b"["):
            return self._api.decoded(answer.body, list[shapes.EntryRow])
        return self._api.decoded(answer.body, shapes.EntryRow)

    async def _raw(self, repo: RepoName, path: str, at: Sha, max_bytes: int) -> bytes | None:
        where, query = f"{places.of_repo(repo)}/raw/{places.of_path(path)}", {"ref": places.of_commit(at)}
        enough = max(max_bytes, _FAULT_BYTES)
        answer = await self._api.call("GET", where, query=query, understood=MISSING, enough_bytes=enough)
        return None if answer.status == 404 else answer.body[:max_bytes]

    # pull requests

    async def pull_request(self, repo: RepoName, base: str, head: str) -> PullRequest | None:
        row = await between(self._api, (repo, base, head), await self.capabilities(), self._pulls)
        return shapes.pull_request(row) if row else None

    async def pull_request_from(self, repo: RepoName, head: str) -> PullRequest | None:
        row = await from_branch(self._api, repo, head, await self.capabilities())
        return shapes.pull_request(row) if row else None

    async def open_pull_request(self, repo: RepoName, base: str, head: str, title: str, body: str) -> PullRequest:
        order = {
            "base": base,
            "head": head,
            "title": one_line(title, MAX_TITLE_CHARS),
            "body": outgoing(body, self._may_mention),
        }
        path = f"{places.of_repo(repo)}/pulls"
        answer = await self._api.call("POST", path, order=order, understood=_FOUND_EARLIER)
        if answer.status == 404:
            raise _not_found(repo, f"{base} or {head}")
        if answer.status != 409:
            return shapes.pull_request(self._api.decoded(answer.body, shapes.PullRow))
        there = await self.pull_request(repo, base, head)
        if there is None or not there.is_open:
            raise Transient(
                "gitea_pull_unclear", f"Gitea says both that {head} has a pull request in {repo} and that not."
            )
        return there

    # reviews

    async def reviews(self, repo: RepoName, pull: int) -> Sequence[Review]:
        rows = await self._api.rows(f"{_pull(repo, pull)}/reviews", shapes.ReviewRow)
        return [shapes.review(row) for row in sorted(rows, key=lambda row: row.id)]

    async def review_comments(self, repo: RepoName, pull: int, review: Review) -> str:
        return await comments_of(self._api, f"{_pull(repo, pull)}/reviews/{review.id:d}")

    async def review(self, repo: RepoName, pull: int, at: Sha, verdict: ReviewState, text: str) -> ReviewPublished:
        if verdict not in shapes.REVIEW_EVENTS:
            raise Permanent("gitea_no_verdict", f"Nobody publishes a review that is {verdict}.")
        body = outgoing(text, self._may_mention)
        if await self._has_reviewed(repo, pull, at, verdict, body):
            return ReviewPublished.PUBLISHED
        order = {"event": shapes.REVIEW_EVENTS[verdict], "commit_id": places.of_commit(at), "body": body}
        path = f"{_pull(repo, pull)}/reviews"
        answer = await self._api.call("POST", path, order=order, understood=frozenset({422}))
        if answer.status != 422:
            self._api.done(answer)
            return ReviewPublished.PUBLISHED
        said = answer.body[:500].decode(errors="replace")
        if _OWN in said:
            return ReviewPublished.OWN_PULL_REQUEST
        if (await self._api.row(_pull(repo, pull), shapes.PullRow)).state != "open":
            return ReviewPublished.CLOSED_PULL_REQUEST
        raise Permanent("gitea_review_refused", f"Gitea refused the review of {repo}#{pull}: {said}")

    async def _has_reviewed(self, repo: RepoName, pull: int, at: Sha, verdict: ReviewState, body: str) -> bool:
        me, ours = await self._me(), first_line(body) or body
        return any(
            (row.author, row.state, row.commit) == (me, verdict, at) and ours in {first_line(row.text), row.text}
            for row in await self.reviews(repo, pull)
        )

    # checks

    async def checks(self, repo: RepoName, at: Sha) -> Sequence[Check]:
        path = f"{places.of_repo(repo)}/commits/{places.of_commit(at)}/status"
        rows = await self._api.rows_within(path, shapes.CombinedRow, lambda page: page.statuses or [])
        return [shapes.check(row) for row in shapes.newest(rows)]

    async def check_log(self, repo: RepoName, check: Check) -> str:
        return await job_log(self._api, repo, check.url)

    async def set_status(
        self, repo: RepoName, at: Sha, context: str, state: CheckState, description: str, url: str
    ) -> None:
        """The server takes any state, so ours is an enum; and it tells the world of each post, so repeats cost."""
        said = one_line(description, MAX_DESCRIPTION_CHARS)
        newest = next((check for check in await self.checks(repo, at) if check.context == context), None)
        if newest and (newest.state, newest.description, newest.url) == (state, said, shapes.shown_url(url)):
            return
        order = {"context": context, "state": CheckState(state).value, "description": said, "target_url": url}
        path = f"{places.of_repo(repo)}/statuses/{places.of_commit(at)}"
        self._api.done(await self._api.call("POST", path, order=order))

    # comments

    async def pull_comment(self, repo: RepoName, pull: int, marker: str, text: str) -> None:
        line = hidden(marker)
        own = f"/{repo}/pulls/{pull:d}"
        body = f"{line}\n{harmless(text.removeprefix(line).lstrip(), self._may_mention, own)}"
        issues = f"{places.of_repo(repo)}/issues"
        ours = await self._comment(f"{issues}/{pull:d}/comments", line)
        if ours is None:
            self._api.done(await self._api.call("POST", f"{issues}/{pull:d}/comments", order={"body": body}))
        elif ours.body != body:
            self._api.done(await self._api.call("PATCH", f"{issues}/comments/{ours.id:d}", order={"body": body}))

    async def _comment(self, path: str, line: str) -> shapes.CommentRow | None:
        """The oldest of ours under this marker: what others write with it is theirs."""
        me = await self._me()
        rows = await self._api.rows(path, shapes.CommentRow)
        ours = (row for row in rows if shapes.login(row.user) == me and first_line(row.body) == line)
        return min(ours, key=lambda row: row.id, default=None)

    async def _me(self) -> str:
        return self._login or await self.whoami()


def _pull(repo: RepoName, pull: int) -> str:
    return f"{places.of_repo(repo)}/pulls/{pull:d}"


def _not_found(repo: RepoName, branch: str) -> Permanent:
    return Permanent(
        "gitea_not_found",
        f"Gitea has no repository {repo} with a branch {branch} that our user may see.",
        hint="Check orchestrator.yaml, and that the orchestrator's user is a collaborator.",
    )

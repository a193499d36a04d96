"""Gitea's and Forgejo's REST API v1 as a Forge. Source of facts: contract of Gitea, section 3."""

from urllib.parse import quote

import msgspec

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import Branch, GitRemote, RepoName, parse_sha
from orchestrator.rest import Json, RestClient, System

_GITEA = System(
    "gitea",
    "Gitea",
    "ORCH_GITEA_URL",
    "Check ORCH_GITEA_TOKEN: it needs read:repository, write:repository, write:issue and read:user, "
    "and its user must be a collaborator who may write.",
)


class _Commit(msgspec.Struct):
    id: str


class _Branch(msgspec.Struct):
    name: str
    commit: _Commit


class Gitea:
    """The orchestrator's own user on one server. Repositories are named by configuration, never by a payload."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 15.0) -> None:
        self._url = url
        self._token = token
        self._rest = RestClient(_GITEA, f"{url}/api/v1/", {"Authorization": f"token {token}"}, timeout_s)

    async def aclose(self) -> None:
        await self._rest.aclose()

    async def whoami(self) -> str:
        answer = await self._rest.call("GET", "user")
        return str(self._rest.decoded(answer.body, Json).get("login", ""))

    async def version(self) -> str:
        answer = await self._rest.call("GET", "version")
        return str(self._rest.decoded(answer.body, Json).get("version", ""))

    async def branch(self, repo: RepoName, name: str) -> Branch | None:
        path = f"repos/{repo}/branches/{quote(name)}"
        answer = await self._rest.call("GET", path, understood=frozenset({404}))
        return None if answer.status == 404 else self._branch(answer.body)

    async def create_branch(self, repo: RepoName, name: str, from_branch: str) -> Branch:
        """409 means that it is there already: a repeat of our own call, or a person was faster."""
        order = {"new_branch_name": name, "old_ref_name": from_branch}
        path = f"repos/{repo}/branches"
        answer = await self._rest.call("POST", path, order=order, understood=frozenset({404, 409}))
        if answer.status == 404:
            raise Permanent(
                "gitea_not_found",
                f"Gitea has no repository {repo} with a branch {from_branch} that our user may see.",
                hint="Check orchestrator.yaml, and that the orchestrator's user is a collaborator.",
            )
        if answer.status != 409:
            return self._branch(answer.body)
        there = await self.branch(repo, name)
        if there is None:
            raise Transient(
                "gitea_branch_unclear", f"Gitea says both that {name} is in {repo} and that it is not."
            )
        return there

    def remote(self, repo: RepoName) -> GitRemote:
        """Any user name goes with a token as the password (contract, section 3)."""
        return GitRemote(f"{self._url}/{repo}.git", "orchestrator", self._token)

    def _branch(self, body: bytes) -> Branch:
        raw = self._rest.decoded(body, _Branch)
        try:
            return Branch(raw.name, parse_sha(raw.commit.id))
        except ValueError as error:
            raise Transient("gitea_odd_answer", str(error)) from error

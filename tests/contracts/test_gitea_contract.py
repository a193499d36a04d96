"""What our Gitea adapter relies on, held against the simulator and, on request, against real servers.

A real Gitea or Forgejo takes part when these are set: ORCH_TEST_GITEA_URL, ORCH_TEST_GITEA_REPO (owner/name of a
private repository for throw-away branches, `main` not empty, with a README.md), ORCH_TEST_GITEA_TOKEN (a user with
the write role) and ORCH_TEST_GITEA_ADMIN_TOKEN (one with the admin role). Deliveries must be allowed to
reach loopback: `[webhook] ALLOWED_HOST_LIST = loopback`.
"""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from orchestrator.domain.forge import BranchRules, CheckState, ReviewPublished, ReviewState
from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges.gitea import Gitea
from orchestrator.sim.gitea import ADMIN, WRITE, GiteaSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY, Catcher, Received, hmac_hex

SERVERS = ["gitea", "forgejo"] + ["server"] * ("ORCH_TEST_GITEA_URL" in os.environ)
WAIT_S = 30


@dataclass(frozen=True)
class Forge:
    """A server to be asked, with a writer's and an admin's token for one repository."""

    client: httpx.Client
    repo: str
    token: str
    admin_token: str

    def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None, **params: Any
    ) -> httpx.Response:
        head = {"Authorization": f"token {token or self.token}"}
        return self.client.request(method, f"/api/v1{path}", headers=head, json=body, params=params or None)

    def of_repo(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        return self.call(method, f"/repos/{self.repo}{path}", body, **more)

    def new_branch(self) -> str:
        name = f"feature/contract-{uuid4().hex[:12]}"
        made = self.of_repo("POST", "/branches", {"new_branch_name": name, "old_ref_name": "main"})
        assert made.status_code == 201, made.text
        return name

    def git(self, *argv: str) -> str:
        basic = base64.b64encode(f"any:{self.token}".encode()).decode()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Agent",
            "GIT_AUTHOR_EMAIL": "agent@example.test",
            "GIT_COMMITTER_NAME": "Agent",
            "GIT_COMMITTER_EMAIL": "agent@example.test",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
        done = subprocess.run(["git", *argv], capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def remote(self) -> str:
        return str(self.client.base_url).rstrip("/") + f"/{self.repo}.git"


@pytest.fixture(params=SERVERS)
def forge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forge]:
    if request.param == "server":
        names = ("REPO", "TOKEN", "ADMIN_TOKEN")
        with httpx.Client(base_url=os.environ["ORCH_TEST_GITEA_URL"], timeout=30) as client:
            yield Forge(client, *(os.environ[f"ORCH_TEST_GITEA_{name}"] for name in names))
        return
    with GiteaSim(tmp_path / "forge", flavour=request.param) as sim, LoopbackServer(sim.app) as server:
        sim.create_repo("acme", "trails", {"README.md": "# Trails\n"})
        for login, role in (("orchestrator", WRITE), ("boss", ADMIN)):
            sim.add_user(login)
            sim.grant("acme/trails", login, role)
        with httpx.Client(verify=TRUSTS_NOBODY, base_url=server.url) as client:
            tokens = sim.add_token("orchestrator"), sim.add_token("boss")
            yield Forge(client, "acme/trails", *tokens)


class Waiting(Catcher):
    """A catcher one can wait at."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, precise: str, branch: str) -> Received:
        def found() -> Received | None:
            for got in list(self.received):
                ours = got.headers["x-gitea-event-type"] == precise
                if ours and json.loads(got.body)["ref"].removeprefix("refs/heads/") == branch:
                    return got
            return None

        with self.changed:
            got = self.changed.wait_for(found, WAIT_S)
        assert isinstance(got, Received), f"no {precise} for {branch} arrived in {WAIT_S} s"
        return got


def test_the_version_tells_the_flavour_without_a_token(forge: Forge) -> None:
    version = forge.client.get("/api/v1/version").json()["version"]
    is_forgejo = forge.client.get("/api/forgejo/v1/version").status_code == 200
    assert ("+gitea-" in version) == is_forgejo


def test_the_token_tells_who_we_are(forge: Forge) -> None:
    me = forge.call("GET", "/user").json()
    assert me["login"]
    assert isinstance(me["id"], int)


def test_the_repository_is_known_by_a_stable_id(forge: Forge) -> None:
    row = forge.of_repo("GET", "").json()
    assert isinstance(row["id"], int)
    assert (row["full_name"], row["default_branch"]) == (forge.repo, "main")
    assert row["permissions"]["push"] is True


def test_a_private_repository_is_404_without_a_token(forge: Forge) -> None:
    assert forge.client.get(f"/api/v1/repos/{forge.repo}").status_code == 404


def test_a_branch_is_made_once_and_its_name_keeps_its_slash(forge: Forge) -> None:
    name = forge.new_branch()
    again = forge.of_repo("POST", "/branches", {"new_branch_name": name, "old_ref_name": "main"})
    assert again.status_code == 409
    row = forge.of_repo("GET", f"/branches/{name}").json()
    assert row["name"] == name
    assert row["commit"]["id"] == forge.of_repo("GET", "/branches/main").json()["commit"]["id"]
    assert isinstance(row["status_check_contexts"], list)


def test_a_branch_that_is_not_there_is_404(forge: Forge) -> None:
    gone = forge.of_repo("GET", f"/branches/feature/{uuid4().hex}")
    assert gone.status_code == 404
    assert {"message", "url"} <= set(gone.json())


def test_a_file_is_read_at_a_commit(forge: Forge) -> None:
    sha = forge.of_repo("GET", "/branches/main").json()["commit"]["id"]
    row = forge.of_repo("GET", "/contents/README.md", ref=sha).json()
    raw = forge.of_repo("GET", "/raw/README.md", ref=sha)
    assert (row["type"], row["encoding"]) == ("file", "base64")
    assert base64.b64decode(row["content"]) == raw.content != b""
    assert forge.of_repo("GET", f"/contents/{uuid4().hex}", ref=sha).status_code == 404


def test_a_token_opens_git_over_http_and_nothing_else_does(forge: Forge, tmp_path: Path) -> None:
    refused = forge.client.get(f"/{forge.repo}.git/info/refs", params={"service": "git-upload-pack"})
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].lower().startswith("basic")
    name, work = forge.new_branch(), str(tmp_path / "work")
    forge.git("clone", "--quiet", "--branch", name, forge.remote, work)
    (tmp_path / "work" / "BRD.md").write_text(f"# {name}\n", encoding="utf-8")
    forge.git("-C", work, "add", "--", "BRD.md")
    forge.git("-C", work, "commit", "--quiet", "-m", "Add the BRD")
    forge.git("-C", work, "push", "--quiet", "origin", f"HEAD:refs/heads/{name}")
    head = forge.git("-C", work, "rev-parse", "HEAD")
    assert forge.of_repo("GET", f"/branches/{name}").json()["commit"]["id"] == head
    assert forge.of_repo("GET", "/raw/BRD.md", ref=head).text == f"# {name}\n"


def test_a_hook_tells_signed_of_a_new_branch(forge: Forge) -> None:
    catcher, secret = Waiting(), uuid4().hex
    with LoopbackServer(catcher) as receiver:
        config = {"url": receiver.url + "/hook", "content_type": "json", "secret": secret}
        asked = {"type": "gitea", "active": True, "config": config, "events": ["push", "create"]}
        made = forge.of_repo("POST", "/hooks", asked, token=forge.admin_token)
        assert (made.status_code, set(made.json()["events"])) == (201, {"push", "create"})
        name = forge.new_branch()
        create, push = catcher.wait_for("create", name), catcher.wait_for("push", name)
    for got in (create, push):
        assert got.headers["x-gitea-signature"] == hmac_hex(secret, got.body)
        assert got.headers["x-gitea-event"] == got.headers["x-gitea-event-type"]
        assert json.loads(got.body)["repository"]["full_name"] == forge.repo
    me = forge.call("GET", "/user").json()["login"]
    assert json.loads(push.body)["sender"]["login"] == me


def test_a_hook_is_found_again_by_its_address(forge: Forge) -> None:
    url = f"http://127.0.0.1:9/{uuid4().hex}"
    asked = {"type": "gitea", "config": {"url": url, "content_type": "json", "secret": "x"}, "events": ["push"]}
    forge.of_repo("POST", "/hooks", asked, token=forge.admin_token)
    rows = forge.of_repo("GET", "/hooks", token=forge.admin_token, limit=50).json()
    assert url in {row["config"]["url"] for row in rows}
    assert forge.of_repo("GET", "/hooks").status_code == 403


def test_pages_carry_their_total(forge: Forge) -> None:
    forge.new_branch()
    page = forge.of_repo("GET", "/branches", limit=1)
    assert len(page.json()) == 1
    assert int(page.headers["X-Total-Count"]) >= 2


# -- what the gates rest on


def committed(forge: Forge, work: Path) -> tuple[str, str]:
    """A new branch with one commit of its own, pushed as the writer."""
    name = forge.new_branch()
    forge.git("clone", "--quiet", "--branch", name, forge.remote, str(work))
    (work / "tasks" / "E-1").mkdir(parents=True)
    (work / "tasks" / "E-1" / "BRD.md").write_text(f"# {name}\n", encoding="utf-8")
    (work / "tasks" / "E-1" / "LINK.md").symlink_to("BRD.md")
    forge.git("-C", str(work), "add", "--", "tasks")
    forge.git("-C", str(work), "commit", "--quiet", "-m", "Add the BRD")
    forge.git("-C", str(work), "push", "--quiet", "origin", f"HEAD:refs/heads/{name}")
    return name, forge.git("-C", str(work), "rev-parse", "HEAD")


@pytest.fixture
def pulled(forge: Forge, tmp_path: Path) -> tuple[str, str, int]:
    """A branch, its head and the number of its open pull request."""
    name, head = committed(forge, tmp_path / "pulled")
    made = forge.of_repo("POST", "/pulls", {"head": name, "base": "main", "title": name, "body": "b"})
    assert made.status_code == 201, made.text
    return name, head, made.json()["number"]


def test_a_folder_tells_files_from_links(forge: Forge, tmp_path: Path) -> None:
    _, head = committed(forge, tmp_path / "work")
    rows = forge.of_repo("GET", "/contents/tasks/E-1", ref=head).json()
    assert {(row["path"], row["type"]) for row in rows} == {
        ("tasks/E-1/BRD.md", "file"),
        ("tasks/E-1/LINK.md", "symlink"),
    }
    assert all(len(row["sha"]) == 40 and isinstance(row["size"], int) for row in rows)


def test_a_pull_request_is_found_by_its_branches_and_opened_once(
    forge: Forge, pulled: tuple[str, str, int]
) -> None:
    name, head, number = pulled
    row = forge.of_repo("GET", f"/pulls/main/{name}").json()
    assert (row["number"], row["state"], row["merged"], row["draft"]) == (number, "open", False, False)
    assert (row["head"]["ref"], row["head"]["sha"], row["base"]["ref"]) == (name, head, "main")
    assert row["head"]["repo_id"] == row["base"]["repo_id"]
    again = forge.of_repo("POST", "/pulls", {"head": name, "base": "main", "title": "x"})
    assert again.status_code == 409
    listed = forge.of_repo("GET", "/pulls", state="open", base_branch="main", sort="recentupdate", limit=50).json()
    assert number in {one["number"] for one in listed}
    assert forge.of_repo("GET", f"/pulls/main/feature/{uuid4().hex}").status_code == 404


def test_nobody_approves_their_own_and_anothers_review_is_official(
    forge: Forge, pulled: tuple[str, str, int]
) -> None:
    _, head, number = pulled
    path, verdict = f"/pulls/{number}/reviews", {"event": "APPROVED", "body": "good", "commit_id": head}
    own = forge.of_repo("POST", path, verdict)
    assert own.status_code == 422
    assert "your own pull" in own.json()["message"]
    assert forge.of_repo("POST", path, verdict, token=forge.admin_token).status_code == 200
    page = forge.of_repo("GET", path, limit=50, page=1)
    (row,) = page.json()
    assert (row["state"], row["commit_id"], row["body"]) == ("APPROVED", head, "good")
    assert (row["stale"], row["official"], row["dismissed"]) == (False, True, False)
    assert page.headers["X-Total-Count"] == "1"
    assert "Link" not in page.headers
    assert forge.of_repo("GET", path, limit=50, page=2).json() == []


def test_a_comment_needs_a_body(forge: Forge, pulled: tuple[str, str, int]) -> None:
    path = f"/pulls/{pulled[2]}/reviews"
    for event in ("COMMENT", "REQUEST_CHANGES"):
        refused = forge.of_repo("POST", path, {"event": event, "body": ""}, token=forge.admin_token)
        assert refused.status_code == 422


def test_a_review_counts_its_comments_at_lines_and_tells_them_by_themselves(
    forge: Forge, pulled: tuple[str, str, int]
) -> None:
    _, head, number = pulled
    path, place = f"/pulls/{number}/reviews", {"path": "tasks/E-1/BRD.md", "new_position": 1}
    order = {"event": "REQUEST_CHANGES", "body": "see", "commit_id": head, "comments": [place | {"body": "Why?"}]}
    made = forge.of_repo("POST", path, order, token=forge.admin_token)
    assert made.status_code == 200
    (row,) = forge.of_repo("GET", path, limit=50, page=1).json()
    assert (row["id"], row["comments_count"], row["body"]) == (made.json()["id"], 1, "see")
    (said,) = forge.of_repo("GET", f"{path}/{row['id']}/comments").json()
    assert (said["path"], said["position"], said["original_position"]) == ("tasks/E-1/BRD.md", 1, 0)
    assert (said["body"], said["pull_request_review_id"]) == ("Why?", row["id"])
    assert {"id", "user", "commit_id", "diff_hunk", "html_url"} <= set(said)
    assert forge.of_repo("GET", f"{path}/999999999/comments").status_code == 404


def test_a_status_is_posted_as_state_and_read_as_status(forge: Forge, pulled: tuple[str, str, int]) -> None:
    head = pulled[1]
    for state, context in (("pending", "ci/a"), ("success", "ci/a"), ("failure", "ci/b")):
        said = {"state": state, "context": context, "description": "d", "target_url": "https://ci.test/1"}
        made = forge.of_repo("POST", f"/statuses/{head}", said)
        assert (made.status_code, made.json()["status"]) == (201, state)
    page = forge.of_repo("GET", f"/commits/{head}/status", limit=50, page=1)
    rows = {row["context"]: row for row in page.json()["statuses"]}
    assert {context: row["status"] for context, row in rows.items()} == {"ci/a": "success", "ci/b": "failure"}
    assert page.headers["X-Total-Count"] == "2"
    me = forge.call("GET", "/user").json()["login"]
    assert {row["creator"]["login"] for row in rows.values()} == {me}
    assert {row["target_url"] for row in rows.values()} == {"https://ci.test/1"}


def test_comments_come_all_at_once_and_are_edited_in_place(forge: Forge, pulled: tuple[str, str, int]) -> None:
    path = f"/issues/{pulled[2]}/comments"
    first = forge.of_repo("POST", path, {"body": "<!-- orch:x -->\none"}).json()
    forge.of_repo("POST", path, {"body": "two"})
    changed = forge.of_repo("PATCH", f"/issues/comments/{first['id']}", {"body": "<!-- orch:x -->\nthree"})
    assert changed.status_code == 200
    page = forge.of_repo("GET", path, limit=1, page=1)
    assert [row["body"] for row in page.json()] == ["<!-- orch:x -->\nthree", "two"]
    assert page.headers["X-Total-Count"] == "2"


async def test_our_adapter_carries_a_task_to_an_approved_pull_request(forge: Forge, tmp_path: Path) -> None:
    name, at = committed(forge, tmp_path / "work")
    repo, head = RepoName.parse(forge.repo), Sha(at)
    url = str(forge.client.base_url).rstrip("/")
    ours, reviewer = Gitea(url, forge.token), Gitea(url, forge.admin_token)
    assert isinstance(await ours.rules(repo, "main"), BranchRules)
    assert [entry.path for entry in await ours.files(repo, "tasks/E-1", head)] == ["tasks/E-1/BRD.md"]
    assert await ours.file(repo, "tasks/E-1/BRD.md", head, max_bytes=3) == b"# f"
    assert await ours.file(repo, "tasks/E-1/LINK.md", head, max_bytes=3) is None
    assert await ours.pull_request(repo, "main", name) is None
    pull = await ours.open_pull_request(repo, "main", name, "E-1", "text")
    assert await ours.open_pull_request(repo, "main", name, "E-1", "text") == pull
    text = "<!-- orch:review:1 -->\ngood"
    own = await ours.review(repo, pull.number, head, ReviewState.APPROVED, text)
    assert own is ReviewPublished.OWN_PULL_REQUEST
    for _ in range(2):
        done = await reviewer.review(repo, pull.number, head, ReviewState.APPROVED, text)
        assert done is ReviewPublished.PUBLISHED
    (review,) = await ours.reviews(repo, pull.number)
    assert (review.state, review.commit, review.is_official) == (ReviewState.APPROVED, head, True)
    for _ in range(2):
        await ours.set_status(repo, head, "orchestrator/gate", CheckState.PENDING, "waits", "https://o.test/1")
        await ours.pull_comment(repo, pull.number, "orch:task", "one")
    (check,) = await ours.checks(repo, head)
    assert (check.context, check.state, check.creator) == (
        "orchestrator/gate",
        CheckState.PENDING,
        await ours.whoami(),
    )
    assert len(forge.of_repo("GET", f"/statuses/{head}").json()) == 1
    assert len(forge.of_repo("GET", f"/issues/{pull.number}/comments").json()) == 1
    for client in (ours, reviewer):
        await client.aclose()

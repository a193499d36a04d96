"""The Gitea simulator: real git over HTTP, and deliveries in the shape of the samples."""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.sim.gitea import NO_SHA, READ, WRITE, Flavour, GiteaSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY, Catcher, Received, hmac_hex, load_recorded

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gitea"
SECRET = "s3cret"
REPO = "acme/enduro-trails"
HOP_HEADERS = {"host", "connection", "content-length"}
ALL_EVENTS = ("push", "create", "delete", "pull_request", "status")


class World:
    """A forge with one repository, a client, and a receiver of its webhooks."""

    def __init__(self, sim: GiteaSim, url: str, client: httpx.Client, catcher: Catcher, home: Path) -> None:
        self.sim, self.url, self.client, self.catcher, self.home = sim, url, client, catcher, home
        self.tokens = {login: sim.add_token(login) for login in ("orchestrator", "reviewer", "stranger", "acme")}

    def call(self, login: str, method: str, path: str, body: object = None, **params: Any) -> httpx.Response:
        head = {"Authorization": f"token {self.tokens[login]}"} if login else {}
        return self.client.request(method, f"/api/v1{path}", headers=head, json=body, params=params or None)

    def repo(self, login: str, method: str, path: str, body: object = None, **params: Any) -> httpx.Response:
        return self.call(login, method, f"/repos/{REPO}{path}", body, **params)

    def received(self) -> list[Received]:
        self.sim.courier.settle()
        return list(self.catcher.received)

    def events(self) -> list[str]:
        return [got.headers["x-gitea-event-type"] for got in self.received()]

    def git(self, *argv: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Real git, with the token in an environment variable and nowhere else."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Dev",
            "GIT_AUTHOR_EMAIL": "orchestrator@example.test",
            "GIT_COMMITTER_NAME": "Dev",
            "GIT_COMMITTER_EMAIL": "orchestrator@example.test",
        }
        if token is not None:
            basic = base64.b64encode(f"any:{token}".encode()).decode()
            env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader"}
            env |= {"GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}"}
        return subprocess.run(["git", *argv], capture_output=True, text=True, env=env, timeout=60, check=False)

    def clone(self, name: str = "work") -> Path:
        work = self.home / name
        done = self.git("clone", f"{self.url}/{REPO}.git", str(work), token=self.tokens["orchestrator"])
        assert done.returncode == 0, done.stderr
        return work

    def commit(self, work: Path, name: str, text: str, message: str = "Change\n") -> str:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text, encoding="utf-8")
        self.git("-C", str(work), "add", "--", name)
        assert self.git("-C", str(work), "commit", "-q", "-m", message).returncode == 0
        return self.git("-C", str(work), "rev-parse", "HEAD").stdout.strip()

    def push(self, work: Path, *refs: str, login: str = "orchestrator") -> subprocess.CompletedProcess[str]:
        return self.git("-C", str(work), "push", "origin", *refs, token=self.tokens[login])


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[Flavour], World]]:
    catcher, opened = Catcher(), []
    receiver = LoopbackServer(catcher).start()
    opened.append(receiver.stop)

    def build(flavour: Flavour) -> World:
        sim = GiteaSim(tmp_path / "forge", flavour=flavour)
        for login in ("acme", "orchestrator", "reviewer", "stranger"):
            sim.add_user(login, login.capitalize())
        sim.create_repo("acme", "enduro-trails", {"README.md": "# Trails\n", "docs/план.md": "x\n"})
        sim.grant(REPO, "orchestrator", WRITE)
        sim.grant(REPO, "reviewer", READ)
        sim.add_hook(REPO, receiver.url + "/webhook/gitea", SECRET, ALL_EVENTS)
        server = LoopbackServer(sim.app).start()
        client = httpx.Client(verify=TRUSTS_NOBODY, base_url=server.url)
        opened.extend([sim.close, server.stop, client.close])
        return World(sim, server.url, client, catcher, tmp_path)

    yield build
    for close in reversed(opened):
        close()


@pytest.fixture
def world(make_world: Callable[[Flavour], World]) -> World:
    return make_world("gitea")


@pytest.fixture
def pulled(world: World) -> World:
    """A world with an open pull request from `feature/x` by the orchestrator."""
    work = world.clone()
    world.commit(work, "a.txt", "a\n")
    assert world.push(work, "HEAD:refs/heads/feature/x").returncode == 0
    opened = world.repo("orchestrator", "POST", "/pulls", {"head": "feature/x", "base": "main", "title": "X"})
    assert opened.status_code == 201
    return world


@pytest.mark.parametrize("body", sorted(FIXTURES.glob("*.body")), ids=lambda path: path.stem)
def test_our_signatures_of_a_samples_body_are_those_of_the_sample(body: Path) -> None:
    sample = load_recorded(body)
    assert hmac_hex(sample.secret, sample.body) == sample.headers["X-Gitea-Signature"]
    assert "sha1=" + hmac_hex(sample.secret, sample.body, "sha1") == sample.headers["X-Hub-Signature"]


# -- git


def test_a_clone_holds_the_files_and_a_push_moves_the_head(world: World) -> None:
    work = world.clone()
    assert (work / "README.md").read_text(encoding="utf-8") == "# Trails\n"
    sha = world.commit(work, "tasks/ENDURO-1/BRD.md", "# BRD\n")
    assert world.push(work, "HEAD:refs/heads/feature/ENDURO-1").returncode == 0
    assert world.sim.head(REPO, "feature/ENDURO-1") == sha
    assert world.sim.file_at(REPO, sha, "tasks/ENDURO-1/BRD.md") == b"# BRD\n"
    assert world.sim.file_at(REPO, "main", "tasks/ENDURO-1/BRD.md") is None


def test_the_old_and_the_new_git_protocol_both_work(world: World) -> None:
    for version in ("0", "1", "2"):
        done = world.git(
            "-c", f"protocol.version={version}", "ls-remote", f"{world.url}/{REPO}", token=world.tokens["reviewer"]
        )
        assert done.returncode == 0, done.stderr
        assert "refs/heads/main" in done.stdout


def test_a_large_push_arrives_whole(world: World) -> None:
    work = world.clone()
    (work / "big.bin").write_bytes(os.urandom(3_000_000))
    sha = world.commit(work, "note.txt", "n\n")
    world.git("-C", str(work), "add", "--", "big.bin")
    world.git("-C", str(work), "commit", "-q", "--amend", "--no-edit")
    sha = world.git("-C", str(work), "rev-parse", "HEAD").stdout.strip()
    assert world.push(work, "HEAD:refs/heads/big").returncode == 0
    assert world.sim.head(REPO, "big") == sha
    assert len(world.sim.file_at(REPO, "big", "big.bin") or b"") == 3_000_000


def test_a_private_repository_asks_for_a_password_and_hides_from_strangers(world: World) -> None:
    anonymous = world.client.get(f"/{REPO}.git/info/refs", params={"service": "git-upload-pack"})
    assert anonymous.status_code == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Basic ")
    unknown = world.client.get("/acme/none.git/info/refs", params={"service": "git-upload-pack"})
    assert unknown.status_code == 401
    assert world.git("ls-remote", f"{world.url}/{REPO}.git", token="wrong").returncode != 0
    assert world.git("ls-remote", f"{world.url}/{REPO}.git", token=world.tokens["stranger"]).returncode != 0


def test_a_public_repository_is_read_by_anyone_but_not_with_a_wrong_token(world: World) -> None:
    world.sim.create_repo("acme", "open", {"README.md": "open\n"}, private=False)
    url = f"{world.url}/acme/open.git"
    assert world.git("ls-remote", url).returncode == 0
    assert world.git("ls-remote", url, token="wrong").returncode != 0
    asked = {"service": "git-receive-pack"}
    assert world.client.get("/acme/open.git/info/refs", params=asked).status_code == 401


def test_a_push_needs_the_write_role_and_the_write_scope(world: World) -> None:
    work = world.clone()
    world.commit(work, "a.txt", "a\n")
    assert world.push(work, "HEAD:refs/heads/x", login="reviewer").returncode != 0
    world.tokens["narrow"] = world.sim.add_token("orchestrator", scopes=["read:repository"])
    assert world.push(work, "HEAD:refs/heads/x", login="narrow").returncode != 0
    assert world.sim.head(REPO, "x") is None
    assert world.events() == []


def test_a_push_that_is_not_fast_forward_is_refused_by_git_itself(world: World) -> None:
    first, second = world.clone("first"), world.clone("second")
    world.commit(first, "a.txt", "1\n")
    world.commit(second, "a.txt", "2\n")
    assert world.push(first, "HEAD:refs/heads/main").returncode == 0
    refused = world.push(second, "HEAD:refs/heads/main")
    assert refused.returncode != 0
    assert "rejected" in refused.stderr


def test_dumb_http_is_not_spoken(world: World) -> None:
    assert world.client.get(f"/{REPO}.git/info/refs").status_code == 403


def test_a_request_that_claims_gzip_and_is_not_is_refused(world: World) -> None:
    answer = world.client.post(
        f"/{REPO}.git/git-upload-pack",
        content=b"0000",
        headers={"Content-Encoding": "gzip", "Authorization": f"token {world.tokens['orchestrator']}"},
    )
    assert answer.status_code == 400


# -- deliveries


def shape(value: Any) -> Any:
    """Keys all the way down; of a list, the first entry stands for all."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else []
    return None


def verified(got: Received, fixture: str, *, escaped: bool = False) -> Any:
    """The payload, after its headers, bytes, signature and shape were held against the sample."""
    sample = load_recorded(FIXTURES / fixture)
    theirs = {name.lower(): value for name, value in sample.headers.items()}
    assert set(got.headers) - HOP_HEADERS == set(theirs) - HOP_HEADERS
    fixed = {n for n in theirs if n not in HOP_HEADERS and not n.endswith(("-delivery", "signature", "-256"))}
    assert {n: got.headers[n] for n in fixed} == {n: theirs[n] for n in fixed}
    assert len({got.headers[n] for n in theirs if n.endswith("-delivery")}) == 1
    for name in (n for n in theirs if n.endswith("-signature") and "hub" not in n):
        assert got.headers[name] == hmac_hex(SECRET, got.body)
    assert got.headers["x-hub-signature-256"] == "sha256=" + hmac_hex(SECRET, got.body)
    assert got.headers["x-hub-signature"] == "sha1=" + hmac_hex(SECRET, got.body, "sha1")
    payload, known = json.loads(got.body), json.loads(sample.body)
    assert shape(payload) == shape(known)
    assert escaped or got.body == json.dumps(payload, indent=2, ensure_ascii=False).encode()
    return payload


def test_a_push_to_a_branch_is_told_as_in_the_sample(world: World) -> None:
    work = world.clone()
    old = world.sim.head(REPO, "main")
    world.commit(work, "README.md", "# More & <b>\n", "First\n")
    new = world.commit(work, "src/новый.py", "x = 1\n", "Second\n")
    assert world.push(work, "HEAD:refs/heads/main").returncode == 0
    told = verified(world.received()[0], "push")
    assert (told["ref"], told["before"], told["after"]) == ("refs/heads/main", old, new)
    assert [commit["message"] for commit in told["commits"]] == ["Second\n", "First\n"]
    assert told["commits"][0]["added"] == ["src/новый.py"]
    assert told["commits"][1]["modified"] == ["README.md"]
    assert told["head_commit"]["id"] == new
    assert told["commits"][0]["author"]["username"] == "orchestrator"
    assert told["pusher"]["login"] == told["sender"]["login"] == "orchestrator"


def test_a_push_names_at_most_five_commits_but_counts_all(world: World) -> None:
    work = world.clone()
    for number in range(7):
        world.commit(work, "a.txt", f"{number}\n", f"Change {number}\n")
    assert world.push(work, "HEAD:refs/heads/main").returncode == 0
    told = json.loads(world.received()[0].body)
    assert [c["message"] for c in told["commits"]] == [f"Change {n}\n" for n in (6, 5, 4, 3, 2)]
    assert told["total_commits"] == 7


def test_a_branch_made_through_the_api_is_told_as_create_and_push(world: World) -> None:
    name = "feature/ENDURO-17-gpx-import"
    made = world.repo("orchestrator", "POST", "/branches", {"new_branch_name": name, "old_ref_name": "main"})
    assert made.status_code == 201
    create, push = world.received()
    about = verified(create, "create_branch")
    assert (about["ref"], about["ref_type"], about["sha"]) == (name, "branch", world.sim.head(REPO, "main"))
    told = verified(push, "push_new_branch")
    assert (told["before"], told["ref"], told["total_commits"]) == (NO_SHA, f"refs/heads/{name}", 1)
    assert told["sender"]["login"] == "orchestrator"


def test_a_deleted_branch_is_told_as_delete_only_and_closes_its_pull_request(pulled: World) -> None:
    before = len(pulled.received())
    work = pulled.home / "work"
    assert pulled.push(work, "--delete", "feature/x").returncode == 0
    deleted, closed = pulled.received()[before:]
    assert verified(deleted, "delete_branch")["ref"] == "feature/x"
    assert json.loads(closed.body)["action"] == "closed"
    assert pulled.repo("reviewer", "GET", "/pulls/1").json()["state"] == "closed"


def test_a_tag_is_told_as_create_and_push_of_its_commit(world: World) -> None:
    work = world.clone()
    world.git("-C", str(work), "tag", "-a", "-m", "one", "v1")
    assert world.push(work, "v1").returncode == 0
    create, push = (json.loads(got.body) for got in world.received())
    assert (create["ref_type"], create["ref"], create["sha"]) == ("tag", "v1", world.sim.head(REPO, "main"))
    assert (push["ref"], push["commits"]) == ("refs/tags/v1", [])
    assert push["head_commit"]["id"] == world.sim.head(REPO, "main")


def test_the_test_button_sends_a_push_from_head_to_head(world: World) -> None:
    number = world.sim.repos[REPO].hooks[0].id
    assert world.repo("acme", "POST", f"/hooks/{number}/tests").status_code == 204
    told = verified(world.received()[0], "push_test_delivery")
    assert told["before"] == told["after"] == world.sim.head(REPO, "main")


def test_a_pull_request_its_new_commits_its_reviews_and_comments_are_told(pulled: World) -> None:
    work = pulled.home / "work"
    new = pulled.commit(work, "a.txt", "b\n")
    assert pulled.push(work, "HEAD:refs/heads/feature/x").returncode == 0
    for event in ("APPROVED", "REQUEST_CHANGES", "COMMENT"):
        assert (
            pulled.repo("reviewer", "POST", "/pulls/1/reviews", {"event": event, "body": "so"}).status_code == 200
        )
    assert pulled.repo("reviewer", "POST", "/issues/1/comments", {"body": "hi"}).status_code == 201
    by_type = {got.headers["x-gitea-event-type"]: got for got in pulled.received()}
    verified(by_type["pull_request"], "pull_request_opened")
    moved = verified(by_type["pull_request_sync"], "pull_request_synchronized")
    assert moved["after"] == moved["pull_request"]["head"]["sha"] == new
    approved = verified(by_type["pull_request_review_approved"], "pull_request_review_approved")
    assert approved["review"] == {"type": "pull_request_review_approved", "content": "so"}
    verified(by_type["pull_request_review_rejected"], "pull_request_review_rejected")
    verified(by_type["pull_request_review_comment"], "pull_request_review_comment")
    verified(by_type["pull_request_comment"], "pull_request_comment_created")


def test_a_status_is_told_with_its_commit(world: World) -> None:
    sha = world.sim.head(REPO, "main")
    status = {"state": "success", "context": "ci/build", "description": "ok", "target_url": "https://ci.test/1"}
    assert world.repo("orchestrator", "POST", f"/statuses/{sha}", status).status_code == 201
    told = verified(world.received()[0], "status_success")
    assert (told["sha"], told["state"], told["context"]) == (sha, "success", "ci/build")


def test_forgejo_tells_a_push_with_its_own_headers_and_escapes(make_world: Callable[[Flavour], World]) -> None:
    world = make_world("forgejo")
    assert world.call("", "GET", "/version").json() == {"version": "15.0.3+gitea-1.22.0"}
    work = world.clone()
    world.commit(work, "README.md", "# More\n", "Use <b> & c\n")
    assert world.push(work, "HEAD:refs/heads/main").returncode == 0
    got = world.received()[0]
    told = verified(got, "forgejo_push", escaped=True)
    assert told["commits"][0]["message"] == "Use <b> & c\n"
    assert rb"Use \u003cb\u003e \u0026 c" in got.body


def test_forgejo_tells_of_pull_requests_and_reviews_but_never_of_a_status(
    make_world: Callable[[Flavour], World],
) -> None:
    world = make_world("forgejo")
    work = world.clone()
    world.commit(work, "a.txt", "a\n")
    assert world.push(work, "HEAD:refs/heads/x").returncode == 0
    world.repo("orchestrator", "POST", "/pulls", {"head": "x", "base": "main", "title": "X"})
    world.repo("reviewer", "POST", "/pulls/1/reviews", {"event": "APPROVED"})
    sha = world.sim.head(REPO, "x")
    assert world.repo("orchestrator", "POST", f"/statuses/{sha}", {"state": "success"}).status_code == 201
    by_type = {got.headers["x-forgejo-event-type"]: got for got in world.received()}
    verified(by_type["pull_request"], "forgejo_pull_request_opened")
    verified(by_type["pull_request_review_approved"], "forgejo_pull_request_review_approved")
    assert "status" not in by_type


def test_a_hook_without_a_secret_sends_empty_signatures(world: World) -> None:
    world.sim.repos[REPO].hooks.clear()
    world.sim.add_hook(REPO, "http://127.0.0.1:1/", "")
    world.repo("orchestrator", "POST", "/branches", {"new_branch_name": "x"})
    headers = world.sim.courier.sent
    world.sim.courier.settle()
    assert headers[0].delivery.headers["X-Gitea-Signature"] == ""
    assert headers[0].delivery.headers["X-Hub-Signature-256"] == "sha256="


def test_a_form_hook_signs_the_decoded_field(world: World) -> None:
    url = world.sim.repos[REPO].hooks[0].url
    world.sim.repos[REPO].hooks.clear()
    world.sim.add_hook(REPO, url, SECRET, content_type="form")
    world.repo("orchestrator", "POST", "/branches", {"new_branch_name": "x"})
    got = world.received()[0]
    assert got.headers["content-type"] == "application/x-www-form-urlencoded"
    payload = httpx.QueryParams(got.body.decode())["payload"]
    assert got.headers["x-gitea-signature"] == hmac_hex(SECRET, payload.encode())


def test_a_branch_filter_and_an_inactive_hook_keep_deliveries_back(world: World) -> None:
    url = world.sim.repos[REPO].hooks[0].url
    world.sim.repos[REPO].hooks.clear()
    world.sim.add_hook(REPO, url, SECRET, branch_filter="feature/*")
    world.sim.add_hook(REPO, url, SECRET, active=False)
    for name in ("main2", "feature/y"):
        world.repo("orchestrator", "POST", "/branches", {"new_branch_name": name})
    assert [json.loads(got.body)["ref"] for got in world.received()] == ["refs/heads/feature/y"]


def test_a_replay_has_a_new_id_in_all_families_and_the_same_bytes(world: World) -> None:
    world.repo("orchestrator", "POST", "/branches", {"new_branch_name": "x"})
    world.received()
    world.sim.replay(world.sim.deliveries[0])
    first, *_, again = world.received()
    assert again.body == first.body
    ids = {again.headers[f"x-{family}-delivery"] for family in ("gitea", "gogs", "github")}
    assert len(ids) == 1
    assert ids != {first.headers["x-gitea-delivery"]}


def test_lost_deliveries_never_arrive_and_a_down_server_answers_503(world: World) -> None:
    world.sim.lose_deliveries = True
    world.repo("orchestrator", "POST", "/branches", {"new_branch_name": "x"})
    assert world.received() == []
    world.sim.down = True
    assert world.call("", "GET", "/version").status_code == 503
    assert world.sim.calls[-1][:3] == ("GET", "/api/v1/version", 503)


# -- REST


def test_a_taken_branch_name_is_409_and_the_branch_stays(world: World) -> None:
    asked = {"new_branch_name": "feature/x", "old_ref_name": "main"}
    assert world.repo("orchestrator", "POST", "/branches", asked).status_code == 201
    again = world.repo("orchestrator", "POST", "/branches", asked)
    assert again.status_code == 409
    assert set(again.json()) == {"message", "url"}
    nested = {"new_branch_name": "feature/x/y"}
    assert world.repo("orchestrator", "POST", "/branches", nested).status_code == 409


def test_clients_that_race_get_one_branch_each_and_each_is_told_once(world: World) -> None:
    names = ["same", "same", "same", *(f"own-{number}" for number in range(6))]
    answers: list[tuple[str, int]] = []

    def make(name: str) -> None:
        made = world.repo("orchestrator", "POST", "/branches", {"new_branch_name": name})
        answers.append((name, made.status_code))

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made_names = sorted(name for name, status in answers if status == 201)
    assert made_names == sorted(set(names))
    assert sorted(status for name, status in answers if name == "same") == [201, 409, 409]
    told = [json.loads(got.body)["ref"] for got in world.received()]
    assert sorted(told) == sorted([*made_names, *(f"refs/heads/{name}" for name in made_names)])


@pytest.mark.parametrize("name", ["", "a..b", "-x", "a b", "x" * 101, "a~1", "x.lock", 5])
def test_a_branch_name_that_git_refuses_is_422(world: World, name: object) -> None:
    assert world.repo("orchestrator", "POST", "/branches", {"new_branch_name": name}).status_code == 422


def test_an_empty_repository_has_no_branch_to_start_from(world: World) -> None:
    world.sim.create_repo("acme", "empty")
    world.sim.grant("acme/empty", "orchestrator", WRITE)
    asked = {"new_branch_name": "x"}
    assert world.call("orchestrator", "POST", "/repos/acme/empty/branches", asked).status_code == 404
    assert world.call("orchestrator", "GET", "/repos/acme/empty").json()["empty"] is True


def test_an_unknown_start_is_500_as_on_the_real_server(world: World) -> None:
    asked = {"new_branch_name": "x", "old_ref_name": "nope"}
    assert world.repo("orchestrator", "POST", "/branches", asked).status_code == 500


def test_roles_scopes_and_privacy_are_kept(world: World) -> None:
    asked = {"new_branch_name": "x"}
    assert world.repo("", "GET", "").status_code == 404
    assert world.repo("stranger", "GET", "").status_code == 404
    assert world.repo("reviewer", "POST", "/branches", asked).status_code == 403
    assert world.repo("orchestrator", "POST", "/hooks", {}).status_code == 403
    assert world.call("", "GET", "/user").status_code == 401
    world.tokens["wrong"] = "nope"
    assert world.call("wrong", "GET", "/version").status_code == 401
    world.tokens["narrow"] = world.sim.add_token("orchestrator", scopes=["read:repository"])
    refused = world.repo("narrow", "POST", "/branches", asked)
    assert refused.status_code == 403
    assert "required=[write:repository]" in refused.json()["message"]
    world.tokens["wide"] = world.sim.add_token("orchestrator", scopes=["write:repository"])
    assert world.repo("wide", "GET", "/branches/main").status_code == 200


def test_a_file_is_read_at_a_commit_and_not_at_a_guess(world: World) -> None:
    sha = world.sim.head(REPO, "main")
    row = world.repo("reviewer", "GET", "/contents/docs/план.md", ref=sha).json()
    assert (row["type"], base64.b64decode(row["content"])) == ("file", b"x\n")
    assert world.repo("reviewer", "GET", "/raw/docs/план.md", ref=sha).content == b"x\n"
    folder = world.repo("reviewer", "GET", "/contents/docs", ref=sha).json()
    assert [(entry["type"], entry["path"], entry["content"]) for entry in folder] == [
        ("file", "docs/план.md", None)
    ]
    assert {entry["name"] for entry in world.repo("reviewer", "GET", "/contents").json()} == {"README.md", "docs"}
    for path, ref in (("none", sha), ("README.md", "nope"), ("README.md", "main~0"), ("../x", sha), ("*", sha)):
        assert world.repo("reviewer", "GET", f"/contents/{path}", ref=ref).status_code == 404


def test_pages_tell_the_total_and_the_way_to_the_next(world: World) -> None:
    for number in range(3):
        world.repo("orchestrator", "POST", "/branches", {"new_branch_name": f"b{number}"})
    page = world.repo("reviewer", "GET", "/branches", limit=2)
    assert (len(page.json()), page.headers["X-Total-Count"]) == (2, "4")
    assert 'page=2&limit=2>; rel="next"' in page.headers["Link"]
    assert "Link" not in world.repo("reviewer", "GET", "/branches", limit=2, page=2).headers
    assert len(world.repo("reviewer", "GET", "/branches", limit=5000).json()) == 4


def test_required_contexts_are_readable_without_admin_rights(world: World) -> None:
    world.sim.repos[REPO].required_contexts = ["ci/*"]
    row = world.repo("reviewer", "GET", "/branches/main").json()
    assert (row["protected"], row["status_check_contexts"], row["enable_status_check"]) == (True, ["ci/*"], True)
    assert row["user_can_push"] is False


def test_a_new_hook_answers_what_it_understood_and_never_its_secret(world: World) -> None:
    asked = {
        "type": "gitea",
        "config": {"url": "http://127.0.0.1:1/", "content_type": "json", "secret": "hidden"},
        "events": ["push", "pull_request", "status", "no_such_event"],
    }
    made = world.repo("acme", "POST", "/hooks", asked)
    assert made.status_code == 201
    assert made.json()["active"] is False
    assert {"push", "status", "pull_request_review", "pull_request_sync"} <= set(made.json()["events"])
    assert "no_such_event" not in made.json()["events"]
    assert "hidden" not in made.text + world.repo("acme", "GET", "/hooks").text
    assert world.repo("acme", "POST", "/hooks", {"config": {}}).status_code == 422


def test_a_second_pull_request_of_the_same_branches_is_409(pulled: World) -> None:
    asked = {"head": "feature/x", "base": "main", "title": "Again"}
    assert pulled.repo("orchestrator", "POST", "/pulls", asked).status_code == 409
    listed = pulled.repo("reviewer", "GET", "/pulls", state="open", base_branch="main", sort="recentupdate")
    assert [row["number"] for row in listed.json()] == [1]
    assert pulled.repo("reviewer", "GET", "/pulls/main/feature/x").json()["number"] == 1
    assert pulled.repo("reviewer", "GET", "/pulls/2").status_code == 404


def test_nobody_approves_his_own_pull_request(pulled: World) -> None:
    own = pulled.repo("orchestrator", "POST", "/pulls/1/reviews", {"event": "APPROVED"})
    assert own.status_code == 422
    assert "approve your own pull" in own.json()["message"]


def test_a_later_verdict_dismisses_the_earlier_and_new_commits_make_both_stale(pulled: World) -> None:
    pulled.sim.grant(REPO, "reviewer", WRITE)
    for event in ("APPROVED", "REQUEST_CHANGES"):
        pulled.repo("reviewer", "POST", "/pulls/1/reviews", {"event": event, "body": "so"})
    pulled.commit(pulled.home / "work", "a.txt", "c\n")
    assert pulled.push(pulled.home / "work", "HEAD:refs/heads/feature/x").returncode == 0
    listed = pulled.repo("reviewer", "GET", "/pulls/1/reviews")
    rows = [(r["state"], r["official"], r["dismissed"], r["stale"]) for r in listed.json()]
    assert rows == [("APPROVED", False, True, True), ("REQUEST_CHANGES", True, False, True)]
    assert listed.headers["X-Total-Count"] == "2"


def test_comments_at_lines_belong_to_their_review_and_a_drafts_are_its_authors(pulled: World) -> None:
    def made(event: str) -> int:
        comments = [
            {"path": "a.txt", "body": event, "new_position": 1},
            {"path": "a.txt", "body": "old", "old_position": 2},
        ]
        order = {"event": event, "body": "so", "comments": comments}
        row = pulled.repo("reviewer", "POST", "/pulls/1/reviews", order).json()
        assert row["comments_count"] == 2
        return int(row["id"])

    review, draft = made("REQUEST_CHANGES"), made("PENDING")
    rows = pulled.repo("orchestrator", "GET", f"/pulls/1/reviews/{review}/comments").json()
    assert sorted((r["path"], r["position"], r["original_position"], r["body"]) for r in rows) == [
        ("a.txt", 0, 2, "old"),
        ("a.txt", 1, 0, "REQUEST_CHANGES"),
    ]
    assert {(r["user"]["login"], r["pull_request_review_id"]) for r in rows} == {("reviewer", review)}
    for login, number, status in (("reviewer", draft, 200), ("orchestrator", draft, 404), ("reviewer", 1, 404)):
        assert pulled.repo(login, "GET", f"/pulls/1/reviews/{number}/comments").status_code == status


def test_the_combined_state_covers_only_the_page_asked_for(world: World) -> None:
    sha = world.sim.head(REPO, "main")
    empty = world.repo("reviewer", "GET", f"/commits/{sha}/status").json()
    assert (empty["state"], empty["statuses"]) == ("pending", None)
    for context, state in (("a", "failure"), ("a", "success"), ("b", "pending")):
        world.repo("orchestrator", "POST", f"/statuses/{sha}", {"state": state, "context": context})
    page = world.repo("reviewer", "GET", f"/commits/{sha}/status", limit=1)
    assert (page.json()["state"], page.json()["total_count"], page.headers["X-Total-Count"]) == ("success", 1, "2")
    assert world.repo("reviewer", "GET", f"/commits/{sha}/status").json()["state"] == "pending"
    history = world.repo("reviewer", "GET", f"/statuses/{sha}", sort="highestindex").json()
    assert [(row["id"], row["context"], row["status"]) for row in history] == [
        (3, "b", "pending"),
        (2, "a", "success"),
        (1, "a", "failure"),
    ]
    assert world.repo("orchestrator", "POST", f"/statuses/{NO_SHA}", {"state": "success"}).status_code == 500


def test_a_comment_is_changed_by_its_writer_only(pulled: World) -> None:
    row = pulled.repo("orchestrator", "POST", "/issues/1/comments", {"body": "one"}).json()
    path = f"/issues/comments/{row['id']}"
    assert pulled.repo("orchestrator", "PATCH", path, {"body": "two"}).json()["body"] == "two"
    assert pulled.repo("reviewer", "PATCH", path, {"body": "three"}).status_code == 403
    assert [c["body"] for c in pulled.repo("reviewer", "GET", "/issues/1/comments").json()] == ["two"]


def test_permissions_of_others_are_for_admins(world: World) -> None:
    own = world.repo("orchestrator", "GET", "/collaborators/orchestrator/permission").json()
    assert own["permission"] == "write"
    assert world.repo("orchestrator", "GET", "/collaborators/acme/permission").status_code == 403
    assert world.repo("acme", "GET", "/collaborators/acme/permission").json()["permission"] == "owner"
    assert world.repo("acme", "GET", "/collaborators/nobody/permission").status_code == 404


def test_the_repositorys_shape_is_that_of_the_payloads(world: World) -> None:
    known = json.loads(load_recorded(FIXTURES / "push").body)["repository"]
    assert set(world.repo("reviewer", "GET", "").json()) == set(known)
    assert world.call("orchestrator", "GET", "/user").json()["login"] == "orchestrator"


def test_bodies_that_are_not_objects_are_refused(world: World) -> None:
    assert world.repo("orchestrator", "POST", "/branches", []).status_code == 422
    head = {"Authorization": f"token {world.tokens['orchestrator']}"}
    answer = world.client.post(f"/api/v1/repos/{REPO}/branches", content=b"{", headers=head)
    assert answer.status_code == 422
    big = world.client.post(f"/api/v1/repos/{REPO}/branches", content=b"x" * 6_000_000, headers=head)
    assert big.status_code == 413
    assert world.client.put("/api/v1/version").status_code == 405
    assert world.client.get("/api/v1/nowhere").status_code == 404

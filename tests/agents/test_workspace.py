"""Mirrors and checkouts with real git: what an agent gets, and what is taken back from it."""

import fcntl
import http.server
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import rundir
from orchestrator.agents.git import Git, _config_text, check_branch
from orchestrator.agents.workspace import Workspaces, default_role_prompt
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import GitRemote, RepoName, Sha
from orchestrator.domain.roles import Language, Role

TOKEN = "canary-t0k3n-9d2"


def agent_commits(run_git: Callable[..., str], workspace: Path, name: str = "tasks/DEMO-1/BRD.md") -> Sha:
    (workspace / name).parent.mkdir(parents=True, exist_ok=True)
    (workspace / name).write_text("# BRD\n")
    run_git("add", "-f", "--", name, cwd=workspace)
    run_git("commit", "-q", "-m", "DEMO-1: BRD", cwd=workspace)
    return Sha(run_git("rev-parse", "HEAD", cwd=workspace))


def same_work(run_git: Callable[..., str], world: Any, taken: Sha | None, agents: Sha) -> bool:
    """What was taken over has the agent's tree; its name differs, since it is signed by us."""
    assert taken is not None
    mirror = world.data_dir / "mirrors/acme/shop.git"
    theirs = run_git("rev-parse", f"{agents}^{{tree}}", cwd=world.paths(world.spec()).workspace)
    return run_git("rev-parse", f"{taken}^{{tree}}", cwd=mirror) == theirs


def test_a_workspace_is_the_branch_at_the_decided_commit_and_knows_no_remote(
    world: Any, run_git: Callable[..., str]
) -> None:
    spec = world.spec()
    world.forge.commit(spec.branch, {"later.txt": "moved on"})
    world.workspaces().prepare(spec)
    workspace = world.paths(spec).workspace
    assert run_git("rev-parse", "HEAD", cwd=workspace) == spec.base_sha
    assert run_git("symbolic-ref", "HEAD", cwd=workspace) == f"refs/heads/{spec.branch}"
    assert run_git("for-each-ref", "--format=%(refname)", cwd=workspace) == f"refs/heads/{spec.branch}"
    assert run_git("remote", cwd=workspace) == ""
    assert run_git("config", "--local", "core.hooksPath", cwd=workspace) == "/dev/null"
    assert not (workspace / ".git/hooks").exists()
    assert run_git("fsck", "--full", cwd=workspace) == ""


def test_a_workspace_shares_no_file_with_the_mirror(world: Any) -> None:
    spec = world.spec()
    world.workspaces().prepare(spec)
    git_dir = world.paths(spec).workspace / ".git"
    assert not (git_dir / "objects/info/alternates").exists()
    assert not [path for path in git_dir.rglob("*") if path.is_file() and path.stat().st_nlink != 1]


def test_runs_may_lie_on_another_file_system_than_the_mirrors(world: Any, run_git: Callable[..., str]) -> None:
    here, places = world.root.stat().st_dev, [Path(place) for place in ("/dev/shm", "/tmp")]
    elsewhere = next((one for one in places if one.is_dir() and one.stat().st_dev != here), None)
    if elsewhere is None:
        pytest.skip(f"{', '.join(map(str, places))} are all of one file system here")
    spec = world.spec()
    runs = world.paths(spec).root.parent
    runs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        runs.symlink_to(folder)
        world.workspaces().prepare(spec)
        workspace = world.paths(spec).workspace
        assert workspace.stat().st_dev != world.root.stat().st_dev
        assert run_git("fsck", "--full", cwd=workspace) == ""
        assert run_git("rev-parse", "HEAD", cwd=workspace) == spec.base_sha


def test_the_task_file_is_there_and_git_does_not_see_it(world: Any, run_git: Callable[..., str]) -> None:
    spec = world.spec(brief="Find \u202ethings.")
    world.workspaces().prepare(spec)
    workspace = world.paths(spec).workspace
    assert "Find things." in (workspace / ".task.md").read_text()
    assert run_git("status", "--porcelain", cwd=workspace) == ""


def test_a_committed_link_in_place_of_the_task_file_is_not_followed(
    world: Any, run_git: Callable[..., str], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run_git("switch", "-q", world.spec().branch, cwd=world.forge.clone)
    (world.forge.clone / ".task.md").symlink_to(victim)
    run_git("add", "-f", "--", ".task.md", cwd=world.forge.clone)
    spec = world.spec(base_sha=world.forge.commit(world.spec().branch, {"x": "y"}))
    world.workspaces().prepare(spec)
    assert victim.read_text() == "mine"
    assert not (world.paths(spec).workspace / ".task.md").is_symlink()


def test_a_directory_in_place_of_the_task_file_parks_with_a_hint(world: Any) -> None:
    spec = world.spec(base_sha=world.forge.commit(world.spec().branch, {".task.md/x": "y"}))
    with pytest.raises(Permanent, match="directory named") as error:
        world.workspaces().prepare(spec)
    assert error.value.code == "task_file_taken"


def test_preparing_again_changes_nothing(world: Any) -> None:
    spec, workspaces = world.spec(), world.workspaces()
    workspaces.prepare(spec)
    mark = world.paths(spec).workspace / "mark"
    mark.touch()
    workspaces.prepare(spec)
    assert mark.exists()


def test_a_started_or_locked_run_is_not_prepared(world: Any) -> None:
    spec, paths = world.spec(), world.paths(world.spec())
    paths.root.mkdir(parents=True)
    with rundir.holding(paths.lock) as mine:
        assert mine
        world.workspaces().prepare(spec)
    assert not paths.workspace.exists()
    paths.started.touch()
    world.workspaces().prepare(spec)
    assert not paths.workspace.exists()


def test_a_half_made_workspace_is_made_anew(world: Any) -> None:
    spec, paths = world.spec(), world.paths(world.spec())
    (paths.workspace / ".git").mkdir(parents=True)
    (paths.workspace / "stale").touch()
    world.workspaces().prepare(spec)
    assert not (paths.workspace / "stale").exists()


def test_a_killed_mirror_creation_does_no_harm(world: Any) -> None:
    half = world.data_dir / "mirrors/acme/shop.new"
    half.mkdir(parents=True)
    (half / "HEAD").write_text("ref: refs/heads/x")
    world.workspaces().prepare(world.spec())


def test_the_role_prompt_comes_from_the_base_branch_only(world: Any) -> None:
    path = ".openclaw/agents/analyst.md"
    spec = world.spec(1, base_sha=world.forge.commit(world.spec().branch, {path: "from the agent's branch"}))
    world.workspaces().prepare(spec)
    assert world.paths(spec).role.read_bytes() == default_role_prompt(Role.ANALYST, spec.language)
    world.forge.commit("main", {path: "from the base"})
    spec = replace(spec, run=2)
    world.workspaces().prepare(spec)
    assert world.paths(spec).role.read_text() == "from the base"


def test_the_built_in_role_prompt_is_in_the_language_of_the_project(world: Any) -> None:
    spec = world.spec(language=Language.RU, role=Role.REVIEWER)
    world.workspaces().prepare(spec)
    assert world.paths(spec).role.read_text().startswith("# Роль: ревьюер\n")


@pytest.mark.parametrize("kind", ["large", "link", "directory"])
def test_an_unusable_role_prompt_is_refused(world: Any, kind: str, run_git: Callable[..., str]) -> None:
    path, clone = ".openclaw/agents/analyst.md", world.forge.clone
    if kind == "link":
        (clone / path).parent.mkdir(parents=True)
        (clone / path).symlink_to("/etc/passwd")
        run_git("add", "-f", "--", path, cwd=clone)
        world.forge.commit("main", {"x": "y"})
    else:
        name, text = (path, "x" * 70_000) if kind == "large" else (f"{path}/inner", "x")
        world.forge.commit("main", {name: text})
    with pytest.raises(Permanent) as error:
        world.workspaces().prepare(world.spec())
    assert error.value.code == "bad_role_prompt"


def test_a_commit_that_the_forge_does_not_show_yet_is_tried_again(world: Any) -> None:
    with pytest.raises(Transient, match="does not show"):
        world.workspaces().prepare(world.spec(base_sha=Sha("1" * 40)))
    with pytest.raises(Transient, match="does not show"):
        world.workspaces().prepare(world.spec(branch="feature/none"))


def test_a_rewritten_branch_is_refused(world: Any, run_git: Callable[..., str]) -> None:
    clone, spec = world.forge.clone, world.spec()
    old = world.forge.commit(spec.branch, {"a": "1"})
    world.workspaces().prepare(world.spec(1, base_sha=old))
    run_git("reset", "-q", "--hard", "HEAD~1", cwd=clone)
    run_git("push", "-q", "-f", world.forge.bare, spec.branch, cwd=clone)
    with pytest.raises(Permanent) as error:
        world.workspaces().prepare(world.spec(2, base_sha=old))
    assert error.value.code == "branch_rewritten"


def test_runs_prepared_at_once_share_one_mirror_unharmed(world: Any) -> None:
    workspaces = world.workspaces()
    specs = [world.spec(run) for run in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(workspaces.prepare, specs))
    assert all(world.paths(spec).prepared.exists() for spec in specs)
    assert [path.name for path in (world.data_dir / "mirrors/acme").iterdir() if path.is_dir()] == ["shop.git"]


def test_a_mirror_that_stays_busy_is_tried_again_later(world: Any) -> None:
    lock = world.data_dir / "mirrors/acme/shop.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Transient) as error:
            replace(world.workspaces(), mirror_wait_s=0.1).prepare(world.spec())
    assert error.value.code == "mirror_busy"


@pytest.mark.parametrize("place", ["shop", "shop.git", "acme/shop", "acme/shop.git"])
def test_a_mounted_copy_of_another_owner_seeds_the_mirror(
    world: Any, tmp_path: Path, place: str, run_git: Callable[..., str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository to another uid")
    copy = tmp_path / "repos" / place
    copy.parent.mkdir(parents=True)
    bare = ["--bare"] if place.endswith(".git") else []
    run_git("clone", "-q", *bare, "--", world.forge.bare, copy, cwd=tmp_path)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    world.workspaces(tmp_path / "repos").prepare(world.spec())
    seeded = run_git("for-each-ref", "refs/seed", cwd=world.data_dir / "mirrors/acme/shop.git")
    assert "refs/seed/main" in seeded


def test_only_the_folders_of_one_call_are_trusted_whoever_owns_them(world: Any, tmp_path: Path) -> None:
    mine, other = tmp_path / "repos/a", tmp_path / 'repos/odd "name"'
    lines = _config_text(None, (mine, other), check_objects=False).splitlines()
    assert [line for line in lines if "directory" in line] == [
        f' directory = "{mine}"',
        f' directory = "{tmp_path}/repos/odd \\"name\\""',
    ]
    asked = ("config", "--get-all", "safe.directory")
    seen = Git()(*asked, trusted=(mine, other), git_dir=world.forge.bare).out.decode().splitlines()
    assert seen == [str(mine), str(other)]
    assert Git()(*asked, git_dir=world.forge.bare, accept=(0, 1)).out == b""


def test_a_broken_mounted_copy_costs_nothing_but_time(world: Any, tmp_path: Path) -> None:
    (tmp_path / "repos/shop/.git").mkdir(parents=True)
    world.workspaces(tmp_path / "repos").prepare(world.spec())
    assert world.paths(world.spec()).prepared.exists()


def test_a_commit_is_collected_and_published(world: Any, run_git: Callable[..., str]) -> None:
    spec, workspaces = world.spec(), world.workspaces()
    workspaces.prepare(spec)
    assert world.collect(spec, workspaces) is None
    agents = agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    assert same_work(run_git, world, head, agents)
    assert world.collect(spec, workspaces) == head
    workspaces.publish(spec, head)
    assert world.forge.head() == head


def test_a_head_that_lies_under_newer_commits_is_published_already(
    world: Any, run_git: Callable[..., str]
) -> None:
    spec, workspaces = world.spec(), world.workspaces()
    workspaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    workspaces.publish(spec, head)
    run_git("switch", "-q", spec.branch, cwd=world.forge.clone)
    run_git("pull", "-q", "--ff-only", world.forge.bare, spec.branch, cwd=world.forge.clone)
    newer = world.forge.commit(spec.branch, {"b": "2"})
    workspaces.publish(spec, head)
    assert world.forge.head() == newer


def test_a_branch_that_moved_elsewhere_is_never_forced(world: Any, run_git: Callable[..., str]) -> None:
    spec, workspaces = world.spec(), world.workspaces()
    workspaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    other = world.forge.commit(spec.branch, {"b": "2"})
    with pytest.raises(Permanent) as error:
        workspaces.publish(spec, head)
    assert (error.value.code, world.forge.head()) == ("not_fast_forward", other)


def test_rewritten_history_is_not_taken(world: Any, run_git: Callable[..., str]) -> None:
    spec = world.spec(base_sha=world.forge.commit(world.spec().branch, {"a": "1"}))
    world.workspaces().prepare(spec)
    workspace = world.paths(spec).workspace
    run_git("reset", "-q", "--hard", "HEAD~1", cwd=workspace)
    agent_commits(run_git, workspace)
    with pytest.raises(Permanent) as error:
        world.collect(spec)
    assert error.value.code == "not_fast_forward"


def test_a_run_that_removed_its_branch_is_told_so(world: Any, run_git: Callable[..., str]) -> None:
    spec = world.spec()
    world.workspaces().prepare(spec)
    run_git("branch", "-q", "-m", "elsewhere", cwd=world.paths(spec).workspace)
    with pytest.raises(Permanent) as error:
        world.collect(spec)
    assert error.value.code == "branch_missing"


REPO = RepoName.parse("acme/shop")
BRANCH = "feature/DEMO-1-search"


def test_changed_paths_are_those_since_the_branch_left_its_base(world: Any, run_git: Callable[..., str]) -> None:
    head = world.forge.commit(BRANCH, {"b.txt": "b", "a/план.md": "a", "with\nbreak": "x", "README.md": "changed"})
    world.forge.commit("main", {"only-on-main.txt": "m", "b.txt": "other"})
    assert world.workspaces().changed_paths(REPO, "main", head) == [
        "README.md",
        "a/план.md",
        "b.txt",
        "with\nbreak",
    ]
    assert world.workspaces().changed_paths(REPO, "main", world.forge.head("main")) == []


def test_a_rename_and_a_removal_name_the_old_path_too(world: Any, run_git: Callable[..., str]) -> None:
    world.forge.commit("main", {".gitea/workflows/ci.yml": "on: push\n" * 20})
    clone = world.forge.clone
    run_git("switch", "-q", "-c", "feature/renamed", "main", cwd=clone)
    run_git("mv", ".gitea/workflows/ci.yml", "harmless.txt", cwd=clone)
    run_git("commit", "-q", "-m", "rename", cwd=clone)
    run_git("push", "-q", world.forge.bare, "feature/renamed", cwd=clone)
    changed = world.workspaces().changed_paths(REPO, "main", world.forge.head("feature/renamed"))
    assert changed == [".gitea/workflows/ci.yml", "harmless.txt"]


def test_the_mirror_is_fetched_only_for_a_commit_that_it_lacks(world: Any) -> None:
    head = world.forge.commit(BRANCH, {"a.txt": "a"})
    spaces = world.workspaces()
    spaces.changed_paths(REPO, "main", head)
    gone = Workspaces(world.data_dir, lambda _repo: GitRemote(str(world.root / "gone.git"), "orch", ""))
    assert gone.changed_paths(REPO, "main", head) == ["a.txt"]
    new = world.forge.commit(BRANCH, {"later.txt": "l"})
    with pytest.raises(OrchestratorError):
        gone.changed_paths(REPO, "main", new)
    assert spaces.changed_paths(REPO, "main", new) == ["a.txt", "later.txt"]


def test_a_run_that_was_collected_needs_no_forge_to_be_looked_at(world: Any, run_git: Callable[..., str]) -> None:
    spec, spaces = world.spec(), world.workspaces()
    spaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace, "src/new.py")
    head = world.collect(spec, spaces)
    assert spaces.changed_paths(REPO, "main", head) == ["src/new.py"]


def test_a_head_that_is_nowhere_or_unrelated_is_an_error_and_never_no_change(
    world: Any, run_git: Callable[..., str]
) -> None:
    spaces, clone = world.workspaces(), world.forge.clone
    with pytest.raises(Transient) as absent:
        spaces.changed_paths(REPO, "main", Sha("a" * 40))
    assert absent.value.code == "head_missing"
    with pytest.raises(Transient):
        spaces.changed_paths(REPO, "no-such-base", world.forge.head())
    run_git("switch", "-q", "--orphan", "feature/orphan", cwd=clone)
    run_git("commit", "-q", "--allow-empty", "-m", "orphan", cwd=clone)
    run_git("push", "-q", world.forge.bare, "feature/orphan", cwd=clone)
    with pytest.raises(Permanent) as orphan:
        spaces.changed_paths(REPO, "main", world.forge.head("feature/orphan"))
    assert orphan.value.code == "unrelated_history"


@pytest.mark.parametrize("base", ["-x", "--output=/tmp/x", "a..b", "a b", "main^", "x:y", ""])
def test_a_hostile_base_or_head_reaches_no_git(world: Any, base: str) -> None:
    with pytest.raises(Permanent):
        world.workspaces().changed_paths(REPO, base, world.forge.head())
    for head in (base, "HEAD", "a" * 39):
        with pytest.raises(Permanent):
            world.workspaces().changed_paths(REPO, "main", Sha(head))
    assert not (world.data_dir / "mirrors").exists()


@pytest.mark.parametrize(
    "name", ["feature/ENDURO-1-x", "main", "основная", "a;$(touch${IFS}x)", "<img/src=x>", "v1.0"]
)
def test_names_that_git_accepts_are_accepted(name: str) -> None:
    assert check_branch(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "-x", "--upload-pack=x", "a..b", "a b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b"),
        *("a@{1}", "@", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a\x7f"),
        *("x" * 201, "ж" * 101),
    ],
)
def test_names_that_git_refuses_or_takes_for_options_are_refused(name: str) -> None:
    with pytest.raises(Permanent):
        check_branch(name)


def test_a_hostile_branch_name_starts_nothing(world: Any, run_git: Callable[..., str]) -> None:
    name = "a;$(touch${IFS}mark)"
    run_git("push", "-q", world.forge.bare, f"HEAD:refs/heads/{name}", cwd=world.forge.clone)
    spec = world.spec(branch=name, base_sha=world.forge.head(name))
    world.workspaces().prepare(spec)
    agents = agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec)
    assert same_work(run_git, world, head, agents)
    world.workspaces().publish(spec, head)
    assert not list(world.root.rglob("mark"))


@dataclass
class HttpForge:
    """Serves one bare repository as a forge does, and looks at the processes that ask."""

    url: str = ""
    status: int = 200
    authorizations: set[str] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)
    requests: int = 0

    def look(self, authorization: str | None) -> None:
        self.requests += 1
        self.authorizations.add(authorization or "")
        for entry in Path("/proc").iterdir():
            for what in ("cmdline", "environ"):
                try:
                    text = (entry / what).read_bytes()
                except OSError:
                    continue
                if any(secret.encode() in text for secret in (TOKEN, *(authorization or "").split()[1:])):
                    self.leaks.append(f"{entry.name}: {text[:200]!r}")


def handler(forge: HttpForge, root: Path) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            forge.look(self.headers.get("Authorization"))
            if forge.status != 200 or not self.headers.get("Authorization"):
                self.send_response(forge.status if forge.status != 200 else 401)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("WWW-Authenticate", 'Basic realm="forge"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._serve()

        do_POST = do_GET  # noqa: N815  # the name that http.server looks for

        def _serve(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            env = {
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "orch",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            backend = ["git", "http-backend"]
            done = subprocess.run(backend, input=body, env=env, capture_output=True, timeout=30, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            status = re.search(rb"Status: (\d+)", head)
            self.send_response(int(status[1]) if status else 200)
            for line in head.decode().splitlines():
                name, _, value = line.partition(": ")
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@pytest.fixture
def http_forge(world: Any) -> Iterator[HttpForge]:
    forge = HttpForge()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(forge, world.forge.bare.parent))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}/forge.git"
    yield forge
    server.shutdown()
    thread.join(10)
    server.server_close()


def over_http(world: Any, forge: HttpForge) -> Workspaces:
    return Workspaces(world.data_dir, lambda _repo: GitRemote(forge.url, "orch", TOKEN))


def test_over_http_the_token_reaches_the_forge_and_no_argument_environment_or_file(
    world: Any, http_forge: HttpForge, run_git: Callable[..., str]
) -> None:
    spec, workspaces = world.spec(), over_http(world, http_forge)
    workspaces.prepare(spec)
    agents = agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    assert same_work(run_git, world, head, agents)
    workspaces.publish(spec, head)
    workspaces.publish(spec, head)
    assert world.forge.head() == head
    assert http_forge.requests >= 5
    assert all(value.startswith("Basic ") for value in http_forge.authorizations)
    assert http_forge.leaks == []
    secrets = [TOKEN.encode(), next(iter(http_forge.authorizations)).split()[1].encode()]
    files = [path for path in world.root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, Permanent, "forge_refused"),
        (403, Permanent, "forge_refused"),
        (404, Permanent, "repository_missing"),
        (302, Transient, "git_failed"),
        (500, Transient, "git_failed"),
        (503, Transient, "git_failed"),
    ],
)
def test_the_forges_answers_become_errors_that_say_what_to_do(
    world: Any, http_forge: HttpForge, status: int, kind: type[Permanent], code: str
) -> None:
    http_forge.status = status
    with pytest.raises(kind) as error:
        over_http(world, http_forge).prepare(world.spec())
    assert error.value.code == code
    assert error.value.hint
    assert TOKEN not in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize(
    ("status", "code", "pause_s"),
    [(401, "forge_refused", 300.0), (403, "forge_refused", 300.0), (404, "repository_missing", None)],
)
def test_what_a_person_or_time_mends_keeps_a_finished_work_until_it_can_be_pushed(
    world: Any, http_forge: HttpForge, run_git: Callable[..., str], status: int, code: str, pause_s: float | None
) -> None:
    spec, workspaces = world.spec(), over_http(world, http_forge)
    workspaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    http_forge.status = status
    with pytest.raises(Transient) as fault:
        workspaces.publish(spec, head)
    assert (fault.value.code, fault.value.retry_after_s) == (code, pause_s)
    http_forge.status = 200
    workspaces.publish(spec, world.collect(spec, workspaces))
    assert world.forge.head() == head


@pytest.mark.parametrize("words", ["Not allowed to push to protected branch", "Access denied: HTTP 403"])
def test_a_push_that_a_rule_of_the_forge_declines_is_refused_for_good(
    world: Any, http_forge: HttpForge, run_git: Callable[..., str], words: str
) -> None:
    spec, workspaces = world.spec(), over_http(world, http_forge)
    workspaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    hook = world.forge.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho 'Gitea: {words}' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Permanent) as refusal:
        workspaces.publish(spec, head)
    assert refusal.value.code == "push_declined"
    assert words in refusal.value.message


def test_an_unreachable_forge_is_tried_again(world: Any) -> None:
    remote = GitRemote("http://127.0.0.1:9/forge.git", "orch", TOKEN)
    with pytest.raises(Transient):
        Workspaces(world.data_dir, lambda _repo: remote).prepare(world.spec())


async def test_a_forge_that_never_answers_is_given_up(world: Any, eventually: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = GitRemote(f"http://127.0.0.1:{silent.getsockname()[1]}/forge.git", "orch", TOKEN)
        with pytest.raises(Transient) as error:
            Workspaces(world.data_dir, lambda _repo: remote, git=Git(timeout_s=0.5)).prepare(world.spec())
    assert error.value.code == "git_timeout"
    await eventually(lambda: not world.living(), "git and its helpers are gone")


@pytest.mark.parametrize("url", ["ssh://forge/x", "git://forge/x", "ftp://forge/x", "ext://forge/x"])
def test_no_other_protocol_is_spoken(world: Any, url: str) -> None:
    with pytest.raises(Permanent) as error:
        Workspaces(world.data_dir, lambda _repo: GitRemote(url, "orch", TOKEN)).prepare(world.spec())
    assert error.value.code == "bad_remote"


def test_a_remote_never_names_a_command(world: Any) -> None:
    remote = GitRemote(f"ext::touch {world.root}/mark", "orch", "")
    with pytest.raises((Permanent, Transient), match="ext"):
        Workspaces(world.data_dir, lambda _repo: remote).prepare(world.spec())
    assert not (world.root / "mark").exists()


RECORDER = """#!{python} -IS
import os, sys
with open({log!r}, "ab") as log:
    log.write(b"\\0".join(os.fsencode(arg) for arg in sys.argv[1:]) + b"\\n")
os.environ["PATH"] = {path!r}
os.execvp("git", ["git", *sys.argv[1:]])
"""


def test_addresses_paths_and_names_stand_behind_a_separator(
    world: Any, run_git: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, path = world.root / "argv", os.environ["PATH"]
    (world.root / "bin").mkdir()
    recorder = world.root / "bin/git"
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(log), path=path))
    recorder.chmod(0o755)
    spec, workspaces = world.spec(), world.workspaces()
    monkeypatch.setenv("PATH", f"{recorder.parent}:{path}")
    workspaces.prepare(spec)
    agent_commits(run_git, world.paths(spec).workspace)
    head = world.collect(spec, workspaces)
    workspaces.publish(spec, head)
    commands = [line.split("\0") for line in log.read_text().splitlines() if "--git-dir" in line]
    assert len(commands) >= 8
    outside = (str(world.forge.bare), "refs/heads/", f"{world.paths(spec).workspace}/.git")
    for command in commands:
        named = [word for word in command if word.endswith(outside) or (":" in word and "refs/" in word)]
        early = command[: command.index("--")] if "--" in command else command
        assert not [word for word in named if word in early and not word.startswith("--git-dir=")], command


def test_a_token_with_a_line_break_cannot_add_a_setting(world: Any) -> None:
    remote = GitRemote('http://127.0.0.1:9/x"]\n[core]\n sshCommand = x', "orch", TOKEN)
    with pytest.raises(Permanent):
        Workspaces(world.data_dir, lambda _repo: remote).prepare(world.spec())


def test_a_blob_of_the_mirror_is_read_bounded_and_what_is_not_there_is_none(
    world: Any, run_git: Callable[..., str]
) -> None:
    spec, workspaces = world.spec(), world.workspaces()
    assert workspaces.blob(spec.repo, "a" * 40, 10) is None, "there is no mirror yet"
    workspaces.prepare(spec)
    mirror = world.data_dir / "mirrors/acme/shop.git"
    listed = run_git("ls-tree", "-r", str(spec.base_sha), cwd=mirror).splitlines()[0]
    blob = listed.split()[2]
    whole = workspaces.blob(spec.repo, blob, 1000)
    assert whole
    assert workspaces.blob(spec.repo, blob, 2) == whole[:2]
    assert workspaces.blob(spec.repo, "a" * 40, 10) is None
    with pytest.raises(Permanent, match="not a full commit id"):
        workspaces.blob(spec.repo, "--batch", 10)

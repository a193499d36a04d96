"""A run's checkout: made from our own bare mirror, given back through it. What an agent wrote is hostile."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import structlog

from orchestrator.agents import prompt
from orchestrator.agents.claude import user_message
from orchestrator.agents.git import MENDED_BY_OTHERS, Git, check_branch
from orchestrator.agents.results import Results
from orchestrator.agents.rundir import RunPaths, holding
from orchestrator.agents.takeover import account, take_over
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import GitRemote, RepoName, Sha, parse_sha
from orchestrator.domain.roles import TASK_FILES, Language, Role
from orchestrator.domain.run import RunSpec

log = structlog.get_logger()

_FORGE = "refs/remotes/forge"
_ROLE_PROMPT_MAX_BYTES = 64 * 1024
_SHOWN_MAX_BYTES = 1024 * 1024
_HOUSE_RULES = "CLAUDE.md"
_HOUSE_RULES_READ_MAX_BYTES = 512 * 1024
_PACK = ("pack-objects", "--quiet", "--revs", "--delta-base-offset", "--threads=1")
_FETCH = (
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
)


@dataclass(frozen=True, slots=True)
class _Blob:
    """What stands at a path of a commit. Not plain: a link, a folder, a submodule."""

    name: str
    size: int
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Workspaces:
    """Mirrors and checkouts below the data directory. Blocking: call it in a thread.

    `push_remote` tells as whom a role's commits are pushed; without it, as whoever fetches.
    """

    data_dir: Path
    remote: Callable[[RepoName], GitRemote]
    repos_dir: Path | None = None
    git: Git = field(default_factory=Git)
    mirror_wait_s: float = 300.0
    push_remote: Callable[[RepoName, Role], GitRemote] | None = None
    results: Results = field(default_factory=Results)

    def prepare(self, spec: RunSpec) -> None:
        """Holds the run's lock throughout: a shim that a dead orchestrator left on its way cannot start here."""
        paths = RunPaths.of(self.data_dir, spec.run)
        _private_dir(paths.root)
        with holding(paths.lock) as mine:
            if not mine or paths.started.exists() or paths.prepared.exists():
                return
            mirror = self._updated_mirror(spec.repo, spec.base_sha)
            spec = self._taken_over(spec, paths)
            with ThreadPoolExecutor(1, thread_name_prefix="role-prompt") as beside:
                role_prompt = beside.submit(self._role_prompt, mirror, spec)
                self._place(mirror, spec, paths)
            _write_inputs(spec, paths, role_prompt.result())
            paths.prepared.touch(0o600)

    def _taken_over(self, spec: RunSpec, paths: RunPaths) -> RunSpec:
        """With what the earlier attempt left, if it is there; without, and with an account of it, if not."""
        earlier = spec.earlier
        if earlier is None:
            return spec
        old = RunPaths.of(self.data_dir, earlier.run)
        if earlier.base_sha == spec.base_sha and take_over(old, paths, earlier.session_id):
            paths.resumed.touch(0o600)
            return spec
        paths.resumed.unlink(missing_ok=True)
        return replace(spec, earlier=None, history=account(old))

    def collect(self, spec: RunSpec, model: str = "") -> Sha | None:
        """The branch's new head under our names, in the mirror; None when nothing is new. Works for every run that
        was launched, however it ended, when nothing of it is alive any more.
        """
        paths = RunPaths.of(self.data_dir, spec.run)
        return self.results.take(spec, paths, self._mirror(spec.repo), model)

    def publish(self, spec: RunSpec, head: Sha) -> None:
        """Never forced. A head that the forge has already, alone or under newer commits, is published.

        What refuses us as such, and not this push, is Transient: the work is done and paid for, so it is kept.
        """
        try:
            self._push(spec, head)
        except Permanent as refused:
            if refused.code not in MENDED_BY_OTHERS:
                raise
            pause_s = MENDED_BY_OTHERS[refused.code]
            raise Transient(refused.code, refused.message, retry_after_s=pause_s, hint=refused.hint) from refused

    def _push(self, spec: RunSpec, head: Sha) -> None:
        mirror, remote = self._mirror(spec.repo), (self.push_remote or self._any_role)(spec.repo, spec.role)
        target = f"{head}:refs/heads/{check_branch(spec.branch)}"
        try:
            self.git("push", "--quiet", "--no-verify", "--", remote.url, target, git_dir=mirror, remote=remote)
        except Permanent as refused:
            if refused.code != "not_fast_forward" or not self._is_on_forge(spec, head):
                raise

    def changed_paths(self, repo: RepoName, base_branch: str, head: Sha) -> list[str]:
        """Between `head` and where it left the base branch, sorted. Asks the forge only for what is not here."""
        mirror, base = self._mirror(repo), f"{_FORGE}/{check_branch(base_branch)}"
        if not (self._has_commit(mirror, _checked(head)) and self._has_commit(mirror, base)):
            self._updated_mirror(repo, head)
        fork = self._fork(mirror, base, head)
        flags = ("-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv")
        listed = self.git("diff-tree", *flags, "--end-of-options", fork, head, "--", git_dir=mirror).out
        return sorted(path.decode(errors="replace") for path in listed.split(b"\0") if path)

    def blob(self, repo: RepoName, name: str, max_bytes: int) -> bytes | None:
        """The first `max_bytes` of an object that our mirror has; None when it has not. Asks the forge nothing."""
        mirror, wanted = self._mirror(repo), _checked(name)
        if not (mirror / "HEAD").exists():
            return None
        size = self.git("cat-file", "-s", wanted, git_dir=mirror, accept=(0, 1, 128))
        if size.code or int(size.out) > _SHOWN_MAX_BYTES:
            return None
        return self.git("cat-file", "blob", wanted, git_dir=mirror).out[:max_bytes]

    def _fork(self, mirror: Path, base: str, head: Sha) -> Sha:
        if not (self._has_commit(mirror, head) and self._has_commit(mirror, base)):
            raise Transient("head_missing", f"The forge does not show {head} or its base branch yet.")
        answer = self.git("merge-base", base, head, git_dir=mirror, accept=(0, 1))
        if answer.code:
            raise Permanent(
                "unrelated_history",
                f"{head} shares no history with the base branch, so what it changes cannot be told.",
                hint="Somebody rewrote the task's branch or the base branch. Retry the task.",
            )
        return parse_sha(answer.out.decode().strip())

    def _has_commit(self, mirror: Path, name: str) -> bool:
        if not (mirror / "HEAD").exists():
            return False
        wanted = f"{name}^{{commit}}"
        return self.git("rev-parse", "--quiet", "--verify", wanted, git_dir=mirror, accept=(0, 1, 128)).code == 0

    def _is_on_forge(self, spec: RunSpec, head: Sha) -> bool:
        mirror = self._updated_mirror(spec.repo, spec.base_sha)
        return self._is_ancestor(mirror, head, f"{_FORGE}/{spec.branch}")

    def _any_role(self, repo: RepoName, _role: Role) -> GitRemote:
        return self.remote(repo)

    def _mirror(self, repo: RepoName) -> Path:
        return self.data_dir / "mirrors" / repo.owner / f"{repo.name}.git"

    def _updated_mirror(self, repo: RepoName, known: Sha) -> Path:
        """The forge's branches lie apart from ours (`refs/orch`), so that a fetch and a push never meet."""
        mirror, remote = self._mirror(repo), self.remote(repo)
        _private_dir(mirror.parent)
        with _one_at_a_time(mirror.with_suffix(".lock"), self.mirror_wait_s):
            if not (mirror / "HEAD").exists():
                self._create_mirror(mirror, repo, known)
            branches = f"+refs/heads/*:{_FORGE}/*"
            self.git(*_FETCH, "--prune", "--", remote.url, branches, git_dir=mirror, remote=remote)
        return mirror

    def _create_mirror(self, mirror: Path, repo: RepoName, known: Sha) -> None:
        """Made aside and moved into place: a kill half-way leaves nothing that looks finished."""
        fresh = mirror.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        self.git("init", "--quiet", "--bare", "--template=", f"--object-format={_format(known)}", "--", fresh)
        if seed := self._seed(repo):
            self._take_objects(fresh, seed)
        fresh.replace(mirror)

    def _seed(self, repo: RepoName) -> Path | None:
        """The read-only copy that the operator mounted, if there is one."""
        if self.repos_dir is None:
            return None
        names = (f"{repo.owner}/{repo.name}", f"{repo.owner}/{repo.name}.git", repo.name, f"{repo.name}.git")
        found = (self.repos_dir / name for name in names)
        return next((path.resolve() for path in found if path.is_dir()), None)

    def _take_objects(self, mirror: Path, seed: Path) -> None:
        """Only to save traffic: what counts is fetched from the forge, so a bad seed costs time alone."""
        try:
            branches = "+refs/heads/*:refs/seed/*"
            self.git(*_FETCH, "--", seed, branches, git_dir=mirror, trusted=(seed, seed / ".git"))
        except OrchestratorError as fault:
            log.warning("mirror_seed_failed", path=str(seed), code=fault.code, reason=fault.message)

    def _place(self, mirror: Path, spec: RunSpec, paths: RunPaths) -> None:
        if spec.earlier is None:
            self._check_out(mirror, spec, paths)
        else:
            self._require_base(mirror, spec)

    def _check_out(self, mirror: Path, spec: RunSpec, paths: RunPaths) -> None:
        """The branch's history alone, in objects of its own; no remote, no hook, no way back to the mirror."""
        branch = check_branch(spec.branch)
        self._require_base(mirror, spec)
        shutil.rmtree(paths.workspace, ignore_errors=True)
        git_dir = paths.workspace / ".git"
        _lay_out(git_dir, branch, spec.base_sha)
        self._pack(mirror, git_dir, spec.base_sha)
        self.git(f"--work-tree={paths.workspace}", "reset", "--quiet", "--hard", git_dir=git_dir)

    def _pack(self, mirror: Path, git_dir: Path, head: Sha) -> None:
        """By git in the workspace, which sees the mirror's objects meanwhile: it first writes where it stands, and
        the mirror may lie on another file system (gitrepository-layout(5), `objects/info/alternates`).
        """
        borrowed = git_dir / "objects" / "info" / "alternates"
        borrowed.write_text(f"{mirror / 'objects'}\n")
        pack = git_dir / "objects" / "pack" / "pack"
        self.git(*_PACK, "--", pack, git_dir=git_dir, told=f"{head}\n".encode())
        borrowed.unlink()

    def _require_base(self, mirror: Path, spec: RunSpec) -> None:
        """The run was decided on this commit; a branch that no longer has it is another branch."""
        answer = self.git(
            *("merge-base", "--is-ancestor", spec.base_sha, f"{_FORGE}/{spec.branch}"),
            git_dir=mirror,
            accept=(0, 1, 128),
        )
        if answer.code == 128:
            raise Transient("base_missing", f"The forge does not show {spec.base_sha} on {spec.branch!r} yet.")
        if answer.code == 1:
            raise Permanent(
                "branch_rewritten",
                f"The branch {spec.branch!r} no longer holds {spec.base_sha}, on which the run was decided.",
                hint="Somebody rewrote the branch. Retry the task; it starts from the present head.",
            )

    def _role_prompt(self, mirror: Path, spec: RunSpec) -> bytes:
        """From the base branch: an agent could change the ones on its own branch."""
        path = f".openclaw/agents/{spec.role}.md"
        on_base = self._on_base(mirror, spec, path, _HOUSE_RULES)
        found, rules = on_base.get(path), self._house_rules(mirror, spec, on_base.get(_HOUSE_RULES))
        if found is None:
            return default_role_prompt(spec.role, spec.language) + rules
        if not found.is_plain or found.size > _ROLE_PROMPT_MAX_BYTES:
            raise Permanent(
                "bad_role_prompt",
                f"{path} on {spec.base_branch!r} is no plain file of at most {_ROLE_PROMPT_MAX_BYTES} bytes.",
                hint="Correct the file on the base branch, or remove it to use the built-in prompt.",
            )
        own = self._content(mirror, found)
        return own.rstrip() + b"\n" + rules if rules else own

    def _house_rules(self, mirror: Path, spec: RunSpec, found: "_Blob | None") -> bytes:
        """The repository's CLAUDE.md. It was not written for us: one that is a link or huge stops nobody."""
        if found is None or not found.is_plain or found.size > _HOUSE_RULES_READ_MAX_BYTES:
            return b""
        return prompt.house_rules(self._content(mirror, found), spec.language).encode()

    def _on_base(self, mirror: Path, spec: RunSpec, *paths: str) -> dict[str, "_Blob"]:
        """Those of the paths that are there, in one start of git, which takes longer than its work."""
        tree = f"{_FORGE}/{check_branch(spec.base_branch)}"
        listed = self.git("ls-tree", "-z", "-l", tree, "--", *paths, git_dir=mirror).out
        return dict(_entry(line) for line in listed.split(b"\0") if line)

    def _content(self, mirror: Path, found: "_Blob") -> bytes:
        return self.git("cat-file", "blob", found.name, git_dir=mirror).out

    def _is_ancestor(self, mirror: Path, old: str, new: str) -> bool:
        return self.git("merge-base", "--is-ancestor", old, new, git_dir=mirror, accept=(0, 1)).code == 0


def default_role_prompt(role: Role, language: Language) -> bytes:
    """The one that ships, for repositories without their own."""
    return (resources.files("orchestrator.agents") / "prompts" / language / f"{role}.md").read_bytes()


def _entry(line: bytes) -> tuple[str, "_Blob"]:
    """Of `git ls-tree -l`."""
    what, path = line.split(b"\t", 1)
    mode, kind, blob, size = what.split()
    is_plain = kind == b"blob" and mode != b"120000"
    return path.decode(), _Blob(blob.decode(), int(size) if is_plain else 0, is_plain=is_plain)


def _checked(head: str) -> Sha:
    try:
        return parse_sha(head)
    except ValueError as error:
        raise Permanent("bad_commit", f"Nothing was looked up: {error}.") from error


def _format(sha: Sha) -> str:
    return "sha256" if len(sha) == 64 else "sha1"


def _config_text(base: Sha) -> bytes:
    """All that a workspace's repository needs to be read; no remote, no include, no command."""
    version, extension = (1, "[extensions]\n\tobjectFormat = sha256\n") if len(base) == 64 else (0, "")
    core = f"\trepositoryFormatVersion = {version}\n\tbare = false\n\thooksPath = /dev/null\n"
    return f"[core]\n{core}{extension}".encode()


def _lay_out(git_dir: Path, branch: str, head: Sha) -> None:
    """What `git init` and a fetch would make, in a tenth of their time; the objects are still to come."""
    for folder in ("objects/pack", "objects/info", "refs/heads", "info"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
    (git_dir / "packed-refs").write_text(f"{head} refs/heads/{branch}\n")
    (git_dir / "info" / "exclude").write_text("/.task*.md\n")
    _replace_file(git_dir / "config", _config_text(head))


def _write_inputs(spec: RunSpec, paths: RunPaths, role_prompt: bytes) -> None:
    lay_out(paths, role_prompt, user_message(prompt.user_prompt(spec)))
    _write_task_file(paths.workspace / TASK_FILES[spec.role], prompt.task_file(spec).encode())


def lay_out(paths: RunPaths, role_prompt: bytes, message: bytes) -> None:
    """What every run has beside its workspace."""
    for directory in (paths.home, paths.tmp):
        _private_dir(directory)
    if not paths.control.exists():
        os.mkfifo(paths.control, 0o600)
    paths.tether.touch(0o600)
    _replace_file(paths.role, role_prompt)
    _replace_file(paths.prompt, message)


def _replace_file(path: Path, content: bytes) -> None:
    """A new file takes the name, so that a planted link is replaced and never followed."""
    fresh = path.with_name(path.name + ".orch")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    fresh.replace(path)


def _write_task_file(path: Path, content: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        raise Permanent(
            "task_file_taken",
            f"The repository has a directory named {path.name}, where the agent's task file belongs.",
            hint="Rename that directory in the repository.",
        )
    _replace_file(path, content)


def _private_dir(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _one_at_a_time(path: Path, wait_s: float) -> Iterator[None]:
    """Between threads and processes. A dead holder's lock is free at once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + wait_s
    try:
        while not _try_flock(fd):
            if time.monotonic() > until:
                raise Transient("mirror_busy", f"Another run has been updating {path.stem} for {wait_s:g} s.")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

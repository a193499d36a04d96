"""What a run leaves: packed where the agent ran, checked, signed; what was planted there runs nothing of ours."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import errand, packs, rundir, treerules
from orchestrator.agents.errand import Errand
from orchestrator.agents.packs import PackLimits
from orchestrator.agents.results import ResultLimits, Results
from orchestrator.agents.sandboxes import NO_SANDBOX
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import RepoName, Sha
from orchestrator.domain.roles import Role
from orchestrator.domain.run import RunSpec
from orchestrator.qg.globs import path_globs

ZERO = "0" * 40


@dataclass
class Run:
    """A prepared run whose agent this test plays."""

    world: Any
    git: Callable[..., str]
    spec: RunSpec

    @property
    def workspace(self) -> Path:
        return Path(self.world.paths(self.spec).workspace)

    @property
    def mirror(self) -> Path:
        return Path(self.world.data_dir / "mirrors/acme/shop.git")

    def commit(self, name: str = "src/a.py", text: str = "a = 1\n", message: str = "DEMO-1: work") -> Sha:
        (self.workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (self.workspace / name).write_text(text)
        self.git("add", "-f", "--", name, cwd=self.workspace)
        self.git("commit", "-q", "-m", message, cwd=self.workspace)
        return Sha(self.git("rev-parse", "HEAD", cwd=self.workspace))

    def commit_entries(self, *entries: bytes) -> Sha:
        """A commit whose tree is exactly this, as no honest git would make it."""
        raw = b"".join(entry + b"\0" for entry in entries)
        done = subprocess.run(
            ["git", "mktree", "-z", "--missing"], input=raw, cwd=self.workspace, capture_output=True, check=True
        )
        tree = done.stdout.decode().strip()
        commit = self.git("commit-tree", "-p", "HEAD", "-m", "work", tree, cwd=self.workspace)
        self.git("update-ref", f"refs/heads/{self.spec.branch}", commit, cwd=self.workspace)
        return Sha(commit)

    def blob(self, content: bytes = b"x") -> bytes:
        (self.workspace / "blob").write_bytes(content)
        return self.git("hash-object", "-w", "blob", cwd=self.workspace).encode()

    def objects(self) -> str:
        return self.git("count-objects", "-v", cwd=self.mirror) + self.git("for-each-ref", cwd=self.mirror)

    def refused(self, limits: ResultLimits | None = None) -> str:
        """The code; and that the mirror got nothing."""
        before = self.objects()
        with pytest.raises(Permanent) as error:
            self.world.collect(self.spec, limited(self.world, limits or ResultLimits()))
        assert error.value.hint
        assert self.objects() == before
        assert not (self.world.paths(self.spec).root / "result.git").exists()
        return error.value.code


def limited(world: Any, limits: ResultLimits) -> Any:
    return replace(world.workspaces(), results=Results(limits=limits))


@pytest.fixture
def run(world: Any, run_git: Callable[..., str]) -> Run:
    made = Run(world, run_git, world.spec(role=Role.DEVELOPER))
    world.workspaces().prepare(made.spec)
    return made


# --- under whose name


def told_of(run: Run, commit: str, form: str) -> str:
    return run.git("log", "-1", f"--format={form}", commit, cwd=run.mirror)


def test_a_commit_carries_our_names_its_own_date_and_says_which_run_made_it(run: Run) -> None:
    mine = run.commit(message="DEMO-1: work\n\nBecause.")
    run.world.paths(run.spec).digest.write_text("d" * 64)
    head = run.world.collect(run.spec)
    name = "orchestrator developer <developer@orchestrator.invalid>"
    assert told_of(run, head, "%an <%ae>|%cn <%ce>") == f"{name}|{name}"
    dates = run.git("log", "-1", "--format=%at %ct %T %P", mine, cwd=run.workspace)
    assert told_of(run, head, "%at %ct %T %P") == dates
    assert told_of(run, head, "%B").splitlines() == [
        "DEMO-1: work", "", "Because.", "",
        "Orch-Task: DEMO-1", "Orch-Run: 1", "Orch-Role: developer", "Orch-Model: claude-test",
        f"Orch-Prompt-Digest: {'d' * 64}",
    ]  # fmt: skip


FORGED = """DEMO-1: work

Co-authored-by: A Friend <a@example.org>
Orch-Role: reviewer
orch-run : 99
  and more of it
ORCH-ANYTHING: x\x1b[31m\u202e"""


def test_forged_trailers_are_replaced_and_what_cannot_be_seen_goes(run: Run) -> None:
    run.commit(message=FORGED)
    lines = told_of(run, run.world.collect(run.spec), "%B").splitlines()
    assert [line for line in lines if line.lower().startswith("orch-")] == lines[-5:]
    assert lines[:4] == ["DEMO-1: work", "", "Co-authored-by: A Friend <a@example.org>", "Orch-Task: DEMO-1"]
    assert "Orch-Role: developer" in lines
    assert not {"\x1b", "\u202e"} & set("".join(lines))


def test_signing_again_makes_the_same_commits(run: Run) -> None:
    run.commit()
    run.commit("b.txt")
    assert run.world.collect(run.spec) == run.world.collect(run.spec)


def test_a_new_merge_keeps_both_parents_and_commits_of_others_stay_as_they_are(run: Run) -> None:
    git, there = run.git, run.workspace
    git("checkout", "-q", "-b", "side", cwd=there)
    run.commit("side.txt")
    git("checkout", "-q", run.spec.branch, cwd=there)
    run.commit("main.txt")
    git("merge", "-q", "--no-edit", "side", cwd=there)
    head = run.world.collect(run.spec)
    listed = git("log", "--format=%H %an", head, cwd=run.mirror).splitlines()
    assert [line.split(" ", 1)[1] for line in listed] == ["orchestrator developer"] * 3 + ["Test"]
    assert len(told_of(run, head, "%P").split()) == 2
    assert listed[-1].split()[0] == run.spec.base_sha


def test_a_signature_of_the_agents_is_dropped_since_it_would_not_fit_any_more(run: Run) -> None:
    mine = run.commit()
    raw = run.git("cat-file", "commit", mine, cwd=run.workspace)
    head, _, text = raw.partition("\n\n")
    (run.workspace / "raw").write_text(f"{head}\ngpgsig -----BEGIN\n x\n -----END\nencoding KOI8-R\n\n{text}\n")
    forged = run.git("hash-object", "-t", "commit", "-w", "raw", cwd=run.workspace)
    run.git("update-ref", f"refs/heads/{run.spec.branch}", forged, cwd=run.workspace)
    taken = run.git("cat-file", "commit", run.world.collect(run.spec), cwd=run.mirror)
    assert [line.split()[0] for line in taken.split("\n\n")[0].splitlines()] == [
        "tree",
        "parent",
        "author",
        "committer",
    ]


def test_what_people_committed_before_is_not_judged_again(world: Any, run_git: Callable[..., str]) -> None:
    clone, branch = world.forge.clone, world.spec().branch
    old = world.forge.commit(branch, {".gitmodules": '[submodule "x"]\n path = x\n url = y\n update = !z\n'})
    made = Run(world, run_git, world.spec(base_sha=old))
    world.workspaces().prepare(made.spec)
    assert world.collect(made.spec) is None
    made.commit()
    assert world.collect(made.spec)
    assert run_git("rev-parse", "HEAD", cwd=clone) == old


def test_a_branch_set_back_is_refused(world: Any, run_git: Callable[..., str]) -> None:
    made = Run(world, run_git, world.spec(base_sha=world.forge.commit(world.spec().branch, {"a": "1"})))
    world.workspaces().prepare(made.spec)
    run_git("reset", "-q", "--hard", "HEAD~1", cwd=made.workspace)
    assert made.refused() == "no_bundle"


# --- what is refused


def link(run: Run, target: bytes, name: bytes = b"docs") -> None:
    run.commit_entries(b"120000 blob " + run.blob(target) + b"\t" + name)


def nested(run: Run, inner: bytes, folder: bytes = b"a") -> bytes:
    done = subprocess.run(
        ["git", "mktree", "-z", "--missing"],
        input=inner + b"\0",
        cwd=run.workspace,
        capture_output=True,
        check=True,
    )
    return b"040000 tree " + done.stdout.strip() + b"\t" + folder


def named(run: Run, name: bytes) -> None:
    run.commit_entries(b"100644 blob " + run.blob() + b"\t" + name)


def passing(run: Run, then: Callable[[Run], object]) -> None:
    """In a commit that the next one takes back: history is published, too."""
    then(run)
    run.commit_entries(b"100644 blob " + run.blob() + b"\tharmless")


REFUSED: dict[str, tuple[str, Callable[[Run], object]]] = {
    "an absolute link": ("link_leads_outside", lambda run: link(run, b"/etc/passwd")),
    "a link upwards": ("link_leads_outside", lambda run: link(run, b"../../other")),
    "a link that goes down and up": ("link_leads_outside", lambda run: link(run, b"a/../../b")),
    "a link that climbs behind a name": ("link_leads_outside", lambda run: link(run, b"a/../b")),
    "a link into .git": ("link_leads_outside", lambda run: link(run, b".git/hooks")),
    "a link into .GIT": ("link_leads_outside", lambda run: link(run, b".GIT/config")),
    "a huge link": ("link_leads_outside", lambda run: link(run, b"x/" * 90_000)),
    "a link in an earlier commit": ("link_leads_outside", lambda run: passing(run, lambda r: link(r, b"/etc"))),
    "a submodule": ("submodule", lambda run: run.commit_entries(f"160000 commit {'1' * 40}\tlib".encode())),
    "a .gitmodules": ("bad_path", lambda run: named(run, b".gitmodules")),
    "a .GitModules": ("bad_path", lambda run: named(run, b".GitModules")),
    "a file .git": ("bad_objects", lambda run: named(run, b".git")),
    "a file .GIT": ("bad_objects", lambda run: named(run, b".GIT")),
    "a file .g\u200cit": ("bad_objects", lambda run: named(run, ".g\u200cit".encode())),
    "a file git~1": ("bad_objects", lambda run: named(run, b"git~1")),
    "a file git~2": ("bad_path", lambda run: named(run, b"git~2")),
    "a file .git of full width": ("bad_path", lambda run: named(run, "．ｇｉｔ".encode())),
    "a file ..": ("bad_objects", lambda run: named(run, b"..")),
    "a line break": ("bad_path", lambda run: named(run, b"a\nb")),
    "an escape": ("bad_path", lambda run: named(run, b"a\x1b[31mb")),
    "a turned direction": ("bad_path", lambda run: named(run, "a\u202eb".encode())),
    "no UTF-8": ("bad_path", lambda run: named(run, b"a\xff")),
    "a long name": ("bad_path", lambda run: named(run, b"x" * 300)),
    "a long path": (
        "bad_path",
        lambda run: run.commit_entries(deep(run, 8)),
    ),
    "an earlier bad name": ("bad_path", lambda run: passing(run, lambda r: named(r, b"a\nb"))),
    "history rewritten": (
        "not_fast_forward",
        lambda run: run.git(
            *("update-ref", f"refs/heads/{run.spec.branch}"),
            run.git("commit-tree", "-m", "new", "HEAD^{tree}", cwd=run.workspace),
            cwd=run.workspace,
        ),
    ),
    "no branch": ("branch_missing", lambda run: run.git("branch", "-m", "elsewhere", cwd=run.workspace)),
    "a branch that is a tag": (
        "bad_objects",
        lambda run: (run.workspace / f".git/refs/heads/{run.spec.branch}").write_text(tagged(run) + "\n"),
    ),
}


def tagged(run: Run) -> str:
    run.commit()
    run.git("tag", "-a", "-m", "x", "t", cwd=run.workspace)
    return run.git("rev-parse", "t", cwd=run.workspace)


def deep(run: Run, folders: int) -> bytes:
    entry = b"100644 blob " + run.blob() + b"\tf"
    for _ in range(folders):
        entry = nested(run, entry, b"d" * 200)
    return entry


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_this_is_refused_with_a_word_of_what_to_do_and_the_mirror_gets_nothing(run: Run, what: str) -> None:
    code, spoil = REFUSED[what]
    spoil(run)
    assert run.refused() == code


LIMITS: dict[str, tuple[ResultLimits, Callable[[Run], object]]] = {
    "bundle": (ResultLimits(bundle_bytes=20_000), lambda run: run.commit("big", os.urandom(60_000).hex())),
    "unpacked": (ResultLimits(unpacked_bytes=1_000_000), lambda run: run.commit("zeros", "0" * 4_000_000)),
    "files": (ResultLimits(files=3), lambda run: [run.commit(f"f{n}") for n in range(4)]),
    "very many files": (
        ResultLimits(files=1, commits=1),
        lambda run: run.commit_entries(
            *(b"100644 blob " + run.blob() + b"\t" + f"{n:04}".encode() for n in range(40))
        ),
    ),
    "commits": (ResultLimits(commits=2), lambda run: [run.commit(text=str(n)) for n in range(3)]),
}


@pytest.mark.parametrize("what", sorted(LIMITS))
def test_a_result_above_a_limit_is_refused(run: Run, what: str) -> None:
    limits, grow = LIMITS[what]
    grow(run)
    assert run.refused(limits) == "result_too_large"


GOOD_LINKS = (b"a", b"b/c", b".", b"gitignore", b"a/b/c")


@pytest.mark.parametrize("target", GOOD_LINKS)
def test_a_link_within_the_tree_is_taken_over(run: Run, target: bytes) -> None:
    link(run, target)
    assert run.world.collect(run.spec)


def test_a_link_may_climb_as_far_as_it_lies_deep() -> None:
    assert not treerules.leads_outside("a/b/c", b"../../x")
    assert treerules.leads_outside("a/b/c", b"../../../x")
    assert not treerules.leads_outside("a/b/c", b"../..")


@pytest.mark.parametrize(
    "name", ["a b", "план.md", ".gitignore", ".gitattributes", ".gitea/x", "git", "日本", "a:b"]
)
def test_names_of_real_life_are_taken_over(name: str) -> None:
    assert treerules.fault_in_path(name.encode()) is None


def test_what_removes_a_bad_name_is_taken_over(world: Any, run_git: Callable[..., str]) -> None:
    base = world.forge.commit(world.spec().branch, {"bad\nname": "x"})
    made = Run(world, run_git, world.spec(base_sha=base))
    world.workspaces().prepare(made.spec)
    run_git("rm", "-q", "bad\nname", cwd=made.workspace)
    run_git("commit", "-q", "-m", "clean", cwd=made.workspace)
    assert world.collect(made.spec)


def test_protected_paths_are_the_same_for_the_check_and_for_the_gate(run: Run) -> None:
    names = [".gitea/workflows/ci.yml", "sub/.claude/x", "CLAUDE.md", "src/план.py"]
    for name in names:
        run.commit(name)
    head = run.world.collect(run.spec)
    changed = run.world.workspaces().changed_paths(RepoName.parse("acme/shop"), "main", head)
    assert sorted(names) == changed
    protected = path_globs((".gitea/**", "**/.claude/**", "**/CLAUDE.md"))
    assert [one for one in changed if protected.fullmatch(one.casefold())] == sorted(names[:3])


# --- the pack is measured before it is unpacked


def measured(bundle: Path) -> int:
    with bundle.open("rb") as file:
        return packs.unpacked_bytes(file, packs.read_header(file).pack_at, PackLimits(10**9), 20)


def test_a_packs_size_is_what_git_says(run: Run) -> None:
    for number in range(30):
        run.commit("same", "line\n" * (500 + number))
    bundle = run.world.root / "b"
    run.git("bundle", "create", "-q", bundle, run.spec.branch, f"^{run.spec.base_sha}", cwd=run.workspace)
    total = measured(bundle)
    listed = run.git("rev-list", "--objects", "HEAD", f"^{run.spec.base_sha}", cwd=run.workspace)
    names = [line.split()[0] for line in listed.splitlines()]
    sizes = [int(run.git("cat-file", "-s", name, cwd=run.workspace)) for name in names]
    assert total == sum(sizes)


@pytest.mark.parametrize("keep", [0, 5, 20, 60, 100, 200])
def test_a_bundle_that_ends_early_is_refused(run: Run, keep: int) -> None:
    run.commit()
    bundle = run.world.root / "b"
    run.git("bundle", "create", "-q", bundle, run.spec.branch, cwd=run.workspace)
    bundle.write_bytes(bundle.read_bytes()[:keep])
    with pytest.raises(Permanent) as error:
        measured(bundle)
    assert error.value.code == "bad_bundle"


# --- S13: what is planted in .git runs nothing outside the run


def script(run: Run) -> Path:
    """Notes for whom it ran: a process of ours has another HOME than the run's."""
    path = run.world.root / "evil"
    path.write_text(f'#!/bin/sh\necho "$HOME" >> {run.world.root}/mark\nexec cat\n')
    path.chmod(0o755)
    return path


def config(run: Run, text: str) -> None:
    with (run.workspace / ".git/config").open("a") as file:
        file.write(text)


def hooks(run: Run) -> None:
    folder = run.workspace / ".git/hooks"
    folder.mkdir()
    for name in ("pre-push", "post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (folder / name).symlink_to(script(run))
    config(run, f"[core]\n hooksPath = {folder}\n")


def alternates(run: Run) -> None:
    (run.workspace / ".git/objects/info").mkdir(exist_ok=True)
    (run.workspace / ".git/objects/info/alternates").write_text(f"{run.mirror}/objects\n/etc\n")


def moved(run: Run, what: str, how: str) -> None:
    there, real = run.workspace / what, run.workspace.parent / "home" / "real"
    there.rename(real)
    if how == "link":
        there.symlink_to(real)
    else:
        there.write_text(f"gitdir: {real}\n")


def swapped(run: Run, name: str, target: str) -> None:
    path = run.workspace / ".git" / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def device(run: Run, name: str) -> None:
    """One that can be read for ever."""
    path = run.workspace / ".git" / name
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, Path("/dev/zero").stat().st_rdev)
    except PermissionError:
        pytest.skip("only root makes devices")


def filters(run: Run) -> None:
    run.commit(".gitattributes", "* filter=x diff=x merge=x\n")
    config(run, f'[filter "x"]\n clean = {script(run)}\n smudge = {script(run)}\n process = {script(run)}\n')
    config(
        run,
        f'[diff "x"]\n textconv = {script(run)}\n command = {script(run)}\n[merge "x"]\n driver = {script(run)}\n',
    )
    (run.workspace / ".git/info/attributes").write_text("* filter=x diff=x merge=x\n")


def promisor(run: Run) -> None:
    config(
        run, f'[extensions]\n partialClone = evil\n[remote "evil"]\n promisor = true\n url = ext::{script(run)}\n'
    )
    config(run, '[protocol]\n allow = always\n[protocol "ext"]\n allow = always\n')
    done = run.git("rev-parse", "HEAD^{tree}", cwd=run.workspace)
    (run.workspace / f".git/objects/{done[:2]}/{done[2:]}").unlink()


PLANTED: dict[str, Callable[[Run], object]] = {
    "hooks": hooks,
    "fsmonitor": lambda run: config(run, f"[core]\n fsmonitor = {script(run)}\n"),
    "an included config": lambda run: config(run, f"[include]\n path = {planted_file(run)}\n"),
    "commands": lambda run: config(
        run,
        f"[core]\n sshCommand = {script(run)}\n alternateRefsCommand = {script(run)}\n pager = {script(run)}\n"
        f" editor = {script(run)}\n[uploadpack]\n packObjectsHook = {script(run)}\n"
        f"[credential]\n helper = {script(run)}\n[gpg]\n program = {script(run)}\n",
    ),
    "filters": filters,
    "a promisor": promisor,
    "a worktree's config": lambda run: (
        config(run, "[extensions]\n worktreeConfig = true\n[core]\n repositoryFormatVersion = 1\n"),
        (run.workspace / ".git/config.worktree").write_text(f"[core]\n fsmonitor = {script(run)}\n"),
    ),
    "another work tree": lambda run: config(run, "[core]\n worktree = /etc\n"),
    "alternates": alternates,
    "alternates over http": lambda run: (
        (run.workspace / ".git/objects/info").mkdir(exist_ok=True),
        (run.workspace / ".git/objects/info/http-alternates").write_text("http://127.0.0.1:9/\n"),
    ),
    "a common dir": lambda run: (run.workspace / ".git/commondir").write_text(f"{run.mirror}\n"),
    "a linked .git": lambda run: moved(run, ".git", "link"),
    "a .git file": lambda run: moved(run, ".git", "file"),
    "linked objects": lambda run: moved(run, ".git/objects", "link"),
    "a linked config": lambda run: swapped(run, "config", "/etc/passwd"),
    "a linked ref": lambda run: swapped(run, f"refs/heads/{run.spec.branch}", "/etc/passwd"),
    "a linked HEAD": lambda run: swapped(run, "HEAD", "/etc/passwd"),
    "a config that never ends": lambda run: (
        (run.workspace / ".git/config").unlink(),
        os.mkfifo(run.workspace / ".git/config"),
    ),
    "a ref that never ends": lambda run: (
        (run.workspace / f".git/refs/heads/{run.spec.branch}").unlink(),
        os.mkfifo(run.workspace / f".git/refs/heads/{run.spec.branch}"),
    ),
    "a shallow file": lambda run: (run.workspace / ".git/shallow").write_text(f"{ZERO}\n"),
    "grafts": lambda run: (run.workspace / ".git/info/grafts").write_text(run.spec.base_sha + "\n"),
    "replaced objects": lambda run: run.git("replace", "HEAD", run.spec.base_sha, cwd=run.workspace),
    "a link to a device": lambda run: swapped(run, "config", "/dev/zero"),
    "a device for config": lambda run: device(run, "config"),
    "a device for the branch": lambda run: device(run, f"refs/heads/{run.spec.branch}"),
    "a hard link": lambda run: os.link(run.world.root / "victim", run.workspace / ".git/hard"),
}


def planted_file(run: Run) -> Path:
    path = Path(run.workspace / "conf")
    path.write_text(f"[core]\n fsmonitor = {script(run)}\n alternateRefsCommand = {script(run)}\n")
    return path


def taken(run: Run, results: Results) -> tuple[OrchestratorError | None, set[str]]:
    """How it was refused, or which paths arrived."""
    spaces = replace(run.world.workspaces(), results=results)
    try:
        head = run.world.collect(run.spec, spaces)
    except OrchestratorError as fault:
        return fault, set()
    return None, set(spaces.changed_paths(RepoName.parse("acme/shop"), "main", head))


@pytest.mark.parametrize("how", sorted(PLANTED))
def test_what_is_planted_runs_nothing_outside_the_run_and_changes_nothing_else(run: Run, how: str) -> None:
    """Either the work arrives, or it is refused; both in time, with nothing run, changed or left behind."""
    victim = run.world.root / "victim"
    victim.write_text("mine")
    mine = run.commit()
    PLANTED[how](run)
    results = Results(limits=ResultLimits(timeout_s=3.0))
    fault, changed = taken(run, results)
    assert fault is None or (isinstance(fault, Permanent) and fault.hint), fault
    assert changed <= {"src/a.py", ".gitattributes"}, mine
    mark = run.world.root / "mark"
    assert not mark.exists(), mark.read_text()
    assert victim.read_text() == "mine"
    assert run.world.living() == []


RUN_BY_GIT = {
    "fsmonitor": ("status",),
    "hooks": ("update-ref", "refs/heads/other", "HEAD"),
}
"""What was planted, and what makes git run that. To pack commits runs neither today; a git to come may."""


@pytest.mark.parametrize("how", sorted(RUN_BY_GIT))
def test_whatever_git_is_asked_there_runs_neither_fsmonitor_nor_hooks(run: Run, how: str) -> None:
    run.commit()
    run.world.collect(run.spec)
    PLANTED[how](run)
    paths, mark = run.world.paths(run.spec), run.world.root / "mark"
    done = Results()._git_there(paths, "out", 100_000, *RUN_BY_GIT[how])
    assert done.is_well, done.said
    assert not mark.exists()
    subprocess.run(["git", *RUN_BY_GIT[how]], cwd=run.workspace, check=False, capture_output=True)
    assert mark.exists(), "a git that is not told otherwise runs it, so this could have been seen"


# --- the errand


def errands(run: Run, body: str, timeout_s: float = 20.0) -> errand.Done:
    paths = run.world.paths(run.spec)
    if not paths.spec.exists():
        run.commit()
        run.world.collect(run.spec)
    program = run.world.agent(body)
    return errand.run(
        paths,
        Errand([str(program)], {"HOME": str(paths.home)}, paths.root / "out", 1000, timeout_s),
        NO_SANDBOX,
    )


DAEMON = "if os.fork() == 0:\n    os.setsid()\n    os.closerange(0, 50)\n    while True: time.sleep(60)\n"


def test_an_errand_prints_into_a_fresh_file_and_leaves_no_daemon(run: Run) -> None:
    (run.world.paths(run.spec).root / "out").symlink_to(run.world.root / "victim")
    done = errands(run, DAEMON + "print('hello'); sys.exit(3)")
    assert (done.why, done.code) == ("exited", 3)
    assert (run.world.paths(run.spec).root / "out").read_text() == "hello\n"
    assert not (run.world.root / "victim").exists()
    assert run.world.living() == []


def test_an_errand_that_does_not_end_is_ended(run: Run) -> None:
    done = errands(run, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)", 0.5)
    assert (done.why, done.is_well) == ("timed_out", False)
    assert run.world.living() == []


def test_an_errand_cannot_fill_the_disk(run: Run) -> None:
    done = errands(run, "sys.stdout.write('x' * 100_000); sys.stdout.flush()")
    assert not done.is_well
    assert (run.world.paths(run.spec).root / "out").stat().st_size <= 1000


def test_an_errand_never_runs_beside_its_agent(run: Run) -> None:
    run.commit()
    run.world.collect(run.spec)
    with rundir.holding(run.world.paths(run.spec).lock), pytest.raises(Transient) as error:
        errands(run, "ledger('ran')")
    assert error.value.code == "run_busy"
    assert run.world.entries("ran") == []


def test_a_run_that_was_never_launched_left_nothing(world: Any) -> None:
    spec = world.spec()
    world.workspaces().prepare(spec)
    with pytest.raises(Permanent) as error:
        world.workspaces().collect(spec)
    assert error.value.code == "never_launched"


def test_git_of_ours_never_opens_what_the_agent_had(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the errand does, with the run's HOME."""
    log, path = run.world.root / "argv", os.environ["PATH"]
    (run.world.root / "bin").mkdir()
    recorder = run.world.root / "bin/git"
    recorder.write_text(
        f"#!{sys.executable} -IS\nimport os, sys\n"
        f"open({str(log)!r}, 'a').write(os.environ.get('HOME', '') + ' ' + ' '.join(sys.argv) + '\\n')\n"
        f"os.environ['PATH'] = {path!r}\nos.execvp('git', ['git', *sys.argv[1:]])\n"
    )
    recorder.chmod(0o755)
    run.commit()
    monkeypatch.setenv("PATH", f"{recorder.parent}:{path}")
    assert run.world.collect(run.spec)
    lines = log.read_text().splitlines()
    inside = [line for line in lines if str(run.workspace) in line]
    assert inside
    assert all(line.startswith(f"{run.world.paths(run.spec).home} ") for line in inside)

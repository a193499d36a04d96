"""The repository in memory answers as git does: the same people do the same things in two forges."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.sim.gitea import GiteaSim, Repo
from orchestrator.sim.gitea_people import People
from properties.memory_git import MemoryGit, Objects

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FILES = {"README.md": "# Trails\n", "src/a.py": "A = 1\n", "src/deep/b.py": "B = 1\n"}
REPO = "acme/trails"


def forge(root: Path) -> GiteaSim:
    sim = GiteaSim(root, now=lambda: AT)
    sim.add_user("boss", "Boss")
    return sim


def in_memory(root: Path) -> tuple[GiteaSim, MemoryGit]:
    sim = forge(root)
    git = MemoryGit(objects=Objects())
    owner = sim.add_user("acme")
    sim.repos[REPO] = Repo(sim.next_id(), owner, "trails", git, "main", True, sim.stamp())
    return sim, git


@pytest.fixture
def both(tmp_path: Path) -> list[GiteaSim]:
    """The same history in a real repository and in memory."""
    real = forge(tmp_path)
    real.create_repo("acme", "trails", {"x": "x"})
    memory, git = in_memory(tmp_path)
    git.attempt(
        "fast-import",
        stdin=b"commit refs/heads/main\ncommitter acme <acme@example.test> %d +0000\n"
        b'data 15\nInitial commit\n\nM 100644 inline "x"\ndata 1\nx\n' % int(AT.timestamp()),
    )
    for sim in (real, memory):
        people = People(sim)
        people.commit(REPO, "main", FILES, "boss")
        people.commit(REPO, "work", {"src/a.py": "A = 2\n", 'odd "name".txt': "?\n"}, "boss", "Work\n\nWhy not.\n")
        people.commit(REPO, "work", {"tasks/E-1/BRD.md": "# Goal\n"}, "boss")
        people.rewrite(REPO, "work", {"tasks/E-1/BRD.md": "# Goals\n"}, "boss")
        people.commit(REPO, "main", {"src/deep/b.py": "B = 2\n"}, "boss")
        people.commit(REPO, "clash", {"src/deep/b.py": "B = 3\n"}, "boss")
        people.commit(REPO, "main", {"src/deep/b.py": "B = 4\n"}, "boss")
    return [real, memory]


def test_the_same_acts_make_the_same_commits(both: list[GiteaSim]) -> None:
    real, memory = (sim.repos[REPO].git for sim in both)
    assert real.refs() == memory.refs()
    assert len(real.refs()) == 3


def test_what_the_simulator_asks_is_answered_alike(both: list[GiteaSim]) -> None:
    real, memory = (sim.repos[REPO].git for sim in both)
    heads = {name: real.branch(name) or "" for name in ("main", "work", "clash")}
    for head in heads.values():
        for path in ("", "src", "src/", "src/a.py", "tasks/E-1", "tasks/E-1/", "none"):
            assert real.tree(head, path) == memory.tree(head, path), path
        assert real.blob(head, "src/a.py") == memory.blob(head, "src/a.py")
        assert real.blob(head, "src") == memory.blob(head, "src")
        assert real.log(head, 10) == memory.log(head, 10)
        shown = (
            "log",
            "-1",
            "--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%cI%x00%B",
            "--end-of-options",
            head,
            "--",
        )
        assert real.run(*shown) == memory.run(*shown)
        flags = ("-r", "--root", "--no-commit-id", "--name-status", "--no-renames", "-z")
        assert real.run("diff-tree", *flags, "--end-of-options", head) == memory.run("diff-tree", *flags, head)
        for other in heads.values():
            base = ("merge-base", "--end-of-options", head, other)
            assert real.run(*base) == memory.run(*base)
            assert real.merged_tree(head, other) == memory.merged_tree(head, other)
            span = ("rev-list", "--count", "--end-of-options", f"{head}..{other}", "--")
            assert real.run(*span) == memory.run(*span)
    assert real.merged_tree(heads["main"], heads["clash"]) is None
    for name in (*heads, *heads.values(), "none", "a..b"):
        assert real.commit_of(name) == memory.commit_of(name)


def test_a_patch_changes_when_gits_does(both: list[GiteaSim]) -> None:
    people = [People(sim) for sim in both]
    for one in people:
        one.force_push(REPO, "rebased", one.commit(REPO, "again", {"src/a.py": "A = 2\n"}, "boss"), "boss")
        one.commit(REPO, "again", {"src/a.py": "A = 3\n"}, "boss")
    heads = both[0].repos[REPO].git.refs("refs/heads/").values()
    alike = [
        {(one, two) for one in heads for two in heads if git.patch("main", one) == git.patch("main", two)}
        for git in (sim.repos[REPO].git for sim in both)
    ]
    assert alike[0] == alike[1]


def test_refs_move_and_are_refused_alike(both: list[GiteaSim]) -> None:
    for sim in both:
        git = sim.repos[REPO].git
        work, zeros = git.branch("work") or "", "0" * 40
        assert git.attempt("update-ref", "refs/heads/new", work, zeros).returncode == 0
        assert git.attempt("update-ref", "refs/heads/new", work, zeros).returncode != 0
        git.run("update-ref", "-d", "refs/heads/new")
        assert git.branch("new") is None
        assert git.run("rev-parse", "refs/heads/work^").decode().strip() == git.log(work, 2)[1]


def test_a_pull_request_is_merged_alike(both: list[GiteaSim]) -> None:
    merged = []
    for sim in both:
        repo = sim.repos[REPO]
        tree = repo.git.merged_tree(repo.git.branch("main") or "", repo.git.branch("work") or "")
        assert tree
        merged.append(
            People(sim)._merge_commit(
                repo, tree, (repo.git.branch("main"), repo.git.branch("work")), sim.users["boss"]
            )
        )
    assert merged[0] == merged[1]

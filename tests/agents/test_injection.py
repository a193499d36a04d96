"""S14: 500 hostile texts and names: nothing runs, is read, becomes an option or leaves its place."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import counted
from agents.corpus import EACH, KINDS, Payload, corpus
from orchestrator.agents import claude, prompt, verdict
from orchestrator.agents.claude import user_message
from orchestrator.agents.git import check_branch
from orchestrator.agents.rundir import RunPaths
from orchestrator.domain.errors import OrchestratorError, Permanent
from orchestrator.domain.model import GitRemote, RepoName
from orchestrator.domain.roles import TASK_FILES, Role
from orchestrator.domain.run import Feedback, RunSpec
from orchestrator.forges.gitea import Gitea
from orchestrator.workflow.names import branch_name

SESSION = "61f5cf0c-1556-4498-a782-ec9aaa8e1c8c"
ITEM, FEEDBACK = (f"UNTRUSTED {kind} {SESSION}" for kind in ("TEXT", "FEEDBACK"))
MARK, SECRET = "/tmp/never-made-by-a-text", "/etc/hostname"
ALL = list(corpus(MARK, SECRET))


def of(*kinds: str) -> list[Payload]:
    return [one for one in ALL if one.kind in kinds]


def test_the_corpus_is_five_hundred_and_every_category_is_in_every_kind() -> None:
    numbers = Counter((one.kind, one.category) for one in ALL)
    counted.said(f"{len(ALL)} payloads, {len({one.text for one in ALL})} of them different")
    assert len(ALL) == 500
    assert {kind: sum(count for (of_kind, _), count in numbers.items() if of_kind == kind) for kind in KINDS} == (
        dict.fromkeys(KINDS, EACH)
    )
    assert len(numbers) == len(KINDS) * len({one.category for one in ALL})
    assert list(corpus(MARK, SECRET)) == ALL


def told_with(spec: RunSpec, one: Payload) -> RunSpec:
    match one.kind:
        case "title":
            return replace(spec, title=one.text)
        case "description":
            return replace(spec, brief=one.text, instructions=one.text)
        case _:
            said = Feedback("review_rejected", one.text, one.text, one.text)
            return replace(spec, feedback=(said, replace(said, code=one.text[:60])))


def outside(text: str) -> str:
    """Of a task file all but the marked blocks, each closed by its own mark, and the codes of feedback."""
    for mark in (ITEM, FEEDBACK):
        begins, ends = text.count(f"<<< BEGIN {mark}\n"), text.count(f"\n>>> END {mark}\n")
        assert begins == ends == text.count(mark) / 2
        text = re.sub(rf"<<< BEGIN {mark}\n.*?\n>>> END {mark}\n", "", text, flags=re.DOTALL)
    return re.sub(r"^### 2\. [a-z][a-z0-9_]{0,59}: ", "### 2. ", text, flags=re.MULTILINE)


@pytest.fixture
def spec(world: Any) -> RunSpec:
    made: RunSpec = world.spec(session_id=SESSION, title="t", brief="b", branch="feature/x")
    return made


def test_a_text_stays_within_its_marks_and_nothing_unseen_is_left_in_it(spec: RunSpec) -> None:
    """Titles, descriptions and comments: 300."""
    plain = {kind: outside(prompt.task_file(told_with(spec, Payload(kind, "", "harmless")))) for kind in KINDS[:3]}
    for one in of("title", "description", "comment"):
        text = prompt.task_file(told_with(spec, one))
        left = [line for line in outside(text).splitlines() if "Removed from it" not in line and "cut" not in line]
        assert left == [line for line in plain[one.kind].splitlines() if "cut" not in line], one
        assert prompt.clean(text)[1] == 0, one
        assert len(text) < 250_000
        if one.category == "invisible" and one.text != prompt.clean(one.text)[0].replace("\n", "\r\n"):
            assert prompt.clean(one.text)[1] == 0 or "Removed from it" in text, one


def test_no_text_reaches_the_command_and_the_prompt_stays_one_record_that_the_cli_takes_as_it_is(
    spec: RunSpec, world: Any
) -> None:
    paths = RunPaths.of(world.data_dir, spec.run)
    lines = prompt.user_prompt(spec).splitlines()
    for role in Role:
        expected = claude.argv("/cli", SESSION, paths.role, spec.limits, "m", verdict.schema(role))
        for one in of("title", "description", "comment"):
            told = replace(told_with(spec, one), role=role)
            argv = claude.argv("/cli", told.session_id, paths.role, told.limits, "m", verdict.schema(role))
            assert argv == expected
            record = json.loads(raw := user_message(prompt.user_prompt(told)))
            assert raw.count(b"\n") == 1
            assert (record["client_composed"], record["type"]) == (True, "user")
            said = record["message"]["content"][0]["text"]
            assert said.splitlines()[:2] == [lines[0].replace("analyst", role), lines[1]], one
            if one.kind != "description":
                assert one.text.strip() not in said or len(one.text.strip()) < 3, one


def test_a_hostile_title_makes_a_harmless_branch() -> None:
    for one in ALL:
        name = branch_name("DEMO-1", one.text)
        assert re.fullmatch(r"feature/DEMO-1(-[a-z0-9]+)*", name), one
        assert check_branch(name) == name


def test_a_repository_name_never_leaves_its_folder_or_its_place_in_an_address(world: Any) -> None:
    forge, taken = Gitea("http://git.example.org/sub", "token", timeout_s=1), 0
    mirrors = world.data_dir / "mirrors"
    for one in of("repository"):
        for text in (one.text, f"acme/{one.text}", f"{one.text}/shop"):
            try:
                repo = RepoName.parse(text)
            except ValueError:
                continue
            taken += 1
            path = Path(os.path.normpath(world.workspaces()._mirror(repo)))
            assert path.parent.parent == mirrors, one
            assert forge.remote(repo).url == f"http://git.example.org/sub/{text}.git"
            assert not {"@", ":", "?", "#", "%", "\\", " "} & set(text), one
    counted.said(f"{taken} of {3 * EACH} names are names of repositories")


RECORDER = """#!{python} -IS
import os, sys
with open({log!r}, "ab") as log:
    log.write(b"\\0".join(os.fsencode(arg) for arg in sys.argv[1:]) + b"\\n")
os.environ["PATH"] = {path!r}
os.execvp("git", ["git", *sys.argv[1:]])
"""


EVERY = [pytest.param(1, marks=[pytest.mark.nightly, pytest.mark.timeout(900)]), 4]


@pytest.mark.parametrize("every", EVERY)
def test_a_branch_name_is_refused_or_is_only_a_name(
    world: Any, run_git: Callable[..., str], monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """What is accepted goes all the way: made on the forge, checked out, collected and pushed."""
    mark, log, path = world.root / "mark", world.root / "argv", os.environ["PATH"]
    names = {one.text for one in corpus(str(mark), SECRET) if one.kind == "branch"}
    accepted = sorted(filter(is_accepted, names))
    counted.said(f"{len(accepted)} of {len(names)} names are branch names; each of {every} is tried")
    accepted = accepted[::every]
    (world.root / "bin").mkdir()
    recorder = world.root / "bin/git"
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(log), path=path))
    recorder.chmod(0o755)
    for number, name in enumerate(accepted, 1):
        run_git("push", "-q", world.forge.bare, f"HEAD:refs/heads/t{number}/{name}", cwd=world.forge.clone)
        spec = world.spec(number, branch=f"t{number}/{name}", base_sha=world.forge.head("main"))
        with monkeypatch.context() as patched:
            patched.setenv("PATH", f"{recorder.parent}:{path}")
            goes_all_the_way(world, run_git, spec)
    hostile = {f"t{number}/{name}" for number, name in enumerate(accepted, 1)}
    for line in log.read_text().splitlines():
        for word in line.split("\0"):
            if any(name in word for name in hostile):
                assert word.startswith(("refs/", "+refs/", "--initial-branch=")) or ":refs/heads/" in word, word
    assert not mark.exists()
    assert not list(world.root.rglob("never-made*"))
    assert {item.name for item in world.root.iterdir()} == {"forge", "data", "bin", "argv"}


def is_accepted(name: str) -> bool:
    try:
        return check_branch(name) == name
    except Permanent:
        return False


def goes_all_the_way(world: Any, run_git: Callable[..., str], spec: RunSpec) -> None:
    workspaces = world.workspaces()
    workspaces.prepare(spec)
    there = world.paths(spec).workspace
    (there / "new").write_text("x")
    run_git("add", "new", cwd=there)
    run_git("commit", "-q", "-m", "work", cwd=there)
    head = world.collect(spec, workspaces)
    workspaces.publish(spec, head)
    assert world.forge.head(spec.branch) == head


def test_hostile_texts_are_written_into_the_run_and_nowhere_else(world: Any) -> None:
    """The real files of every tenth text, with the forge's remote as it is."""
    before = sorted(path.name for path in world.root.iterdir())
    for number, one in enumerate(of("title", "description", "comment")[::10], 1):
        spec = told_with(world.spec(number), one)
        world.workspaces().prepare(spec)
        paths = world.paths(spec)
        assert (paths.workspace / TASK_FILES[spec.role]).read_text() == prompt.task_file(spec)
        assert {path.name for path in paths.workspace.iterdir()} == {".git", ".task.md", "README.md"}
    assert sorted(path.name for path in world.root.iterdir()) == sorted({*before, "data"})
    assert not Path(MARK).exists()


@pytest.mark.parametrize("url", [one.text for one in of("repository") if one.category == "address"])
def test_an_address_is_never_a_command(world: Any, url: str) -> None:
    remote = GitRemote(url, "orch", "")
    with pytest.raises(OrchestratorError):
        replace(world.workspaces(), remote=lambda _repo: remote).prepare(world.spec())
    assert not (world.root / "x").exists()

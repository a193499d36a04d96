"""S14: whatever a repository, branch, path or commit is called, the request goes to its place or nowhere."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import pytest

from orchestrator.domain.errors import OrchestratorError, Permanent
from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges import places

REPO = RepoName("acme", "enduro-trails")
PARTS = (
    *("..", ".", "", "%2e%2e", "%2E.", "..%2f", "..\\", "..;", "~", "-", "--upload-pack=x", "-x", "@", "a@{0}"),
    *("$(id)", "`id`", ";id", "|id", "&&id", "\x00", "\n", "\r\nHost: evil", "\x1b[0m", "\u202e", "\udcff"),
    *("?x=1", "#frag", "a?b#c", "a:b", "http://evil/", "//evil", "a b", "a..b", "a.lock", ".git", "*", "[a]"),
    *("....//", "..;/", "%c0%ae%c0%ae", "%u002e", "..%00/", "file:///etc/passwd", "ssh://-oProxyCommand=id/x"),
    *("ext::sh -c id", "{id}", "$IFS$9id", "%(id)", "<id", ">x", "'", '"', "\\", "\t", "\x7f", "\u200b", "\ufeff"),
    *("merge", "branches", "user", "admin", "hooks", "%00", "%0a", "%252e%252e", "\uff0e\uff0e", "я", "x" * 300),
)
SHAPES = (
    "{0}",
    "{0}/x",
    "x/{0}",
    "x/{0}/y",
    "{0}/{0}/{0}/user",
    "x/{0}/../../../../user",
    "feature/{0}",
    "{0}.md",
)
CORPUS = sorted({shape.format(part) for shape, part in itertools.product(SHAPES, PARTS)})
SHA = Sha("a" * 40)


def test_the_corpus_is_a_corpus() -> None:
    assert len(CORPUS) >= 500


@pytest.mark.parametrize("make", [places.of_branch, places.of_path])
def test_a_name_that_passes_is_its_own_place(make: Callable[[str], str]) -> None:
    passed = 0
    for name in CORPUS:
        try:
            place = make(name)
        except Permanent:
            continue
        passed += 1
        assert place.isascii()
        assert not set(place) & set("?#\\ \x00\n\r")
        assert unquote(place) == name
        assert all(part not in {"", ".", ".."} for part in place.split("/"))
    assert 30 < passed < len(CORPUS)


def test_a_repository_is_owner_and_name_and_nothing_else() -> None:
    for part in PARTS:
        for repo in (RepoName(part, "x"), RepoName("acme", part)):
            try:
                assert places.of_repo(repo) == f"repos/{repo.owner}/{repo.name}"
            except Permanent:
                continue
            assert repo.owner.strip(".")
            assert repo.name.strip(".")
            assert set(f"{repo.owner}{repo.name}") <= set(
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
            )
            assert "/" not in repo.owner + repo.name


@pytest.mark.parametrize("sha", ["", "HEAD", "a" * 39, "A" * 40, "a" * 40 + "\n", "../" + "a" * 40, "main?ref=x"])
def test_a_commit_is_a_full_object_name(sha: str) -> None:
    with pytest.raises(Permanent):
        places.of_commit(sha)


def uses(gitea: Any, name: str) -> list[Callable[[], Awaitable[object]]]:
    """Every call of the port that puts a name of others into an address."""
    return [
        lambda: gitea.branch(REPO, name),
        lambda: gitea.rules(REPO, name),
        lambda: gitea.files(REPO, name, SHA),
        lambda: gitea.file(REPO, name, SHA, max_bytes=10),
        lambda: gitea.pull_request(REPO, name, "feature/x"),
        lambda: gitea.pull_request(REPO, "main", name),
        lambda: gitea.checks(REPO, Sha(name)),
        lambda: gitea.set_status(REPO, Sha(name), name, CheckState.PENDING, "", name),
        lambda: gitea.review(REPO, 1, Sha(name), ReviewState.APPROVED, name),
        lambda: gitea.branch(RepoName("acme", name), "main"),
    ]


async def test_no_request_of_the_adapter_leaves_its_place(forge: Any) -> None:
    forge.sim.calls.clear()
    for name in CORPUS[::4]:
        for use in uses(forge.orchestrator, name):
            try:
                await use()
            except (OrchestratorError, UnicodeEncodeError):
                continue
    await forge.guest.whoami()
    seen = {call.path for call in list(forge.sim.calls)}
    inside = ("/api/v1/repos/acme/enduro-trails/", "/api/v1/repos/acme/")
    assert len(seen) > 50
    assert {path for path in seen if not path.startswith(inside)} <= {"/api/v1/user", "/api/v1/version"}
    assert not [path for path in seen if {"..", "."} & set(path.split("/"))]
    assert {call.method for call in list(forge.sim.calls)} == {"GET"}

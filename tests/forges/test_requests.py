"""The closed list of what the adapter may ever send: no merge, no deletion, and nothing that nobody thought of."""

import ast
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.forge import Check, CheckState, Review, ReviewState
from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges.gitea import Gitea
from support import ROOT

REPO = RepoName("acme", "enduro-trails")
SHA, NUMBER, NAME = r"[0-9a-f]{40}", r"[0-9]+", r"[^?#]+"
ALLOWED = {
    "GET /user",
    "GET /version",
    f"GET /branches/{NAME}",
    "POST /branches",
    f"GET /contents/{NAME}",
    f"GET /raw/{NAME}",
    "GET /pulls",
    f"GET /pulls/[^/]+/{NAME}",
    "POST /pulls",
    f"GET /pulls/{NUMBER}",
    f"GET /pulls/{NUMBER}/reviews",
    f"POST /pulls/{NUMBER}/reviews",
    f"GET /pulls/{NUMBER}/reviews/{NUMBER}/comments",
    f"GET /commits/{SHA}/status",
    f"POST /statuses/{SHA}",
    f"GET /issues/{NUMBER}/comments",
    f"POST /issues/{NUMBER}/comments",
    f"PATCH /issues/comments/{NUMBER}",
    "GET /actions/runs",
    f"GET /actions/runs/{NUMBER}/jobs",
    f"GET /actions/jobs/{NUMBER}/logs",
}
SOURCES = sorted((ROOT / "src" / "orchestrator" / "forges").glob("*.py"))


async def watch(gitea: Gitea, sent: set[str]) -> None:
    """Notes what leaves the process, before any server has a say."""

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        path = request.url.path.removeprefix("/api/v1").removeprefix(f"/repos/{REPO}")
        sent.add(f"{request.method} {path}")
        return await handler(request)

    (await gitea._api._rest.wire.session())._middlewares = (note,)


async def live_through(forge: Any, gitea: Gitea) -> None:
    """Every public method, on the ways that a task takes."""
    await gitea.whoami()
    await gitea.capabilities()
    gitea.remote(REPO)
    await gitea.create_branch(REPO, "feature/x", "main")
    await gitea.create_branch(REPO, "feature/x", "main")
    await gitea.rules(REPO, "main")
    at = forge.commit({"tasks/E-1/BRD.md": "# BRD\n", "big.bin": b"b" * (11 * 1024 * 1024)})
    await gitea.branch(REPO, "feature/x")
    await gitea.files(REPO, "tasks/E-1", at)
    await gitea.file(REPO, "big.bin", at, max_bytes=10)
    await gitea.pull_request(REPO, "main", "feature/x")
    await gitea.pull_request_from(REPO, "feature/x")
    pull = (await gitea.open_pull_request(REPO, "main", "feature/x", "t", "b")).number
    await gitea.open_pull_request(REPO, "main", "feature/x", "t", "b")
    await gitea.review(REPO, pull, at, ReviewState.COMMENTED, "so")
    await gitea.review(REPO, pull, at, ReviewState.APPROVED, "so")
    (first, *_) = await gitea.reviews(REPO, pull)
    await gitea.review_comments(REPO, pull, first)
    for state in CheckState:
        await gitea.set_status(REPO, at, "orchestrator/gate", state, "d", "")
    context = forge.people.run_job(str(REPO), at, "test", "failure", b"log\n")
    checks = {check.context: check for check in await gitea.checks(REPO, at)}
    assert await gitea.check_log(REPO, checks[context]) == "log"
    for text in ("one", "two"):
        await gitea.pull_comment(REPO, pull, "m", text)
    forge.people.merge(str(REPO), pull, "boss")
    await gitea.review(REPO, pull, at, ReviewState.COMMENTED, "late")
    await gitea.pull_request(REPO, "main", "feature/x")
    await gitea.pull_request(REPO, "release/1", "feature/x")


async def test_nothing_is_sent_that_is_not_on_the_closed_list(forge: Any) -> None:
    sent: set[str] = set()
    await watch(forge.orchestrator, sent)
    await live_through(forge, forge.orchestrator)
    unknown = {one for one in sent if not any(re.fullmatch(pattern, one) for pattern in ALLOWED)}
    assert unknown == set()
    unused = {pattern for pattern in ALLOWED if not any(re.fullmatch(pattern, one) for one in sent)}
    assert unused == set(), "the list promises more than the adapter does"


async def test_what_is_sent_under_any_answer_is_on_the_list(forge: Any) -> None:
    """Also with a server that is down, or refuses: no fallback sends something else."""
    sent: set[str] = set()
    await watch(forge.guest, sent)
    sha, check = (
        Sha("a" * 40),
        Check("c", CheckState.FAILURE, "x", url="https://x/acme/enduro-trails/actions/runs/1/jobs/0"),
    )
    review = Review(5, "x", ReviewState.CHANGES_REQUESTED, sha, False, True, False)
    uses = {
        "branch": (REPO, "b"), "create_branch": (REPO, "b", "main"), "rules": (REPO, "main"),
        "files": (REPO, "f", sha), "pull_request": (REPO, "main", "b"), "pull_request_from": (REPO, "b"),
        "open_pull_request": (REPO, "main", "b", "t", "x"), "reviews": (REPO, 1),
        "review": (REPO, 1, sha, ReviewState.APPROVED, "x"), "checks": (REPO, sha), "check_log": (REPO, check),
        "review_comments": (REPO, 1, review),
        "set_status": (REPO, sha, "c", CheckState.PENDING, "d", ""), "pull_comment": (REPO, 1, "m", "x"),
    }  # fmt: skip
    for is_down in (False, True):
        forge.sim.down = is_down
        for name, arguments in uses.items():
            try:
                await getattr(forge.guest, name)(*arguments)
            except OrchestratorError:
                continue
    assert {one for one in sent if not any(re.fullmatch(pattern, one) for pattern in ALLOWED)} == set()
    assert replace(check, url="")


def test_every_public_method_takes_part() -> None:
    known = {name for name, _ in inspect.getmembers(Gitea, inspect.isfunction) if not name.startswith("_")}
    lived = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(live_through)))
        if isinstance(node, ast.Attribute)
    }
    assert known - lived == {"aclose", "version"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_word_of_merging_or_deleting_stands_in_an_adapter(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "/merge" not in node.value
            assert node.value.upper() not in {"DELETE", "PUT"}
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"delete", "put", "request", "_http"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_method_is_always_written_out(path: Path) -> None:
    """So that the rule above sees all of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
            first = node.args[0]
            assert isinstance(first, ast.Constant)
            assert first.value in {"GET", "POST", "PATCH"}

"""Garbage with a good status, or a 404 of somebody else's, in place of each answer that the adapter waits for."""

import inspect
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from crossing import GARBAGE, Garbler
from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges.gitea import Gitea
from orchestrator.sim.server import LoopbackServer

REPO = RepoName("acme", "enduro-trails")
FILE = "tasks/E-1/BRD.md"
Call = Callable[[Gitea, Sha, int], Coroutine[Any, Any, object]]


async def at_lines(gitea: Gitea, _at: Sha, pull: int) -> object:
    first, *_ = await gitea.reviews(REPO, pull)
    return await gitea.review_comments(REPO, pull, first)


EVERY_CALL: list[Call] = [
    lambda gitea, at, pull: gitea.whoami(),
    lambda gitea, at, pull: gitea.version(),
    lambda gitea, at, pull: gitea.capabilities(),
    lambda gitea, at, pull: gitea.branch(REPO, "feature/x"),
    lambda gitea, at, pull: gitea.create_branch(REPO, "feature/x", "main"),
    lambda gitea, at, pull: gitea.create_branch(REPO, f"feature/{uuid4()}", "main"),
    lambda gitea, at, pull: gitea.rules(REPO, "main"),
    lambda gitea, at, pull: gitea.files(REPO, "tasks/E-1", at),
    lambda gitea, at, pull: gitea.files(REPO, "nowhere", at),
    lambda gitea, at, pull: gitea.file(REPO, FILE, at, max_bytes=100),
    lambda gitea, at, pull: gitea.pull_request(REPO, "main", "feature/x"),
    lambda gitea, at, pull: gitea.pull_request(REPO, "release/1", "feature/x"),
    lambda gitea, at, pull: gitea.pull_request_from(REPO, "feature/x"),
    lambda gitea, at, pull: gitea.open_pull_request(REPO, "main", "feature/x", "t", "b"),
    lambda gitea, at, pull: gitea.open_pull_request(REPO, "main", "feature/y", "t", "b"),
    lambda gitea, at, pull: gitea.reviews(REPO, pull),
    lambda gitea, at, pull: gitea.review(REPO, pull, at, ReviewState.COMMENTED, str(uuid4())),
    at_lines,
    lambda gitea, at, pull: gitea.checks(REPO, at),
    lambda gitea, at, pull: gitea.set_status(REPO, at, "orchestrator/gate", CheckState.PENDING, "d", ""),
    lambda gitea, at, pull: gitea.pull_comment(REPO, pull, "m", "one"),
    lambda gitea, at, pull: gitea.pull_comment(REPO, pull, "m", "two"),
]


@pytest.mark.parametrize("sim", [{}, {"flavour": "forgejo"}], ids=["gitea", "forgejo"], indirect=True)
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_no_garbage_is_taken_for_an_answer_to_any_request(forge: Any, garbage: bytes) -> None:
    """Not for "there is nothing", and not for "it is done"."""
    await believes_nothing(forge, Garbler(forge.sim.app, garbage))


FOREIGN_404 = {
    "traefik": b"404 page not found\n",
    "nginx": b"<html><title>404 Not Found</title></html>",
    "nothing": b"",
    "other-json": b'{"message": "no Route matched with those values"}',
    "other-url": b'{"message": "not found", "url": "https://status.example.test/"}',
    "a-list": b"[]",
    "no-text": b'{"message": "\xff", "url": "/api/swagger"}',
}


@pytest.mark.parametrize("sim", [{}, {"flavour": "forgejo"}], ids=["gitea", "forgejo"], indirect=True)
@pytest.mark.parametrize("words", FOREIGN_404.values(), ids=FOREIGN_404)
async def test_no_404_of_a_proxy_is_taken_for_not_there(forge: Any, words: bytes) -> None:
    await believes_nothing(forge, Garbler(forge.sim.app, words, 404))


async def believes_nothing(forge: Any, garbler: Garbler) -> None:
    at, pull = forge.commit({FILE: "# BRD\n"}), await forge.pull()
    forge.commit({"y.txt": "y\n"}, "feature/y")
    with LoopbackServer(garbler) as server:

        async def anew(call: Call) -> None:
            gitea = Gitea(server.url, forge.sim.add_token("orchestrator"))
            async with aclosing(gitea):
                await call(gitea, at, pull)

        for call in EVERY_CALL:
            assert await garbler.faults(partial(anew, call)) == {"gitea_odd_answer"}


def test_every_method_that_asks_takes_part() -> None:
    """But a failed job's log, which is only for reading: what looks like none is none."""
    known = {name for name, one in vars(Gitea).items() if inspect.iscoroutinefunction(one) and name[0] != "_"}
    called = {name for call in EVERY_CALL for name in call.__code__.co_names}  # type: ignore[attr-defined]
    assert known - called == {"aclose", "check_log"}

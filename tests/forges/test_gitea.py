"""The Gitea adapter against the simulator that passes the contract tests: who we are, branches, the remote."""

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from forges.conftest import Stub
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges.gitea import Gitea
from orchestrator.pace import Timing
from orchestrator.sim.gitea import GiteaSim
from orchestrator.sim.server import LoopbackServer

REPO = RepoName("acme", "enduro-trails")
BRANCH = "feature/ENDURO-1-a/b#c%20"


async def test_it_knows_who_we_are_and_whom_it_talks_to(gitea: Gitea) -> None:
    assert await gitea.whoami() == "orchestrator"
    assert await gitea.version()


async def test_a_branch_is_made_once_and_found_again(gitea: Gitea, sim: GiteaSim) -> None:
    assert await gitea.branch(REPO, BRANCH) is None
    made = await gitea.create_branch(REPO, BRANCH, "main")
    assert made.head == sim.head(str(REPO), "main")
    assert await gitea.create_branch(REPO, BRANCH, "main") == made
    assert await gitea.branch(REPO, BRANCH) == made


@pytest.mark.parametrize("repo", [RepoName("acme", "none"), RepoName("acme", "empty")])
async def test_a_repository_that_is_not_there_or_empty_is_said(gitea: Gitea, repo: RepoName) -> None:
    with pytest.raises(Permanent) as refusal:
        await gitea.create_branch(repo, "x", "main")
    assert "orchestrator.yaml" in refusal.value.hint


async def test_a_base_that_is_not_there_is_said_though_the_server_says_only_500(
    gitea: Gitea, sim: GiteaSim
) -> None:
    with pytest.raises(Permanent) as refusal:
        await gitea.create_branch(REPO, "x", "maim")
    assert [call.status for call in sim.calls] == [500, 404]
    assert refusal.value.code == "gitea_not_found"
    assert "maim" in refusal.value.message
    assert "orchestrator.yaml" in refusal.value.hint


async def test_a_500_though_the_base_is_there_is_a_fault_that_passes(stub: Stub) -> None:
    base = {"name": "main", "commit": {"id": "a" * 40}}
    gitea = stub(lambda asked: Response(status_code=500) if asked.method == "POST" else JSONResponse(base))
    with pytest.raises(Transient) as fault:
        await gitea.create_branch(REPO, "x", "main")
    assert fault.value.code == "gitea_busy"


async def test_a_500_while_nothing_answers_is_a_fault_that_passes(stub: Stub) -> None:
    with pytest.raises(Transient) as fault:
        await stub(lambda _: Response(status_code=500)).create_branch(REPO, "x", "main")
    assert fault.value.code == "gitea_busy"


async def test_a_token_without_scope_is_permanent(sim: GiteaSim) -> None:
    with LoopbackServer(sim.app) as server:
        weak = Gitea(server.url, sim.add_token("orchestrator", scopes=["read:user"]))
        with pytest.raises(Permanent) as refusal:
            await weak.create_branch(REPO, "x", "main")
        await weak.aclose()
    assert refusal.value.code == "gitea_refused"
    assert "write:repository" in refusal.value.hint


async def test_a_refused_token_is_tried_once_and_then_nothing_is_sent_for_some_minutes(sim: GiteaSim) -> None:
    with LoopbackServer(sim.app) as server:
        stranger = Gitea(server.url, "no-such-token")
        for _ in range(5):
            with pytest.raises(Permanent):
                await stranger.branch(REPO, "main")
            with pytest.raises(Permanent):
                await stranger.whoami()
        await stranger.aclose()
    assert [call.status for call in sim.calls] == [401]
    assert [one.code for one in stranger.circuit.refusals] == ["gitea_refused"]


async def test_what_a_token_may_not_do_stops_nothing_else(sim: GiteaSim) -> None:
    with LoopbackServer(sim.app) as server:
        reader = Gitea(server.url, sim.add_token("guest"))
        for name in ("x", "y"):
            with pytest.raises(Permanent):
                await reader.create_branch(REPO, name, "main")
        assert await reader.branch(REPO, "main")
        await reader.aclose()
    assert [call.status for call in sim.calls] == [403, 200]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_repository_that_was_renamed_is_not_followed_and_said(stub: Stub, status: int) -> None:
    asked: list[str] = []

    def elsewhere(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(status_code=status, headers={"Location": "/api/v1/repositories/7/branches/main"})

    gitea = stub(elsewhere)
    for one in (
        gitea.branch(REPO, "main"),
        gitea.create_branch(REPO, "x", "main"),
        gitea.checks(REPO, Sha("a" * 40)),
    ):
        with pytest.raises(Permanent) as refusal:
            await one
        assert refusal.value.code == "gitea_moved"
        assert str(REPO) in refusal.value.message
        assert "renamed" in refusal.value.hint
        assert "orchestrator.yaml" in refusal.value.hint
    assert len(asked) == 3
    assert not any("repositories" in path for path in asked)


async def test_an_archived_repository_is_said(stub: Stub) -> None:
    gitea = stub(lambda _: JSONResponse({"message": "acme/enduro-trails is archived"}, 423))
    for one in (gitea.create_branch(REPO, "x", "main"), gitea.pull_comment(REPO, 1, "m", "x")):
        with pytest.raises(Permanent) as refusal:
            await one
        assert refusal.value.code == "gitea_archived"
        assert "archived" in refusal.value.message
        assert "Unarchive" in refusal.value.hint


async def test_a_gitea_that_asks_for_a_pause_is_asked_nothing_until_then(stub: Stub) -> None:
    now, asked = [0.0], list[str]()

    def limited(request: Request) -> Response:
        asked.append(request.url.path)
        return JSONResponse({"message": "slow down"}, 429, {"Retry-After": "60"})

    gitea = stub(limited, Timing(lambda: now[0]))
    for passed_s, left in ((0.0, 60.0), (1.0, 59.0), (59.0, 1.0)):
        now[0] = passed_s
        for one in (gitea.branch(REPO, "main"), gitea.create_branch(REPO, "x", "main")):
            with pytest.raises(Transient) as busy:
                await one
            assert (busy.value.code, busy.value.retry_after_s) == ("gitea_busy", left)
    assert len(asked) == 1
    now[0] = 60.0
    with pytest.raises(Transient):
        await gitea.whoami()
    assert len(asked) == 2


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "soon"}])
async def test_a_429_that_does_not_say_how_long_stops_nobody_else(stub: Stub, headers: dict[str, str]) -> None:
    asked: list[str] = []

    def limited(request: Request) -> Response:
        asked.append(request.url.path)
        return JSONResponse({"message": "slow down"}, 429, headers)

    gitea = stub(limited)
    for one in (gitea.branch(REPO, "main"), gitea.whoami()):
        with pytest.raises(Transient):
            await one
    assert len(asked) == 2


async def test_a_down_gitea_is_transient(gitea: Gitea, sim: GiteaSim) -> None:
    sim.down = True
    with pytest.raises(Transient):
        await gitea.branch(REPO, "main")


async def test_the_remote_is_built_from_configuration_and_hides_its_token(gitea: Gitea, sim: GiteaSim) -> None:
    remote = gitea.remote(REPO)
    assert remote.url.endswith("/acme/enduro-trails.git")
    assert remote.token not in remote.url
    assert remote.token not in repr(remote)
    assert sim.root_url not in remote.url

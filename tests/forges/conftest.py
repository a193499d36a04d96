"""A simulated forge with one repository, and the adapter as three users of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain.model import RepoName, Sha
from orchestrator.forges.gitea import Gitea
from orchestrator.pace import REAL_TIME, Timing
from orchestrator.sim.gitea import READ, WRITE, GiteaSim
from orchestrator.sim.gitea_people import People
from orchestrator.sim.server import LoopbackServer

REPO = RepoName("acme", "enduro-trails")
HEAD = "feature/x"


@dataclass
class Forge:
    """The server from outside, and our three ways in."""

    sim: GiteaSim
    people: People
    orchestrator: Gitea
    reviewer: Gitea
    guest: Gitea

    def head(self, branch: str = HEAD) -> Sha:
        sha = self.sim.head(str(REPO), branch)
        assert sha is not None
        return Sha(sha)

    def commit(self, files: dict[str, str | bytes], branch: str = HEAD, login: str = "dev") -> Sha:
        return Sha(self.people.commit(str(REPO), branch, files, login))

    async def pull(self, head: str = HEAD, base: str = "main") -> int:
        if self.sim.head(str(REPO), head) is None:
            self.commit({f"{head}.txt": "x\n"}, head)
        return (await self.orchestrator.open_pull_request(REPO, base, head, "Add", "Adds it")).number

    def status(self, context: str, state: str, sha: str = "", login: str = "ci", **more: str) -> None:
        self.people.post_status(str(REPO), sha or self.head(), login, context, state, **more)


def world(root: Path, **more: str) -> GiteaSim:
    sim = GiteaSim(root, **more)  # type: ignore[arg-type]
    sim.create_repo("acme", "enduro-trails", {"README.md": "x\n", "docs/a.md": "a\n"})
    sim.create_repo("acme", "empty")
    roles = {"orchestrator": WRITE, "reviewer": WRITE, "dev": WRITE, "ci": WRITE, "boss": WRITE, "guest": READ}
    for login, role in roles.items():
        sim.add_user(login)
        sim.grant(str(REPO), login, role)
    return sim


@pytest.fixture
def sim(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GiteaSim]:
    with world(tmp_path, **getattr(request, "param", {})) as one:
        yield one


@pytest.fixture
async def forge(sim: GiteaSim) -> AsyncIterator[Forge]:
    with LoopbackServer(sim.app) as server:
        clients = [
            Gitea(server.url, sim.add_token(login), timeout_s=10, may_mention=("boss",))
            for login in ("orchestrator", "reviewer", "guest")
        ]
        yield Forge(sim, People(sim), *clients)
        for client in clients:
            await client.aclose()


@pytest.fixture
async def gitea(forge: Forge) -> Gitea:
    return forge.orchestrator


Stub = Callable[..., Gitea]


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    """An adapter whose Gitea answers what the test says."""
    async with AsyncExitStack() as ends:

        def made(answer: Callable[[Request], Response], timing: Timing = REAL_TIME) -> Gitea:
            async def endpoint(request: Request) -> Response:
                return answer(request)

            routes = [Route("/{rest:path}", endpoint, methods=["GET", "POST", "PATCH"])]
            url = ends.enter_context(LoopbackServer(Starlette(routes=routes))).url
            adapter = Gitea(url, "x", timeout_s=10, timing=timing)
            ends.push_async_callback(adapter.aclose)
            return adapter

        yield made

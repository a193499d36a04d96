"""The real CLI and the scripted one, through the whole runtime: the same promises hold for both."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind, ProcessLimits
from orchestrator.domain.run import Outcome, Usage
from orchestrator.sim import messages_api
from orchestrator.sim.claude import write_wrapper
from orchestrator.sim.server import LoopbackServer

REAL = Path(__file__).parents[2] / ".tools" / "claude"
SECRET = "sk-test-canary-71"


@dataclass(frozen=True)
class Cli:
    binary: Path
    api_url: str | None


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.real_cli)])
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cli]:
    if request.param == "scripted":
        yield Cli(write_wrapper(tmp_path / "claude"), None)
        return
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app()) as server:
        yield Cli(REAL, server.url)


async def test_the_analyst_commits_its_document_and_the_run_is_told_in_full(world: Any, cli: Cli) -> None:
    runtime, spec = world.runtime(cli.binary, Credential(CredentialKind.API_KEY, SECRET)), world.spec()
    runtime.route = ApiRoute(cli.api_url)
    seen: list[Usage] = []
    await runtime.prepare(spec)
    await runtime.launch(spec)
    result = await runtime.wait(spec, seen.append)
    assert result.outcome is Outcome.SUCCEEDED, result
    assert result.cli_version.startswith("2.1.330")
    assert result.usage.turns >= 3
    assert result.usage.input_tokens > 0
    assert result.usage.cost_usd > 0
    head = await runtime.collect(spec)
    assert head is not None
    await runtime.publish(spec, head)
    assert world.forge.head() == head
    assert world.living() == []
    texts = [path.read_bytes() for path in world.data_dir.rglob("*") if path.is_file()]
    assert not [1 for text in texts if SECRET.encode() in text]


@pytest.mark.real_cli
@pytest.mark.parametrize("kind", [CredentialKind.API_KEY, CredentialKind.OAUTH])
async def test_the_credential_reaches_the_model_by_descriptor(world: Any, kind: CredentialKind) -> None:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app()) as server:
        runtime, spec = world.runtime(REAL, Credential(kind, SECRET)), world.spec()
        runtime.route = ApiRoute(server.url)
        await runtime.prepare(spec)
        await runtime.launch(spec)
        result = await runtime.wait(spec, lambda _usage: None)
        async with httpx.AsyncClient() as client:
            seen = (await client.get(f"{server.url}/requests")).text
    assert result.outcome is Outcome.SUCCEEDED, result
    bare, bearer = (hashlib.sha256(text.encode()).hexdigest() for text in (SECRET, f"Bearer {SECRET}"))
    assert (bare in seen) or (bearer in seen)


@pytest.mark.real_cli
async def test_the_real_cli_is_stopped_in_the_middle_of_a_tool(world: Any, eventually: Callable[..., Any]) -> None:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app("long_tool")) as server:
        runtime, spec = world.runtime(REAL, Credential(CredentialKind.API_KEY, SECRET)), world.spec()
        runtime.route, runtime.limits = ApiRoute(server.url), ProcessLimits(interrupt_s=40)
        await runtime.prepare(spec)
        await runtime.launch(spec)
        await eventually(lambda: any("sleep" in text for text in world.living()), "the tool runs", 60)
        await runtime.stop(spec.run)
        result = await runtime.wait(spec, lambda _usage: None)
    assert (result.outcome, result.exit_code) == (Outcome.CANCELLED, 0)
    assert result.detail
    assert world.living() == []

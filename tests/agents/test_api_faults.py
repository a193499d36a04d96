"""What the real CLI makes of an API that fails, and what we make of that: the outcome, by structure."""

import asyncio
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind
from orchestrator.clock import SystemClock
from orchestrator.domain.run import Outcome, RunResult
from orchestrator.sim import messages_api
from orchestrator.sim.server import LoopbackServer

REAL = Path(__file__).parents[2] / ".tools" / "claude"

FAULTS = {
    "http_401": (Outcome.FAILED, "authentication_failed"),
    "http_429": (Outcome.UNAVAILABLE, "rate_limit_error"),
    "http_529": (Outcome.UNAVAILABLE, "overloaded_error"),
    "cut_stream": (Outcome.UNAVAILABLE, "connection_failed"),
    "usage_limit": (Outcome.USAGE_LIMIT, "usage_limit_reached"),
    "overloaded_then_work": (Outcome.SUCCEEDED, ""),
    "cut_stream_then_work": (Outcome.SUCCEEDED, ""),
}


async def ended(world: Any, number: int, url: str, kind: CredentialKind = CredentialKind.API_KEY) -> RunResult:
    runtime, spec = world.runtime(REAL, Credential(kind, "sk-test")), world.spec(number)
    runtime.route = ApiRoute(url)
    await runtime.prepare(spec)
    await runtime.launch(spec)
    result: RunResult = await runtime.wait(spec, lambda _usage: None)
    return result


@pytest.mark.real_cli
@pytest.mark.timeout(400)
async def test_each_fault_of_the_api_ends_as_what_it_is(world: Any) -> None:
    """All at once, since the CLI's own retries take most of the time."""
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")

    async def of(number: int, scenario: str) -> RunResult:
        kind = CredentialKind.OAUTH if scenario == "usage_limit" else CredentialKind.API_KEY
        with LoopbackServer(messages_api.create_app(scenario)) as server:
            return await ended(world, number, server.url, kind)

    async def refused() -> RunResult:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        return await ended(world, 99, f"http://127.0.0.1:{port}")

    *found, none = await asyncio.gather(*(of(*one) for one in enumerate(FAULTS, 1)), refused())
    assert {name: (one.outcome, one.reason) for name, one in zip(FAULTS, found, strict=True)} == FAULTS
    assert (none.outcome, none.reason) == (Outcome.UNAVAILABLE, "connection_failed")
    limited = found[list(FAULTS).index("usage_limit")]
    assert limited.resets_at is not None
    assert timedelta(0) < limited.resets_at - SystemClock().now() <= timedelta(hours=1)
    assert world.living() == []

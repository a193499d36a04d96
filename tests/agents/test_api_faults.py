"""What the real CLI makes of an API that fails, and what we make of that: the outcome, by structure."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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
    "nobody": (Outcome.UNAVAILABLE, "connection_failed"),
}
BY_DAY = ("usage_limit", "overloaded_then_work", "cut_stream_then_work")
"""The CLI gives up the others only after most of a minute. How their outcome is read is tried on recordings by day
(`test_claude.py`).
"""


async def ended(world: Any, number: int, url: str, kind: CredentialKind = CredentialKind.API_KEY) -> RunResult:
    runtime, spec = world.runtime(REAL, Credential(kind, "sk-test")), world.spec(number)
    runtime.route = ApiRoute(url)
    await runtime.prepare(spec)
    await runtime.launch(spec)
    result: RunResult = await runtime.wait(spec, lambda _usage: None)
    return result


@contextmanager
def api(scenario: str) -> Iterator[str]:
    """The address of one that plays it; of `nobody`, where nobody listens."""
    if scenario == "nobody":
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        return
    with LoopbackServer(messages_api.create_app(scenario)) as server:
        yield server.url


@pytest.mark.real_cli
@pytest.mark.timeout(400)
@pytest.mark.parametrize("faults", [BY_DAY, pytest.param(tuple(FAULTS), marks=pytest.mark.nightly)])
async def test_each_fault_of_the_api_ends_as_what_it_is(world: Any, faults: tuple[str, ...]) -> None:
    """All at once, since the CLI's own retries take most of the time."""
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")

    async def of(number: int, scenario: str) -> RunResult:
        kind = CredentialKind.OAUTH if scenario == "usage_limit" else CredentialKind.API_KEY
        with api(scenario) as url:
            return await ended(world, number, url, kind)

    ends = await asyncio.gather(*(of(*one) for one in enumerate(faults, 1)))
    found = dict(zip(faults, ends, strict=True))
    assert {name: (one.outcome, one.reason) for name, one in found.items()} == {
        name: FAULTS[name] for name in faults
    }
    resets_at = found["usage_limit"].resets_at
    assert resets_at is not None
    assert timedelta(0) < resets_at - SystemClock().now() <= timedelta(hours=1)
    assert world.living() == []
